//! Bounds the work of checking an input against a schema. Schemas are untrusted, nothing meters a check, and a few lines of
//! nested references can demand exponentially many steps. So the host accepts only schemas whose work it can compute
//! beforehand: no recursion, no reference out of the document, a bounded number of steps.

use serde_json::Value;

use super::schema::{PATTERN_BYTES, options};
use crate::sandbox::decimal_patterns;
use crate::untrusted::Untrusted;

/// Subschemas and values of a schema with every reference expanded.
const MAX_EXPANDED: usize = 2_000;
/// Nesting of an expanded schema.
const MAX_DEPTH: usize = 128;
/// Regular expressions of an expanded schema, and bytes of one.
const MAX_PATTERNS: usize = 32;
const MAX_PATTERN_BYTES: usize = 1_000;
/// Pairs of a pattern's compiled size in bytes, and the steps per input byte that it counts for. If a pattern's automaton
/// outgrows its memory, the engine visits every state for every byte. The steps are twice the measured ones.
const PATTERN_WEIGHTS: [(usize, usize); 4] = [(1 << 10, 60), (4 << 10, 240), (16 << 10, 960), (PATTERN_BYTES, 3_840)];
/// Steps per input byte of the patterns that typed tools have.
const DECIMAL_WEIGHT: usize = 4;
/// Steps of a `multipleOf`. Fractions use arbitrary-precision arithmetic. With an integer divisor, the input's number may
/// still be a fraction.
const FRACTION_WEIGHT: usize = 4_000;
const DIVISION_WEIGHT: usize = 200;
/// Keywords that make a validator visit values repeatedly, or resolve references at run time or against another base than
/// the document.
const REFUSED_KEYWORDS: [&str; 7] = [
    "$anchor",
    "$schema",
    "$dynamicRef",
    "$recursiveRef",
    "unevaluatedItems",
    "unevaluatedProperties",
    "$dynamicAnchor",
];

/// The most that a schema can cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// Steps per byte of an input.
    pub(super) steps: usize,
    /// Regular expressions that stay compiled.
    pub(super) patterns: usize,
}

/// Adds up what `document` can cost.
///
/// # Errors
///
/// Why the schema is refused, as a message.
pub(super) fn cost(document: &Value) -> Result<Cost, String> {
    check_keywords(document, Place::Schema, 0)?;
    let mut walk = Walk {
        document,
        references: Vec::new(),
        parts: 0,
        weights: 0,
        patterns: 0,
    };
    walk.visit(document, Place::Schema, 0)?;
    Ok(Cost {
        steps: walk.parts + walk.weights,
        patterns: walk.patterns,
    })
}

/// What a value of a schema is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A schema, or a list of schemas.
    Schema,
    /// Schemas by names of the author's choice.
    Named,
    /// An ordinary value, whose keys mean nothing. A validator compares it with the input.
    Compared,
    /// An ordinary value that a validator ignores.
    Ignored,
}

impl Place {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Schema, "default" | "examples") => Self::Ignored,
            (Self::Schema, "const" | "enum") => Self::Compared,
            (
                Self::Schema,
                "properties" | "patternProperties" | "dependentSchemas" | "dependencies" | "$defs" | "definitions",
            ) => Self::Named,
            (Self::Schema | Self::Named, _) => Self::Schema,
            (Self::Compared | Self::Ignored, _) => self,
        }
    }

    fn is_data(self) -> bool {
        matches!(self, Self::Compared | Self::Ignored)
    }
}

/// Checks the whole document, not only what the walk visits: a reference may point into any part of it but data, and an
/// `$id` changes what the references below it mean.
fn check_keywords(value: &Value, place: Place, depth: usize) -> Result<(), String> {
    if place.is_data() {
        return Ok(());
    }
    match value {
        Value::Object(object) => object.iter().try_for_each(|(key, part)| {
            match (key.as_str(), part) {
                _ if place == Place::Named => {}
                ("$schema", Value::String(dialect)) if depth == 0 => check_dialect(dialect)?,
                ("$id" | "$anchor" | "$schema", part) if !part.is_string() => {}
                ("$id", _) if depth == 0 => {}
                (key, _) if key == "$id" || REFUSED_KEYWORDS.contains(&key) => {
                    return Err(format!("its input schema uses {key}, which this host doesn't accept"));
                }
                _ => {}
            }
            check_keywords(part, place.below(key), depth + 1)
        }),
        Value::Array(items) => items.iter().try_for_each(|item| check_keywords(item, place, depth + 1)),
        _ => Ok(()),
    }
}

struct Walk<'a> {
    document: &'a Value,
    /// The references being expanded, outermost first.
    references: Vec<&'a str>,
    parts: usize,
    /// Steps of patterns and divisions, beyond the one step per part.
    weights: usize,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, value: &'a Value, place: Place, depth: usize) -> Result<(), String> {
        if place == Place::Ignored {
            return Ok(());
        }
        self.parts += 1;
        if self.parts > MAX_EXPANDED {
            return Err(format!(
                "its input schema has more than {MAX_EXPANDED} parts with its references expanded"
            ));
        }
        if depth > MAX_DEPTH {
            return Err(format!("its input schema is nested more than {MAX_DEPTH} deep"));
        }
        match value {
            Value::Object(object) => {
                for (key, part) in object {
                    let below = place.below(key);
                    match (key.as_str(), part) {
                        _ if place != Place::Schema => self.visit(part, below, depth + 1)?,
                        ("pattern", Value::String(pattern)) => self.pattern(pattern)?,
                        ("patternProperties", Value::Object(patterns)) => {
                            patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
                            self.visit(part, below, depth + 1)?;
                        }
                        ("multipleOf", Value::Number(number)) => {
                            let is_whole = number.is_u64() || number.is_i64();
                            self.weights += if is_whole { DIVISION_WEIGHT } else { FRACTION_WEIGHT };
                        }
                        ("$ref", Value::String(reference)) => self.follow(reference, depth)?,
                        // Definitions cost where they are used.
                        ("$defs" | "definitions", Value::Object(_)) if depth == 0 => {}
                        _ => self.visit(part, below, depth + 1)?,
                    }
                }
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item, place, depth + 1)),
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS || pattern.len() > MAX_PATTERN_BYTES {
            return Err(format!(
                "its input schema has more than {MAX_PATTERNS} patterns, or one of more than {MAX_PATTERN_BYTES} bytes"
            ));
        }
        self.weights += pattern_weight(pattern);
        Ok(())
    }

    fn follow(&mut self, reference: &'a str, depth: usize) -> Result<(), String> {
        let shown = Untrusted::from(reference).display();
        if self.references.contains(&reference) {
            return Err(format!("its input schema refers to itself ({shown})"));
        }
        let target = reference
            .strip_prefix('#')
            // The validator decodes percent signs, so it would resolve another target than this code.
            .filter(|pointer| (pointer.is_empty() || pointer.starts_with('/')) && !pointer.contains('%'))
            // Data isn't checked as a schema, and neither are the names in a list of schemas as keywords.
            .filter(|pointer| place_of(self.document, pointer) == Place::Schema);
        let target = target.and_then(|pointer| self.document.pointer(pointer));
        let Some(target) = target else {
            return Err(format!(
                "its input schema refers to `{shown}`; only references within it, such as #/$defs/x, are accepted"
            ));
        };
        self.references.push(reference);
        self.visit(target, Place::Schema, depth + 1)?;
        self.references.pop();
        Ok(())
    }
}

/// What the value at a JSON pointer is.
fn place_of(document: &Value, pointer: &str) -> Place {
    let (mut value, mut place) = (Some(document), Place::Schema);
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        // Items of a list are what the list is.
        if !matches!(value, Some(Value::Array(_))) {
            place = place.below(&token);
        }
        value = match value {
            Some(Value::Object(object)) => object.get(&token),
            Some(Value::Array(items)) => token.parse().ok().and_then(|index: usize| items.get(index)),
            _ => None,
        };
    }
    place
}

/// The weight of the smallest size limit within which the pattern compiles. A pattern above all limits counts 0 here:
/// compiling the schema refuses it.
fn pattern_weight(pattern: &str) -> usize {
    // Those of typed tools fit a small automaton, and end after twenty digits whatever follows.
    if decimal_patterns().contains(&pattern) {
        return DECIMAL_WEIGHT;
    }
    let schema = serde_json::json!({ "pattern": pattern });
    let fits = |bytes| options(bytes).build(&schema).is_ok();
    let known = PATTERN_WEIGHTS.into_iter().find(|(bytes, _)| fits(*bytes));
    known.map_or(0, |(_, weight)| weight)
}

/// Older drafts set the base of references differently, so the validator would resolve them differently from the walk.
fn check_dialect(dialect: &str) -> Result<(), String> {
    match ["draft/2020-12", "draft/2019-09", "draft-07"]
        .iter()
        .any(|known| dialect.contains(known))
    {
        true => Ok(()),
        false => Err("its input schema is of a JSON Schema draft that this host doesn't accept".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_count_at_each_use() {
        let schema = json!({ "type": "object", "$defs": { "a": { "type": "string" } },
            "properties": { "x": { "$ref": "#/$defs/a" }, "y": { "$ref": "#/$defs/a" } } });
        assert_eq!(cost(&schema), Ok(Cost { steps: 9, patterns: 0 }));
    }

    #[test]
    fn patterns_are_weighted_by_size_and_fractions_heavily() {
        let steps = |schema: Value| cost(&schema).map(|cost| cost.steps);
        let [letter, address, long, longest] = [
            "^[a-z]+$",
            r"^[\w.+-]{1,64}@[\w-]+\.[\w.]+$",
            "a[ab]{100}c",
            "a[ab]{840}c",
        ]
        .map(|pattern| steps(json!({ "pattern": pattern })).unwrap());
        assert!(letter < 100 && address < 1_000, "{letter} {address}");
        assert!(long > letter && longest > 3_000, "{long} {longest}");
        assert_eq!(steps(json!({ "multipleOf": 5 })), Ok(1 + DIVISION_WEIGHT));
        assert!(steps(json!({ "multipleOf": 0.1 })).unwrap() > FRACTION_WEIGHT);
        assert!(steps(json!({ "multipleOf": 1e300 })).unwrap() > FRACTION_WEIGHT);
    }

    #[test]
    fn data_is_not_read_as_a_schema() {
        let data = json!({ "$ref": "https://example.com/", "$id": 1, "pattern": "(", "multipleOf": 0.1,
            "properties": { "a": { "$ref": "#/nowhere", "$schema": "draft-04", "unevaluatedItems": {} } } });
        for keyword in ["default", "examples", "const", "enum"] {
            let steps = cost(&json!({ "properties": { "a": { keyword: [data, data] } } })).map(|cost| cost.steps);
            let expected = match keyword {
                "default" | "examples" => 3,
                _ => 4 + 2 * 10,
            };
            assert_eq!(steps, Ok(expected), "{keyword}");
        }
        let long: Vec<usize> = (0..10_000).collect();
        assert!(cost(&json!({ "examples": long })).is_ok());
    }

    /// Properties may have any name, and a reference into data would read it as a schema after all.
    #[test]
    fn what_only_looks_like_data_is_read_as_a_schema() {
        let unknown = json!({ "$ref": "#/nowhere" });
        for keyword in ["default", "examples", "const", "enum"] {
            for schema in [
                json!({ "properties": { keyword: unknown } }),
                json!({ "dependencies": { keyword: unknown } }),
                json!({ "$defs": { keyword: unknown }, "$ref": format!("#/$defs/{keyword}") }),
                json!({ keyword: { "type": "string" }, "$ref": format!("#/{keyword}") }),
                json!({ "properties": { keyword: {} }, "not": { "$ref": "#/properties" } }),
                json!({ "allOf": [{ keyword: [{}] }], "$ref": format!("#/allOf/0/{keyword}/0") }),
            ] {
                assert!(cost(&schema).is_err(), "{schema}");
            }
            let named =
                json!({ "$defs": { keyword: {} }, "properties": { "a": { "$ref": format!("#/$defs/{keyword}") } } });
            assert!(cost(&named).is_ok(), "{named}");
        }
        // The names of properties mean nothing either.
        for name in ["$id", "$ref", "$anchor", "pattern", "unevaluatedItems"] {
            assert!(
                cost(&json!({ "properties": { name: { "type": "string" } } })).is_ok(),
                "{name}"
            );
        }
    }

    #[test]
    fn exponential_schemas_are_refused() {
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
