//! The breakers of one tool, one per tenant, so that one tenant's failures don't block the tool for other tenants.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::events::{BreakerState, Transition};
use crate::resilience::{Breaker, BreakerSettings, BreakerStats, Override};

/// The number of breakers at which idle ones without state are dropped.
const SWEEP_THRESHOLD: usize = 1_024;

/// A closed breaker with failures is dropped after this long without a call.
const FAILURES_EXPIRE_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct ToolBreakers {
    name: String,
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_tenant: BTreeMap<Arc<str>, Entry>,
    /// An operator holds the tool's breakers open. This includes tenants that call it for the first time.
    held_open: bool,
    /// The number of breakers that triggers the next sweep.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    breaker: Arc<Breaker>,
    last_used: Instant,
}

impl ToolBreakers {
    pub(super) fn new(tool: &str, settings: BreakerSettings) -> Self {
        Self {
            name: format!("tool:{tool}"),
            settings,
            inner: Mutex::new(Inner {
                by_tenant: BTreeMap::new(),
                held_open: false,
                sweep_at: SWEEP_THRESHOLD,
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The breaker for a tenant's calls, created on first use.
    pub(super) fn for_tenant(&self, tenant: &str) -> Arc<Breaker> {
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some(entry) = inner.by_tenant.get_mut(tenant) {
            entry.last_used = now;
            return entry.breaker.clone();
        }
        inner.sweep(now);
        let breaker = Arc::new(self.new_breaker(&inner));
        let entry = Entry {
            breaker: breaker.clone(),
            last_used: now,
        };
        inner.by_tenant.insert(tenant.into(), entry);
        breaker
    }

    /// The state of a tenant's breaker. For an unknown tenant, the state a new breaker would have.
    pub(super) fn stats(&self, tenant: &str) -> BreakerStats {
        let inner = self.lock();
        match inner.by_tenant.get(tenant) {
            Some(entry) => entry.breaker.stats(),
            None => self.new_breaker(&inner).stats(),
        }
    }

    /// Overrides the breakers of all tenants, including `tenant`. Returns the transitions by tenant.
    pub(super) fn apply_override(&self, tenant: &str, to: Override) -> Vec<(Arc<str>, Transition)> {
        self.for_tenant(tenant);
        let mut inner = self.lock();
        inner.held_open = to == Override::Open;
        let changed = inner.by_tenant.iter().filter_map(|(tenant, entry)| {
            let transition = entry.breaker.apply_override(to)?;
            Some((tenant.clone(), transition))
        });
        changed.collect()
    }

    /// Holds the breakers of all tenants open, before any of them was used.
    pub(super) fn hold_open(&self) {
        self.lock().held_open = true;
    }

    fn new_breaker(&self, inner: &Inner) -> Breaker {
        let breaker = Breaker::new(self.name.clone(), self.settings.clone());
        if inner.held_open {
            breaker.apply_override(Override::Open);
        }
        breaker
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn sweep(&mut self, now: Instant) {
        if self.by_tenant.len() < self.sweep_at {
            return;
        }
        let held_open = self.held_open;
        self.by_tenant.retain(|_, entry| entry.is_needed(now, held_open));
        // Doubling keeps the amortised cost per insertion constant, however many breakers must stay.
        self.sweep_at = SWEEP_THRESHOLD.max(self.by_tenant.len() * 2);
    }
}

impl Entry {
    /// Whether a new breaker would behave differently, or a running call still holds this one.
    fn is_needed(&self, now: Instant, held_open: bool) -> bool {
        if Arc::strong_count(&self.breaker) > 1 {
            return true;
        }
        let stats = self.breaker.stats();
        match stats.state {
            // Once the open time is over, a new closed breaker may take its place.
            BreakerState::Open => !held_open && stats.time_until_retry_seconds != Some(0.0),
            BreakerState::Closed if stats.failure_count == 0 && stats.window.is_none_or(|window| window.calls == 0) => {
                false
            }
            BreakerState::Closed | BreakerState::HalfOpen => now.duration_since(self.last_used) < FAILURES_EXPIRE_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn breakers() -> ToolBreakers {
        let settings = BreakerSettings {
            failure_threshold: 2,
            ..BreakerSettings::default()
        };
        ToolBreakers::new("t", settings)
    }

    fn fail(breakers: &ToolBreakers, tenant: &str) {
        let (permit, _) = breakers.for_tenant(tenant).try_acquire().unwrap();
        permit.failure();
    }

    #[tokio::test]
    async fn sweeps_drop_idle_tenants_but_keep_open_breakers() {
        let breakers = breakers();
        fail(&breakers, "unlucky");
        fail(&breakers, "unlucky");
        let under_way = breakers.for_tenant("busy");
        for tenant in 0..100_000 {
            breakers.for_tenant(&tenant.to_string());
        }
        assert!(breakers.lock().by_tenant.len() <= SWEEP_THRESHOLD);
        assert_eq!(breakers.for_tenant("unlucky").state(), BreakerState::Open);
        assert!(Arc::ptr_eq(&under_way, &breakers.for_tenant("busy")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_is_dropped_once_its_open_time_is_over() {
        let breakers = breakers();
        fail(&breakers, "gone");
        fail(&breakers, "gone");
        tokio::time::advance(breakers.settings.open_for).await;
        for tenant in 0..SWEEP_THRESHOLD {
            breakers.for_tenant(&tenant.to_string());
        }
        assert!(!breakers.lock().by_tenant.contains_key("gone"));
    }

    #[tokio::test]
    async fn a_tool_held_open_is_open_for_later_tenants() {
        let breakers = breakers();
        breakers.for_tenant("early");
        let changed = breakers.apply_override("operator", Override::Open);
        assert_eq!(changed.len(), 2);
        for tenant in ["early", "late"] {
            assert!(breakers.for_tenant(tenant).try_acquire().is_err(), "{tenant}");
        }
        assert_eq!(breakers.apply_override("operator", Override::Closed).len(), 3);
        for tenant in ["early", "late", "later"] {
            assert!(breakers.for_tenant(tenant).try_acquire().is_ok(), "{tenant}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_kept_until_they_expire() {
        let breakers = breakers();
        for tenant in 0..SWEEP_THRESHOLD * 4 {
            fail(&breakers, &tenant.to_string());
        }
        assert_eq!(breakers.lock().by_tenant.len(), SWEEP_THRESHOLD * 4);
        tokio::time::advance(FAILURES_EXPIRE_AFTER).await;
        for tenant in 0..SWEEP_THRESHOLD * 5 {
            breakers.for_tenant(&format!("new{tenant}"));
        }
        assert!(breakers.lock().by_tenant.len() <= SWEEP_THRESHOLD * 4);
    }

    #[tokio::test]
    async fn reading_stats_creates_no_breaker() {
        let breakers = breakers();
        breakers.apply_override("operator", Override::Open);
        assert_eq!(breakers.stats("nobody").state, BreakerState::Open);
        for tenant in 0..SWEEP_THRESHOLD * 2 {
            breakers.for_tenant(&tenant.to_string());
        }
        assert!(
            breakers.lock().by_tenant.len() <= SWEEP_THRESHOLD,
            "breakers held open for all tenants"
        );
        breakers.apply_override("operator", Override::Reset);
        assert_eq!(breakers.stats("nobody").state, BreakerState::Closed);
        assert!(!breakers.lock().by_tenant.contains_key("nobody"));
    }
}
