//! What is said to a model and what it answers, in the words of the Messages API. The wire may grow: whatever we do
//! not know is kept as it came and sent back unchanged.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::events::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    User,
    Assistant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Block>,
}

impl Message {
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: vec![Block::text(text)],
        }
    }
}

/// One content block.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Text {
        text: String,
    },
    ToolUse(ToolUse),
    ToolResult(ToolResultBlock),
    /// Thinking, server tools and whatever the API adds: passed back byte for byte, never interpreted.
    Other(Value),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    pub id: String,
    pub name: String,
    pub input: Value,
    /// What the API adds to a call that we do not know, sent back as it came.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolResultBlock {
    pub tool_use_id: String,
    pub content: Vec<ResultContent>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
}

/// What a tool result may hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResultContent {
    Text { text: String },
    Image { source: ImageSource },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageSource {
    Base64 { media_type: String, data: String },
}

impl ResultContent {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl Block {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

impl Serialize for Block {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(tag = "type", rename_all = "snake_case")]
        enum Known<'a> {
            Text { text: &'a str },
            ToolUse(&'a ToolUse),
            ToolResult(&'a ToolResultBlock),
        }
        match self {
            Self::Text { text } => Known::Text { text }.serialize(serializer),
            Self::ToolUse(tool_use) => Known::ToolUse(tool_use).serialize(serializer),
            Self::ToolResult(result) => Known::ToolResult(result).serialize(serializer),
            Self::Other(value) => value.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Block {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let known = |value: &Value| -> Option<Self> {
            let object = value.as_object()?;
            match object.get("type")?.as_str()? {
                // A text block with citations or a cache mark is kept whole: it is ours to return, not to simplify.
                "text" if object.len() == 2 => Some(Self::text(object.get("text")?.as_str()?)),
                "tool_use" => {
                    let mut tool_use = ToolUse::deserialize(value).ok()?;
                    tool_use.extra.remove("type");
                    Some(Self::ToolUse(tool_use))
                }
                "tool_result" => ToolResultBlock::deserialize(value).ok().map(Self::ToolResult),
                _ => None,
            }
        };
        Ok(known(&value).unwrap_or(Self::Other(value)))
    }
}

/// A tool as the model sees it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolDefinition {
    pub name: String,
    pub description: String,
    pub input_schema: Value,
}

/// Everything one turn asks of a model. Two requests with equal fields serialise to equal bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelRequest {
    pub system: String,
    pub messages: Vec<Message>,
    pub tools: Vec<ToolDefinition>,
    pub max_tokens: u32,
    pub temperature: Option<f64>,
}

/// Why the model stopped. Open on the wire: an unknown reason is data, and the loop decides about it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    PauseTurn,
    Refusal,
    ContextWindowExceeded,
    Unknown(String),
}

impl StopReason {
    pub fn from_wire(name: &str) -> Self {
        match name {
            "end_turn" => Self::EndTurn,
            "max_tokens" => Self::MaxTokens,
            "stop_sequence" => Self::StopSequence,
            "tool_use" => Self::ToolUse,
            "pause_turn" => Self::PauseTurn,
            "refusal" => Self::Refusal,
            "model_context_window_exceeded" => Self::ContextWindowExceeded,
            other => Self::Unknown(other.to_owned()),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Self::EndTurn => "end_turn",
            Self::MaxTokens => "max_tokens",
            Self::StopSequence => "stop_sequence",
            Self::ToolUse => "tool_use",
            Self::PauseTurn => "pause_turn",
            Self::Refusal => "refusal",
            Self::ContextWindowExceeded => "model_context_window_exceeded",
            Self::Unknown(name) => name,
        }
    }
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelResponse {
    /// The model that answered, as it names itself.
    pub model: String,
    pub content: Vec<Block>,
    pub stop_reason: StopReason,
    pub usage: Usage,
    pub request_id: Option<String>,
}

impl ModelResponse {
    /// The answer's text blocks, joined.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|block| match block {
                Block::Text { text } => Some(text.as_str()),
                Block::Other(value) if value["type"] == "text" => value["text"].as_str(),
                _ => None,
            })
            .collect()
    }

    pub fn tool_uses(&self) -> impl Iterator<Item = &ToolUse> {
        self.content.iter().filter_map(|block| match block {
            Block::ToolUse(tool_use) => Some(tool_use),
            _ => None,
        })
    }
}
