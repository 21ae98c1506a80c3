//! Sums of what was spent. They read every attempt, so they are for people who ask, not for runs.

use rusqlite::{Connection, params};

use crate::ledger::{Spending, SpendingBy, SpendingFilter};

/// What the attempts of a group add up to. No attempt costs a million dollars, or has a billion tokens;
/// the bounds keep an absurd row from stopping the sum. A server can report any number.
const SUMS: &str = "COUNT(*) FILTER (WHERE state <> 'released'),
    SUM(MIN(coalesce(spent, 0) - reversed, 1000000000000000)),
    SUM(CASE state WHEN 'open' THEN MIN(reserved, 1000000000000000) ELSE 0 END),
    SUM(MIN(CAST(usage ->> 'input_tokens' AS INTEGER), 1000000000)
        + MIN(CAST(usage ->> 'cache_creation_5m_input_tokens' AS INTEGER), 1000000000)
        + MIN(CAST(usage ->> 'cache_creation_1h_input_tokens' AS INTEGER), 1000000000)
        + MIN(CAST(usage ->> 'cache_read_input_tokens' AS INTEGER), 1000000000))
        FILTER (WHERE usage ->> 'estimated_prompt_tokens' IS NOT NULL),
    SUM(MIN(CAST(usage ->> 'estimated_prompt_tokens' AS INTEGER), 1000000000))";

/// The reservation of the attempt whose answer made each call, of those sessions that are kept.
const CALLS: &str = "WITH calls AS (
        SELECT json_extract(facts.body, '$.tool') AS tool, (
            SELECT json_extract(started.body, '$.reservation') FROM facts AS started
            WHERE started.session = facts.session AND started.seq < facts.seq AND started.kind = 'attempt_started'
            ORDER BY started.seq DESC LIMIT 1
        ) AS reservation
        FROM facts WHERE facts.kind = 'call_admitted'
    ), answers AS (SELECT tool, reservation, COUNT(*) AS calls FROM calls GROUP BY tool, reservation)";

pub(super) fn spending(connection: &Connection, filter: &SpendingFilter) -> rusqlite::Result<Vec<Spending>> {
    let (with, key, from, calls) = match filter.by {
        SpendingBy::Tenant => ("", "tenant, NULL", "reservations", "NULL"),
        SpendingBy::Session => ("", "session_id, tenant", "reservations", "NULL"),
        SpendingBy::Model => ("", "model, NULL", "reservations", "NULL"),
        SpendingBy::Day => ("", "day, NULL", "reservations", "NULL"),
        SpendingBy::Tool => (
            CALLS,
            "tool, NULL",
            "answers JOIN reservations ON reservations.id = answers.reservation",
            "SUM(calls)",
        ),
    };
    let query = format!(
        "{with} SELECT {key}, {calls}, {SUMS} FROM {from}
         WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR day >= ?2)
         GROUP BY 1, 2 ORDER BY 5 DESC, 1 LIMIT ?3"
    );
    let mut statement = connection.prepare(&query)?;
    let rows = statement.query_map(params![filter.tenant, filter.since, filter.count], |row| {
        let (key, tenant) = (row.get(0)?, row.get(1)?);
        let sums = Spending {
            calls: row.get::<_, Option<u32>>(2)?.map(u64::from),
            attempts: row.get::<_, u32>(3)?.into(),
            spent_usd: row.get(4)?,
            reserved_usd: row.get(5)?,
            ..Spending::default()
        };
        Ok(match filter.by {
            SpendingBy::Tenant => Spending { tenant: key, ..sums },
            SpendingBy::Session => Spending {
                session_id: key,
                tenant,
                ..sums
            },
            SpendingBy::Model => Spending {
                model: key,
                prompt_tokens: row.get::<_, Option<i64>>(6)?.and_then(|sum| sum.try_into().ok()),
                estimated_prompt_tokens: row.get::<_, Option<i64>>(7)?.and_then(|sum| sum.try_into().ok()),
                ..sums
            },
            SpendingBy::Day => Spending { day: key, ..sums },
            SpendingBy::Tool => Spending { tool: key, ..sums },
        })
    })?;
    rows.collect()
}
