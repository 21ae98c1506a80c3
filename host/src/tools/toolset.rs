//! The tools of a host, each with its breakers and its concurrency limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::breakers::ToolBreakers;
use super::policy::{ApproveCalls, ToolPolicy};
use super::problem::{LoadError, PluginError, PluginProblem, PluginWarning};
use super::registry::{self, Registered, Tool};
use super::settings::PluginSettings;
use crate::events::Transition;
use crate::resilience::{Breaker, BreakerStats, ConcurrencyLimit, FairPermit, Override, Saturated};
use crate::sandbox::Sandbox;

/// All tools of a host.
#[derive(Debug)]
pub struct ToolSet {
    slots: Vec<Slot>,
    /// Positions in `slots`, by name.
    names: HashMap<String, usize>,
    host: ConcurrencyLimit,
    /// Long checks of inputs against schemas. They are CPU-bound, so more than one per core gains nothing.
    checks: ConcurrencyLimit,
    queue_timeout: Duration,
    plugins: Vec<PluginSettings>,
    problems: Vec<PluginError>,
    warnings: Vec<PluginWarning>,
    policy: Option<Arc<dyn ToolPolicy>>,
    approve: ApproveCalls,
}

/// A tool and what its calls share.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) tool: Tool,
    breakers: Arc<ToolBreakers>,
    concurrency: ConcurrencyLimit,
    /// Limits long checks for all tools of the plugin.
    checks: ConcurrencyLimit,
}

impl Slot {
    fn new(tool: Tool, checks: ConcurrencyLimit) -> Self {
        let concurrency = ConcurrencyLimit::new(format!("tool:{}", tool.name), tool.limits().concurrency as usize);
        Self {
            breakers: Arc::new(ToolBreakers::new(&tool.name, tool.breaker.clone())),
            concurrency,
            checks,
            tool,
        }
    }

    pub(super) fn breaker(&self, tenant: &str) -> Arc<Breaker> {
        self.breakers.for_tenant(tenant)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

impl ToolSet {
    /// Loads every plugin. What is wrong with a plugin or a tool leaves that one out.
    ///
    /// # Errors
    ///
    /// Something is wrong with a plugin that is `required`. All problems are reported together.
    pub async fn load(
        sandbox: &Sandbox,
        plugins: &[PluginSettings],
        host_concurrency: u32,
        queue_timeout: Duration,
    ) -> Result<Self, LoadError> {
        let Registered {
            tools,
            problems,
            warnings,
        } = registry::load(sandbox, plugins, host_concurrency).await;
        for PluginWarning { plugin, text } in &warnings {
            tracing::warn!(plugin, "{text}");
        }
        for problem in problems.iter().filter(|problem| !problem.fatal) {
            let consequence = match problem.problem {
                PluginProblem::NoSuchTool { .. } => "the section has no effect",
                _ => "it is left out",
            };
            tracing::warn!(
                plugin = problem.plugin,
                hint = problem.hint(),
                "{problem}; {consequence}"
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
        // A check continues even if its call is gone, so no tenant and no plugin may ever hold all permits.
        let checks = cores().max(2);
        let mut checks_by_plugin: HashMap<String, ConcurrencyLimit> = HashMap::new();
        let slots = tools.into_iter().map(|tool| {
            let plugin_checks = checks_by_plugin
                .entry(tool.plugin.clone())
                .or_insert_with_key(|plugin| ConcurrencyLimit::new(format!("schema checks of {plugin}"), checks / 2));
            let plugin_checks = plugin_checks.clone();
            Slot::new(tool, plugin_checks)
        });
        Ok(Self {
            slots: slots.collect(),
            names,
            host: ConcurrencyLimit::new("host", host_concurrency as usize),
            checks: ConcurrencyLimit::new("schema checks", checks).with_max_per_tenant(checks / 2),
            queue_timeout,
            plugins: plugins.to_vec(),
            problems,
            warnings,
            policy: None,
            approve: ApproveCalls::Never,
        })
    }

    /// Asks `policy` before every call.
    #[must_use]
    pub fn with_policy(mut self, policy: Option<Arc<dyn ToolPolicy>>) -> Self {
        self.policy = policy;
        self
    }

    /// Has a person approve these calls. Default: none.
    #[must_use]
    pub fn with_approvals(mut self, approve: ApproveCalls) -> Self {
        self.approve = approve;
        self
    }

    pub(super) const fn approve_calls(&self) -> ApproveCalls {
        self.approve
    }

    /// Takes over the breakers and permits of a set that this one replaces, where nothing has changed: the plugin's settings,
    /// its component and the tool. Calls that still run with the old set keep their permits.
    #[must_use]
    pub fn continuing(mut self, previous: &Self) -> Self {
        for slot in &mut self.slots {
            let Some(old) = previous.slot(&slot.tool.name) else {
                continue;
            };
            let settings = |plugins: &[PluginSettings]| plugins.iter().find(|it| it.name == slot.tool.plugin).cloned();
            let is_unchanged = old.tool.plugin == slot.tool.plugin
                && old.tool.digest() == slot.tool.digest()
                && settings(&previous.plugins) == settings(&self.plugins);
            if is_unchanged {
                slot.breakers = Arc::clone(&old.breakers);
                slot.concurrency = old.concurrency.clone();
                slot.checks = old.checks.clone();
            }
        }
        if self.host.limit() == previous.host.limit() {
            self.host = previous.host.clone();
        }
        self.checks = previous.checks.clone();
        self
    }

    pub(super) fn policy(&self) -> Option<&dyn ToolPolicy> {
        self.policy.as_deref()
    }

    /// The tools, always in the same order so that prompt caches stay valid.
    pub fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.slots.iter().map(|slot| &slot.tool)
    }

    pub fn get(&self, name: &str) -> Option<&Tool> {
        self.slot(name).map(|slot| &slot.tool)
    }

    /// The state of the breakers of a tenant's tools.
    pub fn breakers(&self, tenant: &str) -> Vec<BreakerStats> {
        self.slots.iter().map(|slot| slot.breakers.stats(tenant)).collect()
    }

    /// Overrides the breaker of this name for all tenants, including `tenant`. Returns the transitions by tenant, or `None` if
    /// there is no such breaker.
    pub fn override_breaker(&self, tenant: &str, name: &str, to: Override) -> Option<Vec<(Arc<str>, Transition)>> {
        let slot = self.slots.iter().find(|slot| slot.breakers.name() == name)?;
        Some(slot.breakers.apply_override(tenant, to))
    }

    /// Opens the breaker of this name as another process left it: a tenant's, or, held open by an operator, those of all. Returns false
    /// if there is none.
    pub(crate) fn restore_breaker(
        &self,
        name: &str,
        tenant: Option<&str>,
        open_for: Option<Duration>,
        last_failure: Option<&str>,
    ) -> bool {
        let Some(slot) = self.slots.iter().find(|slot| slot.breakers.name() == name) else {
            return false;
        };
        match tenant {
            Some(tenant) => slot.breaker(tenant).restore(open_for, last_failure),
            None => slot.breakers.hold_open(),
        }
        true
    }

    /// The plugins and tools that are left out, with the reason.
    pub fn problems(&self) -> &[PluginError] {
        &self.problems
    }

    /// What tools lack without being left out.
    pub fn warnings(&self) -> &[PluginWarning] {
        &self.warnings
    }

    pub(super) fn slot(&self, name: &str) -> Option<&Slot> {
        self.names.get(name).and_then(|position| self.slots.get(*position))
    }

    /// Permits for a call.
    pub(super) async fn acquire(&self, slot: &Slot, tenant: &Arc<str>) -> Result<[FairPermit; 2], Saturated> {
        self.acquire_both(&slot.concurrency, &self.host, tenant).await
    }

    /// Permits for a long check.
    pub(super) async fn acquire_check(&self, slot: &Slot, tenant: &Arc<str>) -> Result<[FairPermit; 2], Saturated> {
        self.acquire_both(&slot.checks, &self.checks, tenant).await
    }

    /// Acquires the tool's or plugin's own permit first, so that waiting for it holds no shared permit.
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
