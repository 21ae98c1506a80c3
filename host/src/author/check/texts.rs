//! What a reviewer can say about a tool without calling it.

use serde_json::Value;

use super::report::Finding;
use crate::tools::Tool;
use crate::untrusted::is_hidden;

/// The fewest words of a description that can say what a tool does, when to use it and what it can't do.
const FEW_WORDS: usize = 4;

/// What is wrong with a tool's texts, schema and annotations.
pub(super) fn review(tool: &Tool, schema: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut warn = |code, text: String| findings.push(Finding::warning(code, text).of(&tool.name));
    let claimed = tool.claimed_description.raw();
    if claimed.trim().is_empty() {
        warn(
            "no_description",
            "it has no description, so a model can only guess from its name".to_owned(),
        );
    } else if claimed.split_whitespace().count() < FEW_WORDS {
        warn(
            "short_description",
            "its description has fewer than 4 words; say what it does, when to use it and what it can't do".to_owned(),
        );
    }
    let is_hidden = |character: char| is_hidden(character) && !matches!(character, '\n' | '\r' | '\t');
    if let Some(hidden) = claimed
        .chars()
        .chain(tool.input_schema().chars())
        .find(|c| is_hidden(*c))
    {
        warn(
            "hidden_characters",
            format!(
                "its texts contain an invisible character ({}), which could hide instructions from a person",
                hidden.escape_unicode()
            ),
        );
    }
    let properties: Vec<(&String, &Value)> = schema["properties"].as_object().into_iter().flatten().collect();
    let undescribed: Vec<&str> = properties
        .iter()
        .filter(|(_, schema)| schema["description"].as_str().is_none_or(str::is_empty) && schema.get("enum").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    if !undescribed.is_empty() {
        warn(
            "undescribed_parameters",
            format!("no description says what to pass as {}", undescribed.join(", ")),
        );
    }
    if schema["additionalProperties"] != Value::Bool(false) {
        warn(
            "unknown_parameters",
            "its schema accepts parameters that it doesn't name, so a model isn't corrected when it misspells one; \
             add `\"additionalProperties\": false`"
                .to_owned(),
        );
    }
    let claims = tool.annotations;
    if claims.read_only && claims.destructive {
        warn(
            "contradictory_claims",
            "it claims to be read-only and destructive, which can't both be true".to_owned(),
        );
    }
    findings
}
