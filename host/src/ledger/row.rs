//! The ledger's rows, as exported.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ReservationId;
use crate::money::NanoUsd;

/// One reservation or one reversal, as `budget export` prints it. Amounts have all nine decimals, so that sums are exact: what is spent
/// is the sum of `spent_usd`, less the sum of `reversed_usd`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerRow {
    /// The reservation's id, as in the events. A reversal has its own.
    pub id: ReservationId,
    pub tenant: String,
    pub session_id: String,
    pub model: String,
    /// The UTC day that it counts for: the day of the reservation, also for its reversals.
    pub day: String,
    /// RFC 3339, UTC. A reversal has the time at which it was booked, here and in `closed_at`.
    pub reserved_at: String,
    /// RFC 3339, UTC; `None` while open.
    pub closed_at: Option<String>,
    /// `open`, `settled`, `released`, `charged` (in full, because its process died or its caller dropped it), or `reversal`.
    pub state: String,
    #[serde(serialize_with = "exact")]
    pub reserved_usd: NanoUsd,
    /// `None` while open, and in a reversal.
    #[serde(serialize_with = "exact_if_any")]
    pub spent_usd: Option<NanoUsd>,
    /// True if `spent_usd` isn't what the API reported.
    pub estimated: bool,
    /// Token counts by kind, if known.
    pub usage: Option<Value>,
    /// The reservation that a reversal takes something back of.
    pub reverses: Option<ReservationId>,
    /// What it takes back.
    #[serde(serialize_with = "exact_if_any")]
    pub reversed_usd: Option<NanoUsd>,
    pub reason: Option<String>,
}

pub(super) fn exact<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&amount.exact())
}

fn exact_if_any<S: Serializer>(amount: &Option<NanoUsd>, serializer: S) -> Result<S::Ok, S::Error> {
    amount.map(NanoUsd::exact).serialize(serializer)
}
