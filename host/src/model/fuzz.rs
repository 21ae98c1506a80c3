//! Fuzz targets for answers of model APIs, which may also come from an attacker in their place.

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use sse_stream::SseByteStream;

pub use super::anthropic::fuzz::{response, stream};
use super::exchange::{Reader, Step};
pub use super::openai::fuzz::completion;
use super::{ModelError, ModelResponse, Progress};

/// Reads a streamed answer. The first byte sets the chunk size, which must not change the result.
pub(super) fn streamed<R: Reader>(data: &[u8]) -> Option<ModelResponse> {
    let (size, data) = data.split_first()?;
    let whole = assembled::<R>(data, data.len().max(1));
    let pieces = assembled::<R>(data, usize::from(*size % 64) + 1);
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        (Err(whole), Err(pieces)) => assert_eq!(whole.kind(), pieces.kind()),
        (whole, pieces) => assert_eq!(whole.is_ok(), pieces.is_ok(), "{whole:?} {pieces:?}"),
    }
    whole.ok()
}

fn assembled<R: Reader>(data: &[u8], size: usize) -> Result<ModelResponse, ModelError> {
    let pieces = data
        .chunks(size)
        .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)));
    let progress = Progress::new(|_| ());
    let malformed = |reason: String| ModelError::Malformed {
        reason,
        request_id: None,
    };
    let mut answer = R::new(None);
    let mut events = pin!(SseByteStream::new(stream::iter(pieces)));
    // All data is available, so nothing ever waits.
    while let Some(Some(event)) = events.next().now_or_never() {
        let event = event.map_err(|error| malformed(error.to_string()))?;
        if let Step::Complete = answer.event(&event, &progress)? {
            break;
        }
    }
    match answer.missing() {
        None => answer.finish(&progress),
        Some(missing) => Err(ModelError::Cut {
            reason: missing.to_owned(),
            request_id: None,
        }),
    }
}
