//! JSON Schema for types. The text is written directly, so that fields keep the order of the WIT text.

use std::fmt::Write as _;
use std::sync::LazyLock;

use super::docs::FunctionDocs;
use super::shape::{Case, Field, Integer, Shape};

/// Bytes of one schema.
pub(super) const MAX_SCHEMA_BYTES: usize = 64 * 1024;

/// Floats that JSON's numbers can't express.
pub(super) const NOT_FINITE: [(&str, f64); 3] = [
    ("NaN", f64::NAN),
    ("Infinity", f64::INFINITY),
    ("-Infinity", f64::NEG_INFINITY),
];

/// The largest `f32` in its shortest decimal form, which every reader rounds to it.
const F32_MAX: &str = "3.4028235e38";

/// The schema is longer than [`MAX_SCHEMA_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The schema of a tool's input: an object with the parameters as its properties.
pub(super) fn input(parameters: &[Field], docs: Option<&FunctionDocs>) -> Result<String, TooLong> {
    let mut writer = Writer::default();
    writer.object(parameters, |parameter| docs?.parameter(&parameter.name, &parameter.key))?;
    Ok(writer.out)
}

/// The schema of a value.
pub(super) fn of(shape: &Shape) -> Result<String, TooLong> {
    let mut writer = Writer::default();
    writer.shape(shape)?;
    Ok(writer.out)
}

/// A pattern for the decimal form of exactly the values of a 64-bit integer. The only patterns in schemas made here.
pub(crate) fn decimal_patterns() -> [&'static str; 2] {
    static PATTERNS: LazyLock<[String; 2]> = LazyLock::new(|| {
        [
            format!("^(?:0|{})$", up_to(&u64::MAX.to_string())),
            format!("^(?:0|-?(?:{})|{})$", up_to(&i64::MAX.to_string()), i64::MIN),
        ]
    });
    PATTERNS.each_ref().map(String::as_str)
}

/// A pattern for the numbers from 1 to `digits`.
fn up_to(digits: &str) -> String {
    let first = digits.chars().next().unwrap_or('1');
    let shorter = format!("[1-9][0-9]{{0,{}}}", digits.len().saturating_sub(2));
    let mut pattern = shorter;
    let rest = digits.len() - 1;
    if first > '1' {
        let below = char::from_u32(u32::from(first) - 1).unwrap_or('1');
        let _ = write!(pattern, "|[1-{below}][0-9]{{{rest}}}");
    }
    let _ = write!(pattern, "|{first}{}", at_most(&digits[1..]));
    pattern
}

/// A pattern for as many digits that are at most `digits`.
fn at_most(digits: &str) -> String {
    let Some(first) = digits.chars().next() else {
        return String::new();
    };
    let (same, rest) = (at_most(&digits[1..]), digits.len() - 1);
    match char::from_u32(u32::from(first).saturating_sub(1)).filter(|below| *below >= '0') {
        None => format!("{first}{same}"),
        Some(below) => format!("(?:[0-{below}][0-9]{{{rest}}}|{first}{same})"),
    }
}

#[derive(Default)]
struct Writer {
    out: String,
}

impl Writer {
    fn push(&mut self, text: &str) -> Result<(), TooLong> {
        if self.out.len() + text.len() > MAX_SCHEMA_BYTES {
            return Err(TooLong);
        }
        self.out.push_str(text);
        Ok(())
    }

    fn string(&mut self, text: &str) -> Result<(), TooLong> {
        self.push(&quoted(text))
    }

    /// `parts`, each written by `write`, with commas between them.
    fn list<T>(
        &mut self,
        parts: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), TooLong>,
    ) -> Result<(), TooLong> {
        for (position, part) in parts.into_iter().enumerate() {
            if position > 0 {
                self.push(",")?;
            }
            write(self, part)?;
        }
        Ok(())
    }

    fn names(&mut self, names: &[Box<str>]) -> Result<(), TooLong> {
        self.push("[")?;
        self.list(names, |writer, name| writer.string(name))?;
        self.push("]")
    }

    fn shape(&mut self, shape: &Shape) -> Result<(), TooLong> {
        self.push("{")?;
        self.keywords(shape)?;
        self.push("}")
    }

    /// The keywords of a shape, without the braces around them.
    fn keywords(&mut self, shape: &Shape) -> Result<(), TooLong> {
        match shape {
            Shape::Bool => self.push(r#""type":"boolean""#),
            Shape::Integer(integer) if integer.is_wide() => {
                self.push(r#""anyOf":["#)?;
                self.wide(*integer)?;
                self.push("]")
            }
            Shape::Integer(integer) => self.push(&range(*integer)),
            Shape::Float32 | Shape::Float64 => {
                self.push(r#""anyOf":[{"type":"number""#)?;
                if *shape == Shape::Float32 {
                    self.push(&format!(r#","minimum":-{F32_MAX},"maximum":{F32_MAX}"#))?;
                }
                self.push(r#"},{"enum":["#)?;
                self.list(NOT_FINITE, |writer, (name, _)| writer.string(name))?;
                self.push("]}]")
            }
            Shape::Char => self.push(r#""type":"string","minLength":1,"maxLength":1"#),
            Shape::Text => self.push(r#""type":"string""#),
            Shape::Bytes => self.push(r#""type":"string","contentEncoding":"base64""#),
            Shape::List(item) => {
                self.push(r#""type":"array","items":"#)?;
                self.shape(item)
            }
            Shape::FixedList(item, length) => {
                self.push(r#""type":"array","items":"#)?;
                self.shape(item)?;
                self.length(*length as usize)
            }
            Shape::Map(key, value) if **key == Shape::Text => {
                self.push(r#""type":"object","additionalProperties":"#)?;
                self.shape(value)
            }
            Shape::Map(key, value) => {
                self.push(r#""type":"array","items":{"#)?;
                self.tuple([&**key, &**value])?;
                self.push("}")
            }
            Shape::Record(fields) => self.object_keywords(fields, |_| None),
            Shape::Tuple(parts) => self.tuple(parts),
            Shape::Option(inner) => {
                self.push(r#""anyOf":["#)?;
                match &**inner {
                    // Null already means that the outer one is `none`.
                    Shape::Option(_) => self.wrapped("some", Some(inner))?,
                    Shape::Integer(integer) if integer.is_wide() => self.wide(*integer)?,
                    inner => self.shape(inner)?,
                }
                self.push(r#",{"type":"null"}]"#)
            }
            Shape::Enum(names) => {
                self.push(r#""enum":"#)?;
                self.names(names)
            }
            Shape::Flags(names) => {
                self.push(r#""type":"array","items":{"enum":"#)?;
                self.names(names)?;
                self.push(r#"},"uniqueItems":true"#)
            }
            Shape::Variant(cases) => {
                self.push(r#""oneOf":["#)?;
                self.list(cases, Self::case)?;
                self.push("]")
            }
            Shape::Result { ok, err } => {
                self.push(r#""oneOf":["#)?;
                self.wrapped("ok", ok.as_deref())?;
                self.push(",")?;
                self.wrapped("err", err.as_deref())?;
                self.push("]")
            }
        }
    }

    /// The two forms of a 64-bit integer.
    fn wide(&mut self, integer: Integer) -> Result<(), TooLong> {
        let [unsigned, signed] = decimal_patterns();
        let pattern = if integer == Integer::U64 { unsigned } else { signed };
        self.push(&format!(
            r#"{{{}}},{{"type":"string","pattern":{}}}"#,
            range(integer),
            quoted(pattern)
        ))
    }

    fn length(&mut self, length: usize) -> Result<(), TooLong> {
        self.push(&format!(r#","minItems":{length},"maxItems":{length}"#))
    }

    fn tuple<'a>(&mut self, parts: impl IntoIterator<Item = &'a Shape>) -> Result<(), TooLong> {
        let mut length = 0;
        self.push(r#""type":"array","prefixItems":["#)?;
        self.list(parts, |writer, part| {
            length += 1;
            writer.shape(part)
        })?;
        self.push("]")?;
        self.length(length)
    }

    /// An object with one field. Without a shape, the field is null.
    fn wrapped(&mut self, key: &str, shape: Option<&Shape>) -> Result<(), TooLong> {
        self.push(&format!(r#"{{"type":"object","properties":{{"{key}":"#))?;
        match shape {
            Some(shape) => self.shape(shape)?,
            None => self.push(r#"{"type":"null"}"#)?,
        }
        self.push(&format!(r#"}},"required":["{key}"],"additionalProperties":false}}"#))
    }

    fn case(&mut self, case: &Case) -> Result<(), TooLong> {
        let name = quoted(&case.name);
        self.push(&format!(r#"{{"type":"object","properties":{{"tag":{{"const":{name}}}"#))?;
        let mut required = r#"["tag"]"#;
        if let Some(payload) = &case.payload {
            self.push(r#","value":"#)?;
            self.shape(payload)?;
            if !payload.is_option() {
                required = r#"["tag","value"]"#;
            }
        }
        self.push(&format!(r#"}},"required":{required},"additionalProperties":false}}"#))
    }

    fn object<'d>(&mut self, fields: &[Field], description: impl Fn(&Field) -> Option<&'d str>) -> Result<(), TooLong> {
        self.push("{")?;
        self.object_keywords(fields, description)?;
        self.push("}")
    }

    fn object_keywords<'d>(
        &mut self,
        fields: &[Field],
        description: impl Fn(&Field) -> Option<&'d str>,
    ) -> Result<(), TooLong> {
        self.push(r#""type":"object","properties":{"#)?;
        self.list(fields, |writer, field| {
            writer.string(&field.key)?;
            writer.push(":")?;
            match description(field) {
                None => writer.shape(&field.shape),
                Some(text) => {
                    writer.push("{")?;
                    writer.keywords(&field.shape)?;
                    writer.push(r#","description":"#)?;
                    writer.string(text)?;
                    writer.push("}")
                }
            }
        })?;
        self.push("}")?;
        let mut required = fields.iter().filter(|field| !field.is_optional()).peekable();
        if required.peek().is_some() {
            self.push(r#","required":["#)?;
            self.list(required, |writer, field| writer.string(&field.key))?;
            self.push("]")?;
        }
        self.push(r#","additionalProperties":false"#)
    }
}

fn range(integer: Integer) -> String {
    format!(
        r#""type":"integer","minimum":{},"maximum":{}"#,
        integer.min(),
        integer.max()
    )
}

/// The text as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    // A string always serialises.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::named::Named;
    use super::*;

    fn schema(shape: &Shape) -> Value {
        serde_json::from_str(&of(shape).unwrap()).unwrap()
    }

    #[test]
    fn every_type_has_its_schema() {
        let text = || Box::new(Shape::Text);
        let wide = |shape| schema(&shape)["anyOf"][1]["pattern"].as_str().unwrap().to_owned();
        let [unsigned, signed] = decimal_patterns();
        for (shape, expected) in [
            (Shape::Bool, json!({ "type": "boolean" })),
            (
                Shape::Integer(Integer::S8),
                json!({ "type": "integer", "minimum": -128, "maximum": 127 }),
            ),
            (
                Shape::Integer(Integer::U64),
                json!({ "anyOf": [{ "type": "integer", "minimum": 0, "maximum": u64::MAX }, { "type": "string", "pattern": unsigned }] }),
            ),
            (
                Shape::Option(Box::new(Shape::Integer(Integer::S64))),
                json!({ "anyOf": [
                    { "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX },
                    { "type": "string", "pattern": signed },
                    { "type": "null" }
                ] }),
            ),
            (
                Shape::Float32,
                json!({ "anyOf": [{ "type": "number", "minimum": -3.4028235e38, "maximum": 3.4028235e38 }, { "enum": ["NaN", "Infinity", "-Infinity"] }] }),
            ),
            (Shape::Bytes, json!({ "type": "string", "contentEncoding": "base64" })),
            (
                Shape::Option(Box::new(Shape::Option(text()))),
                json!({ "anyOf": [
                    { "type": "object", "properties": { "some": { "anyOf": [{ "type": "string" }, { "type": "null" }] } },
                      "required": ["some"], "additionalProperties": false },
                    { "type": "null" }
                ] }),
            ),
            (
                Shape::Tuple(Box::new([Shape::Bool, Shape::Char])),
                json!({ "type": "array", "prefixItems": [{ "type": "boolean" }, { "type": "string", "minLength": 1, "maxLength": 1 }],
                    "minItems": 2, "maxItems": 2 }),
            ),
            (
                Shape::Map(text(), Box::new(Shape::Bool)),
                json!({ "type": "object", "additionalProperties": { "type": "boolean" } }),
            ),
            (
                Shape::Flags(["a-b", "c"].map(Box::from).into_iter().collect()),
                json!({ "type": "array", "items": { "enum": ["a-b", "c"] }, "uniqueItems": true }),
            ),
            (
                Shape::Variant(Named::from_iter([
                    Case {
                        name: "none".into(),
                        payload: None,
                    },
                    Case {
                        name: "some-text".into(),
                        payload: Some(Shape::Text),
                    },
                ])),
                json!({ "oneOf": [
                    { "type": "object", "properties": { "tag": { "const": "none" } }, "required": ["tag"], "additionalProperties": false },
                    { "type": "object", "properties": { "tag": { "const": "some-text" }, "value": { "type": "string" } },
                      "required": ["tag", "value"], "additionalProperties": false }
                ] }),
            ),
            (
                Shape::Record(Named::from_iter([
                    Field::new("first-name", Shape::Text),
                    Field::new("age", Shape::Option(Box::new(Shape::Integer(Integer::U8)))),
                ])),
                json!({ "type": "object", "properties": {
                    "first_name": { "type": "string" },
                    "age": { "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 255 }, { "type": "null" }] }
                }, "required": ["first_name"], "additionalProperties": false }),
            ),
        ] {
            assert_eq!(schema(&shape), expected, "{shape:?}");
        }
        assert_eq!(wide(Shape::Integer(Integer::S64)), signed);
    }

    #[test]
    fn parameters_are_properties_with_their_docs() {
        let docs = FunctionDocs::parameters([("first-name", "Who.")]);
        let parameters = [
            Field::new("first-name", Shape::Text),
            Field::new("maybe", Shape::Option(Box::new(Shape::Text))),
        ];
        assert_eq!(
            input(&parameters, Some(&docs)).unwrap(),
            r#"{"type":"object","properties":{"first_name":{"type":"string","description":"Who."},"maybe":{"anyOf":[{"type":"string"},{"type":"null"}]}},"required":["first_name"],"additionalProperties":false}"#
        );
        assert_eq!(
            input(&[], None).unwrap(),
            r#"{"type":"object","properties":{},"additionalProperties":false}"#
        );
    }

    #[test]
    fn a_long_schema_is_refused() {
        let names: Named<Box<str>> = (0..9_000).map(|number| format!("name-{number}").into()).collect();
        assert_eq!(of(&Shape::Enum(names)), Err(TooLong));
    }
}
