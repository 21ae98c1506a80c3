//! What the ledger asks of the store: to keep its rows.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    BudgetAlert, BudgetLimits, BudgetStatus, LedgerError, LedgerRow, LimitOverride, ReservationId, ReserveRequest,
    Reversal, ReversalRequest, Scope, Spending, SpendingFilter, Unusual,
};
use crate::money::NanoUsd;

/// How a reservation ends.
#[derive(Clone, Debug)]
pub(crate) enum Closing {
    /// It cost this much.
    Settle(Settlement),
    /// It cost nothing.
    Release,
    /// Its cost is unknown, so it is charged in full.
    Charge,
}

/// The cost of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) amount: NanoUsd,
    /// True if the amount isn't what the API reported.
    pub(crate) estimated: bool,
    /// Token counts by kind, as JSON text.
    pub(crate) usage: Option<String>,
}

pub(crate) type Booked = Result<Vec<BudgetAlert>, LedgerError>;

/// A reservation that is still to be closed.
#[derive(Debug)]
pub(crate) struct PendingClosing {
    pub(crate) id: ReservationId,
    pub(crate) closing: Closing,
    pub(crate) limits: BudgetLimits,
    /// Who waits for the result, if anybody does. A failure is reported once, and then the closing is tried again without.
    pub(crate) done: Option<oneshot::Sender<Booked>>,
}

impl PendingClosing {
    /// Whether somebody receives the alerts. One that nobody receives is left for the next settlement.
    pub(crate) fn is_awaited(&self) -> bool {
        self.done.as_ref().is_some_and(|done| !done.is_closed())
    }
}

/// Called once with the result, also if nobody waits for it any more.
pub(crate) type Done<T> = Box<dyn FnOnce(Result<T, LedgerError>) + Send>;

/// A question about the rows.
pub(crate) type Question = Box<dyn FnOnce(&mut dyn BookReader) + Send>;

/// Keeps the rows. Every submission takes effect even if nobody waits for it, in the order of submission, and closings come
/// before what asks for money.
pub(crate) trait Books: fmt::Debug + Send + Sync {
    fn reserve(self: Arc<Self>, request: ReserveRequest, done: Done<ReservationId>);

    /// Closes a reservation that is open, or that was charged in full while its owner seemed dead, with the next commit. Tried
    /// until it succeeds.
    fn close(self: Arc<Self>, closing: PendingClosing);

    /// The tenant counts only for a scope that is per tenant.
    fn set_limit(self: Arc<Self>, scope: Scope, tenant: &str, limit: Option<LimitOverride>, done: Done<()>);

    fn reverse(self: Arc<Self>, request: ReversalRequest, done: Done<Reversal>);

    /// Accepts what is unusual.
    fn confirm(self: Arc<Self>, now: jiff::Timestamp, done: Done<Unusual>);

    /// Commits what waits, in the background if there is a runtime.
    fn wake(self: Arc<Self>);

    /// Answers after everything that was submitted before.
    fn ask(self: Arc<Self>, question: Question);

    /// Answers a question that may take long, after everything that was submitted before.
    fn report(self: Arc<Self>, question: Question);

    /// The closings that could not be booked yet.
    fn unbooked(&self) -> Vec<(ReservationId, Closing)>;
}

/// What can be asked.
pub(crate) trait BookReader {
    fn status(
        &mut self,
        tenant: &str,
        session_id: Option<&str>,
        limits: &BudgetLimits,
        now: jiff::Timestamp,
    ) -> Result<Vec<BudgetStatus>, LedgerError>;

    /// The overrides that apply to a tenant.
    fn limit_overrides(&mut self, tenant: &str) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError>;

    /// The tenants that have an override, or that have spent something in this month.
    fn tenants(&mut self, now: jiff::Timestamp) -> Result<Vec<String>, LedgerError>;

    fn unusual(&mut self, now: jiff::Timestamp) -> Result<Unusual, LedgerError>;

    /// The sums, largest first.
    fn spending(&mut self, filter: &SpendingFilter) -> Result<Vec<Spending>, LedgerError>;

    /// Up to `count` rows that follow `after`, in order of their ids.
    fn export(&mut self, after: Option<&ReservationId>, count: u32) -> Result<Vec<LedgerRow>, LedgerError>;

    /// The reversals of an entry, oldest first.
    fn reversals(&mut self, of: &ReservationId) -> Result<Vec<LedgerRow>, LedgerError>;
}
