//! The rules of `max_tokens`, `stream`, `service_tier`, `speed`, `stop_sequences`, `metadata`, `diagnostics`,
//! `output_config` and `thinking`.

use serde_json::Value;

use super::{ApiError, Checked, Purpose, Rules, extra, integer, known_fields, one_of, optional, tagged};
use crate::messages_api::limits::MIN_THINKING_BUDGET;

/// The levels of effort that thinking can't be turned off at.
const HIGHEST_EFFORTS: [&str; 2] = ["xhigh", "max"];

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    if rules.purpose == Purpose::Run {
        max_tokens(&body["max_tokens"], rules)?;
    }
    optional(&body["stream"], "stream", Value::is_boolean, "a valid boolean")?;
    one_of(&body["service_tier"], "service_tier", &["auto", "standard_only"])?;
    one_of(&body["speed"], "speed", &["standard", "fast"])?;
    stop_sequences(&body["stop_sequences"])?;
    text_fields(body, "metadata", "user_id")?;
    text_fields(body, "diagnostics", "previous_message_id")?;
    output_config(&body["output_config"], rules)?;
    thinking(body, rules)
}

/// Zero is allowed: it fills the cache and generates nothing.
fn max_tokens(value: &Value, rules: &Rules<'_>) -> Checked {
    integer(value, "max_tokens", 0)?;
    let most = rules.model.max_output_tokens;
    match value.as_u64() {
        Some(number) if number > most => Err(ApiError::invalid(format!(
            "max_tokens: {number} > {most}, which is the maximum allowed number of output tokens for {}",
            rules.model.id
        ))),
        _ => Ok(()),
    }
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

/// An optional object with one optional text.
fn text_fields(body: &Value, name: &str, field: &str) -> Checked {
    let object = &body[name];
    optional(object, name, Value::is_object, "a valid dictionary")?;
    optional(
        &object[field],
        &format!("{name}.{field}"),
        Value::is_string,
        "a valid string",
    )?;
    known_fields(object, &[field], name)
}

fn output_config(config: &Value, rules: &Rules<'_>) -> Checked {
    optional(config, "output_config", Value::is_object, "a valid dictionary")?;
    known_fields(config, &["effort", "format", "task_budget"], "output_config")?;
    let levels = ["low", "medium", "high", "xhigh", "max"];
    one_of(&config["effort"], "output_config.effort", &levels)?;
    if !config["effort"].is_null() && !rules.model.accepts.effort {
        return Err(ApiError::invalid("This model does not support the effort parameter."));
    }
    if config.get("task_budget").is_some() && !rules.betas.has("task-budgets-") {
        return Err(extra("output_config.task_budget"));
    }
    let format = &config["format"];
    if format.is_null() {
        return Ok(());
    }
    tagged(format, "output_config.format", &["json_schema"])?;
    if !format["schema"].is_object() {
        return Err(ApiError::invalid("output_config.format.schema: Field required"));
    }
    known_fields(format, &["type", "schema"], "output_config.format")
}

fn thinking(body: &Value, rules: &Rules<'_>) -> Checked {
    let thinking = &body["thinking"];
    if thinking.is_null() {
        return Ok(());
    }
    let kind = tagged(
        thinking,
        "thinking",
        &["enabled", "disabled", "adaptive", "between_tools"],
    )?;
    let at = format!("thinking.{kind}");
    let known = match kind {
        "enabled" => {
            let budget = &thinking["budget_tokens"];
            integer(budget, &format!("{at}.budget_tokens"), MIN_THINKING_BUDGET)?;
            if rules.purpose == Purpose::Run && budget.as_u64() >= body["max_tokens"].as_u64() {
                return Err(ApiError::invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`.",
                ));
            }
            &["type", "budget_tokens", "display", "block_binding"][..]
        }
        "adaptive" => &["type", "display", "block_binding"],
        _ => &["type"],
    };
    known_fields(thinking, known, &at)?;
    if thinking.get("block_binding").is_some() && !rules.betas.has("thinking-binding-controls-") {
        return Err(extra(&format!("{at}.block_binding")));
    }
    let mut displays = vec!["summarized", "omitted"];
    if rules.betas.has("thinking-display-updates-") {
        displays.push("updates");
    }
    one_of(&thinking["display"], &format!("{at}.display"), &displays)?;
    accepted(kind, &body["output_config"]["effort"], rules)
}

/// Whether the model takes this type of thinking.
fn accepted(kind: &str, effort: &Value, rules: &Rules<'_>) -> Checked {
    let types = rules.model.thinking;
    let (is_accepted, is_off) = match kind {
        "adaptive" => (types.adaptive, false),
        "between_tools" => (types.between_tools, true),
        "disabled" => (types.disabled, true),
        _ => (types.enabled, false),
    };
    if !is_accepted {
        let instead = match (kind, types) {
            ("disabled", types) if types.between_tools => "Use \"thinking.type.between_tools\" to turn thinking off.",
            (_, types) if types.adaptive => {
                "Use \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
            }
            _ => "Use \"thinking.type.enabled\" with \"budget_tokens\" instead.",
        };
        return Err(ApiError::invalid(format!(
            "\"thinking.type.{kind}\" is not supported for this model. {instead}"
        )));
    }
    match effort.as_str() {
        Some(effort) if is_off && HIGHEST_EFFORTS.contains(&effort) => Err(ApiError::invalid(format!(
            "output_config.effort: '{effort}' is not supported with \"thinking.type.{kind}\"."
        ))),
        _ => Ok(()),
    }
}
