//! The events of a streamed answer.

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{ErrorBody, Message, Usage};

const MESSAGE_START: &str = "message_start";
const CONTENT_BLOCK_START: &str = "content_block_start";
const CONTENT_BLOCK_DELTA: &str = "content_block_delta";
const CONTENT_BLOCK_STOP: &str = "content_block_stop";
const MESSAGE_DELTA: &str = "message_delta";
const MESSAGE_STOP: &str = "message_stop";
const PING: &str = "ping";
const ERROR: &str = "error";

/// The events whose data is read. All others are skipped.
const READ_EVENTS: [&str; 7] = [
    MESSAGE_START,
    CONTENT_BLOCK_START,
    CONTENT_BLOCK_DELTA,
    CONTENT_BLOCK_STOP,
    MESSAGE_DELTA,
    MESSAGE_STOP,
    ERROR,
];

/// One event. On the wire, its name equals the `type` of its data.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StreamEvent {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u64,
        /// The initial block, which the deltas complete.
        content_block: Value,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta,
    },
    ContentBlockStop {
        index: u64,
    },
    MessageDelta {
        delta: MessageDelta,
        /// Cumulative.
        #[serde(skip_serializing_if = "Option::is_none")]
        usage: Option<Usage>,
    },
    /// The only proof that nothing is missing.
    MessageStop,
    Ping,
    #[serde(untagged)]
    Error(ErrorBody),
    /// Only written, to test that clients skip unknown events.
    #[serde(untagged)]
    Unknown(Value),
}

/// An addition to a block.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub(crate) enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    /// A fragment of JSON text that only parses once complete.
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: String },
    #[serde(rename = "citations_delta")]
    Citations { citation: Value },
    #[serde(untagged)]
    Unknown(Value),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct MessageDelta {
    pub(crate) stop_reason: Option<String>,
    pub(crate) stop_sequence: Option<String>,
}

/// Why an event can't be read.
#[derive(Debug, Error)]
pub(crate) enum EventError {
    #[error("the data of an event isn't JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("an event of a block has no index")]
    NoIndex,
}

impl StreamEvent {
    /// The value of the `event:` line.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::MessageStart { .. } => MESSAGE_START,
            Self::ContentBlockStart { .. } => CONTENT_BLOCK_START,
            Self::ContentBlockDelta { .. } => CONTENT_BLOCK_DELTA,
            Self::ContentBlockStop { .. } => CONTENT_BLOCK_STOP,
            Self::MessageDelta { .. } => MESSAGE_DELTA,
            Self::MessageStop => MESSAGE_STOP,
            Self::Ping => PING,
            Self::Error(_) => ERROR,
            Self::Unknown(data) => data["type"].as_str().unwrap_or("message"),
        }
    }

    /// Reads an event. `None` if its kind is unknown or nothing depends on it. If `name` says so, the data isn't even parsed.
    pub(crate) fn read(name: Option<&str>, data: &str) -> Result<Option<Self>, EventError> {
        if name.is_some_and(|name| !READ_EVENTS.contains(&name)) {
            return Ok(None);
        }
        let mut data: Value = serde_json::from_str(data).map_err(EventError::NotJson)?;
        let index = |data: &Value| data["index"].as_u64().ok_or(EventError::NoIndex);
        Ok(Some(match data.get("type").and_then(Value::as_str).or(name) {
            Some(MESSAGE_START) => Self::MessageStart {
                message: Message::read_head(&data["message"]),
            },
            Some(CONTENT_BLOCK_START) => Self::ContentBlockStart {
                index: index(&data)?,
                content_block: data["content_block"].take(),
            },
            Some(CONTENT_BLOCK_DELTA) => Self::ContentBlockDelta {
                index: index(&data)?,
                delta: Delta::read(data["delta"].take()),
            },
            Some(MESSAGE_DELTA) => Self::MessageDelta {
                delta: MessageDelta {
                    stop_reason: data["delta"]["stop_reason"].as_str().map(str::to_owned),
                    stop_sequence: data["delta"]["stop_sequence"].as_str().map(str::to_owned),
                },
                usage: data.get("usage").map(Usage::read),
            },
            Some(MESSAGE_STOP) => Self::MessageStop,
            Some(ERROR) => Self::Error(ErrorBody::read(&data)),
            _ => return Ok(None),
        }))
    }
}

impl Delta {
    /// A field of an unexpected type counts as empty.
    fn read(mut delta: Value) -> Self {
        let text = |delta: &Value, name: &str| delta[name].as_str().unwrap_or_default().to_owned();
        match delta["type"].as_str() {
            Some("text_delta") => Self::Text {
                text: text(&delta, "text"),
            },
            Some("input_json_delta") => Self::InputJson {
                partial_json: text(&delta, "partial_json"),
            },
            Some("thinking_delta") => Self::Thinking {
                thinking: text(&delta, "thinking"),
            },
            Some("signature_delta") => Self::Signature {
                signature: text(&delta, "signature"),
            },
            Some("citations_delta") => Self::Citations {
                citation: delta["citation"].take(),
            },
            _ => Self::Unknown(delta),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::{ErrorDetail, Message};
    use super::*;

    fn events() -> Vec<StreamEvent> {
        let usage = Usage {
            output_tokens: Some(3),
            ..Usage::default()
        };
        let text = |text: &str| text.to_owned();
        let deltas = [
            Delta::Text { text: text("a") },
            Delta::InputJson {
                partial_json: text("{"),
            },
            Delta::Thinking { thinking: text("b") },
            Delta::Signature { signature: text("c") },
            Delta::Citations { citation: json!([1]) },
            Delta::Unknown(json!({ "type": "tomorrow" })),
        ];
        let deltas = deltas.map(|delta| StreamEvent::ContentBlockDelta { index: 1, delta });
        let error = ErrorDetail {
            kind: text("overloaded_error"),
            ..ErrorDetail::default()
        };
        let others = [
            StreamEvent::MessageStart {
                message: Message::started("msg_1", "m", Some(usage)),
            },
            StreamEvent::ContentBlockStart {
                index: 1,
                content_block: json!({ "type": "text", "text": "" }),
            },
            StreamEvent::MessageDelta {
                delta: MessageDelta {
                    stop_reason: Some(text("end_turn")),
                    stop_sequence: None,
                },
                usage: Some(usage),
            },
            StreamEvent::MessageStop,
            StreamEvent::Error(ErrorBody {
                error,
                request_id: Some(text("req_1")),
            }),
        ];
        deltas.into_iter().chain(others).collect()
    }

    #[test]
    fn events_are_read_as_written() {
        for event in events() {
            let data = serde_json::to_value(&event).unwrap();
            assert_eq!(data["type"], event.name(), "{data}");
            let read = StreamEvent::read(Some(event.name()), &data.to_string()).unwrap();
            assert_eq!(read, Some(event));
        }
    }

    #[test]
    fn events_that_nothing_depends_on_are_skipped() {
        for event in [StreamEvent::Ping, StreamEvent::ContentBlockStop { index: 1 }] {
            let data = serde_json::to_value(&event).unwrap();
            assert_eq!(data["type"], event.name(), "{data}");
            assert_eq!(StreamEvent::read(None, &data.to_string()).unwrap(), None);
        }
        assert_eq!(StreamEvent::read(Some("tomorrow"), "no json").unwrap(), None);
        assert!(StreamEvent::read(Some(MESSAGE_STOP), "no json").is_err());
    }
}
