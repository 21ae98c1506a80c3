//! The agent loop.

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::conversation::{Conversation, Trimmed};
use super::explain::{explain, refusal, repeated_call};
use super::repetition::{Repetition, Verdict, WARNING};
use super::report::RunReport;
use super::step::{Before, Step, is_empty, next_step};
use super::tool_result::content_for_model;
use crate::events::{Ending, ErrorInfo, EventKind, TrimReason};
use crate::model::{ApiErrorKind, ModelContext, ModelError, ModelRequest, ModelResponse, StopReason};
use crate::telemetry::Emitter;
use crate::tools::{AdmittedCall, ToolCall, ToolContext, ToolResult};
use crate::transcript::{self, Content, ToolInput, is_blank};

/// How often one turn's history is trimmed because it is too long or too expensive.
const MAX_TRIMS: u32 = 2;

/// How to stop one run, and who reads its text.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Ends the run with [`Ending::Cancelled`].
    pub cancel: CancellationToken,
    /// Whether somebody may read the answer as it streams: a person, or a program that passes the deltas on. Then an attempt
    /// that has already shown text isn't retried, so that no text comes twice. Default `true`; say `false` if only the report
    /// counts.
    pub streams_to_user: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            cancel: CancellationToken::new(),
            streams_to_user: true,
        }
    }
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
        // Without a status it came in the middle of an answer, which a person may have read and which is paid for.
        ModelError::ContextOverflow(error) if error.status.is_some() => Some(TrimReason::TooLong),
        ModelError::Api(error) if error.status.is_some() && error.kind == ApiErrorKind::RequestTooLarge => {
            Some(TrimReason::TooLong)
        }
        // Other reservations will be settled. They don't justify trimming the history.
        ModelError::Budget(exceeded) if !exceeded.could_fit_later() => Some(TrimReason::Budget),
        _ => None,
    }
}

/// What was already taken out of the conversation for one answer.
#[derive(Clone, Copy, Debug, Default)]
struct Tried {
    trims: u32,
    without_vendor_blocks: bool,
    without_images: bool,
}

fn is_invalid(error: &ModelError) -> bool {
    matches!(error, ModelError::Api(error) if error.status.is_some() && error.kind == ApiErrorKind::InvalidRequest)
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

    /// Answers the next prompts with another agent, which reads the conversation until now. Both must have come from the same host:
    /// the session keeps its events.
    pub fn continue_with(&mut self, agent: &Agent) {
        self.agent = agent.clone();
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
        let blank = is_blank(prompt);
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
            before: Before::default(),
            repetition: Repetition::default(),
            answer: String::new(),
            degraded: false,
        };
        let Ended { ending, error } = match blank {
            true => failed("blank_prompt", "the prompt is blank".to_owned()),
            false => run.drive().await,
        };
        let error = error.or_else(|| explain(ending, &parts.settings, parts.max_tokens));
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
    before: Before,
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
            let step = next_step(&response, self.before);
            let details = response.refusal.clone();
            self.record_response(response);
            match step {
                Step::Finish(Ending::Refused) => {
                    // The model would refuse every later request that contains this turn.
                    self.conversation.remove_turn();
                    return Ended {
                        ending: Ending::Refused,
                        error: Some(refusal(details)),
                    };
                }
                Step::Finish(ending) => return ending.into(),
                Step::Fail(kind, message) => return failed(kind, message),
                Step::Continue => {}
                Step::AskAgain if self.iterations >= settings.max_iterations => {
                    return failed("empty_answer", "the model's answer was empty".to_owned());
                }
                Step::AskAgain => self.conversation.push_note_on_empty_answer(),
                // No further model call could read the results.
                Step::RunTools(_) if self.iterations >= settings.max_iterations => return Ending::MaxIterations.into(),
                Step::RunTools(calls) => {
                    if let Some(ended) = self.run_tools(calls).await {
                        return ended;
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
        let mut tried = Tried::default();
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
            let Some((reason, trimmed)) = self.trim_after(&error, &mut tried) else {
                return Err(error);
            };
            self.emitter.emit(EventKind::HistoryTrimmed {
                reason,
                results: u32::try_from(trimmed.results).unwrap_or(u32::MAX),
                bytes: trimmed.bytes as u64,
                images: u32::try_from(trimmed.images).unwrap_or(u32::MAX),
            });
        }
    }

    /// Takes out of the conversation what may be the reason for an error. `None` if there is nothing left to try.
    fn trim_after(&mut self, error: &ModelError, tried: &mut Tried) -> Option<(TrimReason, Trimmed)> {
        if let Some(reason) = trim_reason(error) {
            if tried.trims >= MAX_TRIMS {
                return None;
            }
            tried.trims += 1;
            match reason {
                // The model's limit won't change, so this trim is permanent.
                TrimReason::TooLong => self.conversation.discard_snapshot(),
                _ => self.conversation.take_snapshot(),
            }
            let trimmed = self.conversation.trim();
            return (!trimmed.is_nothing()).then_some((reason, trimmed));
        }
        if !is_invalid(error) {
            return None;
        }
        self.conversation.take_snapshot();
        // Signatures of thinking can't be checked here: they are bound to a model and to all messages before them.
        if !std::mem::replace(&mut tried.without_vendor_blocks, true) {
            let dropped = self.conversation.drop_vendor_blocks();
            if !dropped.is_nothing() {
                return Some((TrimReason::VendorBlocks, dropped));
            }
        }
        // Images are untrusted bytes, and the API validates them more strictly than the host does.
        if !std::mem::replace(&mut tried.without_images, true) {
            let dropped = self.conversation.drop_images();
            return (!dropped.is_nothing()).then_some((TrimReason::Images, dropped));
        }
        None
    }

    fn record_response(&mut self, response: ModelResponse) {
        // A paused answer continues in the next response. Otherwise the new text replaces the old.
        if self.before.pauses == 0 {
            self.answer.clear();
        }
        self.answer.push_str(&response.text());
        let paused = response.stop_reason == StopReason::PauseTurn;
        let is_empty = is_empty(&response);
        self.before = Before {
            pauses: if paused { self.before.pauses + 1 } else { 0 },
            has_text: paused && !is_blank(&self.answer),
            was_empty: is_empty,
        };
        if !is_empty {
            self.conversation.push_answer(response.content);
        }
    }

    /// Runs a turn's calls and adds their results. Returns an ending if the run must end.
    async fn run_tools(&mut self, calls: Vec<ToolCall>) -> Option<Ended> {
        let settings = &self.agent.parts().settings;
        let wanted = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        if wanted > settings.max_tool_calls.saturating_sub(self.tool_calls) {
            return Some(Ending::MaxToolCalls.into());
        }
        self.tool_calls += wanted;
        let inputs: Vec<ToolInput> = calls.iter().map(|call| call.input.clone()).collect();
        let parallel = settings.parallel_tool_calls.max(1) as usize;
        let admitted = self.admit_tools(calls, parallel).await;
        // As one call ends the next begins, whichever it is. Lazy, so that no more than `parallel` calls run.
        let running = admitted.into_iter().enumerate();
        let running = running.map(async |(position, call)| (position, self.run_tool(call).await));
        let mut results: Vec<(usize, ToolResult)> = stream::iter(running).buffer_unordered(parallel).collect().await;
        results.sort_by_key(|(position, _)| *position);
        let results: Vec<ToolResult> = results.into_iter().map(|(_, result)| result).collect();
        self.degraded |= results.iter().any(|result| result.degraded);
        let verdicts = self
            .repetition
            .observe(&inputs.iter().zip(&results).collect::<Vec<_>>());
        let mut repeated = results.iter().zip(&verdicts);
        let repeated = repeated.find_map(|(result, verdict)| {
            (*verdict == Verdict::Stop).then(|| repeated_call(Some(&result.finished.tool)))
        });
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
            false => repeated.map(|error| Ended {
                ending: Ending::LoopDetected,
                error: Some(error),
            }),
        }
    }

    /// Decides about all calls of a turn before any of them runs, in their order.
    async fn admit_tools(&self, calls: Vec<ToolCall>, parallel: usize) -> Vec<AdmittedCall> {
        let cx = ToolContext {
            emitter: self.emitter,
            deadline: self.deadline,
            cancel: &self.options.cancel,
        };
        let admitted = calls.into_iter().map(|call| self.agent.tools().admit(call, &cx));
        stream::iter(admitted).buffered(parallel).collect().await
    }

    /// Runs one call on its own task, so that a turn's calls run in parallel on all of the runtime's threads.
    async fn run_tool(&self, admitted: AdmittedCall) -> ToolResult {
        let (agent, emitter, cancel) = (self.agent.clone(), self.emitter.clone(), self.options.cancel.clone());
        let (deadline, call) = (self.deadline, admitted.call().clone());
        let task = tokio::spawn(async move {
            let cx = ToolContext {
                emitter: &emitter,
                deadline,
                cancel: &cancel,
            };
            agent.tools().run(admitted, &cx).await
        });
        match AbortOnDropHandle::new(task).await {
            Ok(result) => result,
            Err(error) => ToolResult::host_error(call, &error.to_string()),
        }
    }
}

fn failed(kind: &str, message: String) -> Ended {
    let hint = (kind == "empty_answer").then(|| {
        "try again; if it happens every time, check that the server at `[model] base_url` serves this model".to_owned()
    });
    let error = ErrorInfo {
        kind: kind.to_owned(),
        message,
        hint,
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
        ModelError::Api(error) if error.kind == ApiErrorKind::RequestTooLarge => Ending::ContextOverflow,
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
