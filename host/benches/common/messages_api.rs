//! A scripted Messages API on loopback that answers at once. It runs in a child process, so that its CPU time isn't counted.
//!
//! It knows two answers: a tool call for a conversation without a tool result, and a text for one with a result. It keeps
//! every distinct request body and counts how often each arrived, so that a benchmark can check who sent what.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{INPUT, TOOL};

/// The model's final answer.
pub const ANSWER: &str = "25 * 17 is 425: twenty times seventeen makes 340, five times seventeen makes 85, \
                          and the two of them together make 425.";
const THOUGHT: &str = "I'll calculate that instead of guessing.";
/// Characters of text per event.
const PIECE: usize = 8;

/// The argument that turns a benchmark into the server.
const SERVE: &str = "serve-messages-api";

/// A request body, and how often it arrived.
pub type Received = (String, usize);

/// The server, seen from its parent process.
pub struct MessagesApi {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    url: Url,
}

impl MessagesApi {
    /// Starts this program again as the server. Its `main` must begin with [`become_server_if_asked`].
    pub fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(SERVE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        Self {
            child,
            stdout,
            url: url.trim().parse().unwrap(),
        }
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The requests received since the last call, in order of arrival.
    pub fn take_received(&mut self) -> Vec<Received> {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let mut received = String::new();
        self.stdout.read_line(&mut received).unwrap();
        serde_json::from_str(&received).unwrap()
    }
}

impl Drop for MessagesApi {
    fn drop(&mut self) {
        // `wait` closes the child's stdin first, which ends the child.
        let _ = self.child.wait();
    }
}

/// Serves in the process that [`MessagesApi::start`] started, and never returns there. Returns in any other process.
pub fn become_server_if_asked() {
    if std::env::args().nth(1).as_deref() != Some(SERVE) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve());
}

async fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let script = Arc::new(Script::new());
    std::thread::spawn({
        let script = script.clone();
        move || report(&script)
    });
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let script = script.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| script.answer(request));
            // Fails only if the client hangs up in the middle, and then the client complains.
            let _ = http1::Builder::new()
                // One write per answer, because the pieces are small.
                .writev(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Prints the received requests for every line on stdin. Exits when the parent closes stdin.
fn report(script: &Script) {
    for _ in std::io::stdin().lines() {
        let received = std::mem::take(&mut *script.received.lock().unwrap());
        let received: Vec<Received> = received
            .into_iter()
            .map(|(body, count)| (String::from_utf8_lossy(&body).into_owned(), count))
            .collect();
        println!("{}", serde_json::to_string(&received).unwrap());
    }
    std::process::exit(0);
}

type Chunks = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

struct Script {
    tool_call: Vec<Bytes>,
    text: Vec<Bytes>,
    received: Mutex<Vec<(Bytes, usize)>>,
}

impl Script {
    fn new() -> Self {
        let call = json!({ "type": "tool_use", "id": "toolu_1", "name": TOOL, "input": {} });
        Self {
            tool_call: answer(
                &[text(THOUGHT), (call, deltas(INPUT, "input_json_delta", "partial_json"))],
                "tool_use",
            ),
            text: answer(&[text(ANSWER)], "end_turn"),
            received: Mutex::default(),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> hyper::Result<Response<Chunks>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let is_known = head.method == Method::POST && head.uri.path() == "/v1/messages";
        let events = match is_known {
            true if self.has_result(body) => self.text.clone(),
            true => self.tool_call.clone(),
            false => Vec::new(),
        };
        let frames: Vec<_> = events.into_iter().map(|event| Ok(Frame::data(event))).collect();
        let mut response = Response::new(StreamBody::new(stream::iter(frames)));
        if !is_known {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        let headers = response.headers_mut();
        headers.insert("content-type", "text/event-stream; charset=utf-8".parse().unwrap());
        headers.insert("request-id", "req_1".parse().unwrap());
        Ok(response)
    }

    /// Whether the conversation holds a tool result. Keeps the body.
    fn has_result(&self, body: Bytes) -> bool {
        let mark = br#""type":"tool_result""#;
        let has_result = body.windows(mark.len()).any(|window| window == mark);
        let mut received = self.received.lock().unwrap();
        match received.iter_mut().find(|(known, _)| *known == body) {
            Some((_, count)) => *count += 1,
            None => received.push((body, 1)),
        }
        has_result
    }
}

/// A content block as it starts, and the deltas that complete it.
type Block = (Value, Vec<Value>);

fn text(text: &str) -> Block {
    (
        json!({ "type": "text", "text": "" }),
        deltas(text, "text_delta", "text"),
    )
}

fn deltas(text: &str, kind: &str, field: &str) -> Vec<Value> {
    let characters: Vec<char> = text.chars().collect();
    let pieces = characters.chunks(PIECE).map(String::from_iter);
    pieces.map(|piece| json!({ "type": kind, field: piece })).collect()
}

/// The events of a whole answer, one chunk each.
fn answer(blocks: &[Block], stop_reason: &str) -> Vec<Bytes> {
    let mut events = vec![json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5", "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": { "input_tokens": 700, "output_tokens": 1 },
    }})];
    for (index, (block, deltas)) in blocks.iter().enumerate() {
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": block }));
        let deltas = deltas.iter();
        events.extend(deltas.map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })));
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    events.push(
        json!({ "type": "message_delta", "delta": { "stop_reason": stop_reason, "stop_sequence": null },
        "usage": { "output_tokens": 40 } }),
    );
    events.push(json!({ "type": "message_stop" }));
    let events = events.iter();
    events
        .map(|data| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap()).into())
        .collect()
}
