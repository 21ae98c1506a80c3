//! What is known of a run when it is over.

use serde::Serialize;

use crate::events::Ending;
use crate::events::ErrorInfo;
use crate::ledger::BudgetStatus;
use crate::resilience::BreakerStats;
use crate::telemetry::SessionMetrics;

/// The report of a run, as `run --output json` prints it. In a conversation of several prompts the metrics cover the
/// session so far.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    pub session_id: String,
    pub tenant: String,
    pub outcome: Ending,
    /// What the model said last; whole only where the outcome is `completed`.
    pub answer: String,
    pub model: String,
    /// Model calls of this run.
    pub iterations: u32,
    /// Whether a fallback stood in for a tool's result.
    pub degraded: bool,
    pub metrics: SessionMetrics,
    pub breakers: Vec<BreakerStats>,
    pub budget: Vec<BudgetStatus>,
    pub error: Option<ErrorInfo>,
}
