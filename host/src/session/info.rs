//! What is known of a session without reading it, and why one can't be used.

use serde::Serialize;
use serde_json::Value;

use crate::events::Ending;

/// One session, as `session list` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionInfo {
    pub id: String,
    pub tenant: String,
    /// The beginning of its first prompt.
    pub title: String,
    /// RFC 3339, UTC.
    pub opened_at: String,
    /// RFC 3339, UTC: its latest fact.
    pub changed_at: String,
    pub facts: u64,
    /// Bytes of its facts, before equal ones are stored once.
    pub bytes: u64,
    /// How the last run ended; `None` while one is under way, or after a crash.
    pub outcome: Option<Ending>,
    /// Whether a process that lives drives it.
    pub in_use: bool,
}

/// One fact, as `session show` and `session export` print it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RecordedFact {
    /// Counted from 1.
    pub seq: u64,
    /// RFC 3339, UTC.
    pub at: String,
    pub version: u32,
    /// What happened, with its `kind`.
    pub fact: Value,
}

/// Why a session can't be used. Nothing in it changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    #[error("there is no session `{id}`")]
    Unknown { id: String },
    #[error("several sessions begin with `{id}`")]
    Ambiguous { id: String },
    /// Another process, or another part of this one, drives it.
    #[error("the session {id} is in use since {since}, {}", by(*process))]
    InUse {
        id: String,
        since: String,
        /// Its id, if it could write that down.
        process: Option<u32>,
    },
    /// One was to be opened, and there is one: of this tenant or of another.
    #[error("there is already a session {id}")]
    Exists { id: String },
    /// Another process has taken it over.
    #[error("the session {id} was taken over by another process")]
    TakenOver { id: String },
    /// Its last prompt was not answered to the end, because its process ended.
    #[error("the last run of the session {id} has not ended")]
    Unfinished { id: String },
    /// It holds as much as one can.
    #[error("the session {id} is full: it holds {limit} bytes")]
    Full { id: String, limit: u64 },
    /// Facts before these couldn't be written. They are tried again together.
    #[error("what happened before in the session {id} could not be written")]
    OutOfOrder { id: String },
    #[error("the session {id} can't be read: fact {seq} is damaged")]
    Damaged { id: String, seq: u64 },
}

fn by(process: Option<u32>) -> String {
    match process {
        Some(id) if id == std::process::id() => "by this process".to_owned(),
        Some(id) => format!("by the process {id}"),
        None => "by this process or another".to_owned(),
    }
}

impl SessionError {
    /// The kind of [`Self::InUse`].
    pub const IN_USE: &'static str = "session_in_use";
    /// The kind of [`Self::Exists`].
    pub const EXISTS: &'static str = "session_exists";

    /// A stable identifier, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "session_unknown",
            Self::Ambiguous { .. } => "session_ambiguous",
            Self::InUse { .. } => Self::IN_USE,
            Self::Exists { .. } => Self::EXISTS,
            Self::TakenOver { .. } => "session_taken_over",
            Self::Unfinished { .. } => "session_unfinished",
            Self::OutOfOrder { .. } => "session_out_of_order",
            Self::Full { .. } => "session_full",
            Self::Damaged { .. } => "session_damaged",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Unknown { .. } => {
                "`cofferdam session list` shows the sessions that are kept; eight characters of a generated id are enough"
            }
            Self::Ambiguous { .. } => "write more of its id; `cofferdam session list` shows all",
            Self::InUse { .. } => "wait until it ends, or end the other process",
            Self::Exists { .. } => {
                "go on with it if it is this tenant's, or choose another id: an id is one session's, whatever its tenant"
            }
            Self::TakenOver { .. } => "start again with `--session` to see what happened since",
            Self::Full { .. } => "begin another session",
            Self::OutOfOrder { .. } => "the log says why; it is tried again with what happens next",
            Self::Unfinished { id } => return format!("`cofferdam session resume {id}` goes on with it"),
            Self::Damaged { id, .. } => {
                return format!(
                    "restore the database from a backup, or delete the session with `cofferdam session delete {id}`; `cofferdam session \
                     export {id}` prints what comes before"
                );
            }
        };
        hint.to_owned()
    }
}
