//! The events of a run. Every step emits one; logs, metrics, alerts, the terminal and streams to clients are listeners.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::agent::Ending;
use crate::ledger::NanoUsd;
use crate::model::Usage;
use crate::resilience::{BreakerState, Transition};
use crate::tools::Outcome;

/// One event and where it belongs.
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

/// What happened. Fields named in [`EventKind::CONTENT_FIELDS`] hold what users, models and tools said, and never enter
/// a log unless the operator asked for contents.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    SessionStarted {
        agent: String,
        model: String,
        tools: Vec<String>,
        prompt: String,
    },
    TurnStarted {},
    /// An attempt at the model API came to its end, well or not.
    ModelAttempt {
        /// Counted from 1 within the turn.
        attempt: u32,
        model: String,
        duration_ms: u64,
        /// Milliseconds until the first token of a streamed answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        time_to_first_token_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorInfo>,
    },
    /// The attempt failed and another follows after the delay.
    ModelRetry {
        /// The attempt that failed, counted from 1.
        attempt: u32,
        max_attempts: u32,
        delay_ms: u64,
        error: ErrorInfo,
    },
    /// No attempt is made yet: the breaker or the budget lets none through, and may in a while. Said once for each reason.
    ModelWaiting {
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
    BreakerChanged {
        /// `model:NAME` or `tool:NAME`.
        name: String,
        from: BreakerState,
        to: BreakerState,
        /// Until a probe is let through, for a breaker that opened.
        #[serde(skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    BudgetReserved {
        reservation: String,
        amount_usd: NanoUsd,
    },
    BudgetSettled {
        reservation: String,
        amount_usd: NanoUsd,
        /// True where the API's figures were missing or incomplete and the reservation stands in for them.
        estimated: bool,
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
    /// The model is shown less of the conversation than was said: its API or the budget refused it all.
    HistoryTrimmed {
        reason: TrimReason,
        /// Results that were cut or left out.
        results: u32,
        /// Bytes of them that the model is not shown any more.
        bytes: u64,
        /// Images that were left out.
        images: u32,
    },
    SessionFinished {
        outcome: Ending,
        duration_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<ErrorInfo>,
        answer: String,
    },
}

/// Why a history was trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrimReason {
    /// It is longer than the model or its API takes.
    TooLong,
    /// The budget can't pay for all of it.
    Budget,
    /// The API refused the request, and its images may be why.
    Images,
}

impl TrimReason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Budget => "budget",
            Self::Images => "images",
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
    /// The fallback text stands in for the result.
    pub degraded: bool,
    /// How often the tool was run: 0 where it never was, above 1 after retries.
    pub tries: u32,
    pub duration_ms: f64,
    /// Fuel of all tries together.
    pub fuel: u64,
    /// The highest of all tries.
    pub peak_memory_bytes: u64,
    pub host_calls: u64,
    /// Outgoing requests that it asked for, refused ones included.
    pub http_requests: u32,
    pub log_bytes_dropped: u64,
    /// For the operator: the reason, never shown to the model where it differs from what the model reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What the model reads.
    pub output: String,
    /// What it would have read, where the fallback text stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_output: Option<String>,
    /// What the tool printed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
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
        }
    }
}

/// An error as the report and the events carry it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorInfo {
    /// A stable word, for programs.
    pub kind: String,
    /// What happened and where, for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub request_id: Option<String>,
}

impl EventKind {
    /// Names of the fields that hold contents.
    pub const CONTENT_FIELDS: [&'static str; 7] =
        ["prompt", "text", "input", "output", "replaced_output", "log", "answer"];

    /// The event's name, as on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SessionStarted { .. } => "session_started",
            Self::TurnStarted {} => "turn_started",
            Self::ModelWaiting { .. } => "model_waiting",
            Self::HistoryTrimmed { .. } => "history_trimmed",
            Self::ModelAttempt { .. } => "model_attempt",
            Self::ModelRetry { .. } => "model_retry",
            Self::ModelResponse { .. } => "model_response",
            Self::TextDelta { .. } => "text_delta",
            Self::ToolCallStarted { .. } => "tool_call_started",
            Self::ToolCallFinished(_) => "tool_call_finished",
            Self::BreakerChanged { .. } => "breaker_changed",
            Self::BudgetReserved { .. } => "budget_reserved",
            Self::BudgetSettled { .. } => "budget_settled",
            Self::BudgetAlert { .. } => "budget_alert",
            Self::Alert { .. } => "alert",
            Self::SessionFinished { .. } => "session_finished",
        }
    }
}
