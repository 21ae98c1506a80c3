//! A conversation as a list of facts, from which everything else follows.
//!
//! ```text
//! facts (appended, never changed) ──fold──> State: transcript, open run, open turn
//! ```
//!
//! A run that goes on and a session that is read back use the same `State::apply`, so they can't differ. The
//! [store](crate::store) keeps the facts; what they mean is decided here. Nothing in this module waits or fails.

mod approval;
mod content;
mod conversation;
mod fact;
mod info;
mod known_tools;
mod repetition;
mod state;
mod trim;
mod usage;

#[cfg(test)]
mod state_tests;

pub(crate) use approval::DECIDE_WITHIN;
pub use approval::{Approval, ApprovalDecision, ApprovalError, ApprovalState};
pub(crate) use content::{StoredAttachment, StoredBlock, StoredContent, StoredTool};
pub(crate) use fact::{CallFate, Fact, ToolMark, TrimKind};
pub use info::{RecordedFact, SessionError, SessionInfo};
pub(crate) use state::{Before, CallState, OpenApproval, OpenCall, OpenRun, State, Verdict, is_empty_answer};
pub(crate) use trim::{MAX_IMAGES, MAX_REQUEST_IMAGE_BYTES, Trimmed};
pub use usage::{CallUsage, UsageRow};
