//! Blocking work: name lookups, files, the key-value store. It holds a thread until it is done, even if its caller has given
//! up. The process has a bounded pool of such threads, and the ledger needs them too. Guests therefore share a few permits,
//! fairly between tenants, and no plugin can hold most of them.
//!
//! A separate task waits for the permits: a guest is polled only on its turn at the processor, and a permit granted before
//! then would sit unused.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::resilience::{FairSemaphore, Priority, Share};

/// Caps the time charged per operation, so that a hung disk doesn't starve the tenant that hit it.
const MAX_CHARGE: Duration = Duration::from_millis(100);

/// One kind of blocking work. Clones share its permits.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct BlockingWork {
    shared: FairSemaphore,
    /// The permits of one plugin.
    own: Option<FairSemaphore>,
    permits: PermitCounts,
}

/// How many operations can run at the same time.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct PermitCounts {
    pub(in crate::sandbox) total: usize,
    /// Across all plugins that the tenant uses.
    pub(in crate::sandbox) per_tenant: usize,
    /// Across all tenants. One tenant gets at most half of them: it can hold them while it waits for a shared permit.
    pub(in crate::sandbox) per_plugin: usize,
}

/// Submitted work. Dropping it cancels work that waits for a permit; work that has started goes on and keeps its permit.
pub(in crate::sandbox) type Submitted<T> = AbortOnDropHandle<Result<T, JoinError>>;

impl BlockingWork {
    pub(in crate::sandbox) fn new(permits: PermitCounts, share: Share) -> Self {
        Self {
            shared: FairSemaphore::new(permits.total, share)
                .with_max_per_tenant(permits.per_tenant)
                .with_max_charge(MAX_CHARGE),
            own: None,
            permits,
        }
    }

    /// Runs one operation at a time, shared by time.
    pub(in crate::sandbox) fn one_at_a_time() -> Self {
        let one = PermitCounts {
            total: 1,
            per_tenant: 1,
            per_plugin: 1,
        };
        Self::new(one, Share::Time)
    }

    pub(in crate::sandbox) fn for_plugin(&self) -> Self {
        let permits = self.permits.per_plugin;
        let own = FairSemaphore::new(permits, Share::Permits).with_max_per_tenant(permits.div_ceil(2));
        Self {
            own: Some(own),
            ..self.clone()
        }
    }

    /// Starts `work` on behalf of `tenant` as soon as there is a permit.
    pub(in crate::sandbox) fn submit<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Submitted<T> {
        let (own, shared, tenant) = (self.own.clone(), self.shared.clone(), tenant.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let own = match own {
                Some(own) => Some(own.acquire(&tenant, Priority::New).await),
                None => None,
            };
            let shared = shared.acquire(&tenant, Priority::New).await;
            let started = tokio::spawn(async move {
                let _permits = (own, shared);
                work.await
            });
            started.await
        }))
    }

    /// Submits `work` and waits for it. Panics if `work` panics.
    pub(in crate::sandbox) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        done(self.submit(tenant, work).await.flatten()).await
    }
}

/// Runs `work`, which can block, on a thread of the blocking pool.
pub(in crate::sandbox) async fn on_blocking_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    done(tokio::task::spawn_blocking(work).await).await
}

/// The result of a task that is never aborted while it is awaited, so that it has finished or panicked.
async fn done<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Sender, channel};

    use futures_util::FutureExt;

    use super::*;

    const fn permits(total: usize, per_tenant: usize, per_plugin: usize) -> PermitCounts {
        PermitCounts {
            total,
            per_tenant,
            per_plugin,
        }
    }

    /// Work that hangs until its `Sender` is dropped, and a count of how often it has started.
    fn hanging() -> (impl Fn(), Arc<AtomicUsize>, Sender<()>) {
        let started = Arc::new(AtomicUsize::new(0));
        let (end, ended) = channel::<()>();
        let ended = Mutex::new(ended);
        let counted = started.clone();
        let hang = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = ended.lock().unwrap().recv();
        };
        (hang, started, end)
    }

    async fn give_up(
        work: &BlockingWork,
        tenant: &Arc<str>,
        hang: &Arc<impl Fn() + Send + Sync + 'static>,
        times: u32,
    ) {
        for _ in 0..times {
            let hang = hang.clone();
            let hangs = work.run(tenant, on_blocking_thread(move || hang()));
            let waited = tokio::time::timeout(Duration::from_millis(5), hangs).await;
            assert!(waited.is_err(), "given up");
        }
    }

    async fn until(started: &AtomicUsize, count: usize) {
        while started.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn abandoned_work_holds_no_more_than_its_permits() {
        let work = BlockingWork::new(permits(32, 8, 8), Share::Permits);
        let (hang, started, end) = hanging();
        let hang = Arc::new(hang);
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        give_up(&work, &loud, &hang, 50).await;
        until(&started, 8).await;
        // Another tenant is served, and nothing else has started meanwhile.
        assert_eq!(work.run(&quiet, async { 7 }).await, 7);
        assert_eq!(started.load(Ordering::SeqCst), 8);
        drop(end);
        assert_eq!(work.run(&loud, async { 7 }).await, 7);
        assert_eq!(
            started.load(Ordering::SeqCst),
            8,
            "abandoned work in the queue never starts"
        );
    }

    #[tokio::test]
    async fn a_plugin_with_many_tenants_leaves_permits_to_other_plugins() {
        let work = BlockingWork::new(permits(8, 4, 2), Share::Permits);
        let (bad, good) = (work.for_plugin(), work.for_plugin());
        let (hang, started, end) = hanging();
        let hang = Arc::new(hang);
        for tenant in ["a", "b", "c", "d"] {
            give_up(&bad, &tenant.into(), &hang, 4).await;
        }
        until(&started, 2).await;
        assert_eq!(good.run(&"a".into(), async { 7 }).await, 7);
        assert_eq!(started.load(Ordering::SeqCst), 2);
        drop(end);
    }

    /// The tenant holds permits of the plugin while it waits for shared ones.
    #[tokio::test]
    async fn a_tenant_that_waits_leaves_permits_of_each_plugin() {
        let work = BlockingWork::new(permits(8, 2, 4), Share::Permits);
        let (bad, good) = (work.for_plugin(), work.for_plugin());
        let (hang, started, end) = hanging();
        let hang = Arc::new(hang);
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        give_up(&bad, &loud, &hang, 2).await;
        until(&started, 2).await;
        let waiting: Vec<_> = (0..8).map(|_| good.submit(&loud, async {})).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(good.run(&quiet, async { 7 }).await, 7);
        drop(waiting);
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_reaches_the_caller_and_releases_the_permit() {
        let work = BlockingWork::one_at_a_time();
        let tenant: Arc<str> = "t".into();
        let panics = work.run(&tenant, on_blocking_thread(|| panic!("on purpose")));
        assert!(std::panic::AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(work.run(&tenant, async { 7 }).await, 7);
    }
}
