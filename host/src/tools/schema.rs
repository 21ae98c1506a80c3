//! The JSON Schema of a tool's input. It is untrusted: compiled without fetching anything, then checked against every input.

use std::sync::Arc;

use jsonschema::error::{TypeKind, ValidationErrorKind as ErrorKind};
use jsonschema::{Draft, JsonType, PatternOptions, ValidationError, ValidationOptions, Validator};
use serde_json::Value;

use super::integers::with_integers;
use super::schema_bounds::{self, Cost};
use crate::json_text::{Json, object, parse_unique};
use crate::transcript::ToolInput;
use crate::untrusted::{Untrusted, display_untrusted};

/// Bytes of a schema's text. The host sets this bound, not the contract.
const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// Bytes of one compiled pattern.
pub(super) const PATTERN_BYTES: usize = 64 * 1024;
/// The most steps of a check that runs inline, on the call's async thread: a few milliseconds.
pub(super) const MAX_INLINE_STEPS: u64 = 500_000;
/// The most steps of any check: about a second. Larger inputs are refused.
pub(super) const MAX_STEPS: u64 = 200_000_000;
/// The most steps of a check that lists its violations, because each takes about a hundred bytes.
const MAX_LISTED_STEPS: u64 = 500_000;
/// Violations that are listed. `and more` stands for the rest.
const MAX_VIOLATIONS: usize = 20;
/// Characters of one violation.
const MAX_VIOLATION_CHARS: usize = 300;

#[derive(Debug)]
pub(super) struct InputSchema {
    /// The component's own JSON text, without blanks: models read and answer the properties in this order.
    pub(super) text: Arc<str>,
    document: Value,
    validator: Validator,
    cost: Cost,
}

impl InputSchema {
    /// Parses and compiles a schema.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_SCHEMA_BYTES {
            return Err(format!("its input schema has more than {MAX_SCHEMA_BYTES} bytes"));
        }
        let not_json = |error: serde_json::Error| format!("its input schema is not JSON: {error}");
        let mut document = parse_unique(text).map_err(not_json)?;
        if document.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the root of its input schema doesn't say \"type\": \"object\"".to_owned());
        }
        // The Messages API refuses every request with a tool that uses these at the root. It accepts them elsewhere.
        if let Some(keyword) = ["oneOf", "anyOf", "allOf"]
            .into_iter()
            .find(|keyword| document.get(keyword).is_some())
        {
            return Err(format!(
                "the root of its input schema uses {keyword}, which models don't accept there"
            ));
        }
        // The Messages API refuses other property names as well.
        let properties = document.get("properties").and_then(Value::as_object);
        if let Some(name) = properties.and_then(|properties| properties.keys().find(|name| !is_property_name(name))) {
            return Err(format!(
                "its input schema has a property `{}`; models accept 1 to 64 of the characters a-z A-Z 0-9 _ . -",
                Untrusted::from(name.as_str()).display()
            ));
        }
        let cost = schema_bounds::cost(&document)?;
        // The Messages API reads every schema as draft 2020-12, whatever its `$schema`.
        if let Some(root) = document.as_object_mut() {
            root.remove("$schema");
        }
        let text = object(
            Json::parse(text)
                .map_err(not_json)?
                .fields()
                .filter(|field| !field.is("$schema")),
        );
        let text = Json::parse(&text).map_err(not_json)?.minified().into();
        let validator = options(PATTERN_BYTES).build(&document).map_err(|error| {
            let reason = display_untrusted(&error.to_string(), MAX_VIOLATION_CHARS);
            format!("its input schema is not usable: {reason}")
        })?;
        Ok(Self {
            text,
            document,
            validator,
            cost,
        })
    }

    /// The most steps that checking an input of this size can take.
    pub(super) fn max_steps(&self, input_bytes: usize) -> u64 {
        (self.cost.steps as u64).saturating_mul(input_bytes as u64)
    }

    /// Regular expressions that the schema keeps compiled.
    pub(super) fn patterns(&self) -> usize {
        self.cost.patterns
    }

    /// Checks an input. Returns what the tool receives where that differs from what the model sent, or the violations.
    pub(super) fn check(&self, input: &ToolInput) -> Result<Option<ToolInput>, Vec<String>> {
        match self.violations(input.value()) {
            violations if violations.is_empty() => {
                Ok(with_integers(input.text(), &self.document).map(|text| ToolInput::read(&text)))
            }
            violations => Err(violations),
        }
    }

    /// The violations of the schema, each with its JSON pointer, up to [`MAX_VIOLATIONS`].
    pub(super) fn violations(&self, input: &Value) -> Vec<String> {
        if self.validator.is_valid(input) {
            return Vec::new();
        }
        // Every branch that doesn't match yields an error with a copy of the value.
        if self.max_steps(input.to_string().len()) > MAX_LISTED_STEPS {
            return vec!["the input is too large to list its violations".to_owned()];
        }
        let mut errors = self.validator.iter_errors(input);
        let mut violations: Vec<String> = errors
            .by_ref()
            .take(MAX_VIOLATIONS)
            .map(|error| violation(&error))
            .collect();
        if errors.next().is_some() {
            violations.push("and more".to_owned());
        }
        violations
    }
}

/// A violation and its JSON pointer.
fn violation(error: &ValidationError<'_>) -> String {
    let (ErrorKind::AnyOf { context } | ErrorKind::OneOfNotValid { context }) = error.kind() else {
        return at(error, &error.to_string());
    };
    if let Some(meant) = of_optional(context) {
        return match is_other_type(meant, error) {
            true => at(meant, &format!("{} or null", shorten(&meant.to_string()))),
            false => violation(meant),
        };
    }
    of_tagged(error, context).unwrap_or_else(|| at(error, &error.to_string()))
}

fn at(error: &ValidationError<'_>, text: &str) -> String {
    let text = shorten(text);
    match error.instance_path().as_str() {
        "" => text,
        // The pointer consists of the input's keys, so it is as long as the model made them.
        pointer => format!("{}: {text}", shorten(pointer)),
    }
}

/// Whether the value at the place of `whole` is of another type.
fn is_other_type(error: &ValidationError<'_>, whole: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ErrorKind::Type { .. }) && error.instance_path() == whole.instance_path()
}

/// What is wrong with a value that has one of several forms, each with a constant of its own: something in the form that it has, or the
/// constant itself.
fn of_tagged(whole: &ValidationError<'_>, branches: &[Vec<ValidationError<'static>>]) -> Option<String> {
    // A form of another type isn't the one that was meant.
    let forms: Vec<_> = branches
        .iter()
        .filter(|errors| !matches!(&errors[..], [one] if is_other_type(one, whole)))
        .collect();
    let tags: Vec<_> = forms.iter().map(|errors| tag(errors)).collect();
    let mut known = tags.iter().flatten();
    let first = known.clone().next();
    let are_alike = first.is_some_and(|(error, _)| {
        error.instance_path() != whole.instance_path()
            && known.all(|(other, _)| other.instance_path() == error.instance_path())
    });
    let mut untagged = forms.iter().zip(&tags).filter(|(_, tag)| tag.is_none());
    match (first, untagged.next(), untagged.next()) {
        (Some((error, _)), None, _) if are_alike => {
            let values: Vec<&str> = tags.iter().flatten().map(|(_, value)| value.as_str()).collect();
            let text = format!("{} is none of {}", error.instance(), values.join(", "));
            Some(at(error, &text))
        }
        // The one whose constant is there is meant.
        (Some(_), Some((errors, _)), None) if are_alike => errors.first().map(violation),
        // Nothing says which. Something may be wrong with it in every form.
        _ => {
            let listed =
                |errors: &Vec<ValidationError<'static>>| errors.iter().take(MAX_VIOLATIONS).map(violation).collect();
            let common = branches
                .iter()
                .map(listed)
                .reduce(|common: Vec<String>, texts| common.into_iter().filter(|text| texts.contains(text)).collect());
            common?.into_iter().next()
        }
    }
}

/// Where a constant should be that isn't there, and which.
fn tag<'a>(errors: &'a [ValidationError<'static>]) -> Option<(&'a ValidationError<'static>, String)> {
    errors.iter().find_map(|error| match error.kind() {
        ErrorKind::Constant { expected_value } => Some((error, expected_value.to_string())),
        _ => None,
    })
}

/// What is wrong with an optional value. Its schema has two branches, of which one accepts null; the other one is meant.
fn of_optional<'a>(context: &'a [Vec<ValidationError<'static>>]) -> Option<&'a ValidationError<'static>> {
    let is_null = |errors: &[ValidationError<'_>]| match errors {
        [one] => matches!(
            one.kind(),
            ErrorKind::Type {
                kind: TypeKind::Single(JsonType::Null)
            }
        ),
        _ => false,
    };
    match context {
        [errors, null] | [null, errors] if is_null(null) && !is_null(errors) => errors.first(),
        _ => None,
    }
}

/// How schemas are compiled. Patterns are untrusted, so they use the engine without backtracking: linear time on every input.
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
    fn every_violation_has_a_json_pointer() {
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
    fn a_violation_of_an_optional_value_says_what_was_meant() {
        let optional = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
        let properties = json!({
            "path": optional(json!({ "type": "string" })),
            "count": { "anyOf": [{ "type": "null" }, { "type": "integer", "maximum": 255 }] },
            "pair": optional(json!({ "type": "object", "properties": { "a": { "type": "string" } } })),
            "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
        });
        let schema = InputSchema::parse(&json!({ "type": "object", "properties": properties }).to_string()).unwrap();
        for (input, violation) in [
            (json!({ "path": 5 }), r#"/path: 5 is not of type "string" or null"#),
            (
                json!({ "count": 256 }),
                "/count: 256 is greater than the maximum of 255",
            ),
            (json!({ "pair": { "a": 1 } }), r#"/pair/a: 1 is not of type "string""#),
            (
                json!({ "either": true }),
                "/either: true is not valid under any of the schemas listed in the 'anyOf' keyword",
            ),
        ] {
            assert_eq!(schema.violations(&input), [violation]);
        }
        assert!(schema.violations(&json!({ "path": null, "count": 255 })).is_empty());
    }

    #[test]
    fn a_violation_of_one_of_several_forms_says_what_was_meant() {
        let form = |tag: &str, value: Value| {
            json!({ "type": "object", "properties": { "tag": { "const": tag }, "value": value }, "required": ["tag", "value"],
                "additionalProperties": false })
        };
        let inner =
            json!({ "oneOf": [form("a", json!({ "type": "string" })), form("b", json!({ "type": "integer" }))] });
        let figure = json!({ "oneOf": [form("circle", json!({ "type": "number" })), form("square", inner)] });
        let schema = json!({ "type": "object", "properties": { "figure": figure } });
        let schema = InputSchema::parse(&schema.to_string()).unwrap();
        let nothing = json!({ "type": "null" });
        let others = json!({
            "flat": { "anyOf": [form("a", json!({})), form("b", json!({})), nothing] },
            "auto": { "anyOf": [{ "const": "auto" }, { "type": "object" }] },
            "word": { "anyOf": [{ "type": "string" }, form("a", json!({})), form("b", json!({}))] },
        });
        let others = InputSchema::parse(&json!({ "type": "object", "properties": others }).to_string()).unwrap();
        for (input, violation) in [
            (
                json!({ "flat": { "tag": "c", "value": 1 } }),
                r#"/flat/tag: "c" is none of "a", "b""#,
            ),
            (
                json!({ "auto": "atuo" }),
                r#"/auto: "atuo" is not valid under any of the schemas listed in the 'anyOf' keyword"#,
            ),
            (
                json!({ "word": { "tag": "c", "value": 1 } }),
                r#"/word/tag: "c" is none of "a", "b""#,
            ),
        ] {
            assert_eq!(others.violations(&input), [violation]);
        }
        for (figure, violation) in [
            (
                json!({ "tag": "cirle", "value": 1 }),
                r#"/figure/tag: "cirle" is none of "circle", "square""#,
            ),
            (
                json!({ "tag": "circle", "value": "1" }),
                r#"/figure/value: "1" is not of type "number""#,
            ),
            (json!({ "tag": "circle" }), r#"/figure: "value" is a required property"#),
            (json!({ "value": 1 }), r#"/figure: "tag" is a required property"#),
            (json!(5), r#"/figure: 5 is not of type "object""#),
            (
                json!({ "tag": "square", "value": { "tag": "c", "value": 1 } }),
                r#"/figure/value/tag: "c" is none of "a", "b""#,
            ),
            (
                json!({ "tag": "square", "value": { "tag": "b", "value": 1.5 } }),
                r#"/figure/value/value: 1.5 is not of type "integer""#,
            ),
        ] {
            assert_eq!(schema.violations(&json!({ "figure": figure })), [violation]);
        }
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
            // The Messages API would refuse these.
            r#"{ "type": "object", "properties": { "a b": {} } }"#,
            r#"{ "type": "object", "properties": { "": {} } }"#,
            // The validator would check one of the two, and the model might follow the other.
            r#"{ "type": "object", "properties": { "a": { "type": "string" }, "a": { "type": "integer" } } }"#,
            r#"{ "type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "properties": { "a": { "items": [{}] } } }"#,
        ] {
            assert!(InputSchema::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_text_of_a_schema_keeps_order_and_digits() {
        let text = r#" { "type": "object", "\u0024schema": "https://json-schema.org/draft/2020-12/schema", "properties": {
            "reasoning": { "type": "string", "description": "a  b" }, "confidence": { "maximum": 1.0, "minimum": 1e-3 }, "answer": {} } } "#;
        let schema = InputSchema::parse(text).unwrap();
        assert_eq!(
            &*schema.text,
            r#"{"type":"object","properties":{"reasoning":{"type":"string","description":"a  b"},"confidence":{"maximum":1.0,"minimum":1e-3},"answer":{}}}"#
        );
    }

    #[test]
    fn a_checked_input_has_integers_where_the_schema_has() {
        let schema = InputSchema::parse(SCHEMA).unwrap();
        let check = |text: &str| schema.check(&ToolInput::read(text));
        let rewritten = check(r#"{"b":"x","a":1e3}"#).unwrap().unwrap();
        assert_eq!(rewritten.text(), r#"{"b":"x","a":1000}"#);
        assert_eq!(
            rewritten.value()["a"].as_u64(),
            Some(1000),
            "a policy sees the same number"
        );
        assert_eq!(check(r#"{"b":"x","a":12345678901234567890123}"#), Ok(None));
        assert!(check(r#"{"b":"x","a":1.5}"#).is_err());
    }

    /// Times the check of the longest accepted input that `text`, repeated, makes.
    fn time_longest_check(schema: &Value, input: impl Fn(&str) -> Value, text: &str) -> Duration {
        let schema = InputSchema::parse(&schema.to_string()).unwrap();
        let input = |times: usize| input(&text.repeat(times));
        let steps = |times: usize| schema.max_steps(input(times).to_string().len());
        let mut times = 1;
        while steps(times * 2) <= MAX_STEPS {
            times *= 2;
        }
        let input = input(times);
        let started = Instant::now();
        schema.violations(&input);
        started.elapsed()
    }

    /// The full automaton of such a pattern has more states than the universe has atoms.
    #[test]
    fn the_worst_patterns_take_no_longer_than_estimated() {
        let patterns: Vec<Value> = (0..32)
            .map(|less| json!({ "pattern": format!("a[ab]{{{}}}c", 840 - less) }))
            .collect();
        let one = json!({ "type": "object", "properties": { "a": patterns[0] } });
        let all = json!({ "type": "object", "properties": { "a": { "anyOf": patterns } } });
        // Pseudorandom.
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
            let took = time_longest_check(&schema, |text| json!({ "a": text }), &text);
            assert!(took < Duration::from_secs(5), "{took:?}");
        }
    }

    #[test]
    fn divisions_take_no_longer_than_estimated() {
        for (divisor, number) in [(json!(1.1), 1.7e308), (json!(9_007_199_254_740_991_u64), 1e300)] {
            let divisions: Vec<Value> = (0..900).map(|_| json!({ "multipleOf": divisor })).collect();
            let schema =
                json!({ "type": "object", "properties": { "a": { "items": { "not": { "anyOf": divisions } } } } });
            let numbers = |text: &str| json!({ "a": text.chars().map(|_| number).collect::<Vec<_>>() });
            let took = time_longest_check(&schema, numbers, "x");
            assert!(took < Duration::from_secs(5), "{divisor}: {took:?}");
        }
    }

    /// Many branches times a long input would make gigabytes of errors.
    #[test]
    fn violations_of_a_large_input_are_not_listed() {
        let branches: Vec<Value> = (0..400).map(|number| json!({ "const": number })).collect();
        let text = json!({ "type": "object", "properties": { "a": { "items": { "anyOf": branches } } } }).to_string();
        let schema = InputSchema::parse(&text).unwrap();
        let violations = |length: usize| schema.violations(&json!({ "a": vec![-1; length] }));
        assert!(violations(3)[0].starts_with("/a/0: "), "{:?}", violations(3));
        assert_eq!(violations(2_000), ["the input is too large to list its violations"]);
    }

    #[test]
    fn long_lists_of_violations_are_truncated() {
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
