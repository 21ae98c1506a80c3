//! A host: everything that runs share, built from a configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::session::Session;
use super::tenant::{self, DEFAULT_TENANT, TenantNameError};
use crate::config::{Config, ConfigError};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{
    AnthropicClient, ClientError, Model, ModelStack, PriceError, Prices, Provider, ToolDefinition, ToolDefinitions,
};
use crate::resilience::{Breaker, BreakerStats, ByHand, RetryBudget};
use crate::sandbox::{CompilePlace, KeyValueError, KeyValueStore, Limits, Sandbox};
use crate::telemetry::{Emitter, EventBus, Observer};
use crate::tools::{LoadError, ToolPolicy, ToolSet};

/// How long a host waits at its end for observers that lag behind.
const FLUSH: Duration = Duration::from_secs(5);

/// Runs agents. Cheap to share: sessions of one host use one pool of instances, one ledger and the same breakers.
///
/// ```no_run
/// use cofferdam::agent::{Host, RunOptions};
/// use cofferdam::config::Config;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let host = Host::builder(Config::default()).build().await?;
/// let report = host.session().run("What is 25 * 17?", RunOptions::default()).await;
/// println!("{}: {}", report.outcome, report.answer);
/// host.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    parts: Arc<HostParts>,
}

/// What sessions need of their host.
#[derive(Debug)]
pub(super) struct HostParts {
    pub(super) config: Config,
    pub(super) model: Arc<dyn Model>,
    pub(super) tools: Arc<ToolSet>,
    /// The tools as the model sees them.
    pub(super) definitions: ToolDefinitions,
    pub(super) ledger: Ledger,
    pub(super) events: EventBus,
}

impl HostParts {
    /// Those that a tenant's calls ask: the model's, which all share, and its own of each tool.
    pub(super) fn breakers(&self, tenant: &str) -> Vec<BreakerStats> {
        let of_model = self.model.breakers();
        let of_model = of_model.iter().map(|breaker| breaker.stats());
        of_model.chain(self.tools.breakers(tenant)).collect()
    }
}

/// Why a host cannot be built. No run exists then, and nothing was spent.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tools(#[from] LoadError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Prices(#[from] PriceError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the WebAssembly engine does not work here: {0}")]
    Engine(String),
    #[error("this program's own path is not known, and components are compiled in a child of it: {0}")]
    Program(#[source] std::io::Error),
}

impl HostError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tools(error) => {
                let hints: Vec<String> = error
                    .problems
                    .iter()
                    .filter_map(crate::tools::PluginError::hint)
                    .collect();
                (!hints.is_empty()).then(|| hints.join("\n"))
            }
            Self::Ledger(error) => error.hint(),
            Self::Client(error) => error.hint().map(str::to_owned),
            Self::Prices(error) => Some(error.hint().to_owned()),
            Self::Program(_) => Some("name it with HostBuilder::compile_place".to_owned()),
            Self::Config(error) => error.hint(),
            Self::Tls(_) => Some("no setting changes that: this build of the program lacks what TLS needs".to_owned()),
            Self::Engine(_) => Some(
                "lower `[limits] stack`; if that is no help, this processor or system is none that wasmtime runs on"
                    .to_owned(),
            ),
        }
    }
}

/// Puts a [`Host`] together.
#[derive(Debug)]
pub struct HostBuilder {
    config: Config,
    events: EventBus,
    provider: Option<Arc<dyn Provider>>,
    ledger: Option<Ledger>,
    place: Option<CompilePlace>,
    policy: Option<Arc<dyn ToolPolicy>>,
}

impl Host {
    /// Starts with a configuration, from a file or [`Config::default`].
    pub fn builder(config: Config) -> HostBuilder {
        let events = EventBus::with_contents(config.logging.contents);
        HostBuilder {
            config,
            events,
            provider: None,
            ledger: None,
            place: None,
            policy: None,
        }
    }

    /// Opens a conversation of the default tenant.
    pub fn session(&self) -> Session {
        Session::new(self.parts.clone(), DEFAULT_TENANT)
    }

    /// Opens a conversation on behalf of a tenant, who shares places and turns fairly with the others, and whose kept data and
    /// breakers of tools are its own.
    ///
    /// # Errors
    ///
    /// Where the name is none that a tenant can have.
    pub fn session_of(&self, tenant: &str) -> Result<Session, TenantNameError> {
        tenant::check(tenant)?;
        Ok(Session::new(self.parts.clone(), tenant))
    }

    pub fn tools(&self) -> &ToolSet {
        &self.parts.tools
    }

    /// How the model's breaker and those of the default tenant's tools stand. Their names are `model:ID` and `tool:NAME`.
    pub fn breakers(&self) -> Vec<BreakerStats> {
        self.breakers_of(DEFAULT_TENANT)
    }

    /// Likewise for another tenant.
    pub fn breakers_of(&self, tenant: &str) -> Vec<BreakerStats> {
        self.parts.breakers(tenant)
    }

    /// Holds a breaker open, without probes, until it is closed by hand: while its dependency is out of service. That of a
    /// tool is held open for all tenants. Observers are told, as of every other change. False: no breaker has this name.
    pub fn force_open(&self, breaker: &str) -> bool {
        self.move_breaker(breaker, ByHand::Open)
    }

    /// Closes a breaker now, for all tenants, with no failure counted. False: no breaker has this name.
    pub fn force_closed(&self, breaker: &str) -> bool {
        self.move_breaker(breaker, ByHand::Closed)
    }

    /// Makes a breaker as good as new, for all tenants: closed, and every count zero. False: no breaker has this name.
    pub fn reset_breaker(&self, breaker: &str) -> bool {
        self.move_breaker(breaker, ByHand::Reset)
    }

    fn move_breaker(&self, name: &str, to: ByHand) -> bool {
        let HostParts {
            events,
            model,
            tools,
            config,
            ..
        } = &*self.parts;
        let of_model = model.breakers().into_iter().find(|breaker| breaker.name() == name);
        let of_model = of_model.map(|breaker| {
            let transition = breaker.move_by_hand(to);
            transition
                .map(|transition| (DEFAULT_TENANT.into(), transition))
                .into_iter()
                .collect()
        });
        let Some(moved) = of_model.or_else(|| tools.move_breaker(DEFAULT_TENANT, name, to)) else {
            return false;
        };
        for (tenant, transition) in moved {
            // It belongs to no session.
            Emitter::new(events, "", &tenant, config.alerts.clone()).emit(transition.into());
        }
        true
    }

    pub fn ledger(&self) -> &Ledger {
        &self.parts.ledger
    }

    pub fn events(&self) -> &EventBus {
        &self.parts.events
    }

    pub fn config(&self) -> &Config {
        &self.parts.config
    }

    /// Waits a moment for observers to catch up. Returns the number of events that observers lost.
    pub async fn shutdown(self) -> u64 {
        self.parts.events.flush(FLUSH).await
    }
}

impl HostBuilder {
    /// Adds a listener for the events of all sessions. It runs apart from them: however slow or broken, it hurts no run.
    #[must_use]
    pub fn observer(self, name: &str, observer: impl Observer) -> Self {
        self.events.add_observer(name, observer);
        self
    }

    /// Asks this provider instead of the one in the configuration. Retries, breaker and budget stay around it.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Keeps the books here instead of in the configured file.
    #[must_use]
    pub fn ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Where components are compiled. By default in a child of this program, whose `main` must then begin with
    /// [`become_compiler_if_asked`](crate::sandbox::become_compiler_if_asked).
    #[must_use]
    pub fn compile_place(mut self, place: CompilePlace) -> Self {
        self.place = Some(place);
        self
    }

    /// Asks `policy` before every tool call.
    #[must_use]
    pub fn tool_policy(mut self, policy: Arc<dyn ToolPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Loads the plugins and opens the ledger.
    ///
    /// # Errors
    ///
    /// See [`HostError`]. A plugin that does not load is no error unless it is `required`; it is in
    /// [`ToolSet::problems`].
    pub async fn build(self) -> Result<Host, HostError> {
        let Self {
            config,
            events,
            provider,
            ledger,
            place,
            policy,
        } = self;
        config.check()?;
        let tls = crate::tls::client_config()?;
        let provider: Arc<dyn Provider> = match provider {
            Some(provider) => provider,
            None => Arc::new(AnthropicClient::new(&config.model, &tls)?),
        };
        let prices = match &config.budget.prices {
            Some(path) => Prices::load(path)?,
            None => Prices::builtin(),
        };
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        if prices.find(provider.model(), today).is_none() && !config.budget.in_force() {
            tracing::warn!(
                hint = Prices::line_to_add(provider.model()),
                "the model `{}` has no price, so what it costs is not counted",
                provider.model()
            );
        }
        for warning in config.model.warnings() {
            tracing::warn!("{warning}");
        }
        let ledger = match ledger {
            Some(ledger) => ledger,
            None => open_ledger(config.ledger_path()).await?,
        };
        let tools = Arc::new(load_tools(&config, place, tls).await?.with_policy(policy));
        let model = Arc::new(ModelStack {
            breaker: Arc::new(Breaker::new(
                format!("model:{}", provider.model()),
                config.breaker.clone(),
            )),
            provider,
            retry: config.retry.clone(),
            retry_budget: Arc::new(RetryBudget::new()),
            ledger: ledger.clone(),
            budget: config.budget.clone(),
            prices: Arc::new(prices),
            attempt_timeout: config.model.attempt_timeout,
        });
        Ok(Host {
            parts: Arc::new(HostParts {
                config,
                model,
                definitions: definitions(&tools),
                tools,
                ledger,
                events,
            }),
        })
    }
}

fn definitions(tools: &ToolSet) -> ToolDefinitions {
    tools
        .tools()
        .map(|tool| ToolDefinition {
            name: tool.name.clone(),
            description: tool.description.clone(),
            input_schema: tool.input_schema().clone(),
        })
        .collect()
}

/// Loads the plugins of a configuration, without model or money: what `cofferdam tool` needs.
///
/// # Errors
///
/// As [`HostBuilder::build`].
pub async fn load_tools(
    config: &Config,
    place: Option<CompilePlace>,
    tls: Arc<rustls::ClientConfig>,
) -> Result<ToolSet, HostError> {
    // This checks the configuration, too.
    let mut sandbox = open_sandbox(config, place, tls)?;
    if config.plugins.iter().any(|plugin| plugin.grants.keyvalue) {
        // Whatever is wrong with the file concerns the plugins that would keep data in it, and no other.
        sandbox = match open_keyvalue(config.storage.keyvalue_path()).await {
            Ok(store) => sandbox.with_keyvalue(store),
            Err(reason) => sandbox.without_keyvalue(reason),
        };
    }
    let concurrency = config.engine.host_concurrency;
    Ok(ToolSet::load(&sandbox, &config.plugins, concurrency, config.queue_timeout).await?)
}

/// The sandbox of a configuration, without its plugins.
///
/// # Errors
///
/// As [`HostBuilder::build`].
pub fn open_sandbox(
    config: &Config,
    place: Option<CompilePlace>,
    tls: Arc<rustls::ClientConfig>,
) -> Result<Sandbox, HostError> {
    config.check()?;
    let place = match place {
        Some(place) => place,
        None => CompilePlace::Child(std::env::current_exe().map_err(HostError::Program)?),
    };
    let limits: Vec<&Limits> = config
        .plugins
        .iter()
        .map(|plugin| &plugin.grants.limits)
        .chain(std::iter::once(&*config.limits))
        .collect();
    Sandbox::new(&config.engine, limits, place, tls).map_err(|error| HostError::Engine(format!("{error:#}")))
}

async fn open_ledger(path: PathBuf) -> Result<Ledger, HostError> {
    let open = move || Ledger::open(Path::new(&path));
    match tokio::task::spawn_blocking(open).await {
        Ok(ledger) => Ok(ledger?),
        Err(_) => Err(LedgerError::Interrupted.into()),
    }
}

async fn open_keyvalue(path: PathBuf) -> Result<KeyValueStore, KeyValueError> {
    let open = move || KeyValueStore::open(&path);
    tokio::task::spawn_blocking(open)
        .await
        .unwrap_or(Err(KeyValueError::Interrupted))
}
