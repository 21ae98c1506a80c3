//! A guest's standard output and standard error, as streams into the host's memory.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::sandbox::logging::GuestLog;

/// The most bytes that a guest can write at once. The guest asks (`check-write`) before it writes.
const WRITE_PERMIT: usize = 64 * 1024;

/// Receives what a guest writes. Never waits. Clones receive into the same place.
pub(super) trait Receive: Clone + Send + Sync + Unpin + 'static {
    /// # Errors
    ///
    /// Ends the call.
    fn receive(&self, bytes: &[u8]) -> wasmtime::Result<()>;
}

impl Receive for GuestLog {
    /// Bytes beyond the limit are dropped, so a write never fails.
    fn receive(&self, bytes: &[u8]) -> wasmtime::Result<()> {
        self.write(bytes);
        Ok(())
    }
}

/// A stream into a receiver.
#[derive(Clone, Debug)]
pub(super) struct Output<R>(pub(super) R);

impl<R: Receive> IsTerminal for Output<R> {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl<R: Receive> StdoutStream for Output<R> {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(Self(self.0.clone()))
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(self.0.clone()))
    }
}

impl<R: Receive> OutputStream for Output<R> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.receive(&bytes).map_err(StreamError::Trap)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_PERMIT)
    }
}

impl<R: Receive> Pollable for Output<R> {
    fn ready<'a, 'b>(&'a mut self) -> Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(()))
    }
}

impl<R: Receive> tokio::io::AsyncWrite for Output<R> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let received = self.0.receive(bytes).map(|()| bytes.len());
        Poll::Ready(received.map_err(std::io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
