//! The ledger reserves the maximum cost of each attempt before the attempt starts, and settles or releases it afterwards.
//!
//! ```text
//! reserve ──> begin ──> settle            what the API reported
//!    │          │ ───> settle_estimated  what the caller estimates
//!    │          │ ───> settle_unknown    the larger of measured and reserved
//!    │          │ ───> release           nothing
//!    │          └ dropped: charged in full, because the attempt may be billed
//!    └ dropped before the attempt began: released
//!
//! A process that dies: charged in full, whether the attempt had begun or not.
//! ```
//!
//! Two invariants hold under concurrency and across crashes:
//!
//! - Settled plus reserved amounts never exceed a limit. The one exception is a settlement above its own reservation, which is
//!   booked as reported.
//! - No spending is lost.
//!
//! Both rest on one transaction over all scopes per change (`store`), on guards that close what is dropped ([`Reservation`],
//! [`Attempt`]), on a queue that loses no closing (`closing`), on file locks that show which processes are alive (`liveness`), and
//! on a check that the file is still the one at its path ([`LedgerError::Displaced`]).
//!
//! This module is independent of models, tools and agents.

mod budget;
mod closing;
mod error;
mod liveness;
mod reservation;
mod row;
mod schema;
mod scope;
mod store;
mod waiting;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod store_tests;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};

pub use budget::{BudgetAlert, BudgetExceeded, BudgetSettings, BudgetStatus, LimitOverride};
pub use error::LedgerError;
pub use reservation::{Attempt, Reservation, ReservationId, ReserveRequest, Settled};
pub use row::LedgerRow;
pub use scope::Scope;
pub use waiting::AskAgain;

use closing::Queue;
use store::Store;

/// How long to wait for another program's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most rows that one call of [`Ledger::export`] returns.
pub const EXPORT_PAGE: u32 = 1_000;

/// The host's ledger, shared by every process that opens the same file. A handle is cheap to clone.
///
/// One thread at a time works on the database, on the runtime's blocking threads. The async methods need a Tokio runtime with
/// timers.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    /// Reservations still to be closed.
    queue: Mutex<Queue>,
    /// One permit. Callers queue for the store here, so that they don't occupy the few blocking threads.
    semaphore: Arc<Semaphore>,
    /// Notified when money is freed.
    freed: Notify,
    /// How often somebody asked for money.
    #[cfg(test)]
    asked: std::sync::atomic::AtomicUsize,
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it, accessible only to its owner (file 0600, new folders 0700). Charges the
    /// reservations of dead processes in full. Blocks: inside a runtime, call it from `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`LedgerError`] has a variant for each problem with the file, and leaves the file unchanged. Waits up to 5 s for
    /// another program's lock.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    fn open_within(path: &Path, busy: Duration) -> Result<Self, LedgerError> {
        Store::open(path, busy).map(Self::new)
    }

    /// Opens the ledger at `path` to show what it holds. Creates and changes no file, so it works in a folder that can't be
    /// written; a missing ledger is an empty one. Reservations of dead processes stay reserved. Whatever would write fails with
    /// [`LedgerError::Unwritable`]. Blocks as [`Self::open`] does.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], and [`LedgerError::Unwritable`] if the file must be written before it can be read: an older version or a
    /// crash left it.
    pub fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Store::open_read_only(path, BUSY_TIMEOUT).map(Self::new)
    }

    /// An in-memory ledger for demos and tests. It is lost with its last handle.
    ///
    /// # Errors
    ///
    /// Out of memory.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Store::in_memory().map(Self::new)
    }

    fn new(store: Store) -> Self {
        let semaphore = Arc::new(Semaphore::new(1));
        Self {
            inner: Arc::new(Inner {
                store: Mutex::new(store),
                queue: Mutex::default(),
                semaphore,
                freed: Notify::new(),
                #[cfg(test)]
                asked: std::sync::atomic::AtomicUsize::new(0),
            }),
        }
    }

    /// Reserves the amount in every scope, or in none. If the future is dropped, whatever it reserved is released.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Exceeded`] if a scope hasn't enough left, [`LedgerError::Displaced`] if the ledger's file isn't the one that
    /// was opened. On any error, nothing is reserved.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Reservation, LedgerError> {
        let ledger = self.clone();
        // The guard is created in the same closure as the reservation, so a cancelled caller can't leak the reservation.
        self.run(move |inner| {
            #[cfg(test)]
            inner.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let id = inner.store().reserve(&request)?;
            Ok(Reservation::new(id, request.amount, request.limits, ledger))
        })
        .await?
    }

    /// The status of each scope: the host's day, and the session if `session_id` is given.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn status(
        &self,
        tenant: &str,
        session_id: Option<&str>,
        settings: &BudgetSettings,
        now: jiff::Timestamp,
    ) -> Result<Vec<BudgetStatus>, LedgerError> {
        let (tenant, session_id, settings) = (tenant.to_owned(), session_id.map(str::to_owned), settings.clone());
        self.run(move |inner| inner.store().status(&tenant, session_id.as_deref(), &settings, now))
            .await?
    }

    /// The limits in force: the configured ones, unless [`Self::set_limit`] overrides them.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn effective_limits(&self, settings: &BudgetSettings) -> Result<BudgetSettings, LedgerError> {
        let settings = settings.clone();
        self.run(move |inner| inner.store().effective(&settings)).await?
    }

    /// The override of each scope; `None` where the configured limit is in force.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn limit_overrides(&self) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError> {
        self.run(|inner| inner.store().limit_overrides()).await?
    }

    /// Overrides a scope's configured limit, for every process, until the next call. `None` removes the override.
    ///
    /// # Errors
    ///
    /// [`LedgerError::TooLarge`] from 2^63 - 1 nano-dollars on.
    pub async fn set_limit(&self, scope: Scope, limit: Option<LimitOverride>) -> Result<(), LedgerError> {
        self.run(move |inner| inner.store().set_limit(scope, limit)).await?
    }

    /// One page of reservations, oldest first: up to [`EXPORT_PAGE`] rows that follow `after`. Empty at the end.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn export(&self, after: Option<&ReservationId>) -> Result<Vec<LedgerRow>, LedgerError> {
        let after = after.cloned();
        self.run(move |inner| inner.store().export(after.as_ref(), EXPORT_PAGE))
            .await?
    }

    /// How often somebody asked for money.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> usize {
        self.inner.asked.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Books what is pending, and then runs `work`.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, LedgerError> {
        self.turn(move |inner| {
            inner.close_pending();
            work(inner)
        })
        .await
    }

    /// Runs `work` on a blocking thread once it has the permit. Once started, `work` runs to completion even if the caller is
    /// cancelled.
    async fn turn<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, LedgerError> {
        let permit = Arc::clone(&self.inner.semaphore)
            .acquire_owned()
            .await
            .map_err(|_| LedgerError::Interrupted)?;
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let _permit = permit;
            work(&inner)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LedgerError::Interrupted)
    }
}

impl Inner {
    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic rolled its transaction back, so the store behind a poisoned lock is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
