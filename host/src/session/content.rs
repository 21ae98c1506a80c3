//! The stored form of messages. The transcript's own types have none, so that they can change without the journal.

use serde::{Deserialize, Serialize};

use crate::transcript::{Attachment, AttachmentContent, Block, Content, Image, Opaque, ToolInput, ToolUse};

/// A block of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StoredBlock {
    Text {
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extra: Option<StoredOpaque>,
    },
    ToolUse {
        id: String,
        name: String,
        /// JSON text, as the model wrote it.
        input: String,
        /// Why the input can't be used, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extra: Option<StoredOpaque>,
    },
    Opaque(StoredOpaque),
}

/// Data of one vendor, verbatim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredOpaque {
    provider: String,
    /// JSON text.
    json: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    author: Option<String>,
}

/// A file that came with a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredAttachment {
    name: String,
    media_type: String,
    bytes: u64,
    /// Of a PDF, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pages: Option<u32>,
    /// The text, or the file in base64.
    data: String,
}

impl From<&Attachment> for StoredAttachment {
    fn from(attachment: &Attachment) -> Self {
        Self {
            name: attachment.name.clone(),
            media_type: attachment.media_type().to_owned(),
            bytes: attachment.bytes,
            pages: match attachment.content {
                AttachmentContent::Pdf { pages, .. } => Some(pages),
                AttachmentContent::Image(_) | AttachmentContent::Text(_) => None,
            },
            data: attachment.data().to_owned(),
        }
    }
}

impl From<&StoredAttachment> for Attachment {
    fn from(stored: &StoredAttachment) -> Self {
        let data = stored.data.clone();
        Self {
            name: stored.name.clone(),
            bytes: stored.bytes,
            content: match (stored.media_type.starts_with("image/"), stored.pages) {
                (true, _) => AttachmentContent::Image(Image {
                    media_type: stored.media_type.clone(),
                    base64: data,
                }),
                (false, Some(pages)) => AttachmentContent::Pdf { base64: data, pages },
                (false, None) => AttachmentContent::Text(data),
            },
        }
    }
}

/// A tool as the model reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredTool {
    pub(crate) name: String,
    pub(crate) description: String,
    /// JSON text.
    pub(crate) input_schema: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) always_load: bool,
}

impl StoredTool {
    /// Whether the model reads the same of both.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        self.name == other.name && self.description == other.description && self.input_schema == other.input_schema
    }
}

/// A piece of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StoredContent {
    Text { text: String },
    Image { media_type: String, base64: String },
}

impl StoredBlock {
    /// `None` for a result or an attachment, which no answer has.
    pub(crate) fn of(block: &Block) -> Option<Self> {
        match block {
            Block::Text { text, extra } => Some(Self::Text {
                text: text.clone(),
                extra: extra.as_ref().map(StoredOpaque::of),
            }),
            Block::ToolUse(ToolUse { id, name, input, extra }) => Some(Self::ToolUse {
                id: id.clone(),
                name: name.clone(),
                input: input.text().to_owned(),
                problem: input.problem().map(str::to_owned),
                extra: extra.as_ref().map(StoredOpaque::of),
            }),
            Block::Opaque(opaque) => Some(Self::Opaque(StoredOpaque::of(opaque))),
            Block::ToolResult(_) | Block::Attachment(_) => None,
        }
    }

    pub(crate) fn block(&self) -> Block {
        match self {
            Self::Text { text, extra } => Block::Text {
                text: text.clone(),
                extra: extra.as_ref().map(StoredOpaque::opaque),
            },
            Self::ToolUse {
                id,
                name,
                input,
                problem,
                extra,
            } => Block::ToolUse(ToolUse {
                id: id.clone(),
                name: name.clone(),
                input: match problem {
                    Some(problem) => ToolInput::invalid(problem.as_str()),
                    None => ToolInput::read(input),
                },
                extra: extra.as_ref().map(StoredOpaque::opaque),
            }),
            Self::Opaque(opaque) => Block::Opaque(opaque.opaque()),
        }
    }
}

impl StoredOpaque {
    fn of(opaque: &Opaque) -> Self {
        Self {
            provider: opaque.provider.to_string(),
            json: opaque.json.to_string(),
            author: opaque.author.as_deref().map(str::to_owned),
        }
    }

    fn opaque(&self) -> Opaque {
        Opaque {
            author: self.author.as_deref().map(Into::into),
            ..Opaque::new(&self.provider, self.json.as_str())
        }
    }
}

impl From<&Content> for StoredContent {
    fn from(content: &Content) -> Self {
        match content {
            Content::Text { text } => Self::Text { text: text.clone() },
            Content::Image(Image { media_type, base64 }) => Self::Image {
                media_type: media_type.clone(),
                base64: base64.clone(),
            },
        }
    }
}

impl From<&StoredContent> for Content {
    fn from(content: &StoredContent) -> Self {
        match content {
            StoredContent::Text { text } => Self::Text { text: text.clone() },
            StoredContent::Image { media_type, base64 } => Self::Image(Image {
                media_type: media_type.clone(),
                base64: base64.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn attachments_come_back_as_they_were() {
        for file in [&b"GIF89a"[..], b"%PDF-1.4 /Count 7", b"text"] {
            let attachment = Attachment::of("n", file).unwrap();
            let stored = serde_json::to_string(&StoredAttachment::from(&attachment)).unwrap();
            let back: StoredAttachment = serde_json::from_str(&stored).unwrap();
            assert_eq!(Attachment::from(&back), attachment);
        }
    }

    /// What the model wrote goes back to it byte for byte: the order of fields, and the digits of numbers.
    #[test]
    fn blocks_come_back_as_they_were() {
        let opaque = || Opaque {
            author: Some("a-model".into()),
            ..Opaque::new("vendor", r#"{"type":"thinking","signature":"s"}"#)
        };
        let tool_use = |input| {
            Block::ToolUse(ToolUse {
                id: "t".to_owned(),
                name: "n".to_owned(),
                input,
                extra: Some(opaque()),
            })
        };
        for block in [
            Block::Text {
                text: "é".to_owned(),
                extra: Some(opaque()),
            },
            Block::Opaque(opaque()),
            tool_use(ToolInput::read(r#"{"b":1.10,"a":12345678901234567890123}"#)),
            tool_use(ToolInput::invalid("it is an array")),
        ] {
            let stored = serde_json::to_string(&StoredBlock::of(&block).unwrap()).unwrap();
            let back = serde_json::from_str::<StoredBlock>(&stored).unwrap().block();
            assert_eq!(back, block);
            if let (Block::ToolUse(back), Block::ToolUse(block)) = (&back, &block) {
                assert_eq!(back.input.text(), block.input.text());
                assert_eq!(back.input.problem(), block.input.problem());
            }
        }
    }
}
