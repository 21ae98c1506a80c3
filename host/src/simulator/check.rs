//! Refuses what the real API refuses, with the same wording. Sources: the vendor's API reference and error pages, the types
//! of its SDKs, and the messages that users quote in public issue threads. Where the wording is unknown, ours follows the
//! same pattern. What depends on the model comes from the table in `models`.

mod blocks;
mod cache;
mod fields;
mod headers;
mod messages;
mod options;
mod sampling;
mod tool_changes;
mod tool_kinds;
mod tools;

use std::collections::HashSet;

use http::HeaderMap;
use serde_json::Value;

use super::error::ApiError;
use super::models::{self, Model};
use super::script::{ItemKind, Script};
use headers::Betas;
pub(super) use headers::{Version, headers};

type Checked = Result<(), ApiError>;

/// Which endpoint a request body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Run,
    CountTokens,
}

/// What the rules for one request depend on.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    purpose: Purpose,
    version: Version,
    betas: Betas<'a>,
    model: &'static Model,
    script: &'a ScriptFacts,
}

/// What a script lets the API accept.
#[derive(Debug, Default)]
pub(super) struct ScriptFacts {
    /// The script pauses a turn, which a client continues by sending the assistant's message back as the last one.
    pauses: bool,
    /// Signatures of thinking that the script sets itself.
    signatures: HashSet<String>,
}

impl ScriptFacts {
    pub(super) fn of(script: &Script) -> Self {
        let items = script.messages().flat_map(|message| &message.content);
        let signatures = items.filter_map(|item| match &item.kind {
            ItemKind::Thinking {
                signature: Some(signature),
                ..
            } => Some(signature.clone()),
            ItemKind::Block(block) => block["signature"].as_str().map(str::to_owned),
            _ => None,
        });
        Self {
            pauses: script
                .messages()
                .any(|message| message.stop_reason.as_deref() == Some("pause_turn")),
            signatures: signatures.filter(|signature| !signature.is_empty()).collect(),
        }
    }
}

impl<'a> Rules<'a> {
    pub(super) fn new(
        purpose: Purpose,
        version: Version,
        headers: &'a HeaderMap,
        body: &Value,
        script: &'a ScriptFacts,
    ) -> Self {
        Self {
            purpose,
            version,
            betas: Betas::of(headers),
            model: models::model(body["model"].as_str().unwrap_or_default()),
            script,
        }
    }
}

pub(super) fn parse(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body).map_err(|problem| {
        let words = problem.to_string();
        let words = words.split(" at line ").next().unwrap_or_default();
        let (line, column) = (problem.line(), problem.column());
        ApiError::invalid(format!(
            "The request body is not valid JSON: {words}: line {line} column {column}"
        ))
    })?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(ApiError::invalid("Input should be a valid dictionary"))
    }
}

/// Returns the first rule that a request breaks.
pub(super) fn body(body: &Value, rules: &Rules<'_>) -> Checked {
    sampling::check_version(body, rules)?;
    fields::check(body, rules)?;
    let name = required_text(&body["model"], "model")?;
    if rules.model.is_retired() {
        return Err(ApiError::new(404, format!("model: {name}")));
    }
    options::check(body, rules)?;
    sampling::check(body, rules)?;
    system(body, rules)?;
    tools::check(body, rules)?;
    messages::check(body, rules)?;
    tool_changes::check(body, rules)?;
    cache::check(body)
}

fn system(body: &Value, rules: &Rules<'_>) -> Checked {
    match &body["system"] {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(blocks) => blocks.iter().enumerate().try_for_each(|(index, block)| {
            let at = format!("system.{index}");
            if block["type"] != "text" {
                return Err(ApiError::invalid(format!("{at}.type: Input should be 'text'")));
            }
            match block["text"].as_str() {
                None => Err(ApiError::invalid(format!("{at}.text: Field required"))),
                Some(text) if text.trim().is_empty() => {
                    Err(ApiError::invalid("system: text content blocks must be non-empty"))
                }
                Some(_) => blocks::known(block, "text", &at, rules),
            }
        }),
        _ => Err(ApiError::invalid("system: Input should be a valid string")),
    }
}

fn extra(path: &str) -> ApiError {
    ApiError::invalid(format!("{path}: Extra inputs are not permitted"))
}

/// Refuses unknown fields of an object.
fn known_fields(value: &Value, known: &[&str], at: &str) -> Checked {
    let unknown = value
        .as_object()
        .and_then(|fields| fields.keys().find(|field| !known.contains(&field.as_str())));
    match unknown {
        Some(field) => Err(extra(&format!("{at}.{field}"))),
        None => Ok(()),
    }
}

/// Requires a non-empty string.
fn required_text<'a>(value: &'a Value, at: &str) -> Result<&'a str, ApiError> {
    match value {
        Value::Null => Err(ApiError::invalid(format!("{at}: Field required"))),
        Value::String(text) if text.is_empty() => Err(ApiError::invalid(format!(
            "{at}: String should have at least 1 character"
        ))),
        Value::String(text) => Ok(text),
        _ => Err(ApiError::invalid(format!("{at}: Input should be a valid string"))),
    }
}

/// Requires an integer of at least `least`.
fn integer(value: &Value, at: &str, least: u64) -> Checked {
    let problem = match (value, value.as_u64(), value.as_i64()) {
        (Value::Null, ..) => "Field required".to_owned(),
        (_, Some(number), _) if number >= least => return Ok(()),
        (_, Some(_), _) | (_, _, Some(_)) => format!("Input should be greater than or equal to {least}"),
        _ => "Input should be a valid integer".to_owned(),
    };
    Err(ApiError::invalid(format!("{at}: {problem}")))
}

fn optional(value: &Value, at: &str, is: impl Fn(&Value) -> bool, what: &str) -> Checked {
    if value.is_null() || is(value) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{at}: Input should be {what}")))
}

/// An optional field that must be one of some strings.
fn one_of(value: &Value, at: &str, allowed: &[&str]) -> Checked {
    let is = |value: &Value| allowed.iter().any(|allowed| value == allowed);
    let what = match allowed {
        [first @ .., last] if !first.is_empty() => format!("'{}' or '{last}'", first.join("', '")),
        _ => format!("'{}'", allowed.concat()),
    };
    optional(value, at, is, &what)
}

/// Requires an object whose `type` is one of `tags`, and returns it.
fn tagged<'a>(value: &'a Value, at: &str, tags: &[&str]) -> Result<&'a str, ApiError> {
    if !value.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    let tag = required_text(&value["type"], &format!("{at}.type"))?;
    if tags.contains(&tag) {
        return Ok(tag);
    }
    Err(ApiError::invalid(format!(
        "{at}: Input tag '{tag}' found using 'type' does not match any of the expected tags: '{}'",
        tags.join("', '")
    )))
}

#[cfg(test)]
mod tests;
