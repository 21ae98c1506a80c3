//! Turns an answer of the script and a request into the response to send.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::body::Part;
use super::connection::Hangup;
use super::error::{self, ApiError};
use super::placeholder;
use super::request::RequestView;
use super::script::{
    Answer, AnswerKind, ErrorAnswer, Fault, FaultKind, FaultPoint, MessageAnswer, ToolInput, UsageAnswer,
};
use super::sse;
use crate::messages_api::{
    self, Block, CacheCreation, END_TURN, ErrorBody, ErrorDetail, ErrorType, MessageDelta, StreamEvent, TOOL_USE, Usage,
};

const GARBAGE: &[u8] = b"\xff\xfe<html>upstream connect error\0{\"type\":";

/// The reaction to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Response(ReplyResponse),
    /// Not even a response head: the connection is closed or stalls.
    Silence(Option<Hangup>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyResponse {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) parts: Vec<Part>,
}

/// The facts about a request that an answer depends on.
#[derive(Debug)]
pub(super) struct RequestContext<'a> {
    pub(super) view: RequestView<'a>,
    /// Size of the request body in bytes.
    pub(super) bytes: usize,
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) request_id: &'a str,
}

pub(super) fn reply(answer: &Answer, context: &RequestContext<'_>) -> Reply {
    let fault = answer.fault.as_ref();
    if let Some(Fault {
        kind,
        at: FaultPoint::Accept | FaultPoint::Request,
    }) = fault
    {
        return Reply::Silence(hangup_for(kind));
    }
    let streams = context.view.streams();
    let (status, content_type, pieces) = match (&answer.kind, fault.map(|fault| &fault.kind)) {
        (AnswerKind::Message(_), Some(FaultKind::ErrorEvent { kind, message })) if !streams => {
            let error = ApiError {
                status: error::status_of(kind),
                kind: kind.clone(),
                message: message.clone(),
                error_code: None,
            };
            return Reply::Response(error_reply(&error, context.request_id));
        }
        (AnswerKind::Message(answer_message), _) => {
            let message = compose(answer_message, context);
            if streams {
                (
                    200,
                    "text/event-stream; charset=utf-8",
                    sse::events(&message, &answer.stream),
                )
            } else {
                (
                    200,
                    "application/json",
                    vec![single_event(json_text(&message.complete()))],
                )
            }
        }
        (AnswerKind::Error(error), _) => {
            let body = api_error(error).body(context.request_id);
            (error.status, "application/json", vec![single_event(json_text(&body))])
        }
        (AnswerKind::Raw(raw), _) => (
            raw.status,
            raw.content_type.as_str(),
            vec![single_event(raw.body.clone())],
        ),
    };
    let parts = match fault {
        None => pieces.into_iter().flat_map(parts_of).collect(),
        Some(fault) => cut_at_fault(pieces, fault, context.request_id),
    };
    Reply::Response(ReplyResponse {
        status,
        content_type: content_type.to_owned(),
        parts,
    })
}

pub(super) fn json_reply(status: u16, body: &impl Serialize) -> ReplyResponse {
    ReplyResponse {
        status,
        content_type: "application/json".to_owned(),
        parts: vec![Part::Data(Bytes::from(json_text(body)))],
    }
}

pub(super) fn error_reply(error: &ApiError, request_id: &str) -> ReplyResponse {
    json_reply(error.status, &error.body(request_id))
}

/// Plain data with string keys always serialises, so the default is never used.
pub(super) fn json_text(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default()
}

fn single_event(body: String) -> sse::Event {
    sse::Event {
        delay: Duration::ZERO,
        bytes: Bytes::from(body),
    }
}

fn parts_of(event: sse::Event) -> impl Iterator<Item = Part> {
    let pause = (!event.delay.is_zero()).then_some(Part::Wait(event.delay));
    pause.into_iter().chain([Part::Data(event.bytes)])
}

fn api_error(answer: &ErrorAnswer) -> ApiError {
    let kind = answer
        .kind
        .clone()
        .unwrap_or_else(|| ErrorType::from_status(answer.status).name().to_owned());
    ApiError {
        status: answer.status,
        message: answer
            .message
            .clone()
            .unwrap_or_else(|| error::message_of(&kind).to_owned()),
        kind,
        error_code: answer.error_code.clone(),
    }
}

/// Cuts the events off where the fault strikes and appends the fault.
fn cut_at_fault(events: Vec<sse::Event>, fault: &Fault, request_id: &str) -> Vec<Part> {
    let (mut events_left, mut bytes_left) = match fault.at {
        FaultPoint::Events(events) => (events, usize::MAX),
        FaultPoint::Bytes(bytes) => (usize::MAX, bytes),
        FaultPoint::Accept | FaultPoint::Request => (0, 0),
    };
    let mut parts = Vec::new();
    for mut event in events {
        if events_left == 0 || bytes_left == 0 {
            break;
        }
        event.bytes.truncate(bytes_left);
        events_left = events_left.saturating_sub(1);
        bytes_left = bytes_left.saturating_sub(event.bytes.len());
        parts.extend(parts_of(event));
    }
    parts.extend(match &fault.kind {
        FaultKind::Cut => None,
        FaultKind::Close => Some(Part::HangUp(Hangup::Close)),
        FaultKind::Reset => Some(Part::HangUp(Hangup::Reset)),
        FaultKind::Stall => Some(Part::Stall),
        FaultKind::Garbage => Some(Part::Data(Bytes::from_static(GARBAGE))),
        FaultKind::ErrorEvent { kind, message } => {
            let error = ErrorDetail {
                kind: kind.clone(),
                message: message.clone(),
                details: None,
            };
            let request_id = Some(request_id.to_owned());
            Some(Part::Data(sse::event(&StreamEvent::Error(ErrorBody {
                error,
                request_id,
            }))))
        }
    });
    parts
}

fn hangup_for(kind: &FaultKind) -> Option<Hangup> {
    match kind {
        FaultKind::Reset => Some(Hangup::Reset),
        FaultKind::Close => Some(Hangup::Close),
        _ => None,
    }
}

/// A message that can be sent as one body or as a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    id: String,
    model: String,
    pub(super) content: Vec<ContentBlock>,
    stop_reason: String,
    stop_sequence: Option<String>,
    /// `None` omits the field.
    usage: Option<Usage>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ContentBlock {
    Thinking {
        text: String,
        signature: String,
    },
    Text(String),
    /// `input` is JSON text, or the script's `input_text`, which may be invalid.
    ToolUse {
        id: String,
        name: String,
        input: String,
    },
}

fn compose(answer: &MessageAnswer, context: &RequestContext<'_>) -> Message {
    let mut content = Vec::new();
    if let Some(text) = &answer.thinking {
        content.push(ContentBlock::Thinking {
            text: text.clone(),
            signature: thinking_signature(text),
        });
    }
    let text = placeholder::expand(&answer.text, &context.view);
    if !text.is_empty() {
        content.push(ContentBlock::Text(text));
    }
    for (index, tool) in answer.tools.iter().enumerate() {
        let input = match &tool.input {
            ToolInput::Json(value) => value.to_string(),
            ToolInput::Text(text) => text.clone(),
        };
        let id = tool.id.clone().unwrap_or_else(|| fresh_id(context, index));
        content.push(ContentBlock::ToolUse {
            id,
            name: tool.name.clone(),
            input,
        });
    }
    let default_reason = if answer.tools.is_empty() { END_TURN } else { TOOL_USE };
    Message {
        id: format!("msg_sim_{:06}", context.number),
        model: answer.model.clone().unwrap_or_else(|| context.view.model().to_owned()),
        stop_reason: answer.stop_reason.clone().unwrap_or_else(|| default_reason.to_owned()),
        stop_sequence: answer.stop_sequence.clone(),
        usage: usage(&answer.usage, &content, context),
        content,
    }
}

/// Generates an id that is the same in every run of a script and that the conversation doesn't contain yet. The
/// conversation may have begun with another simulator.
fn fresh_id(context: &RequestContext<'_>, index: usize) -> String {
    let base = format!("toolu_sim_{:06}_{index}", context.number);
    let taken = |id: &String| context.view.has_tool_use(id);
    if !taken(&base) {
        return base;
    }
    (1_u64..)
        .map(|suffix| format!("{base}_{suffix}"))
        .find(|id| !taken(id))
        .unwrap_or(base)
}

/// A checksum that lets the simulator detect thinking blocks that a client changed.
pub(super) fn thinking_signature(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

fn usage(answer: &UsageAnswer, content: &[ContentBlock], context: &RequestContext<'_>) -> Option<Usage> {
    let figures = match answer {
        UsageAnswer::Omitted => return None,
        UsageAnswer::Computed => Default::default(),
        UsageAnswer::Given(figures) => *figures,
    };
    let output_bytes: usize = content
        .iter()
        .map(|block| match block {
            ContentBlock::Thinking { text, .. } | ContentBlock::Text(text) => text.len(),
            ContentBlock::ToolUse { name, input, .. } => name.len().saturating_add(input.len()),
        })
        .sum();
    let output = tokens(output_bytes).max(1).min(context.view.max_tokens());
    let split = CacheCreation {
        ephemeral_5m_input_tokens: figures.cache_creation_5m_input_tokens,
        ephemeral_1h_input_tokens: figures.cache_creation_1h_input_tokens,
    };
    let written = split
        .ephemeral_5m_input_tokens
        .saturating_add(split.ephemeral_1h_input_tokens);
    Some(Usage {
        input_tokens: Some(figures.input_tokens.unwrap_or_else(|| tokens(context.bytes))),
        cache_creation_input_tokens: Some(written),
        cache_creation: Some(split),
        cache_read_input_tokens: Some(figures.cache_read_input_tokens),
        output_tokens: Some(figures.output_tokens.unwrap_or(output)),
        service_tier: Some("standard"),
    })
}

/// Counts one token for every four bytes.
pub(super) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

impl Message {
    /// The body of a non-streaming response.
    fn complete(&self) -> messages_api::Message {
        messages_api::Message {
            content: self.content.iter().map(ContentBlock::complete).collect(),
            stop_reason: Some(self.stop_reason.clone()),
            stop_sequence: self.stop_sequence.clone(),
            ..messages_api::Message::started(&self.id, &self.model, self.usage)
        }
    }

    /// The message in `message_start`: no content yet, and the usage known so far.
    pub(super) fn started(&self) -> messages_api::Message {
        let usage = self.usage.map(|usage| Usage {
            output_tokens: Some(1),
            ..usage
        });
        messages_api::Message::started(&self.id, &self.model, usage)
    }

    /// The `message_delta`, with the cumulative usage.
    pub(super) fn ended(&self) -> StreamEvent {
        StreamEvent::MessageDelta {
            delta: MessageDelta {
                stop_reason: Some(self.stop_reason.clone()),
                stop_sequence: self.stop_sequence.clone(),
            },
            usage: self.usage.map(|usage| Usage {
                cache_creation: None,
                service_tier: None,
                ..usage
            }),
        }
    }
}

impl ContentBlock {
    fn complete(&self) -> Block {
        match self {
            Self::Text(text) => Block::text(text),
            Self::Thinking { text, signature } => Block::thinking(text, signature),
            // A non-streaming response can't hold truncated JSON.
            Self::ToolUse { id, name, input } => {
                Block::tool_use(id, name, serde_json::from_str(input).unwrap_or_else(|_| json!({})))
            }
        }
    }

    /// The block in `content_block_start`.
    pub(super) fn started(&self) -> Block {
        match self {
            Self::Text(_) => Block::text(""),
            Self::Thinking { .. } => Block::thinking("", ""),
            Self::ToolUse { id, name, .. } => Block::tool_use(id, name, json!({})),
        }
    }
}
