//! The APIs that the simulator speaks. The script, its faults and its conditions are the same for both.

use bytes::Bytes;
use http::request::Parts;

use super::answer::RequestContext;
use super::error::ApiError;
use super::message::compose;
use super::piece::Piece;
use super::route::{MODEL_PATH, MODELS_PATH};
use super::script::{MessageAnswer, StreamOptions};
use super::{chat, sse};
use crate::chat_api;
use crate::messages_api;
use crate::messages_api::headers::{API_KEY, VERSION};

/// Headers of requests of the Messages API alone.
const MARKS: [&str; 2] = [VERSION, API_KEY];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Messages,
    ChatCompletions,
}

impl Dialect {
    /// The API of a request. Everything that isn't OpenAI's is the Messages API's. Both list their models at one path, where the
    /// headers that every request of the Messages API has tell them apart.
    pub(super) fn of(head: &Parts) -> Self {
        let path = head.uri.path();
        let is_models = path == MODELS_PATH || path.starts_with(MODEL_PATH);
        let is_marked = MARKS.iter().any(|name| head.headers.contains_key(*name));
        match path.starts_with("/v1/chat/") || chat::is_responses(path) || (is_models && !is_marked) {
            true => Self::ChatCompletions,
            false => Self::Messages,
        }
    }

    /// The response header with the id of the request.
    pub(super) const fn request_id_header(self) -> &'static str {
        match self {
            Self::Messages => messages_api::headers::REQUEST_ID,
            Self::ChatCompletions => chat_api::REQUEST_ID,
        }
    }

    /// How the ids of calls begin.
    pub(super) const fn call_id_prefix(self) -> &'static str {
        match self {
            Self::Messages => "toolu",
            Self::ChatCompletions => "call",
        }
    }

    /// The JSON text of an error.
    pub(super) fn error(self, error: &ApiError, request_id: &str) -> String {
        match self {
            Self::Messages => error.body(request_id),
            Self::ChatCompletions => chat::error(error),
        }
    }

    /// An error inside a stream.
    pub(super) fn error_event(self, error: &ApiError, request_id: &str, options: &StreamOptions) -> Bytes {
        let data = self.error(error, request_id);
        match self {
            Self::Messages => sse::event("error", &data, options),
            Self::ChatCompletions => sse::unnamed(&data, options),
        }
    }

    /// What a server sends while there is nothing to say.
    pub(super) fn ping(self, options: &StreamOptions) -> Bytes {
        match self {
            Self::Messages => sse::ping(options),
            Self::ChatCompletions => sse::comment("PROCESSING", options),
        }
    }

    /// The body of an answer that isn't streamed.
    pub(super) fn whole(self, answer: &MessageAnswer, context: &RequestContext<'_>) -> String {
        match self {
            Self::Messages => compose(answer, context).complete(),
            Self::ChatCompletions => chat::compose(answer, context).whole(),
        }
    }

    /// The events of a streamed answer.
    pub(super) fn events(
        self,
        answer: &MessageAnswer,
        context: &RequestContext<'_>,
        options: &StreamOptions,
    ) -> Vec<Piece> {
        match self {
            Self::Messages => sse::events(&compose(answer, context), options),
            Self::ChatCompletions => chat::compose(answer, context).events(options, context.includes_usage),
        }
    }
}
