//! The queue of what waits for a commit, and who works through it.
//!
//! Closings come before everything else in a commit, so that those who wait for money are never served before those who free
//! it. A closing that fails stays here: it is tried again with the next commit, or by one task in the background. It is one task
//! however many runs are dropped, and one blocking thread: while another program holds the database, those of all other work
//! stay free.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::backend::Worked;
use super::reports::Reports;
use super::{Applied, Backend, Change, StoreError, Work};
use crate::ledger::{Closing, LedgerError, PendingClosing, ReservationId};

/// The pause of the background task after a failure. It doubles up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long a request that is not urgent waits for the commit of others.
const SOON: Duration = Duration::from_millis(20);

/// The most callers that share a commit. More would let the first of them wait for too long.
const MAX_BATCH: usize = 512;

pub(super) type Read = Box<dyn FnOnce(&mut dyn Backend) + Send>;

/// Returns what is to be tried again until it succeeds.
type Done = Box<dyn FnOnce(Result<Vec<Applied>, StoreError>) -> Option<Commit> + Send>;

/// What somebody asked of the store.
pub(super) enum Request {
    Write(Commit),
    /// Tried until it succeeds.
    Close(PendingClosing),
    /// Reads after everything that was asked before.
    Read(Read),
    /// Reads after everything that was asked before, and may take long: commits don't wait for it.
    Report(Read),
}

/// One caller's changes, made as a whole or not at all.
pub(crate) struct Commit {
    asks_for_money: bool,
    make: Box<dyn FnOnce() -> Made + Send>,
}

/// The changes, and what hears of them.
pub(crate) struct Made {
    changes: Vec<Change>,
    /// Called once they are durable, or refused.
    done: Done,
}

impl Commit {
    /// `done` is called once the changes are durable, or refused.
    pub(crate) fn new(
        changes: Vec<Change>,
        done: impl FnOnce(Result<Vec<Applied>, StoreError>) + Send + 'static,
    ) -> Self {
        let asks_for_money = Work::Write(&changes).asks_for_money();
        let made = Made::new(changes, |result| {
            done(result);
            None
        });
        Self {
            asks_for_money,
            make: Box::new(|| made),
        }
    }

    /// `make` is called when it is this one's turn, once all before it have been answered or share its commit.
    pub(crate) fn made_late(make: impl FnOnce() -> Made + Send + 'static) -> Self {
        Self {
            asks_for_money: false,
            make: Box::new(make),
        }
    }

    /// Tried again until it succeeds or a rule refuses it.
    pub(crate) fn until_done(changes: Vec<Change>) -> Self {
        Self::made_late(|| {
            Made::new(changes.clone(), |result| match result {
                Err(StoreError::Ledger(error)) => {
                    tracing::warn!(%error, "could not let others take a session over yet, will try again");
                    Some(Self::until_done(changes))
                }
                _ => None,
            })
        })
    }
}

impl Made {
    pub(crate) fn new(
        changes: Vec<Change>,
        done: impl FnOnce(Result<Vec<Applied>, StoreError>) -> Option<Commit> + Send + 'static,
    ) -> Self {
        let done = Box::new(done);
        Self { changes, done }
    }
}

pub(super) struct Inner {
    /// Declared before the backend, whose connection must be the last to close.
    pub(super) reports: Reports,
    backend: Mutex<Box<dyn Backend>>,
    queue: Mutex<Queue>,
    freed: Arc<Notify>,
    /// Who waits for a decision looks again.
    pub(super) decided: Notify,
    /// How many commits were made.
    #[cfg(test)]
    commits: std::sync::atomic::AtomicUsize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// Closings that failed, oldest first. A failed one moves to the back.
    refused: VecDeque<PendingClosing>,
    /// What failed and must be written, oldest first.
    again: Vec<Commit>,
    /// Whether somebody works the queue off, or is about to.
    is_led: bool,
    /// Whether a background task will try the refused closings again.
    is_retried: bool,
}

/// Requests that share a commit.
#[derive(Default)]
struct Batch {
    closings: Vec<PendingClosing>,
    commits: Vec<Commit>,
    reads: Vec<Read>,
    reports: Vec<Read>,
}

impl Queue {
    /// What failed before.
    fn take_refused(&mut self) -> Batch {
        Batch {
            closings: self.refused.drain(..).collect(),
            commits: std::mem::take(&mut self.again),
            ..Batch::default()
        }
    }

    fn has_refused(&self) -> bool {
        !self.refused.is_empty() || !self.again.is_empty()
    }

    /// Takes what shares the next commit; nothing if nobody waits. What failed before is tried again with it.
    fn next_batch(&mut self) -> Option<Batch> {
        if self.waiting.is_empty() {
            return None;
        }
        let mut batch = self.take_refused();
        let count = self.waiting.len().min(MAX_BATCH);
        for request in self.waiting.drain(..count) {
            match request {
                Request::Write(commit) => batch.commits.push(commit),
                Request::Close(closing) => batch.closings.push(closing),
                Request::Read(read) => batch.reads.push(read),
                Request::Report(report) => batch.reports.push(report),
            }
        }
        Some(batch)
    }
}

impl Inner {
    pub(super) fn new(backend: Box<dyn Backend>) -> Self {
        Self {
            reports: Reports::default(),
            backend: Mutex::new(backend),
            queue: Mutex::default(),
            freed: Arc::default(),
            decided: Notify::new(),
            #[cfg(test)]
            commits: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    #[cfg(test)]
    pub(super) fn has_waiting(&self) -> bool {
        !self.queue().waiting.is_empty()
    }

    #[cfg(test)]
    pub(super) fn is_led(&self) -> bool {
        self.queue().is_led
    }

    #[cfg(test)]
    pub(super) fn commits(&self) -> usize {
        self.commits.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The closings that failed and will be tried again.
    pub(super) fn refused(&self) -> Vec<(ReservationId, Closing)> {
        let queue = self.queue();
        let refused = queue.refused.iter();
        refused
            .map(|closing| (closing.id.clone(), closing.closing.clone()))
            .collect()
    }

    /// Notified whenever a closing frees money.
    pub(super) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.freed)
    }

    /// Adds a request to the queue, for the next commit.
    pub(super) fn enqueue(&self, request: Request) {
        self.queue().waiting.push_back(request);
    }

    /// Adds a request to the queue and has it worked through. Without a runtime it waits for the next submission, or for the last
    /// handle.
    pub(super) fn submit(self: &Arc<Self>, request: Request) {
        self.submit_all([request]);
    }

    /// Adds a request to the queue, for the next commit. If nobody else asks for one soon, it gets its own.
    pub(super) fn submit_soon(self: &Arc<Self>, request: Request) {
        self.enqueue(request);
        let Ok(runtime) = Handle::try_current() else { return };
        let inner = Arc::downgrade(self);
        // It doesn't keep the store open: the last handle works off what is left.
        runtime.spawn(async move {
            tokio::time::sleep(SOON).await;
            if let Some(inner) = inner.upgrade() {
                inner.work_in_background();
            }
        });
    }

    /// The same for several, in this order, which share a commit.
    pub(super) fn submit_all(self: &Arc<Self>, requests: impl IntoIterator<Item = Request>) {
        self.queue().waiting.extend(requests);
        self.work_in_background();
    }

    /// Applies one caller's changes as a whole or not at all, also if nobody waits. `done` is called once it is durable, or refused.
    pub(super) fn commit(
        self: &Arc<Self>,
        changes: Vec<Change>,
        done: impl FnOnce(Result<Vec<Applied>, StoreError>) + Send + 'static,
    ) {
        self.submit(Request::Write(Commit::new(changes, done)));
    }

    pub(super) fn work_in_background(self: &Arc<Self>) {
        let mut queue = self.queue();
        if queue.is_led || queue.waiting.is_empty() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        queue.is_led = true;
        drop(queue);
        let mut lead = Lead {
            inner: Arc::clone(self),
            is_finished: false,
        };
        runtime.spawn_blocking(move || lead.work_off());
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic rolled its transaction back, so the backend behind a poisoned lock is sound.
    pub(super) fn backend(&self) -> MutexGuard<'_, Box<dyn Backend>> {
        self.backend.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one commit of what waits. Returns whether something must be tried again.
    fn work(&self, batch: Batch) -> bool {
        let mut backend = self.backend();
        let Batch {
            closings,
            commits,
            reads,
            reports: _,
        } = batch;
        // Under the lock, so that all answers to earlier changes have arrived when these are made.
        let commits: Vec<Made> = commits.into_iter().map(|commit| (commit.make)()).collect();
        let writes = commits.iter().map(|commit| Work::Write(&commit.changes));
        let works: Vec<Work<'_>> = closings.iter().map(Work::Close).chain(writes).collect();
        if !works.is_empty() {
            let mut results = self.results(&mut **backend, &works).into_iter();
            let closed: Vec<_> = results.by_ref().take(closings.len()).collect();
            self.answer_closings(closings, closed);
            for (commit, result) in commits.into_iter().zip(results) {
                let again = (commit.done)(result.map(|worked| match worked {
                    Worked::Written(applied) => applied,
                    Worked::Closed(_) => Vec::new(),
                }));
                self.queue().again.extend(again);
            }
        }
        for read in reads {
            read(&mut **backend);
        }
        self.queue().has_refused()
    }

    fn results(&self, backend: &mut dyn Backend, works: &[Work<'_>]) -> Vec<Result<Worked, StoreError>> {
        if works.iter().all(Work::is_nothing) {
            return works.iter().map(|_| Ok(Worked::Written(Vec::new()))).collect();
        }
        #[cfg(test)]
        self.commits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // A panic rolls the transaction back, and must not take everybody's changes with it.
        let results = catch_unwind(AssertUnwindSafe(|| backend.commit(works)));
        let interrupted = |_: &Work<'_>| Err(LedgerError::Interrupted.into());
        results.unwrap_or_else(|_| works.iter().map(interrupted).collect())
    }

    fn answer_closings(&self, closings: Vec<PendingClosing>, results: Vec<Result<Worked, StoreError>>) {
        for (mut closing, result) in closings.into_iter().zip(results) {
            let done = closing.done.take();
            let booked = match result {
                Ok(Worked::Closed(alerts)) => Ok(alerts),
                Ok(Worked::Written(_)) => Ok(Vec::new()),
                Err(error) => Err(error.into_ledger()),
            };
            match &booked {
                Ok(_) => self.freed.notify_one(),
                Err(LedgerError::NotOpen { .. }) => {}
                Err(error) => {
                    tracing::warn!(reservation = %closing.id, %error, "could not close a reservation yet, will try again");
                    self.queue().refused.push_back(closing);
                }
            }
            if let Some(done) = done {
                // If the caller is gone, so is the need for the result.
                let _ = done.send(booked);
            }
        }
    }

    fn next_batch(&self) -> Option<Batch> {
        self.queue().next_batch()
    }

    /// Tries once what was refused.
    fn retry(&self) {
        let batch = self.queue().take_refused();
        self.work(batch);
    }

    /// Has the refused closings tried again in the background.
    fn retry_in_background(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if std::mem::replace(&mut self.queue().is_retried, true) {
            return;
        }
        let retry = Retry {
            inner: Arc::downgrade(self),
            is_finished: false,
        };
        runtime.spawn(retry.run());
    }
}

impl Drop for Inner {
    /// Something still waits here if no runtime was left to work it off, or if it isn't urgent. The callers that asked for money are gone.
    fn drop(&mut self) {
        while let Some(mut batch) = self.next_batch() {
            batch.commits.retain(|commit| !commit.asks_for_money);
            batch.reads.clear();
            self.work(batch);
        }
        self.retry();
    }
}

/// The duty to work the queue off.
struct Lead {
    inner: Arc<Inner>,
    is_finished: bool,
}

impl Lead {
    fn work_off(&mut self) {
        while let Some(mut batch) = self.next_batch() {
            let reports = std::mem::take(&mut batch.reports);
            if self.inner.work(batch) {
                self.inner.retry_in_background();
            }
            for report in reports {
                self.inner.report(report);
            }
        }
    }

    fn next_batch(&mut self) -> Option<Batch> {
        let mut queue = self.inner.queue();
        let batch = queue.next_batch();
        // Decided under the lock, so that a request that comes now finds a leader or becomes one.
        queue.is_led = batch.is_some();
        self.is_finished = batch.is_none();
        batch
    }
}

impl Drop for Lead {
    /// The runtime is shutting down, or a callback panicked and others still wait.
    fn drop(&mut self) {
        if !self.is_finished {
            self.inner.queue().is_led = false;
            if std::thread::panicking() {
                self.inner.work_in_background();
            }
        }
    }
}

/// The background task. It doesn't keep the store open: the last handle books what is left.
struct Retry {
    inner: Weak<Inner>,
    is_finished: bool,
}

impl Retry {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
            let Some(inner) = self.inner.upgrade() else { return };
            let retried = tokio::task::spawn_blocking(move || {
                inner.retry();
                let mut queue = inner.queue();
                queue.is_retried = queue.has_refused();
                queue.is_retried
            });
            match retried.await {
                Ok(true) => {}
                Ok(false) => {
                    self.is_finished = true;
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

impl Drop for Retry {
    /// The runtime is shutting down. Another failure starts another task.
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade().filter(|_| !self.is_finished) {
            inner.queue().is_retried = false;
        }
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
