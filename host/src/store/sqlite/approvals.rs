//! The approvals' rows in SQLite. Every function works inside a transaction that its caller holds.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{Fault, Statements, by_id, unreadable};
use crate::session::{Approval, ApprovalDecision, ApprovalError, ApprovalState};
use crate::store::backend::ApprovalFilter;

pub(super) fn request(connection: &Connection, approval: &Approval) -> Result<(), Fault> {
    let grants = serde_json::to_string(&approval.grants).unwrap_or_default();
    connection.run(
        "INSERT INTO approvals (id, tenant, session, position, call_id, tool, plugin, digest, input_sha256, grants,
                                requested_at, expires_at, state, for_session)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, FALSE)",
        params![
            approval.id,
            approval.tenant,
            approval.session,
            approval.position,
            approval.call_id,
            approval.tool,
            approval.plugin,
            approval.digest,
            approval.input_sha256,
            grants,
            approval.requested_at.to_string(),
            approval.expires_at.to_string(),
            approval.state.name(),
        ],
    )?;
    Ok(())
}

/// Books a decision, unless another was made before. Returns what holds now.
pub(super) fn decide(
    connection: &Connection,
    id: &str,
    decision: &ApprovalDecision,
    now: Timestamp,
) -> Result<Approval, Fault> {
    let row = connection.find("SELECT * FROM approvals WHERE id = ?1", [id], row)?;
    let id = id.to_owned();
    let mut approval = row.ok_or_else(|| refused(ApprovalError::Unknown { id: id.clone() }))?;
    let state = approval.state.at(now, approval.expires_at);
    if state == ApprovalState::Expired {
        return Err(refused(ApprovalError::Expired { id }));
    }
    let Some(decided) = state.decide(decision.approves) else {
        return Err(refused(ApprovalError::Decided { id, state }));
    };
    if approval.state != ApprovalState::Pending {
        // An approval of one call isn't made one of all by saying it again.
        return match decision.for_session && !approval.for_session {
            true => Err(refused(ApprovalError::Decided { id, state })),
            false => Ok(approval),
        };
    }
    approval.state = decided;
    approval.decided_at = Some(now);
    approval.for_session = decision.approves && decision.for_session;
    approval.reason = decision.reason.clone().filter(|_| !decision.approves);
    connection.run(
        "UPDATE approvals SET state = ?2, decided_at = ?3, for_session = ?4, reason = ?5 WHERE id = ?1",
        params![
            id,
            decided.name(),
            now.to_string(),
            approval.for_session,
            approval.reason
        ],
    )?;
    Ok(approval)
}

/// Notes how far it came. What doesn't follow on its state changes nothing: the session's facts say what happened.
pub(super) fn advance(connection: &Connection, id: &str, to: ApprovalState) -> Result<(), Fault> {
    let state = connection.find("SELECT state FROM approvals WHERE id = ?1", [id], |row| state(row, 0))?;
    if state.is_some_and(|before| to.follows(before)) {
        connection.run("UPDATE approvals SET state = ?2 WHERE id = ?1", params![id, to.name()])?;
    }
    Ok(())
}

/// The approvals that the filter accepts, the newest first.
pub(super) fn find(connection: &Connection, filter: &ApprovalFilter) -> rusqlite::Result<Vec<Approval>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT * FROM approvals
         WHERE {} AND (?2 IS NULL OR session = ?2)
           AND (?3 IS NULL OR tenant = ?3) AND (NOT ?4 OR state = 'approved' OR (state = 'pending' AND expires_at > ?5))
         ORDER BY requested_at DESC, id LIMIT ?6",
        by_id(filter.id_prefix.as_deref(), "?1")
    ))?;
    let found = statement.query_map(
        params![
            filter.id_prefix,
            filter.session,
            filter.tenant,
            filter.only_open,
            filter.now.to_string(),
            filter.count
        ],
        row,
    )?;
    let found = found.map(|approval| {
        approval.map(|approval| Approval {
            state: approval.state.at(filter.now, approval.expires_at),
            ..approval
        })
    });
    found.collect()
}

pub(super) fn delete(connection: &Connection, session: &str) -> rusqlite::Result<()> {
    connection.run("DELETE FROM approvals WHERE session = ?1", [session])?;
    Ok(())
}

fn row(row: &Row<'_>) -> rusqlite::Result<Approval> {
    let grants: String = row.get("grants")?;
    Ok(Approval {
        id: row.get("id")?,
        tenant: row.get("tenant")?,
        session: row.get("session")?,
        position: row.get("position")?,
        call_id: row.get("call_id")?,
        tool: row.get("tool")?,
        plugin: row.get("plugin")?,
        digest: row.get("digest")?,
        input_sha256: row.get("input_sha256")?,
        grants: serde_json::from_str(&grants).unwrap_or_default(),
        requested_at: parsed(row, "requested_at")?,
        expires_at: parsed(row, "expires_at")?,
        state: state(row, "state")?,
        decided_at: match row.get::<_, Option<String>>("decided_at")? {
            Some(_) => Some(parsed(row, "decided_at")?),
            None => None,
        },
        for_session: row.get("for_session")?,
        reason: row.get("reason")?,
    })
}

fn state(row: &Row<'_>, column: impl rusqlite::RowIndex) -> rusqlite::Result<ApprovalState> {
    let name: String = row.get(column)?;
    let state = ApprovalState::ALL.into_iter().find(|state| state.name() == name);
    state.ok_or_else(|| unreadable(format!("`{name}` is no state of an approval")))
}

fn parsed(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: jiff::Error| unreadable(error.to_string()))
}

fn refused(error: ApprovalError) -> Fault {
    Fault::Refused(error.into())
}
