//! What the simulator is to answer: the script, as values. [`Script::parse`] reads one from a file, tests and the demo
//! build one with the methods here; both are validated by the same rules before a simulator starts.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// An ordered list of answers to `POST /v1/messages`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    pub answers: Vec<Answer>,
    pub after: After,
}

/// What a request gets that no answer is left for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// HTTP 500 that says that the script is exhausted.
    #[default]
    Error,
    /// The answer that was given last, again.
    RepeatLast,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub when: When,
    pub repeat: Repeat,
    /// Waited before the first byte of the answer. At most an hour.
    pub delay: Duration,
    /// Added to the response.
    pub headers: Vec<(String, String)>,
    pub kind: AnswerKind,
    pub stream: StreamOptions,
    pub fault: Option<Fault>,
}

/// How many requests an answer serves before it is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    Times(u32),
    Forever,
}

/// Which requests an answer is for. Both conditions look at the last message of the request, and all that are set must
/// hold; an answer whose conditions do not hold is passed over, not spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The text of the last user message, its tool results included, contains this.
    pub last_user_contains: Option<String>,
    /// The last user message holds a result of the tool of this name, or of the call with this id.
    pub has_tool_result: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AnswerKind {
    Message(MessageAnswer),
    Error(ErrorAnswer),
    Raw(RawAnswer),
}

/// A model's answer: thinking, then text, then tool calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageAnswer {
    pub thinking: Option<String>,
    /// May hold placeholders. Empty: no text block.
    pub text: String,
    pub tools: Vec<ToolCall>,
    /// Default: `tool_use` where there are tool calls, else `end_turn`. Any name is sent as it stands.
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    /// Default: the model that the request names.
    pub model: Option<String>,
    pub usage: UsageAnswer,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub name: String,
    pub input: ToolInput,
    /// Default: made up, the same in every run, and never one that the request already holds.
    pub id: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ToolInput {
    Json(Value),
    /// Streamed as it stands, so that it may be truncated or no JSON at all.
    Text(String),
}

/// What an answer says about tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UsageAnswer {
    /// A token for every four bytes of the request and of the answer.
    #[default]
    Computed,
    Given(UsageFigures),
    /// No usage at all, in no event.
    Omitted,
}

/// Tokens by kind. Those left out are computed (input, output) or zero (the cache).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageFigures {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_creation_5m_input_tokens: u64,
    pub cache_creation_1h_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}

/// An HTTP error in the API's own shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// 400 to 599.
    pub status: u16,
    /// Default: the one that belongs to the status.
    pub kind: Option<String>,
    /// Default: the usual words for the type.
    pub message: Option<String>,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
}

/// Any status with any body: a gateway's HTML page, garbage instead of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// 200 to 599.
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// How a streamed answer is cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Characters per delta event, default 16; raised for long texts so that no block has more than 20,000 deltas.
    pub chunk: usize,
    /// Waited before every delta event, default zero.
    pub chunk_delay: Duration,
    /// A `ping` after every so many deltas, default 0: only the one that follows the first `content_block_start`.
    pub ping_every: usize,
    /// An unknown event and an unknown delta type are mixed in. Default false.
    pub unknown_events: bool,
    /// Bytes per HTTP chunk, which splits lines and characters anywhere; default 0: one chunk per event.
    pub write_bytes: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            chunk: 16,
            chunk_delay: Duration::ZERO,
            ping_every: 0,
            unknown_events: false,
            write_bytes: 0,
        }
    }
}

/// What goes wrong with an answer's transport, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub at: FaultPoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The HTTP body ends in good order, without the rest of the answer.
    Cut,
    /// The connection is closed (TCP FIN) in the middle of the HTTP message.
    Close,
    /// The connection is reset (TCP RST).
    Reset,
    /// Nothing more is sent, and the connection stays open.
    Stall,
    /// An `error` event within a stream, which then ends; an HTTP error where the request did not ask for a stream.
    ErrorEvent { kind: String, message: String },
    /// Bytes that are neither UTF-8 nor events nor JSON, then the body ends.
    Garbage,
}

/// Where a fault strikes. An answer that is shorter than the point has it at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// As soon as a connection is accepted; on one that is already open, when the request has arrived.
    Accept,
    /// When the request has arrived, before any byte of the answer.
    Request,
    /// After the head and so many events, of any kind. The body of an answer that is no stream is one event.
    Events(usize),
    /// After the head and so many bytes of the body.
    Bytes(usize),
}

impl Script {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn answer(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    pub fn after(mut self, after: After) -> Self {
        self.after = after;
        self
    }
}

impl Answer {
    fn new(kind: AnswerKind) -> Self {
        Self {
            when: When::default(),
            repeat: Repeat::Times(1),
            delay: Duration::ZERO,
            headers: Vec::new(),
            kind,
            stream: StreamOptions::default(),
            fault: None,
        }
    }

    pub fn message(message: MessageAnswer) -> Self {
        Self::new(AnswerKind::Message(message))
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::message(MessageAnswer {
            text: text.into(),
            ..MessageAnswer::default()
        })
    }

    pub fn tools(tools: impl IntoIterator<Item = ToolCall>) -> Self {
        Self::message(MessageAnswer {
            tools: tools.into_iter().collect(),
            ..MessageAnswer::default()
        })
    }

    /// An HTTP error of this status with its usual type and message.
    pub fn error(status: u16) -> Self {
        Self::error_with(ErrorAnswer {
            status,
            kind: None,
            message: None,
            error_code: None,
        })
    }

    pub fn error_with(error: ErrorAnswer) -> Self {
        Self::new(AnswerKind::Error(error))
    }

    pub fn raw(status: u16, content_type: impl Into<String>, body: impl Into<String>) -> Self {
        Self::new(AnswerKind::Raw(RawAnswer {
            status,
            content_type: content_type.into(),
            body: body.into(),
        }))
    }

    /// Nothing but a fault.
    pub fn fault(kind: FaultKind, at: FaultPoint) -> Self {
        Self::message(MessageAnswer::default()).with_fault(kind, at)
    }

    pub fn with_fault(mut self, kind: FaultKind, at: FaultPoint) -> Self {
        self.fault = Some(Fault { kind, at });
        self
    }

    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    pub fn times(mut self, times: u32) -> Self {
        self.repeat = Repeat::Times(times);
        self
    }

    pub fn forever(mut self) -> Self {
        self.repeat = Repeat::Forever;
        self
    }

    pub fn streamed(mut self, stream: StreamOptions) -> Self {
        self.stream = stream;
        self
    }

    pub fn when_last_user_contains(mut self, text: impl Into<String>) -> Self {
        self.when.last_user_contains = Some(text.into());
        self
    }

    pub fn when_tool_result(mut self, tool: impl Into<String>) -> Self {
        self.when.has_tool_result = Some(tool.into());
        self
    }
}

impl ToolCall {
    pub fn new(name: impl Into<String>, input: Value) -> Self {
        Self {
            name: name.into(),
            input: ToolInput::Json(input),
            id: None,
        }
    }

    /// A call whose input is sent as this text, whether it is JSON or not.
    pub fn truncated(name: impl Into<String>, input: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            input: ToolInput::Text(input.into()),
            id: None,
        }
    }
}

impl FaultKind {
    /// The `error` event of an API that has become too busy in the middle of an answer.
    pub fn overloaded() -> Self {
        Self::ErrorEvent {
            kind: "overloaded_error".to_owned(),
            message: "Overloaded".to_owned(),
        }
    }
}
