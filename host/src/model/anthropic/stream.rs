//! Assembles a streamed answer: server-sent events in, one complete answer out.

use std::collections::BTreeMap;

use serde_json::Value;
use sse_stream::Sse;

use super::response::{CompleteAnswer, KnownUsage, api_error};
use crate::messages_api::{Delta, StreamEvent};
use crate::model::{ModelError, ModelResponse, Progress, StopReason};

/// Takes events in order and detects when the answer is complete. Its only side effects are its reports to `progress`.
#[derive(Default)]
pub(super) struct Assembler {
    model: String,
    stop_reason: Option<StopReason>,
    blocks: BTreeMap<u64, Building>,
    usage: KnownUsage,
    request_id: Option<String>,
}

struct Building {
    block: Value,
    /// The fragments of `input` so far, JSON text that only parses once complete.
    input: String,
}

/// What follows an event of the stream.
pub(super) enum Step {
    Continue,
    /// `message_stop` arrived, the only proof that nothing is missing.
    Complete,
}

impl Assembler {
    pub(super) fn new(request_id: Option<String>) -> Self {
        Self {
            request_id,
            ..Self::default()
        }
    }

    /// Takes one event. Unknown events, deltas and blocks aren't errors.
    pub(super) fn event(&mut self, event: &Sse, progress: &Progress<'_>) -> Result<Step, ModelError> {
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
                if content_block["type"] == "text" {
                    progress.text(content_block["text"].as_str().unwrap_or_default());
                }
                let building = Building {
                    block: content_block,
                    input: String::new(),
                };
                self.blocks.insert(index, building);
            }
            Some(StreamEvent::ContentBlockDelta { index, delta }) => self.block_delta(index, delta, progress)?,
            Some(StreamEvent::MessageDelta { delta, usage }) => {
                if let Some(reason) = delta.stop_reason {
                    self.stop_reason = Some(StopReason::from_wire(&reason));
                }
                self.usage.update_final(&usage.unwrap_or_default());
                progress.usage_so_far(self.usage.usage());
            }
            Some(StreamEvent::MessageStop) => return Ok(Step::Complete),
            Some(StreamEvent::Error(error)) => return Err(api_error(error, None, self.request_id.clone()).into()),
            Some(StreamEvent::ContentBlockStop { .. } | StreamEvent::Ping | StreamEvent::Unknown(_)) | None => {}
        }
        Ok(Step::Continue)
    }

    fn block_delta(&mut self, index: u64, delta: Delta, progress: &Progress<'_>) -> Result<(), ModelError> {
        let Some(Building { block, input }) = self.blocks.get_mut(&index) else {
            return Err(self.malformed(format!("a delta for block {index}, which never started")));
        };
        match delta {
            Delta::Text { text } => {
                append(block, "text", &text);
                progress.text(&text);
                return Ok(());
            }
            Delta::InputJson { partial_json } => input.push_str(&partial_json),
            Delta::Thinking { thinking } => append(block, "thinking", &thinking),
            Delta::Signature { signature } => append(block, "signature", &signature),
            Delta::Citations { citation } => push(block, "citations", citation),
            Delta::Unknown(_) => return Ok(()),
        }
        progress.token();
        Ok(())
    }

    /// The answer, once it is complete.
    pub(super) fn finish(self, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        if self.usage.is_known() {
            progress.final_usage(self.usage.usage());
        }
        // These stop reasons cut the model off, possibly in the middle of a tool call's input.
        let was_cut_off = matches!(
            self.stop_reason,
            Some(StopReason::MaxTokens | StopReason::ContextWindowExceeded | StopReason::Refusal)
        );
        let mut content = Vec::with_capacity(self.blocks.len());
        for Building { mut block, input } in self.blocks.into_values() {
            if !input.is_empty() {
                match serde_json::from_str::<serde_json::Map<String, Value>>(&input) {
                    Ok(input) => set(&mut block, "input", input.into()),
                    // Truncated input is never executed, and an incomplete call can't be sent back either.
                    Err(_) if was_cut_off => continue,
                    Err(error) => {
                        let reason = format!("the input of a tool call isn't a JSON object: {error}");
                        return Err(ModelError::Malformed {
                            reason,
                            request_id: self.request_id,
                        });
                    }
                }
            }
            content.push(block);
        }
        CompleteAnswer {
            model: self.model,
            stop_reason: self.stop_reason,
            content,
            usage: self.usage.usage(),
            request_id: self.request_id,
        }
        .check()
    }

    fn malformed(&self, reason: String) -> ModelError {
        ModelError::Malformed {
            reason,
            request_id: self.request_id.clone(),
        }
    }
}

/// Appends to a text field of a block. Leaves a field of another type alone.
fn append(block: &mut Value, field: &str, piece: &str) {
    let Some(block) = block.as_object_mut() else { return };
    if let Value::String(text) = block.entry(field).or_insert_with(|| Value::String(String::new())) {
        text.push_str(piece);
    }
}

/// Adds to a list field of a block, which may start as `null`.
fn push(block: &mut Value, field: &str, item: Value) {
    let Some(block) = block.as_object_mut() else { return };
    let list = block.entry(field).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(items) = list {
        items.push(item);
    }
}

fn set(block: &mut Value, field: &str, value: Value) {
    if let Some(block) = block.as_object_mut() {
        block.insert(field.to_owned(), value);
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
