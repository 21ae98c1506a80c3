//! What a model thinks. It is kept as it came, and sent back only to the servers that want it.

use serde_json::{Map, Value};

use super::PROVIDER;
use crate::chat_api::{REASONING_CONTENT, REASONING_LISTS};
use crate::json_text::{Json, unescape};
use crate::transcript::Opaque;

/// The types of list items of which a stream sends pieces. Items of other types are whole.
const IN_PIECES: [&str; 3] = ["reasoning.text", "reasoning.summary", "thinking"];

/// The fields of an item that pieces add to. Others are replaced.
const GROWING: [&str; 3] = ["text", "summary", "thinking"];

/// The reasoning of one answer, by the field that it came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasoning {
    /// As they are written between their quotes.
    texts: Vec<(&'static str, String)>,
    lists: Vec<(&'static str, Vec<Value>)>,
}

impl Reasoning {
    /// Adds a field of an answer or of a chunk.
    pub(super) fn add(&mut self, name: &'static str, value: Json<'_>) {
        if let Some(piece) = value.string_body() {
            entry(&mut self.texts, name).push_str(piece);
        } else if let Some(items) = value.items() {
            let list = entry(&mut self.lists, name);
            for item in items {
                add_item(list, item.to_value());
            }
        }
    }

    /// The block that the conversation keeps.
    pub(super) fn into_block(self) -> Option<Opaque> {
        let mut fields = Map::new();
        for (name, text) in self.texts {
            fields.insert(name.to_owned(), unescape(&text).into());
        }
        for (name, items) in self.lists {
            fields.insert(name.to_owned(), items.into());
        }
        (!fields.is_empty()).then(|| Opaque::new(PROVIDER, Value::Object(fields).to_string()))
    }
}

/// The fields of a kept block that go back with its answer, as the JSON text of an object.
///
/// Signed and encrypted lists do, because their vendors check or continue them. A text does only as `reasoning_content` and
/// beside tool calls: there DeepSeek and Moonshot refuse an answer without it, and elsewhere DeepSeek has refused one with it.
pub(super) fn sent_back(block: &str, has_calls: bool) -> Option<String> {
    let block = Json::parse(block).ok()?;
    let goes_back = |name: &str| REASONING_LISTS.contains(&name) || (has_calls && name == REASONING_CONTENT);
    let mut fields = block
        .fields()
        .filter(|field| field.name.string().is_some_and(|name| goes_back(&name)))
        .peekable();
    fields.peek()?;
    Some(crate::json_text::object(fields))
}

fn entry<'e, T: Default>(entries: &'e mut Vec<(&'static str, T)>, name: &'static str) -> &'e mut T {
    let at = entries.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
        entries.push((name, T::default()));
        entries.len() - 1
    });
    &mut entries[at].1
}

/// Adds an item, or a piece of the last one.
fn add_item(list: &mut Vec<Value>, item: Value) {
    let is_piece_of = |last: &Value| {
        let same = |name: &str| last[name] == item[name];
        let is_in_pieces = item["type"].as_str().is_some_and(|kind| IN_PIECES.contains(&kind));
        // A signature ends a block.
        is_in_pieces && same("type") && same("index") && last["signature"].is_null()
    };
    let Some(last) = list.last_mut().filter(|last| is_piece_of(last)) else {
        list.push(item);
        return;
    };
    let (Value::Object(last), Value::Object(item)) = (last, item) else {
        return;
    };
    for (name, value) in item {
        match (last.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(text)), Value::String(piece)) if GROWING.contains(&name.as_str()) => {
                text.push_str(&piece)
            }
            (_, value) => {
                last.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn kept(pieces: &[(&'static str, Value)]) -> Option<String> {
        let mut reasoning = Reasoning::default();
        for (name, value) in pieces {
            let text = value.to_string();
            reasoning.add(name, Json::parse(&text).unwrap());
        }
        Some(reasoning.into_block()?.json_for(PROVIDER).unwrap().to_owned())
    }

    #[test]
    fn pieces_are_joined() {
        assert_eq!(kept(&[]), None);
        assert_eq!(kept(&[("reasoning", json!({"effort": "high"}))]), None);
        assert_eq!(
            kept(&[
                ("reasoning_content", json!("a\u{1f44d}")),
                ("reasoning_content", json!("b"))
            ])
            .unwrap(),
            "{\"reasoning_content\":\"a\u{1f44d}b\"}"
        );
        let piece = |text: &str| json!([{"type": "reasoning.text", "text": text, "index": 0, "signature": null}]);
        let signed = json!([{"type": "reasoning.text", "text": "", "index": 0, "signature": "s"}]);
        let hidden =
            json!([{"type": "reasoning.encrypted", "data": "x"}, {"type": "reasoning.encrypted", "data": "y"}]);
        let list = kept(&[
            ("reasoning_details", piece("a")),
            ("reasoning", json!("a")),
            ("reasoning_details", piece("b")),
            ("reasoning_details", signed),
            ("reasoning_details", piece("c")),
            ("reasoning_details", hidden),
        ]);
        let list: Value = serde_json::from_str(&list.unwrap()).unwrap();
        assert_eq!(
            list,
            json!({"reasoning": "a", "reasoning_details": [
                {"type": "reasoning.text", "text": "ab", "index": 0, "signature": "s"},
                {"type": "reasoning.text", "text": "c", "index": 0, "signature": null},
                {"type": "reasoning.encrypted", "data": "x"},
                {"type": "reasoning.encrypted", "data": "y"},
            ]})
        );
    }

    #[test]
    fn only_what_a_vendor_wants_goes_back() {
        let all = r#"{"reasoning":"a","reasoning_content":"b","reasoning_details":[1.0],"thinking":"c"}"#;
        for (block, has_calls, expected) in [
            (all, false, Some(r#"{"reasoning_details":[1.0]}"#)),
            (
                all,
                true,
                Some(r#"{"reasoning_content":"b","reasoning_details":[1.0]}"#),
            ),
            (r#"{"reasoning":"a"}"#, true, None),
            ("7", true, None),
        ] {
            assert_eq!(sent_back(block, has_calls).as_deref(), expected, "{block} {has_calls}");
        }
    }
}
