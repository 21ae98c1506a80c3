//! The host's books on disk: one database for everything that must survive a crash, shared by every process that opens it.
//!
//! ```text
//! Ledger, Journal ──> Store::submit ──> queue ──> one commit for all who wait ──> Backend
//! ```
//!
//! Every change goes through one queue. A caller who finds it idle leads: it takes all that waits, applies each caller's changes as a
//! whole or not at all, and commits once for all of them. Those who come meanwhile share the next commit. So a hundred
//! sessions wait for as many disk flushes as one. What is only read waits for its turn too, so that it sees what was changed
//! before; a report is then read over a connection of its own, because it can take long.
//!
//! The rules are elsewhere (`ledger`, `session`). A `Backend` keeps rows and applies the rules; `sqlite` is the only one, and
//! nothing outside its folder knows SQL.

mod approvals;
mod backend;
mod breakers;
mod error;
mod queue;
mod reports;
mod sessions;
mod sqlite;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod report_tests;
#[cfg(test)]
mod session_tests;

use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

pub(crate) use backend::{Applied, Backend, Change, FactBody, Work};
pub use backend::{ApprovalFilter, SessionFilter, UsageFilter};
pub use breakers::BreakerRecord;
pub use error::StoreError;
pub(crate) use sessions::{Lease, Taken};

use crate::ledger::{
    Books, Closing, Done, Ledger, LedgerError, LimitOverride, PendingClosing, Question, ReservationId,
};
use crate::ledger::{ReserveRequest, Reversal, ReversalRequest, Scope, Unusual};
pub(crate) use queue::{Commit, Made};
use queue::{Inner, Read, Request};

/// The target of the log line that says what a process that ended without settling is charged. A console that shows only errors can let
/// it through.
pub const ABANDONED: &str = "cofferdam::abandoned";

/// How long to wait for another program's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a commit survives. `[storage] durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// A power failure: a commit is on the disk when it returns.
    #[default]
    PowerLoss,
    /// The end of the process, however it ends. A power failure can undo the last commits, but never half of one.
    ProcessCrash,
}

/// The books, in a file that processes share. A handle is cheap to clone; the last one writes what is still waiting.
///
/// One thread at a time works on the database, on the runtime's blocking threads. No other code of the process may open its files, not even
/// to read them: closing them would end SQLite's locks, which the system keeps per process. Back them up from another process, or with
/// SQLite's backup.
///
/// Sessions and approvals are found by their ids alone. A program that serves several tenants compares the tenant of what it found, or
/// looks with [`find_session`](Self::find_session) and a tenant first.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// A store that somebody else keeps open.
#[derive(Clone, Debug)]
pub(crate) struct WeakStore(Weak<Inner>);

impl WeakStore {
    pub(crate) fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(|inner| Store { inner })
    }
}

impl Store {
    /// For somebody who doesn't keep it open.
    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.inner))
    }

    /// Opens the store at `path`, or creates it, accessible only to its owner (file 0600, new folders 0700). Charges the
    /// reservations of dead processes in full. Blocks: inside a runtime, call it from `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] has a variant for each problem with the file, and leaves the file unchanged. Waits up to 5 s for
    /// another program's lock.
    pub fn open(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        Self::open_within(path, durability, BUSY_TIMEOUT)
    }

    pub(crate) fn open_within(path: &Path, durability: Durability, busy: Duration) -> Result<Self, LedgerError> {
        Ok(Self::new(sqlite::Sqlite::open(path, durability, busy)?))
    }

    /// Doesn't wait for another program's lock.
    #[cfg(test)]
    pub(crate) fn open_impatiently(path: &Path, durability: Durability) -> Result<Self, LedgerError> {
        Self::open_within(path, durability, Duration::ZERO)
    }

    /// Opens the store at `path` to show what it holds. Creates and changes no file, so it works in a folder that can't be
    /// written; a missing store is an empty one. Reservations of dead processes stay reserved. Whatever would write fails with
    /// [`LedgerError::Unwritable`]. Blocks as [`Self::open`] does.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and [`LedgerError::Unwritable`] if the file must be written before it can be read: an older version or a
    /// crash left it.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self::new(sqlite::Sqlite::open_read_only(path, BUSY_TIMEOUT)?))
    }

    /// A store in memory, for demos and tests. It is lost with its last handle.
    ///
    /// # Errors
    ///
    /// Out of memory.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Ok(Self::new(sqlite::Sqlite::in_memory()?))
    }

    fn new(backend: impl Backend + 'static) -> Self {
        Self {
            inner: Arc::new(Inner::new(Box::new(backend))),
        }
    }

    /// Applies one caller's changes as a whole or not at all, also if nobody waits. `done` is called once it is durable, or refused.
    pub(crate) fn commit(
        &self,
        changes: Vec<Change>,
        done: impl FnOnce(Result<Vec<Applied>, StoreError>) + Send + 'static,
    ) {
        self.inner.commit(changes, done);
    }

    /// The same for several, each as a whole or not at all. They share a commit, in this order.
    pub(crate) fn commit_all(&self, commits: impl IntoIterator<Item = Commit>) {
        self.inner.submit_all(commits.into_iter().map(Request::Write));
    }

    /// The same for what may wait a little for a commit that is made for somebody else.
    pub(crate) fn commit_soon(&self, commit: Commit) {
        self.inner.submit_soon(Request::Write(commit));
    }

    /// The same for a caller that waits.
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Applied>, StoreError> {
        let (sender, applied) = oneshot::channel();
        self.commit(changes, |result| {
            let _ = sender.send(result);
        });
        applied.await.unwrap_or_else(|_| Err(LedgerError::Interrupted.into()))
    }

    /// Reads after everything that was submitted before.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Request::Read, read).await
    }

    /// Reads what may take long, such as a sum of all that was ever spent, after everything that was submitted before. Commits don't wait
    /// for it.
    async fn report<T: Send + 'static>(
        &self,
        read: impl FnOnce(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(Request::Report, read).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(Read) -> Request,
        read: impl FnOnce(&mut dyn Backend) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        self.inner.submit(request(Box::new(|backend| {
            let _ = sender.send(read(backend));
        })));
        answer.await.unwrap_or_else(|_| Err(LedgerError::Interrupted.into()))
    }

    /// Holds every commit up while it exists.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.inner.backend()
    }

    /// Lets the database have this many pages more.
    #[cfg(test)]
    fn limit_pages(&self, more: u32) {
        self.inner.backend().limit_pages(more);
    }

    /// The ledger that this store keeps.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(Arc::clone(&self.inner) as Arc<dyn Books>, self.inner.freed())
    }
}

impl Books for Inner {
    fn reserve(self: Arc<Self>, request: ReserveRequest, done: Done<ReservationId>) {
        let id = ReservationId::generate();
        self.commit(vec![Change::Reserve(id.clone(), request)], |applied| {
            done(applied.map(|_| id).map_err(StoreError::into_ledger));
        });
    }

    fn close(self: Arc<Self>, closing: PendingClosing) {
        self.enqueue(Request::Close(closing));
    }

    fn set_limit(self: Arc<Self>, scope: Scope, tenant: &str, limit: Option<LimitOverride>, done: Done<()>) {
        let tenant = tenant.into();
        self.commit(vec![Change::SetLimit { scope, tenant, limit }], |applied| {
            done(applied.map(drop).map_err(StoreError::into_ledger));
        });
    }

    fn reverse(self: Arc<Self>, request: ReversalRequest, done: Done<Reversal>) {
        let change = Change::Reverse(ReservationId::generate(), request);
        self.commit(vec![change], |applied| {
            let reversal = applied
                .map(|mut applied| applied.pop())
                .map_err(StoreError::into_ledger);
            done(reversal.and_then(|applied| match applied {
                Some(Applied::Reversed(reversal)) => Ok(reversal),
                _ => Err(LedgerError::Interrupted),
            }));
        });
    }

    fn confirm(self: Arc<Self>, now: jiff::Timestamp, done: Done<Unusual>) {
        self.commit(vec![Change::Confirm(now)], |applied| {
            let accepted = applied
                .map(|mut applied| applied.pop())
                .map_err(StoreError::into_ledger);
            done(accepted.and_then(|applied| match applied {
                Some(Applied::Confirmed(unusual)) => Ok(unusual),
                _ => Err(LedgerError::Interrupted),
            }));
        });
    }

    fn wake(self: Arc<Self>) {
        self.work_in_background();
    }

    fn ask(self: Arc<Self>, question: Question) {
        self.submit(Request::Read(Box::new(|backend| question(backend.books()))));
    }

    fn report(self: Arc<Self>, question: Question) {
        self.submit(Request::Report(Box::new(|backend| question(backend.books()))));
    }

    fn unbooked(&self) -> Vec<(ReservationId, Closing)> {
        self.refused()
    }
}
