//! The body of a response. It charges its bytes to the call's budgets as they pass.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use wasmtime_wasi_http::Error;

use super::budget::{Budgets, Direction, Exceeded};
use crate::sandbox::fairness::MemoryShare;

/// A response body. Its bytes are charged as they arrive, over all responses of the call.
pub(super) struct MeteredBody {
    incoming: Incoming,
    budgets: Budgets,
    exceeded: Exceeded,
    pause: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    refused: Arc<Mutex<Vec<String>>>,
    /// The exchange's share of guest memory: buffered bytes are still held after the connection has closed.
    _held: Arc<MemoryShare>,
}

impl MeteredBody {
    pub(super) fn new(
        incoming: Incoming,
        budgets: Budgets,
        exceeded: Exceeded,
        pause: Option<Duration>,
        refused: Arc<Mutex<Vec<String>>>,
        held: Arc<MemoryShare>,
    ) -> Self {
        Self {
            incoming,
            budgets,
            exceeded,
            pause,
            timer: None,
            refused,
            _held: held,
        }
    }
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.timer = None;
                if !self.budgets.received.charge(frame.data_ref().map_or(0, Bytes::len)) {
                    self.exceeded.set(Direction::In);
                    let error = self
                        .exceeded
                        .explain(Error::HttpProtocolError, &self.budgets, &self.refused);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let error = self.exceeded.explain(error.into(), &self.budgets, &self.refused);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let Some(pause) = self.pause else { return Poll::Pending };
                let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }
}
