//! A request's body. The order of its fields is fixed, because prompt caching needs equal bytes for equal requests.

use std::borrow::Cow;

use super::{ASSISTANT, SYSTEM, TOOL, USER};
use crate::json_text::write::{Object, WriteResult, list};

/// A request for one answer.
#[derive(Debug)]
pub(crate) struct Request<'a, M> {
    pub(crate) model: &'a str,
    pub(crate) max_tokens: u32,
    /// The name of the field with `max_tokens`, which differs by server.
    pub(crate) max_tokens_field: &'static str,
    pub(crate) temperature: Option<f64>,
    pub(crate) stream: bool,
    pub(crate) reasoning_effort: Option<&'static str>,
    /// The JSON Schema of the answer, JSON text.
    pub(crate) schema: Option<&'a str>,
    /// The tools as [`ToolDefinition::list`] writes them. Omitted if empty.
    pub(crate) tools: &'a str,
    pub(crate) messages: M,
}

#[derive(Debug)]
pub(crate) enum RequestMessage<'a> {
    System(&'a str),
    /// A list only where it has images: not every server reads one.
    User(Vec<Part<'a>>),
    Assistant {
        /// `null` if empty.
        text: Cow<'a, str>,
        calls: Vec<RequestCall<'a>>,
        /// More fields, as the JSON text of an object.
        extra: Option<String>,
    },
    Tool {
        tool_call_id: &'a str,
        content: Cow<'a, str>,
    },
}

#[derive(Debug)]
pub(crate) enum Part<'a> {
    Text(Cow<'a, str>),
    Image {
        media_type: &'a str,
        /// In base64.
        data: &'a str,
    },
    Pdf {
        name: &'a str,
        /// In base64.
        data: &'a str,
    },
}

#[derive(Debug)]
pub(crate) struct RequestCall<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// JSON text, which the API wants in a string.
    pub(crate) arguments: &'a str,
    /// More fields, as the JSON text of an object.
    pub(crate) extra: Option<&'a str>,
}

#[derive(Debug)]
pub(crate) struct ToolDefinition<'a> {
    pub(crate) name: &'a str,
    pub(crate) description: &'a str,
    /// JSON text.
    pub(crate) parameters: &'a str,
}

/// Between two texts of one message.
const PARAGRAPH: &str = "\n\n";

impl<'a, M: Iterator<Item = RequestMessage<'a>>> Request<'a, M> {
    pub(crate) fn into_json(self) -> serde_json::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut body = Object::begin(&mut out);
        body.field("model", self.model)?;
        body.field(self.max_tokens_field, &self.max_tokens)?;
        if let Some(temperature) = self.temperature {
            body.field("temperature", &temperature)?;
        }
        body.field("stream", &self.stream)?;
        if self.stream {
            // Without it, OpenAI and vLLM report no usage at all.
            body.raw("stream_options", r#"{"include_usage":true}"#)?;
        }
        if let Some(effort) = self.reasoning_effort {
            body.field("reasoning_effort", effort)?;
        }
        if let Some(schema) = self.schema {
            let format = format!(r#"{{"type":"json_schema","json_schema":{{"name":"answer","schema":{schema}}}}}"#);
            body.raw("response_format", &format)?;
        }
        if !self.tools.is_empty() {
            body.raw("tools", self.tools)?;
        }
        body.list("messages", self.messages, RequestMessage::write)?;
        body.end()?;
        Ok(out)
    }
}

impl RequestMessage<'_> {
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut message = Object::begin(out);
        match self {
            Self::System(text) => {
                message.field("role", SYSTEM)?;
                message.field("content", text)?;
            }
            Self::User(parts) => {
                message.field("role", USER)?;
                match texts(&parts) {
                    Some(texts) => message.field("content", &texts.join(PARAGRAPH))?,
                    None => message.list("content", parts, Part::write)?,
                }
            }
            Self::Assistant { text, calls, extra } => {
                message.field("role", ASSISTANT)?;
                message.field("content", &(!text.is_empty()).then_some(&text))?;
                message.raw_fields(extra.as_deref().unwrap_or_default());
                if !calls.is_empty() {
                    message.list("tool_calls", calls, RequestCall::write)?;
                }
            }
            Self::Tool { tool_call_id, content } => {
                message.field("role", TOOL)?;
                message.field("tool_call_id", tool_call_id)?;
                message.field("content", &content)?;
            }
        }
        message.end()
    }

    /// The text of several.
    pub(crate) fn joined<'t>(texts: impl IntoIterator<Item = &'t str>) -> Cow<'t, str> {
        let mut texts = texts.into_iter();
        let first = Cow::Borrowed(texts.next().unwrap_or_default());
        texts.fold(first, |all, text| Cow::Owned([&*all, text].join(PARAGRAPH)))
    }
}

/// The parts' texts, if they are nothing else.
fn texts<'p>(parts: &'p [Part<'_>]) -> Option<Vec<&'p str>> {
    let text = |part: &'p Part<'_>| match part {
        Part::Text(text) => Some(&**text),
        Part::Image { .. } | Part::Pdf { .. } => None,
    };
    parts.iter().map(text).collect()
}

impl Part<'_> {
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut part = Object::begin(out);
        match self {
            Self::Text(text) => {
                part.field("type", "text")?;
                part.field("text", &text)?;
            }
            Self::Image { media_type, data } => {
                part.field("type", "image_url")?;
                let url = format!("data:{media_type};base64,{data}");
                part.field("image_url", &ImageUrl { url })?;
            }
            Self::Pdf { name, data } => {
                part.field("type", "file")?;
                let file_data = format!("data:application/pdf;base64,{data}");
                part.field(
                    "file",
                    &File {
                        filename: name,
                        file_data,
                    },
                )?;
            }
        }
        part.end()
    }
}

#[derive(serde::Serialize)]
struct File<'a> {
    filename: &'a str,
    file_data: String,
}

#[derive(serde::Serialize)]
struct ImageUrl {
    url: String,
}

impl RequestCall<'_> {
    fn write(self, out: &mut Vec<u8>) -> WriteResult {
        let mut call = Object::begin(out);
        call.field("id", self.id)?;
        call.field("type", "function")?;
        call.field(
            "function",
            &Function {
                name: self.name,
                arguments: self.arguments,
            },
        )?;
        call.raw_fields(self.extra.unwrap_or_default());
        call.end()
    }
}

#[derive(serde::Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl ToolDefinition<'_> {
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
        let mut function = Vec::new();
        let mut fields = Object::begin(&mut function);
        fields.field("name", self.name)?;
        fields.field("description", self.description)?;
        fields.raw("parameters", self.parameters)?;
        fields.end()?;
        let function = String::from_utf8(function).map_err(serde::ser::Error::custom)?;
        let mut tool = Object::begin(out);
        tool.field("type", "function")?;
        tool.raw("function", &function)?;
        tool.end()
    }
}
