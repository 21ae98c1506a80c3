//! Work that holds a thread until it is done, whoever has stopped waiting for it: lookups of names, files, the key-value
//! store. The process has only so many such threads, and the ledger needs them too; so guests have few, shared fairly between
//! tenants.

use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};

use crate::resilience::{FairPlace, FairPlaces, Share, Standing};

/// A kind of such work. Clones share its places.
#[derive(Clone, Debug)]
pub(super) struct BlockingWork(FairPlaces);

impl BlockingWork {
    /// At most so many at the same time, in all and for one tenant.
    pub(super) fn new(at_once: usize, for_one_tenant: usize) -> Self {
        Self(FairPlaces::new(at_once, Share::Places).with_most_for_one(for_one_tenant))
    }

    /// One after the other, by time.
    pub(super) fn one_at_a_time() -> Self {
        Self(FairPlaces::new(1, Share::Time))
    }

    /// Does `work` on behalf of `tenant`.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        tenant: &Arc<str>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        start(self.place(tenant).await, work).await
    }

    /// A place, as soon as there is one. Who lets go of the wait leaves the line.
    pub(super) async fn place(&self, tenant: &Arc<str>) -> FairPlace {
        self.0.acquire(tenant, Standing::Newcomer).await
    }

    /// A place, if there is one now.
    pub(super) fn try_place(&self, tenant: &Arc<str>) -> Option<FairPlace> {
        self.0.try_acquire(tenant)
    }
}

/// Begins `work`; its place is held until it is done, whether or not somebody still waits for it.
pub(super) fn start<T: Send + 'static>(place: FairPlace, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_takes_no_more_than_its_places() {
        let work = BlockingWork::new(32, 8);
        let running = Arc::new(AtomicUsize::new(0));
        let (end, ended) = channel::<()>();
        let ended = Arc::new(Mutex::new(ended));
        let [loud, quiet]: [Arc<str>; 2] = ["loud".into(), "quiet".into()];
        for _ in 0..50 {
            let (running, ended) = (running.clone(), ended.clone());
            let hangs = work.run(&loud, move || {
                running.fetch_add(1, Ordering::SeqCst);
                // Until this test lets go of the other end.
                let _ = ended.lock().unwrap().recv();
            });
            let waited = tokio::time::timeout(Duration::from_millis(5), hangs).await;
            assert!(waited.is_err(), "given up");
        }
        while running.load(Ordering::SeqCst) < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Somebody else is served, and nothing more was begun meanwhile.
        assert_eq!(work.run(&quiet, || 7).await.unwrap(), 7);
        assert_eq!(running.load(Ordering::SeqCst), 8);
        drop(end);
        assert_eq!(work.run(&loud, || 7).await.unwrap(), 7);
    }
}
