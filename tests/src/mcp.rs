//! Clients of the MCP server that write the protocol's messages by hand.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::watch;

use crate::{Lab, Ran, finish};

/// Far longer than any answer takes, so that a hang fails the test.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client over stdin and stdout.
#[derive(Debug)]
pub struct McpClient {
    pub child: Child,
    pub stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
    /// What the server has written there. It is always read, so that the server never waits for it.
    stderr: watch::Receiver<String>,
}

impl McpClient {
    /// Past its handshake.
    pub async fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let mut client = Self::connect(lab, arguments);
        client.begin().await;
        client
    }

    pub fn connect(lab: &Lab, arguments: &[&str]) -> Self {
        let mut child = lab
            .command(arguments.iter().copied())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, stderr) = watch::channel(String::new());
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                sender.send_modify(|text| text.extend([line.as_str(), "\n"]));
            }
        });
        Self {
            stdin: child.stdin.take().unwrap(),
            lines: BufReader::new(child.stdout.take().unwrap()).lines(),
            stderr,
            child,
        }
    }

    /// Its handshake.
    pub async fn begin(&mut self) {
        self.request(0, "initialize", hello("2025-06-18")).await;
        assert_eq!(self.answer().await["result"]["protocolVersion"], "2025-06-18");
        self.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
    }

    pub async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    pub async fn request(&mut self, id: u64, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .await;
    }

    pub async fn call(&mut self, id: u64, tool: &str, input: Value) {
        self.request(id, "tools/call", json!({ "name": tool, "arguments": input }))
            .await;
    }

    /// A call whose input is sent as it is written.
    pub async fn call_with_text(&mut self, id: u64, tool: &str, input: &str) {
        let input = input.replace('\n', " ");
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":{},\"arguments\":{input}}}}}\n",
            json!(tool)
        );
        self.stdin.write_all(line.as_bytes()).await.unwrap();
    }

    pub async fn answer(&mut self) -> Value {
        let line = tokio::time::timeout(ANSWER_TIMEOUT, self.lines.next_line()).await;
        let line = line.expect("no answer").unwrap().expect("stdout is closed");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Closes stdin, reads what else the server answers, and waits for it.
    pub async fn leave(mut self) -> (Vec<Value>, Ran) {
        drop(self.stdin);
        let mut answers = Vec::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            answers.push(serde_json::from_str(&line).unwrap());
        }
        let mut ran = finish(self.child).await;
        // It is all there once its reader is gone.
        while self.stderr.changed().await.is_ok() {}
        ran.stderr = self.stderr.borrow().clone();
        (answers, ran)
    }

    /// Waits until the server has written these words on stderr.
    pub async fn wait_for_stderr(&mut self, words: &str) {
        let said = self.stderr.wait_for(|text| text.contains(words));
        let said = tokio::time::timeout(ANSWER_TIMEOUT, said).await;
        let _ = said.unwrap_or_else(|_| panic!("it didn't say `{words}`")).unwrap();
    }

    /// Waits for a notification and skips nothing: any other message fails the test.
    pub async fn notification(&mut self, method: &str) -> Value {
        let message = self.answer().await;
        assert_eq!(message["method"], method, "{message}");
        message
    }
}

/// How a client begins.
pub fn hello(revision: &str) -> Value {
    json!({ "protocolVersion": revision, "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } })
}

/// A server over HTTP.
#[derive(Debug)]
pub struct McpHttpServer {
    pub child: Child,
    pub address: String,
}

impl McpHttpServer {
    pub async fn start(lab: &Lab, arguments: &[&str]) -> Self {
        let all = [&["mcp", "--http", "127.0.0.1:0", "--quiet"], arguments].concat();
        let mut child = lab.command(all).env("TOKEN", "t0ken").spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(ANSWER_TIMEOUT, lines.next_line())
            .await
            .expect("no URL");
        let url = line.unwrap().expect("the server ended");
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/mcp"));
        Self {
            child,
            address: address.unwrap().to_owned(),
        }
    }

    /// One request over a connection of its own; the head as text.
    pub async fn request(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let length = body.len();
        let request = format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(ANSWER_TIMEOUT, stream.read_to_string(&mut answer));
        read.await.expect("no answer").unwrap();
        answer
    }

    /// Has it end as a service manager would, and checks that it does so well.
    pub async fn stop(self) -> Ran {
        let id = rustix::process::Pid::from_raw(i32::try_from(self.child.id().unwrap()).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        finish(self.child).await.expect_code(0)
    }
}
