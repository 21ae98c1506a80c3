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
//! The [clock](Scope) can step, and a copy of the database can be put back ([`LedgerError::Restored`]): neither opens a budget twice.
//!
//! Both rest on rules that look at all scopes at once (`budget`), on guards that close what is dropped ([`Reservation`],
//! [`Attempt`]), and on the [store](crate::store), which applies each change in one transaction, loses no closing, knows which
//! processes are alive, and notices a file that isn't the one at its path any more ([`LedgerError::Displaced`]).
//!
//! This module is independent of models, tools, agents and databases.

mod books;
mod budget;
mod confirm;
mod error;
mod reservation;
mod reversal;
mod row;
mod scope;
mod spending;
mod waiting;

use std::sync::Arc;

use tokio::sync::{Notify, oneshot};

pub(crate) use books::{BookReader, Booked, Books, Closing, Done, PendingClosing, Question, Settlement};
pub use budget::{
    BudgetAlert, BudgetExceeded, BudgetLimits, BudgetSettings, BudgetStatus, LimitOverride, TenantBudget,
};
pub(crate) use budget::{Totals, admit, thresholds};
pub use confirm::{Ahead, Restored, Unusual};
pub use error::LedgerError;
pub use reservation::{Attempt, Reservation, ReservationId, ReserveRequest, Settled};
pub(crate) use reversal::{Charge, reverse};
pub use reversal::{Reversal, ReversalError, ReversalRequest};
pub use row::LedgerRow;
pub use scope::Scope;
pub(crate) use scope::{Attribution, Window, utc_day};
pub use spending::{Spending, SpendingBy, SpendingFilter};
pub use waiting::AskAgain;

/// The most rows that one call of [`Ledger::export`] returns.
pub const EXPORT_PAGE: u32 = 1_000;

/// The host's ledger, shared by every process that opens the same [store](crate::store::Store). A handle is cheap to clone. The
/// async methods need a Tokio runtime with timers.
#[derive(Clone, Debug)]
pub struct Ledger {
    books: Arc<dyn Books>,
    /// Notified when money is freed.
    freed: Arc<Notify>,
    /// How often somebody asked for money.
    #[cfg(test)]
    asked: Arc<std::sync::atomic::AtomicUsize>,
}

impl Ledger {
    /// `freed` is notified whenever a reservation is closed.
    pub(crate) fn new(books: Arc<dyn Books>, freed: Arc<Notify>) -> Self {
        Self {
            books,
            freed,
            #[cfg(test)]
            asked: Arc::default(),
        }
    }

    /// Reserves the amount in every scope, or in none. If the future is dropped, whatever it reserved is released.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Exceeded`] if a scope hasn't enough left, [`LedgerError::Displaced`] if the ledger's file isn't the one that
    /// was opened. On any error, nothing is reserved.
    pub async fn reserve(&self, request: ReserveRequest) -> Result<Reservation, LedgerError> {
        #[cfg(test)]
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, reserved) = oneshot::channel();
        let guard = self.guard(&request);
        // The guard is created with the reservation, so a cancelled caller can't leak it: what isn't received is dropped.
        let done = move |id: Result<_, _>| {
            let _ = sender.send(id.and_then(guard));
        };
        self.books().reserve(request, Box::new(done));
        reserved.await.unwrap_or(Err(LedgerError::Interrupted))
    }

    /// The status of each scope: the tenant's day and month, the host's day, and the session if `session_id` is given. It counts what this
    /// process knows to be spent and could not book yet, for example because the disk is full.
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
        let (tenant, session_id, limits) = (
            tenant.to_owned(),
            session_id.map(str::to_owned),
            settings.limits(tenant),
        );
        // It doesn't keep the store open meanwhile.
        let books = Arc::downgrade(&self.books);
        self.ask(move |reader| {
            let mut status = reader.status(&tenant, session_id.as_deref(), &limits, now)?;
            let day = utc_day(now);
            let asked = Attribution {
                tenant: &tenant,
                session_id: session_id.as_deref().unwrap_or_default(),
                day: &day,
            };
            let unbooked = books.upgrade().map_or_else(Vec::new, |books| books.unbooked());
            for (id, closing) in unbooked {
                if let Some(row) = row(reader, id.as_str())? {
                    status
                        .iter_mut()
                        .for_each(|status| status.count(&asked, &row, &closing));
                }
            }
            Ok(status)
        })
        .await
    }

    /// The limits of a tenant's attempts: the configured ones, unless [`Self::set_limit`] overrides them.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn effective_limits(&self, tenant: &str, settings: &BudgetSettings) -> Result<BudgetLimits, LedgerError> {
        let overrides = self.limit_overrides(tenant).await?;
        Ok(settings.limits(tenant).overridden(&overrides))
    }

    /// The override of each scope for a tenant; `None` where the configured limit is in force.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn limit_overrides(&self, tenant: &str) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError> {
        let tenant = tenant.to_owned();
        self.ask(move |books| books.limit_overrides(&tenant)).await
    }

    /// The tenants that have an override, or that have spent something in this month, by name.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn tenants(&self, now: jiff::Timestamp) -> Result<Vec<String>, LedgerError> {
        self.ask(move |books| books.tenants(now)).await
    }

    /// Overrides a scope's configured limit, for every process, until the next call. `None` removes the override. The tenant counts
    /// only for a scope that [is per tenant](Scope::is_per_tenant).
    ///
    /// # Errors
    ///
    /// [`LedgerError::TooLarge`] from 2^63 - 1 nano-dollars on.
    pub async fn set_limit(&self, scope: Scope, tenant: &str, limit: Option<LimitOverride>) -> Result<(), LedgerError> {
        let (sender, done) = oneshot::channel();
        let reply = |result| {
            let _ = sender.send(result);
        };
        self.books().set_limit(scope, tenant, limit, Box::new(reply));
        done.await.unwrap_or(Err(LedgerError::Interrupted))
    }

    /// Takes back what was charged by mistake, or a part of it. The charge stays in the books, and the reversal beside it. From then on a
    /// late report doesn't change the charge any more. Asking again with the same reason books nothing twice.
    ///
    /// # Errors
    ///
    /// [`LedgerError::Reversal`] says why nothing was booked.
    pub async fn reverse(&self, request: ReversalRequest) -> Result<Reversal, LedgerError> {
        let (sender, done) = oneshot::channel();
        let reply = |result| {
            let _ = sender.send(result);
        };
        self.books().reverse(request, Box::new(reply));
        done.await.unwrap_or(Err(LedgerError::Interrupted))
    }

    /// What is unusual, and what [`Self::confirm`] would accept.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn unusual(&self, now: jiff::Timestamp) -> Result<Unusual, LedgerError> {
        self.ask(move |books| books.unusual(now)).await
    }

    /// Accepts the ledger as it is: a copy that was put back is the newest from now on, and what is booked for later days than `now` is
    /// booked for this one. Returns what was accepted.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn confirm(&self, now: jiff::Timestamp) -> Result<Unusual, LedgerError> {
        let (sender, done) = oneshot::channel();
        let reply = |result| {
            let _ = sender.send(result);
        };
        self.books().confirm(now, Box::new(reply));
        done.await.unwrap_or(Err(LedgerError::Interrupted))
    }

    /// What was spent, by what it was spent on: the largest sums first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn spending(&self, filter: SpendingFilter) -> Result<Vec<Spending>, LedgerError> {
        self.report(move |books| books.spending(&filter)).await
    }

    /// One page of reservations and reversals, oldest first: up to [`EXPORT_PAGE`] rows that follow `after`. Empty at the end.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn export(&self, after: Option<&ReservationId>) -> Result<Vec<LedgerRow>, LedgerError> {
        let after = after.cloned();
        self.report(move |books| books.export(after.as_ref(), EXPORT_PAGE))
            .await
    }

    /// The row of one reservation.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn find(&self, id: &str) -> Result<Option<LedgerRow>, LedgerError> {
        let id = id.to_owned();
        self.ask(move |books| row(books, &id)).await
    }

    /// What was taken back of a charge: the rows of its reversals, oldest first.
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn reversals(&self, of: &ReservationId) -> Result<Vec<LedgerRow>, LedgerError> {
        let of = of.clone();
        self.ask(move |books| books.reversals(&of)).await
    }

    /// How often somebody asked for money.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Makes the guard of a reservation that the store has made for `request`. It doesn't keep the store open meanwhile.
    pub(crate) fn guard(
        &self,
        request: &ReserveRequest,
    ) -> impl FnOnce(ReservationId) -> Result<Reservation, LedgerError> + Send + use<> {
        let (amount, limits, freed) = (request.amount, request.limits, Arc::clone(&self.freed));
        let books = Arc::downgrade(&self.books);
        #[cfg(test)]
        let asked = Arc::clone(&self.asked);
        move |id| {
            let ledger = Self {
                books: books.upgrade().ok_or(LedgerError::Interrupted)?,
                freed,
                #[cfg(test)]
                asked,
            };
            Ok(Reservation::new(id, amount, limits, ledger))
        }
    }

    fn books(&self) -> Arc<dyn Books> {
        Arc::clone(&self.books)
    }

    /// Closes a reservation. The future returns once it is booked, and it is booked even if the future is dropped.
    fn close(
        &self,
        id: ReservationId,
        closing: Closing,
        limits: BudgetLimits,
    ) -> impl Future<Output = Booked> + Send + use<> {
        let (sender, booked) = oneshot::channel();
        self.books().close(PendingClosing {
            id,
            closing,
            limits,
            done: Some(sender),
        });
        // It shares the next commit. There is one as soon as somebody waits for this, or nobody will.
        let wake = WakeOnDrop(self.books());
        async move {
            Arc::clone(&wake.0).wake();
            booked.await.unwrap_or(Err(LedgerError::Interrupted))
        }
    }

    /// Closes a reservation in the background: now if there is a runtime, else with the next operation.
    fn close_later(&self, id: ReservationId, closing: Closing, limits: BudgetLimits) {
        self.books().close(PendingClosing {
            id,
            closing,
            limits,
            done: None,
        });
        self.books().wake();
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn BookReader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.answer(|books, question| books.ask(question), question).await
    }

    /// Asks what may take long to answer.
    async fn report<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn BookReader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        self.answer(|books, question| books.report(question), question).await
    }

    async fn answer<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Arc<dyn Books>, Question),
        question: impl FnOnce(&mut dyn BookReader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (sender, answer) = oneshot::channel();
        let question = Box::new(|books: &mut dyn BookReader| {
            let _ = sender.send(question(books));
        });
        ask(self.books(), question);
        answer.await.unwrap_or(Err(LedgerError::Interrupted))
    }
}

/// The row of one reservation.
fn row(books: &mut dyn BookReader, id: &str) -> Result<Option<LedgerRow>, LedgerError> {
    // Rows are read by what they follow. At most 16 ids differ in their last digit alone.
    let mut before = id.to_owned();
    before.pop();
    let rows = books.export(Some(&ReservationId::new(before)), 16)?;
    Ok(rows.into_iter().find(|row| row.id.as_str() == id))
}

/// Has the store book what it holds. Keeps the store open meanwhile.
struct WakeOnDrop(Arc<dyn Books>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        Arc::clone(&self.0).wake();
    }
}
