//! The JSON Schema of a tool's input: a stranger's text, compiled without fetching anything and checked against every input.

use jsonschema::{Draft, PatternOptions, ValidationOptions, Validator};
use serde_json::Value;

use super::schema_bounds::{self, Cost};
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Bytes of a schema's text. Default bound of this host, not of the contract.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Bytes of one compiled pattern.
pub(super) const PATTERN_BYTES: usize = 64 * 1024;
/// Steps of checking an input that are taken at once, on the thread that runs the call: a few milliseconds.
pub(super) const QUICK_CHECK: u64 = 500_000;
/// Steps of checking an input that are taken at all: a second or so.
pub(super) const LONGEST_CHECK: u64 = 200_000_000;
/// Steps of a check whose violations are listed: to list them takes a hundred bytes for each.
const LISTED_WORK: u64 = 500_000;
/// Violations that are listed; of the rest it is said that there is more.
const MAX_VIOLATIONS: usize = 20;
/// Characters of one violation.
const MAX_VIOLATION_CHARS: usize = 300;

#[derive(Debug)]
pub(super) struct InputSchema {
    pub(super) document: Value,
    validator: Validator,
    cost: Cost,
}

impl InputSchema {
    /// Parses and compiles a schema.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("its input schema has more than {MAX_SCHEMA_BYTES} bytes"));
        }
        let mut document: Value =
            serde_json::from_str(text).map_err(|error| format!("its input schema is not JSON: {error}"))?;
        if document.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the root of its input schema does not say \"type\": \"object\"".to_owned());
        }
        // The Messages API accepts these everywhere but here, and would refuse every request that lists the tool.
        if let Some(keyword) = ["oneOf", "anyOf", "allOf"]
            .into_iter()
            .find(|keyword| document.get(keyword).is_some())
        {
            return Err(format!(
                "the root of its input schema uses {keyword}, which models do not accept there"
            ));
        }
        // Likewise.
        let properties = document.get("properties").and_then(Value::as_object);
        if let Some(name) = properties.and_then(|properties| properties.keys().find(|name| !is_property_name(name))) {
            return Err(format!(
                "its input schema has a property `{}`; models accept 1 to 64 of the characters a-z A-Z 0-9 _ . -",
                display_untrusted(name, NAME_CHARS)
            ));
        }
        let cost = schema_bounds::cost(&document)?;
        // The draft that the Messages API holds every schema to, whatever it says of itself.
        if let Some(root) = document.as_object_mut() {
            root.remove("$schema");
        }
        let validator = options(PATTERN_BYTES)
            .build(&document)
            .map_err(|error| format!("its input schema is not usable: {}", shorten(&error.to_string())))?;
        Ok(Self {
            document,
            validator,
            cost,
        })
    }

    /// The most steps that checking an input of so many bytes can take.
    pub(super) fn work(&self, input_bytes: usize) -> u64 {
        (self.cost.steps as u64).saturating_mul(input_bytes as u64)
    }

    /// Regular expressions that it keeps compiled.
    pub(super) fn patterns(&self) -> usize {
        self.cost.patterns
    }

    /// Every way in which `input` breaks the schema, each with the JSON pointer of its place, up to a number that helps.
    pub(super) fn violations(&self, input: &Value) -> Vec<String> {
        if self.validator.is_valid(input) {
            return Vec::new();
        }
        // Every branch of a schema that does not fit is an error with a copy of the value in it.
        if self.work(input.to_string().len()) > LISTED_WORK {
            return vec!["it is too large for a list of what is wrong".to_owned()];
        }
        let mut errors = self.validator.iter_errors(input);
        let mut violations: Vec<String> = errors
            .by_ref()
            .take(MAX_VIOLATIONS)
            .map(|error| match error.instance_path().as_str() {
                "" => shorten(&error.to_string()),
                // Where it stands is made of the input's own keys.
                pointer => format!("{}: {}", shorten(pointer), shorten(&error.to_string())),
            })
            .collect();
        if errors.next().is_some() {
            violations.push("and more".to_owned());
        }
        violations
    }
}

/// How schemas are compiled. Patterns come from a stranger: the engine that cannot backtrack takes linear time on every input.
pub(super) fn options(pattern_bytes: usize) -> ValidationOptions<'static> {
    jsonschema::options()
        .offline()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(
            PatternOptions::regex()
                .size_limit(pattern_bytes)
                .dfa_size_limit(PATTERN_BYTES),
        )
}

fn is_property_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_VIOLATION_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    const SCHEMA: &str = r#"{ "type": "object", "properties": { "a": { "type": "integer", "minimum": 1 }, "b": { "type": "string" } },
        "required": ["a", "b"], "additionalProperties": false }"#;

    #[test]
    fn every_violation_has_its_place() {
        let schema = InputSchema::parse(SCHEMA).unwrap();
        assert!(schema.violations(&json!({ "a": 1, "b": "x" })).is_empty());
        let violations = schema.violations(&json!({ "a": 0, "c": true }));
        assert_eq!(violations.len(), 3, "{violations:?}");
        assert!(
            violations.iter().any(|violation| violation.starts_with("/a: ")),
            "{violations:?}"
        );
    }

    #[test]
    fn broken_schemas_are_refused() {
        for text in [
            "",
            "[]",
            "true",
            "{}",
            r#"{ "type": "array" }"#,
            r#"{ "type": "object", "oneOf": [{}] }"#,
            r#"{ "type": "object", "properties": { "a": { "type": "nonsense" } } }"#,
            r#"{ "type": "object", "properties": { "a": { "pattern": "(" } } }"#,
            r#"{ "type": "object", "$ref": "https://example.com/schema.json" }"#,
            r#"{ "type": "object", "$ref": "file:///etc/passwd" }"#,
            // What the Messages API would refuse.
            r#"{ "type": "object", "properties": { "a b": {} } }"#,
            r#"{ "type": "object", "properties": { "": {} } }"#,
            r#"{ "type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "properties": { "a": { "items": [{}] } } }"#,
        ] {
            assert!(InputSchema::parse(text).is_err(), "{text}");
        }
    }

    /// How long the longest check takes, of an input with `text` repeated.
    fn longest_check(schema: &Value, input: impl Fn(&str) -> Value, text: &str) -> Duration {
        let schema = InputSchema::parse(&schema.to_string()).unwrap();
        let input = |times: usize| input(&text.repeat(times));
        let work = |times: usize| schema.work(input(times).to_string().len());
        let mut times = 1;
        while work(times * 2) <= LONGEST_CHECK {
            times *= 2;
        }
        let input = input(times);
        let started = Instant::now();
        schema.violations(&input);
        started.elapsed()
    }

    /// The automaton of such a pattern has more states than atoms are in the universe.
    #[test]
    fn the_worst_patterns_take_no_longer_than_they_were_weighed() {
        let patterns: Vec<Value> = (0..32)
            .map(|less| json!({ "pattern": format!("a[ab]{{{}}}c", 840 - less) }))
            .collect();
        let one = json!({ "type": "object", "properties": { "a": patterns[0] } });
        let all = json!({ "type": "object", "properties": { "a": { "anyOf": patterns } } });
        // As good as random.
        let text: String = (0_u32..1_000)
            .map(|n| {
                if n.wrapping_mul(2_654_435_761).is_multiple_of(5) {
                    'a'
                } else {
                    'b'
                }
            })
            .collect();
        for schema in [one, all] {
            let took = longest_check(&schema, |text| json!({ "a": text }), &text);
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }

    #[test]
    fn divisions_take_no_longer_than_they_were_weighed() {
        for (divisor, number) in [(json!(1.1), 1.7e308), (json!(9_007_199_254_740_991_u64), 1e300)] {
            let divisions: Vec<Value> = (0..900).map(|_| json!({ "multipleOf": divisor })).collect();
            let schema =
                json!({ "type": "object", "properties": { "a": { "items": { "not": { "anyOf": divisions } } } } });
            let numbers = |text: &str| json!({ "a": text.chars().map(|_| number).collect::<Vec<_>>() });
            let took = longest_check(&schema, numbers, "x");
            assert!(took < Duration::from_secs(5), "{divisor}: {took:?}");
        }
    }

    /// Many branches times a long input would be gigabytes of errors.
    #[test]
    fn what_is_wrong_with_a_large_input_is_not_listed() {
        let branches: Vec<Value> = (0..400).map(|number| json!({ "const": number })).collect();
        let text = json!({ "type": "object", "properties": { "a": { "items": { "anyOf": branches } } } }).to_string();
        let schema = InputSchema::parse(&text).unwrap();
        let violations = |length: usize| schema.violations(&json!({ "a": vec![-1; length] }));
        assert!(violations(3)[0].starts_with("/a/0: "), "{:?}", violations(3));
        assert_eq!(violations(2_000), ["it is too large for a list of what is wrong"]);
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let schema =
            InputSchema::parse(r#"{ "type": "object", "additionalProperties": { "type": "string" } }"#).unwrap();
        let input: serde_json::Map<String, Value> = (0..50).map(|i| (format!("k{i}"), json!(i))).collect();
        let violations = schema.violations(&Value::Object(input));
        assert_eq!(
            (violations.len(), violations.last().unwrap().as_str()),
            (21, "and more")
        );
    }
}
