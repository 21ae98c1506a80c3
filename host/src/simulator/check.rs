//! Refuses what the real API refuses, with the same wording. Sources: the vendor's API reference and error pages, and the
//! messages that users quote in public issue threads. Where the wording is unknown, ours follows the same pattern.

mod cache;
mod messages;
mod options;
mod tools;

use http::HeaderMap;
use serde_json::Value;

use super::error::ApiError;
use crate::messages_api::headers::{API_KEY, VERSION, VERSIONS};

/// Every top-level field that the API knows.
const FIELDS: [&str; 23] = [
    "model",
    "messages",
    "max_tokens",
    "system",
    "tools",
    "tool_choice",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "thinking",
    "service_tier",
    "container",
    "context_management",
    "mcp_servers",
    "output_config",
    "output_format",
    "inference_geo",
    "speed",
    "cache_control",
    "user_profile_id",
];

/// The fields that `count_tokens` doesn't accept.
const RUN_FIELDS: [&str; 9] = [
    "max_tokens",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "metadata",
    "service_tier",
    "container",
];

type Checked = Result<(), ApiError>;

/// Which endpoint a request body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Run,
    CountTokens,
}

pub(super) fn headers(headers: &HeaderMap, has_body: bool) -> Checked {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .trim()
    };
    if text(API_KEY).is_empty() {
        return Err(ApiError::new(401, format!("{API_KEY} header is required")));
    }
    match text(VERSION) {
        "" => return Err(ApiError::invalid(format!("{VERSION}: header is required"))),
        known if VERSIONS.contains(&known) => {}
        other => {
            return Err(ApiError::invalid(format!(
                "{VERSION}: \"{other}\" is not a valid version"
            )));
        }
    }
    let media_type = text("content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if has_body && media_type != "application/json" {
        return Err(ApiError::invalid("content-type: header must be application/json"));
    }
    Ok(())
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
pub(super) fn body(body: &Value, purpose: Purpose) -> Checked {
    let Some(fields) = body.as_object() else {
        return Err(ApiError::invalid("Input should be a valid dictionary"));
    };
    for field in fields.keys() {
        let known = FIELDS.contains(&field.as_str());
        let run_only = purpose == Purpose::CountTokens && RUN_FIELDS.contains(&field.as_str());
        if !known || run_only {
            return Err(extra(field));
        }
    }
    required_text(&body["model"], "model")?;
    if purpose == Purpose::Run {
        integer(&body["max_tokens"], "max_tokens", 1)?;
    }
    options::check(body)?;
    sampling(body)?;
    system(body)?;
    tools::check(body)?;
    messages::check(body)?;
    cache::check(body)
}

fn sampling(body: &Value) -> Checked {
    let is_restricted = body["model"].as_str().is_some_and(refuses_sampling);
    for field in ["temperature", "top_p", "top_k"] {
        match &body[field] {
            Value::Null => {}
            Value::Number(_) if is_restricted => {
                return Err(ApiError::invalid(format!("`{field}` is deprecated for this model.")));
            }
            Value::Number(number) if field != "top_k" => {
                if !number.as_f64().is_some_and(|number| (0.0..=1.0).contains(&number)) {
                    return Err(ApiError::invalid(format!("{field}: range: 0..1")));
                }
            }
            Value::Number(_) => {}
            _ => return Err(ApiError::invalid(format!("{field}: Input should be a valid number"))),
        }
    }
    let choice = body["tool_choice"]["type"].as_str().unwrap_or_default();
    if is_restricted && matches!(choice, "any" | "tool") {
        return Err(ApiError::invalid(
            "tool_choice: forced tool use is not supported by this model",
        ));
    }
    Ok(())
}

/// Whether a model refuses sampling parameters and forced tool use: Opus from 4.7, Sonnet and Haiku from 5, and all newer
/// families. Names without the vendor's prefix are never refused.
fn refuses_sampling(model: &str) -> bool {
    let Some(name) = model.strip_prefix("claude-") else {
        return false;
    };
    let mut parts = name.split('-');
    let family = parts.next().unwrap_or_default();
    // A part of eight digits is a date, not a version.
    let mut version = parts.map_while(|part| part.parse::<u32>().ok().filter(|number| *number < 1_000));
    let version = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    match family {
        "opus" => version >= (4, 7),
        "sonnet" | "haiku" => version >= (5, 0),
        // `claude-3-5-sonnet-…` and older put the version first.
        _ => family.parse::<u32>().is_err() && !matches!(family, "instant" | "v1" | "2.0" | "2.1"),
    }
}

fn system(body: &Value) -> Checked {
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
                Some(_) => known_fields(block, &["type", "text", "cache_control", "citations"], &at),
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

/// An optional field that must be one of two strings.
fn one_of(value: &Value, at: &str, [one, other]: [&str; 2]) -> Checked {
    let is = |value: &Value| value == one || value == other;
    optional(value, at, is, &format!("'{one}' or '{other}'"))
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
