//! A session's metrics, computed from its events.
//!
//! They are a pure function of the events, so the two can't disagree, and recorded events reproduce the metrics.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use crate::events::{Event, EventKind, Outcome, ToolCallFinished, Usage};
use crate::money::{NanoUsd, NanoUsdDifference};

/// A session's metrics; serialises as `metrics` in a run report.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SessionMetrics {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub tool_calls: u64,
    pub model_attempts: u64,
    /// Failed attempts, including those followed by a successful retry.
    pub model_errors: u64,
    /// Attempts that the caller cancelled, which are no failures.
    pub model_cancelled: u64,
    /// Calls whose outcome isn't `ok`, `cancelled` or `denied`, including those with a fallback text.
    pub tool_errors: u64,
    pub retries: u64,
    /// How often a model had no answer, so that the next one was asked.
    pub fallbacks: u64,
    /// The answers by the model that gave them, as the API names it.
    pub answers: BTreeMap<String, u64>,
    /// How often the conversation sent to the model was trimmed.
    pub history_trims: u64,
    /// The total charged to the ledger.
    pub estimated_cost_usd: NanoUsd,
    /// What prompt caching saved of the price of uncached input. Negative if more was paid for writing to the cache than reading
    /// saved, as after the first request of a conversation.
    pub cache_savings_usd: NanoUsdDifference,
    /// Attempts of unknown usage, which were charged with all that was reserved for them.
    pub charged_in_full: u64,
    /// Attempts that ended before the API reported their output, and were charged for the most that it can be.
    pub charged_by_estimate: u64,
    pub duration_ms: u64,
    /// Total duration of all attempts, including failed ones, excluding the delays between them.
    pub model_duration_ms: u64,
    /// For the first streamed answer; `None` if nothing was streamed.
    pub time_to_first_token_ms: Option<u64>,
    /// The request ids of all attempts that got one, in order.
    pub request_ids: Vec<String>,
    pub tools: BTreeMap<String, ToolMetrics>,
    /// Turns started. Skipped here because the report has its own field.
    #[serde(skip)]
    pub iterations: u32,
    /// Whether a fallback text replaced any result. Skipped here because the report has its own field.
    #[serde(skip)]
    pub degraded: bool,
}

/// The metrics of one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ToolMetrics {
    pub calls: u64,
    /// Calls whose outcome is `ok`; a fallback text doesn't count as a success.
    pub successes: u64,
    pub failures: u64,
    pub degraded: u64,
    /// Successes per call, from 0 to 1.
    pub success_rate: f64,
    /// The mean, serialised with microsecond precision.
    #[serde(serialize_with = "with_microsecond_precision")]
    pub avg_duration_ms: f64,
    pub fuel: u64,
    /// The highest peak of all calls.
    pub peak_memory_bytes: u64,
    pub outcomes: BTreeMap<Outcome, u64>,
}

impl SessionMetrics {
    /// Adds one event of the session.
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
                match error {
                    Some(error) if error.is_cancellation() => count(&mut self.model_cancelled, 1),
                    Some(_) => count(&mut self.model_errors, 1),
                    None => {}
                }
                count(&mut self.model_duration_ms, *duration_ms);
                if error.is_none() && self.time_to_first_token_ms.is_none() {
                    self.time_to_first_token_ms = *time_to_first_token_ms;
                }
                self.request_ids.extend(request_id.clone());
            }
            EventKind::ModelRetry { .. } => count(&mut self.retries, 1),
            EventKind::ModelFallback { .. } => count(&mut self.fallbacks, 1),
            EventKind::HistoryTrimmed { .. } => count(&mut self.history_trims, 1),
            EventKind::ModelResponse { model, usage, .. } => {
                count(self.answers.entry(model.clone()).or_default(), 1);
                self.add_tokens(usage);
            }
            EventKind::ToolCallFinished(finished) => {
                count(&mut self.tool_calls, 1);
                count(
                    &mut self.tool_errors,
                    u64::from(!matches!(
                        finished.outcome,
                        Outcome::Ok | Outcome::Cancelled | Outcome::Denied
                    )),
                );
                self.degraded |= finished.degraded;
                self.tools.entry(finished.tool.clone()).or_default().apply(finished);
            }
            EventKind::BudgetSettled {
                amount_usd,
                estimated,
                in_full,
                usage,
                cache_savings_usd,
                ..
            } => {
                self.cache_savings_usd = cache_savings_usd
                    .iter()
                    .fold(self.cache_savings_usd, |sum, saved| sum.saturating_add(*saved));
                self.estimated_cost_usd = self.estimated_cost_usd.saturating_add(*amount_usd);
                count(&mut self.charged_in_full, u64::from(*in_full));
                count(&mut self.charged_by_estimate, u64::from(*estimated && !in_full));
                usage.iter().for_each(|usage| self.add_tokens(usage));
            }
            EventKind::SessionFinished { duration_ms, .. } => count(&mut self.duration_ms, *duration_ms),
            EventKind::SessionStarted { .. }
            | EventKind::ModelWaiting { .. }
            | EventKind::TextDelta { .. }
            | EventKind::ToolCallStarted { .. }
            | EventKind::ApprovalRequested { .. }
            | EventKind::ApprovalDecided { .. }
            | EventKind::BreakerChanged { .. }
            | EventKind::BudgetReserved { .. }
            | EventKind::BudgetReleased { .. }
            | EventKind::BudgetAlert { .. }
            | EventKind::Alert { .. } => {}
        }
    }

    fn add_tokens(&mut self, usage: &Usage) {
        count(&mut self.input_tokens, usage.input_tokens);
        count(&mut self.output_tokens, usage.output_tokens);
        count(
            &mut self.cache_creation_input_tokens,
            usage.cache_creation_input_tokens(),
        );
        count(&mut self.cache_read_input_tokens, usage.cache_read_input_tokens);
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

fn with_microsecond_precision<S: Serializer>(milliseconds: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((milliseconds * 1_000.0).round() / 1_000.0)
}

fn count(counter: &mut u64, more: u64) {
    *counter = counter.saturating_add(more);
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
