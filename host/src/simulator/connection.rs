//! A loopback HTTP/1.1 server that can misbehave: a bounded number of connections, each served by hyper until a handler
//! or a body closes or resets it.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::PlannedBody;
use super::socket::{HeadFault, ObservedSocket};

const MAX_HEADER_BYTES: usize = 64 * 1024;
/// Also the idle timeout of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// An oversized body is drained up to this size, so that its sender gets to see the answer.
const MAX_DRAINED_BYTES: usize = 256 * 1024 * 1024;
/// While every connection stays in use, that is said again after this time.
const FULL_NOTICE_EVERY: Duration = Duration::from_secs(60);

/// How a connection is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hangup {
    /// TCP FIN.
    Close,
    /// TCP RST.
    Reset,
    /// These bytes, and then TCP FIN.
    Send(Bytes),
    /// Not at all: nothing more is read or written until the server stops.
    Stall,
}

/// Serves the requests of a [`Server`].
pub(super) trait Handler: Send + Sync + 'static {
    /// Whether, and how, to end a new connection at once.
    fn on_accept(&self) -> Option<Hangup> {
        None
    }

    fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        control: Arc<ConnectionControl>,
    ) -> impl Future<Output = Response<PlannedBody>> + Send;
}

/// Lets a handler or a body end its connection.
#[derive(Debug, Default)]
pub(super) struct ConnectionControl {
    hangup: Mutex<Option<Hangup>>,
    head_fault: Mutex<Option<HeadFault>>,
    /// The last write found the socket's send buffer full, so bytes are still pending.
    pub(super) blocked: AtomicBool,
}

impl ConnectionControl {
    /// Ends the connection once all pending bytes have been written.
    pub(super) fn hang_up(&self, hangup: Hangup) {
        *self.hangup.lock().unwrap_or_else(PoisonError::into_inner) = Some(hangup);
    }

    /// Lets a fault strike in the head of the next response.
    pub(super) fn break_head(&self, fault: HeadFault) {
        *self.head_fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    pub(super) fn take_head_fault(&self) -> Option<HeadFault> {
        self.head_fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn requested(&self) -> Option<Hangup> {
        self.hangup.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running server. Dropping it stops it and closes its connections.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds and serves. Only loopback addresses: no other machine should mistake the simulation for the real service.
    pub(super) fn start<H: Handler>(address: SocketAddr, max_connections: usize, handler: Arc<H>) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let problem = format!("{address} isn't a loopback address");
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
            // Fails only if the task panicked, and then it has stopped as well.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Runs until it is dropped, which also closes its connections.
async fn accept<H: Handler>(listener: TcpListener, max_connections: usize, handler: Arc<H>) {
    let free = Arc::new(Semaphore::new(max_connections));
    let mut connections = JoinSet::new();
    let mut noticed: Option<Instant> = None;
    loop {
        while connections.try_join_next().is_some() {}
        let is_due = noticed.is_none_or(|noticed| noticed.elapsed() >= FULL_NOTICE_EVERY);
        if free.available_permits() == 0 && is_due {
            noticed = Some(Instant::now());
            tracing::warn!(
                "all {max_connections} connections are in use; more wait until one closes; --max-connections allows more"
            );
        }
        // Further connections wait in the kernel's accept queue, as they would with a busy server.
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
                tracing::warn!(%error, "the simulator can't accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve<H: Handler>(stream: TcpStream, handler: Arc<H>) {
    // Send every event at once. If the option can't be set, the socket still works.
    let _ = stream.set_nodelay(true);
    if let Some(hangup) = handler.on_accept() {
        return end(stream, hangup).await;
    }
    let control = Arc::new(ConnectionControl::default());
    let socket = ObservedSocket::new(stream, Arc::clone(&control));
    let shared = Arc::clone(&control);
    let service = service_fn(move |request| {
        let answer = Arc::clone(&handler).handle(request, Arc::clone(&shared));
        Box::pin(async move { Ok::<_, Infallible>(answer.await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(socket), service);
    poll_fn(|cx| {
        let done = connection.poll_without_shutdown(cx).is_ready();
        // Hyper writes everything it buffers before it yields, unless the socket is full.
        let hang_up = control.requested().is_some() && !control.blocked.load(Ordering::Relaxed);
        if done || hang_up {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    let stream = connection.into_parts().io.into_inner().stream;
    end(stream, control.requested().unwrap_or(Hangup::Close)).await;
}

async fn end(mut stream: TcpStream, hangup: Hangup) {
    // Ignored: the peer may have gone already.
    let _ = match hangup {
        Hangup::Reset => stream.set_zero_linger(),
        Hangup::Close => stream.shutdown().await,
        Hangup::Send(bytes) => match stream.write_all(&bytes).await {
            Ok(()) => stream.shutdown().await,
            Err(error) => Err(error),
        },
        Hangup::Stall => pending().await,
    };
}

/// Why a request body can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyProblem {
    TooLarge,
    /// The connection broke, or the body didn't arrive in time.
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
