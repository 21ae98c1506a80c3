//! A minimal agent: sends the same requests as the host with the same HTTP library, reads the whole stream, and calls the tool
//! on bare wasmtime. No retries, time-outs, budget, breaker, schema, policy or events.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Request as HttpRequest, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sse_stream::SseByteStream;
use url::Url;

use super::PLUGIN;
use super::bare::{Bare, Instances, Metering};

/// A tool as the model sees it.
#[derive(Serialize)]
pub struct Tool {
    pub name: String,
    pub description: String,
    pub input_schema: Value,
    /// On the last tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

/// The mark of a prefix that the server caches.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CacheControl {
    Ephemeral,
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    tools: &'a [Tool],
    messages: &'a [Message],
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Vec<Block>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: String,
        name: String,
        input: Value,
    },
    ToolResult {
        tool_use_id: String,
        content: Vec<Block>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

impl Block {
    fn text(text: String) -> Self {
        Self::Text {
            text,
            cache_control: None,
        }
    }

    /// The last block of a user's message.
    fn marked(mut self) -> Self {
        if let Self::Text { cache_control, .. } | Self::ToolResult { cache_control, .. } = &mut self {
            *cache_control = Some(CacheControl::Ephemeral);
        }
        self
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    ContentBlockStart {
        content_block: Block,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    ContentBlockStop,
    MessageStop,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta {
    TextDelta { text: String },
    InputJsonDelta { partial_json: String },
}

pub struct BareAgent {
    http: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
    model: String,
    max_tokens: u32,
    tools: Vec<Tool>,
    plugin: Bare,
}

impl BareAgent {
    pub fn new(api: &Url, model: &str, max_tokens: u32, tools: Vec<Tool>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        let metering = Metering {
            fuel: true,
            epoch: false,
        };
        Self {
            http,
            uri: api.join("/v1/messages").unwrap().as_str().parse().unwrap(),
            headers: HeaderMap::from_iter([
                (HeaderName::from_static("x-api-key"), HeaderValue::from_static("bare")),
                (
                    HeaderName::from_static("anthropic-version"),
                    HeaderValue::from_static("2026-10-21"),
                ),
                (USER_AGENT, HeaderValue::from_static("bare")),
                (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            ]),
            model: model.to_owned(),
            max_tokens,
            tools,
            plugin: Bare::new(PLUGIN, Instances::Pooled, metering),
        }
    }

    /// Answers one prompt in a new conversation.
    pub async fn run(&self, prompt: &str) -> String {
        self.run_noting(prompt, |_| {}).await
    }

    /// The same, and passes on how long after each request was sent the first text of its answer came.
    pub async fn run_noting(&self, prompt: &str, mut first_text: impl FnMut(Duration)) -> String {
        let mut messages = vec![Message {
            role: "user",
            content: vec![Block::text(prompt.to_owned()).marked()],
        }];
        loop {
            let content = self.ask(&messages, &mut first_text).await;
            let mut results = Vec::new();
            for block in &content {
                if let Block::ToolUse { id, name, input } = block {
                    let text = self.plugin.call_for_text(name, &input.to_string()).await;
                    results.push(Block::ToolResult {
                        tool_use_id: id.clone(),
                        content: vec![Block::text(text)],
                        cache_control: None,
                    });
                }
            }
            let Some(last) = results.pop() else {
                return content.into_iter().filter_map(text).collect();
            };
            results.push(last.marked());
            messages.push(Message {
                role: "assistant",
                content,
            });
            messages.push(Message {
                role: "user",
                content: results,
            });
        }
    }

    async fn ask(&self, messages: &[Message], first_text: &mut impl FnMut(Duration)) -> Vec<Block> {
        let body = Request {
            model: &self.model,
            max_tokens: self.max_tokens,
            stream: true,
            tools: &self.tools,
            messages,
        };
        let body = Full::new(serde_json::to_vec(&body).unwrap().into());
        let mut request = HttpRequest::post(self.uri.clone()).body(body).unwrap();
        *request.headers_mut() = self.headers.clone();
        let sent = Instant::now();
        let response = self.http.request(request).await.unwrap();
        assert!(response.status().is_success(), "{}", response.status());
        let mut events = pin!(SseByteStream::new(response.into_body().into_data_stream()));
        let (mut blocks, mut input, mut is_whole) = (Vec::new(), String::new(), false);
        let mut has_text = false;
        // To the end, so that the connection returns to the pool.
        while let Some(event) = events.next().await {
            let data = event.unwrap().data.unwrap();
            match serde_json::from_str(&data).unwrap() {
                Event::ContentBlockStart { content_block } => blocks.push(content_block),
                Event::ContentBlockDelta { delta } => match (delta, blocks.last_mut()) {
                    (Delta::TextDelta { text: piece }, Some(Block::Text { text, .. })) => {
                        if !std::mem::replace(&mut has_text, true) {
                            first_text(sent.elapsed());
                        }
                        text.push_str(&piece);
                    }
                    (Delta::InputJsonDelta { partial_json }, Some(_)) => input.push_str(&partial_json),
                    _ => panic!("a delta without its block: {data}"),
                },
                Event::ContentBlockStop => {
                    if let Some(Block::ToolUse { input: whole, .. }) = blocks.last_mut() {
                        *whole = serde_json::from_str(&std::mem::take(&mut input)).unwrap();
                    }
                }
                Event::MessageStop => is_whole = true,
                Event::Other => {}
            }
        }
        assert!(is_whole, "the answer was cut");
        blocks
    }
}

fn text(block: Block) -> Option<String> {
    match block {
        Block::Text { text, .. } => Some(text),
        _ => None,
    }
}
