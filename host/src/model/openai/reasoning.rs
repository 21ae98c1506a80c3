//! What a model thinks. It is kept as it came, and sent back only to the servers that want it.

use super::PROVIDER;
use crate::chat_api::{REASONING_CONTENT, REASONING_LISTS};
use crate::json_text::write::Object;
use crate::json_text::{Json, unescape};
use crate::transcript::Opaque;

/// The types of list items of which a stream sends pieces. Items of other types are whole.
const IN_PIECES: [&str; 3] = ["reasoning.text", "reasoning.summary", "thinking"];

/// The fields of an item that pieces add to. Others are replaced.
const GROWING: [&str; 3] = ["text", "summary", "thinking"];

/// No vendor's piece has more fields. An item with more is whole.
const MAX_PIECE_FIELDS: usize = 16;

/// The reasoning of one answer, by the field that it came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Reasoning {
    /// As they are written between their quotes.
    texts: Vec<(&'static str, String)>,
    lists: Vec<(&'static str, List)>,
}

/// A list, kept as text: as values, hostile items would take many times the memory of their text.
#[derive(Clone, Debug, Default)]
struct List {
    /// The items before `open`, separated by commas.
    complete: String,
    /// The last item, if pieces of it may follow.
    open: Option<Piece>,
}

/// An item of which a stream sends pieces.
#[derive(Clone, Debug)]
struct Piece {
    /// Names and values, as JSON text. No name occurs twice.
    fields: Vec<(String, String)>,
}

impl Reasoning {
    /// Adds a field of an answer or of a chunk.
    pub(super) fn add(&mut self, name: &'static str, value: Json<'_>) {
        if let Some(piece) = value.string_body() {
            entry(&mut self.texts, name).push_str(piece);
        } else if let Some(items) = value.items() {
            let list = entry(&mut self.lists, name);
            for item in items {
                list.add(item);
            }
        }
    }

    /// The block that the conversation keeps.
    pub(super) fn into_block(self) -> Option<Opaque> {
        if self.texts.is_empty() && self.lists.is_empty() {
            return None;
        }
        let mut out = Vec::new();
        let mut block = Object::begin(&mut out);
        for (name, text) in self.texts {
            block.field(name, &unescape(&text)).ok()?;
        }
        for (name, list) in self.lists {
            block.raw(name, &list.into_json()).ok()?;
        }
        block.end().ok()?;
        Some(Opaque::new(PROVIDER, String::from_utf8(out).ok()?))
    }
}

impl List {
    fn add(&mut self, item: Json<'_>) {
        let piece = Piece::read(item);
        if let (Some(open), Some(piece)) = (&mut self.open, &piece)
            && open.is_continued_by(piece)
        {
            open.add(piece);
            return;
        }
        self.close();
        match piece {
            Some(piece) => self.open = Some(piece),
            None => self.push(item.text()),
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.push(&open.into_json());
        }
    }

    fn push(&mut self, item: &str) {
        if !self.complete.is_empty() {
            self.complete.push(',');
        }
        self.complete.push_str(item);
    }

    fn into_json(mut self) -> String {
        self.close();
        format!("[{}]", self.complete)
    }
}

impl Piece {
    fn read(item: Json<'_>) -> Option<Self> {
        let kind = item.field("type").and_then(Json::string)?;
        let is_small = item.fields().nth(MAX_PIECE_FIELDS).is_none();
        if !is_small || !IN_PIECES.contains(&&*kind) {
            return None;
        }
        let mut piece = Self { fields: Vec::new() };
        for field in item.fields() {
            piece.set(field.name.text(), field.value.text());
        }
        Some(piece)
    }

    fn is_continued_by(&self, next: &Self) -> bool {
        let same = |name: &str| self.value(name) == next.value(name);
        // A signature ends an item.
        same("type") && same("index") && self.value("signature").is_none() && self.fields.len() <= MAX_PIECE_FIELDS
    }

    fn add(&mut self, next: &Self) {
        for (name, value) in &next.fields {
            let is_growing = GROWING.iter().any(|growing| name.trim_matches('"') == *growing);
            let text = |value: &str| value.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
            let known = self.fields.iter_mut().find(|(known, _)| known == name);
            match (known, text(value)) {
                _ if value == "null" => {}
                (Some((_, known)), Some(piece)) if is_growing && known.ends_with('"') => {
                    known.pop();
                    known.push_str(&piece);
                    known.push('"');
                }
                _ => self.set(name, value),
            }
        }
    }

    /// The JSON text of a field that isn't null.
    fn value(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(known, _)| known.trim_matches('"') == name);
        found.map(|(_, value)| value.as_str()).filter(|value| *value != "null")
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
    }

    fn into_json(self) -> String {
        let fields = self.fields.iter().map(|(name, value)| format!("{name}:{value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

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

    /// As values, each of these items would take fifty times its text.
    #[test]
    fn hostile_items_take_no_more_than_their_text() {
        let many = format!("[{}]", vec![r#"{"":0}"#; 10_000].join(","));
        let wide: String = (0..10_000).map(|number| format!(r#","f{number}":0"#)).collect();
        let wide = format!(r#"[{{"type":"thinking"{wide}}}]"#);
        for text in [many, wide] {
            let mut reasoning = Reasoning::default();
            for _ in 0..3 {
                reasoning.add("reasoning_details", Json::parse(&text).unwrap());
            }
            let list = &reasoning.lists[0].1;
            assert!(list.open.is_none() && list.complete.capacity() < 8 * text.len());
            let block = reasoning.into_block().unwrap();
            assert!(Json::parse(block.json_for(PROVIDER).unwrap()).is_ok());
        }
        // Nor do the fields of pieces add up.
        let mut list = List::default();
        for number in 0..100 {
            list.add(Json::parse(&format!(r#"{{"type":"thinking","f{number}":0}}"#)).unwrap());
            assert!(list.open.as_ref().unwrap().fields.len() <= 2 * MAX_PIECE_FIELDS);
        }
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
