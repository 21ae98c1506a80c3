//! The agent loop.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::conversation::Conversation;
use super::ending::Ending;
use super::given::for_model;
use super::host::HostParts;
use super::repetition::{Repetition, Verdict, WARNING};
use super::report::RunReport;
use super::step::{Step, next_step};
use crate::model::{ApiErrorKind, ModelContext, ModelError, ModelRequest, ModelResponse, StopReason};
use crate::telemetry::{Emitter, ErrorInfo, EventKind, TrimReason};
use crate::tools::{ToolCall, ToolContext, ToolResult};
use crate::transcript::{self, Content, ToolInput};

/// Times that a turn's history is trimmed because the model refused it as too long.
const MAX_TRIMS: u32 = 2;

/// How one run is watched and stopped.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Ends the run with [`Ending::Cancelled`].
    pub cancel: CancellationToken,
    /// Somebody reads the answer as it comes: an attempt that has shown text is then not repeated.
    pub text_reaches_a_person: bool,
}

/// A conversation with an agent: one run per prompt.
#[derive(Debug)]
pub struct Session {
    host: Arc<HostParts>,
    tenant: String,
    id: String,
    emitter: Emitter,
    conversation: Conversation,
}

/// Whether less of a history would be accepted, and why not all of it.
fn too_large(error: &ModelError) -> Option<TrimReason> {
    match error {
        ModelError::ContextOverflow(_) => Some(TrimReason::TooLong),
        ModelError::Api(error) if error.kind == ApiErrorKind::RequestTooLarge => Some(TrimReason::TooLong),
        // What others have reserved is no reason to leave out anything for good.
        ModelError::Budget(exceeded) if !exceeded.may_fit_later() => Some(TrimReason::Budget),
        _ => None,
    }
}

fn is_invalid(error: &ModelError) -> bool {
    matches!(error, ModelError::Api(error) if error.kind == ApiErrorKind::InvalidRequest)
}

/// How a run ended.
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
    pub(super) fn new(host: Arc<HostParts>, tenant: &str) -> Self {
        let id = uuid::Uuid::now_v7().to_string();
        let emitter = Emitter::new(&host.events, &id, tenant, host.config.alerts.clone());
        Self {
            host,
            tenant: tenant.to_owned(),
            id,
            emitter,
            conversation: Conversation::default(),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Answers one prompt. Never fails: whatever happens is in the report.
    pub async fn run(&mut self, prompt: &str, options: RunOptions) -> RunReport {
        let started = Instant::now();
        let host = self.host.clone();
        self.emitter.set_turn(0);
        self.emitter.emit(EventKind::SessionStarted {
            agent: host.config.agent.name.clone(),
            model: host.model.model().to_owned(),
            tools: host.tools.tools().map(|tool| tool.name.clone()).collect(),
            prompt: prompt.to_owned(),
        });
        let mut unfinished = Unfinished {
            emitter: &self.emitter,
            started,
            is_over: false,
        };
        // The API refuses a blank text, in this request and in every later one that holds it.
        let blank = prompt.trim().is_empty();
        // Of a run that was dropped.
        self.conversation.take_back();
        self.conversation.forget_unanswered_prompt();
        if !blank {
            self.conversation.ask(prompt);
        }
        let mut run = Run {
            host: &host,
            emitter: &self.emitter,
            conversation: &mut self.conversation,
            options: &options,
            deadline: started + host.config.agent.deadline,
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
        // A prompt that nobody answered would be asked again with the next one, and fail it the same way.
        self.conversation.forget_unanswered_prompt();
        unfinished.finish(ending, error.clone(), answer.clone());
        drop(unfinished);
        RunReport {
            outcome: ending,
            error,
            answer,
            iterations,
            degraded,
            ..self.standing().await
        }
    }

    /// A report of everything but one run.
    async fn standing(&self) -> RunReport {
        let host = &self.host;
        let budget = host
            .ledger
            .status(
                &self.tenant,
                Some(&self.id),
                &host.config.budget,
                jiff::Timestamp::now(),
            )
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "the ledger could not be read for the report");
                Vec::new()
            });
        let breakers = host.breakers(&self.tenant);
        let metrics = self.emitter.metrics();
        RunReport {
            session_id: self.id.clone(),
            tenant: self.tenant.clone(),
            outcome: Ending::Completed,
            answer: String::new(),
            model: host.model.model().to_owned(),
            iterations: 0,
            degraded: false,
            metrics,
            breakers,
            budget,
            error: None,
        }
    }
}

/// A run that has begun. Whoever drops it in the middle has cancelled it, and everybody who listens is told.
struct Unfinished<'a> {
    emitter: &'a Emitter,
    started: Instant,
    is_over: bool,
}

impl Unfinished<'_> {
    fn finish(&mut self, outcome: Ending, error: Option<ErrorInfo>, answer: String) {
        self.is_over = true;
        self.emitter.emit(EventKind::SessionFinished {
            outcome,
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            error,
            answer,
        });
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        match std::thread::panicking() {
            true => {
                let Ended { ending, error } = failed("panic", "the host panicked while it ran".to_owned());
                self.finish(ending, error, String::new());
            }
            false => self.finish(Ending::Cancelled, None, String::new()),
        }
    }
}

/// One run: what it may use and how far it got.
struct Run<'a> {
    host: &'a Arc<HostParts>,
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
    /// Asks the model, does what it wants, and asks again, until something says stop.
    async fn drive(&mut self) -> Ended {
        let settings = &self.host.config.agent;
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
            self.remember(response);
            match step {
                Step::Finish(ending) => return ending.into(),
                Step::Fail(kind, message) => return failed(kind, message),
                Step::Continue => {}
                // Nobody would read their results.
                Step::RunTools(_) if self.iterations >= settings.max_iterations => return Ending::MaxIterations.into(),
                Step::RunTools(calls) => {
                    if let Some(ending) = self.run_tools(calls).await {
                        return ending.into();
                    }
                }
            }
        }
    }

    /// One answer. A history that the model finds too long, or that the budget can't pay for, is trimmed and sent again: one
    /// long result of a tool must not be the end of the run. What was left out in vain comes back: the budget may be larger the
    /// next time, and another reason than its images may be mended.
    async fn ask_model(&mut self) -> Result<ModelResponse, Ended> {
        let answered = self.ask_with_less_and_less().await;
        match &answered {
            Ok(_) => self.conversation.keep_shortened(),
            Err(_) => self.conversation.take_back(),
        }
        answered.map_err(|error| Ended {
            ending: ending_for(&error),
            error: Some(error.info()),
        })
    }

    async fn ask_with_less_and_less(&mut self) -> Result<ModelResponse, ModelError> {
        let settings = &self.host.config;
        let (mut trims, mut with_images) = (0, true);
        loop {
            let request = ModelRequest {
                system: &settings.agent.system,
                messages: self.conversation.messages(),
                tools: &self.host.definitions,
                max_tokens: settings.model.max_tokens,
                temperature: settings.model.temperature,
            };
            let cx = ModelContext {
                emitter: self.emitter,
                deadline: self.deadline,
                cancel: &self.options.cancel,
                text_reaches_a_person: self.options.text_reaches_a_person,
            };
            let error = match self.host.model.respond(&request, &cx).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let reason = match too_large(&error) {
                Some(reason) if trims < MAX_TRIMS => reason,
                // An image is a stranger's bytes, and the API looks at it more closely than we do.
                None if with_images && is_invalid(&error) => TrimReason::Images,
                _ => return Err(error),
            };
            if reason == TrimReason::TooLong {
                // It stays so.
                self.conversation.keep_shortened();
            } else {
                self.conversation.set_aside();
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

    fn remember(&mut self, response: ModelResponse) {
        // A paused answer goes on in the next one; any other replaces what was said before.
        if self.pauses == 0 {
            self.answer.clear();
        }
        self.answer.push_str(&response.text());
        let paused = response.stop_reason == StopReason::PauseTurn;
        self.pauses = if paused { self.pauses + 1 } else { 0 };
        self.conversation.answered(response.content);
    }

    /// Runs a turn's calls and adds their results. Returns how the run ends, if it does.
    async fn run_tools(&mut self, calls: Vec<ToolCall>) -> Option<Ending> {
        let settings = &self.host.config.agent;
        let wanted = u32::try_from(calls.len()).unwrap_or(u32::MAX);
        if wanted > settings.max_tool_calls.saturating_sub(self.tool_calls) {
            return Some(Ending::MaxToolCalls);
        }
        self.tool_calls += wanted;
        // Lazily, so that no more run than may; in order, so that the answer is in order.
        let inputs: Vec<ToolInput> = calls.iter().map(|call| call.input.clone()).collect();
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
            let mut content = for_model(result.content, settings.max_result_bytes);
            if verdict == Verdict::Warn {
                content.push(Content::text(WARNING));
            }
            blocks.push(transcript::ToolResult {
                tool_use_id: result.call_id,
                content,
                is_error: result.is_error,
            });
        }
        self.conversation.results(blocks);
        // What cut the calls short is the reason, not that they were all cut short alike.
        match self.options.cancel.is_cancelled() || Instant::now() >= self.deadline {
            true => None,
            false => ending,
        }
    }

    /// One call, on a task of its own: calls of a turn run side by side, on as many threads as there are.
    async fn run_tool(&self, call: ToolCall) -> ToolResult {
        let (host, emitter, cancel) = (self.host.clone(), self.emitter.clone(), self.options.cancel.clone());
        let (deadline, in_task) = (self.deadline, call.clone());
        let task = tokio::spawn(async move {
            let cx = ToolContext {
                emitter: &emitter,
                deadline,
                cancel: &cancel,
            };
            host.tools.call(in_task, &cx).await
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
