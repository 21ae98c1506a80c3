//! A response's body, with a limit on everything: its length, the length of one event, the silence between two pieces.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use reqwest::Response;
use thiserror::Error;
use tokio::time::Instant;

/// The longest answer that is read, streamed or not.
const MAX_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// The longest single event of a stream.
const MAX_EVENT_BYTES: usize = 4 * 1024 * 1024;

/// How much of an error's body is read; the rest is of no interest.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long an error's body is waited for.
const ERROR_BODY_PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Error)]
pub(super) enum BodyError {
    #[error("nothing came for {0:?}")]
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

    /// The next piece, whatever it holds: every byte proves that the server is alive, a ping as well as a comment.
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

    /// As much of the body as can be had soon, for an error is worth reporting with half its text too, and its status
    /// must not be lost to a body that never ends.
    pub(super) async fn beginning(mut self) -> Vec<u8> {
        let until = Instant::now() + ERROR_BODY_PATIENCE;
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

    /// The pieces as a stream. It fails when more than [`MAX_EVENT_BYTES`] went by since the reader last called
    /// [`EventMark::passed`].
    pub(super) fn pieces(self) -> (impl Stream<Item = Result<Bytes, BodyError>>, EventMark) {
        let mark = EventMark::default();
        let pieces = stream::try_unfold((self, mark.clone()), async |(mut body, mark)| {
            let Some(piece) = body.next(MAX_ANSWER_BYTES).await? else {
                return Ok(None);
            };
            let since = mark
                .0
                .fetch_add(piece.len(), Ordering::Relaxed)
                .saturating_add(piece.len());
            if since > MAX_EVENT_BYTES {
                Err(BodyError::EventTooLong)
            } else {
                Ok(Some((piece, (body, mark))))
            }
        });
        (pieces, mark)
    }
}

/// How many bytes went by since the last event that was complete. The parser keeps an unfinished event in memory and
/// has no limit of its own.
#[derive(Clone, Default)]
pub(super) struct EventMark(Arc<AtomicUsize>);

impl EventMark {
    pub(super) fn passed(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}
