//! The rows of what tool calls used. Every function works inside a transaction that its caller holds.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};

use super::Statements;
use crate::session::UsageRow;
use crate::store::backend::UsageFilter;

/// The largest sum: SQLite's integers have a sign.
const MAX: i64 = i64::MAX;

/// Adds one call to the row of its day, tenant, plugin and tool.
static COUNT: LazyLock<String> = LazyLock::new(|| {
    // A sum that doesn't fit stays at the largest: SQLite would make a fraction of it, which the column refuses.
    let add = |column: &str| {
        format!("{column} = iif({column} > {MAX} - excluded.{column}, {MAX}, {column} + excluded.{column})")
    };
    let sums = [
        "calls",
        "failed",
        "duration_ms",
        "fuel",
        "http_requests",
        "bytes_sent",
        "bytes_received",
    ];
    let sums = sums.map(add).join(", ");
    format!(
        "INSERT INTO usage (day, tenant, plugin, tool, calls, failed, duration_ms, fuel, peak_memory_bytes,
                            http_requests, bytes_sent, bytes_received)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT (day, tenant, plugin, tool) DO UPDATE SET {sums},
            peak_memory_bytes = max(peak_memory_bytes, excluded.peak_memory_bytes)"
    )
});

pub(super) fn count(connection: &Connection, call: &UsageRow) -> rusqlite::Result<()> {
    connection.run(
        &COUNT,
        params![
            call.day,
            call.tenant,
            call.plugin,
            call.tool,
            sql(call.calls),
            sql(call.failed),
            sql(call.duration_ms),
            sql(call.fuel),
            sql(call.peak_memory_bytes),
            sql(call.http_requests),
            sql(call.bytes_sent),
            sql(call.bytes_received),
        ],
    )?;
    Ok(())
}

/// The rows that the filter accepts, oldest day first.
pub(super) fn find(connection: &Connection, filter: &UsageFilter) -> rusqlite::Result<Vec<UsageRow>> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM usage
         WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR day >= ?2) AND (?3 IS NULL OR day <= ?3)
         ORDER BY day, tenant, plugin, tool",
    )?;
    let rows = statement.query_map(params![filter.tenant, filter.since, filter.until], row)?;
    rows.collect()
}

fn row(row: &Row<'_>) -> rusqlite::Result<UsageRow> {
    let number = |column: &str| {
        row.get::<_, i64>(column)
            .map(|sum| u64::try_from(sum).unwrap_or_default())
    };
    Ok(UsageRow {
        day: row.get("day")?,
        tenant: row.get("tenant")?,
        plugin: row.get("plugin")?,
        tool: row.get("tool")?,
        calls: number("calls")?,
        failed: number("failed")?,
        duration_ms: number("duration_ms")?,
        fuel: number("fuel")?,
        peak_memory_bytes: number("peak_memory_bytes")?,
        http_requests: number("http_requests")?,
        bytes_sent: number("bytes_sent")?,
        bytes_received: number("bytes_received")?,
    })
}

fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::schema;
    use super::*;

    fn call(tool: &str, fuel: u64, peak_memory_bytes: u64) -> UsageRow {
        UsageRow {
            day: "2026-11-29".to_owned(),
            tenant: "t".to_owned(),
            plugin: "p".to_owned(),
            tool: tool.to_owned(),
            calls: 1,
            failed: u64::from(fuel == 0),
            fuel,
            peak_memory_bytes,
            bytes_sent: 3,
            ..UsageRow::default()
        }
    }

    #[test]
    fn calls_add_up_and_the_highest_peak_counts() {
        let database = schema::in_memory().unwrap();
        for counted in [call("a", 5, 10), call("a", 0, 30), call("b", 1, 1), call("a", 7, 20)] {
            count(&database, &counted).unwrap();
        }
        let all = UsageFilter::default();
        let rows = find(&database, &all).unwrap();
        let a = &rows[0];
        assert_eq!((rows.len(), a.calls, a.failed, a.fuel), (2, 3, 1, 12));
        assert_eq!((a.peak_memory_bytes, a.bytes_sent), (30, 9));

        let none = |filter| find(&database, &filter).unwrap().is_empty();
        assert!(none(UsageFilter {
            since: Some("2026-11-30".to_owned()),
            ..all.clone()
        }));
        assert!(none(UsageFilter {
            until: Some("2026-11-28".to_owned()),
            ..all.clone()
        }));
        assert!(none(UsageFilter {
            tenant: Some("u".to_owned()),
            ..all
        }));
    }

    #[test]
    fn a_sum_that_does_not_fit_stays_at_the_largest() {
        let database = schema::in_memory().unwrap();
        for _ in 0..3 {
            count(&database, &call("a", u64::MAX, u64::MAX)).unwrap();
        }
        let rows = find(&database, &UsageFilter::default()).unwrap();
        assert_eq!((rows[0].calls, rows[0].fuel), (3, u64::try_from(MAX).unwrap()));
    }
}
