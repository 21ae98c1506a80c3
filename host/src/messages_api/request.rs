//! A request's body. The order of its fields is fixed, because prompt caching needs equal bytes for equal requests.

use crate::json_text::write::{Object, WriteResult, list};

/// A request for one answer.
#[derive(Debug)]
pub(crate) struct Request<'a, M> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u32,
    pub(crate) temperature: Option<f64>,
    pub(crate) stream: bool,
    /// The tools as [`ToolDefinition::list`] writes them. Omitted if empty.
    pub(crate) tools: &'a str,
    /// Omitted if empty, because the API refuses empty text blocks.
    pub(crate) system: &'a str,
    pub(crate) messages: M,
}

#[derive(Debug)]
pub(crate) struct RequestMessage<B> {
    /// [`USER`](super::USER) or [`ASSISTANT`](super::ASSISTANT).
    pub(crate) role: &'static str,
    pub(crate) content: B,
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

#[derive(Debug)]
pub(crate) struct ToolDefinition<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    /// JSON text.
    pub(crate) input_schema: &'a str,
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
        if !self.tools.is_empty() {
            body.raw("tools", self.tools)?;
        }
        if !self.system.is_empty() {
            body.field("system", self.system)?;
        }
        body.list("messages", self.messages, RequestMessage::write)?;
        body.end()?;
        Ok(out)
    }
}

impl<'a, B, C> RequestMessage<B>
where
    B: Iterator<Item = RequestBlock<'a, C>>,
    C: Iterator<Item = ResultBlock<'a>>,
{
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut message = Object::begin(out);
        message.field("role", self.role)?;
        message.list("content", self.content, RequestBlock::write)?;
        message.end()
    }
}

impl<'a, C: Iterator<Item = ResultBlock<'a>>> RequestBlock<'a, C> {
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        match self {
            Self::Text { text, extra } => {
                let mut block = Object::begin(out);
                block.field("type", "text")?;
                block.field("text", text)?;
                block.raw_fields(extra.unwrap_or_default());
                block.end()
            }
            Self::ToolUse { id, name, input, extra } => {
                let mut block = Object::begin(out);
                block.field("type", "tool_use")?;
                block.field("id", id)?;
                block.field("name", name)?;
                block.raw("input", input)?;
                block.raw_fields(extra.unwrap_or_default());
                block.end()
            }
            Self::ToolResult {
                tool_use_id,
                content,
                is_error,
            } => {
                let mut block = Object::begin(out);
                block.field("type", "tool_result")?;
                block.field("tool_use_id", tool_use_id)?;
                block.list("content", content, ResultBlock::write)?;
                if is_error {
                    block.field("is_error", &true)?;
                }
                block.end()
            }
            Self::Verbatim(json) => {
                out.extend_from_slice(json.as_bytes());
                Ok(())
            }
        }
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

#[derive(serde::Serialize)]
#[serde(tag = "type", rename = "base64")]
struct Source<'a> {
    media_type: &'a str,
    data: &'a str,
}

impl<'a> ToolDefinition<'a> {
    /// The JSON text of [`Request::tools`], empty if there are no tools.
    pub(crate) fn list(tools: impl ExactSizeIterator<Item = Self>) -> serde_json::Result<String> {
        if tools.len() == 0 {
            return Ok(String::new());
        }
        let mut out = Vec::new();
        list(&mut out, tools, Self::write)?;
        String::from_utf8(out).map_err(serde::ser::Error::custom)
    }

    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut tool = Object::begin(out);
        tool.field("name", self.name)?;
        tool.field("description", self.description)?;
        tool.raw("input_schema", self.input_schema)?;
        tool.end()
    }
}
