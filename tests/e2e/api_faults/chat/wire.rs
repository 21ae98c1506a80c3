//! Answers of the Chat Completions API as bytes.

use cofferdam::config::Config;
use serde_json::{Value, json};

use super::super::wire::{ANSWER, REPORTED, WORDS, http, streamed};

pub(super) const JSON: &str = "content-type: application/json\r\n";

/// The end of a stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";

/// An error as OpenAI has it.
pub(super) fn error(status: u16, headers: &str, kind: &str, code: &Value) -> Vec<u8> {
    let error = json!({ "message": WORDS, "type": kind, "param": null, "code": code });
    let headers = format!("{JSON}x-request-id: req_1\r\n{headers}");
    http(status, &headers, json!({ "error": error }).to_string())
}

pub(super) fn plain_error(status: u16, headers: &str) -> Vec<u8> {
    let kind = if status < 500 {
        "invalid_request_error"
    } else {
        "server_error"
    };
    error(status, headers, kind, &Value::Null)
}

pub(super) fn data(value: &Value) -> String {
    format!("data: {value}\n\n")
}

/// A chunk that adds to the answer.
pub(super) fn delta(delta: &Value) -> String {
    chunk(delta, &Value::Null)
}

pub(super) fn chunk(delta: &Value, finish_reason: &Value) -> String {
    data(&json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "claude-sonnet-5-5",
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish_reason }],
    }))
}

pub(super) fn start() -> String {
    delta(&json!({ "role": "assistant", "content": "" }))
}

pub(super) fn text(text: &str) -> String {
    delta(&json!({ "content": text }))
}

pub(super) fn figures() -> Value {
    let (prompt, completion) = REPORTED;
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion })
}

pub(super) fn finish(reason: &str) -> String {
    chunk(&json!({}), &json!(reason))
}

/// Has answers be as long as they may be.
pub(super) fn as_long_as_reported(config: &mut Config) {
    config.model.max_tokens = u32::try_from(REPORTED.1).unwrap();
}

/// The chunks at the end of an answer.
pub(super) fn end(reason: &str) -> String {
    finish(reason) + &data(&json!({ "choices": [], "usage": figures() })) + DONE
}

pub(super) fn good_events() -> String {
    start() + &text(ANSWER) + &end("stop")
}

/// A good answer.
pub(in crate::api_faults) fn good() -> Vec<u8> {
    streamed(good_events())
}

pub(super) fn whole(message: &Value, finish_reason: &str) -> Vec<u8> {
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason });
    http(
        200,
        JSON,
        json!({ "object": "chat.completion", "choices": [choice], "usage": figures() }).to_string(),
    )
}
