//! The ledger's rows, as exported.

use rusqlite::{Transaction, params};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::ReservationId;
use crate::money::NanoUsd;

/// The cost of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    pub(super) amount: NanoUsd,
    /// True if the amount isn't what the API reported.
    pub(super) estimated: bool,
    /// Token counts by kind, as JSON text.
    pub(super) usage: Option<String>,
}

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

/// Up to `count` rows that follow `after`, in order of their ids.
pub(super) fn page(
    transaction: &Transaction<'_>,
    after: Option<&ReservationId>,
    count: u32,
) -> rusqlite::Result<Vec<LedgerRow>> {
    let mut statement = transaction.prepare(
        "SELECT id, tenant, session_id, model, day, reserved_at, closed_at, state, reserved, spent, estimated, usage
         FROM reservations WHERE id > ?1 ORDER BY id LIMIT ?2",
    )?;
    let rows = statement.query_map(params![after.map_or("", ReservationId::as_str), count], |row| {
        Ok(LedgerRow {
            id: ReservationId::new(row.get(0)?),
            tenant: row.get(1)?,
            session_id: row.get(2)?,
            model: row.get(3)?,
            day: row.get(4)?,
            reserved_at: row.get(5)?,
            closed_at: row.get(6)?,
            state: row.get(7)?,
            reserved_usd: row.get(8)?,
            spent_usd: row.get(9)?,
            estimated: row.get(10)?,
            usage: row
                .get::<_, Option<String>>(11)?
                .and_then(|usage| serde_json::from_str(&usage).ok()),
        })
    })?;
    rows.collect()
}

fn exact<S: Serializer>(amount: &NanoUsd, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&amount.exact())
}

fn exact_if_any<S: Serializer>(amount: &Option<NanoUsd>, serializer: S) -> Result<S::Ok, S::Error> {
    amount.map(NanoUsd::exact).serialize(serializer)
}
