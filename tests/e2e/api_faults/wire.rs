//! Answers as bytes.

use serde_json::{Value, json};

/// What the answers of these tests report: the tokens of the prompt, and those of the answer.
pub(super) const REPORTED: (u64, u64) = (25, 5);

/// An answer with these header lines, each ended by CR LF, that closes its connection.
pub(super) fn http(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// An error in the API's form.
pub(super) fn error(status: u16, headers: &str, error: &Value) -> Vec<u8> {
    let body = json!({ "type": "error", "error": error, "request_id": "req_1" });
    let headers = format!("content-type: application/json\r\nrequest-id: req_1\r\n{headers}");
    http(status, &headers, body.to_string())
}

/// An error of the usual type of its status, with words that the user should read.
pub(super) fn plain_error(status: u16, headers: &str) -> Vec<u8> {
    error(
        status,
        headers,
        &json!({ "type": error_type(status), "message": WORDS }),
    )
}

/// The words of [`plain_error`].
pub(super) const WORDS: &str = "the words of the API";

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

pub(super) fn chunk(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The head of an answer in chunks.
pub(super) fn stream_head(headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nrequest-id: req_1\r\ntransfer-encoding: chunked\r\nconnection: close\r\n{headers}\r\n")
        .into_bytes()
}

pub(super) const EVENT_STREAM: &str = "content-type: text/event-stream\r\n";

/// A whole streamed answer with this body.
pub(super) fn streamed(body: impl AsRef<[u8]>) -> Vec<u8> {
    [stream_head(EVENT_STREAM), chunk(body), LAST_CHUNK.to_vec()].concat()
}

pub(super) fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

pub(super) fn start() -> String {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [],
        "stop_reason": null, "stop_sequence": null,
        "usage": { "input_tokens": REPORTED.0, "output_tokens": 1 },
    });
    event("message_start", &json!({ "type": "message_start", "message": message }))
}

/// A block that is complete when it starts, as far as its deltas go.
pub(super) fn block(index: u32, block: &Value, deltas: &[Value]) -> String {
    let start = json!({ "type": "content_block_start", "index": index, "content_block": block });
    let stop = json!({ "type": "content_block_stop", "index": index });
    let deltas = deltas.iter().map(|delta| {
        let data = json!({ "type": "content_block_delta", "index": index, "delta": delta });
        event("content_block_delta", &data)
    });
    let deltas: String = deltas.collect();
    event("content_block_start", &start) + &deltas + &event("content_block_stop", &stop)
}

pub(super) fn text(index: u32, text: &str) -> String {
    let delta = json!({ "type": "text_delta", "text": text });
    block(index, &json!({ "type": "text", "text": "" }), &[delta])
}

/// A call of a tool, with its input as the model would write it.
pub(super) fn tool_use(index: u32, input: &str) -> String {
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "nothing", "input": {} });
    block(
        index,
        &call,
        &[json!({ "type": "input_json_delta", "partial_json": input })],
    )
}

pub(super) fn delta(delta: &Value, usage: &Value) -> String {
    event(
        "message_delta",
        &json!({ "type": "message_delta", "delta": delta, "usage": usage }),
    )
}

/// The last two events, with this stop reason.
pub(super) fn end(stop_reason: &str) -> String {
    delta(
        &json!({ "stop_reason": stop_reason }),
        &json!({ "output_tokens": REPORTED.1 }),
    ) + &stop()
}

pub(super) fn stop() -> String {
    event("message_stop", &json!({ "type": "message_stop" }))
}

/// The text of every good answer.
pub(super) const ANSWER: &str = "Here.";

/// A good answer as events.
pub(super) fn good_events() -> String {
    start() + &text(0, ANSWER) + &end("end_turn")
}

/// A good answer.
pub(super) fn good() -> Vec<u8> {
    streamed(good_events())
}

/// A good answer that isn't streamed.
pub(super) fn whole(content: &Value, stop_reason: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": content,
        "stop_reason": stop_reason, "stop_sequence": null,
        "usage": { "input_tokens": REPORTED.0, "output_tokens": REPORTED.1 },
    })
}

/// Gzip without compression.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(bytes);
    let checksum = !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (!(sum & 1)).wrapping_add(1))
        })
    });
    out.extend(checksum.to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}
