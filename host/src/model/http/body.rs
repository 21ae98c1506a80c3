//! A response's body, with limits on its length, the length of one event and the time between two chunks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use reqwest::Response;
use thiserror::Error;
use tokio::time::Instant;

/// The longest answer, streamed or not.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The longest single event of a stream.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// How much of an error's body is read. The rest is ignored.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long to wait for an error's body.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("no data for {0:?}")]
    Stalled(Duration),
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error("one event is longer than {MAX_EVENT_BYTES} bytes")]
    EventTooLong,
    #[error("{0}")]
    Broken(String),
}

pub(super) struct Body {
    response: Response,
    idle: Duration,
    read: usize,
}

impl Body {
    pub(super) fn new(response: Response, idle: Duration) -> Self {
        Self {
            response,
            idle,
            read: 0,
        }
    }

    /// The next chunk. Every byte resets the idle time-out, because pings and comments also prove that the server is alive.
    async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, BodyError> {
        let piece = tokio::time::timeout(self.idle, self.response.chunk())
            .await
            .map_err(|_| BodyError::Stalled(self.idle))?
            .map_err(|error| BodyError::Broken(super::error::reason(error)))?;
        self.read = self.read.saturating_add(piece.as_ref().map_or(0, Bytes::len));
        if self.read > limit {
            Err(BodyError::TooLong(limit))
        } else {
            Ok(piece)
        }
    }

    /// The whole body.
    pub(super) async fn whole(mut self) -> Result<Vec<u8>, BodyError> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next(MAX_ANSWER_BYTES).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// As much of the body as arrives within [`ERROR_BODY_TIMEOUT`]. A truncated message is better than none, and an endless
    /// body must not hide the status.
    pub(super) async fn beginning(mut self) -> Vec<u8> {
        let until = Instant::now() + ERROR_BODY_TIMEOUT;
        let mut beginning = Vec::new();
        while beginning.len() < MAX_ERROR_BYTES {
            match tokio::time::timeout_at(until, self.next(usize::MAX)).await {
                Ok(Ok(Some(piece))) => beginning.extend_from_slice(&piece),
                _ => break,
            }
        }
        beginning.truncate(MAX_ERROR_BYTES);
        beginning
    }

    /// The chunks as a stream. It fails once more than [`MAX_EVENT_BYTES`] arrived since the reader last called
    /// [`EventBytes::reset`].
    pub(super) fn pieces(self) -> (impl Stream<Item = Result<Bytes, BodyError>>, EventBytes) {
        let event_bytes = EventBytes::default();
        let pieces = stream::try_unfold((self, event_bytes.clone()), async |(mut body, event_bytes)| {
            let Some(piece) = body.next(MAX_ANSWER_BYTES).await? else {
                return Ok(None);
            };
            let since = event_bytes
                .0
                .fetch_add(piece.len(), Ordering::Relaxed)
                .saturating_add(piece.len());
            if since > MAX_EVENT_BYTES {
                Err(BodyError::EventTooLong)
            } else {
                Ok(Some((piece, (body, event_bytes))))
            }
        });
        (pieces, event_bytes)
    }
}

/// Bytes received since the last complete event. The parser keeps an incomplete event in memory without a limit.
#[derive(Clone, Default)]
pub(super) struct EventBytes(Arc<AtomicUsize>);

impl EventBytes {
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
