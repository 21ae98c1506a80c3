//! One tool call, from the model's request to its result. The steps, in order: look up, validate, policy; then a look at the
//! breaker, concurrency, breaker, run, convert, report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call_end::CallEnd;
use super::call_totals::CallTotals;
use super::content::{self, Part, Structure};
use super::policy::Decision;
use super::problem::PluginError;
use super::registry::{Tool, name_identity};
use super::schema::{MAX_INLINE_STEPS, MAX_STEPS};
use super::start::CallStart;
use super::toolset::{Slot, ToolSet};
use crate::events::{EventKind, Health, Outcome, ToolCallFinished, Transition};
use crate::fault::{self, Point};
use crate::resilience::Permit;
use crate::sandbox::{CallFailure, Halt};
use crate::telemetry::Emitter;
use crate::transcript::ToolInput;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Delay before the first retry of a call that was `unavailable`. It doubles with every retry.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);
/// Retries of a call that was `unavailable`.
const MAX_RETRIES: u32 = 2;

/// Plugins and tools that are listed as left out when a tool is unknown.
const MAX_LEFT_OUT: usize = 10;

/// What the model reads of a call that needs a person, where none can be asked.
const NOBODY_TO_ASK: &str =
    "The call was not made: a person must approve it, and nobody can be asked here. Don't try it again.";
/// What the operator reads of it.
const HOW_TO_APPROVE: &str = "`[agent] approve` says which calls a person must approve";

/// A call as the model made it.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub input: ToolInput,
}

/// The run that a call belongs to.
#[derive(Clone, Copy, Debug)]
pub struct ToolContext<'a> {
    pub emitter: &'a Emitter,
    /// The run's deadline. The call also has a time-out of its own.
    pub deadline: Instant,
    pub cancel: &'a CancellationToken,
}

/// What the model reads, and what the call cost.
#[derive(Clone, Debug)]
pub struct ToolResult {
    pub call_id: String,
    pub outcome: Outcome,
    /// The fallback text replaces the result.
    pub degraded: bool,
    /// Whether the result is marked as an error for the model.
    pub is_error: bool,
    pub content: Vec<Part>,
    /// Whether the content is a value of the tool's output schema, and in which form.
    pub structure: Option<Structure>,
    /// The event's figures.
    pub finished: ToolCallFinished,
}

/// A call that has started. If its future is dropped, the guard reports the call as cancelled.
struct UnfinishedCall<'a> {
    call: Option<ToolCall>,
    tool: Option<&'a Tool>,
    started: Instant,
    emitter: &'a Emitter,
}

impl Drop for UnfinishedCall<'_> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        let result = finish(
            call,
            self.tool,
            CallEnd::cancelled(),
            CallTotals::default(),
            self.started.elapsed(),
        );
        self.emitter
            .emit(EventKind::ToolCallFinished(Box::new(result.finished)));
    }
}

impl ToolResult {
    /// The result of a call whose task failed in the host.
    pub(crate) fn host_error(call: ToolCall, detail: &str) -> Self {
        finish(
            call,
            None,
            CallEnd::host_error(detail),
            CallTotals::default(),
            Duration::ZERO,
        )
    }
}

/// A call that the host has decided about: it runs, or it is refused with a result for the model.
#[derive(Debug)]
pub struct AdmittedCall {
    call: ToolCall,
    /// The input that the tool receives, or why the call doesn't run.
    decision: Result<ToolInput, CallEnd>,
    /// Whether it runs only if a person approves it.
    needs_approval: bool,
    /// How long the decision took. It counts against the call's deadline.
    took: Duration,
    start: CallStart,
}

impl AdmittedCall {
    pub fn call(&self) -> &ToolCall {
        &self.call
    }

    /// Whether it runs; if not, its result is known.
    pub fn will_run(&self) -> bool {
        self.decision.is_ok() && !self.needs_approval
    }

    /// Whether a person must approve the call first. Without [`Self::approve`] it is denied.
    pub fn awaits_approval(&self) -> bool {
        self.decision.is_ok() && self.needs_approval
    }

    /// The input that the tool receives if the call runs; `None` if it is refused.
    pub fn input(&self) -> Option<&ToolInput> {
        self.decision.as_ref().ok()
    }

    /// Whether it has begun, for somebody who may give it up.
    pub fn start(&self) -> CallStart {
        self.start.clone()
    }

    /// A person lets it run.
    pub fn approve(&mut self) {
        self.needs_approval = false;
    }

    /// A person doesn't. The model reads `why`, a sentence.
    pub fn deny(&mut self, why: impl Into<String>) {
        self.decision = Err(CallEnd::error(Outcome::Denied, why));
    }
}

impl ToolSet {
    /// Decides about a call without running anything: looks the tool up, validates the input and asks the policy. Of a turn's
    /// calls, all are decided about before any of them runs, so that a policy can refuse the second before the first has an
    /// effect.
    pub async fn admit(&self, call: ToolCall, cx: &ToolContext<'_>) -> AdmittedCall {
        let started = Instant::now();
        let Some(slot) = self.slot(&call.name) else {
            // The model chose the name of a tool that doesn't exist, so it is untrusted.
            let call = ToolCall {
                name: display_untrusted(&call.name, NAME_CHARS),
                ..call
            };
            return AdmittedCall {
                decision: Err(self.unknown(&call.name)),
                call,
                needs_approval: false,
                took: Duration::ZERO,
                start: CallStart::default(),
            };
        };
        let halt = Halt {
            deadline: cx.deadline.min(started + slot.tool.limits().timeout),
            cancel: cx.cancel,
        };
        // A panic in the host ends only this call.
        let decision = AssertUnwindSafe(self.decide(slot, &call, halt, cx))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(CallEnd::host_error("the host panicked while it checked the call")));
        let (decision, needs_approval) = match decision {
            Ok((input, needs_approval)) => (Ok(input), needs_approval),
            Err(ended) => (Err(ended), false),
        };
        AdmittedCall {
            call,
            decision,
            needs_approval,
            took: started.elapsed(),
            start: CallStart::default(),
        }
    }

    /// Admits and runs one call.
    pub async fn call(&self, call: ToolCall, cx: &ToolContext<'_>) -> ToolResult {
        let admitted = self.admit(call, cx).await;
        self.run(admitted, cx).await
    }

    /// Runs an admitted call. Never fails: every failure becomes a result for the model and an event for the operator.
    pub async fn run(&self, admitted: AdmittedCall, cx: &ToolContext<'_>) -> ToolResult {
        let is_gated = admitted.awaits_approval();
        let AdmittedCall {
            call,
            decision,
            took,
            start,
            ..
        } = admitted;
        let now = Instant::now();
        let started = now.checked_sub(took).unwrap_or(now);
        let slot = self.slot(&call.name);
        cx.emitter.emit(EventKind::ToolCallStarted {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            plugin: slot.map(|slot| slot.tool.plugin.clone()).unwrap_or_default(),
            input: call.input.shared_value(),
        });
        let mut unfinished = UnfinishedCall {
            call: Some(call.clone()),
            tool: slot.map(|slot| &slot.tool),
            started,
            emitter: cx.emitter,
        };
        let mut totals = CallTotals::default();
        let ended = match (decision, slot) {
            (Err(refused), _) => refused,
            (Ok(_), _) if is_gated => CallEnd::error(Outcome::Denied, NOBODY_TO_ASK).with_detail(HOW_TO_APPROVE),
            (Ok(_), None) => self.unknown(&call.name),
            (Ok(input), Some(slot)) => {
                let halt = Halt {
                    deadline: cx.deadline.min(started + slot.tool.limits().timeout),
                    cancel: cx.cancel,
                };
                // A panic in the host ends only this call.
                AssertUnwindSafe(self.attempt(slot, input.text(), &start, halt, cx, &mut totals))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| CallEnd::host_error("the host panicked while it ran the call"))
            }
        };
        unfinished.call = None;
        let result = finish(call, slot.map(|slot| &slot.tool), ended, totals, started.elapsed());
        cx.emitter
            .emit(EventKind::ToolCallFinished(Box::new(result.finished.clone())));
        result
    }

    /// `name` is already escaped.
    fn unknown(&self, name: &str) -> CallEnd {
        let known: Vec<&str> = self.tools().map(|tool| tool.name.as_str()).collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            known.join(", ")
        };
        let ended = CallEnd::error(
            Outcome::UnknownTool,
            format!("There is no tool `{name}`. Known tools: {known}."),
        );
        // The tool may belong to a plugin that didn't load. Only the operator needs to know.
        match self.problems() {
            [] => ended,
            problems => {
                // One of them may be the tool's own. A component can have hundreds.
                let identity = name_identity(name);
                let own = |problem: &&PluginError| problem.tool().is_some_and(|tool| name_identity(tool) == identity);
                let (own, others): (Vec<_>, Vec<_>) = problems.iter().partition(own);
                let mut reasons = own.into_iter().chain(others).map(ToString::to_string);
                let shown: Vec<String> = reasons.by_ref().take(MAX_LEFT_OUT).collect();
                let more = reasons.next().map_or("", |_| "; and more");
                ended.with_detail(format!("left out: {}{more}", shown.join("; ")))
            }
        }
    }

    /// Validates the input and asks the policy. Returns the input that the tool receives and whether a person must approve it, or why
    /// the call must not run.
    async fn decide(
        &self,
        slot: &Slot,
        call: &ToolCall,
        halt: Halt<'_>,
        cx: &ToolContext<'_>,
    ) -> Result<(ToolInput, bool), CallEnd> {
        let tool = &slot.tool;
        if let Some(problem) = call.input.problem() {
            return Err(CallEnd::error(
                Outcome::InvalidInput,
                format!("The input isn't a JSON object: {problem}"),
            ));
        }
        let input = call.input.text();
        if let Some(ended) = CallEnd::too_large(input, tool.limits().input_bytes) {
            return Err(ended);
        }
        let checked = match tool.schema.max_steps(input.len()) {
            steps if steps <= MAX_INLINE_STEPS => tool.schema.check(&call.input),
            steps if steps <= MAX_STEPS => match halt
                .bound(self.check_on_blocking_thread(slot, &call.input, cx.emitter.tenant()))
                .await
            {
                Ok(Ok(checked)) => checked,
                Ok(Err(ended)) => return Err(ended),
                Err(halted) => return Err(CallEnd::halted_outside_tool(halted, cx.deadline)),
            },
            _ => {
                let text = format!(
                    "The input has {} bytes, too many to check against the tool's schema.",
                    input.len()
                );
                return Err(CallEnd::error(Outcome::InvalidInput, text));
            }
        };
        let rewritten = match checked {
            Ok(rewritten) => rewritten,
            Err(violations) => {
                let text = format!(
                    "The input doesn't match the tool's schema:\n- {}",
                    violations.join("\n- ")
                );
                return Err(CallEnd::error(Outcome::InvalidInput, text));
            }
        };
        // From here on, the policy and the tool see the same numbers.
        let received = rewritten.unwrap_or_else(|| call.input.clone());
        // `1e39` is longer as an integer.
        if let Some(ended) = CallEnd::too_large(received.text(), tool.limits().input_bytes) {
            return Err(ended);
        }
        let mut needs_approval = self.approve_calls().asks_for(tool);
        if let Some(policy) = self.policy() {
            match policy.decide(cx.emitter.tenant(), tool, received.value()) {
                Decision::Allow => {}
                Decision::Ask => needs_approval = true,
                Decision::Deny(reason) => {
                    let text = format!("The call was denied by {}: {reason}.", policy.name());
                    return Err(CallEnd::error(Outcome::Denied, text));
                }
            }
        }
        Ok((received, needs_approval))
    }

    /// Runs the tool, with retries.
    async fn attempt(
        &self,
        slot: &Slot,
        input: &str,
        start: &CallStart,
        halt: Halt<'_>,
        cx: &ToolContext<'_>,
        totals: &mut CallTotals,
    ) -> CallEnd {
        let tool = &slot.tool;
        let mut before: Option<CallEnd> = None;
        for retry in 0.. {
            let (ended, delay) = self.run_once(slot, input, start, halt, cx, totals).await;
            // A retry has only the rest of the call's time. If that runs out, the previous error says more than the time-out.
            let ended = match before.take() {
                Some(before) if ended.outcome == Outcome::Timeout => before.with_detail("time ran out during a retry"),
                _ => ended,
            };
            let delay = match delay {
                Some(asked) if tool.may_retry() && retry < MAX_RETRIES => {
                    asked.unwrap_or(FIRST_RETRY_DELAY * 2_u32.pow(retry))
                }
                _ => return ended,
            };
            // The tool chooses the delay, so it may overflow. A delay past the deadline is pointless.
            match Instant::now().checked_add(delay) {
                Some(wake) if wake < halt.deadline => {
                    if let Err(halted) = halt.bound(tokio::time::sleep_until(wake)).await {
                        return CallEnd::halted_outside_tool(halted, cx.deadline);
                    }
                    before = Some(ended);
                }
                _ => return ended,
            }
        }
        CallEnd::host_error("a call was retried without end")
    }

    /// Checks the input on a blocking thread, because a long check would stall an async worker. A check can't be cancelled:
    /// it keeps its permits until it ends, even if the call is gone.
    async fn check_on_blocking_thread(
        &self,
        slot: &Slot,
        input: &ToolInput,
        tenant: &Arc<str>,
    ) -> Result<Result<Option<ToolInput>, Vec<String>>, CallEnd> {
        let permits = self.acquire_check(slot, tenant).await;
        let permits = permits.map_err(|saturated| CallEnd::busy(saturated.to_string()))?;
        let (schema, input) = (slot.tool.schema.clone(), input.clone());
        let check = tokio::task::spawn_blocking(move || {
            let checked = schema.check(&input);
            drop(permits);
            checked
        });
        check.await.map_err(|error| CallEnd::host_error(&error.to_string()))
    }

    /// Runs the tool once, behind its breaker and concurrency limits. The second value is `Some` if the tool was unavailable
    /// and a retry may help. It holds the delay that the tool requested, if any.
    async fn run_once(
        &self,
        slot: &Slot,
        input: &str,
        start: &CallStart,
        halt: Halt<'_>,
        cx: &ToolContext<'_>,
        totals: &mut CallTotals,
    ) -> (CallEnd, Option<Option<Duration>>) {
        // Asked twice. This look takes no permit, and spares the call the queue.
        let breaker = slot.breaker(cx.emitter.tenant());
        if let Err(rejected) = breaker.check() {
            return (CallEnd::breaker_open(&rejected), None);
        }
        let waiting = Instant::now();
        let _permits = match halt.bound(self.acquire(slot, cx.emitter.tenant())).await {
            Ok(Ok(permits)) => permits,
            Ok(Err(saturated)) => return (CallEnd::busy(saturated.to_string()), None),
            Err(halted) => return (CallEnd::halted_outside_tool(halted, cx.deadline), None),
        };
        // The breaker may have opened meanwhile: what waited for a dying tool must not run.
        let mut permit = match breaker.try_acquire() {
            Ok((permit, transition)) => {
                report(cx.emitter, transition);
                permit
            }
            Err(rejected) => return (CallEnd::breaker_open(&rejected), None),
        };
        let tool = &slot.tool;
        let queued = waiting.elapsed();
        let tenant = cx.emitter.tenant();
        fault::passes(Point::CallBegins);
        if !start.begin() {
            return (CallEnd::cancelled(), None);
        }
        let (called, usage) = tool.component.call(tenant, &tool.export, input, halt).await;
        fault::passes(Point::CallReturned);
        let processor = usage.kept_waiting;
        totals.add(usage, tool.limits().log_bytes);
        let mut delay = None;
        let ended = match called {
            Ok(result) => {
                let structure = tool.output_schema.as_ref().and_then(|_| Structure::of(&result));
                match content::convert(result, tool.limits().output_bytes) {
                    Ok(content) => CallEnd {
                        outcome: Outcome::Ok,
                        health: Outcome::Ok.health(),
                        content,
                        structure,
                        detail: None,
                    },
                    Err(reason) => CallEnd::invalid_output(&reason),
                }
            }
            Err(CallFailure::Unavailable { message, retry_after }) => {
                delay = Some(retry_after);
                CallEnd::unavailable(message)
            }
            // A call cut short by the run's deadline says nothing about the tool.
            Err(CallFailure::Timeout(_)) if Instant::now() >= cx.deadline => CallEnd::run_deadline_passed(),
            // Time that the tool waited is the host's. It is the reason if it left the tool less than half.
            Err(CallFailure::Timeout(limit)) if queued + processor > tool.limits().timeout / 2 => {
                let text = "The host is busy and couldn't give the tool enough time. Try again later.";
                CallEnd::error(Outcome::Overloaded, text).with_detail(format!(
                    "{limit}, of which {queued:?} in the queue and {processor:?} waiting for the processor"
                ))
            }
            Err(CallFailure::Failed { message, counts }) => {
                let counts = counts || tool.errors_count;
                CallEnd::failed(CallFailure::Failed { message, counts }, &tool.plugin, tool.set_in)
            }
            Err(failure) => CallEnd::failed(failure, &tool.plugin, tool.set_in),
        };
        if ended.health == Health::Failure {
            // The tool's own words are contents, so they stay out.
            let host = ended.detail.iter().chain(&totals.refused);
            let host = host.filter_map(|detail| detail.lines().next());
            let cause: Vec<&str> = std::iter::once(ended.outcome.name()).chain(host).collect();
            permit.because(&display_untrusted(&cause.join(": "), usize::MAX));
        }
        report(cx.emitter, settle(permit, ended.health));
        (ended, delay)
    }
}

fn settle(permit: Permit, health: Health) -> Option<Transition> {
    match health {
        Health::Success => permit.success(),
        Health::Failure => permit.failure(),
        Health::Neutral => {
            permit.neutral();
            None
        }
    }
}

fn report(emitter: &Emitter, transition: Option<Transition>) {
    if let Some(transition) = transition {
        emitter.emit(transition.into());
    }
}

/// Applies the fallback, if there is one, and builds the result and its event.
fn finish(call: ToolCall, tool: Option<&Tool>, ended: CallEnd, totals: CallTotals, duration: Duration) -> ToolResult {
    let CallEnd {
        outcome,
        mut content,
        mut structure,
        detail,
        ..
    } = ended;
    let fallback = tool
        .and_then(|tool| tool.fallback.as_ref())
        .filter(|_| outcome.allows_fallback());
    let degraded = fallback.is_some();
    let details: Vec<String> = detail.into_iter().chain(totals.refused).collect();
    let mut replaced_output = None;
    if let Some(text) = fallback {
        replaced_output = Some(content::text_of(&content));
        structure = None;
        content = vec![Part::Text {
            text: format!("[degraded] {text}"),
        }];
    }
    let finished = ToolCallFinished {
        call_id: call.id.clone(),
        tool: call.name,
        plugin: tool.map(|tool| tool.plugin.clone()).unwrap_or_default(),
        outcome,
        degraded,
        tries: totals.tries,
        duration_ms: duration.as_secs_f64() * 1000.0,
        fuel: totals.fuel,
        peak_memory_bytes: totals.peak_memory,
        host_calls: totals.host_calls,
        http_requests: totals.http_requests,
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
        log_bytes_dropped: totals.log_bytes_dropped,
        detail: (!details.is_empty()).then(|| details.join("; ")),
        output: content::text_of(&content),
        replaced_output,
        log: totals.log,
    };
    ToolResult {
        call_id: call.id,
        outcome,
        degraded,
        is_error: outcome != Outcome::Ok && !degraded,
        content,
        structure,
        finished,
    }
}
