//! The blocks of an answer.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Fields of a block that its variant doesn't name.
pub(crate) type Fields = Map<String, Value>;

/// One block of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum Block {
    Text {
        text: String,
        #[serde(flatten)]
        extra: Fields,
    },
    ToolUse {
        id: String,
        name: String,
        /// An object in every usable answer.
        input: Value,
        #[serde(flatten)]
        extra: Fields,
    },
    /// A block of another kind, such as thinking. Kept whole, because the client must send it back unchanged.
    #[serde(untagged)]
    Other(Value),
}

impl Block {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            extra: Fields::new(),
        }
    }

    pub(crate) fn tool_use(id: impl Into<String>, name: impl Into<String>, input: Value) -> Self {
        Self::ToolUse {
            id: id.into(),
            name: name.into(),
            input,
            extra: Fields::new(),
        }
    }

    pub(crate) fn thinking(thinking: &str, signature: &str) -> Self {
        Self::Other(json!({ "type": "thinking", "thinking": thinking, "signature": signature }))
    }

    /// `None` for an incomplete tool call, or a value without a type.
    pub(crate) fn read(block: Value) -> Option<Self> {
        let kind = block.get("type")?;
        if kind == "text" && block.get("text").is_some_and(Value::is_string) {
            return Self::read_text(block);
        }
        if kind == "tool_use" {
            return Self::read_tool_use(block);
        }
        Some(Self::Other(block))
    }

    fn read_text(block: Value) -> Option<Self> {
        let Value::Object(mut extra) = block else { return None };
        extra.remove("type");
        let text = take_text(&mut extra, "text")?;
        Some(Self::Text { text, extra })
    }

    fn read_tool_use(block: Value) -> Option<Self> {
        let Value::Object(mut extra) = block else { return None };
        extra.remove("type");
        let id = take_text(&mut extra, "id")?;
        let name = take_text(&mut extra, "name")?;
        let input = extra.remove("input").filter(Value::is_object)?;
        Some(Self::ToolUse { id, name, input, extra })
    }
}

fn take_text(fields: &mut Fields, name: &str) -> Option<String> {
    match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_written_as_read() {
        for block in [
            json!({ "type": "text", "text": "a" }),
            json!({ "type": "text", "text": "a", "citations": null }),
            json!({ "type": "tool_use", "id": "a", "name": "b", "input": { "c": [1] } }),
            json!({ "type": "tool_use", "id": "a", "name": "b", "input": {}, "caller": { "type": "direct" } }),
            json!({ "type": "thinking", "thinking": "a", "signature": "b" }),
            json!({ "type": "tomorrow", "x": 1 }),
            json!({ "type": 7 }),
            json!({ "type": "text", "text": 7 }),
        ] {
            let read = Block::read(block.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), block);
        }
    }

    #[test]
    fn incomplete_calls_and_untyped_values_are_not_blocks() {
        for block in [
            json!(7),
            json!({ "text": "a" }),
            json!({ "type": "tool_use", "id": "a", "name": "b" }),
            json!({ "type": "tool_use", "id": "a", "name": "b", "input": [] }),
            json!({ "type": "tool_use", "id": 1, "name": "b", "input": {} }),
        ] {
            assert_eq!(Block::read(block.clone()), None, "{block}");
        }
    }
}
