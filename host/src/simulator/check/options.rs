//! The rules of `stream`, `service_tier`, `stop_sequences`, `metadata` and `thinking`.

use serde_json::Value;

use super::{ApiError, Checked, integer, known_fields, one_of, optional, tagged};
use crate::messages_api::limits::MIN_THINKING_BUDGET;

pub(super) fn check(body: &Value) -> Checked {
    optional(&body["stream"], "stream", Value::is_boolean, "a valid boolean")?;
    one_of(&body["service_tier"], "service_tier", ["auto", "standard_only"])?;
    stop_sequences(&body["stop_sequences"])?;
    metadata(&body["metadata"])?;
    thinking(&body["thinking"])
}

fn stop_sequences(sequences: &Value) -> Checked {
    optional(sequences, "stop_sequences", Value::is_array, "a valid list")?;
    let sequences = sequences.as_array().map(Vec::as_slice).unwrap_or_default();
    for (index, sequence) in sequences.iter().enumerate() {
        let problem = match sequence.as_str() {
            None => format!("stop_sequences.{index}: Input should be a valid string"),
            Some("") => "stop_sequences: each stop sequence must be non-empty".to_owned(),
            Some(text) if text.trim().is_empty() => {
                "stop_sequences: each stop sequence must contain non-whitespace".to_owned()
            }
            Some(_) => continue,
        };
        return Err(ApiError::invalid(problem));
    }
    Ok(())
}

fn metadata(metadata: &Value) -> Checked {
    optional(metadata, "metadata", Value::is_object, "a valid dictionary")?;
    optional(
        &metadata["user_id"],
        "metadata.user_id",
        Value::is_string,
        "a valid string",
    )?;
    known_fields(metadata, &["user_id"], "metadata")
}

fn thinking(thinking: &Value) -> Checked {
    if thinking.is_null() {
        return Ok(());
    }
    let kind = tagged(thinking, "thinking", &["enabled", "disabled", "adaptive"])?;
    let at = format!("thinking.{kind}");
    let known = match kind {
        "enabled" => {
            integer(
                &thinking["budget_tokens"],
                &format!("{at}.budget_tokens"),
                MIN_THINKING_BUDGET,
            )?;
            &["type", "budget_tokens", "display"][..]
        }
        "adaptive" => &["type", "display"],
        _ => &["type"],
    };
    known_fields(thinking, known, &at)?;
    one_of(
        &thinking["display"],
        &format!("{at}.display"),
        ["summarized", "omitted"],
    )
}
