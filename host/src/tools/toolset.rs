//! The tools of a host, each with its breaker and its places.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::policy::ToolPolicy;
use super::registry::{self, PluginError, Tool};
use super::settings::PluginSettings;
use crate::resilience::{Breaker, ConcurrencyLimit, FairPlace, Saturated};
use crate::sandbox::Sandbox;

/// Every tool of a host.
#[derive(Debug)]
pub struct ToolSet {
    slots: Vec<Slot>,
    /// Positions in `slots`, by name.
    names: HashMap<String, usize>,
    host: ConcurrencyLimit,
    /// Long checks of inputs against schemas: they compute, so more than there are cores would only get in each other's way.
    pub(super) checks: ConcurrencyLimit,
    queue_timeout: Duration,
    problems: Vec<PluginError>,
    policy: Option<Arc<dyn ToolPolicy>>,
}

/// A tool and what all calls of it share.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tool: Tool,
    /// By tenant: one tenant's bad luck with a tool closes it to nobody else.
    breakers: Mutex<BTreeMap<String, Arc<Breaker>>>,
    places: ConcurrencyLimit,
}

impl Slot {
    fn new(tool: Tool) -> Self {
        let places = ConcurrencyLimit::new(format!("tool:{}", tool.name), tool.limits().concurrency as usize);
        Self {
            breakers: Mutex::default(),
            places,
            tool,
        }
    }

    pub(super) fn breaker(&self, tenant: &str) -> Arc<Breaker> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = breakers.get(tenant) {
            return breaker.clone();
        }
        let breaker = Arc::new(Breaker::new(
            format!("tool:{}", self.tool.name),
            self.tool.breaker.clone(),
        ));
        breakers.insert(tenant.to_owned(), breaker.clone());
        breaker
    }
}

/// Why a host cannot start with these plugins.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct LoadError {
    pub problems: Vec<PluginError>,
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn list(problems: &[PluginError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl ToolSet {
    /// Loads every plugin. One that cannot be loaded keeps none of the others from serving, unless it is required.
    ///
    /// # Errors
    ///
    /// Where a required plugin does not load, or a pinned one is another component or has not the tools that the
    /// configuration expects. All problems are reported together.
    pub async fn load(
        sandbox: &Sandbox,
        plugins: &[PluginSettings],
        host_concurrency: u32,
        queue_timeout: Duration,
    ) -> Result<Self, LoadError> {
        let (tools, problems) = registry::load(sandbox, plugins, host_concurrency).await;
        for problem in problems.iter().filter(|problem| !problem.fatal) {
            tracing::warn!(
                plugin = problem.plugin,
                hint = problem.hint(),
                "{problem}; it is left out"
            );
        }
        if problems.iter().any(|problem| problem.fatal) {
            return Err(LoadError { problems });
        }
        let names = tools
            .iter()
            .enumerate()
            .map(|(position, tool)| (tool.name.clone(), position))
            .collect();
        Ok(Self {
            slots: tools.into_iter().map(Slot::new).collect(),
            names,
            host: ConcurrencyLimit::new("host", host_concurrency as usize),
            checks: ConcurrencyLimit::new("schema checks", cores()),
            queue_timeout,
            problems,
            policy: None,
        })
    }

    /// Asks `policy` before every call.
    #[must_use]
    pub fn with_policy(mut self, policy: Option<Arc<dyn ToolPolicy>>) -> Self {
        self.policy = policy;
        self
    }

    pub(super) fn policy(&self) -> Option<&dyn ToolPolicy> {
        self.policy.as_deref()
    }

    /// Always in the same order, so that prompt caches hold.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.slots.iter().map(|slot| &slot.tool)
    }

    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.slot(name).map(|slot| &slot.tool)
    }

    /// The breakers of a tenant's tools; a tool that was never called has a closed one.
    pub fn breakers(&self, tenant: &str) -> Vec<Arc<Breaker>> {
        self.slots.iter().map(|slot| slot.breaker(tenant)).collect()
    }

    /// Plugins that did not load, with the reason.
    pub fn problems(&self) -> &[PluginError] {
        &self.problems
    }

    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.names.get(name).and_then(|position| self.slots.get(*position))
    }

    pub(super) fn queue_timeout(&self) -> Duration {
        self.queue_timeout
    }

    /// A place at the tool, then one at the host, so that a queue at one tool takes no places from the others.
    pub(super) async fn acquire(&self, slot: &Slot, tenant: &Arc<str>) -> Result<[FairPlace; 2], Saturated> {
        let started = tokio::time::Instant::now();
        let tool = slot.places.acquire(tenant, self.queue_timeout).await?;
        let wait = self.queue_timeout.saturating_sub(started.elapsed());
        let host = self.host.acquire(tenant, wait).await?;
        Ok([tool, host])
    }
}
