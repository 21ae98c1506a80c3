//! The script: the answers of the simulator. [`Script::parse`] reads one from a file; tests and the demo build one with
//! the methods here. The same rules validate both before a simulator starts.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// An ordered list of answers to `POST /v1/messages`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    pub answers: Vec<Answer>,
    pub after: After,
}

/// What to answer when no answer of the script is left for a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// HTTP 500 with a message that the script is exhausted.
    #[default]
    Error,
    /// Repeats the answer given last.
    RepeatLast,
}

/// One step of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub when: When,
    pub repeat: Repeat,
    /// Delay before the first byte of the answer, at most an hour.
    pub delay: Duration,
    /// Added to the response; one with the name of a default header replaces it.
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

/// The conditions of an answer. Both look at the last message of the request, and all that are set must hold. An answer
/// whose conditions don't hold is skipped but not spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// The text of the last user message, its tool results included, contains this.
    pub last_user_contains: Option<String>,
    /// The last user message contains a result of the tool with this name, or of the call with this id.
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
    /// Can contain placeholders. Empty: no text block.
    pub text: String,
    pub tools: Vec<ToolCall>,
    /// Default: `tool_use` if there are tool calls, else `end_turn`. Any string is sent unchanged.
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    /// Default: the request's model.
    pub model: Option<String>,
    pub usage: UsageAnswer,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub name: String,
    pub input: ToolInput,
    /// Default: generated, the same in every run, and never one that the request already contains.
    pub id: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ToolInput {
    Json(Value),
    /// Streamed unchanged, so it can be truncated or invalid JSON.
    Text(String),
}

/// The usage that an answer reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UsageAnswer {
    /// One token for every four bytes of the request and of the answer.
    #[default]
    Computed,
    Given(UsageFigures),
    /// No usage in any event.
    Omitted,
}

/// Tokens by kind. Omitted input and output counts are computed; omitted cache counts are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UsageFigures {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_creation_5m_input_tokens: u64,
    pub cache_creation_1h_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}

/// An HTTP error in the API's format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    /// 400 to 599.
    pub status: u16,
    /// Default: the error type of the status.
    pub kind: Option<String>,
    /// Default: the usual message of the type.
    pub message: Option<String>,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
}

/// Any status with any body, such as a gateway's HTML page or garbage instead of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// 200 to 599.
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// How a streamed answer is split into events and chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Characters per delta event, default 16. Raised for long texts, so that no block has more than 20,000 deltas.
    pub chunk: usize,
    /// Delay before every delta event, default zero.
    pub chunk_delay: Duration,
    /// Deltas between `ping` events. Default 0: only the one after the first `content_block_start`.
    pub ping_every: usize,
    /// Mixes in an unknown event and an unknown delta type. Default false.
    pub unknown_events: bool,
    /// Bytes per HTTP chunk, which can split lines and characters anywhere. Default 0: one chunk per event.
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

/// A transport fault, and where it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub at: FaultPoint,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Ends the HTTP body properly, without the rest of the answer.
    Cut,
    /// Closes the connection (TCP FIN) in the middle of the HTTP message.
    Close,
    /// Resets the connection (TCP RST).
    Reset,
    /// Sends nothing more and keeps the connection open.
    Stall,
    /// Sends an `error` event and ends the stream. For a non-streaming request: an HTTP error.
    ErrorEvent { kind: String, message: String },
    /// Sends bytes that are neither UTF-8 nor events nor JSON, then ends the body.
    Garbage,
}

/// Where a fault strikes. If the answer is shorter, the fault strikes at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultPoint {
    /// As soon as a connection is accepted. On a connection that is already open: when the request has arrived.
    Accept,
    /// When the request has arrived, before any byte of the answer.
    Request,
    /// After the head and this many events of any kind. A non-streaming body counts as one event.
    Events(usize),
    /// After the head and this many bytes of the body.
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

    /// An HTTP error with the usual type and message of this status.
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

    /// A fault without an answer.
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

    /// A call whose input is sent as this text, valid JSON or not.
    pub fn truncated(name: impl Into<String>, input: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            input: ToolInput::Text(input.into()),
            id: None,
        }
    }
}

impl FaultKind {
    /// The `error` event of an API that becomes overloaded in the middle of an answer.
    pub fn overloaded() -> Self {
        Self::ErrorEvent {
            kind: "overloaded_error".to_owned(),
            message: "Overloaded".to_owned(),
        }
    }
}
