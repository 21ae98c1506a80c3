//! Permission to spend up to an amount, and how it is closed.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use super::{BudgetAlert, BudgetLimits, Closing, Ledger, LedgerError, Settlement};
use crate::money::NanoUsd;

/// The reservation that an attempt needs before it starts.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    pub tenant: String,
    pub session_id: String,
    pub model: String,
    /// The most that the attempt can cost.
    pub amount: NanoUsd,
    /// The configured limits. [`Ledger::set_limit`] overrides them.
    pub limits: BudgetLimits,
    /// Decides the UTC day that the attempt counts for, even if it ends on the next day.
    pub now: jiff::Timestamp,
}

/// Identifies a reservation, or a reversal, in events, errors and exports: a version 7 UUID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ReservationId(String);

impl ReservationId {
    /// A new one. They sort by the time of their generation.
    pub(crate) fn generate() -> Self {
        Self(Uuid::now_v7().to_string())
    }

    pub(crate) const fn new(id: String) -> Self {
        Self(id)
    }

    /// The id with this text, as an export has it.
    pub fn from_text(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReservationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A booked settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub id: ReservationId,
    pub amount: NanoUsd,
    /// True if the amount isn't what the API reported.
    pub estimated: bool,
    /// Thresholds reached for the first time in their window.
    pub alerts: Vec<BudgetAlert>,
}

/// Permission to spend up to an amount, for an attempt that hasn't begun.
///
/// Nothing was sent yet, so dropping it releases it in the background. The same applies if the future of [`Ledger::reserve`] is
/// dropped while it commits. Only [`begin`](Self::begin) leads to what can be settled, so an attempt can't be settled without
/// having been armed. If the process dies, the next one that opens the ledger charges the reservation in full all the same: it
/// can't know whether the attempt had begun.
#[must_use = "a reservation that is dropped is released"]
#[derive(Debug)]
pub struct Reservation {
    guard: Guard,
}

/// A reservation whose attempt has begun, and the obligation to report what was spent.
///
/// Dropping it without a report charges it in full, because the API could have billed the attempt. The charge happens in the
/// background; if the process ends first, the next process that opens the ledger makes it. Futures of
/// [`settle`](Self::settle), [`settle_estimated`](Self::settle_estimated), [`settle_unknown`](Self::settle_unknown) and
/// [`release`](Self::release) take effect even if they are dropped before their first poll.
#[must_use = "an attempt that is neither settled nor released is charged in full"]
#[derive(Debug)]
pub struct Attempt {
    guard: Guard,
}

/// Closes a reservation exactly once.
#[derive(Debug)]
struct Guard {
    id: ReservationId,
    amount: NanoUsd,
    limits: BudgetLimits,
    ledger: Ledger,
    /// How a drop closes it; `None` once it is closed.
    on_drop: Option<Closing>,
}

impl Reservation {
    pub(crate) const fn new(id: ReservationId, amount: NanoUsd, limits: BudgetLimits, ledger: Ledger) -> Self {
        Self {
            guard: Guard {
                id,
                amount,
                limits,
                ledger,
                on_drop: Some(Closing::Release),
            },
        }
    }

    pub const fn id(&self) -> &ReservationId {
        &self.guard.id
    }

    /// The reserved amount.
    pub const fn amount(&self) -> NanoUsd {
        self.guard.amount
    }

    /// Call it before anything is sent: from here on the attempt may be billed.
    pub fn begin(self) -> Attempt {
        let mut guard = self.guard;
        guard.on_drop = Some(Closing::Charge);
        Attempt { guard }
    }

    /// Releases the reservation: no attempt begins.
    ///
    /// # Errors
    ///
    /// As for [`Attempt::settle`].
    pub fn release(self) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        self.begin().release()
    }
}

impl Attempt {
    pub const fn id(&self) -> &ReservationId {
        &self.guard.id
    }

    /// The reserved amount.
    pub const fn amount(&self) -> NanoUsd {
        self.guard.amount
    }

    /// Replaces the reservation with the cost that the API reported. An amount above the reservation is booked too, because it
    /// was spent. `usage` is stored as JSON for the export.
    ///
    /// # Errors
    ///
    /// If the database fails, the settlement is kept and retried. Until then the amount stays reserved.
    pub fn settle<U: Serialize>(
        self,
        amount: NanoUsd,
        usage: &U,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<U> {
        self.settle_as(Settlement {
            amount,
            estimated: false,
            usage: serde_json::to_string(usage).ok(),
        })
    }

    /// Settles an attempt for what the caller estimates, from a usage that is partly reported.
    ///
    /// # Errors
    ///
    /// As for [`settle`](Self::settle).
    pub fn settle_estimated<U: Serialize>(
        self,
        amount: NanoUsd,
        usage: &U,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<U> {
        self.settle_as(Settlement {
            amount,
            estimated: true,
            usage: serde_json::to_string(usage).ok(),
        })
    }

    /// Settles an attempt with unknown or incomplete usage (a timeout, an interrupted stream) for the larger of the measured
    /// and the reserved amount.
    ///
    /// # Errors
    ///
    /// As for [`settle`](Self::settle).
    pub fn settle_unknown(
        self,
        measured: NanoUsd,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<> {
        let amount = measured.max(self.amount());
        self.settle_as(Settlement {
            amount,
            estimated: true,
            usage: None,
        })
    }

    /// Releases the reservation: the attempt cost nothing.
    ///
    /// # Errors
    ///
    /// As for [`settle`](Self::settle).
    pub fn release(self) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        let closed = self.guard.close(Closing::Release);
        async move { closed.await.map(drop) }
    }

    fn settle_as(self, settlement: Settlement) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<> {
        let (id, amount, estimated) = (self.id().clone(), settlement.amount, settlement.estimated);
        let closed = self.guard.close(Closing::Settle(settlement));
        async move {
            Ok(Settled {
                id,
                amount,
                estimated,
                alerts: closed.await?,
            })
        }
    }
}

impl Guard {
    fn close(mut self, closing: Closing) -> impl Future<Output = Result<Vec<BudgetAlert>, LedgerError>> + Send + use<> {
        self.on_drop = None;
        self.ledger.close(self.id.clone(), closing, self.limits)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(closing) = self.on_drop.take() {
            self.ledger.close_later(self.id.clone(), closing, self.limits);
        }
    }
}
