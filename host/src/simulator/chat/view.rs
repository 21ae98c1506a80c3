//! A request of this API in the form of the Messages API, so that conditions and placeholders of a script read both alike.

use serde_json::{Value, json};

use crate::chat_api::{ASSISTANT, TOOL};
use crate::messages_api::USER;

/// Whether a stream reports its usage.
pub(in crate::simulator) fn includes_usage(request: &Value) -> bool {
    request["stream_options"]["include_usage"] == true
}

/// What the script reads of a request.
pub(in crate::simulator) fn as_messages(request: &Value) -> Value {
    let mut messages: Vec<Value> = Vec::new();
    for message in request["messages"].as_array().into_iter().flatten() {
        let (role, content) = match message["role"].as_str() {
            Some(ASSISTANT) => (ASSISTANT, answer(message)),
            Some(TOOL) => (USER, vec![result(message)]),
            Some(USER) => (USER, texts(&message["content"])),
            _ => continue,
        };
        match messages.last_mut() {
            // Results and what follows them are one message there.
            Some(last) if last["role"] == role => {
                if let Some(blocks) = last["content"].as_array_mut() {
                    blocks.extend(content);
                }
            }
            _ => messages.push(json!({ "role": role, "content": content })),
        }
    }
    let max_tokens = ["max_completion_tokens", "max_tokens"]
        .iter()
        .find_map(|name| request.get(*name));
    json!({
        "model": request["model"],
        "stream": request["stream"],
        "max_tokens": max_tokens,
        "messages": messages,
    })
}

fn answer(message: &Value) -> Vec<Value> {
    let mut blocks = texts(&message["content"]);
    blocks.extend(
        message["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|call| json!({ "type": "tool_use", "id": call["id"], "name": call["function"]["name"] })),
    );
    blocks
}

fn result(message: &Value) -> Value {
    json!({ "type": "tool_result", "tool_use_id": message["tool_call_id"], "content": texts(&message["content"]) })
}

/// The texts of a content, which is a string or a list of parts.
fn texts(content: &Value) -> Vec<Value> {
    let block = |text: &str| json!({ "type": "text", "text": text });
    match content {
        Value::String(text) => vec![block(text)],
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .map(block)
            .collect(),
        _ => Vec::new(),
    }
}
