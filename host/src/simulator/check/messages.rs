//! The rules of a conversation: roles, contents, its end, and a `tool_result` right after every `tool_use`.

use std::collections::HashSet;

use serde_json::Value;

use super::{ApiError, Checked, Rules, blocks, extra, known_fields};
use crate::messages_api::limits::MAX_MESSAGES;
use crate::messages_api::{ASSISTANT, SYSTEM, USER};

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    let messages = match &body["messages"] {
        Value::Null => return Err(ApiError::invalid("messages: Field required")),
        Value::Array(messages) => messages,
        _ => return Err(ApiError::invalid("messages: Input should be a valid list")),
    };
    if messages.is_empty() {
        return Err(ApiError::invalid("messages: at least one message is required"));
    }
    if messages.len() > MAX_MESSAGES {
        return Err(ApiError::invalid(format!(
            "messages: List should have at most {MAX_MESSAGES} items after validation, not {}",
            messages.len()
        )));
    }
    for (index, message) in messages.iter().enumerate() {
        let role = role(message, index, rules)?;
        content(message, role, index, index + 1 == messages.len(), rules)?;
    }
    if messages.first().is_some_and(|first| first["role"] == ASSISTANT) {
        return Err(ApiError::invalid("messages: first message must use the \"user\" role"));
    }
    pairs(messages)?;
    match messages.last() {
        Some(last) if is_prefill(last) && !rules.model.accepts.prefill && !rules.script.pauses => {
            Err(ApiError::invalid(
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ))
        }
        _ => Ok(()),
    }
}

/// Whether the model is to go on with this last message. A turn that the API paused ends with one of its own tools.
fn is_prefill(last: &Value) -> bool {
    let blocks = last["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    last["role"] == ASSISTANT && !blocks.iter().any(blocks::is_run_by_the_vendor)
}

fn role<'a>(message: &'a Value, index: usize, rules: &Rules<'_>) -> Result<&'a str, ApiError> {
    let at = format!("messages.{index}");
    if !message.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    let role = match &message["role"] {
        Value::Null => return Err(ApiError::invalid(format!("{at}.role: Field required"))),
        role => role.as_str().unwrap_or_default(),
    };
    match role {
        USER | ASSISTANT => known_fields(message, &["role", "content"], &at)?,
        SYSTEM if rules.model.accepts.system_messages => {
            known_fields(message, &["role", "content", "clear_at", "output_config"], &at)?;
            for (field, beta) in [
                ("clear_at", "mid-conversation-system-clear-at-"),
                ("output_config", "mid-conversation-output-config-"),
            ] {
                if message.get(field).is_some() && !rules.betas.has(beta) {
                    return Err(extra(&format!("{at}.{field}")));
                }
            }
        }
        SYSTEM => {
            return Err(ApiError::invalid(
                "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
                 \"system\" as an input message role.",
            ));
        }
        _ => {
            return Err(ApiError::invalid(format!(
                "{at}.role: Input should be 'user', 'assistant' or 'system'"
            )));
        }
    }
    Ok(role)
}

fn content(message: &Value, role: &str, index: usize, is_last: bool, rules: &Rules<'_>) -> Checked {
    let at = format!("messages.{index}");
    let is_optional = is_last && role == ASSISTANT;
    let empty = || {
        Err(ApiError::invalid(format!(
            "{at}: all messages must have non-empty content except for the optional final assistant message"
        )))
    };
    match &message["content"] {
        Value::Null => Err(ApiError::invalid(format!("{at}.content: Field required"))),
        Value::String(text) if text.is_empty() && !is_optional => empty(),
        Value::String(_) => Ok(()),
        Value::Array(blocks) if blocks.is_empty() && !is_optional => empty(),
        Value::Array(blocks) => blocks
            .iter()
            .enumerate()
            .try_for_each(|(position, block)| blocks::check(block, role, index, position, rules)),
        _ => Err(ApiError::invalid(format!(
            "{at}.content: Input should be a valid string or list"
        ))),
    }
}

/// Every `tool_use` needs one `tool_result` in the next message, and every `tool_result` a `tool_use` before it.
fn pairs(messages: &[Value]) -> Checked {
    let mut seen = HashSet::new();
    // Ids of the calls in the previous message, in order. All of them need a result.
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let expected: HashSet<_> = open.iter().copied().collect();
        let mut answered = HashSet::new();
        let mut only_results = true;
        for (position, block) in blocks.iter().enumerate() {
            if block["type"] != "tool_result" {
                only_results = false;
                continue;
            }
            let id = block["tool_use_id"].as_str().unwrap_or_default();
            let at = format!("messages.{index}.content.{position}");
            if !expected.contains(id) {
                return Err(ApiError::invalid(format!(
                    "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must \
                     have a corresponding `tool_use` block in the previous message."
                )));
            }
            if !answered.insert(id) {
                return Err(ApiError::invalid(format!(
                    "{at}: each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
                )));
            }
            // A result after another kind of block doesn't count as an immediate answer.
            if !only_results {
                return Err(unanswered(index.saturating_sub(1), &[id]));
            }
        }
        let missing: Vec<_> = open.iter().filter(|id| !answered.contains(*id)).copied().collect();
        if !missing.is_empty() {
            return Err(unanswered(index.saturating_sub(1), &missing));
        }
        open.clear();
        for (position, block) in blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block["type"] == "tool_use")
        {
            let id = block["id"].as_str().unwrap_or_default();
            if !seen.insert(id) {
                let at = format!("messages.{index}.content.{position}");
                return Err(ApiError::invalid(format!("{at}: `tool_use` ids must be unique")));
            }
            open.push(id);
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        Err(unanswered(messages.len().saturating_sub(1), &open))
    }
}

fn unanswered(index: usize, ids: &[&str]) -> ApiError {
    ApiError::invalid(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each \
         `tool_use` block must have a corresponding `tool_result` block in the next message.",
        ids.join(", ")
    ))
}
