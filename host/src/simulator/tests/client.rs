//! An HTTP client that shows every byte, because these tests check what a library would repair or hide.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::Simulator;

pub(super) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// The HTTP chunks, or the whole body as one.
    pub(super) chunks: Vec<Vec<u8>>,
}

/// A valid request.
pub(super) fn request() -> Value {
    json!({ "model": "claude-sonnet-5-5", "max_tokens": 1000, "messages": [{ "role": "user", "content": "hello" }] })
}

/// The headers the API requires, replaced or extended by those given.
pub(super) fn header_lines(changed: &[(&str, &str)]) -> String {
    let usual = [
        ("x-api-key", "hush"),
        ("anthropic-version", "2026-10-21"),
        ("content-type", "application/json"),
    ];
    let kept = usual
        .into_iter()
        .filter(|(name, _)| !changed.iter().any(|(other, _)| other == name));
    kept.chain(changed.iter().copied())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect()
}

pub(super) fn bytes(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends one request to the simulator over a new connection.
pub(super) async fn call(simulator: &Simulator, body: &Value) -> Response {
    Client::connect(&simulator.url())
        .await
        .post("/v1/messages", body, &[])
        .await
}

impl Client {
    pub(super) async fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(super) async fn post(&mut self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Response {
        self.send("POST", path, &header_lines(headers), body.to_string().as_bytes())
            .await
    }

    pub(super) async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        self.write(&bytes(method, path, headers, body)).await;
        self.response(method).await
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        // Ignored: the server may have hung up already, and what it sent says more.
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads until the connection ends; returns the bytes and how it ended.
    pub(super) async fn read_all(&mut self) -> (Vec<u8>, std::io::Result<usize>) {
        let ended = self.stream.read_to_end(&mut self.buffer).await;
        (std::mem::take(&mut self.buffer), ended)
    }

    /// Reads what has arrived, at least a byte.
    pub(super) async fn read_some(&mut self) -> Vec<u8> {
        assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "ended early");
        std::mem::take(&mut self.buffer)
    }

    /// Reads until the bytes read so far end with these.
    pub(super) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        while !self.buffer.ends_with(end) {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "ended early");
        }
        std::mem::take(&mut self.buffer)
    }

    pub(super) async fn response(&mut self, method: &str) -> Response {
        let head = self.take_until(b"\r\n\r\n").await;
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<_> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut response = Response {
            status,
            headers,
            chunks: Vec::new(),
        };
        if response.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = String::from_utf8(self.take_until(b"\r\n").await).unwrap();
                let size = usize::from_str_radix(size.trim(), 16).unwrap();
                let chunk = self.take(size).await;
                self.take(2).await;
                if size == 0 {
                    break;
                }
                response.chunks.push(chunk);
            }
        } else if method != "HEAD" {
            let length = response
                .header("content-length")
                .map_or(0, |length| length.parse().unwrap());
            response.chunks.push(self.take(length).await);
        }
        response
    }

    async fn take_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len()).await;
            }
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "ended early");
        }
    }

    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert_ne!(self.stream.read_buf(&mut self.buffer).await.unwrap(), 0, "ended early");
        }
        self.buffer.drain(..length).collect()
    }
}

impl Response {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn body(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body()).unwrap()
    }

    /// The data of every event. Asserts that each event's name is its type.
    pub(super) fn events(&self) -> Vec<Value> {
        let text = String::from_utf8(self.body()).unwrap();
        text.split_terminator("\n\n")
            .map(|event| {
                let (name, data) = event.split_once('\n').unwrap();
                let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                assert_eq!(name, format!("event: {}", data["type"].as_str().unwrap()));
                data
            })
            .collect()
    }
}
