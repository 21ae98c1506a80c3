//! Uses Cofferdam as a library: builds a host with an observer and a tool policy, and runs one prompt.
//!
//! ```text
//! ANTHROPIC_API_KEY=… cargo run --example embed -- "What is 25 * 17?"
//! ```
//!
//! Without a key, it starts the simulator and runs the prompt against it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::Arc;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::events::{Event, EventKind};
use cofferdam::model::ProviderKind;
use cofferdam::secret::Secret;
use cofferdam::simulator::{Answer, Script, Simulator, SimulatorOptions, ToolCall};
use cofferdam::store::Store;
use cofferdam::tools::{ComponentSource, Decision, PluginSettings, Tool, ToolPolicy};
use serde_json::{Value, json};

/// Denies every tool that is annotated as destructive.
#[derive(Debug)]
struct DenyDestructive;

impl ToolPolicy for DenyDestructive {
    fn name(&self) -> &str {
        "the example policy"
    }

    fn decide(&self, _tenant: &str, tool: &Tool, _input: &Value) -> Decision {
        match tool.annotations.destructive {
            true => Decision::Deny("destructive tools are not allowed here".to_owned()),
            false => Decision::Allow,
        }
    }
}

/// Prints some events. An observer is any type that implements `Observer`, or a function like this one.
fn print_event(event: &Event) {
    match &event.kind {
        EventKind::ModelRetry { delay_ms, error, .. } => eprintln!("retry in {delay_ms} ms: {}", error.message),
        EventKind::ToolCallFinished(finished) => {
            eprintln!(
                "{} {} after {:.1} ms, fuel {}",
                finished.tool, finished.outcome, finished.duration_ms, finished.fuel
            );
        }
        _ => {}
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    // The host compiles components in a child process of this program, so this must be the first line of `main`.
    cofferdam::sandbox::run_compiler_if_requested();

    let prompt = std::env::args().nth(1).unwrap_or_else(|| "What is 25 * 17?".to_owned());
    let mut config = Config::default();
    config.plugins.push(PluginSettings {
        required: true,
        ..PluginSettings::new("calculator", ComponentSource::Builtin("calculator".to_owned()))
    });
    // Without a key, the simulator must live until the end of the run.
    let simulator = match std::env::var("ANTHROPIC_API_KEY") {
        Ok(key) => {
            config.model.api_key = Some(Secret::new(key));
            None
        }
        Err(_) => {
            let script = Script::new()
                .answer(Answer::error(529))
                .answer(Answer::tools([ToolCall::new(
                    "calculate",
                    json!({ "expression": "25 * 17" }),
                )]))
                .answer(Answer::text("25 * 17 = {{result:calculate}}."));
            let simulator = Simulator::start(script, SimulatorOptions::default())?;
            config.model.provider = ProviderKind::Simulated;
            config.model.base_url = simulator.url().parse()?;
            Some(simulator)
        }
    };

    let mut builder = Host::builder(config)
        .observer("printer", print_event)
        .tool_policy(Arc::new(DenyDestructive));
    if simulator.is_some() {
        // Simulated costs don't belong in the user's ledger.
        builder = builder.store(Store::in_memory()?);
    }
    let host = builder.build().await?;
    let report = host.session().run(&prompt, RunOptions::default()).await;
    println!("{}", report.answer);
    eprintln!(
        "{}: ${} for {} model calls",
        report.outcome, report.metrics.estimated_cost_usd, report.iterations
    );
    host.shutdown().await;
    Ok(ExitCode::from(report.outcome.exit_code()))
}
