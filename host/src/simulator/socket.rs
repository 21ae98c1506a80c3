//! The server's side of a connection's socket: records whether its send buffer is full, and can cut or slow down the head
//! of a response, which the HTTP library writes in one piece.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::connection::{ConnectionControl, Hangup};

const HEAD_END: &[u8] = b"\r\n\r\n";

/// A fault within the head of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeadFault {
    /// Bytes of the head that are written before it, at most all of them.
    pub(super) after_bytes: usize,
    pub(super) kind: HeadFaultKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HeadFaultKind {
    HangUp(Hangup),
    Stall,
    /// Writes the rest of the head one byte at a time, with this pause before each.
    Drip(Duration),
}

#[derive(Debug)]
pub(super) struct ObservedSocket {
    pub(super) stream: TcpStream,
    control: Arc<ConnectionControl>,
    fault: Option<HeadFault>,
    /// A fault has struck after which nothing is written.
    is_dead: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl ObservedSocket {
    pub(super) fn new(stream: TcpStream, control: Arc<ConnectionControl>) -> Self {
        Self {
            stream,
            control,
            fault: None,
            is_dead: false,
            sleep: None,
        }
    }

    /// Writes the next bytes of a head with a fault.
    fn poll_write_head(&mut self, cx: &mut Context<'_>, bytes: &[u8], mut fault: HeadFault) -> Poll<io::Result<usize>> {
        let head = bytes
            .windows(HEAD_END.len())
            .position(|window| window == HEAD_END)
            .map_or(bytes.len(), |at| at.saturating_add(HEAD_END.len()));
        let free = head.min(fault.after_bytes);
        if free > 0 {
            let written = Pin::new(&mut self.stream).poll_write(cx, bytes.get(..free).unwrap_or(bytes));
            if let Poll::Ready(Ok(written)) = written {
                fault.after_bytes = fault.after_bytes.saturating_sub(written);
                if written == head {
                    // Nothing of the head is left, so any other fault strikes now.
                    fault.after_bytes = 0;
                }
                if written < head || !matches!(fault.kind, HeadFaultKind::Drip(_)) {
                    self.fault = Some(fault);
                }
            } else {
                self.fault = Some(fault);
            }
            return written;
        }
        match fault.kind {
            HeadFaultKind::HangUp(hangup) => {
                self.is_dead = true;
                self.control.hang_up(hangup);
                Poll::Pending
            }
            HeadFaultKind::Stall => {
                self.is_dead = true;
                Poll::Pending
            }
            HeadFaultKind::Drip(every) => {
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(every)));
                if sleep.as_mut().poll(cx).is_pending() {
                    self.fault = Some(fault);
                    return Poll::Pending;
                }
                let written = Pin::new(&mut self.stream).poll_write(cx, bytes.get(..1).unwrap_or(bytes));
                if !matches!(written, Poll::Ready(Ok(1))) || head > 1 {
                    self.fault = Some(fault);
                }
                if written.is_ready() {
                    self.sleep = None;
                }
                written
            }
        }
    }
}

impl AsyncRead for ObservedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ObservedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_dead {
            return Poll::Pending;
        }
        let fault = self.control.take_head_fault().or_else(|| self.fault.take());
        let written = match fault {
            Some(fault) => self.poll_write_head(cx, bytes, fault),
            None => Pin::new(&mut self.stream).poll_write(cx, bytes),
        };
        // After a fault nothing is pending that would still have to be written.
        let is_blocked = written.is_pending() && !self.is_dead;
        self.control.blocked.store(is_blocked, Ordering::Relaxed);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
