//! The agent loop: one run, from its prompt or from where another process left it.

use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::stream::FusedStream;
use futures_util::{Stream, StreamExt, select_biased, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::agent::Agent;
use super::answer_format::{AnswerFormat, Checked, names_format};
use super::approval::{Answered, Gated, ask, awaiting};
use super::explain::{refusal, repeated_call};
use super::journal::{Journal, model_error};
use super::known_tools::tools_since;
use super::report::LeftOut;
use super::session::RunOptions;
use super::step::{Step, next_step};
use super::tool_result::content_for_model;
use crate::events::{Ending, ErrorInfo, EventKind, ToolCallFinished, TrimReason};
use crate::fault::{self, Point};
use crate::model::{ApiErrorKind, ModelContext, ModelError, ModelRequest, ModelResponse};
use crate::session::{
    CallFate, CallState, CallUsage, Fact, OpenCall, OpenRun, State, StoredBlock, StoredContent, TrimKind, Trimmed,
};
use crate::telemetry::Emitter;
use crate::telemetry::redact::scrub;
use crate::tools::{AdmittedCall, CallStart, ToolCall, ToolContext, ToolResult};

/// How often one turn's history is trimmed because it is too long or too expensive.
const MAX_TRIMS: u32 = 2;

/// How long calls without effects may run before what happened before them is written beside them.
const PAUSE: Duration = Duration::from_millis(1);

/// What a session keeps of the reason why a call failed, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

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

/// What was taken out of the conversation for one answer.
#[derive(Debug)]
pub(super) struct Trim {
    reason: TrimReason,
    trimmed: Trimmed,
    /// Whether it stays out whatever comes of the answer, and the journal has it.
    is_permanent: bool,
}

impl Trim {
    fn fact(&self) -> Fact {
        let files = self.trimmed.files.clone();
        let what = match self.reason {
            TrimReason::TooLong | TrimReason::Budget => TrimKind::Results,
            TrimReason::VendorBlocks => TrimKind::VendorBlocks,
            TrimReason::Images => TrimKind::Images,
            TrimReason::CrowdedOut => {
                let images = self.trimmed.images as u64;
                return Fact::CrowdedOut { images, files };
            }
        };
        Fact::Trimmed { what, files }
    }

    /// Whether what was taken out comes back with a request that can be paid for.
    fn comes_back(&self) -> bool {
        self.reason == TrimReason::Budget && !self.is_permanent
    }
}

/// What was already tried for one answer.
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
pub(super) struct Ended {
    pub(super) ending: Ending,
    pub(super) error: Option<ErrorInfo>,
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        Self { ending, error: None }
    }
}

impl From<ModelError> for Ended {
    fn from(error: ModelError) -> Self {
        Self {
            ending: ending_for(&error),
            error: Some(error.info()),
        }
    }
}

/// One run.
pub(super) struct Run<'a> {
    pub(super) agent: &'a Agent,
    pub(super) emitter: &'a Emitter,
    pub(super) state: &'a mut State,
    pub(super) journal: &'a Journal,
    pub(super) options: &'a RunOptions,
    pub(super) deadline: Instant,
    /// The model call, counted from 1, that the run makes or made last.
    pub(super) turn: u32,
    /// What the answer must be.
    pub(super) format: AnswerFormat,
    /// The calls that were admitted and have not ended.
    pub(super) admitted: Vec<Admitted>,
    /// The attachments that requests have left out.
    pub(super) left_out: Vec<LeftOut>,
}

/// A call that was admitted.
pub(super) struct Admitted {
    position: u32,
    id: String,
    start: CallStart,
}

impl Drop for Run<'_> {
    /// The run may be dropped while calls are being made, or wait for that. It may be gone on with.
    fn drop(&mut self) {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let deadline = self.agent.parts().settings.deadline;
        if let Some(run) = &mut self.state.run {
            run.spent = deadline.saturating_sub(left);
        }
        for call in std::mem::take(&mut self.admitted) {
            if call.start.give_up() {
                self.record_not_begun(call);
            }
        }
    }
}

impl Run<'_> {
    /// Takes a fact into account and writes it down with the next commit.
    pub(super) fn record(&mut self, fact: &Fact) {
        self.state.apply(fact);
        self.journal.record(fact);
    }

    fn record_not_begun(&mut self, call: Admitted) {
        self.record(&Fact::CallNotBegun {
            position: call.position,
            id: call.id,
        });
    }

    /// Whether the model has answered as often as before.
    pub(super) fn has_no_new_answer(&self, answers: u32) -> bool {
        self.state.run.as_ref().is_some_and(|run| run.iterations == answers)
    }

    /// The run so far. There is one from the prompt to the end.
    fn so_far(&mut self) -> &mut OpenRun {
        self.state.run.get_or_insert_default()
    }

    /// The agent loop: calls the model and runs its tool calls, until the run ends.
    pub(super) async fn drive(&mut self) -> Ended {
        let max_iterations = self.agent.parts().settings.max_iterations;
        let given = self.options.schema.as_ref();
        match AnswerFormat::of(self.so_far().schema.as_deref(), given) {
            Ok(format) => self.format = format,
            Err(ended) => return ended,
        }
        self.turn = self.so_far().iterations;
        self.emitter.set_turn(self.turn);
        // Another process may have left calls without results.
        if !self.so_far().calls.is_empty()
            && let Some(ended) = self.run_tools().await
        {
            return ended;
        }
        loop {
            if self.options.cancel.is_cancelled() {
                return Ending::Cancelled.into();
            }
            if Instant::now() >= self.deadline {
                return Ending::DeadlineExceeded.into();
            }
            if self.so_far().iterations >= max_iterations {
                return Ending::MaxIterations.into();
            }
            self.turn = self.so_far().iterations + 1;
            self.emitter.set_turn(self.turn);
            self.emitter.emit(EventKind::TurnStarted {});
            let response = match self.ask_model().await {
                Ok(response) => response,
                Err(ended) => return ended,
            };
            let step = next_step(&response, self.so_far().before);
            self.record(&Fact::Answered {
                model: response.model,
                stop_reason: response.stop_reason.as_str().to_owned(),
                content: response.content.iter().filter_map(StoredBlock::of).collect(),
            });
            fault::passes(Point::AnswerRecorded);
            match step {
                Step::Finish(Ending::Refused) => {
                    return Ended {
                        ending: Ending::Refused,
                        error: Some(refusal(response.refusal)),
                    };
                }
                Step::Finish(Ending::Completed) => match self.check_answer(self.turn < max_iterations).await {
                    Checked::Accepted => return Ending::Completed.into(),
                    Checked::Corrected => {}
                    Checked::Failed(ended) => return ended,
                },
                Step::Finish(ending) => return ending.into(),
                Step::Fail(kind, message) => return failed(kind, message),
                Step::Continue => {}
                Step::AskAgain if self.turn >= max_iterations => {
                    return failed("empty_answer", "the model's answer was empty".to_owned());
                }
                Step::AskAgain => self.record(&Fact::AskedAgain {}),
                // No further model call could read the results.
                Step::RunTools if self.turn >= max_iterations => return Ending::MaxIterations.into(),
                Step::RunTools => {
                    if let Some(ended) = self.run_tools().await {
                        return ended;
                    }
                }
            }
        }
    }

    /// Gets one answer. If the model refuses the history as too long, or the budget can't pay for it, trims it and tries again,
    /// so that one long tool result doesn't end the run. Then restores the history: if that didn't help, the images might not have been
    /// the cause, and what was left out for the budget's sake is sent again as soon as a request can be paid for.
    async fn ask_model(&mut self) -> Result<ModelResponse, Ended> {
        let mut trims = Vec::from_iter(self.crowded_out());
        let result = self.ask_trimming_history(&mut trims).await;
        self.state.conversation.restore();
        // Without an answer, what was only tried counts for nothing.
        trims.retain(|trim| trim.is_permanent || result.is_ok());
        for trim in trims {
            if trim.comes_back() {
                self.record(&Fact::LeftOut {
                    results: trim.trimmed.results as u64,
                    files: trim.trimmed.files.clone(),
                });
            } else if !trim.is_permanent {
                self.record(&trim.fact());
            }
            let (comes_back, reason) = (trim.comes_back(), trim.reason);
            for file in trim.trimmed.files {
                let left_out = LeftOut {
                    file,
                    comes_back,
                    reason,
                };
                if !self.left_out.contains(&left_out) {
                    self.left_out.push(left_out);
                }
            }
        }
        result.map_err(Ended::from)
    }

    /// What the conversation has no room for any more, the first time that a request is made without it.
    fn crowded_out(&mut self) -> Option<Trim> {
        let trim = Trim {
            reason: TrimReason::CrowdedOut,
            trimmed: self.state.conversation.take_crowded_out(),
            is_permanent: true,
        };
        if trim.trimmed.is_nothing() {
            return None;
        }
        self.announce(trim.reason, &trim.trimmed);
        self.record(&trim.fact());
        Some(trim)
    }

    fn announce(&self, reason: TrimReason, trimmed: &Trimmed) {
        self.emitter.emit(EventKind::HistoryTrimmed {
            reason,
            results: u32::try_from(trimmed.results).unwrap_or(u32::MAX),
            bytes: trimmed.bytes as u64,
            images: u32::try_from(trimmed.images).unwrap_or(u32::MAX),
            files: trimmed.files.clone(),
        });
    }

    async fn ask_trimming_history(&mut self, trims: &mut Vec<Trim>) -> Result<ModelResponse, ModelError> {
        let parts = self.agent.parts();
        let mut tried = Tried::default();
        let tools_since = tools_since(self.state);
        loop {
            let (system, schema) = (self.format.system(&parts.settings.system), self.format.native());
            let request = ModelRequest {
                system: &system,
                messages: self.state.conversation.messages(),
                tools: self.agent.definitions(),
                max_tokens: parts.max_tokens,
                temperature: parts.temperature,
                schema: schema.as_deref(),
                tools_since: &tools_since,
            };
            let cx = ModelContext {
                emitter: self.emitter,
                deadline: self.deadline,
                cancel: &self.options.cancel,
                streams_to_user: self.options.streams_to_user,
                log: self.journal,
            };
            let error = match parts.model.respond(&request, &cx).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if names_format(&error) && self.format.refuse() {
                continue;
            }
            let Some((reason, trimmed)) = self.trim_after(&error, &mut tried) else {
                if !is_invalid(&error) || !self.format.refuse() {
                    return Err(error);
                }
                // So it was none of what was taken out.
                self.state.conversation.restore();
                trims.retain(|trim| trim.is_permanent);
                tried = Tried::default();
                continue;
            };
            self.announce(reason, &trimmed);
            trims.push(Trim {
                reason,
                trimmed,
                is_permanent: false,
            });
            // The model's limit won't change, so this trim stays whatever comes of it, with those before it.
            if reason == TrimReason::TooLong {
                for trim in trims.iter_mut().filter(|trim| !trim.is_permanent) {
                    self.journal.record(&trim.fact());
                    trim.is_permanent = true;
                }
            }
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
                // The model's limit won't change, so this trim is permanent, with those before it.
                TrimReason::TooLong => {}
                _ => self.state.conversation.take_snapshot(),
            }
            let trimmed = self.state.conversation.trim();
            if reason == TrimReason::TooLong && !trimmed.is_nothing() {
                self.state.conversation.discard_snapshot();
            }
            return (!trimmed.is_nothing()).then_some((reason, trimmed));
        }
        if !is_invalid(error) {
            return None;
        }
        self.state.conversation.take_snapshot();
        // Signatures of thinking can't be checked here: they are bound to a model and to all messages before them.
        if !std::mem::replace(&mut tried.without_vendor_blocks, true) {
            let dropped = self.state.conversation.drop_vendor_blocks();
            if !dropped.is_nothing() {
                return Some((TrimReason::VendorBlocks, dropped));
            }
        }
        // Images are untrusted bytes, and the API validates them more strictly than the host does.
        if !std::mem::replace(&mut tried.without_images, true) {
            let dropped = self.state.conversation.drop_images();
            return (!dropped.is_nothing()).then_some((TrimReason::Images, dropped));
        }
        None
    }

    /// Runs a turn's calls and adds their results. Returns an ending if the run must end.
    async fn run_tools(&mut self) -> Option<Ended> {
        let settings = &self.agent.parts().settings;
        let max_tool_calls = settings.max_tool_calls;
        let parallel = settings.parallel_tool_calls.max(1) as usize;
        let run = self.so_far();
        let wanted = u32::try_from(run.calls.len()).unwrap_or(u32::MAX);
        if wanted > max_tool_calls.saturating_sub(run.tool_calls) {
            return Some(Ending::MaxToolCalls.into());
        }
        let (calls, unknown) = unfinished(&run.calls);
        unknown.into_iter().for_each(|fate| self.record(&Fact::CallEnded(fate)));
        let (positions, calls): (Vec<u32>, Vec<ToolCall>) = calls.into_iter().unzip();
        let admitted = self.admit_tools(calls, parallel).await;
        let (ready, mut gated) = match self.gate(positions.into_iter().zip(admitted)).await {
            Ok(gated) => gated,
            Err(error) => return Some(model_error(error).into()),
        };
        // What needs no approval runs while a person is asked, and what a person approves afterwards.
        if let Err(error) = self.make_calls(ready, &mut gated, parallel).await {
            return Some(error.into());
        }
        let (open, decided): (Vec<Gated>, Vec<Gated>) = gated.into_iter().partition(Gated::is_open);
        let decided: Vec<_> = decided.into_iter().map(Gated::decided).collect();
        // Without any, the end of the last call shares the commit of what follows.
        if !decided.is_empty()
            && let Err(error) = self.make_calls(decided, &mut [], parallel).await
        {
            return Some(error.into());
        }
        let repeated = self.so_far().repeated.take();
        // Calls that were all cut short look like a loop. The cancellation or deadline is the real reason.
        if self.options.cancel.is_cancelled() || Instant::now() >= self.deadline {
            return None;
        }
        if !open.is_empty() {
            return Some(Ended {
                ending: Ending::AwaitingApproval,
                error: Some(awaiting(&open, self.emitter.session_id())),
            });
        }
        repeated.map(|tool| Ended {
            ending: Ending::LoopDetected,
            error: Some(repeated_call(Some(&tool), self.emitter.session_id())),
        })
    }

    /// Makes calls, and meanwhile has a person decide about others.
    ///
    /// # Errors
    ///
    /// What must be durable before a call begins, or before a person is asked, couldn't be written. None of the calls was made.
    async fn make_calls(
        &mut self,
        calls: Vec<(u32, AdmittedCall)>,
        gated: &mut [Gated],
        parallel: usize,
    ) -> Result<(), ModelError> {
        let max_result_bytes = self.agent.parts().settings.max_result_bytes;
        let mut left = calls.len();
        let must_be_durable = self.record_admissions(&calls) || !gated.is_empty();
        let mut written = Fuse::terminated();
        let mut pause = std::pin::pin!(match must_be_durable {
            true => {
                self.journal.commit().await.map_err(model_error)?;
                Fuse::terminated()
            }
            // Calls that leave no trace wait for nothing. Most of them end so soon that what was written before shares the commit of
            // what follows.
            false => tokio::time::sleep(PAUSE).fuse(),
        });
        fault::passes(Point::CallsAdmitted);
        // As one call ends the next begins, in whatever order. Lazy, so that no more than `parallel` calls run.
        let running = calls.into_iter().map(|(position, call)| {
            let (agent, emitter, cancel) = (self.agent.clone(), self.emitter.clone(), self.options.cancel.clone());
            let running = run_tool(agent, emitter, cancel, self.deadline, call);
            running.map(move |result| (position, result))
        });
        let mut running = stream::iter(running.collect::<Vec<_>>())
            .buffer_unordered(parallel)
            .fuse();
        let mut answers = self.ask(gated).boxed().fuse();
        let mut asked_since = Instant::now();
        while left > 0 || !written.is_terminated() || !answers.is_terminated() {
            let (position, result) = select_biased! {
                ended = running.select_next_some() => ended,
                answer = answers.next() => {
                    // While a person is asked, the run takes no time.
                    if !gated.is_empty() {
                        self.deadline += asked_since.elapsed();
                        asked_since = Instant::now();
                    }
                    if let Some(answer) = answer {
                        let position = answer.position;
                        let verdict = self.answered(answer);
                        if let Some(gated) = gated.iter_mut().find(|gated| gated.position == position) {
                            gated.verdict = verdict;
                        }
                        self.journal.flush();
                    }
                    continue;
                }
                () = pause => {
                    written = self.journal.commit().boxed().fuse();
                    continue;
                }
                // What can't be written is tried again; calls that leave no trace needn't wait for it.
                _ = written => continue,
            };
            left -= 1;
            let admitted = self.admitted.iter().position(|call| call.position == position);
            let admitted = admitted.map(|index| self.admitted.swap_remove(index));
            // The run ends. If it goes on all the same, in another process, there is no word of this.
            if self.options.cancel.is_cancelled()
                && let Some(call) = admitted.filter(|call| call.start.give_up())
            {
                self.record_not_begun(call);
                continue;
            }
            let content = content_for_model(result.content, max_result_bytes);
            self.record(&Fact::CallEnded(CallFate {
                position,
                id: result.call_id,
                tool: result.finished.tool.clone(),
                outcome: result.outcome,
                content: content.iter().map(StoredContent::from).collect(),
                is_error: result.is_error,
                degraded: result.degraded,
                reason: reason(&result.finished),
                approval: self.approval_of(position),
                used: Some(used(&result.finished)),
            }));
            fault::passes(Point::CallRecorded);
            if left > 0 {
                // The others may take long. The last one shares the commit of what follows.
                self.journal.flush();
            }
        }
        Ok(())
    }

    /// Asks a person about the calls that nobody has decided about.
    fn ask(&self, gated: &[Gated]) -> impl Stream<Item = Answered> + Send + use<> {
        let open = gated.iter().filter(|gated| gated.is_open());
        let questions = open.map(|gated| gated.question.clone()).collect();
        let approver = self.options.approver.clone();
        ask(
            questions,
            approver,
            self.journal.decisions(),
            self.options.cancel.clone(),
        )
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

    /// Writes down which calls may begin, with the next commit. Returns whether one of them can have an effect: then it must not
    /// begin before that commit.
    fn record_admissions(&mut self, calls: &[(u32, AdmittedCall)]) -> bool {
        let mut can_have_effects = false;
        for (position, call) in calls.iter().filter(|(_, call)| call.will_run()) {
            let ToolCall { id, name, .. } = call.call();
            let Some(tool) = self.agent.tools().get(name) else {
                continue;
            };
            let repeatable = tool.is_repeatable();
            can_have_effects |= !repeatable;
            self.admitted.push(Admitted {
                position: *position,
                id: id.clone(),
                start: call.start(),
            });
            let fact = Fact::CallAdmitted {
                position: *position,
                id: id.clone(),
                tool: name.clone(),
                plugin: tool.plugin.clone(),
                digest: tool.digest(),
                repeatable,
                approval: self.approval_of(*position),
            };
            self.record(&fact);
        }
        can_have_effects
    }
}

fn used(finished: &ToolCallFinished) -> CallUsage {
    CallUsage {
        plugin: finished.plugin.clone(),
        tries: finished.tries,
        duration_ms: finished.duration_ms.round() as u64,
        fuel: finished.fuel,
        peak_memory_bytes: finished.peak_memory_bytes,
        http_requests: finished.http_requests,
        bytes_sent: finished.bytes_sent,
        bytes_received: finished.bytes_received,
    }
}

/// Why a call failed, as its session keeps it.
fn reason(finished: &ToolCallFinished) -> Option<String> {
    let mut reason = scrub(&finished.unsaid_reason()?).into_owned();
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    Some(reason)
}

/// The calls of a turn that are still to be made, with their positions, and the fates of those that another process began and
/// that may not be made again.
fn unfinished(calls: &[OpenCall]) -> (Vec<(u32, ToolCall)>, Vec<CallFate>) {
    let (mut unfinished, mut unknown) = (Vec::new(), Vec::new());
    for (position, call) in (0..).zip(calls) {
        match &call.state {
            CallState::Ended(_) => {}
            CallState::Waiting | CallState::Admitted { repeatable: true } => unfinished.push((
                position,
                ToolCall {
                    id: call.id.clone(),
                    name: call.name.clone(),
                    input: call.input.clone(),
                },
            )),
            CallState::Admitted { repeatable: false } => unknown.push(call.unknown(position)),
        }
    }
    (unfinished, unknown)
}

/// Runs one call on its own task, so that a turn's calls run in parallel on all of the runtime's threads.
async fn run_tool(
    agent: Agent,
    emitter: Emitter,
    cancel: CancellationToken,
    deadline: Instant,
    admitted: AdmittedCall,
) -> ToolResult {
    let call = admitted.call().clone();
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

pub(super) fn failed(kind: &str, message: String) -> Ended {
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
