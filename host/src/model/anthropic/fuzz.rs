//! Fuzz targets for answers of a model API, which may also come from an attacker in its place.

use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use sse_stream::SseByteStream;

use super::history::AnthropicRules;
use super::request::RequestOptions;
use super::stream::Assembler;
use super::{request, response};
use crate::json_text::Json;
use crate::model::exchange::{Reader, Step};
use crate::model::{ModelError, ModelRequest, ModelResponse, ModelSettings, Progress, ToolDefinitions};
use crate::transcript::{Block, Message, Role, repair};

/// Parses a streamed answer. The first byte sets the chunk size, which must not change the result.
pub fn stream(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let whole = assembled(data, data.len().max(1));
    let pieces = assembled(data, usize::from(*size % 64) + 1);
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => {
            assert_eq!(whole, pieces);
            can_be_sent_back(whole);
        }
        (Err(whole), Err(pieces)) => assert_eq!(whole.kind(), pieces.kind()),
        (whole, pieces) => assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}"),
    }
}

/// Parses an answer that isn't streamed.
pub fn response(data: &[u8]) {
    if let (_, Ok(response)) = response::parse_response(data, None) {
        can_be_sent_back(response);
    }
}

fn assembled(data: &[u8], size: usize) -> Result<ModelResponse, ModelError> {
    let pieces = data
        .chunks(size)
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let progress = Progress::new(|_| ());
    let malformed = |reason: String| ModelError::Malformed {
        reason,
        request_id: None,
    };
    let mut answer = Assembler::new(None);
    let mut events = pin!(SseByteStream::new(stream::iter(pieces)));
    // All data is available, so nothing ever waits.
    while let Some(Some(event)) = events.next().now_or_never() {
        let event = event.map_err(|error| malformed(error.to_string()))?;
        if let Step::Complete = answer.event(&event, &progress)? {
            return answer.finish(&progress);
        }
    }
    Err(ModelError::Cut {
        reason: String::new(),
        request_id: None,
    })
}

/// Checks that the next request is JSON and that its history needs no other repair.
fn can_be_sent_back(response: ModelResponse) {
    let messages = next_messages(response.content);
    let repaired = repair(&messages, &AnthropicRules { model: "m" });
    assert!(matches!(
        repair(&repaired, &AnthropicRules { model: "m" }),
        Cow::Borrowed(_)
    ));
    // Not as a `Value`, because an answer may hold JSON that only its text can represent.
    assert!(Json::parse(&serialised(&messages)).is_ok());
}

/// An answer's blocks as the next request serialises them.
#[cfg(test)]
pub(super) fn sent_back(content: Vec<Block>) -> Vec<serde_json::Value> {
    let read: serde_json::Value = serde_json::from_str(&sent_body(content)).unwrap_or_default();
    let blocks = read["messages"][1]["content"].as_array();
    blocks.cloned().unwrap_or_default()
}

fn next_messages(content: Vec<Block>) -> [Message; 2] {
    let role = Role::Assistant;
    [Message::user("?"), Message { role, content }]
}

/// The next request, with the answer in it.
#[cfg(test)]
pub(super) fn sent_body(content: Vec<Block>) -> String {
    serialised(&next_messages(content))
}

fn serialised(messages: &[Message]) -> String {
    let next = ModelRequest {
        system: "",
        messages,
        tools: &ToolDefinitions::default(),
        max_tokens: 1,
        temperature: None,
    };
    let body = request::body("m", &next, RequestOptions::of(&ModelSettings::default())).unwrap_or_default();
    String::from_utf8(body).unwrap_or_default()
}
