//! The protocol over HTTP: `POST /mcp`, each request answered on its own, and `GET /healthz`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH,
    CONTENT_TYPE, HeaderName, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::access::Access;
use super::arrival::{Calls, END_TIMEOUT};
use super::connections::Connections;
use super::fault::Fault;
use super::server::{Connection, McpServer};
use super::write_timeout::{WRITE_TIMEOUT, WriteTimeout};

const JSON: &str = "application/json";
const PATH: &str = "/mcp";
const HEALTH_PATH: &str = "/healthz";

/// The longest request. An input may have 8 MiB, and JSON escapes it.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of all requests that are received or answered at a time.
const MAX_BODIES_BYTES: usize = 64 * 1024 * 1024;
/// What a client may take up of the server. Tests set less.
#[derive(Clone, Copy, Debug)]
pub(super) struct HttpLimits {
    /// Connections served at the same time. More wait to be accepted.
    pub(super) connections: usize,
    /// Connections of one address that are served at the same time, so that no address takes them all. More are refused.
    pub(super) connections_per_address: usize,
    /// How long a client may take to send the head of a request, which begins when the request before it is answered.
    pub(super) head_timeout: Duration,
    /// How long a client may take to send a request's body.
    pub(super) body_timeout: Duration,
    /// How long a client may take none of the bytes that wait for it.
    pub(super) write_timeout: Duration,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            connections_per_address: 128,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: WRITE_TIMEOUT,
        }
    }
}

/// How long calls that still run may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

type Answer = Response<BoxBody<Bytes, Infallible>>;
type Service = StreamableHttpService<Connection, NeverSessionManager>;

/// Why the server stopped by itself.
#[derive(Debug, Error)]
#[error("can't accept connections: {0}")]
pub struct HttpServerError(#[from] std::io::Error);

/// What all connections share.
struct Shared {
    service: Service,
    access: Access,
    /// By address, since HTTP has no connections that last.
    clients: Mutex<HashMap<IpAddr, Calls>>,
    /// In KiB, for the bodies of requests.
    bodies: Arc<Semaphore>,
    limits: HttpLimits,
}

impl McpServer {
    /// Serves clients that connect to `listener` until `cancel` is cancelled.
    ///
    /// # Errors
    ///
    /// The listener fails for a reason that doesn't pass.
    pub async fn serve_http(
        &self,
        listener: TcpListener,
        access: Access,
        cancel: CancellationToken,
    ) -> Result<(), HttpServerError> {
        self.serve_http_within(HttpLimits::default(), listener, access, cancel)
            .await
    }

    pub(super) async fn serve_http_within(
        &self,
        limits: HttpLimits,
        listener: TcpListener,
        access: Access,
        cancel: CancellationToken,
    ) -> Result<(), HttpServerError> {
        let calls_end = CancellationToken::new();
        let shared = Arc::new(Shared {
            service: self.http_service(cancel.clone(), calls_end.clone()),
            access,
            clients: Mutex::default(),
            bodies: Arc::new(Semaphore::new(MAX_BODIES_BYTES / 1024)),
            limits,
        });
        let connections = Connections::new(limits.connections, limits.connections_per_address);
        let tasks = TaskTracker::new();
        loop {
            let (stream, client, room) = tokio::select! {
                () = cancel.cancelled() => break,
                accepted = accept(&listener, &connections) => accepted?,
            };
            let Some(permit) = connections.admit(client.ip(), room) else {
                refuse(&stream, limits.connections_per_address);
                continue;
            };
            let (shared, cancel) = (Arc::clone(&shared), cancel.clone());
            tasks.spawn(async move {
                serve_connection(stream, client, shared, cancel).await;
                drop(permit);
            });
        }
        tasks.close();
        // A client that doesn't read its answer must not keep the server from stopping.
        let _ = tokio::time::timeout(STOP_TIMEOUT, tasks.wait()).await;
        calls_end.cancel();
        // Calls that were cancelled still report their end.
        let clients: Vec<Calls> = shared.clients().values().cloned().collect();
        for calls in clients {
            calls.idle(END_TIMEOUT).await;
        }
        Ok(())
    }

    fn http_service(&self, stopping: CancellationToken, calls_end: CancellationToken) -> Service {
        let server = self.clone();
        let config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .with_json_response(true)
            .with_max_request_body_bytes(MAX_REQUEST_BYTES)
            .with_cancellation_token(calls_end)
            // `Access` checks both headers, for every path.
            .disable_allowed_hosts()
            .disable_allowed_origins();
        let sessions = Arc::new(NeverSessionManager::default());
        let connection = move || Ok(server.connection(false, stopping.clone()));
        StreamableHttpService::new(connection, sessions, config)
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Connections,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let room = connections.room().await.ok_or(std::io::ErrorKind::Other)?;
    loop {
        match listener.accept().await {
            Ok((stream, client)) => return Ok((stream, client, room)),
            // The client is gone already, or this process has too many open files for a moment.
            Err(error) if is_passing(&error) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error),
        }
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    // `EMFILE` and `ENFILE` have no kind of their own.
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

/// Answers a connection that is one too many, without reading from it. If that doesn't fit into the socket's buffer, the client
/// only sees that the connection is closed.
fn refuse(stream: &TcpStream, limit: usize) {
    let body = format!("this address already has {limit} connections; close one or use one for several requests\n");
    let head = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: text/plain; charset=utf-8";
    let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let _ = stream.try_write(answer.as_bytes());
}

async fn serve_connection(stream: TcpStream, client: SocketAddr, shared: Arc<Shared>, cancel: CancellationToken) {
    // An answer is written at once, so waiting for more of it only delays it.
    let _ = stream.set_nodelay(true);
    let limits = shared.limits;
    let stream = WriteTimeout::new(stream, limits.write_timeout);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(shared.answer(request, client.ip()).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .serve_connection(TokioIo::new(stream), service)
    );
    // An error is a client that broke off or doesn't speak HTTP.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = cancel.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>, client: IpAddr) -> Answer {
        let origin = request.headers().get(ORIGIN).cloned();
        let mut answer = match self.checked(request, client).await {
            Ok(answer) => answer,
            Err((status, reason)) => refusal(status, &reason),
        };
        // Only pages of an allowed origin come this far; a browser shows them the answer if it says so.
        if let Some(origin) = origin
            && answer.status() != StatusCode::FORBIDDEN
        {
            let headers = answer.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(VARY, HeaderValue::from_static("origin"));
        }
        answer
    }

    async fn checked(&self, request: Request<Incoming>, client: IpAddr) -> Result<Answer, (StatusCode, String)> {
        self.access.check(request.uri(), request.headers())?;
        if request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN) {
            return Ok(preflight());
        }
        self.access.check_token(request.headers())?;
        match request.uri().path() {
            HEALTH_PATH if matches!(*request.method(), Method::GET | Method::HEAD) => Ok(text(StatusCode::OK, "ok\n")),
            HEALTH_PATH => Err((StatusCode::METHOD_NOT_ALLOWED, "only GET".to_owned())),
            PATH => self.serve(request, client).await,
            _ => Err((StatusCode::NOT_FOUND, format!("the tools are at {PATH}"))),
        }
    }

    async fn serve(&self, request: Request<Incoming>, client: IpAddr) -> Result<Answer, (StatusCode, String)> {
        let (mut head, body) = request.into_parts();
        accept_both(&mut head.headers);
        let is_json = is_json(&head.headers);
        let _room = self.room_for(&head).await?;
        let whole = Limited::new(body, MAX_REQUEST_BYTES).collect();
        let body = match tokio::time::timeout(self.limits.body_timeout, whole).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                return Err((
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("a request has at most {MAX_REQUEST_BYTES} bytes"),
                ));
            }
            Ok(Err(_)) => return Err((StatusCode::BAD_REQUEST, "the request ended too early".to_owned())),
            Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the request came too slowly".to_owned())),
        };
        head.extensions.insert(self.calls_of(client));
        let request = Request::from_parts(head, Full::new(body.clone()));
        let answer = self.service.handle(request).await;
        // The library says the same of another type and of a body that isn't a message.
        match answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE && is_json {
            true => Ok(not_a_message(&body)),
            false => Ok(answer),
        }
    }

    /// Room for a request's body, held until the request is answered.
    async fn room_for(&self, head: &http::request::Parts) -> Result<OwnedSemaphorePermit, (StatusCode, String)> {
        let length = head
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let length = length.unwrap_or(MAX_REQUEST_BYTES).min(MAX_REQUEST_BYTES);
        let kibibytes = u32::try_from(length / 1024 + 1).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.bodies).acquire_many_owned(kibibytes);
        match tokio::time::timeout(self.limits.body_timeout, room).await {
            Ok(Ok(room)) => Ok(room),
            _ => Err((
                StatusCode::SERVICE_UNAVAILABLE,
                "too many large requests at a time".to_owned(),
            )),
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Calls>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The count of a client's calls. Counts of clients that have none are forgotten.
    fn calls_of(&self, client: IpAddr) -> Calls {
        let mut clients = self.clients();
        clients.retain(|address, calls| *address == client || !calls.is_idle());
        clients.entry(client).or_default().clone()
    }
}

/// `*/*` takes any type, also the two that the library asks for by name.
fn accept_both(headers: &mut HeaderMap) {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted.flat_map(|value| value.split(','));
    let is_any = types.any(|value| value.split(';').next().is_some_and(|value| value.trim() == "*/*"));
    if is_any {
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(JSON))
}

fn not_a_message(body: &[u8]) -> Answer {
    let mut answer = text(StatusCode::BAD_REQUEST, &Fault::of(body).answer().to_string());
    insert(&mut answer, CONTENT_TYPE, JSON);
    answer
}

/// What a browser asks before it lets a page send the real request.
fn preflight() -> Answer {
    let mut answer = text(StatusCode::NO_CONTENT, "");
    let allowed = "authorization, content-type, accept, mcp-protocol-version, mcp-method, mcp-name, mcp-session-id, last-event-id";
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_METHODS, "POST, GET"),
        (ACCESS_CONTROL_ALLOW_HEADERS, allowed),
    ] {
        insert(&mut answer, name, value);
    }
    answer
}

fn refusal(status: StatusCode, reason: &str) -> Answer {
    let mut answer = text(status, &format!("{reason}\n"));
    if status == StatusCode::UNAUTHORIZED {
        insert(&mut answer, WWW_AUTHENTICATE, "Bearer");
    }
    answer
}

fn insert(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed());
    *answer.status_mut() = status;
    insert(&mut answer, CONTENT_TYPE, "text/plain; charset=utf-8");
    answer
}
