//! The connection below TLS and HTTP. It charges every byte that a server sends, because informational responses, chunk sizes,
//! session tickets and handshakes also cost the host work, and none of them is part of a body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::either::Either;

use super::budget::{Budget, Direction, Exceeded};

/// Bytes that are read before the task yields.
const TURN_BYTES: usize = 64 * 1024;

/// To a server, or to what answers in place of all servers.
pub(super) type Connection = Either<TcpStream, DuplexStream>;

/// A stream whose incoming bytes are charged.
pub(super) struct Wire {
    stream: Connection,
    budget: Budget,
    exceeded: Exceeded,
    since_pause: usize,
}

impl Wire {
    pub(super) fn new(stream: Connection, budget: Budget, exceeded: Exceeded) -> Self {
        Self {
            stream,
            budget,
            exceeded,
            since_pause: 0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.since_pause >= TURN_BYTES {
            this.since_pause = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) else {
            this.since_pause = 0;
            return Poll::Pending;
        };
        read?;
        let bytes = buffer.filled().len() - before;
        this.since_pause += bytes;
        Poll::Ready(match this.budget.charge(bytes) {
            true => Ok(()),
            false => {
                this.exceeded.set(Direction::In);
                Err(io::Error::other("the server sends too much"))
            }
        })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn incoming_bytes_are_charged_and_reading_yields() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            // The client closes the connection in the middle.
            let _ = stream.write_all(&vec![b'x'; 1 << 20]).await;
        });
        let budget = Budget::new(512 * 1024);
        let connection = Either::Left(TcpStream::connect(address).await.unwrap());
        let mut wire = Wire::new(connection, budget, Exceeded::default());
        let mut taken = 0;
        let mut buffer = vec![0; 16 * 1024];
        let mut pauses = 0;
        let failed = loop {
            let read = std::future::poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut buffer);
                let polled = Pin::new(&mut wire).poll_read(cx, &mut buffer);
                pauses += usize::from(polled.is_pending());
                polled.map_ok(|()| buffer.filled().len())
            });
            match read.await {
                Ok(bytes) => taken += bytes,
                Err(error) => break error,
            }
            assert!(wire.since_pause < TURN_BYTES + 16 * 1024);
        };
        assert_eq!(failed.to_string(), "the server sends too much");
        assert!(taken <= 512 * 1024, "{taken}");
        assert!(pauses >= 7, "one for each 64 KiB: {pauses}");
        assert!(wire.read(&mut buffer).await.is_err(), "the budget is used up");
        drop(wire);
        server.await.unwrap();
    }
}
