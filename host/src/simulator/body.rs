//! A response body that follows a plan: bytes, pauses, and the fault at its end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::connection::{Hangup, Line};

/// One step of a body's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data(Bytes),
    Wait(Duration),
    /// The connection is given up once all that came before has been written.
    HangUp(Hangup),
    /// Nothing follows, and the body does not end.
    Stall,
}

#[derive(Debug)]
pub(super) struct PlannedBody {
    parts: VecDeque<Part>,
    /// Bytes per frame; zero: a frame for every part.
    write_bytes: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    line: Arc<Line>,
}

impl PlannedBody {
    pub(super) fn new(parts: impl IntoIterator<Item = Part>, write_bytes: usize, line: Arc<Line>) -> Self {
        // An empty frame would be no chunk at all, and ends nothing: it can only confuse.
        let parts = parts
            .into_iter()
            .filter(|part| !matches!(part, Part::Data(bytes) if bytes.is_empty()));
        Self {
            parts: parts.collect(),
            write_bytes,
            sleep: None,
            line,
        }
    }

    fn frame(&mut self, mut bytes: Bytes) -> Bytes {
        if self.write_bytes == 0 || bytes.len() <= self.write_bytes {
            return bytes;
        }
        let rest = bytes.split_off(self.write_bytes);
        self.parts.push_front(Part::Data(rest));
        bytes
    }
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
            }
            match self.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(self.frame(bytes))))),
                Some(Part::Wait(pause)) => self.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Part::HangUp(hangup)) => {
                    // The connection sees this as soon as it has flushed; the body just never goes on.
                    self.line.hang_up(hangup);
                    self.parts.push_front(Part::Stall);
                    return Poll::Pending;
                }
                Some(Part::Stall) => {
                    self.parts.push_front(Part::Stall);
                    return Poll::Pending;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    /// Known, and therefore sent as `content-length`, only for a body of one piece that nothing happens to.
    fn size_hint(&self) -> SizeHint {
        match (self.parts.len(), self.parts.front()) {
            (0, _) => SizeHint::with_exact(0),
            (1, Some(Part::Data(bytes))) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
