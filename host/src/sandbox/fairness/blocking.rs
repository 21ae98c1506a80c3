//! Work that goes on until it is done, whoever has stopped waiting for it, and holds a thread meanwhile: lookups of names,
//! files, the key-value store. The process has only so many such threads, and the ledger needs them too; so guests have few,
//! shared fairly between tenants, and no plugin has most of them.
//!
//! Places are waited for in a task of their own: a guest gets on only when it has its turn at the processor, and a place that
//! it was given meanwhile would stand empty until then.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::resilience::{FairSemaphore, Priority, Share};

/// A disk that hangs is nobody's fault.
const MOST_CHARGED: Duration = Duration::from_millis(100);

/// A kind of such work. Clones share its places.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct BlockingWork {
    shared: FairSemaphore,
    /// Those of one plugin.
    own: Option<FairSemaphore>,
    places: Places,
}

/// How much is done at the same time.
#[derive(Clone, Copy, Debug)]
pub(in crate::sandbox) struct Places {
    pub(in crate::sandbox) in_all: usize,
    /// Whatever plugins a tenant uses.
    pub(in crate::sandbox) for_a_tenant: usize,
    /// Whatever tenants it works for; half of them for one of these, which may wait for places elsewhere.
    pub(in crate::sandbox) for_a_plugin: usize,
}

/// Work that was ordered. Dropping it takes back the order; what was begun is done all the same, and keeps its place.
pub(in crate::sandbox) type Ordered<T> = AbortOnDropHandle<Result<T, JoinError>>;

impl BlockingWork {
    pub(in crate::sandbox) fn new(places: Places, share: Share) -> Self {
        Self {
            shared: FairSemaphore::new(places.in_all, share)
                .with_max_per_tenant(places.for_a_tenant)
                .with_max_charge(MOST_CHARGED),
            own: None,
            places,
        }
    }

    /// One after the other, by time.
    pub(in crate::sandbox) fn one_at_a_time() -> Self {
        let one = Places {
            in_all: 1,
            for_a_tenant: 1,
            for_a_plugin: 1,
        };
        Self::new(one, Share::Time)
    }

    pub(in crate::sandbox) fn of_a_plugin(&self) -> Self {
        let places = self.places.for_a_plugin;
        let own = FairSemaphore::new(places, Share::Permits).with_max_per_tenant(places.div_ceil(2));
        Self {
            own: Some(own),
            ..self.clone()
        }
    }

    /// Has `work` done on behalf of `tenant`, as soon as there is a place.
    pub(in crate::sandbox) fn order<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Ordered<T> {
        let (own, shared, tenant) = (self.own.clone(), self.shared.clone(), tenant.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let own = match own {
                Some(own) => Some(own.acquire(&tenant, Priority::New).await),
                None => None,
            };
            let place = shared.acquire(&tenant, Priority::New).await;
            let begun = tokio::spawn(async move {
                let _places = (own, place);
                work.await
            });
            begun.await
        }))
    }

    /// Waits for it. Where it panics, so does this.
    pub(in crate::sandbox) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        done(self.order(tenant, work).await.flatten()).await
    }
}

/// What blocks, on a thread for it.
pub(in crate::sandbox) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    done(tokio::task::spawn_blocking(work).await).await
}

/// What is waited for is never aborted, so it is done or panicked.
async fn done<T>(result: Result<T, JoinError>) -> T {
    match result {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends, and everything in it.
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

    const fn places(in_all: usize, for_a_tenant: usize, for_a_plugin: usize) -> Places {
        Places {
            in_all,
            for_a_tenant,
            for_a_plugin,
        }
    }

    /// Work that hangs until its `Sender` is dropped, and how much of it was begun.
    fn hanging() -> (impl Fn(), Arc<AtomicUsize>, Sender<()>) {
        let begun = Arc::new(AtomicUsize::new(0));
        let (end, ended) = channel::<()>();
        let ended = Mutex::new(ended);
        let counted = begun.clone();
        let hang = move || {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = ended.lock().unwrap().recv();
        };
        (hang, begun, end)
    }

    async fn give_up(
        work: &BlockingWork,
        tenant: &Arc<str>,
        hang: &Arc<impl Fn() + Send + Sync + 'static>,
        times: u32,
    ) {
        for _ in 0..times {
            let hang = hang.clone();
            let hangs = work.run(tenant, on_a_thread(move || hang()));
            let waited = tokio::time::timeout(Duration::from_millis(5), hangs).await;
            assert!(waited.is_err(), "given up");
        }
    }

    async fn until(begun: &AtomicUsize, count: usize) {
        while begun.load(Ordering::SeqCst) < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_takes_no_more_than_its_places() {
        let work = BlockingWork::new(places(32, 8, 8), Share::Permits);
        let (hang, begun, end) = hanging();
        let hang = Arc::new(hang);
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        give_up(&work, &loud, &hang, 50).await;
        until(&begun, 8).await;
        // Somebody else is served, and nothing more was begun meanwhile.
        assert_eq!(work.run(&quiet, async { 7 }).await, 7);
        assert_eq!(begun.load(Ordering::SeqCst), 8);
        drop(end);
        assert_eq!(work.run(&loud, async { 7 }).await, 7);
        assert_eq!(
            begun.load(Ordering::SeqCst),
            8,
            "what was given up in the line is not begun later"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_works_for_many_tenants_leaves_places_for_others() {
        let work = BlockingWork::new(places(8, 4, 2), Share::Permits);
        let (bad, good) = (work.of_a_plugin(), work.of_a_plugin());
        let (hang, begun, end) = hanging();
        let hang = Arc::new(hang);
        for tenant in ["a", "b", "c", "d"] {
            give_up(&bad, &tenant.into(), &hang, 4).await;
        }
        until(&begun, 2).await;
        assert_eq!(good.run(&"a".into(), async { 7 }).await, 7);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        drop(end);
    }

    /// It waits for places in all while it has some of its plugin's.
    #[tokio::test]
    async fn a_tenant_without_places_leaves_some_of_each_plugin() {
        let work = BlockingWork::new(places(8, 2, 4), Share::Permits);
        let (bad, good) = (work.of_a_plugin(), work.of_a_plugin());
        let (hang, begun, end) = hanging();
        let hang = Arc::new(hang);
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        give_up(&bad, &loud, &hang, 2).await;
        until(&begun, 2).await;
        let waiting: Vec<_> = (0..8).map(|_| good.order(&loud, async {})).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(good.run(&quiet, async { 7 }).await, 7);
        drop(waiting);
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_comes_back_and_gives_its_place_back() {
        let work = BlockingWork::one_at_a_time();
        let tenant: Arc<str> = "t".into();
        let panics = work.run(&tenant, on_a_thread(|| panic!("as told")));
        assert!(std::panic::AssertUnwindSafe(panics).catch_unwind().await.is_err());
        assert_eq!(work.run(&tenant, async { 7 }).await, 7);
    }
}
