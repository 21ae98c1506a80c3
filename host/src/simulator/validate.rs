//! The rules of a script that its types don't enforce. Every violation is reported, not only the first.

mod fault;
mod message;

use std::collections::HashSet;
use std::time::Duration;

use http::{HeaderName, HeaderValue, header};

use super::rate_limits::RateLimitOptions;
use super::script::{Answer, AnswerKind, ErrorAnswer, RawAnswer, Repeat, Script, StreamOptions};
use super::server::OMITTABLE_HEADERS;
use super::sse::omittable;
use crate::messages_api::headers::REQUEST_ID;
use fault::{check_fault, check_fault_point};
use message::{check_fields, check_message};

const MAX_ANSWERS: usize = 1_000;
const MAX_TEXT_BYTES: usize = 1024 * 1024;
const MAX_INSERTIONS: usize = 256;
/// Maximum size of a text with all its copies.
const MAX_REPEATED_BYTES: u64 = 1024 * 1024 * 1024;
const MAX_HEADERS: usize = 32;
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
    let RateLimitOptions {
        per,
        requests,
        input_tokens,
    } = script.rate_limits;
    if per < Duration::from_millis(1) || per > MAX_DELAY {
        violations.push(whole(format!(
            "`rate_limits.per` must be from 1 ms to {} m",
            MAX_DELAY.as_secs() / 60
        )));
    }
    for (key, limit) in [("requests", requests), ("input_tokens", input_tokens)] {
        if limit == Some(0) {
            violations.push(whole(format!(
                "`rate_limits.{key}` must be at least 1; leave it out for no limit"
            )));
        }
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
    check_stream(&answer.stream, report);
    if answer.gzip
        && (matches!(&answer.kind, AnswerKind::Raw(raw) if raw.times > 1)
            || answer.stream.insert.iter().any(|insertion| insertion.times > 1))
    {
        report("`gzip` doesn't go with a text that is sent several times (`times`)".to_owned());
    }
    if let Some(fault) = &answer.fault {
        check_fault(answer, fault, report);
        check_fault_point(fault, report);
    }
}

fn check_stream(stream: &StreamOptions, report: &mut dyn FnMut(String)) {
    for kind in &stream.omit {
        if !omittable().any(|known| known == kind) {
            report(format!(
                "`stream.omit` has an unknown type {:?}; known are {}",
                excerpt(kind),
                omittable().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    if stream.insert.len() > MAX_INSERTIONS {
        report(format!(
            "`stream.insert` has {} items, but at most {MAX_INSERTIONS} are allowed",
            stream.insert.len()
        ));
    }
    for insertion in &stream.insert {
        check_text("stream.insert.text", &insertion.text, report);
        check_duration("stream.insert.wait", insertion.wait, report);
        check_times("stream.insert.times", &insertion.text, insertion.times, report);
        if insertion.text.is_empty() && insertion.wait.is_zero() {
            report("`stream.insert` has an item with neither `text` nor `wait`".to_owned());
        }
    }
}

fn check_times(key: &str, text: &str, times: u32, report: &mut dyn FnMut(String)) {
    if times == 0 {
        report(format!("`{key}` must be at least 1"));
    }
    let size = (text.len() as u64).saturating_mul(times.into());
    if size > MAX_REPEATED_BYTES {
        report(format!(
            "`{key}` makes {size} bytes, but at most {MAX_REPEATED_BYTES} are allowed"
        ));
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
        ("omit", own.omit != default.omit),
        ("event_names", own.event_names != default.event_names),
        ("line_ending", own.line_ending != default.line_ending),
        ("insert", own.insert != default.insert),
    ];
    let is_message = matches!(answer.kind, AnswerKind::Message(_));
    set.into_iter().find(|(_, set)| *set && !is_message).map(|(key, _)| key)
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
    for name in &answer.omit_headers {
        if !OMITTABLE_HEADERS.contains(&name.as_str()) {
            report(format!(
                "`omit_headers` has an unknown name {:?}; known are {}",
                excerpt(name),
                OMITTABLE_HEADERS.join(", ")
            ));
        }
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
    check_fields("error.details", &error.details, report);
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
    check_times("raw.times", &raw.body, raw.times, report);
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
