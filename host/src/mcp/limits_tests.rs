//! What a client may take up of the server, over real sockets. Time is paused, so it passes only while everybody waits.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::http::HttpLimits;
use super::write_timeout::{WRITE_TIMEOUT, WriteTimeout};
use super::{Access, McpServer};
use crate::sandbox::{CompilePlace, EngineSettings, Limits, Sandbox};
use crate::telemetry::{AlertSettings, EventBus};
use crate::tools::ToolSet;

const HOUR: Duration = Duration::from_secs(3600);
const HEALTH: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
/// What is left to a limit when it is another one's turn.
const PATIENT: HttpLimits = HttpLimits {
    connections: 256,
    connections_per_address: 128,
    head_timeout: HOUR,
    body_timeout: HOUR,
    write_timeout: HOUR,
};

/// A server without tools. Its sender keeps them.
async fn server() -> (McpServer, watch::Sender<Arc<ToolSet>>) {
    let limits = Limits::default();
    let tls = crate::tls::client_config().unwrap();
    let sandbox = Sandbox::new(&EngineSettings::default(), [&limits], CompilePlace::ThisProcess, tls).unwrap();
    let tools = ToolSet::load(&sandbox, &[], 1, HOUR).await.unwrap();
    let (sender, receiver) = watch::channel(Arc::new(tools));
    let server = McpServer::new(receiver, EventBus::new(), AlertSettings::default(), "default", HOUR);
    (server, sender)
}

/// A server over HTTP that ends with its guard.
async fn over_http(limits: HttpLimits) -> (SocketAddr, DropGuard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let access = Access::new(address, None, Vec::new(), Vec::new()).unwrap();
    let cancel = CancellationToken::new();
    let (server, tools) = server().await;
    let end = cancel.clone();
    tokio::spawn(async move {
        server.serve_http_within(limits, listener, access, end).await.unwrap();
        drop(tools);
    });
    (address, cancel.drop_guard())
}

async fn connect_from(client: &str, server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{client}:0").parse().unwrap()).unwrap();
    socket.connect(server).await.unwrap()
}

/// Asks whether the server is healthy, and returns the head of the answer, or nothing if the connection is closed.
async fn ask(stream: &mut TcpStream) -> String {
    let (mut answer, mut bytes) = (Vec::new(), [0; 1024]);
    // A server that refuses the connection may have closed it already.
    let _ = stream.write_all(HEALTH.as_bytes()).await;
    while !answer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        match stream.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(read) => answer.extend_from_slice(&bytes[..read]),
        }
    }
    String::from_utf8(answer).unwrap()
}

/// Reads until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(HOUR, stream.read_to_end(&mut rest)).await.unwrap();
    String::from_utf8(rest).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_address_has_only_so_many_connections_and_leaves_others_theirs() {
    let limits = HttpLimits {
        connections_per_address: 2,
        ..PATIENT
    };
    let (server, _end) = over_http(limits).await;
    let mut first = connect_from("127.0.0.1", server).await;
    let mut second = connect_from("127.0.0.1", server).await;
    for stream in [&mut first, &mut second] {
        assert!(ask(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = connect_from("127.0.0.1", server).await;
    let refused = ask(&mut third).await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("2 connections"),
        "{refused}"
    );
    let mut other = connect_from("127.0.0.2", server).await;
    assert!(ask(&mut other).await.starts_with("HTTP/1.1 200"));
    drop(first);
    // The server may notice a moment later.
    let served = async {
        while !ask(&mut connect_from("127.0.0.1", server).await)
            .await
            .starts_with("HTTP/1.1 200")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HOUR, served).await.unwrap();
    assert!(ask(&mut second).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn one_connection_more_than_all_waits_until_another_one_ends() {
    let limits = HttpLimits {
        connections: 2,
        ..PATIENT
    };
    let (server, _end) = over_http(limits).await;
    let mut first = connect_from("127.0.0.1", server).await;
    let mut second = connect_from("127.0.0.2", server).await;
    for stream in [&mut first, &mut second] {
        assert!(ask(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = connect_from("127.0.0.3", server).await;
    assert!(tokio::time::timeout(HOUR / 2, ask(&mut third)).await.is_err());
    drop(second);
    let answer = tokio::time::timeout(HOUR / 4, ask(&mut third)).await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200"));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_and_a_connection_that_never_asks_are_closed() {
    let head_timeout = HttpLimits::default().head_timeout;
    let (server, _end) = over_http(HttpLimits {
        head_timeout,
        ..PATIENT
    })
    .await;
    let mut answered = connect_from("127.0.0.1", server).await;
    assert!(ask(&mut answered).await.starts_with("HTTP/1.1 200"));
    let mut unfinished = connect_from("127.0.0.1", server).await;
    unfinished
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: local")
        .await
        .unwrap();
    let silent = connect_from("127.0.0.1", server).await;
    for mut stream in [answered, unfinished, silent] {
        let started = Instant::now();
        assert!(!rest(&mut stream).await.contains(" 200 "));
        assert!(
            started.elapsed() <= head_timeout + Duration::from_secs(1),
            "{:?}",
            started.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_refused() {
    let body_timeout = HttpLimits::default().body_timeout;
    let (server, _end) = over_http(HttpLimits {
        body_timeout,
        ..PATIENT
    })
    .await;
    let mut stream = connect_from("127.0.0.1", server).await;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let answer = rest(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 408") && answer.contains("too slowly"),
        "{answer}"
    );
    assert_eq!(started.elapsed().as_secs(), body_timeout.as_secs());
}

/// A subscription never ends by itself.
#[tokio::test(start_paused = true)]
async fn a_client_that_listens_does_not_keep_the_server_from_stopping() {
    let (server, end) = over_http(PATIENT).await;
    let mut stream = connect_from("127.0.0.1", server).await;
    let meta = r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}"#;
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{{"notifications":{{"toolsListChanged":true}},"_meta":{meta}}}}}"#
    );
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen";
    let request = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    let (mut answer, mut bytes) = (String::new(), [0; 4096]);
    while !answer.contains("notifications/subscriptions/acknowledged") {
        let read = stream.read(&mut bytes).await.unwrap();
        assert!(read > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
    let started = Instant::now();
    drop(end);
    let rest = rest(&mut stream).await;
    assert!(rest.contains("\"result\""), "{rest}");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

/// It sends requests without end and reads none of the answers.
#[tokio::test(start_paused = true)]
async fn over_http_a_client_that_never_reads_is_given_up() {
    let write_timeout = HttpLimits::default().write_timeout;
    let (server, _end) = over_http(HttpLimits {
        write_timeout,
        ..PATIENT
    })
    .await;
    let mut stream = connect_from("127.0.0.1", server).await;
    let started = Instant::now();
    let sending = async { while stream.write_all(HEALTH.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(HOUR / 2, sending).await.unwrap();
    assert_eq!(started.elapsed().as_secs(), write_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn over_stdio_a_client_that_never_reads_is_given_up() {
    let (ours, mut client) = UnixStream::pair().unwrap();
    let (server, _tools) = server().await;
    let (input, output) = ours.into_split();
    let output = WriteTimeout::new(output, WRITE_TIMEOUT);
    let serving = tokio::spawn(async move { server.serve_streams(input, output, CancellationToken::new()).await });
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    client.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    let started = Instant::now();
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    let sending = async { while client.write_all(ping).await.is_ok() {} };
    tokio::time::timeout(HOUR, sending).await.unwrap();
    serving.await.unwrap().unwrap();
    assert_eq!(started.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
}

/// What can't be written any more holds up no end.
#[tokio::test(start_paused = true)]
async fn over_stdio_a_client_that_never_reads_does_not_keep_the_server_from_stopping() {
    let (ours, mut client) = UnixStream::pair().unwrap();
    let (server, _tools) = server().await;
    let (input, output) = ours.into_split();
    let cancel = CancellationToken::new();
    let end = cancel.clone();
    let serving = tokio::spawn(async move { server.serve_streams(input, output, end).await });
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    client.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    let ping = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n";
    // Until nothing more fits.
    let sending = async { while client.write_all(ping).await.is_ok() {} };
    assert!(tokio::time::timeout(HOUR, sending).await.is_err());
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(10), serving)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
