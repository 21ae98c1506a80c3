//! The body of a request as it leaves. Its bytes are charged, and a body that is short and soon complete is sent with its length:
//! some servers refuse requests without one.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error, WasiBody};

use super::budget::{Budget, Direction, Exceeded};
use super::held::BODY_BUFFER_BYTES;

/// How long the host waits for the end of a short body before it sends the request in chunks. Most guests write their body right
/// after `handle`, so it is complete before the connection is. A guest that waits for the response first loses this time.
const COMPLETE_WITHIN: Duration = Duration::from_millis(250);

/// A request body. Its bytes are charged as they are read from the guest.
pub(super) struct Upload {
    body: WasiBody,
    budget: Budget,
    pub(super) exceeded: Exceeded,
    /// What was read ahead, until the body is sent.
    ahead: BytesMut,
    /// How the body ended, if it has.
    end: Option<Result<Option<HeaderMap>, Error>>,
}

impl Upload {
    /// Reads what the guest has written so far. A guest that goes on writing waits for room from here on.
    pub(super) fn begin(body: WasiBody, budget: Budget) -> Self {
        let mut upload = Self {
            body,
            budget,
            exceeded: Exceeded::default(),
            ahead: BytesMut::new(),
            end: None,
        };
        let _ = upload.poll_complete(&mut Context::from_waker(Waker::noop()));
        upload
    }

    /// Reads ahead until the body is complete, longer than the buffer, or slow.
    pub(super) async fn read_ahead(&mut self) {
        let complete = std::future::poll_fn(|cx| self.poll_complete(cx));
        // Without an end in time, the length stays unknown.
        let _ = tokio::time::timeout(COMPLETE_WITHIN, complete).await;
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.end.is_none() && self.ahead.len() <= BODY_BUFFER_BYTES {
            match ready!(self.poll_body(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    // Copied, because many small frames would hold more memory than their bytes.
                    Ok(data) => self.ahead.extend_from_slice(&data),
                    Err(frame) => {
                        self.end = Some(Ok(frame.into_trailers().ok().filter(|trailers| !trailers.is_empty())))
                    }
                },
                Some(Err(error)) => self.end = Some(Err(error)),
                None => self.end = Some(Ok(None)),
            }
        }
        Poll::Ready(())
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && !self.budget.charge(frame.data_ref().map_or(0, Bytes::len))
        {
            self.exceeded.set(Direction::Out);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.budget.limit())))));
        }
        Poll::Ready(frame)
    }

    /// The length of the whole body, if it is complete. A body with trailers has none: trailers only go with chunks.
    fn length(&self) -> Option<u64> {
        match self.end {
            Some(Ok(None)) => Some(self.ahead.len() as u64),
            _ => None,
        }
    }
}

/// Says in the head how the body is framed, where hyper would say nothing.
///
/// # Errors
///
/// If the body failed before anything of it was sent.
pub(super) fn frame_body(request: &mut Request<Upload>) -> Result<(), Error> {
    let method = request.method();
    // RFC 9110, section 8.6: these methods expect a body, so its absence is said.
    let expects_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
    let expects_none = [Method::GET, Method::HEAD].contains(method);
    let is_announced = request.headers().contains_key(header::CONTENT_LENGTH);
    let body = request.body_mut();
    // Many guests open the body of every request, and forget that of a GET. As a rule it has none.
    let is_forgotten = body.ahead.is_empty() && matches!(body.end, None | Some(Err(Error::HttpProtocolError)));
    if expects_none && !is_announced && is_forgotten {
        body.end = Some(Ok(None));
    }
    if let Some(Err(error)) = body.end.take_if(|end| end.is_err()) {
        return Err(error);
    }
    let length = body.length();
    let headers = request.headers_mut();
    if !is_announced {
        match length {
            Some(0) if expects_body => headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0")),
            // hyper would drop the body.
            None if expects_none => headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
            _ => None,
        };
    }
    Ok(())
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.ahead.is_empty() {
            let ahead = self.ahead.split().freeze();
            return Poll::Ready(Some(Ok(Frame::data(ahead))));
        }
        match self.end.replace(Ok(None)) {
            None => {
                self.end = None;
                let frame = ready!(self.poll_body(cx));
                if frame.is_none() {
                    self.end = Some(Ok(None));
                }
                Poll::Ready(frame)
            }
            Some(Ok(trailers)) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.length() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt;
    use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;

    use super::*;
    use crate::sandbox::http::guest_body::GuestBody;

    fn guest_body() -> (GuestBody, WasiBody) {
        let (guest, written) = GuestBody::new(None, ErrorCode::HttpRequestBodySize);
        (guest, written.boxed_unsync())
    }

    /// `content-length` and `transfer-encoding` of the request that is sent.
    async fn framing(method: Method, body: WasiBody) -> [Option<String>; 2] {
        let mut upload = Upload::begin(body, Budget::new(u64::MAX));
        upload.read_ahead().await;
        let hint = upload.size_hint().exact();
        let mut request = Request::new(upload);
        *request.method_mut() = method;
        frame_body(&mut request).unwrap();
        let header = |name| {
            request
                .headers()
                .get(name)
                .map(|value: &HeaderValue| value.to_str().unwrap().to_owned())
        };
        let length =
            header(header::CONTENT_LENGTH).or(hint.filter(|length| *length > 0).map(|length| length.to_string()));
        [length, header(header::TRANSFER_ENCODING)]
    }

    #[tokio::test(start_paused = true)]
    async fn the_length_is_sent_where_it_is_known() {
        let empty = || {
            http_body_util::Empty::new()
                .map_err(|never| match never {})
                .boxed_unsync()
        };
        let zero = Some("0".to_owned());
        for method in [Method::POST, Method::PUT, Method::PATCH] {
            assert_eq!(framing(method, empty()).await, [zero.clone(), None]);
        }
        for method in [Method::GET, Method::HEAD, Method::DELETE, Method::OPTIONS] {
            assert_eq!(framing(method, empty()).await, [None, None]);
        }
        let (opened, body) = guest_body();
        opened.finish(None).unwrap();
        assert_eq!(framing(Method::POST, body).await, [zero, None]);
        let (mut finished, body) = guest_body();
        finished.stream().unwrap().write("hello".into()).unwrap();
        finished.finish(None).unwrap();
        assert_eq!(framing(Method::POST, body).await, [Some("5".to_owned()), None]);
        // Finished while the host connects.
        let (mut late, body) = guest_body();
        let writes = async {
            tokio::time::sleep(COMPLETE_WITHIN / 2).await;
            late.stream().unwrap().write("hello".into()).unwrap();
            late.finish(None).unwrap();
        };
        let (framing_of_late, ()) = tokio::join!(framing(Method::GET, body), writes);
        assert_eq!(framing_of_late, [Some("5".to_owned()), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_slow_or_long_leaves_in_chunks() {
        let (slow, body) = guest_body();
        let begin = tokio::time::Instant::now();
        assert_eq!(framing(Method::POST, body).await, [None, None]);
        assert_eq!(begin.elapsed().as_millis(), COMPLETE_WITHIN.as_millis());
        drop(slow);
        let (mut long, body) = guest_body();
        let mut stream = long.stream().unwrap();
        stream.write(vec![b'x'; BODY_BUFFER_BYTES + 1].into()).unwrap();
        let begin = tokio::time::Instant::now();
        assert_eq!(framing(Method::GET, body).await, [None, Some("chunked".to_owned())]);
        assert!(begin.elapsed() < COMPLETE_WITHIN);
        let (mut trailed, body) = guest_body();
        trailed.stream().unwrap().write("hello".into()).unwrap();
        let trailers = [(header::ETAG, HeaderValue::from_static("x"))].into_iter().collect();
        trailed.finish(Some(trailers)).unwrap();
        assert_eq!(framing(Method::POST, body).await, [None, None]);
    }

    /// How a request with a body that ended or failed already begins.
    async fn begun(method: Method, body: WasiBody, budget: u64) -> Result<(), Error> {
        let mut upload = Upload::begin(body, Budget::new(budget));
        upload.read_ahead().await;
        let mut request = Request::new(upload);
        *request.method_mut() = method;
        frame_body(&mut request)
    }

    #[tokio::test]
    async fn a_body_that_failed_early_is_not_sent() {
        let (aborted, body) = guest_body();
        drop(aborted);
        let failed = begun(Method::POST, body, u64::MAX).await;
        assert!(matches!(failed, Err(Error::HttpProtocolError)), "{failed:?}");
        let (mut large, body) = guest_body();
        large.stream().unwrap().write(vec![b'x'; 101].into()).unwrap();
        let failed = begun(Method::GET, body, 100).await;
        assert!(
            matches!(failed, Err(Error::HttpRequestBodySize(Some(100)))),
            "{failed:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_get_whose_body_was_opened_and_forgotten_has_none() {
        let (dropped, body) = guest_body();
        drop(dropped);
        begun(Method::GET, body, u64::MAX).await.unwrap();
        let (_forgotten, body) = guest_body();
        assert_eq!(framing(Method::GET, body).await, [None, None]);
    }

    #[tokio::test]
    async fn every_byte_is_passed_on_once() {
        let (mut guest, body) = guest_body();
        let mut stream = guest.stream().unwrap();
        stream.write("ahead, ".into()).unwrap();
        let mut upload = Upload::begin(body, Budget::new(u64::MAX));
        stream.write("and after".into()).unwrap();
        let first = upload.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(stream);
        guest.finish(None).unwrap();
        let rest = upload.collect().await.unwrap().to_bytes();
        assert_eq!([&first[..], &rest[..]].concat(), b"ahead, and after");
    }
}
