//! What a call may send and receive, and which limit it met.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use super::budget::Budget;
use super::egress::note;
use super::wire::Wire;
use crate::sandbox::Limits;
use crate::sandbox::fairness::MemoryShare;

/// Bytes that may still be moved, over all requests of the call.
#[derive(Clone)]
pub(super) struct Budgets {
    /// Bodies of responses.
    received: Budget,
    /// Bodies of requests.
    pub(super) sent: Budget,
    /// All that comes in over the connections, bodies among it.
    pub(super) wire: Budget,
}

impl Budgets {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            received: Budget::new(limits.http_response_bytes),
            sent: Budget::new(limits.http_request_bytes),
            wire: Wire::budget(limits.http_response_bytes, limits.http_requests),
        }
    }
}

/// Which way the bytes went that were too many.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Direction {
    In = 1,
    Out = 2,
}

/// Whether one exchange met a limit. Clones tell each other.
#[derive(Clone, Default)]
pub(super) struct Exceeded(Arc<AtomicU8>);

impl Exceeded {
    pub(super) fn set(&self, direction: Direction) {
        self.0.store(direction as u8, Ordering::Relaxed);
    }

    /// The error that says so, to the guest and to the operator; any other stays what it is.
    pub(super) fn explain(&self, error: Error, budgets: &Budgets, refused: &Mutex<Vec<String>>) -> Error {
        const IN: u8 = Direction::In as u8;
        const OUT: u8 = Direction::Out as u8;
        let told = |name: &str, limit: u64| {
            note(refused, format!("more than {limit} bytes in one call (limit {name})"));
            Some(limit)
        };
        match self.0.load(Ordering::Relaxed) {
            IN => Error::HttpResponseBodySize(told("http_response_bytes", budgets.received.limit())),
            OUT => Error::HttpRequestBodySize(told("http_request_bytes", budgets.sent.limit())),
            _ => error,
        }
    }
}

/// Response bytes are charged as they arrive, over all responses of the call.
pub(super) struct MeteredBody {
    incoming: Incoming,
    budgets: Budgets,
    exceeded: Exceeded,
    pause: Option<Duration>,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
    refused: Arc<Mutex<Vec<String>>>,
    /// Of what all guests have: what has come in is here, whatever became of the connection.
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

/// Request bytes are charged as they leave.
pub(super) struct Upload {
    body: WasiBody,
    budget: Budget,
    exceeded: Exceeded,
}

impl Upload {
    pub(super) fn new(body: WasiBody, budget: Budget, exceeded: Exceeded) -> Self {
        Self { body, budget, exceeded }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && !self.budget.charge(frame.data_ref().map_or(0, Bytes::len))
        {
            self.exceeded.set(Direction::Out);
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(self.budget.limit())))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
