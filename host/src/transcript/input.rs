//! The input of a tool call.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::json_text::{Json, parse_unique};

/// Characters of an unusable input that its [problem](ToolInput::problem) quotes.
const QUOTED_CHARS: usize = 200;

/// The input of a tool call: the model's own text, and the value that it was parsed to, once. Clones share both.
///
/// The text is what the tool receives and what later requests send back: the order of its fields and the digits of its
/// numbers are the model's. Checks and displays use the value. It sorts fields, and rounds a number that needs more than 64
/// bits to an `f64`.
#[derive(Clone)]
pub struct ToolInput {
    value: Arc<Value>,
    text: Arc<str>,
    problem: Option<Arc<str>>,
}

impl ToolInput {
    /// Reads what a model sent as an input. Never fails: anything but one JSON object becomes an [invalid](Self::invalid)
    /// input, which no tool receives.
    ///
    /// Some gateways send nothing or null for an input without fields, and an object inside a string. Both are read as
    /// objects. An object with two fields of the same name is refused, because the tool could read another one than the one
    /// that was checked.
    pub fn read(sent: &str) -> Self {
        match object(sent) {
            Ok(input) => input,
            Err(problem) => Self::invalid(format!("{problem}. It begins with: {}", quoted(sent))),
        }
    }

    /// An input that can't be used. Its text and value are an empty object, because an API accepts nothing else back.
    pub fn invalid(problem: impl Into<Arc<str>>) -> Self {
        Self {
            problem: Some(problem.into()),
            ..Self::from(Value::Object(serde_json::Map::new()))
        }
    }

    /// Why the input can't be used, if so: what is wrong, where, and how the input begins. The call must be answered with it
    /// and not be made.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value, shared without a copy.
    pub fn shared_value(&self) -> Arc<Value> {
        Arc::clone(&self.value)
    }

    /// The JSON text that the tool receives and that later requests send back to the model.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The beginning of a text, with control and invisible characters escaped. Quotes and backslashes stay, because they may be
/// what is wrong.
fn quoted(sent: &str) -> String {
    let mut quoted = String::new();
    for (count, character) in sent.chars().enumerate() {
        match character {
            _ if count == QUOTED_CHARS => {
                quoted.push('…');
                break;
            }
            '"' | '\'' | '\\' => quoted.push(character),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    quoted
}

fn object(sent: &str) -> Result<ToolInput, String> {
    if sent.trim().is_empty() {
        return Ok(ToolInput::from(Value::Object(serde_json::Map::new())));
    }
    let parse = |text: &str| parse_unique(text).map_err(|error| error.to_string());
    match parse(sent)? {
        Value::Null => object(""),
        Value::String(inner) if inner.trim().is_empty() => object(""),
        Value::String(inner) => parsed(
            &inner,
            parse(&inner).map_err(|error| format!("it is a string, and inside it: {error}"))?,
        ),
        value => parsed(sent, value),
    }
}

fn parsed(text: &str, value: Value) -> Result<ToolInput, String> {
    let kind = match &value {
        Value::Object(_) => {
            let text = Json::parse(text).map_err(|error| error.to_string())?.text();
            return Ok(ToolInput {
                value: Arc::new(value),
                text: text.into(),
                problem: None,
            });
        }
        Value::Array(_) => "an array",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Null => "null",
    };
    Err(format!("it is {kind}"))
}

impl From<Value> for ToolInput {
    fn from(value: Value) -> Self {
        Self {
            text: value.to_string().into(),
            value: Arc::new(value),
            problem: None,
        }
    }
}

/// Compares the values, not the texts: order and blanks make no difference, digits do.
impl PartialEq for ToolInput {
    fn eq(&self, other: &Self) -> bool {
        let is_same = self.text == other.text || (self.value == other.value && !has_long_number(&self.text));
        is_same && self.problem == other.problem
    }
}

/// Whether a number may have more digits than its value, so that two different ones can have the same value.
fn has_long_number(text: &str) -> bool {
    let mut runs = text.as_bytes().split(|byte| !byte.is_ascii_digit() && *byte != b'.');
    runs.any(|run| run.len() > 15)
}

impl fmt::Debug for ToolInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.problem().unwrap_or(&self.text))
    }
}

impl fmt::Display for ToolInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn clones_share_value_and_text() {
        let input = ToolInput::from(json!({ "b": 1, "a": [true] }));
        let clone = input.clone();
        assert!(std::ptr::eq(input.value(), clone.value()) && std::ptr::eq(input.text(), clone.text()));
        assert_eq!(input.text(), r#"{"a":[true],"b":1}"#);
        assert_eq!(input, ToolInput::from(json!({ "a": [true], "b": 1 })));
    }

    #[test]
    fn inputs_that_differ_in_digits_are_different() {
        let [one, two] = ["1", "2"].map(|last| ToolInput::read(&format!("{{\"id\":1234567890123456789012{last}}}")));
        assert_eq!(one.value(), two.value(), "both are rounded");
        assert_ne!(one, two);
        assert_eq!(one, one.clone());
        assert_eq!(
            ToolInput::read(r#"{"a":1,"b":1.0}"#),
            ToolInput::read(r#"{ "b": 1.0, "a": 1 }"#)
        );
    }

    #[test]
    fn the_models_order_digits_and_spelling_stay() {
        let text =
            r#"{"reasoning": "\u00fc/\/", "confidence":1.0,  "answer":12345678901234567890123, "a":{"z":1,"y":1e3}}"#;
        let input = ToolInput::read(&format!(" {text}\n"));
        assert_eq!((input.text(), input.problem()), (text, None));
        assert_eq!(input.value()["reasoning"], "ü//");
    }

    #[test]
    fn what_gateways_send_for_an_object_is_read_as_one() {
        for sent in ["", " \n", "null", "\"\"", "{}", "\"{}\""] {
            let input = ToolInput::read(sent);
            assert_eq!((input.text(), input.problem()), ("{}", None), "{sent}");
        }
        assert_eq!(
            ToolInput::read(r#""{\"b\": 1.0, \"a\": 2}""#).text(),
            r#"{"b": 1.0, "a": 2}"#
        );
    }

    #[test]
    fn anything_else_is_an_empty_object_with_a_problem() {
        for (sent, problem) in [
            (
                "{\"a\": \"\t\"}",
                "control character (\\u0000-\\u001F) found while parsing a string at line 1 column",
            ),
            (r#"{"a": "\d"}"#, "invalid escape at line 1 column 9"),
            (r#"{"a": "\ud83d"}"#, "hex escape at line 1 column"),
            ("{\"a\": ", "EOF while parsing a value at line 1 column 6"),
            ("{} {}", "trailing characters at line 1 column 4"),
            ("[1]", "it is an array"),
            ("true", "it is a boolean"),
            (r#"{"a": 1e400}"#, "number out of range at line 1 column"),
            (r#"{"a": 1, "a": 2}"#, "a second field `a` at line 1 column"),
            ("\"[1]\"", "it is an array"),
            ("\"\\\"{}\\\"\"", "it is a string"),
            (
                "\"hello\"",
                "it is a string, and inside it: expected value at line 1 column 1",
            ),
        ] {
            let input = ToolInput::read(sent);
            let found = input.problem().unwrap();
            assert!(found.starts_with(problem) || found.contains(problem), "{sent}: {found}");
            assert!(found.contains(". It begins with: "), "{found}");
            assert_eq!((input.text(), input.value()), ("{}", &json!({})));
            assert_ne!(
                input,
                ToolInput::read("{}"),
                "a call that isn't made is no call with an empty input"
            );
        }
    }

    #[test]
    fn the_quote_of_a_problem_is_bounded_and_escaped() {
        let input = ToolInput::read(&format!("{{\"a\": \"\u{1b}[2J\n{}", "x".repeat(1_000_000)));
        let problem = input.problem().unwrap();
        assert!(
            problem.len() < 10 * QUOTED_CHARS && problem.ends_with('…'),
            "{}",
            problem.len()
        );
        assert!(
            problem.contains("{\"a\": \"\\u{1b}[2J\\nxxx") && !problem.contains(char::is_control),
            "{problem}"
        );
    }
}
