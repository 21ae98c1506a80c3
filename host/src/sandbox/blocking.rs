//! Work that goes on until it is done, whoever has stopped waiting for it, and holds a thread meanwhile: lookups of names,
//! files, the key-value store. The process has only so many such threads, and the ledger needs them too; so guests have few,
//! shared fairly between tenants, and no plugin has most of them.
//!
//! Places are waited for in a task of their own: a guest gets on only when it has its turn at the processor, and a place that
//! it was given meanwhile would stand empty until then.

use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

use crate::resilience::{FairPlaces, Share, Standing};

/// A kind of such work. Clones share its places.
#[derive(Clone, Debug)]
pub(super) struct BlockingWork {
    shared: FairPlaces,
    /// Those of one plugin.
    own: Option<FairPlaces>,
    at_once: usize,
}

/// Work that was ordered. Dropping it takes back the order; what was begun is done all the same, and keeps its place.
pub(super) type Ordered<T> = AbortOnDropHandle<Result<T, JoinError>>;

impl BlockingWork {
    /// At most so many at the same time, in all and for one tenant.
    pub(super) fn new(at_once: usize, for_one_tenant: usize) -> Self {
        Self {
            shared: FairPlaces::new(at_once, Share::Places).with_most_for_one(for_one_tenant),
            own: None,
            at_once,
        }
    }

    /// One after the other, by time.
    pub(super) fn one_at_a_time() -> Self {
        Self {
            shared: FairPlaces::new(1, Share::Time),
            own: None,
            at_once: 1,
        }
    }

    /// For one plugin: a quarter of the places at most, whatever tenants it works for.
    pub(super) fn of_a_plugin(&self) -> Self {
        Self {
            own: Some(FairPlaces::new(self.at_once.div_ceil(4), Share::Places)),
            ..self.clone()
        }
    }

    /// Has `work` done on behalf of `tenant`, as soon as there is a place.
    pub(super) fn order<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Ordered<T> {
        let (own, shared, tenant) = (self.own.clone(), self.shared.clone(), tenant.clone());
        AbortOnDropHandle::new(tokio::spawn(async move {
            let own = match own {
                Some(own) => Some(own.acquire(&tenant, Standing::Newcomer).await),
                None => None,
            };
            let place = shared.acquire(&tenant, Standing::Newcomer).await;
            let begun = tokio::spawn(async move {
                let _places = (own, place);
                work.await
            });
            begun.await
        }))
    }

    /// Waits for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        self.order(tenant, work).await.flatten()
    }
}

/// What blocks, on a thread for it.
pub(super) async fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // It is never aborted, so it panicked; and so does whoever asked for it.
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
    use std::time::Duration;

    use super::*;

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
        let work = BlockingWork::new(32, 8);
        let (hang, begun, end) = hanging();
        let hang = Arc::new(hang);
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        give_up(&work, &loud, &hang, 50).await;
        until(&begun, 8).await;
        // Somebody else is served, and nothing more was begun meanwhile.
        assert_eq!(work.run(&quiet, async { 7 }).await.unwrap(), 7);
        assert_eq!(begun.load(Ordering::SeqCst), 8);
        drop(end);
        assert_eq!(work.run(&loud, async { 7 }).await.unwrap(), 7);
        assert_eq!(
            begun.load(Ordering::SeqCst),
            8,
            "what was given up in the line is not begun later"
        );
    }

    #[tokio::test]
    async fn a_plugin_that_works_for_many_tenants_leaves_places_for_others() {
        let work = BlockingWork::new(8, 4);
        let (bad, good) = (work.of_a_plugin(), work.of_a_plugin());
        let (hang, begun, end) = hanging();
        let hang = Arc::new(hang);
        for tenant in ["a", "b", "c", "d"] {
            give_up(&bad, &tenant.into(), &hang, 4).await;
        }
        until(&begun, 2).await;
        assert_eq!(good.run(&"a".into(), async { 7 }).await.unwrap(), 7);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
        drop(end);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_gives_its_place_back() {
        let work = BlockingWork::one_at_a_time();
        let tenant: Arc<str> = "t".into();
        let panicked = work.run(&tenant, on_a_thread(|| panic!("as told"))).await;
        assert!(panicked.is_err_and(|error: JoinError| error.is_panic()));
        assert_eq!(work.run(&tenant, async { 7 }).await.unwrap(), 7);
    }
}
