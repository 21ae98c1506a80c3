//! `cofferdam demo`: the whole product with no key and no network. The model and the weather service are simulated on
//! loopback; everything between them is what every run uses.

mod promises;
mod script;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::Url;

use self::promises::{Promise, promises};
use self::script::{LOOPING, PROMPT};
use super::interrupt::Interrupt;
use super::live::{Live, print_report};
use super::output::Sink;
use super::progress::Line;
use super::{CliError, Context, config_in_code};
use crate::agent::AgentSettings;
use crate::config::{Config, StorageSettings};
use crate::events::Ending;
use crate::events::{Event, EventKind};
use crate::model::{ModelSettings, ProviderKind};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{Grants, HttpGrant, Limits};
use crate::simulator::{Simulator, SimulatorOptions, WeatherMode, WeatherService};
use crate::telemetry::Observer;
use crate::tools::{ComponentSource, PluginSettings, ToolSettings};

const INTRO: &str = "\
This is a demonstration: the model and the weather service are simulated on this machine. No key, no network, no cost.
Real are the HTTP and the streaming between them, the three WebAssembly components and their sandbox, the retries, the
circuit breakers, and the ledger, which books what the simulated model's tokens would have cost.
";

/// The run's deadline. It needs about a third of it.
const DEADLINE: Duration = Duration::from_secs(25);

pub async fn demo(cx: &Context) -> Result<u8, CliError> {
    let folder = tempfile::tempdir().map_err(CliError::TemporaryFolder)?;
    let listen = |what| move |source| CliError::Listen { what, source };
    let options = SimulatorOptions::default();
    let weather = WeatherService::start(options.address, WeatherMode::Healthy).map_err(listen("weather service"))?;
    let weather = Arc::new(weather);
    let model = Simulator::start(script::script(), options).map_err(listen("simulator"))?;
    let config = config(&model.url(), &weather.url(), folder.path())?;
    let narrate = !cx.global.quiet;
    let _logging = cx.logging(&config, narrate)?;

    cx.note(INTRO);
    let live = Live::start(cx, config, narrate).await?;
    let outage = Outage {
        weather: weather.clone(),
        stderr: narrate.then(|| cx.stderr.clone()),
    };
    live.observe("outage", outage);
    cx.note(&Line::new("prompt", PROMPT).render());

    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancels(cancel.clone(), cx.stderr.clone());
    let mut session = live.session();
    let report = live.run(&mut session, PROMPT, cancel).await;
    print_report(cx, &report);
    live.shutdown().await;
    if report.outcome == Ending::Cancelled {
        return Ok(report.outcome.exit_code());
    }
    Ok(judge(cx, &promises(&report)))
}

/// Says what was shown. What was not shown is said even where `--quiet` asks for silence.
fn judge(cx: &Context, promises: &[Promise]) -> u8 {
    cx.note("\nThe model and the weather were simulated. What you saw, checked against the report:");
    for Promise { what, kept } in promises {
        match kept {
            true => cx.note(&format!("  seen     {what}")),
            false => cx.stderr.line(&format!("  MISSING  {what}")),
        }
    }
    u8::from(promises.iter().any(|promise| !promise.kept))
}

/// The weather service goes down when the model turns to its misbehaving tools: Boston is answered by then, and no other
/// city was asked for yet.
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
                stderr.line(&Line::new("outage", "the weather service goes down from here on (simulated)").render());
            }
        }
    }
}

/// Three plugins, each with what it needs and no more; limits tight enough to be seen at work.
fn config(model: &str, weather: &str, folder: &Path) -> Result<Config, CliError> {
    let not_ours =
        |what: &str| CliError::usage(format!("the {what} of the demo has no usable address"), "this is a bug");
    let base_url = Url::parse(model).map_err(|_| not_ours("model"))?;
    let http = vec![HttpGrant::parse(weather, &["GET"]).map_err(|_| not_ours("weather service"))?];
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
                // Spent long before the time is over, also where the machine is slow: the demo ends the same way everywhere.
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
