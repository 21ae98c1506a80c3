//! A request to a model, and its response.

use std::sync::Arc;

use super::ToolDefinitions;
use crate::events::Usage;
use crate::transcript::{Block, Message, ToolUse};

/// The model request of one turn. It borrows from the conversation and the host. Requests with equal fields serialise to
/// equal bytes.
#[derive(Clone, Debug)]
pub struct ModelRequest<'a> {
    /// The system prompt; empty for none.
    pub system: &'a str,
    pub messages: &'a [Message],
    pub tools: &'a ToolDefinitions,
    pub max_tokens: u32,
    pub temperature: Option<f64>,
    /// The JSON Schema of an object that the answer must be, if any.
    pub schema: Option<&'a str>,
    /// The tools that the conversation has had, the first ones first and those of now last, if they have changed in it.
    pub tools_since: &'a [ToolsSince],
}

/// The tools of a conversation from a message on.
#[derive(Clone, Debug)]
pub struct ToolsSince {
    /// How many messages came before they did.
    pub messages: usize,
    pub tools: ToolDefinitions,
}

/// Why the model stopped. The API may add reasons: an unknown one is kept as data, and the loop handles it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence,
    ToolUse,
    PauseTurn,
    /// The model has put a summary in place of earlier messages. It goes on as after a pause.
    Compaction,
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
            "compaction" => Self::Compaction,
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
            Self::Compaction => "compaction",
            Self::Refusal => "refusal",
            Self::ContextWindowExceeded => "model_context_window_exceeded",
            Self::Unknown(name) => name,
        }
    }
}

/// Why the model declined, if the API says so. Both texts are the vendor's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefusalDetails {
    /// For example `cyber`.
    pub category: Option<String>,
    pub explanation: Option<String>,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelResponse {
    /// The model's id as the API reports it.
    pub model: String,
    pub content: Vec<Block>,
    pub stop_reason: StopReason,
    /// Only with [`StopReason::Refusal`], and not always.
    pub refusal: Option<RefusalDetails>,
    pub usage: Usage,
    pub request_id: Option<String>,
}

impl ModelResponse {
    /// Notes who wrote what only the vendor understands: it may be of no use to another model.
    #[must_use]
    pub(super) fn signed(mut self, author: &Arc<str>) -> Self {
        for block in &mut self.content {
            if let Block::Opaque(opaque)
            | Block::Text {
                extra: Some(opaque), ..
            }
            | Block::ToolUse(ToolUse {
                extra: Some(opaque), ..
            }) = block
            {
                opaque.author = Some(author.clone());
            }
        }
        self
    }

    /// The answer's text blocks, joined.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|block| match block {
                Block::Text { text, .. } => Some(text.as_str()),
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
