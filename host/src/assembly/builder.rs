//! Builds a host: prices, ledger and models, which fail fast; then the tools, which take long; then the agent on top.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::breakers::Breakers;
use super::error::HostError;
use super::host::Host;
use super::models::{ModelGuards, RetryBudgets, Shared};
use super::tools::load_tools;
use crate::agent::{Agent, AgentParts};
use crate::config::{Config, SessionSettings};
use crate::ledger::LedgerError;
use crate::model::{Prices, Provider};
use crate::sandbox::CompilePlace;
use crate::store::{Store, WeakStore};
use crate::telemetry::{EventBus, Observer};
use crate::tools::ToolPolicy;

/// How often a host looks for sessions that need not be kept any longer.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(3_600);

/// Builds a [`Host`].
#[derive(Debug)]
pub struct HostBuilder {
    config: Config,
    events: EventBus,
    provider: Option<Arc<dyn Provider>>,
    store: Option<Store>,
    prices: Option<Prices>,
    place: Option<CompilePlace>,
    policy: Option<Arc<dyn ToolPolicy>>,
}

impl HostBuilder {
    pub(super) fn new(config: Config) -> Self {
        let events = EventBus::with_contents(config.logging.contents);
        Self {
            config,
            events,
            provider: None,
            store: None,
            prices: None,
            place: None,
            policy: None,
        }
    }

    /// Adds an observer of all sessions' events. It runs on its own thread, so a slow or broken one affects no run.
    #[must_use]
    pub fn observer(self, name: &str, observer: impl Observer) -> Self {
        self.events.add_observer(name, observer);
        self
    }

    /// Uses this provider instead of the configured one. Retries, breaker, fallbacks and budget still apply; what it costs is the price of
    /// [`Provider::model`], which [`Self::prices`] can give.
    #[must_use]
    pub fn provider(mut self, provider: Arc<dyn Provider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// Uses this store instead of the configured file.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = Some(store);
        self
    }

    /// Uses these prices instead of the configured or built-in ones.
    #[must_use]
    pub fn prices(mut self, prices: Prices) -> Self {
        self.prices = Some(prices);
        self
    }

    /// Sets where to compile components. The default is a child process of this program, whose `main` must then start with
    /// [`run_compiler_if_requested`](crate::sandbox::run_compiler_if_requested).
    #[must_use]
    pub fn compile_place(mut self, place: CompilePlace) -> Self {
        self.place = Some(place);
        self
    }

    /// Consults `policy` before every tool call. It can deny a call, or have a person approve it.
    #[must_use]
    pub fn tool_policy(mut self, policy: Arc<dyn ToolPolicy>) -> Self {
        self.policy = Some(policy);
        self
    }

    /// Loads the plugins and opens the ledger. Needs a tokio runtime with time and IO. Raises this process's soft limit of open files as
    /// far as its concurrent calls need it and the hard limit allows.
    ///
    /// # Errors
    ///
    /// See [`HostError`]. What is wrong with a plugin or a tool is an error only if the plugin is `required`. Otherwise it is
    /// left out and listed in [`ToolSet::problems`](crate::tools::ToolSet::problems).
    pub async fn build(self) -> Result<Host, HostError> {
        let Self {
            config,
            events,
            provider,
            store,
            prices,
            place,
            policy,
        } = self;
        config.check()?;
        let tls = crate::tls::client_config()?;
        // A price table that can't be read is known before anything is created.
        let prices = match prices {
            Some(prices) => Arc::new(prices),
            None => Arc::new(Prices::configured(config.budget.prices.as_deref())?),
        };
        let store = match store {
            Some(store) => store,
            None => open_store(&config).await?,
        };
        let ledger = store.ledger();
        let retry_budgets = RetryBudgets::default();
        let model_guards = ModelGuards::default();
        let models = Shared {
            config: &config,
            tls: &tls,
            prices: &prices,
            ledger: &ledger,
            retry_budgets: &retry_budgets,
            guards: &model_guards,
        }
        .models(provider.clone())?;
        tokio::spawn(delete_expired_sessions(store.downgrade(), config.sessions.clone()));
        let tools = load_tools(&config, place, tls).await?;
        let tools = Arc::new(tools.with_policy(policy).with_approvals(config.agent.approve));
        let agent = Agent::new(AgentParts {
            settings: config.agent.clone(),
            max_tokens: config.model.max_tokens,
            temperature: config.model.temperature,
            model: models.chain,
            tools,
            ledger,
            store: config.sessions.keep.then(|| store.clone()),
            budget: config.budget.clone(),
            alerts: config.alerts.clone(),
            events,
        });
        let breakers = Breakers::connect(store, &agent, model_guards).await;
        Ok(Host::new(config, provider, agent, prices, retry_budgets, breakers))
    }
}

/// Deletes what need not be kept any longer, now and every hour, as long as the store is open.
async fn delete_expired_sessions(store: WeakStore, settings: SessionSettings) {
    let retention = SignedDuration::from_hours(i64::from(settings.retention_days) * 24);
    let mut hours = tokio::time::interval(CLEANUP_INTERVAL);
    loop {
        hours.tick().await;
        let Some(store) = store.upgrade() else { return };
        let deleted = store.delete_expired_sessions(Timestamp::now(), retention, settings.max_bytes);
        match deleted.await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "deleted sessions that need not be kept any longer"),
            Err(error) => tracing::warn!(%error, "could not delete old sessions"),
        }
    }
}

async fn open_store(config: &Config) -> Result<Store, HostError> {
    let (path, durability) = (config.ledger_path(), config.storage.durability);
    let open = move || Store::open(&path, durability);
    match tokio::task::spawn_blocking(open).await {
        Ok(store) => Ok(store?),
        Err(_) => Err(LedgerError::Interrupted.into()),
    }
}
