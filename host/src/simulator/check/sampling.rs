//! The rules of `temperature`, `top_p`, `top_k` and a forced `tool_choice`.

use serde_json::Value;

use super::{ApiError, Checked, Purpose, Rules, Version, extra};

const PARAMETERS: [&str; 3] = ["temperature", "top_p", "top_k"];

/// Since 2026-10-21 these fields don't exist, for any model and with any value.
pub(super) fn check_version(body: &Value, rules: &Rules<'_>) -> Checked {
    let sent = PARAMETERS.into_iter().find(|field| body.get(field).is_some());
    match sent {
        Some(field) if rules.version == Version::Current && rules.purpose == Purpose::Run => Err(extra(field)),
        _ => Ok(()),
    }
}

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    for field in PARAMETERS {
        match &body[field] {
            Value::Null => {}
            Value::Number(number) if !rules.model.accepts.sampling => {
                // `top_k` has no default that could be sent.
                let is_default = field != "top_k" && number.as_f64() == Some(1.0);
                if !is_default {
                    return Err(ApiError::invalid(format!("`{field}` is deprecated for this model.")));
                }
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
    if !matches!(choice, "any" | "tool") {
        return Ok(());
    }
    if !rules.model.accepts.forced_tool {
        return Err(ApiError::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ));
    }
    if body["thinking"]["type"] == "enabled" {
        return Err(ApiError::invalid(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    Ok(())
}
