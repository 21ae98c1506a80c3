//! The sessions' rows in SQLite. Every function works inside a transaction that its caller holds.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::liveness::Owner;
use super::{Fault, Statements, approvals, by_id};
use crate::events::Ending;
use crate::session::{Fact, SessionError, SessionInfo};
use crate::sha256::sha256;
use crate::store::backend::{EXPIRED_AT_ONCE, FactBody, SessionFilter, StoredFact};

/// Beyond this size nothing begins in a session. What has begun is written to its end, which is little against it. A conversation of this
/// size fits into no model.
const MAX_SESSION_BYTES: u64 = 256 * 1024 * 1024;

/// Larger bodies are stored once per tenant and not once per fact.
const MAX_INLINE_BYTES: usize = 4 * 1024;

pub(super) fn open(connection: &Connection, owner: &Owner, id: &str, tenant: &str, title: &str) -> Result<(), Fault> {
    let existing: Option<(String, Option<String>)> =
        connection.find("SELECT opened_at, owner FROM sessions WHERE id = ?1", [id], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if let Some((since, holder)) = existing {
        return Err(match holder.filter(|holder| is_alive(owner, holder)) {
            Some(holder) => in_use(id, &since, owner.process_of(&holder)),
            None => refused(SessionError::Exists { id: id.to_owned() }),
        });
    }
    let now = Timestamp::now().to_string();
    connection.run(
        "INSERT INTO sessions (id, tenant, title, opened_at, changed_at, facts, bytes, lease, owner, leased_at)
         VALUES (?1, ?2, ?3, ?4, ?4, 0, 0, 1, ?5, ?4)",
        params![id, tenant, title, now, owner.id()],
    )?;
    Ok(())
}

/// Takes the session over, unless somebody who lives has it.
pub(super) fn lease(connection: &Connection, owner: &Owner, id: &str) -> Result<u64, Fault> {
    let Leased {
        lease,
        owner: holder,
        since,
        ..
    } = leased(connection, id)?;
    if let Some(holder) = holder
        && is_alive(owner, &holder)
    {
        return Err(in_use(id, &since, owner.process_of(&holder)));
    }
    let lease = lease + 1;
    connection.run(
        "UPDATE sessions SET lease = ?2, owner = ?3, leased_at = ?4 WHERE id = ?1",
        params![id, sql(lease), owner.id(), Timestamp::now().to_string()],
    )?;
    Ok(lease)
}

/// Whether the holder of a lease lives: this process, or another whose lock is held.
fn is_alive(owner: &Owner, holder: &str) -> bool {
    holder == owner.id() || owner.find_dead(holder).is_none()
}

pub(super) fn release(connection: &Connection, id: &str, lease: u64) -> Result<(), Fault> {
    connection.run(
        "UPDATE sessions SET owner = NULL WHERE id = ?1 AND lease = ?2",
        params![id, sql(lease)],
    )?;
    Ok(())
}

/// Appends facts, if the lease is the newest.
pub(super) fn append(
    connection: &Connection,
    id: &str,
    lease: u64,
    first: u64,
    bodies: &[Arc<FactBody>],
    outcome: Option<Option<Ending>>,
) -> Result<(), Fault> {
    let added: u64 = bodies.iter().map(|body| body.json.len() as u64).sum();
    let max_bytes = match bodies.iter().any(|body| body.begins()) {
        true => MAX_SESSION_BYTES,
        false => u64::MAX,
    };
    let changed_at = bodies.last().map(|body| body.at.to_string());
    let appended = connection.run(
        "UPDATE sessions SET facts = facts + ?4, bytes = bytes + ?5, changed_at = coalesce(?6, changed_at),
         outcome = iif(?7, ?8, outcome) WHERE id = ?1 AND lease = ?2 AND facts = ?3 AND bytes + ?5 <= ?9",
        params![
            id,
            sql(lease),
            sql(first) - 1,
            sql(bodies.len() as u64),
            sql(added),
            changed_at,
            outcome.is_some(),
            outcome.flatten().map(Ending::name),
            sql(max_bytes)
        ],
    )?;
    if appended == 0 {
        return Err(not_appended(connection, id, lease, first)?);
    }
    for (seq, body) in (first..).zip(bodies) {
        let is_inline = body.json.len() <= MAX_INLINE_BYTES;
        let digest = match is_inline {
            true => None,
            false => Some(keep_blob(connection, id, &body.json)?),
        };
        connection.run(
            "INSERT INTO facts (session, seq, at, version, kind, body, blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                id,
                sql(seq),
                body.at.to_string(),
                Fact::VERSION,
                body.kind,
                is_inline.then_some(body.json.as_str()),
                digest
            ],
        )?;
    }
    Ok(())
}

/// Why nothing could be appended.
fn not_appended(connection: &Connection, id: &str, lease: u64, first: u64) -> Result<Fault, Fault> {
    let row = leased(connection, id)?;
    let id = id.to_owned();
    Ok(refused(if row.lease != lease {
        SessionError::TakenOver { id }
    } else if row.facts + 1 != first {
        SessionError::OutOfOrder { id }
    } else {
        SessionError::Full {
            id,
            limit: MAX_SESSION_BYTES,
        }
    }))
}

/// Stores a body of a session, or counts one more use of it by its tenant. Returns its digest.
fn keep_blob(connection: &Connection, session: &str, body: &str) -> rusqlite::Result<String> {
    let digest = sha256(body);
    connection.run(
        "INSERT INTO blobs (tenant, sha256, uses, body) VALUES ((SELECT tenant FROM sessions WHERE id = ?1), ?2, 1, ?3)
         ON CONFLICT (tenant, sha256) DO UPDATE SET uses = uses + 1",
        params![session, digest, body],
    )?;
    Ok(digest)
}

/// Deletes a session with everything that only it uses, unless somebody who lives has it.
pub(super) fn delete(connection: &Connection, owner: &Owner, id: &str) -> Result<(), Fault> {
    let row = leased(connection, id)?;
    if let Some(holder) = &row.owner
        && is_alive(owner, holder)
    {
        return Err(in_use(id, &row.since, owner.process_of(holder)));
    }
    // Each body is counted once per fact that has it. The last use takes it away.
    connection.run(
        "WITH used AS (SELECT blob, count(*) AS times FROM facts WHERE session = ?1 AND blob IS NOT NULL GROUP BY blob)
         UPDATE blobs SET uses = uses - used.times FROM used WHERE tenant = ?2 AND sha256 = used.blob",
        params![id, row.tenant],
    )?;
    connection.run(
        "DELETE FROM blobs WHERE tenant = ?2 AND uses = 0
         AND sha256 IN (SELECT DISTINCT blob FROM facts WHERE session = ?1 AND blob IS NOT NULL)",
        params![id, row.tenant],
    )?;
    connection.run("DELETE FROM facts WHERE session = ?1", [id])?;
    approvals::delete(connection, id)?;
    connection.run("DELETE FROM sessions WHERE id = ?1", [id])?;
    Ok(())
}

/// The ids of up to [`EXPIRED_AT_ONCE`] sessions that nobody who lives has and that need not be kept, the oldest first: those that
/// were last changed `before`, if that is known, and those that are too much.
pub(super) fn expired(
    connection: &Connection,
    owner: &Owner,
    before: Option<Timestamp>,
    max_bytes: u64,
) -> rusqlite::Result<Vec<String>> {
    let total = connection.find("SELECT coalesce(sum(bytes), 0) FROM sessions", [], |row| number(row, 0))?;
    let mut surplus = total.unwrap_or_default().saturating_sub(max_bytes);
    let mut statement =
        connection.prepare_cached("SELECT id, owner, changed_at, bytes FROM sessions ORDER BY changed_at")?;
    let mut rows = statement.query([])?;
    let before = before.map(|before| before.to_string());
    let mut expired = Vec::new();
    while let Some(row) = rows.next()? {
        let changed_at: String = row.get(2)?;
        let is_old = before.as_ref().is_some_and(|before| changed_at < *before);
        if expired.len() == EXPIRED_AT_ONCE || (!is_old && surplus == 0) {
            break;
        }
        let holder = row.get::<_, Option<String>>(1)?;
        if !holder.is_some_and(|holder| is_alive(owner, &holder)) {
            surplus = surplus.saturating_sub(number(row, 3)?);
            expired.push(row.get(0)?);
        }
    }
    Ok(expired)
}

/// The sessions that the filter accepts, newest change first.
pub(super) fn sessions(
    connection: &Connection,
    owner: &Owner,
    filter: &SessionFilter,
) -> rusqlite::Result<Vec<SessionInfo>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, tenant, title, opened_at, changed_at, facts, bytes, outcome, owner FROM sessions
         WHERE (?1 IS NULL OR tenant = ?1) AND {} AND (NOT ?4 OR outcome IS NULL OR outcome = '{}')
         ORDER BY id = ?2 DESC, changed_at DESC, id DESC LIMIT ?3",
        by_id(filter.id_prefix.as_deref(), "?2"),
        Ending::AwaitingApproval.name(),
    ))?;
    let SessionFilter {
        tenant,
        id_prefix,
        only_unfinished,
        count,
    } = filter;
    let rows = statement.query_map(params![tenant, id_prefix, count, only_unfinished], |row| {
        info(owner, row)
    })?;
    rows.collect()
}

fn info(owner: &Owner, row: &Row<'_>) -> rusqlite::Result<SessionInfo> {
    let outcome = row.get::<_, Option<String>>(7)?;
    let holder = row.get::<_, Option<String>>(8)?;
    Ok(SessionInfo {
        id: row.get(0)?,
        tenant: row.get(1)?,
        title: row.get(2)?,
        opened_at: row.get(3)?,
        changed_at: row.get(4)?,
        facts: number(row, 5)?,
        bytes: number(row, 6)?,
        outcome: outcome.and_then(|name| Ending::ALL.into_iter().find(|ending| ending.name() == name)),
        in_use: holder.is_some_and(|holder| is_alive(owner, &holder)),
    })
}

/// Facts of a session that follow `after`, in order, of about `bytes` together.
pub(super) fn facts(connection: &Connection, id: &str, after: u64, bytes: usize) -> rusqlite::Result<Vec<StoredFact>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, at, version, coalesce(facts.body, blobs.body) FROM facts
         JOIN sessions ON sessions.id = facts.session
         LEFT JOIN blobs ON blobs.tenant = sessions.tenant AND blobs.sha256 = facts.blob
         WHERE session = ?1 AND seq > ?2 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![id, sql(after)])?;
    let (mut facts, mut read) = (Vec::new(), 0);
    while read < bytes
        && let Some(row) = rows.next()?
    {
        let json: Option<String> = row.get(3)?;
        // Its own columns take room as well.
        read += 100 + json.as_ref().map_or(0, String::len);
        facts.push(StoredFact {
            seq: number(row, 0)?,
            at: row.get(1)?,
            version: row.get(2)?,
            json,
        });
    }
    Ok(facts)
}

/// A session's row, as those who change it need it.
struct Leased {
    tenant: String,
    facts: u64,
    lease: u64,
    owner: Option<String>,
    since: String,
}

fn leased(connection: &Connection, id: &str) -> Result<Leased, Fault> {
    let found = connection.find(
        "SELECT tenant, facts, lease, owner, leased_at FROM sessions WHERE id = ?1",
        [id],
        |row| {
            Ok(Leased {
                tenant: row.get(0)?,
                facts: number(row, 1)?,
                lease: number(row, 2)?,
                owner: row.get(3)?,
                since: row.get(4)?,
            })
        },
    )?;
    found.ok_or_else(|| refused(SessionError::Unknown { id: id.to_owned() }))
}

/// SQLite's integers have a sign.
fn sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let stored = row.get::<_, i64>(column)?;
    u64::try_from(stored).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, stored))
}

/// `since` has nanoseconds, which nobody reads.
fn in_use(id: &str, since: &str, process: Option<u32>) -> Fault {
    let seconds = since
        .get(..19)
        .map_or_else(|| since.to_owned(), |seconds| format!("{seconds}Z"));
    refused(SessionError::InUse {
        id: id.to_owned(),
        since: seconds,
        process,
    })
}

fn refused(error: SessionError) -> Fault {
    Fault::Refused(error.into())
}
