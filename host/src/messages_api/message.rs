//! A complete answer, or the part of it that starts a stream.

use serde::Serialize;
use serde_json::Value;

use super::{ASSISTANT, Block, Usage};

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename = "message")]
pub(crate) struct Message {
    pub(crate) id: String,
    /// Always the assistant.
    pub(crate) role: &'static str,
    /// The model's id as the API reports it.
    pub(crate) model: String,
    pub(crate) content: Vec<Block>,
    pub(crate) stop_reason: Option<String>,
    pub(crate) stop_sequence: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
}

impl Message {
    /// A message without content, as at the start of a stream.
    pub(crate) fn started(id: impl Into<String>, model: impl Into<String>, usage: Option<Usage>) -> Self {
        Self {
            id: id.into(),
            role: ASSISTANT,
            model: model.into(),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage,
        }
    }

    /// Reads everything but the content. The caller reads `message["content"]`, because only that can be malformed.
    pub(crate) fn read_head(message: &Value) -> Self {
        let text = |name: &str| message.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            stop_reason: text("stop_reason"),
            stop_sequence: text("stop_sequence"),
            ..Self::started(
                text("id").unwrap_or_default(),
                text("model").unwrap_or_default(),
                message.get("usage").map(Usage::read),
            )
        }
    }
}
