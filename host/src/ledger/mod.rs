//! Money: what every attempt may cost is reserved before it is made, and settled or released after.
//!
//! ```text
//! reserve ──> settle          what the API reported
//!    │    ──> settle_unknown  the larger of measured and reserved
//!    │    ──> release         nothing
//!    └ dropped, or its process died: in full
//! ```
//!
//! Two things hold whatever happens, concurrently or in a crash. What is settled and reserved together never exceeds a
//! limit, but for a settlement above its own reservation, which is booked as it is. And nothing that was spent is
//! missing. Both rest on one transaction over all scopes per change (`store`), on a guard that can't be forgotten
//! ([`Reservation`]), and on the operating system's word about who is alive (`liveness`).
//!
//! This module knows nothing of models, tools or agents.

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

/// How long another program's lock on the database is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many rows one call of [`Ledger::export`] returns at most.
pub const EXPORT_PAGE: u32 = 1_000;

/// The books of this host, shared by every process that opens the same file. A handle is cheap to clone.
///
/// The database is worked on by one thread at a time, on the runtime's blocking threads. The async methods need a Tokio
/// runtime.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Mutex<Store>,
    /// What could not be closed yet: dropped guards, and settlements that the database refused.
    unfinished: Mutex<VecDeque<(ReservationId, Closing)>>,
    /// Waiting for the store happens here and not on blocking threads, which are few.
    turn: Arc<Semaphore>,
}

impl Ledger {
    /// Opens the ledger at `path`, or creates it, readable by its owner alone (file 0600, new folders 0700). Reservations
    /// of processes that died are charged in full. Blocks: inside a runtime, call it from `spawn_blocking`.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the file has an own variant of [`LedgerError`]; the file is then left as it was. A lock of
    /// another program is waited for up to 5 s.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        Self::open_within(path, BUSY_TIMEOUT)
    }

    fn open_within(path: &Path, busy: Duration) -> Result<Self, LedgerError> {
        Store::open(path, busy).map(Self::new)
    }

    /// A ledger that ends with its last handle: for demos and tests.
    ///
    /// # Errors
    ///
    /// Out of memory.
    pub fn in_memory() -> Result<Self, LedgerError> {
        Store::in_memory().map(Self::new)
    }

    fn new(store: Store) -> Self {
        let turn = Arc::new(Semaphore::new(1));
        Self {
            inner: Arc::new(Inner {
                store: Mutex::new(store),
                unfinished: Mutex::default(),
                turn,
            }),
        }
    }

    /// Reserves the amount in every scope, or in none.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Exceeded`] where a scope has not enough left; nothing is reserved after any error.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Reservation, LedgerError> {
        let ledger = self.clone();
        // The guard is made where the reservation is: nobody waiting for it any more is no reason to lose it.
        self.run(move |inner| {
            let id = inner.store().reserve(&request)?;
            Ok(Reservation::new(id, request.amount, request.limits, ledger))
        })
        .await?
    }

    /// How each scope stands: the host's day, and the session if one is named.
    ///
    /// # Errors
    ///
    /// Where the database fails.
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

    /// The limits in force: those of the configuration, with those set by hand in their place.
    ///
    /// # Errors
    ///
    /// Where the database fails.
    pub async fn effective_limits(&self, settings: &BudgetSettings) -> Result<BudgetSettings, LedgerError> {
        let settings = settings.clone();
        self.run(move |inner| inner.store().effective(&settings)).await?
    }

    /// Sets the limit of a scope above whatever the configuration says, for every process and until it is set anew.
    /// `None` gives the scope back to the configuration.
    ///
    /// # Errors
    ///
    /// [`LedgerError::TooLarge`] above 2^63 - 1 nano-dollars.
    pub async fn set_limit(&self, scope: Scope, limit: Option<NanoUsd>) -> Result<(), LedgerError> {
        self.run(move |inner| inner.store().set_limit(scope, limit)).await?
    }

    /// The books, oldest reservation first, up to [`EXPORT_PAGE`] rows from the one that follows `after`; empty at the
    /// end.
    ///
    /// # Errors
    ///
    /// Where the database fails.
    pub async fn export(&self, after: Option<&ReservationId>) -> Result<Vec<LedgerRow>, LedgerError> {
        let after = after.cloned();
        self.run(move |inner| inner.store().export(after.as_ref(), EXPORT_PAGE))
            .await?
    }

    /// Runs `work` on a blocking thread when it is its turn. Once begun, it ends, whether or not anybody waits for it.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Result<T, LedgerError> {
        let turn = Arc::clone(&self.inner.turn)
            .acquire_owned()
            .await
            .map_err(|_| LedgerError::Interrupted)?;
        let inner = Arc::clone(&self.inner);
        let work = move || {
            let _turn = turn;
            inner.finish();
            work(&inner)
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| LedgerError::Interrupted)
    }

    /// Closes a reservation without anybody waiting for it: now if there is a runtime, else with the next work.
    fn close_later(&self, id: ReservationId, closing: Closing) {
        self.inner.unfinished().push_back((id, closing));
        if let Ok(runtime) = Handle::try_current() {
            let inner = Arc::clone(&self.inner);
            runtime.spawn_blocking(move || inner.finish());
        }
    }
}

impl Inner {
    fn store(&self) -> MutexGuard<'_, Store> {
        // A panic rolled its transaction back, so the store behind a poisoned lock is sound.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unfinished(&self) -> MutexGuard<'_, VecDeque<(ReservationId, Closing)>> {
        self.unfinished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries once to close what is unfinished, oldest first. What fails stays so, behind the others, and holds up none
    /// of them. Thresholds are left to the next settlement: here nobody listens.
    fn finish(&self) {
        let count = self.unfinished().len();
        for _ in 0..count {
            let Some((id, closing)) = self.unfinished().pop_front() else {
                return;
            };
            let closed = self.store().close(&id, &closing, None);
            let error = match closed {
                Ok(_) | Err(LedgerError::NotOpen { .. }) => continue,
                Err(error) => error,
            };
            tracing::warn!(reservation = %id, error = %error, "a reservation could not be closed yet");
            self.unfinished().push_back((id, closing));
            // What ails the file ails the others as well.
            if error.is_of_the_file() {
                return;
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Reached with something unfinished only where no runtime was left to do it.
        self.finish();
    }
}
