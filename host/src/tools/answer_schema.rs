//! The JSON Schema of a run's answer. The caller sets it, and the model's answer is untrusted.

use std::sync::Arc;

use super::schema::{InputSchema, MAX_STEPS};
use crate::json_text::parse_unique;

/// What a run's answer must be: an object that matches a JSON Schema (draft 2020-12, at most 64 KiB).
#[derive(Debug)]
pub struct AnswerSchema(InputSchema);

impl AnswerSchema {
    /// # Errors
    ///
    /// It isn't a schema of an object, or models don't accept it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        InputSchema::parse(text)
            .map(Self)
            .map_err(|problem| problem.replace("its input schema", "the schema"))
    }

    /// JSON text, without blanks.
    pub fn text(&self) -> &Arc<str> {
        &self.0.text
    }

    /// The JSON text of an answer that matches: all of it, or what is in its only code block.
    ///
    /// # Errors
    ///
    /// What is wrong with it, for the model.
    pub fn check(&self, answer: &str) -> Result<String, Vec<String>> {
        let json = unfenced(answer.trim());
        if self.0.max_steps(json.len()) > MAX_STEPS {
            return Err(vec!["the answer is too large to be checked".to_owned()]);
        }
        let value = parse_unique(json).map_err(|error| vec![format!("it is not JSON: {error}")])?;
        if !value.is_object() {
            return Err(vec!["it is not a JSON object".to_owned()]);
        }
        match self.0.violations(&value) {
            violations if violations.is_empty() => Ok(json.to_owned()),
            violations => Err(violations),
        }
    }
}

/// What the code block of a text that has nothing else contains: models like to add the fence.
fn unfenced(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    let inner = inner.and_then(|inner| inner.split_once('\n'));
    match inner {
        Some((language, code)) if !language.contains(['{', '"']) => code.trim(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SCHEMA: &str = r#"{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}"#;

    #[test]
    fn an_answer_is_its_json() {
        let schema = AnswerSchema::parse(SCHEMA).unwrap();
        for answer in [
            r#"{"n": 1}"#,
            "\n {\"n\": 1} \n",
            "```json\n{\"n\": 1}\n```",
            "```\n{\"n\": 1}\n```",
        ] {
            assert_eq!(schema.check(answer).as_deref(), Ok(r#"{"n": 1}"#), "{answer}");
        }
        for answer in [
            "",
            "one",
            r#"{"n": "1"}"#,
            r#"{"n": 1"#,
            "[1]",
            "Here: {\"n\": 1}",
            r#"{"n": 1} {"n": 2}"#,
        ] {
            let violations = schema.check(answer).unwrap_err();
            assert!(!violations.is_empty(), "{answer}");
        }
        // What a tool's input may be is no answer.
        for answer in [r#""{\"n\": 1}""#, "null", "```\n```", r#"{"n": 1, "n": 2}"#] {
            assert!(schema.check(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn only_a_schema_of_an_object_is_one() {
        for (schema, why) in [
            ("{", "the schema is not JSON"),
            (r#"{"type": "string"}"#, "the root of the schema"),
        ] {
            let error = AnswerSchema::parse(schema).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
