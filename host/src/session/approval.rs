//! A call that a person decides about, and the rules of the decision.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a person has for a decision.
pub(crate) const DECIDE_WITHIN: SignedDuration = SignedDuration::from_hours(24);

/// How far an approval has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalState {
    /// Nobody has decided.
    Pending,
    /// The call may be made once.
    Approved,
    Denied,
    /// Nobody decided within 24 hours, the run ended, or something else would be called by then.
    Expired,
    /// The call may have begun.
    Started,
    /// The call has ended.
    Done,
}

impl ApprovalState {
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Started,
        Self::Done,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Started => "started",
            Self::Done => "done",
        }
    }

    /// The state at that time: a decision can come too late.
    pub(crate) fn at(self, now: Timestamp, expires_at: Timestamp) -> Self {
        match self {
            Self::Pending if now >= expires_at => Self::Expired,
            state => state,
        }
    }

    /// The state after a decision; `None` if another was made before. The first one counts, and making it twice changes nothing.
    pub(crate) fn decide(self, approves: bool) -> Option<Self> {
        match (self, approves) {
            (Self::Pending, true) => Some(Self::Approved),
            (Self::Pending | Self::Denied, false) => Some(Self::Denied),
            (Self::Approved | Self::Started | Self::Done, true) => Some(self),
            (Self::Expired, _) | (Self::Denied, true) | (Self::Approved | Self::Started | Self::Done, false) => None,
        }
    }

    /// Whether this may follow on `before`. Nothing goes back.
    pub(crate) fn follows(self, before: Self) -> bool {
        matches!(
            (before, self),
            (Self::Pending, Self::Expired)
                | (Self::Approved, Self::Started | Self::Expired)
                // Expired if its call has not begun after all.
                | (Self::Started, Self::Done | Self::Expired)
        )
    }
}

impl std::fmt::Display for ApprovalState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a person decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalDecision {
    pub approves: bool,
    /// Whether it also holds for every later call of this tool in this session, as long as its component is the same.
    pub for_session: bool,
    /// For the model, if the call is denied.
    pub reason: Option<String>,
}

/// A call that waits, or waited, for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Approval {
    pub id: String,
    pub tenant: String,
    pub session: String,
    /// The call's place among the calls of the model's answer, from 0.
    pub position: u32,
    /// The id that the model gave the call.
    pub call_id: String,
    pub tool: String,
    pub plugin: String,
    /// The digest of the component that would be called.
    pub digest: String,
    /// The SHA-256 of the input that the tool would receive: JSON with sorted keys and without blanks.
    pub input_sha256: String,
    /// What the call's plugin is granted, a line each.
    pub grants: Vec<String>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    pub state: ApprovalState,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
    pub for_session: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Approval {
    /// What the call can reach, a line each.
    pub(crate) fn reach(&self) -> String {
        match self.grants.is_empty() {
            true => "nothing outside of its sandbox".to_owned(),
            false => self.grants.join("\n"),
        }
    }
}

/// Why an approval can't be decided about. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    #[error("there is no approval `{id}`")]
    Unknown { id: String },
    #[error("several approvals begin with `{id}`")]
    Ambiguous { id: String },
    /// The first decision counts.
    #[error("the approval {id} is {state} already")]
    Decided { id: String, state: ApprovalState },
    #[error("the approval {id} has expired")]
    Expired { id: String },
}

impl ApprovalError {
    /// A stable identifier, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "approval_unknown",
            Self::Ambiguous { .. } => "approval_ambiguous",
            Self::Decided { .. } => "approval_decided",
            Self::Expired { .. } => "approval_expired",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Unknown { .. } => "`cofferdam approval list --all` shows all; eight characters of an id are enough",
            Self::Ambiguous { .. } => "write more of its id; `cofferdam approval list --all` shows all",
            Self::Decided { id, .. } => {
                return format!("the first decision counts; `cofferdam approval show {id}` says what came of it");
            }
            Self::Expired { .. } => {
                "24 hours are over, or its run has ended; `cofferdam session list` shows whether the session still waits"
            }
        };
        hint.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ApprovalState::{Approved, Denied, Done, Expired, Pending, Started};

    use super::*;

    #[test]
    fn the_first_decision_counts() {
        for (state, approved, denied) in [
            (Pending, Some(Approved), Some(Denied)),
            (Approved, Some(Approved), None),
            (Denied, None, Some(Denied)),
            (Expired, None, None),
            (Started, Some(Started), None),
            (Done, Some(Done), None),
        ] {
            assert_eq!((state.decide(true), state.decide(false)), (approved, denied), "{state}");
        }
    }

    #[test]
    fn only_an_undecided_approval_expires_with_time() {
        let expires: Timestamp = "2026-11-30T10:00:00Z".parse().unwrap();
        let before = expires - SignedDuration::from_nanos(1);
        for state in ApprovalState::ALL {
            assert_eq!(state.at(before, expires), state);
            let late = if state == Pending { Expired } else { state };
            assert_eq!(state.at(expires, expires), late);
        }
    }

    #[test]
    fn no_state_goes_back() {
        let follows = |before| ApprovalState::ALL.map(|state| state.follows(before)).map(u8::from);
        assert_eq!(follows(Pending), [0, 0, 0, 1, 0, 0]);
        assert_eq!(follows(Approved), [0, 0, 0, 1, 1, 0]);
        assert_eq!(follows(Started), [0, 0, 0, 1, 0, 1]);
        for last in [Denied, Expired, Done] {
            assert_eq!(follows(last), [0; 6]);
        }
    }
}
