//! The events of a run. Every step emits one; logs, metrics, alerts, the terminal and client streams subscribe to them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BreakerState, Ending, Outcome, Transition, Usage};
use crate::money::{NanoUsd, NanoUsdDifference};

/// One event, with its session, tenant and turn.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// RFC 3339, UTC.
    #[serde(rename = "time")]
    pub at: jiff::Timestamp,
    pub session_id: Arc<str>,
    pub tenant: Arc<str>,
    /// The model call it belongs to, counted from 1; 0 before the first.
    pub turn: u32,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened. Fields named in [`EventKind::CONTENT_FIELDS`] hold text from users, models and tools. They are logged only if
/// the operator enables contents.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    SessionStarted {
        agent: String,
        model: String,
        tools: Vec<String>,
        prompt: String,
        /// Whether the answer must match a schema: then what streams is only a try.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        structured: bool,
    },
    TurnStarted {},
    /// An attempt at the model API succeeded or failed.
    ModelAttempt {
        /// Counted from 1 within the turn.
        attempt: u32,
        model: String,
        duration_ms: u64,
        /// Milliseconds until the first token, for a streamed answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_to_first_token_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorInfo>,
    },
    /// The attempt failed, and another follows after the delay.
    ModelRetry {
        /// The attempt that failed, counted from 1.
        attempt: u32,
        max_attempts: u32,
        delay_ms: u64,
        error: ErrorInfo,
    },
    /// The request waits, because the breaker, a rate limit or the budget refuses attempts for now. Emitted once per reason.
    ModelWaiting {
        /// Milliseconds until the next attempt, as far as anybody can tell.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        error: ErrorInfo,
    },
    /// A model has no answer, so the next one is asked.
    ModelFallback {
        from: String,
        to: String,
        error: ErrorInfo,
    },
    ModelResponse {
        model: String,
        stop_reason: String,
        usage: Usage,
        duration_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        text: String,
    },
    /// A piece of the answer, as it arrives.
    TextDelta {
        text: String,
    },
    ToolCallStarted {
        call_id: String,
        tool: String,
        /// The plugin that serves the tool; empty for an unknown tool.
        plugin: String,
        input: Arc<Value>,
    },
    ToolCallFinished(Box<ToolCallFinished>),
    /// A call waits for a person.
    ApprovalRequested {
        approval: String,
        call_id: String,
        tool: String,
        plugin: String,
        expires_at: jiff::Timestamp,
        input: Arc<Value>,
    },
    /// A person decided, or nobody did in time.
    ApprovalDecided {
        approval: String,
        call_id: String,
        tool: String,
        decision: ApprovalDecided,
    },
    BreakerChanged {
        /// `model:NAME` or `tool:NAME`.
        name: String,
        from: BreakerState,
        to: BreakerState,
        /// Milliseconds until the breaker admits a probe, for a breaker that opened.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
        /// What failed last, for a breaker that opened.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_failure: Option<Arc<str>>,
    },
    BudgetReserved {
        reservation: String,
        amount_usd: NanoUsd,
    },
    /// An attempt was charged, however it ended. A session's charges add up to what the ledger holds for it.
    BudgetSettled {
        reservation: String,
        amount_usd: NanoUsd,
        /// True if the API's figures were missing or incomplete.
        estimated: bool,
        /// True if the usage is unknown, so that the whole reservation is charged.
        in_full: bool,
        /// The usage of an answer that was cut short, estimated. Another one is in its `model_response`.
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
        /// What prompt caching saved against the price of uncached input; negative if it cost more. `None` if the usage is unknown.
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_savings_usd: Option<NanoUsdDifference>,
    },
    /// The attempt cost nothing.
    BudgetReleased {
        reservation: String,
        /// What was reserved.
        amount_usd: NanoUsd,
    },
    BudgetAlert {
        scope: String,
        percent: u8,
        spent_usd: NanoUsd,
        limit_usd: NanoUsd,
    },
    Alert {
        rule: String,
        message: String,
    },
    /// Part of the conversation is no longer sent to the model, because its API or the budget refused the whole, or because newer images
    /// and PDFs fill a request.
    HistoryTrimmed {
        reason: TrimReason,
        /// Tool results that were truncated or removed.
        results: u32,
        /// Bytes removed, as they would have been sent.
        bytes: u64,
        /// Images of results that were removed.
        images: u32,
        /// Attachments that were removed.
        files: Vec<LeftOutFile>,
    },
    SessionFinished {
        outcome: Ending,
        duration_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorInfo>,
        answer: String,
    },
}

/// What came of a question to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ApprovalDecided {
    Approved,
    /// With every later call of the tool in this session.
    ApprovedForSession,
    Denied,
    /// Nobody decided in time.
    Expired,
    /// The run ended, or something else would be called now.
    GivenUp,
}

impl ApprovalDecided {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::ApprovedForSession => "approved_for_session",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::GivenUp => "given_up",
        }
    }
}

/// Why a history was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TrimReason {
    /// It is longer than the model or its API accepts.
    TooLong,
    /// The budget can't pay for all of it.
    Budget,
    /// The API refused the request, possibly because of its images.
    Images,
    /// The API refused the request, possibly because of blocks that only the vendor understands, such as thinking.
    VendorBlocks,
    /// A request has no room for them beside newer images and PDFs.
    CrowdedOut,
}

/// An attachment that a request leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutFile {
    pub name: String,
    pub bytes: u64,
}

impl TrimReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Budget => "budget",
            Self::Images => "images",
            Self::VendorBlocks => "vendor_blocks",
            Self::CrowdedOut => "crowded_out",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct ToolCallFinished {
    pub call_id: String,
    pub tool: String,
    /// The plugin that serves the tool; empty for an unknown tool.
    pub plugin: String,
    pub outcome: Outcome,
    /// The fallback text replaces the result.
    pub degraded: bool,
    /// How often the tool ran: 0 if it never did, above 1 after retries.
    pub tries: u32,
    pub duration_ms: f64,
    /// Total fuel of all tries.
    pub fuel: u64,
    /// The highest peak of all tries.
    pub peak_memory_bytes: u64,
    pub host_calls: u64,
    /// Outgoing requests, including refused ones.
    pub http_requests: u32,
    /// Bodies of its requests and of their responses.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub log_bytes_dropped: u64,
    /// The reason, for the operator. If it differs from `output`, the model never sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The result that the model reads.
    pub output: String,
    /// The result that the fallback text replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_output: Option<String>,
    /// What the tool printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
}

impl ToolCallFinished {
    /// Why the call failed, as far as its output doesn't say: what a fallback replaced, and the host's detail.
    pub fn unsaid_reason(&self) -> Option<String> {
        if self.outcome == Outcome::Ok {
            return None;
        }
        let reasons = [self.replaced_output.as_deref(), self.detail.as_deref()];
        let reasons: Vec<&str> = reasons
            .into_iter()
            .flatten()
            .filter(|reason| !reason.trim().is_empty())
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("\n"))
    }
}

impl From<Transition> for EventKind {
    fn from(transition: Transition) -> Self {
        Self::BreakerChanged {
            name: transition.name,
            from: transition.from,
            to: transition.to,
            retry_after_ms: transition
                .retry_after
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            last_failure: transition.last_failure,
        }
    }
}

/// An error, as in reports and events.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ErrorInfo {
    /// A stable identifier, for programs.
    pub kind: String,
    /// What happened and where, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub request_id: Option<String>,
}

impl ErrorInfo {
    /// The kind of what ended because its caller wanted it so.
    pub const CANCELLED: &'static str = "cancelled";

    /// The kind of an answer that doesn't match its schema.
    pub const INVALID_ANSWER: &'static str = "invalid_answer";

    pub fn is_invalid_answer(&self) -> bool {
        self.kind == Self::INVALID_ANSWER
    }

    /// Whether nothing went wrong.
    pub fn is_cancellation(&self) -> bool {
        self.kind == Self::CANCELLED
    }
}

/// What can be done about a charge in full.
pub fn reversal_hint(reservation: &str) -> String {
    format!("`cofferdam budget reverse {reservation} --reason TEXT` takes back what the vendor's bill doesn't have")
}

impl EventKind {
    /// The fields that hold contents.
    pub const CONTENT_FIELDS: [&'static str; 7] =
        ["prompt", "text", "input", "output", "replaced_output", "log", "answer"];

    /// What went wrong, if the event says so.
    pub const fn error_mut(&mut self) -> Option<&mut ErrorInfo> {
        match self {
            Self::ModelAttempt { error, .. } | Self::SessionFinished { error, .. } => error.as_mut(),
            Self::ModelRetry { error, .. } | Self::ModelWaiting { error, .. } | Self::ModelFallback { error, .. } => {
                Some(error)
            }
            _ => None,
        }
    }

    /// The event's name, as on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionStarted { .. } => "session_started",
            Self::TurnStarted {} => "turn_started",
            Self::ModelWaiting { .. } => "model_waiting",
            Self::ModelFallback { .. } => "model_fallback",
            Self::HistoryTrimmed { .. } => "history_trimmed",
            Self::ModelAttempt { .. } => "model_attempt",
            Self::ModelRetry { .. } => "model_retry",
            Self::ModelResponse { .. } => "model_response",
            Self::TextDelta { .. } => "text_delta",
            Self::ToolCallStarted { .. } => "tool_call_started",
            Self::ToolCallFinished(_) => "tool_call_finished",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalDecided { .. } => "approval_decided",
            Self::BreakerChanged { .. } => "breaker_changed",
            Self::BudgetReserved { .. } => "budget_reserved",
            Self::BudgetSettled { .. } => "budget_settled",
            Self::BudgetReleased { .. } => "budget_released",
            Self::BudgetAlert { .. } => "budget_alert",
            Self::Alert { .. } => "alert",
            Self::SessionFinished { .. } => "session_finished",
        }
    }
}
