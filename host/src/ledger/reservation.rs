//! Permission to spend up to an amount, and how it is closed.

use std::fmt;

use serde::Serialize;

use super::row::Settlement;
use super::store::Closing;
use super::{BudgetAlert, BudgetSettings, Inner, Ledger, LedgerError};
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
    pub limits: BudgetSettings,
    /// Decides the UTC day that the attempt counts for, even if it ends on the next day.
    pub now: jiff::Timestamp,
}

/// Identifies a reservation in events, errors and exports: a version 7 UUID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ReservationId(String);

impl ReservationId {
    pub(super) const fn new(id: String) -> Self {
        Self(id)
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
    /// True if the API's figures were missing or incomplete and the reservation is used instead.
    pub estimated: bool,
    /// Thresholds reached for the first time in their window.
    pub alerts: Vec<BudgetAlert>,
}

/// Permission to spend up to an amount, and the obligation to report what was spent.
///
/// Dropping it without a report charges it in full, because the API could have billed the attempt. The charge happens in the
/// background; if the process ends first, the next process that opens the ledger makes it. The same applies if the future of
/// [`Ledger::reserve`] is dropped after the reservation was committed. Futures of [`settle`](Self::settle),
/// [`settle_unknown`](Self::settle_unknown) and [`release`](Self::release) take effect even if they are dropped before their
/// first poll.
#[must_use = "a reservation that is neither settled nor released is charged in full"]
#[derive(Debug)]
pub struct Reservation {
    id: ReservationId,
    amount: NanoUsd,
    limits: BudgetSettings,
    ledger: Ledger,
    /// How a drop would close it; `None` once it is closed.
    closing: Option<Closing>,
}

impl Reservation {
    pub(super) const fn new(id: ReservationId, amount: NanoUsd, limits: BudgetSettings, ledger: Ledger) -> Self {
        Self {
            id,
            amount,
            limits,
            ledger,
            closing: Some(Closing::Charge),
        }
    }

    pub const fn id(&self) -> &ReservationId {
        &self.id
    }

    /// The reserved amount.
    pub const fn amount(&self) -> NanoUsd {
        self.amount
    }

    /// Replaces the reservation with the cost that the API reported. An amount above the reservation is booked too, because it
    /// was spent. `usage` is stored as JSON for the export.
    ///
    /// # Errors
    ///
    /// If the database fails, the settlement is kept and retried with the ledger's next operation. Until then the amount stays
    /// reserved.
    pub fn settle<U: Serialize>(
        self,
        amount: NanoUsd,
        usage: &U,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<U> {
        let usage = serde_json::to_string(usage).ok();
        self.settle_as(Settlement {
            amount,
            estimated: false,
            usage,
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
        let amount = measured.max(self.amount);
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
    pub fn release(mut self) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        self.closing = Some(Closing::Release);
        async move { self.close().await.map(drop) }
    }

    fn settle_as(
        mut self,
        settlement: Settlement,
    ) -> impl Future<Output = Result<Settled, LedgerError>> + Send + use<> {
        let (id, amount, estimated) = (self.id.clone(), settlement.amount, settlement.estimated);
        self.closing = Some(Closing::Settle(settlement));
        async move {
            Ok(Settled {
                id,
                amount,
                estimated,
                alerts: self.close().await?,
            })
        }
    }

    /// Moves the guard into the work: if this future is dropped at any point, the guard's drop closes the reservation.
    async fn close(self) -> Result<Vec<BudgetAlert>, LedgerError> {
        let ledger = self.ledger.clone();
        ledger.run(move |inner| self.close_now(inner)).await?
    }

    fn close_now(mut self, inner: &Inner) -> Result<Vec<BudgetAlert>, LedgerError> {
        let Some(closing) = &self.closing else {
            return Ok(Vec::new());
        };
        let result = inner.store().close(&self.id, closing, Some(&self.limits));
        if matches!(result, Ok(_) | Err(LedgerError::NotOpen { .. })) {
            self.closing = None;
        }
        result
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(closing) = self.closing.take() {
            self.ledger.close_later(self.id.clone(), closing);
        }
    }
}
