//! The breakers of one tool, one for each tenant: one tenant's bad luck with a tool closes it to nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::events::{BreakerState, Transition};
use crate::resilience::{Breaker, BreakerSettings, BreakerStats, Override};

/// Breakers that are kept without a look at who has left. Beyond, those that have nothing to tell are forgotten.
const REMEMBERED: usize = 1_024;

/// A few failures are forgotten after such a time without a call.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct ToolBreakers {
    name: String,
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    by_tenant: BTreeMap<Arc<str>, Entry>,
    /// An operator holds the tool out of service, for tenants as well who come later.
    held_open: bool,
    /// How many there may be before those that can be forgotten are looked for.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    breaker: Arc<Breaker>,
    last_asked: Instant,
}

impl ToolBreakers {
    pub(super) fn new(tool: &str, settings: BreakerSettings) -> Self {
        Self {
            name: format!("tool:{tool}"),
            settings,
            inner: Mutex::new(Inner {
                by_tenant: BTreeMap::new(),
                held_open: false,
                sweep_at: REMEMBERED,
            }),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The breaker that a tenant's calls ask.
    pub(super) fn of(&self, tenant: &str) -> Arc<Breaker> {
        let now = Instant::now();
        let mut inner = self.lock();
        if let Some(entry) = inner.by_tenant.get_mut(tenant) {
            entry.last_asked = now;
            return entry.breaker.clone();
        }
        inner.sweep(now);
        let breaker = Arc::new(self.fresh(&inner));
        let entry = Entry {
            breaker: breaker.clone(),
            last_asked: now,
        };
        inner.by_tenant.insert(tenant.into(), entry);
        breaker
    }

    /// How it stands. Of a tenant that is not known, how it would.
    pub(super) fn stats(&self, tenant: &str) -> BreakerStats {
        let inner = self.lock();
        match inner.by_tenant.get(tenant) {
            Some(entry) => entry.breaker.stats(),
            None => self.fresh(&inner).stats(),
        }
    }

    /// Moves those of all tenants, `tenant` among them. Returns what changed, and for whom.
    pub(super) fn apply_override(&self, tenant: &str, to: Override) -> Vec<(Arc<str>, Transition)> {
        self.of(tenant);
        let mut inner = self.lock();
        inner.held_open = to == Override::Open;
        let moved = inner.by_tenant.iter().filter_map(|(tenant, entry)| {
            let transition = entry.breaker.apply_override(to)?;
            Some((tenant.clone(), transition))
        });
        moved.collect()
    }

    fn fresh(&self, inner: &Inner) -> Breaker {
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
        // Each is looked at a few times at most, however many have something to tell.
        self.sweep_at = REMEMBERED.max(self.by_tenant.len() * 2);
    }
}

impl Entry {
    /// Whether a new breaker in its place would behave otherwise, or a call is under way that will tell it something.
    fn is_needed(&self, now: Instant, held_open: bool) -> bool {
        if Arc::strong_count(&self.breaker) > 1 {
            return true;
        }
        let stats = self.breaker.stats();
        match stats.state {
            // Where its time is up, whoever comes next finds out anew.
            BreakerState::Open => !held_open && stats.time_until_retry_seconds != Some(0.0),
            BreakerState::Closed if stats.failure_count == 0 => false,
            BreakerState::Closed | BreakerState::HalfOpen => now.duration_since(self.last_asked) < FORGOTTEN_AFTER,
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
        let (permit, _) = breakers.of(tenant).try_acquire().unwrap();
        permit.failure();
    }

    #[tokio::test]
    async fn tenants_that_come_and_go_are_forgotten_and_open_breakers_are_not() {
        let breakers = breakers();
        fail(&breakers, "unlucky");
        fail(&breakers, "unlucky");
        let under_way = breakers.of("busy");
        for tenant in 0..100_000 {
            breakers.of(&tenant.to_string());
        }
        assert!(breakers.lock().by_tenant.len() <= REMEMBERED);
        assert_eq!(breakers.of("unlucky").state(), BreakerState::Open);
        assert!(Arc::ptr_eq(&under_way, &breakers.of("busy")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_whose_time_is_up_is_forgotten() {
        let breakers = breakers();
        fail(&breakers, "gone");
        fail(&breakers, "gone");
        tokio::time::advance(breakers.settings.open_for).await;
        for tenant in 0..REMEMBERED {
            breakers.of(&tenant.to_string());
        }
        assert!(!breakers.lock().by_tenant.contains_key("gone"));
    }

    #[tokio::test]
    async fn what_is_held_open_is_so_for_tenants_who_come_later() {
        let breakers = breakers();
        breakers.of("early");
        let moved = breakers.apply_override("operator", Override::Open);
        assert_eq!(moved.len(), 2);
        for tenant in ["early", "late"] {
            assert!(breakers.of(tenant).try_acquire().is_err(), "{tenant}");
        }
        assert_eq!(breakers.apply_override("operator", Override::Closed).len(), 3);
        for tenant in ["early", "late", "later"] {
            assert!(breakers.of(tenant).try_acquire().is_ok(), "{tenant}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_remembered_for_a_while() {
        let breakers = breakers();
        for tenant in 0..REMEMBERED * 4 {
            fail(&breakers, &tenant.to_string());
        }
        assert_eq!(breakers.lock().by_tenant.len(), REMEMBERED * 4);
        tokio::time::advance(FORGOTTEN_AFTER).await;
        for tenant in 0..REMEMBERED * 5 {
            breakers.of(&format!("new{tenant}"));
        }
        assert!(breakers.lock().by_tenant.len() <= REMEMBERED * 4);
    }

    #[tokio::test]
    async fn a_look_at_a_tenant_makes_nothing() {
        let breakers = breakers();
        breakers.apply_override("operator", Override::Open);
        assert_eq!(breakers.stats("nobody").state, BreakerState::Open);
        for tenant in 0..REMEMBERED * 2 {
            breakers.of(&tenant.to_string());
        }
        assert!(
            breakers.lock().by_tenant.len() <= REMEMBERED,
            "what is held open for all"
        );
        breakers.apply_override("operator", Override::Reset);
        assert_eq!(breakers.stats("nobody").state, BreakerState::Closed);
        assert!(!breakers.lock().by_tenant.contains_key("nobody"));
    }
}
