//! The rules of a script that its types don't enforce. Every violation is reported, not only the first.

use std::collections::HashSet;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};
use serde_json::Value;

use super::placeholder;
use super::script::{
    Answer, AnswerKind, ErrorAnswer, Fault, FaultKind, FaultPoint, MessageAnswer, RawAnswer, Repeat, Script,
    StreamOptions, ToolInput,
};
use crate::messages_api::headers::REQUEST_ID;

const MAX_ANSWERS: usize = 1_000;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
const MAX_TOOLS: usize = 64;
const MAX_HEADERS: usize = 32;
/// Maximum nesting of a tool's input. JSON parsers often stop not far beyond it.
const MAX_DEPTH: usize = 100;
const MAX_DELAY: Duration = Duration::from_secs(60 * 60);

/// A rule that a script breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Index of the answer. `None`: the script as a whole.
    pub(super) answer: Option<usize>,
    pub(super) message: String,
}

pub(super) fn validate(script: &Script) -> Vec<Violation> {
    let mut violations = Vec::new();
    let whole = |message: String| Violation { answer: None, message };
    if script.answers.is_empty() {
        violations.push(whole("the script has no [[answer]]".to_owned()));
    }
    if script.answers.len() > MAX_ANSWERS {
        violations.push(whole(format!(
            "{} answers, but at most {MAX_ANSWERS} are allowed",
            script.answers.len()
        )));
    }
    for (index, answer) in script.answers.iter().enumerate() {
        let mut report = |message: String| {
            violations.push(Violation {
                answer: Some(index),
                message,
            })
        };
        check_answer(answer, &mut report);
    }
    violations
}

fn check_answer(answer: &Answer, report: &mut dyn FnMut(String)) {
    if answer.repeat == Repeat::Times(0) {
        report("`repeat` must be at least 1, or \"forever\"".to_owned());
    }
    check_duration("delay", answer.delay, report);
    check_duration("stream.chunk_delay", answer.stream.chunk_delay, report);
    if answer.stream.chunk == 0 {
        report("`stream.chunk` must be at least 1 character".to_owned());
    }
    for (key, text) in [
        ("when.last_user_contains", &answer.when.last_user_contains),
        ("when.has_tool_result", &answer.when.has_tool_result),
    ] {
        if text.as_deref() == Some("") {
            report(format!("`{key}` is empty; leave it out to match every request"));
        }
        check_text(key, text.as_deref().unwrap_or_default(), report);
    }
    check_headers(answer, report);
    match &answer.kind {
        AnswerKind::Message(message) => check_message(message, report),
        AnswerKind::Error(error) => check_error(error, report),
        AnswerKind::Raw(raw) => check_raw(raw, report),
    }
    check_bodiless(answer, report);
    if let Some(key) = ignored_stream_key(answer) {
        report(format!(
            "`stream.{key}` only applies to a model's answer and has no effect with `error` or `raw`"
        ));
    }
    if let Some(fault) = &answer.fault {
        check_fault(answer, fault, report);
        match (&fault.kind, fault.at) {
            (FaultKind::Reset | FaultKind::Close, _)
            | (FaultKind::Stall, FaultPoint::Request)
            | (_, FaultPoint::Events(_) | FaultPoint::Bytes(_)) => {}
            (FaultKind::Stall, FaultPoint::Accept) => {
                report("a stall needs a request to wait for: use `fault.at = \"request\"`".to_owned());
            }
            (FaultKind::Cut | FaultKind::ErrorEvent { .. } | FaultKind::Garbage, _) => {
                report("`fault.at` is for reset, close and stall; use `after_events` or `after_bytes`".to_owned());
            }
        }
    }
}

/// Only a model's answer is streamed. For `error` and `raw`, only `write_bytes` has an effect.
fn ignored_stream_key(answer: &Answer) -> Option<&'static str> {
    let (own, default) = (&answer.stream, StreamOptions::default());
    let set = [
        ("chunk", own.chunk != default.chunk),
        ("chunk_delay", own.chunk_delay != default.chunk_delay),
        ("ping_every", own.ping_every != default.ping_every),
        ("unknown_events", own.unknown_events != default.unknown_events),
    ];
    let is_message = matches!(answer.kind, AnswerKind::Message(_));
    set.into_iter().find(|(_, set)| *set && !is_message).map(|(key, _)| key)
}

fn check_fault(answer: &Answer, fault: &Fault, report: &mut dyn FnMut(String)) {
    if let FaultKind::ErrorEvent { kind, message } = &fault.kind {
        check_text("fault.error_type", kind, report);
        check_text("fault.message", message, report);
        if !matches!(answer.kind, AnswerKind::Message(_)) {
            report("an `error_event` is part of a model's answer, not of `error` or `raw`".to_owned());
        }
    }
    let point = match fault.at {
        FaultPoint::Accept => "accept",
        FaultPoint::Request => "request",
        FaultPoint::Events(_) | FaultPoint::Bytes(_) => return,
    };
    let is_empty = answer.kind == AnswerKind::Message(MessageAnswer::default());
    let ignored = [
        ("an answer", !is_empty),
        ("`headers`", !answer.headers.is_empty()),
        ("`stream`", answer.stream != StreamOptions::default()),
        ("`delay`", fault.at == FaultPoint::Accept && !answer.delay.is_zero()),
    ];
    for (what, _) in ignored.into_iter().filter(|(_, set)| *set) {
        report(format!("{what} has no effect with `fault.at = \"{point}\"`"));
    }
}

fn check_duration(key: &str, value: Duration, report: &mut dyn FnMut(String)) {
    if value > MAX_DELAY {
        report(format!(
            "`{key}` is {} s, but at most {} s are allowed",
            value.as_secs(),
            MAX_DELAY.as_secs()
        ));
    }
}

fn check_headers(answer: &Answer, report: &mut dyn FnMut(String)) {
    if answer.headers.len() > MAX_HEADERS {
        report(format!(
            "{} headers, but at most {MAX_HEADERS} are allowed",
            answer.headers.len()
        ));
    }
    let is_raw = matches!(answer.kind, AnswerKind::Raw(_));
    let mut names = HashSet::new();
    for (name, value) in &answer.headers {
        let shown = excerpt(name);
        check_text(&format!("headers.{shown:?}"), value, report);
        if HeaderValue::try_from(value.as_str()).is_err() {
            report(format!("`headers` has an illegal value for {shown:?}"));
        }
        let Ok(name) = HeaderName::try_from(name.as_str()) else {
            report(format!("`headers` has an illegal name {shown:?}"));
            continue;
        };
        if name == header::CONTENT_LENGTH || name == header::TRANSFER_ENCODING {
            // The server frames the body. A script that sets these would only test the HTTP library.
            report(format!("`headers` must not set {name}; use `fault` to break an answer"));
        } else if name == REQUEST_ID {
            report(format!(
                "`headers` must not set {REQUEST_ID}: it has to match the body's"
            ));
        } else if is_raw && name == header::CONTENT_TYPE {
            report("`headers` must not set content-type with `raw`; use `raw.content_type`".to_owned());
        }
        if !names.insert(name) {
            report(format!(
                "`headers` sets {shown:?} twice, and only the last would be sent"
            ));
        }
    }
}

fn check_message(message: &MessageAnswer, report: &mut dyn FnMut(String)) {
    check_text("text", &message.text, report);
    for (key, text) in [
        ("thinking", &message.thinking),
        ("stop_reason", &message.stop_reason),
        ("stop_sequence", &message.stop_sequence),
        ("model", &message.model),
    ] {
        check_text(key, text.as_deref().unwrap_or_default(), report);
    }
    if let Err(problem) = placeholder::check(&message.text) {
        report(format!("`text` {problem}"));
    }
    if message.thinking.as_deref() == Some("") {
        report("`thinking` is empty; leave it out for an answer without thinking".to_owned());
    }
    if message.tools.len() > MAX_TOOLS {
        report(format!(
            "{} tool calls, but at most {MAX_TOOLS} are allowed",
            message.tools.len()
        ));
    }
    for tool in &message.tools {
        check_text("name", &tool.name, report);
        check_text("id", tool.id.as_deref().unwrap_or_default(), report);
        if tool.name.is_empty() {
            report("a tool call has an empty `name`".to_owned());
        }
        if tool.id.as_deref() == Some("") {
            report("a tool call has an empty `id`".to_owned());
        }
        match &tool.input {
            ToolInput::Json(value) if !value.is_object() => {
                report(format!(
                    "the `input` of tool call {:?} must be a table",
                    excerpt(&tool.name)
                ));
            }
            // Checked before serialising, which recurses as deep as the value.
            ToolInput::Json(value) if !is_within(value, MAX_DEPTH) => report(format!(
                "the `input` of tool call {:?} is nested deeper than {MAX_DEPTH} levels",
                excerpt(&tool.name)
            )),
            ToolInput::Json(value) => check_text("input", &value.to_string(), report),
            ToolInput::Text(text) => check_text("input_text", text, report),
        }
    }
}

/// Whether a value is nested at most `levels` deep.
fn is_within(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_within(item, inner)),
        Value::Object(fields) => fields.values().all(|field| is_within(field, inner)),
        _ => true,
    }
}

fn check_error(error: &ErrorAnswer, report: &mut dyn FnMut(String)) {
    if !(400..=599).contains(&error.status) {
        report(format!(
            "`error.status` is {}, but must be from 400 to 599",
            error.status
        ));
    }
    for (key, text) in [
        ("error.message", &error.message),
        ("error.type", &error.kind),
        ("error.error_code", &error.error_code),
    ] {
        check_text(key, text.as_deref().unwrap_or_default(), report);
    }
}

fn check_raw(raw: &RawAnswer, report: &mut dyn FnMut(String)) {
    if !(200..=599).contains(&raw.status) {
        report(format!("`raw.status` is {}, but must be from 200 to 599", raw.status));
    }
    if HeaderValue::try_from(raw.content_type.as_str()).is_err() {
        report("`raw.content_type` isn't a valid header value".to_owned());
    }
    check_text("raw.content_type", &raw.content_type, report);
    check_text("raw.body", &raw.body, report);
}

/// HTTP has no body for these statuses. The server would silently drop it, along with its faults.
fn check_bodiless(answer: &Answer, report: &mut dyn FnMut(String)) {
    let AnswerKind::Raw(raw @ RawAnswer { status: 204 | 304, .. }) = &answer.kind else {
        return;
    };
    if !raw.body.is_empty() || answer.fault.is_some() || answer.stream.write_bytes != 0 {
        report(format!(
            "an answer of status {} has no body; leave `raw.body` empty, and remove `fault` and `stream.write_bytes`",
            raw.status
        ));
    }
}

fn check_text(key: &str, text: &str, report: &mut dyn FnMut(String)) {
    if text.len() > MAX_TEXT_BYTES {
        report(format!(
            "`{key}` has {} bytes, but at most {MAX_TEXT_BYTES} are allowed",
            text.len()
        ));
    }
}

/// The beginning of a name, long enough to identify it.
fn excerpt(name: &str) -> &str {
    name.get(..name.floor_char_boundary(64)).unwrap_or(name)
}
