//! A raw JSON-RPC client that drives every server alike, over stdio and over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::common::{INPUT, TOOL};

/// Every server speaks this revision.
const REVISION: &str = "2025-06-18";
/// What the calculator answers.
const RESULT: &str = "425";

/// A call as one line.
pub fn call(id: u64, tool: &str, input: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{input}}}}}{}"#,
        '\n'
    )
}

fn check(answer: &[u8]) {
    let text = std::str::from_utf8(answer).unwrap();
    assert!(text.contains(RESULT) && !text.contains("\"error\""), "{text}");
}

/// A connection to a server that runs as a child process.
pub struct StdioClient {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    line: Vec<u8>,
    /// Ends with the client.
    _server: Child,
}

impl StdioClient {
    pub async fn start(command: &mut Command) -> Self {
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut client = Self {
            stdin: server.stdin.take().unwrap(),
            stdout: BufReader::new(server.stdout.take().unwrap()),
            line: Vec::new(),
            _server: server,
        };
        let hello = json!({ "protocolVersion": REVISION, "capabilities": {}, "clientInfo": { "name": "bench", "version": "1" } });
        client
            .send(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello }))
            .await;
        client.receive().await;
        let answer: Value = serde_json::from_slice(&client.line).unwrap();
        assert_eq!(answer["result"]["protocolVersion"], REVISION, "{answer}");
        client
            .send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
        client
    }

    async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn receive(&mut self) {
        self.line.clear();
        let read = self.stdout.read_until(b'\n', &mut self.line).await.unwrap();
        assert!(read > 0, "the server ended");
    }

    /// Keeps `at_once` calls in flight for `time`. Returns how long each call took if there is one at a time, and the calls
    /// per second.
    pub async fn calls(&mut self, at_once: u64, time: Duration) -> (Vec<Duration>, f64) {
        let (begin, mut durations, mut done) = (Instant::now(), Vec::new(), 0_u64);
        for id in 0..at_once {
            self.stdin.write_all(call(id, TOOL, INPUT).as_bytes()).await.unwrap();
        }
        let (mut sent, mut last) = (at_once, begin);
        while done < sent {
            self.receive().await;
            check(&self.line);
            done += 1;
            let now = Instant::now();
            if at_once == 1 {
                durations.push(now - last);
            }
            if begin.elapsed() < time {
                last = now;
                self.stdin.write_all(call(sent, TOOL, INPUT).as_bytes()).await.unwrap();
                sent += 1;
            }
        }
        (durations, done as f64 / begin.elapsed().as_secs_f64())
    }
}

/// One connection over HTTP.
pub struct HttpClient {
    sender: SendRequest<Full<Bytes>>,
    host: HeaderValue,
}

impl HttpClient {
    /// Connects from `from`, an address of this machine. Servers tell clients apart by it.
    pub async fn connect(server: SocketAddr, from: IpAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let stream = socket.connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        // Fails if the client is dropped in the middle of a call.
        tokio::spawn(connection);
        Self {
            sender,
            host: server.to_string().parse().unwrap(),
        }
    }

    /// Sends a call and returns the answer.
    pub async fn call(&mut self, tool: &str, input: &str) -> Bytes {
        let request = Request::post("/mcp")
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", REVISION)
            .body(Full::new(call(1, tool, input).into()))
            .unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
        body
    }

    /// Calls the calculator again and again for `time`, and returns how long each call took.
    pub async fn calls(&mut self, time: Duration) -> Vec<Duration> {
        let (begin, mut durations) = (Instant::now(), Vec::new());
        while durations.is_empty() || begin.elapsed() < time {
            let started = Instant::now();
            check(&self.call(TOOL, INPUT).await);
            durations.push(started.elapsed());
        }
        durations
    }
}
