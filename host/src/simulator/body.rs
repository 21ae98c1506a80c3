//! A response body made of planned steps: bytes, pauses, and a fault at the end.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use super::connection::{ConnectionControl, Hangup};

/// One step of a planned body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data(Bytes),
    Wait(Duration),
    /// Closes or resets the connection once all preceding bytes have been written.
    HangUp(Hangup),
    /// Sends nothing more and never ends the body.
    Stall,
}

#[derive(Debug)]
pub(super) struct PlannedBody {
    parts: VecDeque<Part>,
    /// Bytes per frame. Zero: one frame per part.
    write_bytes: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    control: Arc<ConnectionControl>,
}

impl PlannedBody {
    pub(super) fn new(
        parts: impl IntoIterator<Item = Part>,
        write_bytes: usize,
        control: Arc<ConnectionControl>,
    ) -> Self {
        // An empty frame would be written as no chunk at all, so drop it.
        let parts = parts
            .into_iter()
            .filter(|part| !matches!(part, Part::Data(bytes) if bytes.is_empty()));
        Self {
            parts: parts.collect(),
            write_bytes,
            sleep: None,
            control,
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
                    // The connection acts on this once it has flushed. The body itself just stalls.
                    self.control.hang_up(hangup);
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

    /// Exact, and therefore sent as `content-length`, only for an empty body or a single piece without a fault.
    fn size_hint(&self) -> SizeHint {
        match (self.parts.len(), self.parts.front()) {
            (0, _) => SizeHint::with_exact(0),
            (1, Some(Part::Data(bytes))) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}
