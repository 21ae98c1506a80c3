//! One tool call, from the model's request to the model's answer, in the order of the design: look up, validate, policy,
//! breaker, concurrency, run, convert, report.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::content::{self, Part};
use super::policy::Decision;
use super::registry::Tool;
use super::schema::{LONGEST_CHECK, QUICK_CHECK};
use super::toolset::{Slot, ToolSet};
use crate::events::Transition;
use crate::events::{EventKind, ToolCallFinished};
use crate::events::{Health, Outcome};
use crate::resilience::Permit;
use crate::sandbox::{CallFailure, CallUse, Halt, Halted, LimitHit};
use crate::telemetry::Emitter;
use crate::transcript::ToolInput;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Pause before the first repetition of a call that was `unavailable`; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Repetitions of a call that was `unavailable`.
const MAX_REPETITIONS: u32 = 2;

/// Reasons of refused requests that are kept, over all tries.
const MAX_REFUSED: usize = 16;

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
    /// The end of the run; the call's own deadline holds beside it.
    pub deadline: Instant,
    pub cancel: &'a CancellationToken,
}

/// What the model is told, and what it cost.
#[derive(Clone, Debug)]
pub struct ToolResult {
    pub call_id: String,
    pub outcome: Outcome,
    /// The fallback text stands in for the result.
    pub degraded: bool,
    /// Whether the model is told that the call failed.
    pub is_error: bool,
    pub content: Vec<Part>,
    /// The figures of the event.
    pub finished: ToolCallFinished,
}

/// How a call ended, before anybody was told.
struct Ended {
    outcome: Outcome,
    /// What the model reads.
    content: Vec<Part>,
    /// What only the operator reads.
    detail: Option<String>,
}

impl Ended {
    fn error(outcome: Outcome, text: impl Into<String>) -> Self {
        Self {
            outcome,
            content: vec![Part::Text { text: text.into() }],
            detail: None,
        }
    }

    fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

/// What all tries of a call used together.
#[derive(Default)]
struct Spent {
    tries: u32,
    fuel: u64,
    peak_memory: u64,
    host_calls: u64,
    http_requests: u32,
    log: String,
    log_bytes_dropped: u64,
    refused: Vec<String>,
}

impl Spent {
    /// Of what the tries printed, `log_bytes` are kept, the first ones.
    fn add(&mut self, usage: CallUse, log_bytes: u64) {
        self.tries += 1;
        self.fuel = self.fuel.saturating_add(usage.fuel);
        self.peak_memory = self.peak_memory.max(usage.peak_memory);
        self.host_calls = self.host_calls.saturating_add(usage.host_calls);
        self.http_requests = self.http_requests.saturating_add(usage.http.requests);
        let room = usize::try_from(log_bytes)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.log.len());
        let kept = usage.log.floor_char_boundary(room);
        self.log.push_str(&usage.log[..kept]);
        self.log_bytes_dropped += usage.log_bytes_dropped + (usage.log.len() - kept) as u64;
        let room = MAX_REFUSED.saturating_sub(self.refused.len());
        self.refused.extend(usage.http.refused.into_iter().take(room));
    }
}

/// A call that has begun. Whoever drops it in the middle has cancelled it, and everybody who listens is told.
struct Unfinished<'a> {
    call: Option<ToolCall>,
    tool: Option<&'a Tool>,
    started: Instant,
    emitter: &'a Emitter,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        let result = finish(call, self.tool, cancelled(), Spent::default(), self.started.elapsed());
        self.emitter
            .emit(EventKind::ToolCallFinished(Box::new(result.finished)));
    }
}

impl ToolResult {
    /// For a call that the host lost.
    pub(crate) fn host_error(call: ToolCall, detail: &str) -> Self {
        finish(call, None, host_error(detail), Spent::default(), Duration::ZERO)
    }
}

impl ToolSet {
    /// Runs one call. Never fails: whatever happens becomes a result for the model and an event for the operator.
    pub async fn call(&self, call: ToolCall, cx: &ToolContext<'_>) -> ToolResult {
        let started = Instant::now();
        let slot = self.slot(&call.name);
        // The name of a tool that does not exist is what the model says, and may be anything.
        let call = match slot {
            Some(_) => call,
            None => ToolCall {
                name: display_untrusted(&call.name, NAME_CHARS),
                ..call
            },
        };
        cx.emitter.emit(EventKind::ToolCallStarted {
            call_id: call.id.clone(),
            tool: call.name.clone(),
            plugin: slot.map(|slot| slot.tool.plugin.clone()).unwrap_or_default(),
            input: call.input.shared_value(),
        });
        let mut unfinished = Unfinished {
            call: Some(call.clone()),
            tool: slot.map(|slot| &slot.tool),
            started,
            emitter: cx.emitter,
        };
        let mut spent = Spent::default();
        let ended = match slot {
            None => self.unknown(&call.name),
            Some(slot) => {
                let halt = Halt {
                    deadline: cx.deadline.min(started + slot.tool.limits().timeout),
                    cancel: cx.cancel,
                };
                // A panic of ours ends this call and nothing else.
                AssertUnwindSafe(self.attempt(slot, &call, halt, cx, &mut spent))
                    .catch_unwind()
                    .await
                    .unwrap_or_else(|_| host_error("the host panicked while it ran the call"))
            }
        };
        unfinished.call = None;
        let result = finish(call, slot.map(|slot| &slot.tool), ended, spent, started.elapsed());
        cx.emitter
            .emit(EventKind::ToolCallFinished(Box::new(result.finished.clone())));
        result
    }

    fn unknown(&self, name: &str) -> Ended {
        let known: Vec<&str> = self.tools().map(|tool| tool.name.as_str()).collect();
        let known = if known.is_empty() {
            "there are none".to_owned()
        } else {
            known.join(", ")
        };
        let name = display_untrusted(name, NAME_CHARS);
        let ended = Ended::error(
            Outcome::UnknownTool,
            format!("There is no tool `{name}`. Known tools: {known}."),
        );
        // It may be one of a plugin that is not there: for the operator to know, not for the model.
        match self.problems() {
            [] => ended,
            problems => {
                let reasons: Vec<String> = problems.iter().map(ToString::to_string).collect();
                ended.with_detail(format!("left out: {}", reasons.join("; ")))
            }
        }
    }

    /// Validates, then runs the tool, again where that may help.
    async fn attempt(
        &self,
        slot: &Slot,
        call: &ToolCall,
        halt: Halt<'_>,
        cx: &ToolContext<'_>,
        spent: &mut Spent,
    ) -> Ended {
        let tool = &slot.tool;
        let input = call.input.text();
        let limit = tool.limits().input_bytes;
        if input.len() as u64 > limit {
            let text = format!(
                "The input has {} bytes, more than input_bytes allows ({limit}).",
                input.len()
            );
            return Ended::error(Outcome::InvalidInput, text);
        }
        let violations = match tool.schema.work(input.len()) {
            work if work <= QUICK_CHECK => tool.schema.violations(call.input.value()),
            work if work <= LONGEST_CHECK => match halt
                .bound(self.long_check(slot, &call.input, cx.emitter.tenant()))
                .await
            {
                Ok(Ok(violations)) => violations,
                Ok(Err(ended)) => return ended,
                Err(halted) => return not_begun(halted, cx),
            },
            _ => {
                let text = format!(
                    "The input has {} bytes, too many to be checked against the tool's schema.",
                    input.len()
                );
                return Ended::error(Outcome::InvalidInput, text);
            }
        };
        if !violations.is_empty() {
            let text = format!(
                "The input does not fit the tool's schema:\n- {}",
                violations.join("\n- ")
            );
            return Ended::error(Outcome::InvalidInput, text);
        }
        if let Some(policy) = self.policy()
            && let Decision::Deny(reason) = policy.decide(cx.emitter.tenant(), tool, call.input.value())
        {
            return Ended::error(
                Outcome::Denied,
                format!("The call was denied by {}: {reason}.", policy.name()),
            );
        }
        let mut before: Option<Ended> = None;
        for repetition in 0.. {
            let (ended, pause) = self.run_once(slot, input, halt, cx, spent).await;
            // A repetition has what is left of the call's time. That it was too little says less than the answer before.
            let ended = match before.take() {
                Some(before) if ended.outcome == Outcome::Timeout => {
                    before.with_detail("the time was over before a repetition was done")
                }
                _ => ended,
            };
            let pause = match pause {
                Some(asked) if tool.may_repeat() && repetition < MAX_REPETITIONS => {
                    asked.unwrap_or(FIRST_PAUSE * 2_u32.pow(repetition))
                }
                _ => return ended,
            };
            // A pause of a stranger's choosing may be absurd; one that ends after the deadline is pointless.
            match Instant::now().checked_add(pause) {
                Some(wake) if wake < halt.deadline => {
                    if let Err(halted) = halt.bound(tokio::time::sleep_until(wake)).await {
                        return not_begun(halted, cx);
                    }
                    before = Some(ended);
                }
                _ => return ended,
            }
        }
        host_error("a call was repeated without end")
    }

    /// A check that takes too long to hold a thread that others wait for. What nobody waits for any more goes on to its
    /// end, and holds its place until then.
    async fn long_check(&self, slot: &Slot, input: &ToolInput, tenant: &Arc<str>) -> Result<Vec<String>, Ended> {
        let places = self.acquire_check(slot, tenant).await;
        let places = places.map_err(|saturated| busy(saturated.to_string()))?;
        let (schema, input) = (slot.tool.schema.clone(), input.clone());
        let check = tokio::task::spawn_blocking(move || {
            let violations = schema.violations(input.value());
            drop(places);
            violations
        });
        check.await.map_err(|error| host_error(&error.to_string()))
    }

    /// Breaker, concurrency, one instance. The second value is `Some` where the tool was unavailable and a repetition
    /// may help: after the pause the tool asked for, if it did.
    async fn run_once(
        &self,
        slot: &Slot,
        input: &str,
        halt: Halt<'_>,
        cx: &ToolContext<'_>,
        spent: &mut Spent,
    ) -> (Ended, Option<Option<Duration>>) {
        let breaker = slot.breaker(cx.emitter.tenant());
        let permit = match breaker.try_acquire() {
            Ok((permit, transition)) => {
                report(cx.emitter, transition);
                permit
            }
            Err(rejected) => {
                let seconds = rejected.retry_after.as_secs_f64().ceil().max(1.0);
                let text = format!("The tool is temporarily unavailable. Try again in {seconds:.0} seconds.");
                return (Ended::error(Outcome::BreakerOpen, text), None);
            }
        };
        let waiting = Instant::now();
        let _places = match halt.bound(self.acquire(slot, cx.emitter.tenant())).await {
            Ok(Ok(places)) => places,
            Ok(Err(saturated)) => {
                permit.neutral();
                return (busy(saturated.to_string()), None);
            }
            Err(halted) => {
                permit.neutral();
                return (not_begun(halted, cx), None);
            }
        };
        let tool = &slot.tool;
        let queued = waiting.elapsed();
        let tenant = cx.emitter.tenant();
        let (called, usage) = tool.component.call(tenant, &tool.export, input, halt).await;
        spent.add(usage, tool.limits().log_bytes);
        let mut pause = None;
        let ended = match called {
            Ok(result) => match content::convert(result, tool.limits().output_bytes) {
                Ok(content) => Ended {
                    outcome: Outcome::Ok,
                    content,
                    detail: None,
                },
                Err(reason) => invalid_output(&reason),
            },
            Err(CallFailure::Unavailable { message, retry_after }) => {
                pause = Some(retry_after);
                Ended::error(Outcome::Unavailable, or(message, "The tool is unavailable."))
            }
            // A call that others cut short says nothing about the tool.
            Err(CallFailure::Timeout(_)) if Instant::now() >= cx.deadline => run_is_over(),
            Err(CallFailure::Timeout(limit)) if queued > tool.limits().timeout / 2 => {
                let text = "The host is busy and could not give the tool its time. Try again later.";
                Ended::error(Outcome::Overloaded, text)
                    .with_detail(format!("{limit}, of which {queued:?} in the queue"))
            }
            Err(failure) => failed(failure),
        };
        report(cx.emitter, settle(permit, ended.outcome));
        (ended, pause)
    }
}

fn settle(permit: Permit, outcome: Outcome) -> Option<Transition> {
    match outcome.health() {
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

fn invalid_output(reason: &str) -> Ended {
    Ended::error(
        Outcome::InvalidOutput,
        format!("The tool returned a result that cannot be used: {reason}."),
    )
}

fn failed(failure: CallFailure) -> Ended {
    let stopped = |outcome, limit: LimitHit| {
        Ended::error(outcome, format!("The tool was stopped at a limit: {limit}.")).with_detail(limit.to_string())
    };
    match failure {
        CallFailure::InvalidInput(message) => Ended::error(
            Outcome::InvalidInput,
            or(message, "The tool does not accept this input."),
        ),
        CallFailure::Unavailable { message, .. } => Ended::error(Outcome::Unavailable, message),
        CallFailure::Failed(message) => Ended::error(Outcome::Failed, or(message, "The tool failed.")),
        CallFailure::Timeout(limit) => stopped(Outcome::Timeout, limit),
        CallFailure::OutOfFuel(limit) => stopped(Outcome::OutOfFuel, limit),
        CallFailure::OutOfMemory(limit) => stopped(Outcome::OutOfMemory, limit),
        CallFailure::StackOverflow(limit) => stopped(Outcome::StackOverflow, limit),
        CallFailure::Trapped(detail) => Ended::error(Outcome::Trapped, "The tool crashed.").with_detail(detail),
        CallFailure::InvalidOutput(reason) => invalid_output(&reason),
        CallFailure::Overloaded(detail) => busy(detail),
        CallFailure::Cancelled => cancelled(),
        CallFailure::Host(detail) => host_error(&detail),
    }
}

fn cancelled() -> Ended {
    Ended::error(Outcome::Cancelled, "The run was cancelled.")
}

fn run_is_over() -> Ended {
    Ended::error(Outcome::Cancelled, "The run's time was over before the tool was done.")
        .with_detail("the run's deadline has passed")
}

/// For a call that was stopped while the tool was not running.
fn not_begun(halted: Halted, cx: &ToolContext<'_>) -> Ended {
    match halted {
        Halted::Cancelled => cancelled(),
        Halted::Deadline if Instant::now() >= cx.deadline => run_is_over(),
        Halted::Deadline => busy("the call's time was over before the tool could run".to_owned()),
    }
}

fn busy(detail: String) -> Ended {
    let text = "The host is busy and could not run the tool. Try again later.";
    Ended::error(Outcome::Overloaded, text).with_detail(detail)
}

/// The model gets an id to quote, the operator the id and the reason.
fn host_error(detail: &str) -> Ended {
    let id = uuid::Uuid::now_v7();
    Ended::error(Outcome::HostError, format!("Internal error {id}.")).with_detail(format!("{id}: {detail}"))
}

fn or(message: String, otherwise: &str) -> String {
    if message.trim().is_empty() {
        otherwise.to_owned()
    } else {
        message
    }
}

/// Puts the fallback in place, where there is one, and gathers the figures.
fn finish(call: ToolCall, tool: Option<&Tool>, ended: Ended, spent: Spent, duration: Duration) -> ToolResult {
    let Ended {
        outcome,
        mut content,
        detail,
    } = ended;
    let fallback = tool
        .and_then(|tool| tool.fallback.as_ref())
        .filter(|_| outcome.allows_fallback());
    let degraded = fallback.is_some();
    let details: Vec<String> = detail.into_iter().chain(spent.refused).collect();
    let mut replaced_output = None;
    if let Some(text) = fallback {
        replaced_output = Some(content::text_of(&content));
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
        tries: spent.tries,
        duration_ms: duration.as_secs_f64() * 1000.0,
        fuel: spent.fuel,
        peak_memory_bytes: spent.peak_memory,
        host_calls: spent.host_calls,
        http_requests: spent.http_requests,
        log_bytes_dropped: spent.log_bytes_dropped,
        detail: (!details.is_empty()).then(|| details.join("; ")),
        output: content::text_of(&content),
        replaced_output,
        log: spent.log,
    };
    ToolResult {
        call_id: call.id,
        outcome,
        degraded,
        is_error: outcome != Outcome::Ok && !degraded,
        content,
        finished,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::HttpUse;

    #[test]
    fn tries_add_up_and_stay_bounded() {
        let mut spent = Spent::default();
        for log in ["first ", "second ", "third"] {
            let usage = CallUse {
                fuel: 10,
                host_calls: 1,
                peak_memory: 7,
                log: log.to_owned(),
                http: HttpUse {
                    requests: 9,
                    refused: vec![log.to_owned(); 9],
                },
                ..CallUse::default()
            };
            spent.add(usage, 15);
        }
        assert_eq!(
            (
                spent.tries,
                spent.fuel,
                spent.host_calls,
                spent.peak_memory,
                spent.http_requests
            ),
            (3, 30, 3, 7, 27)
        );
        assert_eq!((spent.log.as_str(), spent.log_bytes_dropped), ("first second th", 3));
        assert_eq!(
            (spent.refused.len(), spent.refused[9].as_str()),
            (MAX_REFUSED, "second ")
        );
    }
}
