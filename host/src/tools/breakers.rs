//! The breakers of one tool, one for each tenant: one tenant's bad luck with a tool closes it to nobody else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::resilience::{Breaker, BreakerSettings, BreakerState, ByHand, Transition};

/// Tenants that are remembered for nothing. Beyond, those whose breaker has nothing to tell are forgotten.
const REMEMBERED: usize = 1_024;

#[derive(Debug)]
pub(super) struct ToolBreakers {
    name: String,
    settings: BreakerSettings,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_tenant: BTreeMap<Arc<str>, Arc<Breaker>>,
    /// An operator holds the tool out of service, for tenants as well who come later.
    held_open: bool,
}

impl ToolBreakers {
    pub(super) fn new(tool: &str, settings: BreakerSettings) -> Self {
        Self {
            name: format!("tool:{tool}"),
            settings,
            inner: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn of(&self, tenant: &str) -> Arc<Breaker> {
        let mut inner = self.lock();
        if let Some(breaker) = inner.by_tenant.get(tenant) {
            return breaker.clone();
        }
        if inner.by_tenant.len() >= REMEMBERED {
            inner.by_tenant.retain(|_, breaker| has_something_to_tell(breaker));
        }
        let breaker = Arc::new(Breaker::new(self.name.clone(), self.settings.clone()));
        if inner.held_open {
            breaker.move_by_hand(ByHand::Open);
        }
        inner.by_tenant.insert(tenant.into(), breaker.clone());
        breaker
    }

    /// Moves those of all tenants. Returns what changed, and for whom.
    pub(super) fn move_by_hand(&self, to: ByHand) -> Vec<(Arc<str>, Transition)> {
        let mut inner = self.lock();
        inner.held_open = to == ByHand::Open;
        let moved = inner.by_tenant.iter().filter_map(|(tenant, breaker)| {
            let transition = breaker.move_by_hand(to)?;
            Some((tenant.clone(), transition))
        });
        moved.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a new breaker in its place would behave otherwise, or a call is under way that will tell it something.
fn has_something_to_tell(breaker: &Arc<Breaker>) -> bool {
    let stats = breaker.stats();
    let is_as_new = stats.state == BreakerState::Closed && stats.failure_count == 0;
    // Its time is up: whoever comes next finds out anew.
    let is_over = stats.time_until_retry_seconds == Some(0.0);
    Arc::strong_count(breaker) > 1 || !(is_as_new || is_over)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn breakers() -> ToolBreakers {
        let settings = BreakerSettings {
            failure_threshold: 1,
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
        let moved = breakers.move_by_hand(ByHand::Open);
        assert_eq!(moved.len(), 1);
        for tenant in ["early", "late"] {
            assert!(breakers.of(tenant).try_acquire().is_err(), "{tenant}");
        }
        assert_eq!(breakers.move_by_hand(ByHand::Closed).len(), 2);
        for tenant in ["early", "late", "later"] {
            assert!(breakers.of(tenant).try_acquire().is_ok(), "{tenant}");
        }
    }
}
