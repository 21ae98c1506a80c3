//! The blocks of a model's answer.

use serde::Deserialize;

use super::super::super::script::{ContentItem, ItemKind, ToolCall, ToolInput};
use super::values::object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTool {
    name: String,
    input: Option<toml::Table>,
    input_text: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawItem {
    thinking: Option<String>,
    signature: Option<String>,
    text: Option<String>,
    tool: Option<String>,
    input: Option<toml::Table>,
    input_text: Option<String>,
    id: Option<String>,
    block: Option<toml::Table>,
    index: Option<u64>,
    delta: Option<String>,
    #[serde(default)]
    extra: toml::Table,
}

impl RawTool {
    pub(super) fn into_tool(self) -> Result<ToolCall, String> {
        let input = match (self.input, self.input_text) {
            (Some(_), Some(_)) => {
                return Err(format!("tool call {:?} has both `input` and `input_text`", self.name));
            }
            (None, Some(text)) => ToolInput::Text(text),
            (input, None) => {
                let input = object("input", input.unwrap_or_default());
                ToolInput::Json(
                    input
                        .map_err(|problem| format!("tool call {:?}: {problem}", self.name))?
                        .into(),
                )
            }
        };
        Ok(ToolCall {
            name: self.name,
            input,
            id: self.id,
        })
    }
}

impl RawItem {
    pub(super) fn into_item(self) -> Result<ContentItem, String> {
        let is_tool = self.tool.is_some();
        if !is_tool && (self.input.is_some() || self.input_text.is_some() || self.id.is_some()) {
            return Err("`input`, `input_text` and `id` in `content` are for an item with `tool`".to_owned());
        }
        if self.thinking.is_none() && self.signature.is_some() {
            return Err("`signature` in `content` is for an item with `thinking`".to_owned());
        }
        let kind = match (self.thinking, self.text, self.tool, self.block) {
            (Some(text), None, None, None) => ItemKind::Thinking {
                text,
                signature: self.signature,
            },
            (None, Some(text), None, None) => ItemKind::Text(text),
            (None, None, Some(name), None) => ItemKind::Tool(
                RawTool {
                    name,
                    input: self.input,
                    input_text: self.input_text,
                    id: self.id,
                }
                .into_tool()?,
            ),
            (None, None, None, Some(block)) => ItemKind::Block(object("block", block)?.into()),
            _ => {
                return Err(
                    "an item of `content` needs exactly one of `thinking`, `text`, `tool` and `block`".to_owned(),
                );
            }
        };
        Ok(ContentItem {
            kind,
            index: self.index,
            delta: self.delta,
            extra: object("extra", self.extra)?,
        })
    }
}
