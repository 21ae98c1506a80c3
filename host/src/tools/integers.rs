//! The one change to an input on its way to a tool: a whole number that the model wrote as `1.0` or `1e3`, where the schema
//! asks for an integer. JSON Schema calls these integers, but many guests can't parse them as one.

use serde_json::Value;

use crate::json_text::{Json, whole_number};

/// Nesting of references and combinations in a schema. Accepted schemas have less.
const MAX_DEPTH: usize = 128;

/// Writes whole numbers as integers where the schema says `integer`, and leaves all other text as it is. `None` if nothing
/// changes.
///
/// A property's own schema is what stands in `properties`, `additionalProperties`, `items` or `prefixItems`, with everything
/// that it reaches through `$ref`, `allOf`, `anyOf` and `oneOf`. If any of that says `number`, the number stays.
///
/// `input` must be JSON that matches the schema. Each of its values costs at most one visit of each part of the schema with
/// its references expanded, and each byte one more for each level of the schema. Checking the input costs as much.
pub(super) fn with_integers(input: &str, document: &Value) -> Option<String> {
    if !input
        .as_bytes()
        .windows(2)
        .any(|pair| matches!(pair, [b'0'..=b'9', b'.' | b'e' | b'E'] | [b'-', b'0']))
    {
        return None;
    }
    let mut rewriter = Rewriter {
        document,
        input,
        out: String::new(),
        copied: 0,
    };
    let mut schemas = Vec::new();
    rewriter.expand(document, 0, &mut schemas);
    rewriter.visit(Json::parse(input).ok()?, &schemas);
    if rewriter.copied == 0 {
        return None;
    }
    rewriter.out.push_str(&input[rewriter.copied..]);
    Some(rewriter.out)
}

struct Rewriter<'a> {
    document: &'a Value,
    input: &'a str,
    /// The rewritten beginning of the input.
    out: String,
    /// The bytes of the input that it stands for.
    copied: usize,
}

impl<'a> Rewriter<'a> {
    /// Visits a value to which all of `schemas` apply.
    fn visit(&mut self, value: Json<'a>, schemas: &[&'a Value]) {
        if schemas.is_empty() {
            return;
        }
        if value.is_object() {
            for field in value.fields() {
                let Some(name) = field.name.string() else { continue };
                let own = schemas.iter().filter_map(|schema| property(schema, &name));
                self.visit_part(field.value, own);
            }
        } else if let Some(items) = value.items() {
            for (index, item) in items.enumerate() {
                let own = schemas.iter().filter_map(|schema| item_at(schema, index));
                self.visit_part(item, own);
            }
        } else if schemas.iter().any(|schema| says(schema, "integer"))
            && !schemas.iter().any(|schema| says(schema, "number"))
            && let Some(integer) = whole_number(value.text())
        {
            // Both are parts of the same text.
            let start = value.text().as_ptr().addr() - self.input.as_ptr().addr();
            self.out.push_str(&self.input[self.copied..start]);
            self.out.push_str(&integer);
            self.copied = start + value.text().len();
        }
    }

    fn visit_part(&mut self, value: Json<'a>, own: impl Iterator<Item = &'a Value>) {
        let mut schemas = Vec::new();
        for schema in own {
            self.expand(schema, 0, &mut schemas);
        }
        self.visit(value, &schemas);
    }

    /// Adds a schema and all that it refers to or combines.
    fn expand(&self, schema: &'a Value, depth: usize, all: &mut Vec<&'a Value>) {
        if depth > MAX_DEPTH {
            return;
        }
        all.push(schema);
        let reference = schema.get("$ref").and_then(Value::as_str);
        let target = reference.and_then(|reference| self.document.pointer(reference.strip_prefix('#')?));
        if let Some(target) = target {
            self.expand(target, depth + 1, all);
        }
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let branches = schema.get(keyword).and_then(Value::as_array);
            for branch in branches.into_iter().flatten() {
                self.expand(branch, depth + 1, all);
            }
        }
    }
}

fn property<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    let own = schema.get("properties").and_then(|properties| properties.get(name));
    // A pattern may match the name, and then `additionalProperties` doesn't apply.
    let has_patterns = schema.get("patternProperties").is_some();
    own.or_else(|| schema.get("additionalProperties").filter(|_| !has_patterns))
}

fn item_at(schema: &Value, index: usize) -> Option<&Value> {
    let prefix = schema.get("prefixItems").and_then(|items| items.get(index));
    prefix.or_else(|| schema.get("items"))
}

fn says(schema: &Value, kind: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|known| known == kind),
        Some(known) => known == kind,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn rewritten(schema: &Value, input: &str) -> String {
        with_integers(input, schema).unwrap_or_else(|| input.to_owned())
    }

    #[test]
    fn only_what_the_own_schema_calls_an_integer_is_rewritten() {
        let schema = json!({ "type": "object",
            "$defs": { "count": { "type": "integer" }, "inner": { "type": "object", "properties": { "n": { "$ref": "#/$defs/count" } } } },
            "properties": {
                "a": { "type": "integer" },
                "b": { "type": "number" },
                "c": {},
                "d": { "type": ["integer", "null"] },
                "e": { "type": ["integer", "number"] },
                "f": { "type": "array", "prefixItems": [{ "type": "number" }, { "type": "integer" }], "items": { "type": "integer" } },
                "g": { "$ref": "#/$defs/inner" },
                "h": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
                "i": { "oneOf": [{ "type": "integer" }, { "type": "number" }] },
                "j": { "allOf": [{ "$ref": "#/$defs/count" }, { "minimum": 0 }] },
                "k": { "anyOf": [{ "$ref": "#/$defs/inner" }, { "type": "null" }] },
                "l": { "type": "object", "additionalProperties": { "type": "integer" } },
                "m": { "type": "object", "patternProperties": { "^x": { "type": "number" } }, "additionalProperties": { "type": "integer" } },
                "o": { "type": "string" },
            } });
        for (input, expected) in [
            (
                r#"{ "b": 1.0, "a" : 1e3 , "a2": 1.0 }"#,
                r#"{ "b": 1.0, "a" : 1000 , "a2": 1.0 }"#,
            ),
            (r#"{"\u0061":1.0,"c":1.0}"#, r#"{"\u0061":1,"c":1.0}"#),
            (r#"{"d":2.0}"#, r#"{"d":2}"#),
            (r#"{"d":null,"e":2.0}"#, r#"{"d":null,"e":2.0}"#),
            (r#"{"f":[1.0, 2.0, 3.0, 4]}"#, r#"{"f":[1.0, 2, 3, 4]}"#),
            (r#"{"g":{"n":1.0,"x":1.0}}"#, r#"{"g":{"n":1,"x":1.0}}"#),
            (r#"{"h":1.0,"i":1.0,"j":1.0}"#, r#"{"h":1,"i":1.0,"j":1}"#),
            (r#"{"k":{"n":5e0}}"#, r#"{"k":{"n":5}}"#),
            (r#"{"l":{"é":1.0,"y":-0}}"#, r#"{"l":{"é":1,"y":0}}"#),
            (r#"{"m":{"x":1.0}}"#, r#"{"m":{"x":1.0}}"#),
            (
                r#"{"o":"1.0, \"a\": 1.0","a":12345678901234567890123}"#,
                r#"{"o":"1.0, \"a\": 1.0","a":12345678901234567890123}"#,
            ),
            (r#" {"a":1.0} "#, r#" {"a":1} "#),
        ] {
            assert_eq!(rewritten(&schema, input), expected);
        }
        assert_eq!(
            with_integers(r#"{"a":1,"b":1.5}"#, &schema),
            None,
            "nothing is copied for nothing"
        );
    }

    #[test]
    fn a_schema_that_refers_to_itself_ends() {
        let schema = json!({ "properties": { "a": { "$ref": "#/properties/a" } } });
        assert_eq!(with_integers(r#"{"a":1.0}"#, &schema), None);
    }
}
