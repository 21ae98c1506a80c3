//! The body of a request as a guest writes it: a buffer between the guest, which fills it, and the request, which empties it.
//!
//! The buffer is bounded by bytes, not by pieces, so that a guest can write a small body in any number of pieces before it calls
//! `handle`. Nothing empties the buffer before that call, so a guest that waits for room until then gets an error, which says
//! so. It would otherwise wait until its time-out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use wasmtime::format_err;
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

use super::held::{BODY_BUFFER_BYTES, BODY_CHUNK_BYTES};

/// One byte beyond the buffer, so that a guest that has filled it and flushes gets no error for it.
const MAX_BUFFERED: usize = BODY_BUFFER_BYTES + 1;

/// The capacity of the first chunk of a small write.
const SMALL_CHUNK_BYTES: usize = 64;

/// The guest's `outgoing-body`. Dropping it before it was finished aborts the request.
pub(super) struct GuestBody {
    shared: Arc<Mutex<State>>,
    /// Whether the guest has taken the stream, which it can do once.
    has_stream: bool,
    /// The error of a body that hasn't the length that its headers announce.
    wrong_length: fn(Option<u64>) -> ErrorCode,
}

/// The stream that a guest writes its body to.
struct GuestBodyStream {
    shared: Arc<Mutex<State>>,
    wrong_length: fn(Option<u64>) -> ErrorCode,
}

/// The end of the buffer from which the host reads.
pub(super) struct WrittenBody(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    chunks: VecDeque<BytesMut>,
    buffered: usize,
    /// Bytes that the guest has written in total, and what its `content-length` announces.
    written: u64,
    announced: Option<u64>,
    end: Option<End>,
    /// Whether the request is being sent, so that the buffer empties.
    is_sending: bool,
    /// Whether the guest waited for room before that.
    waited_in_vain: bool,
    /// Whether nobody reads any more.
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum End {
    Finished(Option<HeaderMap>),
    Aborted,
    /// The reader has got to the end.
    Read,
}

impl GuestBody {
    /// A body, and the end that the host reads from. `announced` is the guest's own `content-length`.
    pub(super) fn new(announced: Option<u64>, wrong_length: fn(Option<u64>) -> ErrorCode) -> (Self, WrittenBody) {
        let state = State {
            announced,
            ..State::default()
        };
        let shared = Arc::new(Mutex::new(state));
        let body = Self {
            shared: shared.clone(),
            has_stream: false,
            wrong_length,
        };
        (body, WrittenBody(shared))
    }

    pub(super) fn stream(&mut self) -> Option<Box<dyn OutputStream>> {
        if std::mem::replace(&mut self.has_stream, true) {
            return None;
        }
        Some(Box::new(GuestBodyStream {
            shared: self.shared.clone(),
            wrong_length: self.wrong_length,
        }))
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// If the guest wrote less than it announced. The request is aborted then.
    pub(super) fn finish(self, trailers: Option<HeaderMap>) -> Result<(), ErrorCode> {
        change(&self.shared, |state| {
            if state.announced.is_some_and(|announced| announced != state.written) {
                state.end = Some(End::Aborted);
                return Err((self.wrong_length)(Some(state.written)));
            }
            state.end = Some(End::Finished(trailers));
            Ok(())
        })
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        change(&self.shared, |state| {
            state.end.get_or_insert(End::Aborted);
        });
    }
}

impl State {
    fn room(&self) -> usize {
        MAX_BUFFERED.saturating_sub(self.buffered)
    }

    /// Appends `bytes`. Chunks are filled before new ones are made, so that small writes take no more memory than large ones.
    fn append(&mut self, mut bytes: &[u8]) {
        self.buffered += bytes.len();
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            let last = self.chunks.back_mut();
            let (capacity, free) = last
                .as_ref()
                .map_or((0, 0), |last| (last.capacity(), last.capacity() - last.len()));
            match last.filter(|_| free > 0) {
                Some(last) => {
                    let (now, later) = bytes.split_at(bytes.len().min(free));
                    last.extend_from_slice(now);
                    bytes = later;
                }
                None => {
                    let wanted = bytes.len().max(2 * capacity);
                    let capacity = wanted.clamp(SMALL_CHUNK_BYTES, BODY_CHUNK_BYTES);
                    self.chunks.push_back(BytesMut::with_capacity(capacity));
                }
            }
        }
    }
}

/// Changes the state, then wakes those that waited for a change.
fn change<T>(shared: &Mutex<State>, change: impl FnOnce(&mut State) -> T) -> T {
    let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = change(&mut state);
    let waiting = [state.reader.take(), state.writer.take()];
    drop(state);
    waiting.into_iter().flatten().for_each(Waker::wake);
    changed
}

impl OutputStream for GuestBodyStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        change(&self.shared, |state| {
            if state.is_closed {
                return Err(StreamError::Closed);
            }
            if bytes.len() > state.room() {
                return Err(StreamError::Trap(format_err!("write exceeded budget")));
            }
            let total = state.written.saturating_add(bytes.len() as u64);
            if state.announced.is_some_and(|announced| total > announced) {
                state.end = Some(End::Aborted);
                return Err(StreamError::LastOperationFailed(
                    (self.wrong_length)(Some(total)).into(),
                ));
            }
            state.append(&bytes);
            Ok(())
        })
    }

    /// What is buffered counts as flushed: the guest can do nothing more for it.
    fn flush(&mut self) -> StreamResult<()> {
        match self.shared.lock().unwrap_or_else(PoisonError::into_inner).is_closed {
            true => Err(StreamError::Closed),
            false => Ok(()),
        }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return Err(StreamError::Closed);
        }
        match state.room() {
            0 if state.waited_in_vain && !state.is_sending => Err(StreamError::LastOperationFailed(format_err!(
                "the host buffers {BODY_BUFFER_BYTES} bytes of a body before the request is sent: call \
                 `outgoing-handler.handle` before writing more"
            ))),
            room => Ok(room),
        }
    }
}

#[async_trait::async_trait]
impl Pollable for GuestBodyStream {
    /// Ready when there is room, and when there can't be any: `check_write` then says why.
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            if state.is_closed || state.room() > 0 {
                return Poll::Ready(());
            }
            if !state.is_sending {
                state.waited_in_vain = true;
                return Poll::Ready(());
            }
            state.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Body for WrittenBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_sending = true;
        if let Some(chunk) = state.chunks.pop_front() {
            state.buffered -= chunk.remaining();
            let writer = state.writer.take();
            drop(state);
            writer.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))));
        }
        match state.end.take() {
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(end) => {
                state.end = Some(End::Read);
                Poll::Ready(match end {
                    End::Finished(Some(trailers)) => Some(Ok(Frame::trailers(trailers))),
                    End::Aborted => Some(Err(Error::HttpProtocolError)),
                    End::Finished(None) | End::Read => None,
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.chunks.is_empty() && matches!(state.end, Some(End::Finished(None) | End::Read))
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.end {
            Some(End::Finished(None)) => SizeHint::with_exact(state.buffered as u64),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for WrittenBody {
    fn drop(&mut self) {
        change(&self.0, |state| {
            state.is_closed = true;
            state.chunks.clear();
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    fn body(announced: Option<u64>) -> (GuestBody, WrittenBody) {
        GuestBody::new(announced, ErrorCode::HttpRequestBodySize)
    }

    fn failure(result: StreamResult<impl std::fmt::Debug>) -> String {
        match result.unwrap_err() {
            StreamError::LastOperationFailed(error) => format!("{error:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn as_many_bytes_as_the_buffer_has_fit_whatever_the_pieces() {
        for piece in [1, 7, 4_096, BODY_BUFFER_BYTES] {
            let (mut body, written) = body(None);
            let mut stream = body.stream().unwrap();
            let bytes = vec![b'x'; BODY_BUFFER_BYTES];
            for piece in bytes.chunks(piece) {
                let done = stream
                    .blocking_write_and_flush(Bytes::copy_from_slice(piece))
                    .now_or_never();
                done.expect("it waits").unwrap();
            }
            {
                let state = written.0.lock().unwrap();
                let held: usize = state.chunks.iter().map(BytesMut::capacity).sum();
                assert!(held <= super::super::held::HELD_FOR_A_BODY, "{piece}: {held}");
            }
            drop(stream);
            body.finish(None).unwrap();
            let read = written.collect().now_or_never().unwrap().unwrap().to_bytes();
            assert_eq!(read.len(), BODY_BUFFER_BYTES);
        }
    }

    #[test]
    fn a_longer_body_before_handle_is_an_error_that_says_what_to_do() {
        let (mut body, mut written) = body(None);
        let mut stream = body.stream().unwrap();
        let mut accepted = 0;
        let refused = loop {
            match stream
                .blocking_write_and_flush(vec![b'x'; 4_096].into())
                .now_or_never()
                .expect("it waits")
            {
                Ok(()) => accepted += 4_096,
                Err(error) => break failure(Err::<(), _>(error)),
            }
        };
        assert!(refused.contains("call `outgoing-handler.handle` before"), "{refused}");
        assert_eq!(accepted, BODY_BUFFER_BYTES);
        // As soon as the request is sent, there is room again.
        assert!(written.frame().now_or_never().unwrap().unwrap().is_ok());
        assert!(stream.check_write().unwrap() > 0);
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_request_that_is_being_sent() {
        let (mut body, mut written) = body(None);
        assert!(written.frame().now_or_never().is_none());
        let mut stream = body.stream().unwrap();
        stream.write(vec![b'x'; MAX_BUFFERED].into()).unwrap();
        assert_eq!(stream.check_write().unwrap(), 0);
        assert!(stream.ready().now_or_never().is_none());
        let (room, frame) = tokio::join!(stream.write_ready(), written.frame());
        assert_eq!(room.unwrap(), frame.unwrap().unwrap().into_data().unwrap().len());
    }

    #[test]
    fn another_length_than_announced_aborts_the_request() {
        let size_of = |error: ErrorCode| match error {
            ErrorCode::HttpRequestBodySize(size) => size,
            other => panic!("{other:?}"),
        };
        let (mut short, mut written) = body(Some(5));
        short.stream().unwrap().write("1234".into()).unwrap();
        assert_eq!(size_of(short.finish(None).unwrap_err()), Some(4));
        assert!(written.frame().now_or_never().unwrap().unwrap().is_ok());
        assert!(written.frame().now_or_never().unwrap().unwrap().is_err());

        let (mut long, mut written) = body(Some(5));
        let error = failure(long.stream().unwrap().write("123456".into()));
        assert!(error.contains("HttpRequestBodySize"), "{error}");
        assert!(written.frame().now_or_never().unwrap().unwrap().is_err());
    }

    #[test]
    fn a_body_that_is_dropped_aborts_and_one_that_nobody_reads_is_closed() {
        let (mut dropped, mut written) = body(None);
        assert!(dropped.stream().is_some() && dropped.stream().is_none());
        drop(dropped);
        assert!(written.frame().now_or_never().unwrap().unwrap().is_err());
        assert!(written.frame().now_or_never().unwrap().is_none());
        let (mut unread, written) = body(None);
        let mut stream = unread.stream().unwrap();
        drop(written);
        assert!(matches!(stream.write("x".into()), Err(StreamError::Closed)));
        assert!(matches!(stream.check_write(), Err(StreamError::Closed)));
        assert!(stream.ready().now_or_never().is_some());
    }
}
