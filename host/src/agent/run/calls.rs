//! The calls of one answer: decided about, made side by side, and written down.

use std::time::Duration;

use futures_util::future::{Fuse, FusedFuture, FutureExt};
use futures_util::stream::FusedStream;
use futures_util::{Stream, StreamExt, select_biased, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::{Admitted, Ended, Run};
use crate::agent::agent::Agent;
use crate::agent::approval::{Answered, Gated, ask, awaiting};
use crate::agent::explain::repeated_call;
use crate::agent::journal::model_error;
use crate::agent::tool_result::content_for_model;
use crate::events::{Ending, ToolCallFinished};
use crate::fault::{self, Point};
use crate::model::ModelError;
use crate::session::{CallFate, CallState, CallUsage, Fact, OpenCall, StoredContent};
use crate::telemetry::Emitter;
use crate::telemetry::redact::scrub;
use crate::tools::{AdmittedCall, ToolCall, ToolContext, ToolResult};

/// How long calls without effects may run before what happened before them is written beside them.
const PAUSE: Duration = Duration::from_millis(1);

/// What a session keeps of the reason why a call failed, in bytes.
const MAX_REASON_BYTES: usize = 2_000;

impl Run<'_> {
    /// Runs a turn's calls and adds their results. Returns an ending if the run must end.
    pub(super) async fn run_tools(&mut self) -> Option<Ended> {
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
        for event in gated.iter_mut().filter_map(|gated| gated.event.take()) {
            self.emitter.emit(event);
        }
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
