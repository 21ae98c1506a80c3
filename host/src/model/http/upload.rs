//! A request's body, which records when the connection took the parts of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::super::Upload;

/// How much the connection takes at a time.
const FRAME_BYTES: usize = 64 * 1024;

/// What the connection and the kernel can hold of a request that they have taken but not yet sent.
const BUFFERED_BYTES: usize = 4 * 1024 * 1024;

/// The slowest uplink that what is buffered is given time for.
const SLOWEST_BYTES_PER_SECOND: f64 = 64.0 * 1024.0;

/// What is known about the sending of one request.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) upload: Upload,
    length: usize,
    last_taken: Mutex<Instant>,
}

impl Sending {
    pub(super) fn new(upload: Upload, length: usize) -> Arc<Self> {
        Arc::new(Self {
            upload,
            length,
            last_taken: Mutex::new(Instant::now()),
        })
    }

    /// When the connection last took a part of the request.
    pub(super) fn last_taken(&self) -> Instant {
        *self.last_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a slow uplink needs for the end of the request, which was taken and may not be sent yet.
    pub(super) fn drain_time(&self) -> Duration {
        // A few megabytes at most, so exact as a float.
        #[allow(clippy::cast_precision_loss)]
        let buffered = self.length.min(BUFFERED_BYTES) as f64;
        Duration::from_secs_f64(buffered / SLOWEST_BYTES_PER_SECOND)
    }

    fn took(&self) {
        *self.last_taken.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

pub(super) struct RequestBody {
    rest: Bytes,
    sending: Arc<Sending>,
}

impl RequestBody {
    pub(super) fn new(bytes: Bytes, sending: Arc<Sending>) -> Self {
        Self { rest: bytes, sending }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.rest.len().min(FRAME_BYTES);
        let frame = self.rest.split_to(length);
        self.sending.took();
        if self.rest.is_empty() {
            self.sending.upload.complete();
        }
        Poll::Ready((!frame.is_empty()).then(|| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_request_is_complete_once_its_last_part_is_taken() {
        let upload = Upload::default();
        let sending = Sending::new(upload.clone(), FRAME_BYTES + 1);
        let bytes = Bytes::from(vec![b'x'; FRAME_BYTES + 1]);
        let mut body = RequestBody::new(bytes, sending);
        for (length, is_complete) in [(FRAME_BYTES, false), (1, true)] {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), length);
            assert_eq!(upload.completed_at().is_some(), is_complete);
        }
        assert!(body.is_end_stream());
    }

    #[test]
    fn only_what_can_be_buffered_is_given_time() {
        let seconds = |length| Sending::new(Upload::default(), length).drain_time().as_secs();
        assert_eq!([0, 64 << 10, 4 << 20, 1 << 30].map(seconds), [0, 1, 64, 64]);
    }
}
