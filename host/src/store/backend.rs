//! What a database must do for the store.

use std::fmt;

use super::StoreError;
use crate::ledger::{BookReader, BudgetAlert, LimitOverride, PendingClosing, ReservationId, ReserveRequest, Scope};

/// One change. A closed list, so that every backend applies all of them.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Reserves in every scope, or refuses.
    Reserve(ReserveRequest),
    /// Overrides a scope's configured limit; `None` removes the override.
    SetLimit { scope: Scope, limit: Option<LimitOverride> },
}

/// What a change brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Applied {
    Reserved(ReservationId),
    Done,
}

/// A part of a commit that succeeds or fails by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work<'a> {
    /// Books a closing where the reservation is, even if that file is displaced: it may come back, and no other file has the
    /// reservation.
    Close(&'a PendingClosing),
    /// One caller's changes, all or none.
    Write(&'a [Change]),
}

impl Work<'_> {
    pub(crate) fn asks_for_money(&self) -> bool {
        let asks = |change: &Change| matches!(change, Change::Reserve(_));
        matches!(self, Self::Write(changes) if changes.iter().any(asks))
    }
}

/// What a work brought.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Worked {
    /// Thresholds that the closing is the first to reach; empty if nobody waits for them.
    Closed(Vec<BudgetAlert>),
    Written(Vec<Applied>),
}

/// Keeps rows, durably. Everything here blocks.
pub(crate) trait Backend: fmt::Debug + Send {
    /// Applies all works in one commit, in this order, and says for each how it went. When it returns, what succeeded is durable.
    fn commit(&mut self, works: &[Work<'_>]) -> Vec<Result<Worked, StoreError>>;

    /// Answers questions about the ledger.
    fn books(&mut self) -> &mut dyn BookReader;
}
