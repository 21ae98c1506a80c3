//! A request's body. The order of its fields is fixed, because prompt caching needs equal bytes for equal requests.

use std::borrow::Cow;

use serde::Serialize;

use crate::json_text::write::{Object, WriteResult, list};

/// How long the API keeps what a request has it cache. A prefix that is read in that time is kept as long again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheTtl {
    /// Writing costs 1.25 times the price of input.
    #[default]
    FiveMinutes,
    /// Writing costs twice the price of input.
    OneHour,
}

impl CacheTtl {
    /// The JSON text of a `cache_control`.
    const fn marker(self) -> &'static str {
        match self {
            Self::FiveMinutes => r#"{"type":"ephemeral"}"#,
            Self::OneHour => r#"{"type":"ephemeral","ttl":"1h"}"#,
        }
    }
}

/// How thoroughly the model works, and how many tokens that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Effort {
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

impl Effort {
    pub const ALL: [Self; 5] = [Self::Low, Self::Medium, Self::High, Self::XHigh, Self::Max];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }
}

/// When the model thinks before it answers. Models differ in what they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Thinking {
    /// As the model sees fit.
    Adaptive,
    /// Only between tool calls.
    BetweenTools,
    #[serde(rename = "disabled")]
    Off,
    /// Always, up to so many tokens of the answer's.
    #[serde(rename = "enabled")]
    Budget { budget_tokens: u32 },
}

impl Thinking {
    /// The name of its type in requests.
    pub(crate) const fn kind(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::BetweenTools => "between_tools",
            Self::Off => "disabled",
            Self::Budget { .. } => "enabled",
        }
    }
}

/// A request for one answer.
#[derive(Debug)]
pub(crate) struct Request<'a, M> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u32,
    pub(crate) temperature: Option<f64>,
    pub(crate) stream: bool,
    pub(crate) thinking: Option<Thinking>,
    pub(crate) effort: Option<Effort>,
    /// The JSON Schema of the answer, JSON text.
    pub(crate) schema: Option<&'a str>,
    /// The tools as [`ToolEntry::list`] writes them. Omitted if empty.
    pub(crate) tools: &'a str,
    /// Omitted if empty, because the API refuses empty text blocks.
    pub(crate) system: &'a str,
    pub(crate) messages: M,
    /// Has the API cache the prompt up to the tools' end, the system prompt's end and the breakpoints of messages.
    pub(crate) cache: Option<CacheTtl>,
}

#[derive(Debug)]
pub(crate) struct RequestMessage<B> {
    /// [`USER`](super::USER), [`ASSISTANT`](super::ASSISTANT) or [`SYSTEM`](super::SYSTEM).
    pub(crate) role: &'static str,
    pub(crate) content: B,
    /// The position of the block where a cached prefix ends. Not of a [`RequestBlock::Verbatim`].
    pub(crate) breakpoint: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum RequestBlock<'a, C> {
    Text {
        text: &'a str,
        /// More fields, as the JSON text of an object.
        extra: Option<&'a str>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        /// JSON text.
        input: &'a str,
        /// More fields, as the JSON text of an object.
        extra: Option<&'a str>,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: C,
        is_error: bool,
    },
    Image {
        media_type: &'a str,
        /// In base64.
        data: &'a str,
    },
    Pdf {
        title: &'a str,
        /// In base64.
        data: &'a str,
    },
    /// From here on the model has this tool, in place of one with its name. Only in a message of [`SYSTEM`](super::SYSTEM), as the
    /// two that follow.
    ToolDefined(ToolEntry<'a>),
    /// From here on the model has this tool again, as it was last defined.
    ToolRestored(&'a str),
    /// From here on the model doesn't have this tool.
    ToolRemoved(&'a str),
    /// A block's JSON text as the API sent it.
    Verbatim(&'a str),
}

/// A part of a tool result.
#[derive(Debug)]
pub(crate) enum ResultBlock<'a> {
    Text {
        text: &'a str,
    },
    Image {
        media_type: &'a str,
        /// In base64.
        data: &'a str,
    },
}

/// An entry of a request's tools.
#[derive(Debug)]
pub(crate) enum ToolEntry<'a> {
    Custom {
        name: &'a str,
        description: &'a str,
        /// JSON text.
        input_schema: &'a str,
        /// Whether the model reads it only once a search has found it. Then it can't have a breakpoint.
        defer_loading: bool,
    },
    /// The API's own tool with which the model searches those that are deferred, by words in any order. The other one searches by
    /// regular expressions.
    Search,
}

impl<'a, M, B, C> Request<'a, M>
where
    M: Iterator<Item = RequestMessage<B>>,
    B: Iterator<Item = RequestBlock<'a, C>>,
    C: Iterator<Item = ResultBlock<'a>>,
{
    pub(crate) fn into_json(self) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut body = Object::begin(&mut out);
        body.field("model", self.model)?;
        body.field("max_tokens", &self.max_tokens)?;
        if let Some(temperature) = self.temperature {
            body.field("temperature", &temperature)?;
        }
        body.field("stream", &self.stream)?;
        if let Some(thinking) = &self.thinking {
            body.field("thinking", thinking)?;
        }
        let effort = self.effort.map(|effort| format!(r#""effort":"{}""#, effort.as_str()));
        let format = |schema| format!(r#""format":{{"type":"json_schema","schema":{schema}}}"#);
        let output: Vec<String> = effort.into_iter().chain(self.schema.map(format)).collect();
        if !output.is_empty() {
            body.raw("output_config", &format!("{{{}}}", output.join(",")))?;
        }
        let marker = self.cache.map(CacheTtl::marker);
        if !self.tools.is_empty() {
            body.raw("tools", &with_breakpoint(self.tools, marker))?;
        }
        match marker {
            _ if self.system.is_empty() => {}
            None => body.field("system", self.system)?,
            // Only a block can have a breakpoint.
            Some(_) => body.list("system", [self.system], |text, out| {
                let block: RequestBlock<'_, C> = RequestBlock::Text { text, extra: None };
                block.write(marker, out)
            })?,
        }
        body.list("messages", self.messages, |message, out| message.write(marker, out))?;
        body.end()?;
        Ok(out)
    }
}

impl<'a, B, C> RequestMessage<B>
where
    B: Iterator<Item = RequestBlock<'a, C>>,
    C: Iterator<Item = ResultBlock<'a>>,
{
    fn write(self, marker: Option<&str>, out: &mut Vec<u8>) -> WriteResult {
        let mut message = Object::begin(out);
        message.field("role", self.role)?;
        message.list("content", self.content.enumerate(), |(position, block), out| {
            block.write(marker.filter(|_| self.breakpoint == Some(position)), out)
        })?;
        message.end()
    }
}

impl<'a, C: Iterator<Item = ResultBlock<'a>>> RequestBlock<'a, C> {
    fn write(self, marker: Option<&str>, out: &mut Vec<u8>) -> WriteResult {
        if let Self::Verbatim(json) = self {
            out.extend_from_slice(json.as_bytes());
            return Ok(());
        }
        let mut block = Object::begin(out);
        match self {
            Self::Text { text, extra } => {
                block.field("type", "text")?;
                block.field("text", text)?;
                block.raw_fields(extra.unwrap_or_default());
            }
            Self::ToolUse { id, name, input, extra } => {
                block.field("type", "tool_use")?;
                block.field("id", id)?;
                block.field("name", name)?;
                block.raw("input", input)?;
                block.raw_fields(extra.unwrap_or_default());
            }
            Self::ToolResult {
                tool_use_id,
                content,
                is_error,
            } => {
                block.field("type", "tool_result")?;
                block.field("tool_use_id", tool_use_id)?;
                block.list("content", content, ResultBlock::write)?;
                if is_error {
                    block.field("is_error", &true)?;
                }
            }
            Self::Image { media_type, data } => {
                block.field("type", "image")?;
                block.field("source", &Source { media_type, data })?;
            }
            Self::Pdf { title, data } => {
                let media_type = "application/pdf";
                block.field("type", "document")?;
                block.field("source", &Source { media_type, data })?;
                block.field("title", title)?;
            }
            Self::ToolDefined(tool) => {
                block.field("type", "tool_addition")?;
                block.object("tool", |named| {
                    named.field("type", "tool_definition")?;
                    named.object("definition", |definition| tool.write_fields(definition))
                })?;
            }
            Self::ToolRestored(name) => {
                block.field("type", "tool_addition")?;
                block.field("tool", &ToolReference { name })?;
            }
            Self::ToolRemoved(name) => {
                block.field("type", "tool_removal")?;
                block.field("tool", &ToolReference { name })?;
            }
            Self::Verbatim(_) => {}
        }
        if let Some(marker) = marker {
            block.raw(CACHE_CONTROL, marker)?;
        }
        block.end()
    }
}

impl ResultBlock<'_> {
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut block = Object::begin(out);
        match self {
            Self::Text { text } => {
                block.field("type", "text")?;
                block.field("text", text)?;
            }
            Self::Image { media_type, data } => {
                block.field("type", "image")?;
                block.field("source", &Source { media_type, data })?;
            }
        }
        block.end()
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "base64")]
struct Source<'a> {
    media_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "tool_reference")]
struct ToolReference<'a> {
    name: &'a str,
}

const CACHE_CONTROL: &str = "cache_control";

/// Tools as [`ToolEntry::list`] writes them, with a breakpoint on the last one.
fn with_breakpoint<'a>(tools: &'a str, marker: Option<&str>) -> Cow<'a, str> {
    match (tools.strip_suffix("}]"), marker) {
        (Some(tools), Some(marker)) => Cow::Owned(format!("{tools},\"{CACHE_CONTROL}\":{marker}}}]")),
        _ => Cow::Borrowed(tools),
    }
}

impl ToolEntry<'_> {
    /// The JSON text of [`Request::tools`], empty if there are no tools. The last one can have a breakpoint.
    pub(crate) fn list(tools: impl Iterator<Item = Self>) -> serde_json::Result<String> {
        let mut tools = tools.peekable();
        if tools.peek().is_none() {
            return Ok(String::new());
        }
        let mut out = Vec::new();
        list(&mut out, tools, Self::write)?;
        String::from_utf8(out).map_err(serde::ser::Error::custom)
    }

    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut tool = Object::begin(out);
        self.write_fields(&mut tool)?;
        tool.end()
    }

    fn write_fields(self, tool: &mut Object<'_>) -> WriteResult {
        match self {
            Self::Custom {
                name,
                description,
                input_schema,
                defer_loading,
            } => {
                tool.field("name", name)?;
                tool.field("description", description)?;
                tool.raw("input_schema", input_schema)?;
                if defer_loading {
                    tool.field("defer_loading", &true)?;
                }
            }
            Self::Search => {
                tool.field("type", "tool_search_tool_bm25_20251119")?;
                tool.field("name", "tool_search_tool_bm25")?;
            }
        }
        Ok(())
    }
}
