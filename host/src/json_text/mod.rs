//! JSON as text. A model's inputs, a tool's schema and a vendor's blocks pass through this host byte for byte: the order of
//! their fields and the digits of their numbers stay as they were written.
//!
//! `serde_json` decides what is JSON, and this module only finds where the parts of such a text begin and end. Its `Value`
//! sorts fields and rounds numbers, and the features that avoid that also change how it parses everywhere else.

mod cursor;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod unique;
mod whole_number;
pub(crate) mod write;

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;
use serde_json::Value;

pub(crate) use self::cursor::Cursor;
pub(crate) use self::unique::parse_unique;
pub(crate) use self::whole_number::whole_number;

/// One JSON value as text, without blanks around it.
///
/// The text follows the grammar of RFC 8259, nested as deeply as it likes. `serde_json` may still refuse to build it as a
/// `Value`: if it is nested too deeply, or has a number beyond an `f64` or half of a surrogate pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Json<'a>(&'a str);

/// A field of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// A string.
    pub(crate) name: Json<'a>,
    pub(crate) value: Json<'a>,
}

impl<'a> Json<'a> {
    pub(crate) const NULL: Self = Self("null");

    /// Checks the syntax, without recursion and without building the value.
    pub(crate) fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Self(text.trim_matches(is_blank)))
    }

    pub(crate) fn text(self) -> &'a str {
        self.0
    }

    pub(crate) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// The fields of an object, in their order and with duplicates. Empty for any other value.
    pub(crate) fn fields(self) -> impl Iterator<Item = Field<'a>> {
        let mut rest = self.0.strip_prefix('{').unwrap_or_default();
        std::iter::from_fn(move || {
            Some(Field {
                name: next_value(&mut rest)?,
                value: next_value(&mut rest)?,
            })
        })
    }

    /// The value of a field. Of duplicates the last one counts, as everywhere in `serde_json`.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        let found = self.fields().filter(|field| field.is(name)).last();
        found.map(|field| field.value)
    }

    /// The values of several fields, in the order of `names`. Reads the object once.
    pub(crate) fn fields_named<const N: usize>(self, names: [&str; N]) -> [Option<Self>; N] {
        let mut found = [None; N];
        for field in self.fields() {
            let position = field
                .name
                .string()
                .and_then(|name| names.iter().position(|wanted| name == *wanted));
            if let Some(position) = position {
                found[position] = Some(field.value);
            }
        }
        found
    }

    /// The items of an array. `None` for any other value.
    pub(crate) fn items(self) -> Option<impl Iterator<Item = Self>> {
        let mut rest = self.0.strip_prefix('[')?;
        Some(std::iter::from_fn(move || next_value(&mut rest)))
    }

    /// A string as it is written between its quotes, with its escapes. Such texts can be joined.
    pub(crate) fn string_body(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        self.string_body().map(unescape)
    }

    pub(crate) fn integer(self) -> Option<u64> {
        serde_json::from_str(self.0).ok()
    }

    /// Null if `serde_json` can't represent the value.
    pub(crate) fn to_value(self) -> Value {
        serde_json::from_str(self.0).unwrap_or_default()
    }

    /// The same text without blanks between its parts.
    pub(crate) fn minified(self) -> String {
        let mut out = String::with_capacity(self.0.len());
        let mut rest = self.0;
        while let Some(start) = rest.find(|character: char| character == '"' || is_blank(character)) {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let kept = if from.starts_with('"') { string_length(from) } else { 0 };
            out.push_str(&from[..kept]);
            rest = &from[kept.max(1)..];
        }
        out.push_str(rest);
        out
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Field<'_> {
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.string().is_some_and(|own| own == name)
    }
}

/// An object with these fields, each as it is written.
pub(crate) fn object<'a>(fields: impl IntoIterator<Item = Field<'a>>) -> String {
    let fields = fields
        .into_iter()
        .map(|field| format!("{}:{}", field.name, field.value));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// Replaces the escapes of a string's [body](Json::string_body). Half of a surrogate pair becomes U+FFFD, because a `str`
/// can't hold it.
pub(crate) fn unescape(body: &str) -> Cow<'_, str> {
    if !body.contains('\\') {
        return Cow::Borrowed(body);
    }
    let mut out = String::with_capacity(body.len());
    let mut pending: Vec<u16> = Vec::new();
    let mut characters = body.chars();
    while let Some(character) = characters.next() {
        let escape = if character == '\\' { characters.next() } else { None };
        if escape == Some('u') {
            let digits: String = characters.by_ref().take(4).collect();
            pending.extend(u16::from_str_radix(&digits, 16));
            continue;
        }
        push_units(&mut out, &mut pending);
        out.push(match escape {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(itself) => itself,
            None => character,
        });
    }
    push_units(&mut out, &mut pending);
    Cow::Owned(out)
}

fn push_units(out: &mut String, units: &mut Vec<u16>) {
    let decoded = char::decode_utf16(units.drain(..));
    out.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
}

/// The blanks of JSON.
fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

/// Takes the next value from the inside of an object or array, past the commas and colons between them.
fn next_value<'a>(rest: &mut &'a str) -> Option<Json<'a>> {
    let text = rest.trim_start_matches(|character: char| is_blank(character) || matches!(character, ',' | ':'));
    let (value, after) = text.split_at(value_length(text));
    *rest = after;
    (!value.is_empty()).then_some(Json(value))
}

/// The bytes of the value at the start of well-formed JSON. Zero if an object or array ends there.
fn value_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += string_length(&text[at..]);
                if depth == 0 {
                    return at;
                }
            }
            b'{' | b'[' => {
                at += 1;
                depth += 1;
            }
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                at += 1;
                depth -= 1;
                if depth == 0 {
                    return at;
                }
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => at += 1,
        }
    }
    at
}

/// The bytes of the string at the start of a text, with its quotes.
fn string_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_keep_their_order_spelling_and_digits() {
        let text = r#" { "b" : 1.0 ,"\u0061": [ 12345678901234567890123, {"x":"}\"]"} ] , "b":{ } , "":null } "#;
        let json = Json::parse(text).unwrap();
        let fields: Vec<_> = json
            .fields()
            .map(|field| (field.name.text(), field.value.text()))
            .collect();
        assert_eq!(
            fields,
            [
                (r#""b""#, "1.0"),
                (r#""\u0061""#, r#"[ 12345678901234567890123, {"x":"}\"]"} ]"#),
                (r#""b""#, "{ }"),
                (r#""""#, "null"),
            ]
        );
        assert_eq!(json.field("b").map(Json::text), Some("{ }"), "the last one counts");
        assert!(json.field("a").is_some(), "an escaped name is found by what it means");
        assert_eq!(json.field("x"), None);
        let found = json.fields_named(["x", "a", "b"]);
        assert_eq!(found, ["x", "a", "b"].map(|name| json.field(name)));
        assert_eq!(
            json.minified(),
            r#"{"b":1.0,"\u0061":[12345678901234567890123,{"x":"}\"]"}],"b":{},"":null}"#
        );
        assert_eq!(
            object(json.fields()),
            r#"{"b":1.0,"\u0061":[ 12345678901234567890123, {"x":"}\"]"} ],"b":{ },"":null}"#
        );
    }

    #[test]
    fn only_objects_have_fields_and_only_arrays_items() {
        for text in ["7", "\"{\"", "[1]", "null", "{}"] {
            assert_eq!(Json::parse(text).unwrap().fields().count(), 0, "{text}");
        }
        for text in ["7", "\"[\"", "{}", "null"] {
            assert!(Json::parse(text).unwrap().items().is_none(), "{text}");
        }
        assert_eq!(Json::parse("[ ]").unwrap().items().unwrap().count(), 0);
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_joined_halves_are_not() {
        let body = |text| Json::parse(text).unwrap().string_body().unwrap();
        let (high, low) = (body(r#""a\ud83d""#), body(r#""\ude00b""#));
        assert_eq!(unescape(high), "a\u{fffd}");
        assert_eq!(unescape(low), "\u{fffd}b");
        assert_eq!(unescape(&format!("{high}{low}")), "a😀b");
    }

    /// `serde_json` can't build these, but they are JSON.
    #[test]
    fn the_grammar_alone_decides_what_is_json() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        for text in ["1e400", r#""\ud800""#, &deep] {
            let json = Json::parse(text).unwrap();
            assert_eq!((json.text(), json.to_value()), (text, Value::Null));
        }
        for text in [
            "",
            "NaN",
            "{} {}",
            "[1,]",
            "01",
            "\"\t\"",
            r#""\d""#,
            "{\"a\":1",
            "\u{feff}{}",
            "\u{a0}1",
        ] {
            assert!(Json::parse(text).is_err(), "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Texts close to JSON, and any others.
    fn any_text() -> impl Strategy<Value = String> {
        let near = prop::collection::vec(
            prop::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "d83d", "\\ude00", "0", "-", "1e", "+", ".5", "true",
                "null", " ", "\n", "\t", "é", "a", "\"a\"", "\"a\":1", "NaN",
            ]),
            0..14,
        );
        prop_oneof![near.prop_map(|pieces| pieces.concat()), any::<String>()]
    }

    proptest! {
        #[test]
        fn the_parts_of_a_text_are_those_that_serde_json_reads(value in any_json()) {
            for text in [value.to_string(), format!("{value:#}")] {
                let json = Json::parse(&text).unwrap();
                prop_assert_eq!(fuzz::rebuilt(json), serde_json::from_str::<Value>(&text).ok());
                prop_assert_eq!(json.minified(), value.to_string());
                prop_assert_eq!(parse_unique(&text).unwrap(), serde_json::from_str::<Value>(&text).unwrap());
            }
        }

        #[test]
        fn any_text_is_json_where_serde_json_says_so(text in any_text()) {
            fuzz::json(text.as_bytes());
        }

        /// Finding parts assumes well-formed text, but must end and not panic on any other.
        #[test]
        fn any_text_has_an_end(text in any_text()) {
            let json = Json(&text);
            prop_assert!(json.fields().count() <= text.len() && json.minified().len() <= text.len());
            prop_assert!(json.items().map_or(0, Iterator::count) <= text.len());
            let _ = unescape(&text);
        }
    }
}
