//! The events of a streamed answer.

use serde_json::{Value, json};
use thiserror::Error;

use super::{ErrorBody, Message, StopDetails, Usage};
use crate::json_text::Json;

pub(crate) const MESSAGE_START: &str = "message_start";
const CONTENT_BLOCK_START: &str = "content_block_start";
const CONTENT_BLOCK_DELTA: &str = "content_block_delta";
const MESSAGE_DELTA: &str = "message_delta";
const MESSAGE_STOP: &str = "message_stop";
const ERROR: &str = "error";

/// The name of an event without a name, which gateways also write.
const UNNAMED: &str = "message";

/// What OpenAI's API sends at the end of a stream, and some gateways to the Messages API as well.
const DONE: &str = "[DONE]";

/// Bytes of a sentence in place of an error's JSON.
const MAX_SENTENCE_BYTES: usize = 1_000;

/// The events that a client's answer depends on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StreamEvent<'a> {
    MessageStart {
        message: Message,
    },
    ContentBlockStart {
        index: u64,
        /// The initial block, which the deltas complete.
        content_block: Json<'a>,
    },
    ContentBlockDelta {
        index: u64,
        delta: Delta<'a>,
    },
    MessageDelta {
        delta: MessageDelta,
        /// Cumulative.
        usage: Option<Usage>,
    },
    MessageStop,
    Error(ErrorBody),
}

/// What a stream reports about its whole answer at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MessageDelta {
    pub(crate) stop_reason: Option<String>,
    pub(crate) stop_details: Option<StopDetails>,
}

/// An addition to a block. Strings are as they are written [between their quotes](Json::string_body), so that a character
/// whose escapes are split over two deltas is whole again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delta<'a> {
    Text(&'a str),
    /// A fragment of JSON text.
    InputJson(&'a str),
    Thinking(&'a str),
    Signature(&'a str),
    Citation(Json<'a>),
    /// An object with fields that replace those of the block.
    Compaction(Json<'a>),
    Unknown,
}

/// Why an event can't be read.
#[derive(Debug, Error)]
pub(crate) enum EventError {
    #[error("the data of an event isn't JSON: {0}")]
    NotJson(#[source] serde_json::Error),
    #[error("an event of a block has no index")]
    NoIndex,
}

impl<'a> StreamEvent<'a> {
    /// Reads an event. `None` if its kind is unknown or nothing depends on it.
    ///
    /// The `type` of the data decides what it is. Only where the data has none, the event's name does, because some gateways
    /// give all events the same name. Data with an `error` and no type is an error, whatever its event is called.
    pub(crate) fn read(name: Option<&str>, data: &'a str) -> Result<Option<Self>, EventError> {
        let name = name.filter(|name| *name != UNNAMED);
        let data = match data.trim() {
            DONE => return Ok(None),
            "" => "{}",
            data => data,
        };
        let data = match Json::parse(data) {
            Ok(data) => data,
            Err(_) if name == Some(ERROR) => return Ok(Some(Self::Error(sentence(data)))),
            Err(error) if name.is_none_or(is_read) => return Err(EventError::NotJson(error)),
            Err(_) => return Ok(None),
        };
        // One pass for all: this is done for each piece of an answer.
        let [kind, error, index, message, content_block, delta, usage] =
            data.fields_named(["type", "error", "index", "message", "content_block", "delta", "usage"]);
        let index = || index.and_then(Json::integer).ok_or(EventError::NoIndex);
        let delta = delta.unwrap_or(Json::NULL);
        let kind = kind.and_then(Json::string);
        let kind = match kind.as_deref() {
            None if error.is_some_and(|error| !error.is_null()) => Some(ERROR),
            kind => kind.or(name),
        };
        Ok(Some(match kind {
            Some(MESSAGE_START) => Self::MessageStart {
                message: Message::read_head(message.unwrap_or(Json::NULL)),
            },
            Some(CONTENT_BLOCK_START) => Self::ContentBlockStart {
                index: index()?,
                content_block: content_block.unwrap_or(Json::NULL),
            },
            Some(CONTENT_BLOCK_DELTA) => Self::ContentBlockDelta {
                index: index()?,
                delta: Delta::read(delta),
            },
            Some(MESSAGE_DELTA) => {
                let text = |name: &str| Some(delta.field(name)?.string()?.into_owned());
                Self::MessageDelta {
                    delta: MessageDelta {
                        stop_reason: text("stop_reason"),
                        stop_details: StopDetails::read(delta),
                    },
                    usage: usage.map(|usage| Usage::read(&usage.to_value())),
                }
            }
            Some(MESSAGE_STOP) => Self::MessageStop,
            Some(ERROR) => Self::Error(ErrorBody::read(&data.to_value())),
            _ => return Ok(None),
        }))
    }
}

fn is_read(name: &str) -> bool {
    [
        MESSAGE_START,
        CONTENT_BLOCK_START,
        CONTENT_BLOCK_DELTA,
        MESSAGE_DELTA,
        MESSAGE_STOP,
    ]
    .contains(&name)
}

/// An error event whose data is no JSON but, for example, a gateway's sentence.
fn sentence(data: &str) -> ErrorBody {
    let data = Value::from(&data[..data.floor_char_boundary(MAX_SENTENCE_BYTES)]);
    ErrorBody::read(&json!({ "error": data }))
}

impl<'a> Delta<'a> {
    /// A field of an unexpected type counts as empty.
    fn read(delta: Json<'a>) -> Self {
        let [kind, text, json, thinking, signature, citation] =
            delta.fields_named(["type", "text", "partial_json", "thinking", "signature", "citation"]);
        let body = |value: Option<Json<'a>>| value.and_then(Json::string_body).unwrap_or_default();
        let kind = kind.and_then(Json::string);
        match kind.as_deref() {
            Some("text_delta") => Self::Text(body(text)),
            Some("input_json_delta") => Self::InputJson(body(json)),
            Some("thinking_delta") => Self::Thinking(body(thinking)),
            Some("signature_delta") => Self::Signature(body(signature)),
            Some("citations_delta") => Self::Citation(citation.unwrap_or(Json::NULL)),
            Some("compaction_delta") => Self::Compaction(delta),
            _ => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(data: &str) -> Option<StreamEvent<'_>> {
        StreamEvent::read(None, data).unwrap()
    }

    #[test]
    fn every_kind_of_delta_is_read() {
        for (delta, expected) in [
            (r#"{"type":"text_delta","text":"a\n"}"#, Delta::Text("a\\n")),
            (
                r#"{"type":"input_json_delta","partial_json":"{"}"#,
                Delta::InputJson("{"),
            ),
            (r#"{"type":"thinking_delta","thinking":"b"}"#, Delta::Thinking("b")),
            (r#"{"type":"signature_delta","signature":"c"}"#, Delta::Signature("c")),
            (r#"{"type":"tomorrow"}"#, Delta::Unknown),
        ] {
            let data = format!(r#"{{"type":"content_block_delta","index":1,"delta":{delta}}}"#);
            let expected = StreamEvent::ContentBlockDelta {
                index: 1,
                delta: expected,
            };
            assert_eq!(read(&data), Some(expected));
        }
    }

    #[test]
    fn every_other_kind_of_event_is_read() {
        let usage = Usage {
            output_tokens: Some(3),
            ..Usage::default()
        };
        let message = Message {
            model: "m".to_owned(),
            usage: Some(usage.clone()),
            ..Message::default()
        };
        assert_eq!(
            read(r#"{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"output_tokens":3}}}"#),
            Some(StreamEvent::MessageStart { message })
        );
        let block = r#"{"type":"text","text":""}"#;
        assert_eq!(
            read(&format!(
                r#"{{"type":"content_block_start","index":1,"content_block":{block}}}"#
            )),
            Some(StreamEvent::ContentBlockStart {
                index: 1,
                content_block: Json::parse(block).unwrap()
            })
        );
        let delta = MessageDelta {
            stop_reason: Some("refusal".to_owned()),
            stop_details: Some(StopDetails {
                category: Some("cyber".to_owned()),
                explanation: None,
            }),
        };
        let data = r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_sequence":null,
            "stop_details":{"category":"cyber","explanation":null}},"usage":{"output_tokens":3}}"#;
        assert_eq!(
            read(data),
            Some(StreamEvent::MessageDelta {
                delta,
                usage: Some(usage)
            })
        );
        assert_eq!(read(r#"{"type":"message_stop"}"#), Some(StreamEvent::MessageStop));
        let error =
            read(r#"{"type":"error","request_id":"req_1","error":{"type":"overloaded_error","message":"busy"}}"#);
        assert!(matches!(error, Some(StreamEvent::Error(body)) if body.error.kind == "overloaded_error"));
        for data in [r#"{"type":"ping"}"#, r#"{"type":"content_block_stop","index":1}"#] {
            assert_eq!(read(data), None);
        }
    }

    fn kind(name: Option<&str>, data: &str) -> &'static str {
        match StreamEvent::read(name, data) {
            Ok(Some(StreamEvent::MessageStop)) => "stop",
            Ok(Some(StreamEvent::Error(_))) => "error",
            Ok(Some(_)) => "another",
            Ok(None) => "skipped",
            Err(_) => "malformed",
        }
    }

    #[test]
    fn the_type_in_the_data_decides_before_the_name() {
        for name in [
            None,
            Some("message"),
            Some("data"),
            Some("ping"),
            Some("message_start"),
            Some("error"),
        ] {
            assert_eq!(kind(name, r#"{"type":"message_stop"}"#), "stop", "{name:?}");
        }
        assert_eq!(kind(Some("message_stop"), "{}"), "stop");
        assert_eq!(kind(Some("message_stop"), ""), "stop");
        assert_eq!(kind(Some("message_stop"), r#"{"type":7}"#), "stop");
        assert_eq!(kind(Some("message_stop"), r#"{"type":"tomorrow"}"#), "skipped");
        for name in [None, Some("message"), Some("tomorrow")] {
            assert_eq!(kind(name, "{}"), "skipped", "{name:?}");
            assert_eq!(kind(name, ""), "skipped", "{name:?}");
            assert_eq!(kind(name, "7"), "skipped", "{name:?}");
        }
    }

    #[test]
    fn an_error_needs_no_type() {
        let message = |name, data| match StreamEvent::read(name, data) {
            Ok(Some(StreamEvent::Error(body))) => body.error.message,
            other => unreachable!("{other:?}"),
        };
        for name in [
            None,
            Some("message"),
            Some("error"),
            Some("message_stop"),
            Some("tomorrow"),
        ] {
            assert_eq!(message(name, r#"{"error":{"message":"busy"}}"#), "busy");
            assert_eq!(message(name, r#"{"error":"busy"}"#), "busy");
        }
        assert_eq!(message(Some("error"), "upstream timed out"), "upstream timed out");
        assert!(message(Some("error"), &"é".repeat(10_000)).len() <= MAX_SENTENCE_BYTES);
        // Other formats have the field in every event.
        assert_eq!(kind(None, r#"{"error":null}"#), "skipped");
        assert_eq!(kind(None, r#"{"type":"message_stop","error":{}}"#), "stop");
    }

    #[test]
    fn data_that_is_no_json_is_malformed_where_it_is_read() {
        for name in [None, Some("message"), Some("message_stop")] {
            assert_eq!(kind(name, "no json"), "malformed", "{name:?}");
            assert_eq!(kind(name, "[DONE]"), "skipped", "{name:?}");
        }
        assert_eq!(kind(Some("tomorrow"), "no json"), "skipped");
        assert_eq!(kind(None, r#"{"type":"content_block_delta"}"#), "malformed");
    }
}
