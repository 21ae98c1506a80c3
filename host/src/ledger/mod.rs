//! The ledger reserves the maximum cost of each attempt before the attempt starts, and settles or releases it afterwards.
//!
//! ```text
//! reserve ──> settle          what the API reported
//!    │    ──> settle_unknown  the larger of measured and reserved
//!    │    ──> release         nothing
//!    └ dropped, or its process died: charged in full
//! ```
//!
//! Two invariants hold under concurrency and across crashes:
//!
//! - Settled plus reserved amounts never exceed a limit. The one exception is a settlement above its own reservation, which is
//!   booked as reported.
//! - No spending is lost.
//!
//! Both rest on one transaction over all scopes per change (`store`), on a guard that charges on drop ([`Reservation`]), and on
//! file locks that show which processes are alive (`liveness`).
//!
//! This module is independent of models, tools and agents.

mod budget;
mod error;
mod liveness;
mod reservation;
mod row;
mod schema;
mod scope;
mod store;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
mod store_tests;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use budget::{BudgetAlert, BudgetExceeded, BudgetSettings, BudgetStatus};
pub use error::LedgerError;
pub use reservation::{Reservation, ReservationId, ReserveRequest, Settled};
pub use row::LedgerRow;
pub use scope::Scope;

use crate::money::NanoUsd;
use store::{Closing, Store};

/// How long to wait for another program's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The most rows that one call of [`Ledger::export`] returns.
pub const EXPORT_PAGE: u32 = 1_000;

/// The host's ledger, shared by every process that opens the same file. A handle is cheap to clone.
///
/// One thread at a time works on the database, on the runtime's blocking threads. The async methods need a Tokio runtime.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    /// Reservations still to be closed: dropped guards, and settlements that the database refused.
    pending: Mutex<VecDeque<(ReservationId, Closing)>>,
    /// One permit. Callers queue for the store here, so that they don't occupy the few blocking threads.
    semaphore: Arc<Semaphore>,
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
                pending: Mutex::default(),
                semaphore,
            }),
        }
    }

    /// Reserves the amount in every scope, or in none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Exceeded`] if a scope hasn't enough left. On any error, nothing is reserved.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Reservation, LedgerError> {
        let ledger = self.clone();
        // The guard is created in the same closure as the reservation, so a cancelled caller can't leak the reservation.
        self.run(move |inner| {
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

    /// Overrides a scope's configured limit, for every process, until the next call. `None` removes the override.
    ///
    /// # Errors
    ///
    /// [`LedgerError::TooLarge`] above 2^63 - 1 nano-dollars.
    pub async fn set_limit(&self, scope: Scope, limit: Option<NanoUsd>) -> Result<(), LedgerError> {
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

    /// Runs `work` on a blocking thread once it has the permit. Once started, `work` runs to completion even if the caller is
    /// cancelled.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, LedgerError> {
        let permit = Arc::clone(&self.inner.semaphore)
            .acquire_owned()
            .await
            .map_err(|_| LedgerError::Interrupted)?;
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let _permit = permit;
            inner.close_pending();
            work(&inner)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LedgerError::Interrupted)
    }

    /// Closes a reservation in the background: now if there is a runtime, else with the next operation.
    fn close_later(&self, id: ReservationId, closing: Closing) {
        self.inner.pending().push_back((id, closing));
        if let Ok(runtime) = Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn_blocking(move || inner.close_pending());
        }
    }
}

impl Inner {
    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic rolled its transaction back, so the store behind a poisoned lock is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<(ReservationId, Closing)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries once to close each pending reservation, oldest first. A failed one moves to the back of the queue, so that it
    /// doesn't block the others. Alerts wait for the next settlement, because here no caller receives them.
    fn close_pending(&self) {
        let count = self.pending().len();
        for _ in 0..count {
            let Some((id, closing)) = self.pending().pop_front() else {
                return;
            };
            let closed = self.store().close(&id, &closing, None);
            let error = match closed {
                Ok(_) | Err(LedgerError::NotOpen { .. }) => continue,
                Err(error) => error,
            };
            tracing::warn!(reservation = %id, error = %error, "could not close a reservation yet, will try again");
            self.pending().push_back((id, closing));
            // The others would fail the same way.
            if error.affects_whole_file() {
                return;
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Reservations are still pending here only if no runtime was left to close them.
        self.close_pending();
    }
}
