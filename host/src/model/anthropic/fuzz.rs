//! Fuzz targets for answers of a model API, which may also come from an attacker in its place.

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

/// Checks that the next request contains the whole answer.
fn can_be_sent_back(response: ModelResponse) {
    if response.content.is_empty() {
        // Some stop reasons leave an answer empty, and then nothing is sent back.
        return;
    }
    let blocks = response.content.len();
    assert_eq!(sent_back(response.content).len(), blocks);
}

/// An answer's blocks as the next request serialises them.
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
    assert!(blocks.is_some(), "content isn't a list: {read}");
    blocks.cloned().unwrap_or_default()
}
