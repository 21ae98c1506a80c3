//! What the facts of a session mean for the store's other rows. They change in the same commit.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::events::Outcome;
use crate::session::{Approval, ApprovalState, CallFate, Fact, UsageRow};
use crate::store::Change;

/// The changes that belong to a fact.
pub(super) fn consequences(fact: &Fact, session: &str, tenant: &str) -> impl Iterator<Item = Change> {
    approval(fact, session, tenant).into_iter().chain(usage(fact, tenant))
}

/// What a fact means for an approval in the store.
fn approval(fact: &Fact, session: &str, tenant: &str) -> Option<Change> {
    let advance = |id: &String, to| Some(Change::AdvanceApproval { id: id.clone(), to });
    match fact {
        Fact::ApprovalRequested {
            approval,
            position,
            id,
            tool,
            plugin,
            digest,
            input_sha256,
            grants,
            expires_at,
        } => Some(Change::RequestApproval(Box::new(Approval {
            id: approval.clone(),
            tenant: tenant.to_owned(),
            session: session.to_owned(),
            position: *position,
            call_id: id.clone(),
            tool: tool.clone(),
            plugin: plugin.clone(),
            digest: digest.clone(),
            input_sha256: input_sha256.clone(),
            grants: grants.clone(),
            requested_at: Timestamp::now(),
            expires_at: *expires_at,
            state: ApprovalState::Pending,
            decided_at: None,
            for_session: false,
            reason: None,
        }))),
        Fact::ApprovalExpired { approval, .. } => advance(approval, ApprovalState::Expired),
        Fact::CallAdmitted {
            approval: Some(approval),
            ..
        } => advance(approval, ApprovalState::Started),
        Fact::CallEnded(CallFate {
            approval: Some(approval),
            ..
        }) => advance(approval, ApprovalState::Done),
        _ => None,
    }
}

/// What a fact adds to what calls have used.
fn usage(fact: &Fact, tenant: &str) -> Option<Change> {
    let Fact::CallEnded(CallFate {
        tool,
        outcome,
        used: Some(used),
        ..
    }) = fact
    else {
        return None;
    };
    // What was refused before it ran used nothing.
    let has_run = !used.plugin.is_empty() && used.tries > 0;
    has_run.then(|| {
        Change::CountCall(Box::new(UsageRow {
            day: TimeZone::UTC.to_datetime(Timestamp::now()).date().to_string(),
            tenant: tenant.to_owned(),
            plugin: used.plugin.clone(),
            tool: tool.clone(),
            calls: 1,
            failed: u64::from(*outcome != Outcome::Ok),
            duration_ms: used.duration_ms,
            fuel: used.fuel,
            peak_memory_bytes: used.peak_memory_bytes,
            http_requests: used.http_requests.into(),
            bytes_sent: used.bytes_sent,
            bytes_received: used.bytes_received,
        }))
    })
}
