//! A host: everything that runs share, built from a configuration.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::breakers::Breakers;
use super::builder::HostBuilder;
use super::error::HostError;
use super::models::{RetryBudgets, Shared};
use crate::agent::{Agent, Session, SessionNameError, TenantNameError};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::model::{self, CapabilityError, Price, Prices, Provider};
use crate::resilience::{BreakerStats, Override};
use crate::store::{Store, StoreError};
use crate::telemetry::EventBus;
use crate::tools::ToolSet;

/// How long a host waits at shutdown for slow observers.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs agents. Cheap to clone: a host's sessions share its instance pool, ledger and breakers.
///
/// ```no_run
/// use cofferdam::agent::RunOptions;
/// use cofferdam::assembly::Host;
/// use cofferdam::config::Config;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// // `Config::default()` is for programs that set everything themselves: it reads neither a file nor a variable, not even the key.
/// let host = Host::builder(Config::load(None)?).build().await?;
/// let report = host.session().run("What is 25 * 17?", RunOptions::default()).await;
/// println!("{}: {}", report.outcome, report.answer);
/// host.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Host {
    config: Arc<Config>,
    /// That of the host of which this one is [another](Self::with_model).
    configured: Arc<Config>,
    /// That of [`HostBuilder::provider`].
    provider: Option<Arc<dyn Provider>>,
    agent: Agent,
    prices: Arc<Prices>,
    retry_budgets: RetryBudgets,
    breakers: Breakers,
}

impl Host {
    pub(super) fn new(
        config: Config,
        provider: Option<Arc<dyn Provider>>,
        agent: Agent,
        prices: Arc<Prices>,
        retry_budgets: RetryBudgets,
        breakers: Breakers,
    ) -> Self {
        let config = Arc::new(config);
        Self {
            configured: config.clone(),
            config,
            provider,
            agent,
            prices,
            retry_budgets,
            breakers,
        }
    }

    /// Starts from a configuration, loaded from a file or [`Config::default`].
    pub fn builder(config: Config) -> HostBuilder {
        HostBuilder::new(config)
    }

    /// Opens a conversation for the tenant of [`AgentSettings::tenant`](crate::agent::AgentSettings::tenant).
    pub fn session(&self) -> Session {
        self.agent.session()
    }

    /// Opens a conversation for a tenant. Tenants share permits and timeslices fairly. Stored data and tool breakers are per
    /// tenant.
    ///
    /// # Errors
    ///
    /// If the tenant name is invalid.
    pub fn session_for(&self, tenant: &str) -> Result<Session, TenantNameError> {
        self.agent.session_for(tenant)
    }

    /// Opens a conversation for a tenant, with an id that others can name it by. See [`Agent::session_named`].
    ///
    /// # Errors
    ///
    /// If the tenant name or the id is invalid.
    pub fn session_named(&self, tenant: &str, id: &str) -> Result<Session, SessionNameError> {
        self.agent.session_named(tenant, id)
    }

    /// Takes a kept session of a tenant over, to go on with it. See [`Agent::reopen`]; [`Store::find_session`] completes an id.
    ///
    /// # Errors
    ///
    /// There is no such session, a process that lives drives it, or it can't be read.
    pub async fn reopen(&self, tenant: &str, id: &str) -> Result<Session, StoreError> {
        self.agent.reopen(tenant, id).await
    }

    /// Where sessions are kept; `None`: they are not.
    pub fn store(&self) -> Option<&Store> {
        self.agent.store()
    }

    /// The same host with another model: the configured one or a [fallback](Config::fallback_models) of this id, else one of the
    /// configured provider. Both share all else, also the breakers of models that both use.
    ///
    /// # Errors
    ///
    /// See [`HostError`]. A host with a [provider of its own](HostBuilder::provider) has the model of that provider and no other:
    /// conversations that are meant for it never go to the configured one.
    pub async fn with_model(&self, model: &str) -> Result<Self, HostError> {
        let mut config = Config::clone(&self.configured);
        match &self.provider {
            Some(own) if own.model() == model => {}
            Some(_) => {
                return Err(HostError::NoProvider {
                    model: model.to_owned(),
                });
            }
            None => config.choose_model(model),
        }
        config.check()?;
        let prices = self.prices.clone();
        let models = Shared {
            config: &config,
            tls: &*crate::tls::client_config()?,
            prices: &prices,
            ledger: self.ledger(),
            retry_budgets: &self.retry_budgets,
            guards: &self.breakers.models,
        }
        .models(self.provider.clone())?;
        let agent = self.agent.with_model(models.chain);
        self.breakers.join(&agent, &models.new_breakers).await;
        let (retry_budgets, breakers) = (self.retry_budgets.clone(), self.breakers.clone());
        Ok(Self {
            configured: self.configured.clone(),
            ..Self::new(config, self.provider.clone(), agent, prices, retry_budgets, breakers)
        })
    }

    /// Asks the models' APIs whether they take the effort and the thinking that are set. Sends nothing if neither is, and nothing about a
    /// [provider of the program](HostBuilder::provider). An API that doesn't answer is only warned of.
    ///
    /// # Errors
    ///
    /// A model doesn't take what is set for it: [`HostError::Capability`].
    pub async fn check_capabilities(&self) -> Result<(), HostError> {
        let tls = crate::tls::client_config()?;
        let first = Some(&self.config.model).filter(|_| self.provider.is_none());
        let models = first.into_iter().chain(&self.config.fallback_models);
        // All at once, so that servers that don't answer cost the time of one.
        let checks = models.map(|settings| model::check_capabilities(settings, &tls));
        for checked in join_all(checks).await {
            match checked {
                Err(error @ CapabilityError::Unknown { .. }) => {
                    tracing::warn!("{error}; if it refuses the effort or the thinking that is set, the run fails");
                }
                checked => checked?,
            }
        }
        Ok(())
    }

    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The price of the model today; `None` if it is unknown.
    pub fn price(&self) -> Option<Price> {
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        self.prices.find(self.agent.model(), today)
    }

    /// Lets this host answer the next prompts of a session of [another one](Self::with_model).
    pub fn take_over(&self, session: &mut Session) {
        session.continue_with(&self.agent);
    }

    pub fn tools(&self) -> &ToolSet {
        self.agent.tools()
    }

    /// The status of the model's breaker and of the tool breakers of the tenant of [`Self::session`], named `model:ID` and
    /// `tool:NAME`.
    pub fn breakers(&self) -> Vec<BreakerStats> {
        self.breakers_for(&self.config.agent.tenant)
    }

    /// The same for another tenant.
    pub fn breakers_for(&self, tenant: &str) -> Vec<BreakerStats> {
        self.agent.breakers(tenant)
    }

    /// Holds a breaker open, without probes, until it is closed or reset. Use it while a dependency is out of service. A tool's
    /// breaker is held open for all tenants. Hosts that run already don't hear of it: [`Store::order_breaker`] tells all. Observers get
    /// the event, as for every other change. Returns false if no breaker has this name.
    pub fn force_open(&self, breaker: &str) -> bool {
        self.agent.override_breaker(breaker, Override::Open)
    }

    /// Closes a breaker now, for all tenants, with a failure count of 0. Returns false if no breaker has this name.
    pub fn force_closed(&self, breaker: &str) -> bool {
        self.agent.override_breaker(breaker, Override::Closed)
    }

    /// Closes a breaker and sets its counters to 0, for all tenants. Returns false if no breaker has this name.
    pub fn reset_breaker(&self, breaker: &str) -> bool {
        self.agent.override_breaker(breaker, Override::Reset)
    }

    pub fn ledger(&self) -> &Ledger {
        self.agent.ledger()
    }

    pub fn events(&self) -> &EventBus {
        self.agent.events()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Waits up to 5 s for observers to catch up. Returns the number of events that observers lost. Runs go on: cancel those that should
    /// end with [`RunOptions::cancel`](crate::agent::RunOptions::cancel) and await them before.
    pub async fn shutdown(self) -> u64 {
        self.agent.events().flush(FLUSH_TIMEOUT).await
    }
}
