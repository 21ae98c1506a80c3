//! How much processor time the calls of one plugin take, by tenant.
//!
//! A call that waits for the processor may wait for the calls of its own plugin. That isn't the host's fault: otherwise a plugin
//! that spins in many calls at once would pass for the victim of a busy host, and no breaker would open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Tenants to remember before those without calls are removed.
const MAX_IDLE_TENANTS: usize = 64;

/// Processor time of a plugin's calls. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct PluginTime(Arc<Mutex<BTreeMap<Arc<str>, Weak<AtomicU64>>>>);

/// The time that the calls of one plugin have taken for one tenant, from the first of those that still run.
#[derive(Clone, Debug)]
pub(super) struct TenantTime(Arc<AtomicU64>);

impl PluginTime {
    pub(super) fn of(&self, tenant: &Arc<str>) -> TenantTime {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(time) = tenants.get(tenant).and_then(Weak::upgrade) {
            return TenantTime(time);
        }
        if tenants.len() >= MAX_IDLE_TENANTS {
            tenants.retain(|_, time| time.strong_count() > 0);
        }
        let time = Arc::new(AtomicU64::new(0));
        tenants.insert(tenant.clone(), Arc::downgrade(&time));
        TenantTime(time)
    }
}

impl TenantTime {
    pub(super) fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}
