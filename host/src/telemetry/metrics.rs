//! The figures of a session, folded out of its events.
//!
//! A pure function of the events: whoever has the events has the figures, and nothing that happened can be missing from
//! one and present in the other.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::events::Outcome;
use crate::events::{Event, EventKind, ToolCallFinished};
use crate::money::NanoUsd;

/// Everything counted over a session; serialises as the `metrics` of a run report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SessionMetrics {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub tool_calls: u64,
    pub model_attempts: u64,
    /// Attempts that failed, also those that a retry made good.
    pub model_errors: u64,
    /// Calls whose outcome is neither `ok` nor `cancelled`, also those that a fallback covered.
    pub tool_errors: u64,
    pub retries: u64,
    /// How often the model was shown less of the conversation than was said.
    pub history_trims: u64,
    /// What the ledger was charged.
    pub estimated_cost_usd: NanoUsd,
    pub duration_ms: u64,
    /// All attempts together, failed ones too; without the waiting between them.
    pub model_duration_ms: u64,
    /// Of the first streamed answer; `None` where nothing was streamed.
    pub time_to_first_token_ms: Option<u64>,
    /// Of all attempts whose answer named one, in order.
    pub request_ids: Vec<String>,
    pub tools: BTreeMap<String, ToolMetrics>,
    /// Turns begun; the report has it elsewhere.
    #[serde(skip)]
    pub iterations: u32,
    /// Whether a fallback text stood in for some result; the report has it elsewhere.
    #[serde(skip)]
    pub degraded: bool,
}

/// The figures of one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ToolMetrics {
    pub calls: u64,
    /// Calls whose outcome is `ok`; a fallback's text is no success.
    pub successes: u64,
    pub failures: u64,
    pub degraded: u64,
    /// Successes per call, from 0 to 1.
    pub success_rate: f64,
    /// The mean; shown to a microsecond.
    #[serde(serialize_with = "to_a_microsecond")]
    pub avg_duration_ms: f64,
    pub fuel: u64,
    /// The highest of all calls.
    pub peak_memory_bytes: u64,
    pub outcomes: BTreeMap<Outcome, u64>,
}

impl SessionMetrics {
    /// Counts one event of the session.
    pub fn apply(&mut self, event: &Event) {
        match &event.kind {
            EventKind::TurnStarted {} => self.iterations = self.iterations.saturating_add(1),
            EventKind::ModelAttempt {
                duration_ms,
                time_to_first_token_ms,
                request_id,
                error,
                ..
            } => {
                count(&mut self.model_attempts, 1);
                count(&mut self.model_errors, u64::from(error.is_some()));
                count(&mut self.model_duration_ms, *duration_ms);
                if error.is_none() && self.time_to_first_token_ms.is_none() {
                    self.time_to_first_token_ms = *time_to_first_token_ms;
                }
                self.request_ids.extend(request_id.clone());
            }
            EventKind::ModelRetry { .. } => count(&mut self.retries, 1),
            EventKind::HistoryTrimmed { .. } => count(&mut self.history_trims, 1),
            EventKind::ModelResponse { usage, .. } => {
                count(&mut self.input_tokens, usage.input_tokens);
                count(&mut self.output_tokens, usage.output_tokens);
                count(
                    &mut self.cache_creation_input_tokens,
                    usage.cache_creation_input_tokens(),
                );
                count(&mut self.cache_read_input_tokens, usage.cache_read_input_tokens);
            }
            EventKind::ToolCallFinished(finished) => {
                count(&mut self.tool_calls, 1);
                count(
                    &mut self.tool_errors,
                    u64::from(!matches!(finished.outcome, Outcome::Ok | Outcome::Cancelled)),
                );
                self.degraded |= finished.degraded;
                self.tools.entry(finished.tool.clone()).or_default().apply(finished);
            }
            EventKind::BudgetSettled { amount_usd, .. } => {
                self.estimated_cost_usd = self.estimated_cost_usd.saturating_add(*amount_usd);
            }
            EventKind::SessionFinished { duration_ms, .. } => count(&mut self.duration_ms, *duration_ms),
            EventKind::SessionStarted { .. }
            | EventKind::ModelWaiting { .. }
            | EventKind::TextDelta { .. }
            | EventKind::ToolCallStarted { .. }
            | EventKind::BreakerChanged { .. }
            | EventKind::BudgetReserved { .. }
            | EventKind::BudgetAlert { .. }
            | EventKind::Alert { .. } => {}
        }
    }
}

impl ToolMetrics {
    fn apply(&mut self, finished: &ToolCallFinished) {
        count(&mut self.calls, 1);
        count(&mut self.successes, u64::from(finished.outcome == Outcome::Ok));
        count(&mut self.degraded, u64::from(finished.degraded));
        count(&mut self.fuel, finished.fuel);
        count(self.outcomes.entry(finished.outcome).or_default(), 1);
        self.failures = self.calls - self.successes;
        self.peak_memory_bytes = self.peak_memory_bytes.max(finished.peak_memory_bytes);
        self.success_rate = self.successes as f64 / self.calls as f64;
        self.avg_duration_ms += (finished.duration_ms - self.avg_duration_ms) / self.calls as f64;
    }
}

fn to_a_microsecond<S: Serializer>(milliseconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((milliseconds * 1_000.0).round() / 1_000.0)
}

fn count(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
