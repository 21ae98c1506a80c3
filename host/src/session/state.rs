//! What a session's facts add up to.

use std::time::Duration;

use jiff::Timestamp;

use super::content::{StoredBlock, StoredContent, StoredTool};
use super::conversation::Conversation;
use super::fact::{CallFate, Fact, ToolMark, TrimKind};
use super::known_tools::{KnownTools, is_mostly_outdated};
use super::repetition::{self, Repetition, Seen, WARNING};
use crate::events::{Ending, Outcome};
use crate::transcript::{Attachment, Block, Content, ToolInput, ToolResult, ToolUse, is_blank};

/// What the model reads of a call that was begun and has no known end.
const MAY_HAVE_HAPPENED: &str = "The host stopped while this call was being made, so it isn't known whether it took effect. It was not made again. Find out before you repeat it.";

/// What the model reads of a call that was begun, has no known end, and can be made twice.
const WITHOUT_RESULT: &str =
    "The run ended while this call was being made, so its result isn't known. It can be made again.";

/// What the model reads of a call that was not begun.
pub(super) const NOT_MADE: &str = "The call was not made: the run ended before it.";

/// A session at one moment.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) conversation: Conversation,
    /// The run that has not ended.
    pub(crate) run: Option<OpenRun>,
    /// The prompt of the last run and what was attached to it, if the run ended without an answer: the conversation goes on without it.
    dropped: Option<Dropped>,
    /// What the next prompt begins with.
    draft: Option<Draft>,
    /// How the last run ended.
    pub(crate) last: Option<Ending>,
    /// The model and the tools as the session last knew them.
    pub(crate) model: Option<String>,
    pub(crate) system_sha256: Option<String>,
    pub(crate) tools: Vec<ToolMark>,
    /// The definitions that models were given and requests carry, the first ones first. Empty if no request announces how they change.
    pub(crate) known_tools: Vec<KnownTools>,
    /// Tools that a person approved for the whole session, with the digests of their components.
    always: Vec<(String, String)>,
    /// The reservation of the last attempt, if it brought no answer.
    pub(crate) unanswered_attempt: Option<String>,
    /// When the last fact happened, if it was read back.
    at: Option<Timestamp>,
}

/// A prompt that has to wait for the run before it, or files that are still attached to the last prompt.
#[derive(Debug)]
struct Draft {
    text: Option<String>,
    attachments: Vec<Attachment>,
}

/// A prompt that is no part of the conversation, because its run ended without an answer.
#[derive(Debug)]
struct Dropped {
    prompt: String,
    schema: Option<String>,
    attachments: Vec<Attachment>,
}

/// A run that has not ended.
#[derive(Debug, Default)]
pub(crate) struct OpenRun {
    pub(crate) prompt: String,
    /// The JSON Schema that the answer must match.
    pub(crate) schema: Option<String>,
    /// How often the model was asked to correct its answer.
    pub(crate) corrections: u32,
    /// Answers of the model.
    pub(crate) iterations: u32,
    /// Calls whose results the model can read.
    pub(crate) tool_calls: u32,
    pub(crate) before: Before,
    /// The model's text so far.
    pub(crate) answer: String,
    pub(crate) degraded: bool,
    /// The tool that was called too often in the same way.
    pub(crate) repeated: Option<String>,
    /// The calls of the last answer, until all have ended.
    pub(crate) calls: Vec<OpenCall>,
    /// How long the run took, without the time in which nobody drove it. Known only if it was read back.
    pub(crate) spent: Duration,
    repetition: Repetition,
}

/// The answers before the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// Consecutive `pause_turn` and `compaction` answers.
    pub(crate) pauses: u32,
    /// Whether the paused answer that the next one continues has text.
    pub(crate) has_text: bool,
    /// Whether the last answer was empty.
    pub(crate) was_empty: bool,
}

/// A call of the last answer.
#[derive(Debug)]
pub(crate) struct OpenCall {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: ToolInput,
    pub(crate) state: CallState,
    /// What a person was asked about it last.
    pub(crate) approval: Option<OpenApproval>,
}

/// What a person was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenApproval {
    pub(crate) id: String,
    /// The id that the model gave the call.
    pub(crate) call_id: String,
    pub(crate) tool: String,
    pub(crate) plugin: String,
    pub(crate) digest: String,
    pub(crate) input_sha256: String,
    pub(crate) grants: Vec<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pending,
    Approved,
    Denied { reason: Option<String> },
    Expired,
}

#[derive(Debug)]
pub(crate) enum CallState {
    /// Nothing happened yet.
    Waiting,
    /// It may have begun.
    Admitted {
        repeatable: bool,
    },
    Ended(CallFate),
}

impl State {
    /// What the facts of a journal add up to.
    pub(crate) fn fold<'a>(facts: impl IntoIterator<Item = (Timestamp, &'a Fact)>) -> Self {
        let mut state = Self::default();
        for (at, fact) in facts {
            // While nobody drove the session, or while a person was asked, its run took no time.
            let is_draft = matches!(fact, Fact::Drafted { .. });
            let is_idle = is_draft || matches!(fact, Fact::Reopened { .. }) || state.waits_for_approval();
            let before = state.at.replace(at).filter(|_| !is_idle);
            if let (Some(before), Some(run)) = (before, &mut state.run) {
                let passed = at.duration_since(before);
                run.spent = run.spent.saturating_add(passed.try_into().unwrap_or_default());
            }
            state.apply(fact);
            if is_draft {
                state.at = None;
            }
        }
        state
    }

    /// Takes one more fact into account.
    pub(crate) fn apply(&mut self, fact: &Fact) {
        match fact {
            Fact::Opened {
                model,
                system_sha256,
                tools,
                definitions,
            } => {
                self.model = Some(model.clone());
                self.system_sha256 = Some(system_sha256.clone());
                self.tools.clone_from(tools);
                if let Some(tools) = definitions {
                    self.know_tools(tools);
                }
            }
            Fact::Prompted {
                text,
                attachments,
                schema,
            } => {
                let attachments = attachments.iter().map(Attachment::from).collect();
                self.conversation.push_prompt(text, attachments);
                self.dropped = None;
                self.draft = None;
                self.run = Some(OpenRun {
                    prompt: text.clone(),
                    schema: schema.clone(),
                    ..OpenRun::default()
                });
            }
            Fact::Drafted { text, attachments } => {
                let before = self.draft.take().and_then(|draft| draft.text);
                self.draft = Some(Draft {
                    text: text.clone().or(before),
                    attachments: attachments.iter().map(Attachment::from).collect(),
                });
            }
            Fact::Answered {
                stop_reason, content, ..
            } => {
                self.unanswered_attempt = None;
                self.answered(stop_reason, content);
            }
            Fact::AskedAgain {} => self.conversation.push_note_on_empty_answer(),
            Fact::Corrected { text } => {
                self.conversation.push_correction(text);
                if let Some(run) = &mut self.run {
                    run.corrections += 1;
                }
            }
            Fact::CallAdmitted {
                position, repeatable, ..
            } => {
                if let Some(call) = self.open_call(*position) {
                    call.state = CallState::Admitted {
                        repeatable: *repeatable,
                    };
                }
            }
            Fact::CallNotBegun { position, .. } => {
                if let Some(call) = self.open_call(*position) {
                    call.state = CallState::Waiting;
                }
            }
            Fact::ApprovalRequested {
                approval,
                position,
                id,
                tool,
                plugin,
                digest,
                input_sha256,
                grants,
                expires_at,
            } => {
                if let Some(call) = self.open_call(*position) {
                    call.approval = Some(OpenApproval {
                        id: approval.clone(),
                        call_id: id.clone(),
                        tool: tool.clone(),
                        plugin: plugin.clone(),
                        digest: digest.clone(),
                        input_sha256: input_sha256.clone(),
                        grants: grants.clone(),
                        expires_at: *expires_at,
                        verdict: Verdict::Pending,
                    });
                }
            }
            Fact::ApprovalDecided {
                approval,
                position,
                approved,
                for_session,
                reason,
            } => {
                let Some(asked) = self.asked(*position, approval) else {
                    return;
                };
                asked.verdict = match approved {
                    true => Verdict::Approved,
                    false => Verdict::Denied { reason: reason.clone() },
                };
                let tool = (asked.tool.clone(), asked.digest.clone());
                if *approved && *for_session && !self.always.contains(&tool) {
                    self.always.push(tool);
                }
            }
            Fact::ApprovalExpired { approval, position } => {
                if let Some(asked) = self.asked(*position, approval) {
                    asked.verdict = Verdict::Expired;
                }
            }
            Fact::CallEnded(fate) => {
                if let Some(call) = self.open_call(fate.position) {
                    call.state = CallState::Ended(fate.clone());
                }
                self.end_turn();
            }
            Fact::Trimmed { what, .. } => {
                match what {
                    TrimKind::Results => self.conversation.trim(),
                    TrimKind::VendorBlocks => self.conversation.drop_vendor_blocks(),
                    TrimKind::Images => self.conversation.drop_images(),
                };
            }
            Fact::RunEnded { outcome, .. } => {
                // The model would refuse every later request that contains this turn.
                let is_refused = *outcome == Ending::Refused;
                let refused = is_refused.then(|| self.conversation.remove_turn()).flatten();
                self.answer_open_calls();
                // An unanswered prompt would be sent again with the next one, and could make it fail the same way.
                let unanswered = self.conversation.remove_unanswered_prompt();
                let messages = self.conversation.messages().len();
                for known in &mut self.known_tools {
                    known.messages = known.messages.min(messages);
                }
                let run = self.run.take();
                self.dropped = run.zip(refused.or(unanswered)).map(|(run, attachments)| Dropped {
                    prompt: run.prompt,
                    schema: run.schema,
                    attachments,
                });
                self.last = Some(*outcome);
            }
            Fact::CrowdedOut { .. } => {
                self.conversation.take_crowded_out();
            }
            Fact::AttemptStarted { reservation, .. } => self.unanswered_attempt.clone_from(reservation),
            Fact::LeftOut { .. } | Fact::AttemptEnded { .. } | Fact::Reopened { .. } | Fact::Unknown => {}
        }
    }

    fn know_tools(&mut self, tools: &[StoredTool]) {
        let messages = self.conversation.messages().len();
        if messages == 0 {
            // No model has read others.
            self.known_tools.clear();
        }
        if self.known_tools.last().is_none_or(|known| known.tools != tools) {
            self.known_tools.push(KnownTools {
                messages,
                tools: tools.to_vec(),
            });
        }
        if is_mostly_outdated(&self.known_tools) {
            self.known_tools.drain(..self.known_tools.len() - 1);
        }
    }

    /// The last prompt and what is attached to it, if no answer of the model belongs to it.
    pub(crate) fn unanswered(&self) -> Option<(&str, Vec<&Attachment>)> {
        let last = match &self.run {
            Some(run) => {
                let is_last = self.conversation.ends_with_prompt();
                is_last.then(|| (run.prompt.as_str(), self.conversation.last_attachments().collect()))
            }
            None => self
                .dropped
                .as_ref()
                .map(|dropped| (dropped.prompt.as_str(), dropped.attachments.iter().collect())),
        };
        match &self.draft {
            Some(draft) => {
                let prompt = self.drafted().or(last.map(|(prompt, _)| prompt))?;
                Some((prompt, draft.attachments.iter().collect()))
            }
            None => last,
        }
    }

    /// The JSON Schema that the answer to [`Self::unanswered`] must match, if its run has ended.
    pub(crate) fn unanswered_schema(&self) -> Option<&str> {
        let dropped = self.dropped.as_ref().filter(|_| self.drafted().is_none())?;
        dropped.schema.as_deref()
    }

    /// The last prompt, if it has to wait for the run before it.
    pub(crate) fn drafted(&self) -> Option<&str> {
        self.draft.as_ref()?.text.as_deref()
    }

    fn open_call(&mut self, position: u32) -> Option<&mut OpenCall> {
        let calls = &mut self.run.as_mut()?.calls;
        let call = calls.get_mut(usize::try_from(position).ok()?)?;
        (!matches!(call.state, CallState::Ended(_))).then_some(call)
    }

    fn asked(&mut self, position: u32, approval: &str) -> Option<&mut OpenApproval> {
        let asked = self.open_call(position)?.approval.as_mut();
        asked.filter(|asked| asked.id == approval)
    }

    /// The approvals that no call has used, by the positions of their calls.
    pub(crate) fn unused_approvals(&self) -> impl Iterator<Item = (u32, &OpenApproval)> {
        let calls = self.run.iter().flat_map(|run| (0..).zip(&run.calls));
        let waiting = calls.filter(|(_, call)| matches!(call.state, CallState::Waiting));
        let asked = waiting.filter_map(|(position, call)| Some((position, call.approval.as_ref()?)));
        asked.filter(|(_, asked)| matches!(asked.verdict, Verdict::Pending | Verdict::Approved))
    }

    fn waits_for_approval(&self) -> bool {
        self.unused_approvals()
            .any(|(_, asked)| asked.verdict == Verdict::Pending)
    }

    /// Whether a person approved the tool for the whole session.
    pub(crate) fn is_always_approved(&self, tool: &str, digest: &str) -> bool {
        self.always.iter().any(|(name, of)| name == tool && of == digest)
    }

    fn answered(&mut self, stop_reason: &str, content: &[StoredBlock]) {
        let Some(run) = &mut self.run else { return };
        let blocks: Vec<Block> = content.iter().map(StoredBlock::block).collect();
        run.iterations += 1;
        // A paused answer continues in the next one. Otherwise the new text replaces the old.
        if run.before.pauses == 0 {
            run.answer.clear();
        }
        for block in &blocks {
            if let Block::Text { text, .. } = block {
                run.answer.push_str(text);
            }
        }
        run.calls = blocks.iter().filter_map(OpenCall::of).collect();
        let was_empty = is_empty_answer(stop_reason, &blocks);
        let is_paused = ["pause_turn", "compaction"].contains(&stop_reason);
        run.before = Before {
            pauses: if is_paused { run.before.pauses + 1 } else { 0 },
            has_text: is_paused && !is_blank(&run.answer),
            was_empty,
        };
        if !was_empty {
            self.conversation.push_answer(blocks);
        }
    }

    /// Tells the model what is known of calls that the end of their run cut short. If none of them began, the next prompt says so.
    fn answer_open_calls(&mut self) {
        let Some(run) = &mut self.run else { return };
        let has_begun = |call: &OpenCall| !matches!(call.state, CallState::Waiting);
        if !run.calls.iter().any(has_begun) {
            return;
        }
        for (position, call) in (0..).zip(&mut run.calls) {
            let text = match call.state {
                CallState::Ended(_) => continue,
                CallState::Admitted { repeatable: false } => MAY_HAVE_HAPPENED,
                CallState::Admitted { repeatable: true } => WITHOUT_RESULT,
                CallState::Waiting => NOT_MADE,
            };
            call.state = CallState::Ended(call.unmade(position, text));
        }
        self.end_turn();
    }

    /// Gives the model the results of a turn, once there is one for each call.
    fn end_turn(&mut self) {
        let Some(run) = &mut self.run else { return };
        let has_ended = |call: &OpenCall| matches!(call.state, CallState::Ended(_));
        if run.calls.is_empty() || !run.calls.iter().all(has_ended) {
            return;
        }
        let calls = std::mem::take(&mut run.calls);
        run.tool_calls = run
            .tool_calls
            .saturating_add(u32::try_from(calls.len()).unwrap_or(u32::MAX));
        let ended = calls.into_iter().filter_map(|call| match call.state {
            CallState::Ended(fate) => {
                let content: Vec<Content> = fate.content.iter().map(Content::from).collect();
                let seen = Seen {
                    tool: fate.tool,
                    input: call.input,
                    outcome: fate.outcome,
                    // Successes are the same only if their content is, so that a model can poll for a change.
                    content: (fate.outcome == Outcome::Ok).then(|| content.clone()),
                };
                run.degraded |= fate.degraded;
                Some((seen, call.id, content, fate.is_error))
            }
            _ => None,
        });
        let (seen, results): (Vec<Seen>, Vec<_>) = ended
            .map(|(seen, id, content, is_error)| (seen, (id, content, is_error)))
            .unzip();
        let names: Vec<String> = seen.iter().map(|seen| seen.tool.clone()).collect();
        let verdicts = run.repetition.observe(seen);
        let stopped = verdicts
            .iter()
            .position(|verdict| *verdict == repetition::Verdict::Stop);
        run.repeated = stopped.map(|position| names[position].clone());
        let results = results.into_iter().zip(verdicts);
        let results = results.map(|((tool_use_id, mut content, is_error), verdict)| {
            if verdict == repetition::Verdict::Warn {
                content.push(Content::text(WARNING));
            }
            ToolResult {
                tool_use_id,
                content,
                is_error,
            }
        });
        self.conversation.push_results(results.collect());
    }
}

/// Whether an answer that claims to be whole has neither text nor calls.
pub(crate) fn is_empty_answer(stop_reason: &str, content: &[Block]) -> bool {
    let says_something = |block: &Block| match block {
        Block::Text { text, .. } => !is_blank(text),
        Block::ToolUse(_) => true,
        Block::ToolResult(_) | Block::Attachment(_) | Block::Opaque(_) => false,
    };
    matches!(stop_reason, "end_turn" | "stop_sequence") && !content.iter().any(says_something)
}

impl OpenCall {
    /// The fate of a call that the host gives no result.
    fn unmade(&self, position: u32, text: &str) -> CallFate {
        CallFate {
            position,
            id: self.id.clone(),
            tool: self.name.clone(),
            outcome: Outcome::HostError,
            content: vec![StoredContent::Text { text: text.to_owned() }],
            is_error: true,
            degraded: false,
            reason: None,
            approval: self.approval.as_ref().map(|asked| asked.id.clone()),
            used: None,
        }
    }

    /// The fate of a call that another process began, and that may not be made again.
    pub(crate) fn unknown(&self, position: u32) -> CallFate {
        self.unmade(position, MAY_HAVE_HAPPENED)
    }

    fn of(block: &Block) -> Option<Self> {
        match block {
            Block::ToolUse(ToolUse { id, name, input, .. }) => Some(Self {
                id: id.clone(),
                name: name.clone(),
                input: input.clone(),
                state: CallState::Waiting,
                approval: None,
            }),
            _ => None,
        }
    }
}
