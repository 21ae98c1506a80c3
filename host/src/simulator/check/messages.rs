//! The rules of a conversation: roles, contents, and every `tool_use` answered at once.

use std::collections::HashSet;

use serde_json::Value;

use super::super::answer::thinking_signature;
use super::{ApiError, Checked, known_fields, required_text};

/// Every type of content block that the API knows.
const BLOCK_TYPES: [&str; 20] = [
    "text",
    "image",
    "document",
    "search_result",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "tool_result",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "container_upload",
    "compaction",
    "fallback",
];

const RESULT_TYPES: [&str; 5] = ["text", "image", "document", "search_result", "tool_reference"];

pub(super) fn check(body: &Value) -> Checked {
    let messages = match &body["messages"] {
        Value::Null => return Err(ApiError::invalid("messages: Field required")),
        Value::Array(messages) => messages,
        _ => return Err(ApiError::invalid("messages: Input should be a valid list")),
    };
    if messages.is_empty() {
        return Err(ApiError::invalid("messages: at least one message is required"));
    }
    for (index, message) in messages.iter().enumerate() {
        role(message, index)?;
        content(message, index, index + 1 == messages.len())?;
    }
    if messages.first().is_some_and(|first| first["role"] != "user") {
        return Err(ApiError::invalid("messages: first message must use the \"user\" role"));
    }
    pairs(messages)
}

fn role(message: &Value, index: usize) -> Checked {
    let at = format!("messages.{index}");
    if !message.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    match &message["role"] {
        Value::Null => return Err(ApiError::invalid(format!("{at}.role: Field required"))),
        role if role == "user" || role == "assistant" => {}
        role if role == "system" => {
            return Err(ApiError::invalid(
                "messages: Unexpected role \"system\". The Messages API accepts a top-level `system` parameter, not \
                 \"system\" as an input message role.",
            ));
        }
        _ => {
            return Err(ApiError::invalid(format!(
                "{at}.role: Input should be 'user' or 'assistant'"
            )));
        }
    }
    known_fields(message, &["role", "content"], &at)
}

fn content(message: &Value, index: usize, is_last: bool) -> Checked {
    let at = format!("messages.{index}");
    let is_optional = is_last && message["role"] == "assistant";
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
            .try_for_each(|(position, block)| self::block(block, &message["role"], index, position)),
        _ => Err(ApiError::invalid(format!(
            "{at}.content: Input should be a valid string or list"
        ))),
    }
}

fn block(block: &Value, role: &Value, index: usize, position: usize) -> Checked {
    let at = format!("messages.{index}.content.{position}");
    if !block.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    let kind = required_text(block, "type", &format!("{at}.type"))?;
    let at = format!("{at}.{kind}");
    match kind {
        "text" => {
            match block["text"].as_str() {
                None => return Err(ApiError::invalid(format!("{at}.text: Field required"))),
                Some("") => return Err(ApiError::invalid("messages: text content blocks must be non-empty")),
                Some(text) if text.trim().is_empty() => {
                    return Err(ApiError::invalid(
                        "messages: text content blocks must contain non-whitespace text",
                    ));
                }
                Some(_) => {}
            }
            known_fields(block, &["type", "text", "cache_control", "citations"], &at)
        }
        "tool_use" if role != "assistant" => {
            let words = "`tool_use` blocks can only be in `assistant` messages";
            Err(ApiError::invalid(format!("messages.{index}: {words}")))
        }
        "tool_use" => {
            identifier(block, "id", &at)?;
            required_text(block, "name", &format!("{at}.name"))?;
            match &block["input"] {
                Value::Null => return Err(ApiError::invalid(format!("{at}.input: Field required"))),
                Value::Object(_) => {}
                _ => {
                    return Err(ApiError::invalid(format!(
                        "{at}.input: Input should be a valid dictionary"
                    )));
                }
            }
            known_fields(block, &["type", "id", "name", "input", "cache_control", "caller"], &at)
        }
        "tool_result" if role != "user" => Err(ApiError::invalid(format!(
            "messages.{index}: `tool_result` blocks can only be in `user` messages"
        ))),
        "tool_result" => tool_result(block, &at),
        "thinking" => {
            let text = block["thinking"].as_str().unwrap_or_default();
            if role != "assistant" || block["signature"].as_str() != Some(&thinking_signature(text)) {
                return Err(ApiError::invalid(format!(
                    "messages.{index}.content.{position}: Invalid `signature` in `thinking` block"
                )));
            }
            known_fields(block, &["type", "thinking", "signature"], &at)
        }
        known if BLOCK_TYPES.contains(&known) => Ok(()),
        unknown => Err(ApiError::invalid(format!(
            "messages.{index}.content.{position}: Input tag '{unknown}' found using 'type' does not match any of the \
             expected tags: '{}'",
            BLOCK_TYPES.join("', '")
        ))),
    }
}

fn tool_result(block: &Value, at: &str) -> Checked {
    identifier(block, "tool_use_id", at)?;
    match &block["is_error"] {
        Value::Null | Value::Bool(_) => {}
        _ => {
            return Err(ApiError::invalid(format!(
                "{at}.is_error: Input should be a valid boolean"
            )));
        }
    }
    match &block["content"] {
        Value::Null | Value::String(_) => {}
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                let kind = required_text(part, "type", &format!("{at}.content.{index}.type"))?;
                if !RESULT_TYPES.contains(&kind) {
                    return Err(ApiError::invalid(format!(
                        "{at}.content.{index}: Input tag '{kind}' found using 'type' does not match any of the \
                         expected tags: '{}'",
                        RESULT_TYPES.join("', '")
                    )));
                }
                if kind == "text" && part["text"].as_str().is_none_or(str::is_empty) {
                    return Err(ApiError::invalid("messages: text content blocks must be non-empty"));
                }
            }
        }
        _ => {
            return Err(ApiError::invalid(format!(
                "{at}.content: Input should be a valid string or list"
            )));
        }
    }
    known_fields(
        block,
        &["type", "tool_use_id", "content", "is_error", "cache_control"],
        at,
    )
}

fn identifier(block: &Value, field: &str, at: &str) -> Checked {
    let id = required_text(block, field, &format!("{at}.{field}"))?;
    if id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{at}.{field}: String should match pattern '^[a-zA-Z0-9_-]+$'"
    )))
}

/// Calls and results must match, message by message.
fn pairs(messages: &[Value]) -> Checked {
    let mut seen = HashSet::new();
    // The calls of the message before, in order; none of them may stay unanswered.
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let blocks = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let asked: HashSet<_> = open.iter().copied().collect();
        let mut answered = HashSet::new();
        let mut first = true;
        for (position, block) in blocks.iter().enumerate() {
            if block["type"] != "tool_result" {
                first = false;
                continue;
            }
            let id = block["tool_use_id"].as_str().unwrap_or_default();
            let at = format!("messages.{index}.content.{position}");
            if !asked.contains(id) {
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
            // Behind anything else a result does not count as an immediate answer.
            if !first {
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
