//! A block of a streamed answer, from its start through its deltas to its end.

use std::borrow::Cow;

use super::response::to_block;
use crate::json_text::{Json, unescape};
use crate::messages_api::Delta;
use crate::transcript::{Block, ToolInput};

/// The fields that deltas complete.
const FIELDS: [&str; 6] = ["text", "citations", "thinking", "signature", "input", "content"];

/// Characters of a block's type in an error.
const MAX_KIND_CHARS: usize = 40;

/// A block that isn't complete yet.
pub(super) struct Building {
    /// The block as it began, JSON text.
    start: String,
    is_text: bool,
    /// The fields that this block's deltas may complete.
    open: Vec<&'static str>,
    added: Added,
}

/// What deltas have added. Strings are bodies, with their escapes.
#[derive(Default)]
struct Added {
    text: String,
    thinking: String,
    input: String,
    /// The last one, because a signature covers the whole block.
    signature: Option<String>,
    /// JSON texts.
    citations: Vec<String>,
    /// The last one, a JSON object.
    compaction: Option<String>,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is text of the answer.
    Text,
    /// It is a part of the block.
    Part,
    Ignored,
    /// It belongs to another block, and without it the answer or a call would be a different one.
    Misplaced,
}

impl Building {
    pub(super) fn new(start: Json<'_>) -> Self {
        let kind = start.field("type").and_then(Json::string);
        let open = match kind.as_deref() {
            Some("text") => vec!["text", "citations"],
            Some("thinking") => vec!["thinking", "signature"],
            Some("tool_use" | "server_tool_use" | "mcp_tool_use") => vec!["input"],
            Some("compaction") => vec!["content"],
            // A kind of tomorrow begins with the fields that its deltas complete.
            _ => FIELDS.into_iter().filter(|name| start.field(name).is_some()).collect(),
        };
        Self {
            start: start.text().to_owned(),
            is_text: kind.as_deref() == Some("text"),
            open,
            added: Added::default(),
        }
    }

    /// The text that a text block begins with.
    pub(super) fn initial_text(&self) -> Cow<'_, str> {
        let start = Json::parse(&self.start).ok().filter(|_| self.is_text);
        let text = start.and_then(|start| start.field("text")?.string());
        text.unwrap_or_default()
    }

    /// Takes a delta, unless it is of the wrong kind for this block: then the API would refuse the block with its field. A
    /// thought, a signature or a citation is ignored there, because the answer is the same without it. Text or a piece of an
    /// input is not.
    pub(super) fn take(&mut self, delta: Delta<'_>) -> Taken {
        let (field, is_needed) = match delta {
            Delta::Text(text) => ("text", !text.is_empty()),
            Delta::InputJson(input) => ("input", !input.is_empty()),
            Delta::Thinking(_) => ("thinking", false),
            Delta::Signature(_) => ("signature", false),
            Delta::Citation(_) => ("citations", false),
            Delta::Compaction(_) => ("content", false),
            Delta::Unknown => return Taken::Ignored,
        };
        if !self.open.contains(&field) {
            return if is_needed { Taken::Misplaced } else { Taken::Ignored };
        }
        let added = &mut self.added;
        match delta {
            Delta::Text(text) => {
                added.text.push_str(text);
                if self.is_text {
                    return Taken::Text;
                }
            }
            Delta::InputJson(input) => added.input.push_str(input),
            Delta::Thinking(thinking) => added.thinking.push_str(thinking),
            Delta::Signature(signature) => added.signature = Some(signature.to_owned()),
            Delta::Citation(citation) => added.citations.push(citation.text().to_owned()),
            Delta::Compaction(fields) => added.compaction = Some(fields.text().to_owned()),
            Delta::Unknown => {}
        }
        Taken::Part
    }

    /// The type of the block, for an error.
    pub(super) fn kind(&self) -> String {
        let start = Json::parse(&self.start).ok();
        let kind = start.and_then(|start| start.field("type")?.string());
        kind.unwrap_or_default().escape_debug().take(MAX_KIND_CHARS).collect()
    }

    /// Whether deltas began an input and didn't complete it.
    pub(super) fn has_broken_input(&self) -> bool {
        let input = unescape(&self.added.input);
        !input.trim().is_empty() && Json::parse(&input).is_err()
    }

    /// The complete block. `None` if it isn't one.
    ///
    /// An input that is no JSON makes a [call with a problem](ToolInput::problem). The vendor's own calls have run already,
    /// so they keep the input that they began with.
    pub(super) fn finish(&self) -> Option<Block> {
        let input = unescape(&self.added.input);
        let complete = self.complete(Some(&*input).filter(|input| Json::parse(input).is_ok()));
        let mut block = to_block(Json::parse(&complete).ok()?)?;
        if let Block::ToolUse(tool_use) = &mut block
            && self.has_broken_input()
        {
            tool_use.input = ToolInput::read(&input);
        }
        Some(block)
    }

    /// The block with the fields that deltas have completed. Every other byte of a field stays, and so does the order.
    fn complete(&self, input: Option<&str>) -> Cow<'_, str> {
        let Some(start) = Json::parse(&self.start).ok().filter(|start| start.is_object()) else {
            return Cow::Borrowed(&self.start);
        };
        let added = &self.added;
        let mut completed: Vec<(&str, String)> = Vec::new();
        for (name, piece) in [("text", &added.text), ("thinking", &added.thinking)] {
            if !piece.is_empty() {
                let before = start.field(name).and_then(Json::string_body).unwrap_or_default();
                completed.push((name, format!("\"{before}{piece}\"")));
            }
        }
        if let Some(signature) = &added.signature {
            completed.push(("signature", format!("\"{signature}\"")));
        }
        if !added.citations.is_empty() {
            let before = start.field("citations").and_then(Json::items).into_iter().flatten();
            let citations: Vec<&str> = before
                .map(Json::text)
                .chain(added.citations.iter().map(String::as_str))
                .collect();
            completed.push(("citations", format!("[{}]", citations.join(","))));
        }
        if let Some(fields) = added.compaction.as_deref().and_then(|fields| Json::parse(fields).ok()) {
            for name in ["content", "encrypted_content"] {
                completed.extend(fields.field(name).map(|value| (name, value.text().to_owned())));
            }
        }
        completed.extend(input.map(|input| ("input", input.to_owned())));
        if completed.is_empty() {
            return Cow::Borrowed(&self.start);
        }
        let mut fields = Vec::new();
        let mut missing: Vec<&str> = completed.iter().map(|(name, _)| *name).collect();
        for field in start.fields() {
            let found = completed.iter().find(|(name, _)| field.is(name));
            missing.retain(|name| found.is_none_or(|(found, _)| found != name));
            let value = found.map_or(field.value.text(), |(_, value)| value);
            fields.push(format!("{}:{value}", field.name));
        }
        for (name, value) in completed.iter().filter(|(name, _)| missing.contains(name)) {
            fields.push(format!("\"{name}\":{value}"));
        }
        Cow::Owned(format!("{{{}}}", fields.join(",")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn building(start: &str) -> Building {
        Building::new(Json::parse(start).unwrap())
    }

    fn citation(text: &str) -> Delta<'_> {
        Delta::Citation(Json::parse(text).unwrap())
    }

    const ALL: [Delta<'_>; 5] = [
        Delta::Text("t"),
        Delta::InputJson("{}"),
        Delta::Thinking("h"),
        Delta::Signature("s"),
        Delta::Unknown,
    ];

    #[test]
    fn each_kind_of_block_takes_its_own_deltas() {
        use Taken::{Ignored, Misplaced, Part, Text};
        for (start, expected) in [
            (
                r#"{"type":"text","text":""}"#,
                [Text, Misplaced, Ignored, Ignored, Ignored],
            ),
            (r#"{"type":"thinking"}"#, [Misplaced, Misplaced, Part, Part, Ignored]),
            (
                r#"{"type":"tool_use","id":"a","name":"b"}"#,
                [Misplaced, Part, Ignored, Ignored, Ignored],
            ),
            (
                r#"{"type":"server_tool_use","id":"a","name":"b"}"#,
                [Misplaced, Part, Ignored, Ignored, Ignored],
            ),
            (
                r#"{"type":"redacted_thinking","data":"x"}"#,
                [Misplaced, Misplaced, Ignored, Ignored, Ignored],
            ),
            (
                r#"{"type":"tomorrow","text":"","input":{}}"#,
                [Part, Part, Ignored, Ignored, Ignored],
            ),
            ("7", [Misplaced, Misplaced, Ignored, Ignored, Ignored]),
        ] {
            for (delta, expected) in ALL.into_iter().zip(expected) {
                let mut building = building(start);
                assert_eq!(building.take(delta), expected, "{start} {delta:?}");
                if !matches!(expected, Text | Part) {
                    assert_eq!(building.complete(None), start, "{start} {delta:?}");
                }
            }
        }
        let mut empty = building(r#"{"type":"tool_use","id":"a","name":"b"}"#);
        assert_eq!(empty.take(Delta::Text("")), Ignored, "nothing is lost");
    }

    #[test]
    fn an_error_quotes_a_bounded_and_escaped_type() {
        let start = format!(r#"{{"type":"\u001b[2J{}"}}"#, "x".repeat(1_000));
        let kind = building(&start).kind();
        assert!(kind.starts_with("\\u{1b}[2Jx"), "{kind}");
        assert_eq!(kind.chars().count(), MAX_KIND_CHARS);
        assert_eq!(building("7").kind(), "");
    }

    #[test]
    fn a_completed_block_keeps_the_order_and_bytes_of_its_fields() {
        let mut thinking =
            building(r#"{"zeta":1.0, "signature":"old","thinking" : "a\u00fc","type":"thinking","n":1e3}"#);
        for delta in [
            Delta::Thinking(r"b\/"),
            Delta::Signature("x"),
            Delta::Thinking("c"),
            Delta::Signature("new"),
        ] {
            assert_eq!(thinking.take(delta), Taken::Part);
        }
        assert_eq!(
            thinking.complete(None),
            r#"{"zeta":1.0,"signature":"new","thinking":"a\u00fcb\/c","type":"thinking","n":1e3}"#
        );
    }

    #[test]
    fn missing_and_null_fields_are_completed() {
        for (start, expected) in [
            (
                r#"{"type":"text"}"#,
                r#"{"type":"text","text":"a","citations":[{"b":1.0, "a":2}]}"#,
            ),
            (
                r#"{"citations":null,"type":"text","text":null}"#,
                r#"{"citations":[{"b":1.0, "a":2}],"type":"text","text":"a"}"#,
            ),
            (
                r#"{"type":"text","citations":[ 7 ],"text":"x"}"#,
                r#"{"type":"text","citations":[7,{"b":1.0, "a":2}],"text":"xa"}"#,
            ),
        ] {
            let mut block = building(start);
            block.take(Delta::Text("a"));
            block.take(citation(r#"{"b":1.0, "a":2}"#));
            assert_eq!(block.complete(None), expected);
        }
    }

    #[test]
    fn a_compaction_delta_replaces_its_fields() {
        let mut block = building(r#"{"type":"compaction","content":null,"tool_changes":[1.0]}"#);
        for content in ["old", "new"] {
            let delta = format!(r#"{{"type":"compaction_delta","content":"{content}","encrypted_content":"e"}}"#);
            assert_eq!(block.take(Delta::Compaction(Json::parse(&delta).unwrap())), Taken::Part);
        }
        assert_eq!(
            block.complete(None),
            r#"{"type":"compaction","content":"new","tool_changes":[1.0],"encrypted_content":"e"}"#
        );
    }

    /// The API runs these calls itself, so an input is broken only if the model was cut off.
    #[test]
    fn a_vendors_own_call_keeps_its_input() {
        let start = r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{}}"#;
        for (input, expected) in [
            (
                r#"{\"query\":1.0}"#,
                r#"{"type":"server_tool_use","id":"a","name":"web_search","input":{"query":1.0}}"#,
            ),
            (r#"{\"query\":"#, start),
        ] {
            let mut block = building(start);
            block.take(Delta::InputJson(input));
            let Some(Block::Opaque(block)) = block.finish() else {
                unreachable!("{input}")
            };
            assert_eq!(&*block.json, expected);
        }
    }
}
