//! A streamed answer put together again: server-sent events in, one whole answer out.

use std::collections::BTreeMap;

use serde_json::Value;
use sse_stream::Sse;

use super::super::{ModelError, ModelResponse, Progress, StopReason};
use super::wire::{Finished, WireUsage, parse_error, to_block};

/// Takes events in order and knows when the answer is whole. Pure but for what it tells `progress`.
#[derive(Default)]
pub(super) struct Assembler {
    model: String,
    stop_reason: Option<StopReason>,
    blocks: BTreeMap<u64, Building>,
    usage: WireUsage,
    request_id: Option<String>,
}

struct Building {
    block: Value,
    /// The pieces of `input`, JSON text that can be read only as a whole.
    input: String,
}

/// What an event of the stream led to.
pub(super) enum Step {
    GoOn,
    /// `message_stop` came, the only sign that nothing is missing.
    Whole,
}

impl Assembler {
    pub(super) fn new(request_id: Option<String>) -> Self {
        Self {
            request_id,
            ..Self::default()
        }
    }

    /// Takes one event. Unknown events, deltas and blocks are no errors.
    pub(super) fn event(&mut self, event: &Sse, progress: &Progress<'_>) -> Result<Step, ModelError> {
        const KNOWN: [&str; 7] = [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
            "error",
        ];
        let name = event.event.as_deref();
        let (Some(data), true) = (&event.data, name.is_none_or(|name| KNOWN.contains(&name))) else {
            return Ok(Step::GoOn);
        };
        let data: Value = serde_json::from_str(data)
            .map_err(|error| self.malformed(format!("the data of an event is no JSON: {error}")))?;
        match data.get("type").and_then(Value::as_str).or(name) {
            Some("message_start") => self.message_start(&data, progress),
            Some("content_block_start") => self.block_start(&data, progress)?,
            Some("content_block_delta") => self.block_delta(&data, progress)?,
            Some("message_delta") => self.message_delta(&data, progress),
            Some("message_stop") => return Ok(Step::Whole),
            Some("error") => return Err(parse_error(&data, None, self.request_id.clone()).into()),
            _ => {}
        }
        Ok(Step::GoOn)
    }

    fn message_start(&mut self, data: &Value, progress: &Progress<'_>) {
        let message = &data["message"];
        if let Some(model) = message["model"].as_str() {
            model.clone_into(&mut self.model);
        }
        self.usage.update(&message["usage"]);
        progress.usage_so_far(self.usage.usage());
    }

    fn block_start(&mut self, data: &Value, progress: &Progress<'_>) -> Result<(), ModelError> {
        let index = self.index(data)?;
        let block = data["content_block"].clone();
        if block["type"] == "text" {
            progress.text(block["text"].as_str().unwrap_or_default());
        }
        self.blocks.insert(
            index,
            Building {
                block,
                input: String::new(),
            },
        );
        Ok(())
    }

    fn block_delta(&mut self, data: &Value, progress: &Progress<'_>) -> Result<(), ModelError> {
        let index = self.index(data)?;
        let delta = &data["delta"];
        let Some(Building { block, input }) = self.blocks.get_mut(&index) else {
            return Err(self.malformed(format!("a delta for block {index}, which never started")));
        };
        let piece = |name: &str| delta[name].as_str().unwrap_or_default();
        match delta["type"].as_str() {
            Some("text_delta") => {
                append(block, "text", piece("text"));
                progress.text(piece("text"));
                return Ok(());
            }
            Some("input_json_delta") => input.push_str(piece("partial_json")),
            Some("thinking_delta") => append(block, "thinking", piece("thinking")),
            Some("signature_delta") => append(block, "signature", piece("signature")),
            Some("citations_delta") => push(block, "citations", &delta["citation"]),
            _ => return Ok(()),
        }
        progress.token();
        Ok(())
    }

    fn message_delta(&mut self, data: &Value, progress: &Progress<'_>) {
        if let Some(reason) = data["delta"]["stop_reason"].as_str() {
            self.stop_reason = Some(StopReason::from_wire(reason));
        }
        self.usage.update_final(&data["usage"]);
        progress.usage_so_far(self.usage.usage());
    }

    /// The answer, once it is whole.
    pub(super) fn finish(self, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        if self.usage.is_known() {
            progress.final_usage(self.usage.usage());
        }
        // These stops cut the model off where it stood, which may be in the middle of a call's input.
        let was_cut_off = matches!(
            self.stop_reason,
            Some(StopReason::MaxTokens | StopReason::ContextWindowExceeded | StopReason::Refusal)
        );
        let mut content = Vec::with_capacity(self.blocks.len());
        for Building { mut block, input } in self.blocks.into_values() {
            if !input.is_empty() {
                match serde_json::from_str::<serde_json::Map<String, Value>>(&input) {
                    Ok(input) => set(&mut block, "input", input.into()),
                    // Truncated input is never executed, and half a call cannot be sent back either.
                    Err(_) if was_cut_off => continue,
                    Err(error) => {
                        let reason = format!("the input of a tool call is no JSON object: {error}");
                        return Err(ModelError::Malformed {
                            reason,
                            request_id: self.request_id,
                        });
                    }
                }
            }
            content.push(to_block(&block));
        }
        Finished {
            model: self.model,
            stop_reason: self.stop_reason,
            content,
            usage: self.usage.usage(),
            request_id: self.request_id,
        }
        .check()
    }

    fn index(&self, data: &Value) -> Result<u64, ModelError> {
        data["index"]
            .as_u64()
            .ok_or_else(|| self.malformed("an event of a block has no index".to_owned()))
    }

    fn malformed(&self, reason: String) -> ModelError {
        ModelError::Malformed {
            reason,
            request_id: self.request_id.clone(),
        }
    }
}

/// Adds to a text field of a block; a field of another type is none of ours.
fn append(block: &mut Value, field: &str, piece: &str) {
    let Some(block) = block.as_object_mut() else { return };
    if let Value::String(text) = block.entry(field).or_insert_with(|| Value::String(String::new())) {
        text.push_str(piece);
    }
}

/// Adds to a list field of a block, which may start as `null`.
fn push(block: &mut Value, field: &str, item: &Value) {
    let Some(block) = block.as_object_mut() else { return };
    let list = block.entry(field).or_insert(Value::Null);
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    if let Value::Array(items) = list {
        items.push(item.clone());
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
