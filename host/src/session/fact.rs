//! What can happen in a session.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::content::{StoredAttachment, StoredBlock, StoredContent, StoredTool};
use super::usage::CallUsage;
use crate::events::{Ending, ErrorInfo, LeftOutFile, Outcome, Usage};

/// One fact of a session's journal.
///
/// These are read for as long as a session is kept, also by later versions: add kinds and optional fields, and never change what
/// one means.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Fact {
    /// The session begins, or goes on with what is different now.
    Opened {
        model: String,
        /// SHA-256 of the system prompt, in hexadecimal.
        system_sha256: String,
        tools: Vec<ToolMark>,
        /// Their definitions, if requests announce how tools change. Of tools that a model searches there are none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        definitions: Option<Vec<StoredTool>>,
    },
    /// Another process goes on with it.
    Reopened {
        /// What differs from before, a line each.
        changes: Vec<String>,
    },
    /// A run begins.
    Prompted {
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<StoredAttachment>,
        /// The JSON Schema that the answer must match, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        schema: Option<String>,
    },
    /// What the next prompt begins with, until there is one. Written while nobody drives the run.
    Drafted {
        /// A prompt that has to wait for the run before it. `None`: it is still the last one, with other files.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<StoredAttachment>,
    },
    /// Durable before the request leaves.
    AttemptStarted {
        model: String,
        /// `None` if the model has no price and no limit is in force.
        reservation: Option<String>,
    },
    AttemptEnded {
        reservation: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What went wrong, in the words of the API where it has some.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What had arrived of an answer that has no end. People can read it; the conversation goes on without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partial_text: Option<String>,
    },
    /// The model answered. Its calls are the `tool_use` blocks.
    Answered {
        model: String,
        stop_reason: String,
        content: Vec<StoredBlock>,
    },
    /// The model's empty answer is not kept, and it is asked again.
    AskedAgain {},
    /// The answer doesn't match the run's schema, and the model reads why.
    Corrected {
        text: String,
    },
    /// A call may begin: from here on it may have had an effect.
    CallAdmitted {
        /// Its place among the calls of the answer, from 0: models repeat ids.
        position: u32,
        id: String,
        tool: String,
        plugin: String,
        digest: String,
        /// Whether it can be made twice: it can have no effect, or the tool is idempotent or read-only.
        repeatable: bool,
        /// The approval that lets it begin, if it needs one of its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<String>,
    },
    /// A call that was admitted has not begun, and doesn't any more in this process: it waited in a queue when its run was cancelled or
    /// dropped. It can be made as if it had not been admitted.
    CallNotBegun {
        position: u32,
        id: String,
    },
    /// A call waits for a person.
    ApprovalRequested {
        approval: String,
        /// The call's place among the calls of the answer, from 0.
        position: u32,
        id: String,
        tool: String,
        plugin: String,
        digest: String,
        input_sha256: String,
        /// What the plugin is granted, a line each.
        grants: Vec<String>,
        expires_at: Timestamp,
    },
    /// A person decided. The first decision counts.
    ApprovalDecided {
        approval: String,
        position: u32,
        approved: bool,
        /// Whether every later call of the tool may be made, as long as its component is the same.
        #[serde(default)]
        for_session: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Nobody decided in time, the approval was for another call than the one that would be made now, or the run ended.
    ApprovalExpired {
        approval: String,
        position: u32,
    },
    CallEnded(CallFate),
    /// A part of the conversation was left out for good, because the model refused the whole. Earlier versions wrote it for the budget's
    /// sake as well.
    Trimmed {
        what: TrimKind,
        /// The attachments among it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<LeftOutFile>,
    },
    /// A part of the conversation was left out of the request that the next answer is for, because the budget didn't cover the whole. It
    /// stays a part of the conversation.
    LeftOut {
        results: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<LeftOutFile>,
    },
    /// The next request has no room for these images and PDFs, because of newer ones. They left the conversation with the fact that brought
    /// the newer ones; this says that it was reported.
    CrowdedOut {
        /// Images of results.
        images: u64,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<LeftOutFile>,
    },
    RunEnded {
        outcome: Ending,
        /// The error's stable identifier.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What the report says of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// A kind of a newer version, which this one keeps and skips.
    #[serde(other)]
    Unknown,
}

/// How a call ended, as the model reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CallFate {
    /// Its place among the calls of the answer, from 0.
    pub(crate) position: u32,
    pub(crate) id: String,
    pub(crate) tool: String,
    pub(crate) outcome: Outcome,
    pub(crate) content: Vec<StoredContent>,
    pub(crate) is_error: bool,
    pub(crate) degraded: bool,
    /// Why it failed, as far as the content doesn't say: what the fallback replaced, and the host's detail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// The approval that let it begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approval: Option<String>,
    /// What it used; `None` if this process doesn't know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<CallUsage>,
}

/// A tool as a session knew it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToolMark {
    pub(crate) name: String,
    pub(crate) plugin: String,
    /// The digest of its component.
    pub(crate) digest: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TrimKind {
    Results,
    VendorBlocks,
    Images,
}

impl Fact {
    /// The end of a run, with what its report says of an error.
    pub(crate) fn run_ended(outcome: Ending, error: Option<&ErrorInfo>) -> Self {
        Self::RunEnded {
            outcome,
            error: error.map(|error| error.kind.clone()),
            message: error.map(|error| error.message.clone()),
            hint: error.and_then(|error| error.hint.clone()),
            request_id: error.and_then(|error| error.request_id.clone()),
        }
    }

    /// The version of the facts that this program writes.
    pub(crate) const VERSION: u32 = 1;

    /// The name of its kind.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Reopened { .. } => "reopened",
            Self::Prompted { .. } => "prompted",
            Self::Drafted { .. } => "drafted",
            Self::Corrected { .. } => "corrected",
            Self::AttemptStarted { .. } => "attempt_started",
            Self::AttemptEnded { .. } => "attempt_ended",
            Self::Answered { .. } => "answered",
            Self::AskedAgain {} => "asked_again",
            Self::CallAdmitted { .. } => "call_admitted",
            Self::CallNotBegun { .. } => "call_not_begun",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalDecided { .. } => "approval_decided",
            Self::ApprovalExpired { .. } => "approval_expired",
            Self::CallEnded(_) => "call_ended",
            Self::Trimmed { .. } => "trimmed",
            Self::LeftOut { .. } => "left_out",
            Self::CrowdedOut { .. } => "crowded_out",
            Self::RunEnded { .. } => "run_ended",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn kinds_are_named_as_they_are_written() {
        let fate = CallFate {
            position: 0,
            id: "a".to_owned(),
            tool: "t".to_owned(),
            outcome: Outcome::Ok,
            content: vec![StoredContent::Text { text: "r".to_owned() }],
            is_error: false,
            degraded: false,
            reason: Some("the reason".to_owned()),
            approval: None,
            used: Some(CallUsage {
                plugin: "p".to_owned(),
                fuel: 7,
                ..CallUsage::default()
            }),
        };
        for fact in [
            Fact::ApprovalDecided {
                approval: "a".to_owned(),
                position: 0,
                approved: true,
                for_session: false,
                reason: None,
            },
            Fact::ApprovalExpired {
                approval: "a".to_owned(),
                position: 0,
            },
            Fact::CallNotBegun {
                position: 0,
                id: "a".to_owned(),
            },
            Fact::Reopened { changes: Vec::new() },
            Fact::Drafted {
                text: None,
                attachments: Vec::new(),
            },
            Fact::AskedAgain {},
            Fact::CallEnded(fate),
            Fact::CrowdedOut {
                images: 1,
                files: Vec::new(),
            },
            Fact::Trimmed {
                what: TrimKind::Images,
                files: Vec::new(),
            },
            Fact::LeftOut {
                results: 1,
                files: vec![LeftOutFile {
                    name: "f".to_owned(),
                    bytes: 3,
                }],
            },
            Fact::run_ended(Ending::Completed, None),
        ] {
            let json = serde_json::to_value(&fact).unwrap();
            assert_eq!(json["kind"], fact.kind());
            assert_eq!(serde_json::from_value::<Fact>(json).unwrap(), fact);
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_is_skipped() {
        let read: Fact = serde_json::from_str(r#"{"kind": "dreamt", "of": "sheep"}"#).unwrap();
        assert_eq!(read, Fact::Unknown);
    }
}
