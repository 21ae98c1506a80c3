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

/// Copies of a repeated text are sent in blocks of about this size.
const REPEATED_BLOCK_BYTES: usize = 64 * 1024;

/// One step of a planned body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Data(Bytes),
    /// The same bytes so many times. Only one block of them is in memory at once.
    Repeated(Bytes, u64),
    Wait(Duration),
    /// Sends everything that follows one byte at a time, with this pause before each.
    Drip(Duration),
    /// Sends these bytes for ever, after a pause each.
    Forever(Bytes, Duration),
    /// Closes or resets the connection once all preceding bytes have been written.
    HangUp(Hangup),
    /// Sends nothing more and never ends the body.
    Stall,
}

/// A body, and what its connection does after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BodyPlan {
    pub(super) parts: Vec<Part>,
    /// Sent as `content-length`, even if a fault ends the body earlier. Without it, a body of several parts is chunked.
    pub(super) length: Option<u64>,
    /// Bytes per frame. Zero: one frame per part.
    pub(super) write_bytes: usize,
    /// Ends the connection after the whole HTTP message.
    pub(super) then: Option<Hangup>,
}

#[derive(Debug)]
pub(super) struct PlannedBody {
    parts: VecDeque<Part>,
    length: Option<u64>,
    write_bytes: usize,
    drip: Option<Duration>,
    sleep: Option<Pin<Box<Sleep>>>,
    then: Option<Hangup>,
    control: Arc<ConnectionControl>,
}

impl BodyPlan {
    pub(super) fn of(parts: Vec<Part>) -> Self {
        Self {
            parts,
            ..Self::default()
        }
    }
}

impl PlannedBody {
    pub(super) fn new(plan: BodyPlan, control: Arc<ConnectionControl>) -> Self {
        // An empty frame would be written as no chunk at all, so drop it.
        let is_empty = |part: &Part| match part {
            Part::Data(bytes) => bytes.is_empty(),
            Part::Repeated(bytes, times) => bytes.is_empty() || *times == 0,
            _ => false,
        };
        let parts: VecDeque<_> = plan.parts.into_iter().filter(|part| !is_empty(part)).collect();
        let length = plan.length.or_else(|| match (parts.len(), parts.front()) {
            (0, _) => Some(0),
            (1, Some(Part::Data(bytes))) => Some(bytes.len() as u64),
            _ => None,
        });
        Self {
            parts,
            length,
            write_bytes: plan.write_bytes,
            drip: None,
            sleep: None,
            then: plan.then,
            control,
        }
    }

    fn frame(&mut self, mut bytes: Bytes) -> Bytes {
        let most = if self.drip.is_some() { 1 } else { self.write_bytes };
        if most == 0 || bytes.len() <= most {
            return bytes;
        }
        let rest = bytes.split_off(most);
        self.parts.push_front(Part::Data(rest));
        bytes
    }

    /// Takes a block of copies off a repeated text.
    fn copies(&mut self, bytes: Bytes, times: u64) -> Bytes {
        let most = (REPEATED_BLOCK_BYTES / bytes.len().max(1)).max(1) as u64;
        let now = most.min(times);
        if times > now {
            self.parts
                .push_front(Part::Repeated(bytes.clone(), times.saturating_sub(now)));
        }
        Bytes::from(bytes.repeat(usize::try_from(now).unwrap_or(1)))
    }
}

impl Body for PlannedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            let mut has_waited = false;
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.sleep = None;
                has_waited = true;
            }
            match self.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Repeated(bytes, times)) => {
                    let block = self.copies(bytes, times);
                    self.parts.push_front(Part::Data(block));
                }
                Some(Part::Data(bytes)) => {
                    if let Some(pause) = self.drip.filter(|_| !has_waited) {
                        self.parts.push_front(Part::Data(bytes));
                        self.sleep = Some(Box::pin(tokio::time::sleep(pause)));
                        continue;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(self.frame(bytes)))));
                }
                Some(Part::Wait(pause)) => self.sleep = Some(Box::pin(tokio::time::sleep(pause))),
                Some(Part::Drip(pause)) => self.drip = Some(pause),
                Some(Part::Forever(bytes, pause)) => {
                    self.parts.push_front(Part::Forever(bytes.clone(), pause));
                    self.parts.push_front(Part::Data(bytes));
                    if !pause.is_zero() {
                        self.parts.push_front(Part::Wait(pause));
                    }
                }
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

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for PlannedBody {
    /// Hyper drops a body when it has written the last of it to its buffer, and flushes before it yields.
    fn drop(&mut self) {
        if let Some(hangup) = self.then.take() {
            self.control.hang_up(hangup);
        }
    }
}
