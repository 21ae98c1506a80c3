//! How much work a schema can make. It comes from a stranger, checking an input against it is not metered by anything, and a
//! few lines of references can ask for more steps than there are atoms. So only schemas whose work is known beforehand
//! are accepted: no recursion, no reference out of the document, a bounded number of steps.

use serde_json::Value;

use crate::shown::{NAME_CHARS, shown};

/// Subschemas and values that a schema may come to when every reference is written out.
const MAX_EXPANDED: usize = 2_000;
/// Nesting of a written-out schema.
const MAX_DEPTH: usize = 128;
/// Regular expressions of a written-out schema, and bytes of one.
const MAX_PATTERNS: usize = 32;
const MAX_PATTERN_BYTES: usize = 1_000;
/// What trying a pattern counts for, in steps.
const PATTERN_WEIGHT: usize = 50;
/// Keywords that make a validator look at the same values again and again, or resolve references at run time or against
/// another base than the document.
const REFUSED: [&str; 7] = [
    "$anchor",
    "$schema",
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicAnchor",
];

/// What a schema can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Steps that one look at a value can take.
    pub(super) size: usize,
    /// Regular expressions that are kept compiled.
    pub(super) patterns: usize,
}

/// Adds up what `document` can cost.
///
/// # Errors
///
/// A sentence that says what makes the schema unbounded.
pub(super) fn cost(document: &Value) -> Result<Cost, String> {
    check_keywords(document, 0)?;
    let mut walk = Walk {
        document,
        references: Vec::new(),
        size: 0,
        patterns: 0,
    };
    walk.visit(document, 0)?;
    Ok(Cost {
        size: walk.size,
        patterns: walk.patterns,
    })
}

/// Looks everywhere, also where the walk does not come: a reference may lead through any part of the document, and one with
/// a name of its own changes what the references below it mean.
fn check_keywords(value: &Value, depth: usize) -> Result<(), String> {
    match value {
        Value::Object(object) => object.iter().try_for_each(|(key, part)| {
            match (key.as_str(), part) {
                ("$schema", Value::String(dialect)) if depth == 0 => check_dialect(dialect)?,
                ("$id" | "$anchor" | "$schema", part) if !part.is_string() => {}
                ("$id", _) if depth == 0 => {}
                (key, _) if key == "$id" || REFUSED.contains(&key) => {
                    return Err(format!("its input schema uses {key}, which this host does not accept"));
                }
                _ => {}
            }
            check_keywords(part, depth + 1)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_keywords(item, depth + 1)),
        _ => Ok(()),
    }
}

struct Walk<'a> {
    document: &'a Value,
    /// The references that are being written out, outermost first.
    references: Vec<&'a str>,
    size: usize,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &'a Value, depth: usize) -> Result<(), String> {
        self.size += 1;
        if self.size > MAX_EXPANDED {
            return Err(format!(
                "its input schema comes to more than {MAX_EXPANDED} parts when references are written out"
            ));
        }
        if depth > MAX_DEPTH {
            return Err(format!("its input schema is nested more than {MAX_DEPTH} deep"));
        }
        match value {
            Value::Object(object) => {
                for (key, part) in object {
                    match (key.as_str(), part) {
                        ("pattern", Value::String(pattern)) => self.pattern(pattern)?,
                        ("patternProperties", Value::Object(patterns)) => {
                            patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
                            self.visit(part, depth + 1)?;
                        }
                        ("$ref", Value::String(reference)) => self.follow(reference, depth)?,
                        // Definitions cost where they are used.
                        ("$defs" | "definitions", Value::Object(_)) if depth == 0 => {}
                        _ => self.visit(part, depth + 1)?,
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item, depth + 1)),
            _ => Ok(()),
        }
    }

    /// Trying one pattern takes longer than any other step, so it weighs more.
    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.size += PATTERN_WEIGHT;
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS || pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!(
                "its input schema has more than {MAX_PATTERNS} patterns, or one of more than {MAX_PATTERN_BYTES} bytes"
            ));
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<(), String> {
        let shown = shown(reference, NAME_CHARS);
        if self.references.contains(&reference) {
            return Err(format!("its input schema refers to itself ({shown})"));
        }
        let target = reference
            .strip_prefix('#')
            // A percent sign would be decoded by the validator, which then looks elsewhere than we did.
            .filter(|pointer| (pointer.is_empty() || pointer.starts_with('/')) && !pointer.contains('%'));
        let target = target.and_then(|pointer| self.document.pointer(pointer));
        let Some(target) = target else {
            return Err(format!(
                "its input schema refers to `{shown}`; only places within it, such as #/$defs/x, are accepted"
            ));
        };
        self.references.push(reference);
        self.visit(target, depth + 1)?;
        self.references.pop();
        Ok(())
    }
}

/// Older drafts name the base of references differently, and would be resolved otherwise than they were counted.
fn check_dialect(dialect: &str) -> Result<(), String> {
    match ["draft/2020-12", "draft/2019-09", "draft-07"]
        .iter()
        .any(|known| dialect.contains(known))
    {
        true => Ok(()),
        false => Err("its input schema is of a JSON Schema draft that this host does not accept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_counted_where_they_are_used() {
        let schema = json!({ "type": "object", "$defs": { "a": { "type": "string" } },
            "properties": { "x": { "$ref": "#/$defs/a" }, "y": { "$ref": "#/$defs/a" } } });
        assert_eq!(cost(&schema), Ok(Cost { size: 9, patterns: 0 }));
    }

    #[test]
    fn bombs_are_refused() {
        let chain: serde_json::Map<String, Value> = (0..40)
            .map(|n| {
                let next = json!({ "$ref": format!("#/$defs/a{}", n + 1) });
                (format!("a{n}"), json!({ "allOf": [next, next] }))
            })
            .chain([("a40".to_owned(), json!({}))])
            .collect();
        let twice = json!({ "$ref": "#/properties/a" });
        let pointer = |depth: usize| (0..depth).fold(json!({}), |inner, _| json!({ "not": inner }));
        for property in ["$id", "$anchor", "$schema"] {
            assert!(
                cost(&json!({ "properties": { property: { "type": "string" } } })).is_ok(),
                "{property}"
            );
        }
        for schema in [
            json!({ "$defs": chain, "properties": { "x": { "$ref": "#/$defs/a0" } } }),
            json!({ "properties": { "a": { "properties": { "a": { "allOf": [twice, twice] } } } } }),
            json!({ "properties": { "a": { "$ref": "#" } } }),
            json!({ "properties": { "a": { "$ref": "#name" } } }),
            json!({ "properties": { "a": { "$ref": "other.json" } } }),
            json!({ "properties": { "a": { "$id": "x", "$ref": "#/$defs/a" } } }),
            json!({ "$defs": { "%78": {}, "x": {} }, "properties": { "a": { "$ref": "#/$defs/%78" } } }),
            json!({ "$defs": { "x": { "$id": "urn:x" } }, "properties": { "a": { "$ref": "#/$defs/x/properties/y" } } }),
            json!({ "$defs": { "x": [{ "$anchor": "y" }] } }),
            json!({ "properties": { "a": { "$schema": "http://json-schema.org/draft-07/schema#" } } }),
            json!({ "$schema": "http://json-schema.org/draft-04/schema#" }),
            json!({ "properties": { "a": { "pattern": "x".repeat(2000) } } }),
            json!({ "not": { "anyOf": vec![json!({ "pattern": "a" }); 100] } }),
            json!({ "unevaluatedProperties": false }),
            pointer(200),
            json!({ "enum": (0..3000).collect::<Vec<_>>() }),
        ] {
            assert!(cost(&schema).is_err(), "{schema}");
        }
    }
}
