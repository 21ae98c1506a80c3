//! Assembles a streamed answer: server-sent events in, one complete answer out.

use std::collections::HashMap;

use sse_stream::Sse;

use super::building::{Building, Taken};
use super::response::{KnownUsage, parse_response};
use crate::json_text::{Json, unescape};
use crate::messages_api::{Delta, StreamEvent};
use crate::model::answer::{CompleteAnswer, may_cut_off};
use crate::model::exchange::{Reader, Step};
use crate::model::{ApiError, ModelError, ModelResponse, Progress, RefusalDetails, StopReason};

/// Takes events in order and detects when the answer is complete. Its only side effects are its reports to `progress`.
#[derive(Default)]
pub(super) struct Assembler {
    model: String,
    stop_reason: Option<StopReason>,
    refusal: Option<RefusalDetails>,
    /// In order of arrival.
    blocks: Vec<Building>,
    /// Where the newest block of an index is. Some gateways give several blocks the same index, and all of them are kept.
    newest: HashMap<u64, usize>,
    usage: KnownUsage,
    /// `message_stop` arrived, the only proof that nothing is missing.
    has_stopped: bool,
    request_id: Option<String>,
}

impl Reader for Assembler {
    fn new(request_id: Option<String>) -> Self {
        Self {
            request_id,
            ..Self::default()
        }
    }

    /// Takes one event. Unknown events, deltas and blocks aren't errors.
    fn event(&mut self, event: &Sse, progress: &Progress<'_>) -> Result<Step, ModelError> {
        let Some(data) = &event.data else {
            return Ok(Step::Continue);
        };
        let event =
            StreamEvent::read(event.event.as_deref(), data).map_err(|error| self.malformed(error.to_string()))?;
        match event {
            Some(StreamEvent::MessageStart { message }) => {
                if !message.model.is_empty() {
                    self.model = message.model;
                }
                self.usage.update(&message.usage.unwrap_or_default());
                progress.usage_so_far(self.usage.usage());
            }
            Some(StreamEvent::ContentBlockStart { index, content_block }) => {
                self.block_start(index, content_block, progress);
            }
            Some(StreamEvent::ContentBlockDelta { index, delta }) => self.block_delta(index, delta, progress)?,
            Some(StreamEvent::MessageDelta { delta, usage }) => {
                if let Some(reason) = delta.stop_reason {
                    self.stop_reason = Some(StopReason::from_wire(&reason));
                }
                if let Some(details) = delta.stop_details {
                    self.refusal = Some(details.into());
                }
                self.usage.update_final(&usage.unwrap_or_default());
                progress.usage_so_far(self.usage.usage());
            }
            Some(StreamEvent::MessageStop) => {
                self.has_stopped = true;
                return Ok(Step::Complete);
            }
            Some(StreamEvent::Error(error)) => return Err(ApiError::read(error, None, self.request_id.clone()).into()),
            // Nothing else has begun, so the server speaks another API, and would again.
            None if self.model.is_empty() && has_choices(data) => {
                return Err(self.malformed("it is an answer of the Chat Completions API".to_owned()));
            }
            None => {}
        }
        Ok(Step::Continue)
    }

    fn missing(&self) -> Option<&'static str> {
        (!self.has_stopped).then_some("`message_stop`")
    }

    fn finish(mut self, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        if self.usage.is_known() {
            progress.final_usage(self.usage.usage());
            progress.billed_in_parts(self.usage.parts());
        }
        if self.stop_reason.as_ref().is_some_and(may_cut_off) {
            self.blocks.retain(|block| !block.has_broken_input());
        }
        CompleteAnswer {
            model: self.model,
            stop_reason: self.stop_reason,
            refusal: self.refusal,
            content: self.blocks.iter().map(Building::finish).collect(),
            usage: self.usage.usage(),
            request_id: self.request_id,
        }
        .check()
    }

    fn whole(body: &[u8], request_id: Option<String>, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        let (usage, response) = parse_response(body, request_id);
        usage.report(progress);
        response
    }
}

/// Whether an event is a chunk of the Chat Completions API.
fn has_choices(data: &str) -> bool {
    Json::parse(data).is_ok_and(|data| data.field("choices").is_some_and(|choices| choices.items().is_some()))
}

impl Assembler {
    fn block_start(&mut self, index: u64, start: Json<'_>, progress: &Progress<'_>) {
        let block = Building::new(start);
        match start.field("type").and_then(Json::string).as_deref() {
            Some("text") => progress.text(&block.initial_text()),
            Some("tool_use") => progress.output(start.text().len()),
            // Thinking is shown in part or not at all, and of other kinds nothing is known.
            _ => progress.hidden_output(),
        }
        self.newest.insert(index, self.blocks.len());
        self.blocks.push(block);
    }

    fn block_delta(&mut self, index: u64, delta: Delta<'_>, progress: &Progress<'_>) -> Result<(), ModelError> {
        let block = self.newest.get(&index).and_then(|at| self.blocks.get_mut(*at));
        let Some(block) = block else {
            return Err(self.malformed(format!("a delta for block {index}, which never started")));
        };
        match (block.take(delta), delta) {
            (Taken::Text, Delta::Text(text)) => progress.text(&unescape(text)),
            (Taken::Part, Delta::InputJson(fragment)) => {
                progress.output(fragment.len());
                progress.token();
            }
            (Taken::Text | Taken::Part, _) => progress.token(),
            (Taken::Ignored, _) => {}
            (Taken::Misplaced, delta) => {
                let what = match delta {
                    Delta::InputJson(_) => "the input of a tool",
                    _ => "text",
                };
                let kind = block.kind();
                return Err(self.malformed(format!("{what} for block {index}, which is of type `{kind}`")));
            }
        }
        Ok(())
    }

    fn malformed(&self, reason: String) -> ModelError {
        ModelError::Malformed {
            reason,
            request_id: self.request_id.clone(),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
