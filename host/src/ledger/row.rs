//! The ledger's rows, as exported.

use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ReservationId;
use crate::money::NanoUsd;

/// One reservation, as `budget export` prints it. Amounts have all nine decimals, so that sums are exact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerRow {
    /// The reservation's id, as in the events.
    pub id: ReservationId,
    pub tenant: String,
    pub session_id: String,
    pub model: String,
    /// The UTC day that it counts for: the day of the reservation.
    pub day: String,
    /// RFC 3339, UTC.
    pub reserved_at: String,
    /// RFC 3339, UTC; `None` while open.
    pub closed_at: Option<String>,
    /// `open`, `settled`, `released`, or `charged` (in full, because its process died or its caller dropped it).
    pub state: String,
    #[serde(serialize_with = "exact")]
    pub reserved_usd: NanoUsd,
    /// `None` while open.
    #[serde(serialize_with = "exact_if_any")]
    pub spent_usd: Option<NanoUsd>,
    /// True if `spent_usd` isn't what the API reported.
    pub estimated: bool,
    /// Token counts by kind, if known.
    pub usage: Option<Value>,
}

fn exact<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&amount.exact())
}

fn exact_if_any<S: Serializer>(amount: &Option<NanoUsd>, serializer: S) -> Result<S::Ok, S::Error> {
    amount.map(NanoUsd::exact).serialize(serializer)
}
