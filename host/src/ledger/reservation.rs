//! The right to spend up to an amount, and how it ends.

use std::fmt;

use serde::Serialize;

use super::row::Settlement;
use super::store::Closing;
use super::{BudgetAlert, BudgetSettings, Inner, Ledger, LedgerError};
use crate::money::NanoUsd;

/// What an attempt asks for before it is made.
#[derive(Clone, Debug)]
pub struct ReserveRequest {
    pub tenant: String,
    pub session_id: String,
    pub model: String,
    /// The most that the attempt can cost.
    pub amount: NanoUsd,
    /// The configured limits. One that was set by hand stands above its configured one.
    pub limits: BudgetSettings,
    /// Decides the UTC day that the attempt counts for, even if it ends on the next.
    pub now: jiff::Timestamp,
}

/// Names a reservation in events, errors and exports: a UUID of version 7.
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

/// What a settlement booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    pub id: ReservationId,
    pub amount: NanoUsd,
    /// True where the API's figures were missing or incomplete and the reservation stands in for them.
    pub estimated: bool,
    /// The thresholds that were reached for the first time in their window.
    pub alerts: Vec<BudgetAlert>,
}

/// The right to spend up to an amount, and the duty to say what was spent.
///
/// Dropped without a word it counts in full: its attempt may have been billed. That is booked in the background; should
/// the process end before, the next one that opens the ledger books it. The same holds where the future of
/// [`Ledger::reserve`] is dropped after the reservation was committed. A future of [`settle`](Self::settle),
/// [`settle_unknown`](Self::settle_unknown) or [`release`](Self::release) that is dropped, even before its first poll,
/// still does its work.
#[must_use = "a reservation that is neither settled nor released is charged in full"]
#[derive(Debug)]
pub struct Reservation {
    id: ReservationId,
    amount: NanoUsd,
    limits: BudgetSettings,
    ledger: Ledger,
    /// How it will end if nothing else happens; `None` once it has ended.
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

    /// What is reserved.
    pub const fn amount(&self) -> NanoUsd {
        self.amount
    }

    /// Books what the API reported, in place of the reservation. An amount above it is booked as well, for it was spent.
    /// `usage` is kept as JSON for the export.
    ///
    /// # Errors
    ///
    /// Where the database fails the settlement is kept and tried again with the ledger's next work; until then the
    /// reservation stands.
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

    /// Books an attempt whose usage is unknown or incomplete (a time-out, a cut stream): the larger of what was measured
    /// and what is reserved.
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

    /// Gives the reservation back: the attempt cost nothing.
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

    /// The guard goes along, so wherever this is cut short, its drop sees to the rest.
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
