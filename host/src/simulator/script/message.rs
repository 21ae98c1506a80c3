//! A model's answer: its blocks, why it stopped, and the usage it reports.

use serde_json::{Map, Value};

/// A model's answer: thinking, then text, then tool calls, or the blocks of `content`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageAnswer {
    /// An empty one is a block whose text is empty, as the API sends where thinking isn't displayed.
    pub thinking: Option<String>,
    /// Can contain placeholders. Empty: no text block.
    pub text: String,
    pub tools: Vec<ToolCall>,
    /// The blocks in any order and of any kind, instead of `thinking`, `text` and `tools`.
    pub content: Vec<ContentItem>,
    /// Default: `tool_use` if there are tool calls, else `end_turn`. Any string is sent unchanged.
    pub stop_reason: Option<String>,
    pub stop_sequence: Option<String>,
    pub stop_details: Option<Value>,
    /// Default: the request's model.
    pub model: Option<String>,
    pub usage: UsageAnswer,
    /// The usage in `message_start`. Default: `usage` with one output token.
    pub usage_start: Option<UsageAnswer>,
    /// Fields of the message that are added or replaced.
    pub extra: Map<String, Value>,
}

/// One block of a model's answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ContentItem {
    pub kind: ItemKind,
    /// Default: its position.
    pub index: Option<u64>,
    /// The type of its deltas, such as `text_delta` for a tool call. Default: the right one.
    pub delta: Option<String>,
    /// Fields of the block that are added or replaced.
    pub extra: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ItemKind {
    Thinking {
        text: String,
        /// Default: one that the simulator accepts back. Empty: none is streamed, and a whole answer has an empty one.
        signature: Option<String>,
    },
    /// Can contain placeholders.
    Text(String),
    Tool(ToolCall),
    /// Any JSON object. The `input` of a `…tool_use` block is streamed, everything else comes with the block's start.
    Block(Value),
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
#[derive(Clone, Debug, Default, PartialEq)]
pub enum UsageAnswer {
    /// One token for every four bytes of the request and of the answer.
    #[default]
    Computed,
    Given(UsageFigures),
    /// Any JSON, sent unchanged.
    Json(Value),
    /// No usage in any event.
    Omitted,
}

/// Tokens by kind. Omitted input and output counts are computed. Cache counts are computed if none of the prompt's counts is given,
/// otherwise they are zero where omitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageFigures {
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cache_creation_5m_input_tokens: u64,
    pub cache_creation_1h_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}

impl MessageAnswer {
    /// Whether the answer calls tools of the client.
    pub(in crate::simulator) fn calls_tools(&self) -> bool {
        let is_call = |item: &ContentItem| match &item.kind {
            ItemKind::Tool(_) => true,
            ItemKind::Block(block) => block["type"] == "tool_use",
            ItemKind::Thinking { .. } | ItemKind::Text(_) => false,
        };
        !self.tools.is_empty() || self.content.iter().any(is_call)
    }
}

impl ContentItem {
    pub fn new(kind: ItemKind) -> Self {
        Self {
            kind,
            index: None,
            delta: None,
            extra: Map::new(),
        }
    }

    pub fn text(text: impl Into<String>) -> Self {
        Self::new(ItemKind::Text(text.into()))
    }

    pub fn thinking(text: impl Into<String>) -> Self {
        Self::new(ItemKind::Thinking {
            text: text.into(),
            signature: None,
        })
    }

    /// Thinking that was cut off before its signature.
    pub fn unsigned_thinking(text: impl Into<String>) -> Self {
        Self::new(ItemKind::Thinking {
            text: text.into(),
            signature: Some(String::new()),
        })
    }

    pub fn tool(call: ToolCall) -> Self {
        Self::new(ItemKind::Tool(call))
    }

    pub fn block(block: Value) -> Self {
        Self::new(ItemKind::Block(block))
    }

    pub fn at_index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }

    pub fn with_delta(mut self, kind: impl Into<String>) -> Self {
        self.delta = Some(kind.into());
        self
    }

    pub fn with_field(mut self, name: impl Into<String>, value: Value) -> Self {
        self.extra.insert(name.into(), value);
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
