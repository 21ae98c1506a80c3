//! The blocks of an answer.

use std::borrow::Cow;

use crate::json_text::{Field, Json, object};

/// One block of an answer. What isn't named here is kept as the JSON text that arrived, because the API wants it back
/// unchanged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        /// All other fields, as an object.
        extra: Option<String>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        /// Anything: gateways also send strings.
        input: Option<Json<'a>>,
        /// All other fields, as an object.
        extra: Option<String>,
    },
    /// A block of another kind, such as thinking.
    Other(Json<'a>),
}

impl<'a> Block<'a> {
    /// `None` for a tool call without an id or a name, and for a value without a type.
    pub(crate) fn read(block: Json<'a>) -> Option<Self> {
        let kind = block.field("type")?;
        let string = |name: &str| block.field(name).and_then(Json::string);
        match kind.string().as_deref() {
            Some("text") => match block.field("text") {
                // Without a text there is nothing to keep.
                None | Some(Json::NULL) => Some(Self::Text {
                    text: Cow::default(),
                    extra: None,
                }),
                Some(text) => match text.string() {
                    Some(text) => Some(Self::Text {
                        text,
                        extra: other_fields(block, &["type", "text"]),
                    }),
                    None => Some(Self::Other(block)),
                },
            },
            Some("tool_use") => Some(Self::ToolUse {
                id: string("id")?,
                name: string("name")?,
                input: block.field("input"),
                extra: other_fields(block, &["type", "id", "name", "input"]),
            }),
            _ => Some(Self::Other(block)),
        }
    }
}

fn other_fields(block: Json<'_>, known: &[&str]) -> Option<String> {
    let is_other = |field: &Field<'_>| !known.iter().any(|name| field.is(name));
    let mut others = block.fields().filter(is_other).peekable();
    others.peek()?;
    Some(object(others))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(block: &str) -> Option<Block<'_>> {
        Block::read(Json::parse(block).unwrap())
    }

    #[test]
    fn fields_that_are_not_named_keep_their_order_and_digits() {
        let extra = |block| match read(block) {
            Some(Block::Text { extra, .. } | Block::ToolUse { extra, .. }) => extra,
            other => unreachable!("{other:?}"),
        };
        assert_eq!(extra(r#"{"type":"text","text":"a"}"#), None);
        assert_eq!(
            extra(r#"{"z":1.0,"type":"text","text":"a","citations":[{"b":1e3, "a":12345678901234567890}]}"#).unwrap(),
            r#"{"z":1.0,"citations":[{"b":1e3, "a":12345678901234567890}]}"#
        );
        assert_eq!(
            extra(r#"{"type":"tool_use","toolset_name":"browser","id":"a","name":"b","input":{},"caller":{"type":"direct"}}"#).unwrap(),
            r#"{"toolset_name":"browser","caller":{"type":"direct"}}"#
        );
    }

    #[test]
    fn blocks_of_other_kinds_are_kept_whole() {
        for block in [
            r#"{"type":"thinking","thinking":"","signature":"b"}"#,
            r#"{"signature":"b","type":"thinking",  "thinking":"a"}"#,
            r#"{"type":"redacted_thinking","data":"x"}"#,
            r#"{"type":"tomorrow","x":1.0}"#,
            r#"{"type":7}"#,
            r#"{"type":"text","text":7}"#,
        ] {
            assert_eq!(read(block), Some(Block::Other(Json::parse(block).unwrap())));
        }
    }

    #[test]
    fn a_text_block_without_text_is_an_empty_text() {
        for block in [r#"{"type":"text"}"#, r#"{"type":"text","text":null,"citations":[]}"#] {
            assert!(
                matches!(read(block), Some(Block::Text { text, .. }) if text.is_empty()),
                "{block}"
            );
        }
    }

    #[test]
    fn calls_without_name_or_id_and_untyped_values_are_not_blocks() {
        for block in [
            "7",
            r#"{"text":"a"}"#,
            r#"{"type":"tool_use","id":"a","input":{}}"#,
            r#"{"type":"tool_use","name":"b","input":{}}"#,
            r#"{"type":"tool_use","id":1,"name":"b","input":{}}"#,
        ] {
            assert_eq!(read(block), None, "{block}");
        }
        for input in ["[]", "\"{}\"", "null", "7"] {
            let block = format!(r#"{{"type":"tool_use","id":"a","name":"b","input":{input}}}"#);
            assert!(matches!(read(&block), Some(Block::ToolUse { input: Some(found), .. }) if found.text() == input));
        }
    }
}
