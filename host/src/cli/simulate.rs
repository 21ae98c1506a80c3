//! `cofferdam simulate`: the scripted Messages API as a server, for testing any client.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::interrupt::interrupted;
use super::{CliError, Context, Output};
use crate::config::Config;
use crate::simulator::{Script, Simulator, SimulatorOptions};

#[derive(Args, Debug)]
pub struct SimulateArgs {
    /// The script, in the format of host/docs/simulator.md
    script: PathBuf,
    /// A loopback address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves until it is interrupted, which is the ordinary end of a server. The base URL is the one line on stdout, so a
/// script can read it.
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
        "a simulated Messages API answers at {url}; point a client's base URL there, press Ctrl-C to stop"
    ));
    interrupted().await;
    simulator.shutdown().await;
    Ok(0)
}
