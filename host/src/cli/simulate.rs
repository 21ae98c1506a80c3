//! `cofferdam simulate`: serves a scripted model, for testing any client.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::interrupt::interrupted;
use super::{CliError, Context, Output};
use crate::config::Config;
use crate::simulator::{Script, Simulator, SimulatorOptions};

/// What somebody needs who has only the program.
const EXAMPLE: &str = "\
A script is a TOML file. Requests get its answers in order, for example:

  [[answer]]
  error = { status = 529 }
  [[answer]]
  tools = [{ name = \"calculate\", input = { expression = \"25 * 17\" } }]
  [[answer]]
  text = \"It is 425.\"

In a configuration, `[model] provider = \"simulated\"` and `base_url`, the address that is printed, use it.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLE)]
pub struct SimulateArgs {
    /// The script; host/docs/simulator.md has its whole format
    script: PathBuf,
    /// A loopback address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Connections served at once; more wait until one closes, and a warning says so
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    max_connections: u16,
}

/// Serves until it is interrupted, and then exits with code 0. The base URL is the only line on stdout, so that scripts can
/// read it.
pub async fn simulate(cx: &Context, args: SimulateArgs) -> Result<u8, CliError> {
    let _logging = cx.logging(&Config::default(), false)?;
    let origin = args.script.display().to_string();
    let text = std::fs::read_to_string(&args.script).map_err(|source| CliError::Read {
        path: args.script,
        source,
    })?;
    let script = Script::parse(&text, &origin)?;
    let simulator = Simulator::start(
        script,
        SimulatorOptions {
            address: args.listen,
            max_connections: args.max_connections.into(),
            ..SimulatorOptions::default()
        },
    )
    .map_err(|source| CliError::Listen {
        what: "simulator",
        source,
    })?;
    let url = simulator.url();
    match cx.global.output {
        Output::Text => cx.stdout.line(&url),
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({ "base_url": url })),
    }
    cx.note(&format!(
        "serving a simulated model at {url}; set a client's base URL to it (with /v1 for OpenAI's API), or press Ctrl-C to stop"
    ));
    interrupted().await;
    simulator.shutdown().await;
    Ok(0)
}
