//! The agent loop.

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::conversation::Conversation;
use super::repetition::{Repetition, Verdict, WARNING};
use super::report::RunReport;
use super::step::{Step, next_step};
use super::tool_result::content_for_model;
use crate::events::{Ending, ErrorInfo, EventKind, TrimReason};
use crate::model::{ApiErrorKind, ModelContext, ModelError, ModelRequest, ModelResponse, StopReason};
use crate::telemetry::Emitter;
use crate::tools::{ToolCall, ToolContext, ToolResult};
use crate::transcript::{self, Content, ToolInput};

/// How often one turn's history is trimmed because it is too long or too expensive.
const MAX_TRIMS: u32 = 2;

/// How to stop one run, and who reads its text.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Ends the run with [`Ending::Cancelled`].
    pub cancel: CancellationToken,
    /// True if a person reads the answer as it streams. Then an attempt that has already shown text isn't retried.
    pub streams_to_user: bool,
}

/// A conversation with an agent: one run per prompt.
#[derive(Debug)]
pub struct Session {
    agent: Agent,
    tenant: String,
    id: String,
    emitter: Emitter,
    conversation: Conversation,
}

/// Why the history must be trimmed, if a shorter one could be accepted.
fn trim_reason(error: &ModelError) -> Option<TrimReason> {
    match error {
        ModelError::ContextOverflow(_) => Some(TrimReason::TooLong),
        ModelError::Api(error) if error.kind == ApiErrorKind::RequestTooLarge => Some(TrimReason::TooLong),
        // Other reservations will be settled. They don't justify trimming the history.
        ModelError::Budget(exceeded) if !exceeded.could_fit_later() => Some(TrimReason::Budget),
        _ => None,
    }
}

fn is_invalid(error: &ModelError) -> bool {
    matches!(error, ModelError::Api(error) if error.kind == ApiErrorKind::InvalidRequest)
}

/// A run's ending and its error.
#[derive(Debug)]
struct Ended {
    ending: Ending,
    error: Option<ErrorInfo>,
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        Self { ending, error: None }
    }
}

impl Session {
    pub(super) fn new(agent: Agent, tenant: &str) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        let emitter = Emitter::new(agent.events(), &id, tenant, agent.parts().alerts.clone());
        Self {
            agent,
            tenant: tenant.to_owned(),
            id,
            emitter,
            conversation: Conversation::default(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Answers one prompt. Never fails: the report contains any error.
    pub async fn run(&mut self, prompt: &str, options: RunOptions) -> RunReport {
        let started = Instant::now();
        let agent = self.agent.clone();
        let parts = agent.parts();
        self.emitter.set_turn(0);
        self.emitter.emit(EventKind::SessionStarted {
            agent: parts.settings.name.clone(),
            model: parts.model.model().to_owned(),
            tools: parts.tools.tools().map(|tool| tool.name.clone()).collect(),
            prompt: prompt.to_owned(),
        });
        let mut guard = FinishGuard {
            emitter: &self.emitter,
            started,
            is_finished: false,
        };
        // The API refuses a blank text, in this request and in every later one that contains it.
        let blank = prompt.trim().is_empty();
        // Clean up after an earlier run that was dropped.
        self.conversation.restore();
        self.conversation.remove_unanswered_prompt();
        if !blank {
            self.conversation.push_prompt(prompt);
        }
        let mut run = Run {
            agent: &agent,
            emitter: &self.emitter,
            conversation: &mut self.conversation,
            options: &options,
            deadline: started + parts.settings.deadline,
            iterations: 0,
            tool_calls: 0,
            pauses: 0,
            repetition: Repetition::default(),
            answer: String::new(),
            degraded: false,
        };
        let Ended { ending, error } = match blank {
            true => failed("blank_prompt", "the prompt is blank".to_owned()),
            false => run.drive().await,
        };
        let Run {
            iterations,
            answer,
            degraded,
            ..
        } = run;
        // An unanswered prompt would be sent again with the next one, and could make it fail the same way.
        self.conversation.remove_unanswered_prompt();
        guard.finish(ending, error.clone(), answer.clone());
        drop(guard);
        RunReport {
            outcome: ending,
            error,
            answer,
            iterations,
            degraded,
            ..self.base_report().await
        }
    }

    /// The report's session-wide fields, with placeholders for the run's own.
    async fn base_report(&self) -> RunReport {
        let parts = self.agent.parts();
        let budget = parts
            .ledger
            .status(&self.tenant, Some(&self.id), &parts.budget, jiff::Timestamp::now())
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "can't read the ledger for the report");
                Vec::new()
            });
        let breakers = self.agent.breakers(&self.tenant);
        let metrics = self.emitter.metrics();
        RunReport {
            session_id: self.id.clone(),
            tenant: self.tenant.clone(),
            outcome: Ending::Completed,
            answer: String::new(),
            model: parts.model.model().to_owned(),
            iterations: 0,
            degraded: false,
            metrics,
            breakers,
            budget,
            error: None,
        }
    }
}

/// Emits `SessionFinished` for a run even if its future panics or is dropped, which cancels it.
struct FinishGuard<'a> {
    emitter: &'a Emitter,
    started: Instant,
    is_finished: bool,
}

impl FinishGuard<'_> {
    fn finish(&mut self, outcome: Ending, error: Option<ErrorInfo>, answer: String) {
        self.is_finished = true;
        self.emitter.emit(EventKind::SessionFinished {
            outcome,
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            error,
            answer,
        });
    }
}

impl Drop for FinishGuard<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        match std::thread::panicking() {
            true => {
                let Ended { ending, error } = failed("panic", "the host panicked during the run".to_owned());
                self.finish(ending, error, String::new());
            }
            false => self.finish(Ending::Cancelled, None, String::new()),
        }
    }
}

/// The state of one run.
struct Run<'a> {
    agent: &'a Agent,
    emitter: &'a Emitter,
    conversation: &'a mut Conversation,
    options: &'a RunOptions,
    deadline: Instant,
    iterations: u32,
    tool_calls: u32,
    pauses: u32,
    repetition: Repetition,
    answer: String,
    degraded: bool,
}

impl Run<'_> {
    /// The agent loop: calls the model and runs its tool calls, until the run ends.
    async fn drive(&mut self) -> Ended {
        let settings = &self.agent.parts().settings;
        loop {
            if self.options.cancel.is_cancelled() {
                return Ending::Cancelled.into();
            }
            if Instant::now() >= self.deadline {
                return Ending::DeadlineExceeded.into();
            }
            if self.iterations >= settings.max_iterations {
                return Ending::MaxIterations.into();
            }
            self.iterations += 1;
            self.emitter.set_turn(self.iterations);
            self.emitter.emit(EventKind::TurnStarted {});
            let response = match self.ask_model().await {
                Ok(response) => response,
                Err(ended) => return ended,
            };
            let step = next_step(&response, self.pauses);
            self.record_response(response);
            match step {
                Step::Finish(ending) => return ending.into(),
                Step::Fail(kind, message) => return failed(kind, message),
                Step::Continue => {}
                // No further model call could read the results.
                Step::RunTools(_) if self.iterations >= settings.max_iterations => return Ending::MaxIterations.into(),
                Step::RunTools(calls) => {
                    if let Some(ending) = self.run_tools(calls).await {
                        return ending.into();
                    }
                }
            }
        }
    }

    /// Gets one answer. If the model refuses the history as too long, or the budget can't pay for it, trims it and tries again,
    /// so that one long tool result doesn't end the run. If that doesn't help, restores the history: the budget can be raised
    /// later, and the images might not have been the cause.
    async fn ask_model(&mut self) -> Result<ModelResponse, Ended> {
        let result = self.ask_trimming_history().await;
        match &result {
            Ok(_) => self.conversation.discard_snapshot(),
            Err(_) => self.conversation.restore(),
        }
        result.map_err(|error| Ended {
            ending: ending_for(&error),
            error: Some(error.info()),
        })
    }

    async fn ask_trimming_history(&mut self) -> Result<ModelResponse, ModelError> {
        let parts = self.agent.parts();
        let (mut trims, mut with_images) = (0, true);
        loop {
            let request = ModelRequest {
                system: &parts.settings.system,
                messages: self.conversation.messages(),
                tools: self.agent.definitions(),
                max_tokens: parts.max_tokens,
                temperature: parts.temperature,
            };
            let cx = ModelContext {
                emitter: self.emitter,
                deadline: self.deadline,
                cancel: &self.options.cancel,
                streams_to_user: self.options.streams_to_user,
            };
            let error = match parts.model.respond(&request, &cx).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let reason = match trim_reason(&error) {
                Some(reason) if trims < MAX_TRIMS => reason,
                // Images are untrusted bytes, and the API validates them more strictly than the host does.
                None if with_images && is_invalid(&error) => TrimReason::Images,
                _ => return Err(error),
            };
            if reason == TrimReason::TooLong {
                // The model's limit won't change, so this trim is permanent.
                self.conversation.discard_snapshot();
            } else {
                self.conversation.take_snapshot();
            }
            let trimmed = if reason == TrimReason::Images {
                with_images = false;
                self.conversation.drop_images()
            } else {
                trims += 1;
                self.conversation.trim()
            };
            if trimmed.is_nothing() {
                return Err(error);
            }
            self.emitter.emit(EventKind::HistoryTrimmed {
                reason,
                results: u32::try_from(trimmed.results).unwrap_or(u32::MAX),
                bytes: trimmed.bytes as u64,
                images: u32::try_from(trimmed.images).unwrap_or(u32::MAX),
            });
        }
    }

    fn record_response(&mut self, response: ModelResponse) {
        // A paused answer continues in the next response. Otherwise the new text replaces the old.
        if self.pauses == 0 {
            self.answer.clear();
        }
        self.answer.push_str(&response.text());
        let paused = response.stop_reason == StopReason::PauseTurn;
        self.pauses = if paused { self.pauses + 1 } else { 0 };
        self.conversation.push_answer(response.content);
    }

    /// Runs a turn's calls and adds their results. Returns an ending if the run must end.
    async fn run_tools(&mut self, calls: Vec<ToolCall>) -> Option<Ending> {
        let settings = &self.agent.parts().settings;
        let wanted = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        if wanted > settings.max_tool_calls.saturating_sub(self.tool_calls) {
            return Some(Ending::MaxToolCalls);
        }
        self.tool_calls += wanted;
        let inputs: Vec<ToolInput> = calls.iter().map(|call| call.input.clone()).collect();
        // A lazy stream, so that `buffered` limits how many calls run concurrently and keeps the results in order.
        let running = stream::iter(calls.into_iter().map(|call| self.run_tool(call)));
        let results: Vec<ToolResult> = running
            .buffered(settings.parallel_tool_calls.max(1) as usize)
            .collect()
            .await;
        self.degraded |= results.iter().any(|result| result.degraded);
        let verdicts = self
            .repetition
            .observe(&inputs.iter().zip(&results).collect::<Vec<_>>());
        let ending = verdicts.contains(&Verdict::Stop).then_some(Ending::LoopDetected);
        let mut blocks = Vec::with_capacity(results.len());
        for (result, verdict) in results.into_iter().zip(verdicts) {
            let mut content = content_for_model(result.content, settings.max_result_bytes);
            if verdict == Verdict::Warn {
                content.push(Content::text(WARNING));
            }
            blocks.push(transcript::ToolResult {
                tool_use_id: result.call_id,
                content,
                is_error: result.is_error,
            });
        }
        self.conversation.push_results(blocks);
        // Calls that were all cut short look like a loop. The cancellation or deadline is the real reason.
        match self.options.cancel.is_cancelled() || Instant::now() >= self.deadline {
            true => None,
            false => ending,
        }
    }

    /// Runs one call on its own task, so that a turn's calls run in parallel on all of the runtime's threads.
    async fn run_tool(&self, call: ToolCall) -> ToolResult {
        let (agent, emitter, cancel) = (self.agent.clone(), self.emitter.clone(), self.options.cancel.clone());
        let (deadline, in_task) = (self.deadline, call.clone());
        let task = tokio::spawn(async move {
            let cx = ToolContext {
                emitter: &emitter,
                deadline,
                cancel: &cancel,
            };
            agent.tools().call(in_task, &cx).await
        });
        match AbortOnDropHandle::new(task).await {
            Ok(result) => result,
            Err(error) => ToolResult::host_error(call, &error.to_string()),
        }
    }
}

fn failed(kind: &str, message: String) -> Ended {
    let error = ErrorInfo {
        kind: kind.to_owned(),
        message,
        hint: None,
        request_id: None,
    };
    Ended {
        ending: Ending::ModelFailed,
        error: Some(error),
    }
}

fn ending_for(error: &ModelError) -> Ending {
    match error {
        ModelError::Budget(_) => Ending::BudgetExceeded,
        ModelError::DeadlineExceeded { .. } => Ending::DeadlineExceeded,
        ModelError::Cancelled => Ending::Cancelled,
        ModelError::ContextOverflow(_) => Ending::ContextOverflow,
        _ => Ending::ModelFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let _ = |session: &mut Session| is_send(&session.run("", RunOptions::default()));
    }
}
