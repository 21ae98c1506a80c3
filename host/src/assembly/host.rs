//! A host: everything that runs share, built from a configuration.

use std::sync::Arc;
use std::time::Duration;

use super::builder::HostBuilder;
use crate::agent::{Agent, DEFAULT_TENANT, Session, TenantNameError};
use crate::config::Config;
use crate::ledger::Ledger;
use crate::resilience::{BreakerStats, ByHand};
use crate::telemetry::EventBus;
use crate::tools::ToolSet;

/// How long a host waits at its end for observers that lag behind.
const FLUSH: Duration = Duration::from_secs(5);

/// Runs agents. Cheap to share: sessions of one host use one pool of instances, one ledger and the same breakers.
///
/// ```no_run
/// use cofferdam::agent::RunOptions;
/// use cofferdam::assembly::Host;
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
    config: Arc<Config>,
    agent: Agent,
}

impl Host {
    pub(super) fn new(config: Config, agent: Agent) -> Self {
        Self {
            config: Arc::new(config),
            agent,
        }
    }

    /// Starts with a configuration, from a file or [`Config::default`].
    pub fn builder(config: Config) -> HostBuilder {
        HostBuilder::new(config)
    }

    /// Opens a conversation of the default tenant.
    pub fn session(&self) -> Session {
        self.agent.session()
    }

    /// Opens a conversation on behalf of a tenant, who shares places and turns fairly with the others, and whose kept data and
    /// breakers of tools are its own.
    ///
    /// # Errors
    ///
    /// Where the name is none that a tenant can have.
    pub fn session_of(&self, tenant: &str) -> Result<Session, TenantNameError> {
        self.agent.session_of(tenant)
    }

    pub fn tools(&self) -> &ToolSet {
        self.agent.tools()
    }

    /// How the model's breaker and those of the default tenant's tools stand. Their names are `model:ID` and `tool:NAME`.
    pub fn breakers(&self) -> Vec<BreakerStats> {
        self.breakers_of(DEFAULT_TENANT)
    }

    /// Likewise for another tenant.
    pub fn breakers_of(&self, tenant: &str) -> Vec<BreakerStats> {
        self.agent.breakers(tenant)
    }

    /// Holds a breaker open, without probes, until it is closed by hand: while its dependency is out of service. That of a
    /// tool is held open for all tenants. Observers are told, as of every other change. False: no breaker has this name.
    pub fn force_open(&self, breaker: &str) -> bool {
        self.agent.move_breaker(breaker, ByHand::Open)
    }

    /// Closes a breaker now, for all tenants, with no failure counted. False: no breaker has this name.
    pub fn force_closed(&self, breaker: &str) -> bool {
        self.agent.move_breaker(breaker, ByHand::Closed)
    }

    /// Makes a breaker as good as new, for all tenants: closed, and every count zero. False: no breaker has this name.
    pub fn reset_breaker(&self, breaker: &str) -> bool {
        self.agent.move_breaker(breaker, ByHand::Reset)
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

    /// Waits a moment for observers to catch up. Returns the number of events that observers lost.
    pub async fn shutdown(self) -> u64 {
        self.agent.events().flush(FLUSH).await
    }
}
