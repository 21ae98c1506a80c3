//! The report of a finished run.

use serde::Serialize;

use crate::events::{Ending, ErrorInfo, LeftOutFile, TrimReason};
use crate::ledger::BudgetStatus;
use crate::money::NanoUsd;
use crate::resilience::BreakerStats;
use crate::telemetry::SessionMetrics;

/// The report of a run, as `run --output json` prints it. The metrics cover the session so far, so in a conversation they
/// include earlier runs.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RunReport {
    pub session_id: String,
    pub tenant: String,
    pub outcome: Ending,
    /// The model's last text; complete only if the outcome is `completed`.
    pub answer: String,
    /// What had arrived of an answer that was cut off, if the run ended with it. The conversation goes on without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_text: Option<String>,
    pub model: String,
    /// Model calls of this run.
    pub iterations: u32,
    /// Whether a fallback text replaced a tool's result.
    pub degraded: bool,
    /// What was spent since this call of `run` or `resume` began. Where a run goes on, its reports add up. What a dropped run cost is in the
    /// ledger alone.
    pub cost_usd: NanoUsd,
    pub metrics: SessionMetrics,
    pub breakers: Vec<BreakerStats>,
    pub budget: Vec<BudgetStatus>,
    pub error: Option<ErrorInfo>,
    /// The attachments that requests of this run left out, because the budget didn't cover them, the model's API didn't accept them, or
    /// newer ones left no room.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Why the end of the run could not be written to the session, if so. It is tried again as long as this process lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<ErrorInfo>,
}

/// An attachment that was left out of requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    #[serde(flatten)]
    pub file: LeftOutFile,
    /// Whether it is sent again as soon as the budget covers it. Otherwise it is out of the conversation for good.
    pub comes_back: bool,
    pub reason: TrimReason,
}
