//! The Chat Completions API: what an answer of the script is in its terms. Servers on one's own machine speak it without a
//! key, so none is required.

mod check;
mod models;
mod view;

use serde_json::{Map, Value, json};

pub(super) use self::check::check;
pub(super) use self::models::{model, models};
pub(super) use self::view::{as_messages, includes_usage};
use super::answer::RequestContext;
use super::error::ApiError;
use super::json::{ObjectText, list_text};
use super::message::{fresh_id, input_text, items, tokens};
use super::piece::Piece;
use super::placeholder;
use super::script::{ItemKind, MessageAnswer, StreamOptions, UsageAnswer, UsageFigures};
use super::sse::{self, delta_size, pieces};
use crate::chat_api::{ASSISTANT, DONE, REASONING_CONTENT, STOP, TOOL_CALLS};
use crate::messages_api::{END_TURN, ErrorType, TOOL_USE};

/// OpenAI's newer API, which isn't simulated.
pub(super) const RESPONSES_PATH: &str = "/v1/responses";

/// Whether a path belongs to that API.
pub(super) fn is_responses(path: &str) -> bool {
    let below = path.strip_prefix(RESPONSES_PATH);
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// When every answer was made, in seconds since 1970: 2026-01-01, so that every run has the same bytes.
const CREATED: u64 = 1_767_225_600;

/// The names of stop reasons in this API. Others are sent as they are.
const FINISH_REASONS: [(&str, &str); 5] = [
    (END_TURN, STOP),
    ("stop_sequence", STOP),
    (TOOL_USE, TOOL_CALLS),
    ("max_tokens", "length"),
    ("refusal", "content_filter"),
];

/// The parts of `stream.omit` that this API has as well, in the words of the Messages API.
const OMITS_END: &str = "message_delta";
const OMITS_DONE: &str = "message_stop";

/// An answer of this API.
#[derive(Debug)]
pub(super) struct Completion<'a> {
    id: String,
    model: String,
    reasoning: String,
    text: String,
    calls: Vec<Call>,
    finish_reason: String,
    /// JSON text. `None` omits the field.
    usage: Option<String>,
    extra: &'a Map<String, Value>,
}

#[derive(Debug)]
struct Call {
    id: String,
    name: String,
    /// Possibly not JSON.
    arguments: String,
}

pub(super) fn compose<'a>(answer: &'a MessageAnswer, context: &RequestContext<'_>) -> Completion<'a> {
    let (mut reasoning, mut text, mut calls) = (String::new(), String::new(), Vec::new());
    for (position, item) in (0..).zip(items(answer, context)) {
        match item.kind {
            ItemKind::Text(own) => text.push_str(&placeholder::expand(&own, &context.view)),
            ItemKind::Thinking { text, .. } => reasoning.push_str(&text),
            ItemKind::Tool(call) => calls.push(Call {
                arguments: input_text(&call),
                id: call
                    .id
                    .unwrap_or_else(|| fresh_id(context.dialect.call_id_prefix(), context, position)),
                name: call.name,
            }),
            // The vendor's own blocks have no form in this API.
            ItemKind::Block(_) => {}
        }
    }
    let reason = answer.stop_reason.as_deref();
    let reason = reason.unwrap_or(if calls.is_empty() { END_TURN } else { TOOL_USE });
    let known = FINISH_REASONS.iter().find(|(name, _)| *name == reason);
    let written = calls
        .iter()
        .map(|call| call.name.len().saturating_add(call.arguments.len()));
    let written = written.fold(reasoning.len().saturating_add(text.len()), usize::saturating_add);
    Completion {
        id: format!("chatcmpl-sim-{:06}", context.number),
        model: answer.model.clone().unwrap_or_else(|| context.view.model().to_owned()),
        finish_reason: known.map_or(reason, |(_, name)| name).to_owned(),
        usage: usage(&answer.usage, written, context),
        extra: &answer.extra,
        reasoning,
        text,
        calls,
    }
}

fn usage(answer: &UsageAnswer, written: usize, context: &RequestContext<'_>) -> Option<String> {
    let figures = match answer {
        UsageAnswer::Omitted => return None,
        UsageAnswer::Json(json) => return Some(json.to_string()),
        UsageAnswer::Computed => &UsageFigures::default(),
        UsageAnswer::Given(figures) => figures,
    };
    let cached = figures.cache_read_input_tokens;
    let uncached = figures.input_tokens.unwrap_or_else(|| tokens(context.bytes));
    // Writing to the cache is free here.
    let written_to_cache = figures
        .cache_creation_5m_input_tokens
        .saturating_add(figures.cache_creation_1h_input_tokens);
    let prompt = uncached.saturating_add(cached).saturating_add(written_to_cache);
    let computed = tokens(written).max(1).min(context.view.max_tokens());
    let completion = figures.output_tokens.unwrap_or(computed);
    let usage = json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": { "cached_tokens": cached },
    });
    Some(usage.to_string())
}

impl Completion<'_> {
    /// The body of an answer that isn't streamed.
    pub(super) fn whole(&self) -> String {
        let calls: Vec<_> = self.calls.iter().map(|call| call.text(None, &call.arguments)).collect();
        let calls = list_text(calls.iter().map(String::as_str));
        let message = ObjectText::new()
            .field("role", &ASSISTANT)
            .field("content", &(!self.text.is_empty()).then_some(&self.text));
        let message = match self.reasoning.is_empty() {
            true => message,
            false => message.field(REASONING_CONTENT, &self.reasoning),
        };
        let message = message.optional("tool_calls", Some(calls.as_str()).filter(|_| !self.calls.is_empty()));
        let choice = ObjectText::new()
            .field("index", &0)
            .raw("message", &message.end())
            .field("finish_reason", &self.finish_reason)
            .end();
        self.head("chat.completion")
            .raw("choices", &list_text([choice.as_str()]))
            .optional("usage", self.usage.as_deref())
            .end()
    }

    /// The events of a stream: its chunks, and what the script inserts between them.
    pub(super) fn events(&self, options: &StreamOptions, includes_usage: bool) -> Vec<Piece> {
        let mut events = vec![self.delta(r#"{"role":"assistant","content":""}"#, options)];
        if options.unknown_events {
            let future = ObjectText::new().field("future_field", &true).end();
            events.push(self.delta(&future, options));
        }
        let mut deltas = 0_usize;
        let mut push = |events: &mut Vec<Piece>, delta: &str| {
            events.push(self.delta(delta, options).after(options.chunk_delay));
            deltas = deltas.saturating_add(1);
            if options.ping_every > 0 && deltas.is_multiple_of(options.ping_every) {
                events.push(Piece::new(sse::comment("PROCESSING", options)));
            }
        };
        for (field, text) in [(REASONING_CONTENT, &self.reasoning), ("content", &self.text)] {
            for piece in pieces(text, delta_size(text, options)) {
                push(&mut events, &ObjectText::new().field(field, &piece).end());
            }
        }
        for (index, call) in self.calls.iter().enumerate() {
            let delta = |call: &str| ObjectText::new().raw("tool_calls", &list_text([call])).end();
            push(&mut events, &delta(&call.text(Some(index), "")));
            for piece in pieces(&call.arguments, delta_size(&call.arguments, options)) {
                let function = ObjectText::new().field("arguments", &piece).end();
                let piece = ObjectText::new()
                    .field("index", &index)
                    .raw("function", &function)
                    .end();
                push(&mut events, &delta(&piece));
            }
        }
        let omits = |kind: &str| options.omit.iter().any(|omitted| omitted == kind);
        if !omits(OMITS_END) {
            let choice = ObjectText::new()
                .field("index", &0)
                .raw("delta", "{}")
                .field("finish_reason", &self.finish_reason)
                .end();
            events.push(self.chunk(&list_text([choice.as_str()]), None, options));
            if let Some(usage) = self.usage.as_deref().filter(|_| includes_usage) {
                events.push(self.chunk("[]", Some(usage), options));
            }
        }
        if !omits(OMITS_DONE) {
            events.push(Piece::new(sse::unnamed(DONE, options)));
        }
        sse::insert(events, options)
    }

    fn delta(&self, delta: &str, options: &StreamOptions) -> Piece {
        let choice = ObjectText::new()
            .field("index", &0)
            .raw("delta", delta)
            .raw("finish_reason", "null")
            .end();
        self.chunk(&list_text([choice.as_str()]), None, options)
    }

    fn chunk(&self, choices: &str, usage: Option<&str>, options: &StreamOptions) -> Piece {
        let chunk = self
            .head("chat.completion.chunk")
            .raw("choices", choices)
            .optional("usage", usage);
        Piece::new(sse::unnamed(&chunk.end(), options))
    }

    fn head(&self, object: &str) -> ObjectText<'_> {
        ObjectText::replaced(self.extra)
            .field("id", &self.id)
            .field("object", &object)
            .field("created", &CREATED)
            .field("model", &self.model)
    }
}

impl Call {
    fn text(&self, index: Option<usize>, arguments: &str) -> String {
        let function = ObjectText::new()
            .field("name", &self.name)
            .field("arguments", &arguments)
            .end();
        let call = match index {
            Some(index) => ObjectText::new().field("index", &index),
            None => ObjectText::new(),
        };
        call.field("id", &self.id)
            .field("type", &"function")
            .raw("function", &function)
            .end()
    }
}

/// The JSON text of an error. What the Messages API calls by a name of its own has this API's.
pub(super) fn error(error: &ApiError) -> String {
    let (kind, code) = match ErrorType::from_name(&error.kind) {
        None => (error.kind.as_str(), None),
        Some(ErrorType::Authentication) => ("invalid_request_error", Some("invalid_api_key")),
        Some(ErrorType::Billing) => ("insufficient_quota", Some("insufficient_quota")),
        Some(ErrorType::RateLimit) => ("requests", Some("rate_limit_exceeded")),
        Some(ErrorType::Api | ErrorType::Overloaded | ErrorType::Timeout) => ("server_error", None),
        Some(_) => ("invalid_request_error", None),
    };
    let error = json!({
        "message": error.message,
        "type": kind,
        "param": error.details.get("param"),
        "code": error.error_code.as_deref().or(code),
    });
    ObjectText::new().field("error", &error).end()
}

#[cfg(test)]
mod tests;
