//! `cofferdam demo`: shows the whole product without a key or a network. It simulates the model and the weather service on
//! loopback; everything between them is the code of a real run.

mod checks;
mod crash;
mod script;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::checks::{Check, check_report};
use self::script::{LOOPING, PROMPT};
use super::interrupt::Interrupt;
use super::live::{LiveHost, print_report};
use super::output::Sink;
use super::progress::ProgressLine;
use super::summary::Detail;
use super::{CliError, Context, config_in_code};
use crate::agent::AgentSettings;
use crate::config::{Config, StorageSettings};
use crate::events::{Ending, Event, EventKind};
use crate::model::{ModelSettings, ProviderKind};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{Grants, HttpGrant, Limits};
use crate::simulator::{Simulator, SimulatorOptions, WeatherMode, WeatherService};
use crate::telemetry::Observer;
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

const INTRO: &str = "\
This is a demonstration: the model and the weather service are simulated on this machine. No key, no network, no cost.
Everything else is real: the HTTP and streaming between them, the three WebAssembly components and their sandbox, the
retries, the circuit breakers, and the ledger, which records what the simulated model's tokens would have cost.
";

/// The run's deadline. The run takes about a third of it.
const DEADLINE: Duration = Duration::from_secs(25);

#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Kill a run in the middle of an answer, and see another process go on with it
    #[arg(long)]
    crash: bool,
}

pub async fn demo(cx: &Context, args: &DemoArgs) -> Result<u8, CliError> {
    if args.crash {
        return crash::demo(cx).await;
    }
    let mut cx = cx.clone();
    if !cx.global.quiet {
        // It shows what there is.
        cx.global.summary.get_or_insert(Detail::Full);
    }
    let cx = &cx;
    let folder = tempfile::tempdir().map_err(CliError::TemporaryFolder)?;
    let listen = |what| move |source| CliError::Listen { what, source };
    let options = SimulatorOptions::default();
    let weather = WeatherService::start(options.address, WeatherMode::Healthy).map_err(listen("weather service"))?;
    let weather = Arc::new(weather);
    let model = Simulator::start(script::script(), options).map_err(listen("simulator"))?;
    let config = config(&model.url(), &weather.url(), folder.path())?;
    let show_progress = !cx.global.quiet;
    let _logging = cx.logging_of_runs(&config, show_progress)?;

    cx.note(INTRO);
    let live = LiveHost::start(cx, config, show_progress).await?;
    let outage = Outage {
        weather: weather.clone(),
        stderr: show_progress.then(|| cx.stderr.clone()),
    };
    live.observe("outage", outage);
    cx.note(&ProgressLine::new("prompt", PROMPT).render());

    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    let mut session = live.session();
    let report = live.run(&mut session, PROMPT, Vec::new(), cancel).await;
    print_report(cx, &report);
    live.shutdown().await;
    if report.outcome == Ending::Cancelled {
        return Ok(report.outcome.exit_code());
    }
    Ok(print_checks(
        cx,
        "The model and the weather were",
        &check_report(&report),
    ))
}

/// Prints which features the run showed. `--quiet` hides the features shown, but not those that are missing.
fn print_checks(cx: &Context, simulated: &str, checks: &[Check]) -> u8 {
    cx.note(&format!("\n{simulated} simulated. What you saw, checked:"));
    for Check { what, passed } in checks {
        match passed {
            true => cx.note(&format!("  seen     {what}")),
            false => cx.stderr.line(&format!("  MISSING  {what}")),
        }
    }
    u8::from(checks.iter().any(|check| !check.passed))
}

/// Takes the weather service down when the model calls the first misbehaving tool. By then Boston has been answered, and no
/// other city has been requested.
#[derive(Debug)]
struct Outage {
    weather: Arc<WeatherService>,
    stderr: Option<Sink>,
}

impl Observer for Outage {
    fn on_event(&mut self, event: &Event) {
        if let EventKind::ToolCallStarted { tool, .. } = &event.kind
            && tool == LOOPING
        {
            self.weather.set_mode(WeatherMode::Down(503));
            if let Some(stderr) = &self.stderr {
                stderr.line(
                    &ProgressLine::new("outage", "the weather service is down from here on (simulated)").render(),
                );
            }
        }
    }
}

/// Three plugins with only the grants that they need, and limits tight enough to be hit.
fn config(model: &str, weather: &str, folder: &Path) -> Result<Config, CliError> {
    let invalid_address =
        |what: &str| CliError::usage(format!("the demo's {what} has an invalid address"), "this is a bug");
    let base_url = Url::parse(model).map_err(|_| invalid_address("model"))?;
    let http = vec![HttpGrant::parse(weather, &["GET"]).map_err(|_| invalid_address("weather service"))?];
    let addresses = ["geocoding_url", "forecast_url"].map(|key| (key.to_owned(), weather.to_owned()));
    let fallback = "Weather service temporarily unavailable. Please try again later.".to_owned();

    let calculator = builtin("calculator");
    let weather = PluginSettings {
        grants: Grants {
            http,
            config: addresses.into(),
            ..Grants::default()
        },
        breaker: BreakerSettings {
            failure_threshold: 3,
            ..BreakerSettings::default()
        },
        tools: BTreeMap::from([(
            "get_weather".to_owned(),
            ToolSettings {
                fallback: Some(fallback),
                ..ToolSettings::default()
            },
        )]),
        ..builtin("weather")
    };
    let faulty = PluginSettings {
        grants: Grants {
            limits: Limits {
                // Runs out long before the timeout, even on a slow machine, so that the outcome is always the same.
                fuel: 1_000_000_000,
                timeout: Duration::from_secs(10),
                ..Limits::default()
            },
            ..Grants::default()
        },
        ..builtin("faulty")
    };
    Ok(Config {
        model: ModelSettings {
            provider: ProviderKind::Simulated,
            base_url,
            ..ModelSettings::default()
        },
        agent: AgentSettings {
            name: "demo".to_owned(),
            deadline: DEADLINE,
            ..AgentSettings::default()
        },
        retry: RetrySettings {
            initial_delay: Duration::from_millis(500),
            ..RetrySettings::default()
        },
        storage: StorageSettings {
            path: Some(folder.to_owned()),
            ..StorageSettings::default()
        },
        plugins: vec![calculator, weather, faulty],
        ..config_in_code()
    })
}

fn builtin(name: &str) -> PluginSettings {
    PluginSettings {
        required: true,
        ..PluginSettings::new(name, ComponentSource::Builtin(name.to_owned()))
    }
}
