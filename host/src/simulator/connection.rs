//! Loopback HTTP/1.1 with the right to misbehave: a bounded number of connections, each served by hyper until a handler
//! or a body gives the line up.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::body::PlannedBody;

const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// So much of a body that is too large is still read, so that its sender gets to see the answer.
const MAX_DRAINED_BYTES: usize = 256 * 1024 * 1024;

/// How a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// TCP FIN.
    Close,
    /// TCP RST.
    Reset,
}

/// What serves the requests.
pub(super) trait Handler: Send + Sync + 'static {
    /// Whether a new connection is given up at once.
    fn on_accept(&self) -> Option<Hangup> {
        None
    }

    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        line: Arc<Line>,
    ) -> impl Future<Output = Response<PlannedBody>> + Send;
}

/// One connection, as seen by who serves it.
#[derive(Debug, Default)]
pub(super) struct Line {
    hangup: Mutex<Option<Hangup>>,
    /// The last write found the socket full, so bytes are still waiting.
    blocked: AtomicBool,
}

impl Line {
    /// Gives the connection up as soon as everything that was handed over has been written.
    pub(super) fn hang_up(&self, hangup: Hangup) {
        *self.hangup.lock().unwrap_or_else(PoisonError::into_inner) = Some(hangup);
    }

    fn given_up(&self) -> Option<Hangup> {
        *self.hangup.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running server; dropping it stops it and ends its connections.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and serves. Only loopback addresses: what is simulated must not be mistaken for the real thing by others.
    pub(super) fn start<H: Handler>(address: SocketAddr, max_connections: usize, handler: Arc<H>) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let problem = format!("{address} is no loopback address");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        if !(1..=Semaphore::MAX_PERMITS).contains(&max_connections) {
            let problem = format!(
                "max_connections is {max_connections}, not from 1 to {}",
                Semaphore::MAX_PERMITS
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let accepting = accept(listener, max_connections, handler);
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            stopped.run_until_cancelled(accepting).await;
        });
        Ok(Self {
            address,
            stop,
            task: Some(task),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) async fn shutdown(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // It can only fail by a panic of ours, and then it has stopped as well.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Never returns; dropped, it takes its connections with it.
async fn accept<H: Handler>(listener: TcpListener, max_connections: usize, handler: Arc<H>) {
    let free = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // More connections than that wait in the system's queue, as they would before a busy server.
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let handler = Arc::clone(&handler);
                connections.spawn(async move {
                    serve(stream, handler).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the simulator cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve<H: Handler>(stream: TcpStream, handler: Arc<H>) {
    // Every event is to leave at once; a socket that refuses this still works.
    let _ = stream.set_nodelay(true);
    if let Some(hangup) = handler.on_accept() {
        return end(stream, hangup).await;
    }
    let line = Arc::new(Line::default());
    let wire = Wire {
        stream,
        line: Arc::clone(&line),
    };
    let shared = Arc::clone(&line);
    let service = service_fn(move |request| {
        let answer = Arc::clone(&handler).handle(request, Arc::clone(&shared));
        Box::pin(async move { Ok::<_, Infallible>(answer.await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(wire), service);
    poll_fn(|cx| {
        let done = connection.poll_without_shutdown(cx).is_ready();
        // Hyper writes all it holds before it pauses, unless the socket is full.
        let given_up = line.given_up().is_some() && !line.blocked.load(Ordering::Relaxed);
        if done || given_up {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let stream = connection.into_parts().io.into_inner().stream;
    end(stream, line.given_up().unwrap_or(Hangup::Close)).await;
}

async fn end(mut stream: TcpStream, hangup: Hangup) {
    // The other side may be gone already; there is nobody left to tell.
    let _ = match hangup {
        Hangup::Reset => stream.set_zero_linger(),
        Hangup::Close => stream.shutdown().await,
    };
}

/// The socket, with a note of whether it was full.
#[derive(Debug)]
struct Wire {
    stream: TcpStream,
    line: Arc<Line>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.line.blocked.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Why a request's body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyProblem {
    TooLarge,
    /// The connection broke, or nothing came for too long.
    Incomplete,
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, BodyProblem> {
    tokio::time::timeout(BODY_TIMEOUT, collect(body, limit))
        .await
        .unwrap_or(Err(BodyProblem::Incomplete))
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, BodyProblem> {
    let mut collected = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyProblem::Incomplete)?;
        let Some(data) = frame.data_ref() else { continue };
        length = length.saturating_add(data.len());
        if length > MAX_DRAINED_BYTES {
            break;
        }
        if length > limit {
            collected = BytesMut::new();
        } else {
            collected.extend_from_slice(data);
        }
    }
    if length > limit {
        Err(BodyProblem::TooLarge)
    } else {
        Ok(collected.freeze())
    }
}
