//! Turns an answer of the script and a request into the response to send.

use bytes::Bytes;

use super::body::{BodyPlan, Part};
use super::connection::Hangup;
use super::dialect::Dialect;
use super::error::{self, ApiError};
use super::piece::{Piece, compressed};
use super::plan;
use super::prompt_cache::CachedTokens;
use super::request::RequestView;
use super::script::{Answer, AnswerKind, ErrorAnswer, FaultKind};
use super::socket::HeadFault;
use crate::messages_api::ErrorType;

const JSON: &str = "application/json";

/// The reaction to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Response(ReplyResponse),
    /// Not even a response head: the connection is ended or stalls.
    Silence(Option<Hangup>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReplyResponse {
    pub(super) status: u16,
    pub(super) content_type: String,
    /// The `x-should-retry` header.
    pub(super) should_retry: Option<bool>,
    /// The `allow` header.
    pub(super) allow: Option<&'static str>,
    pub(super) body: BodyPlan,
    pub(super) head_fault: Option<HeadFault>,
}

/// The facts about a request that an answer depends on.
#[derive(Debug)]
pub(super) struct RequestContext<'a> {
    pub(super) view: RequestView<'a>,
    pub(super) dialect: Dialect,
    /// Whether a stream of the Chat Completions API reports its usage.
    pub(super) includes_usage: bool,
    /// Size of the request body in bytes, without what [isn't text](super::prompt_cache::Prompt::uncounted_bytes).
    pub(super) bytes: usize,
    /// What of the prompt came from the cache, and what went there.
    pub(super) cached: CachedTokens,
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) request_id: &'a str,
}

/// A response whose body is still in pieces.
struct Draft {
    status: u16,
    content_type: String,
    should_retry: Option<bool>,
    pieces: Vec<Piece>,
    is_stream: bool,
}

pub(super) fn reply(answer: &Answer, context: &RequestContext<'_>) -> Reply {
    if let Some(fault) = answer.fault.as_ref().filter(|fault| plan::replaces_response(fault)) {
        return Reply::Silence(plan::hangup(&fault.kind));
    }
    let mut draft = draft(answer, context);
    if answer.gzip {
        draft.pieces = compressed(draft.pieces);
    }
    let fault = answer.fault.as_ref().filter(|fault| {
        // A non-streaming request gets the error instead of the answer, so nothing is left to break.
        draft.is_stream || !matches!(fault.kind, FaultKind::ErrorEvent { .. })
    });
    let mut body = plan::body(draft.pieces, draft.is_stream, fault, &answer.stream, context);
    body.write_bytes = answer.stream.write_bytes;
    Reply::Response(ReplyResponse {
        status: draft.status,
        content_type: draft.content_type,
        should_retry: draft.should_retry,
        allow: None,
        body,
        head_fault: fault.and_then(plan::head_fault),
    })
}

fn draft(answer: &Answer, context: &RequestContext<'_>) -> Draft {
    let whole = |status: u16, content_type: &str, body: String, times: u32| Draft {
        status,
        content_type: content_type.to_owned(),
        should_retry: None,
        pieces: vec![Piece::repeated(Bytes::from(body), times)],
        is_stream: false,
    };
    let error = |error: ApiError| Draft {
        should_retry: error.should_retry(),
        ..whole(error.status, JSON, context.dialect.error(&error, context.request_id), 1)
    };
    match (&answer.kind, answer.fault.as_ref().map(|fault| &fault.kind)) {
        (AnswerKind::Message(message), _) if context.view.streams() => Draft {
            status: 200,
            content_type: "text/event-stream; charset=utf-8".to_owned(),
            should_retry: None,
            pieces: context.dialect.events(message, context, &answer.stream),
            is_stream: true,
        },
        (AnswerKind::Message(_), Some(FaultKind::ErrorEvent { kind, message })) => error(ApiError {
            kind: kind.clone(),
            ..ApiError::new(error::status_of(kind), message)
        }),
        (AnswerKind::Message(message), _) => whole(200, JSON, context.dialect.whole(message, context), 1),
        (AnswerKind::Error(answer), _) => error(api_error(answer)),
        (AnswerKind::Raw(raw), _) => whole(raw.status, &raw.content_type, raw.body.clone(), raw.times),
    }
}

pub(super) fn json_reply(status: u16, body: String) -> ReplyResponse {
    ReplyResponse {
        status,
        content_type: JSON.to_owned(),
        should_retry: None,
        allow: None,
        body: BodyPlan::of(vec![Part::Data(Bytes::from(body))]),
        head_fault: None,
    }
}

pub(super) fn error_reply(error: &ApiError, dialect: Dialect, request_id: &str) -> ReplyResponse {
    ReplyResponse {
        should_retry: error.should_retry(),
        ..json_reply(error.status, dialect.error(error, request_id))
    }
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
        details: answer.details.clone(),
        is_final: false,
    }
}
