//! Answers of a model, or of whoever speaks in its place.

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use serde_json::Value;
use sse_stream::SseByteStream;

use super::stream::{Assembler, Step};
use super::{request, response};
use crate::model::{ModelError, ModelRequest, ModelResponse, Progress, ToolDefinitions};
use crate::transcript::{Block, Message, Role};

/// A streamed answer. The first byte says how it is cut into pieces, which must make no difference.
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

/// An answer in one piece.
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
    // All of it is there: nothing is ever waited for.
    while let Some(Some(event)) = events.next().now_or_never() {
        let event = event.map_err(|error| malformed(error.to_string()))?;
        if let Step::Whole = answer.event(&event, &progress)? {
            return answer.finish(&progress);
        }
    }
    Err(ModelError::Cut {
        reason: String::new(),
        request_id: None,
    })
}

/// The next request holds what this one was answered with.
fn can_be_sent_back(response: ModelResponse) {
    if response.content.is_empty() {
        // Some stops leave nothing to say, and then nothing is sent back.
        return;
    }
    let blocks = response.content.len();
    assert_eq!(sent_back(response.content).len(), blocks);
}

/// What the next request makes of an answer's blocks.
pub(super) fn sent_back(content: Vec<Block>) -> Vec<Value> {
    let answer = Message {
        role: Role::Assistant,
        content,
    };
    let next = ModelRequest {
        system: "",
        messages: &[Message::user("?"), answer],
        tools: &ToolDefinitions::default(),
        max_tokens: 1,
        temperature: None,
    };
    let body = request::body("m", &next, true).unwrap_or_default();
    let read: Value = serde_json::from_slice(&body).unwrap_or_default();
    let blocks = read["messages"][1]["content"].as_array();
    assert!(blocks.is_some(), "no list of blocks: {read}");
    blocks.cloned().unwrap_or_default()
}
