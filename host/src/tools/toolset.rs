//! The tools of a host, each with its breaker and its places.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::breakers::ToolBreakers;
use super::policy::ToolPolicy;
use super::registry::{self, PluginError, Tool};
use super::settings::PluginSettings;
use crate::events::Transition;
use crate::resilience::{Breaker, BreakerStats, ConcurrencyLimit, FairPermit, Override, Saturated};
use crate::sandbox::Sandbox;

/// Every tool of a host.
#[derive(Debug)]
pub struct ToolSet {
    slots: Vec<Slot>,
    /// Positions in `slots`, by name.
    names: HashMap<String, usize>,
    host: ConcurrencyLimit,
    /// Long checks of inputs against schemas: they compute, so more than there are cores would only get in each other's way.
    checks: ConcurrencyLimit,
    queue_timeout: Duration,
    problems: Vec<PluginError>,
    policy: Option<Arc<dyn ToolPolicy>>,
}

/// A tool and what all calls of it share.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tool: Tool,
    breakers: ToolBreakers,
    places: ConcurrencyLimit,
    /// Long checks for all tools of the plugin.
    checks: ConcurrencyLimit,
}

impl Slot {
    fn new(tool: Tool, checks: ConcurrencyLimit) -> Self {
        let places = ConcurrencyLimit::new(format!("tool:{}", tool.name), tool.limits().concurrency as usize);
        Self {
            breakers: ToolBreakers::new(&tool.name, tool.breaker.clone()),
            places,
            checks,
            tool,
        }
    }

    pub(super) fn breaker(&self, tenant: &str) -> Arc<Breaker> {
        self.breakers.of(tenant)
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
        // A check goes on although nobody waits for it any more: neither a tenant nor a plugin ever has all places.
        let checks = cores().max(2);
        let mut of_plugins: HashMap<String, ConcurrencyLimit> = HashMap::new();
        let slots = tools.into_iter().map(|tool| {
            let of_plugin = of_plugins
                .entry(tool.plugin.clone())
                .or_insert_with_key(|plugin| ConcurrencyLimit::new(format!("schema checks of {plugin}"), checks / 2));
            let of_plugin = of_plugin.clone();
            Slot::new(tool, of_plugin)
        });
        Ok(Self {
            slots: slots.collect(),
            names,
            host: ConcurrencyLimit::new("host", host_concurrency as usize),
            checks: ConcurrencyLimit::new("schema checks", checks).with_max_per_tenant(checks / 2),
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

    /// How the breakers of a tenant's tools stand.
    pub fn breakers(&self, tenant: &str) -> Vec<BreakerStats> {
        self.slots.iter().map(|slot| slot.breakers.stats(tenant)).collect()
    }

    /// Moves the breaker of this name for all tenants, `tenant` among them. Returns what changed, and for whom; `None`: none has
    /// this name.
    pub fn override_breaker(&self, tenant: &str, name: &str, to: Override) -> Option<Vec<(Arc<str>, Transition)>> {
        let slot = self.slots.iter().find(|slot| slot.breakers.name() == name)?;
        Some(slot.breakers.apply_override(tenant, to))
    }

    /// Plugins that did not load, with the reason.
    pub fn problems(&self) -> &[PluginError] {
        &self.problems
    }

    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.names.get(name).and_then(|position| self.slots.get(*position))
    }

    /// Places for a call.
    pub(super) async fn acquire(&self, slot: &Slot, tenant: &Arc<str>) -> Result<[FairPermit; 2], Saturated> {
        self.acquire_both(&slot.places, &self.host, tenant).await
    }

    /// Places for a long check.
    pub(super) async fn acquire_check(&self, slot: &Slot, tenant: &Arc<str>) -> Result<[FairPermit; 2], Saturated> {
        self.acquire_both(&slot.checks, &self.checks, tenant).await
    }

    /// First its own, so that a queue for those takes no places from others.
    async fn acquire_both(
        &self,
        own: &ConcurrencyLimit,
        shared: &ConcurrencyLimit,
        tenant: &Arc<str>,
    ) -> Result<[FairPermit; 2], Saturated> {
        let started = tokio::time::Instant::now();
        let own = own.acquire(tenant, self.queue_timeout).await?;
        let wait = self.queue_timeout.saturating_sub(started.elapsed());
        let shared = shared.acquire(tenant, wait).await?;
        Ok([own, shared])
    }
}
