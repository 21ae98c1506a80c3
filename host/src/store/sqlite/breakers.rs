//! The breakers' rows in SQLite. Every function works inside a transaction that its caller holds.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{Fault, Statements, unreadable};
use crate::events::BreakerState;
use crate::resilience::Override;
use crate::store::breakers::{BreakerOrder, BreakerRecord};

/// Orders that are kept. A running host reads them within seconds.
const MAX_ORDERS: i64 = 1_000;

/// The tenant of a breaker that is for all of them. No tenant has this name.
const ALL: &str = "";

pub(super) fn record(connection: &Connection, record: &BreakerRecord) -> Result<(), Fault> {
    connection.run(
        "INSERT INTO breakers (name, tenant, state, since, until, about, last_failure) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (name, tenant) DO UPDATE SET state = ?3, since = ?4, until = ?5, about = ?6, last_failure = ?7",
        params![
            record.name,
            record.tenant.as_deref().unwrap_or(ALL),
            record.state.name(),
            record.since.to_string(),
            record.until.map(|until| until.to_string()),
            record.about,
            record.last_failure
        ],
    )?;
    Ok(())
}

/// Writes an order down for the hosts that run, and its effect for those that start later.
pub(super) fn order(connection: &Connection, name: &str, to: Override, at: Timestamp) -> Result<(), Fault> {
    let at = at.to_string();
    connection.run(
        "INSERT INTO breaker_orders (name, order_, at) VALUES (?1, ?2, ?3)",
        params![name, to.name(), at],
    )?;
    connection.run(
        "DELETE FROM breaker_orders WHERE seq <= (SELECT max(seq) FROM breaker_orders) - ?1",
        [MAX_ORDERS],
    )?;
    let state = match to {
        Override::Open => BreakerState::Open,
        Override::Closed | Override::Reset => BreakerState::Closed,
    };
    // The row of all tenants stands for those that have none yet.
    connection.run(
        "INSERT INTO breakers (name, tenant, state, since, until, about) VALUES (?1, ?2, ?3, ?4, NULL, '')
         ON CONFLICT (name, tenant) DO NOTHING",
        params![name, ALL, state.name(), at],
    )?;
    connection.run(
        "UPDATE breakers SET state = ?2, since = ?3, until = NULL, last_failure = NULL WHERE name = ?1",
        params![name, state.name(), at],
    )?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<BreakerRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT name, tenant, state, since, until, about, last_failure FROM breakers ORDER BY name, tenant",
    )?;
    let records = statement.query_map([], |row| {
        let tenant: String = row.get(1)?;
        let until: Option<String> = row.get(4)?;
        Ok(BreakerRecord {
            name: row.get(0)?,
            tenant: (tenant != ALL).then_some(tenant),
            state: state(row)?,
            since: timestamp(&row.get::<_, String>(3)?)?,
            until: until.as_deref().map(timestamp).transpose()?,
            about: row.get(5)?,
            last_failure: row.get(6)?,
        })
    })?;
    records.collect()
}

/// The orders after this one, oldest first; with `None`, the newest alone.
pub(super) fn orders(connection: &Connection, after: Option<u64>) -> rusqlite::Result<Vec<BreakerOrder>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, name, order_ FROM breaker_orders
         WHERE CASE WHEN ?1 IS NULL THEN seq = (SELECT max(seq) FROM breaker_orders) ELSE seq > ?1 END ORDER BY seq",
    )?;
    let after = after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
    let orders = statement.query_map([after], |row| {
        let name: String = row.get(2)?;
        let to = Override::ALL.into_iter().find(|order| order.name() == name);
        Ok(BreakerOrder {
            seq: u64::try_from(row.get::<_, i64>(0)?).unwrap_or_default(),
            name: row.get(1)?,
            to: to.ok_or_else(|| unreadable(format!("`{name}` is no order to a breaker")))?,
        })
    })?;
    orders.collect()
}

fn state(row: &Row<'_>) -> rusqlite::Result<BreakerState> {
    let name: String = row.get(2)?;
    [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen]
        .into_iter()
        .find(|state| state.name() == name)
        .ok_or_else(|| unreadable(format!("`{name}` is no state of a breaker")))
}

fn timestamp(text: &str) -> rusqlite::Result<Timestamp> {
    text.parse().map_err(|error: jiff::Error| unreadable(error.to_string()))
}
