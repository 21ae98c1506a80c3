//! The script: the answers of the simulator. [`Script::parse`] reads one from a file; tests and the demo build one with
//! the methods here. The same rules validate both before a simulator starts.

mod fault;
mod message;
mod stream;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::rate_limits::RateLimitOptions;
pub use fault::{Fault, FaultKind, FaultPoint};
pub use message::{ContentItem, ItemKind, MessageAnswer, ToolCall, ToolInput, UsageAnswer, UsageFigures};
pub use stream::{EventNames, Insertion, LineEnding, StreamOptions};

/// An ordered list of answers to `POST /v1/messages` and `POST /v1/chat/completions`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    pub answers: Vec<Answer>,
    pub after: After,
    pub rate_limits: RateLimitOptions,
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
    /// Default headers to leave out: `content-type`, `request-id`, `cache-control` or `x-should-retry`.
    pub omit_headers: Vec<String>,
    /// Compresses the body with gzip, whether the client accepts that or not.
    pub gzip: bool,
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
    Message(Box<MessageAnswer>),
    Error(ErrorAnswer),
    Raw(RawAnswer),
}

/// An HTTP error in the API's format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorAnswer {
    /// 400 to 599.
    pub status: u16,
    /// Default: the error type of the status.
    pub kind: Option<String>,
    /// Default: the usual message of the type.
    pub message: Option<String>,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
    /// More fields of `error.details`.
    pub details: Map<String, Value>,
}

/// Any status with any body, such as a gateway's HTML page or garbage instead of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawAnswer {
    /// 200 to 599.
    pub status: u16,
    pub content_type: String,
    pub body: String,
    /// How often the body is sent, one copy after the other. Usually once.
    pub times: u32,
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

    pub fn rate_limits(mut self, rate_limits: RateLimitOptions) -> Self {
        self.rate_limits = rate_limits;
        self
    }

    /// The model's answers of the script.
    pub(super) fn messages(&self) -> impl Iterator<Item = &MessageAnswer> {
        self.answers.iter().filter_map(|answer| match &answer.kind {
            AnswerKind::Message(message) => Some(message.as_ref()),
            AnswerKind::Error(_) | AnswerKind::Raw(_) => None,
        })
    }
}

impl Answer {
    fn new(kind: AnswerKind) -> Self {
        Self {
            when: When::default(),
            repeat: Repeat::Times(1),
            delay: Duration::ZERO,
            headers: Vec::new(),
            omit_headers: Vec::new(),
            gzip: false,
            kind,
            stream: StreamOptions::default(),
            fault: None,
        }
    }

    pub fn message(message: MessageAnswer) -> Self {
        Self::new(AnswerKind::Message(Box::new(message)))
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

    /// A message with these blocks, in this order.
    pub fn content(content: impl IntoIterator<Item = ContentItem>) -> Self {
        Self::message(MessageAnswer {
            content: content.into_iter().collect(),
            ..MessageAnswer::default()
        })
    }

    /// An HTTP error with the usual type and message of this status.
    pub fn error(status: u16) -> Self {
        Self::error_with(ErrorAnswer {
            status,
            ..ErrorAnswer::default()
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
            times: 1,
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

    pub fn without_header(mut self, name: impl Into<String>) -> Self {
        self.omit_headers.push(name.into());
        self
    }

    pub fn gzipped(mut self) -> Self {
        self.gzip = true;
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
