//! The rules of a conversation: roles, contents, and a `tool_result` right after every `tool_use`.

use std::collections::HashSet;

use serde_json::Value;

use super::super::answer::thinking_signature;
use super::{ApiError, Checked, known_fields, optional, required_text, tagged};
use crate::messages_api::limits::is_identifier;

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
    let kind = tagged(block, &at, &BLOCK_TYPES)?;
    let required_role = match kind {
        "tool_use" | "thinking" | "redacted_thinking" => Some("assistant"),
        "tool_result" => Some("user"),
        _ => None,
    };
    if let Some(required_role) = required_role.filter(|required_role| role != required_role) {
        return Err(ApiError::invalid(format!(
            "messages.{index}: `{kind}` blocks can only be in `{required_role}` messages"
        )));
    }
    let typed_at = format!("{at}.{kind}");
    match kind {
        "text" => text(block, &typed_at),
        "tool_use" => tool_use(block, &typed_at),
        "tool_result" => tool_result(block, &typed_at),
        "thinking" => {
            let text = block["thinking"].as_str().unwrap_or_default();
            if block["signature"].as_str() != Some(&thinking_signature(text)) {
                return Err(ApiError::invalid(format!(
                    "{at}: Invalid `signature` in `thinking` block"
                )));
            }
            known_fields(block, &["type", "thinking", "signature"], &typed_at)
        }
        "redacted_thinking" => {
            required_text(&block["data"], &format!("{typed_at}.data"))?;
            known_fields(block, &["type", "data"], &typed_at)
        }
        // For the other types, only the tag is checked.
        _ => Ok(()),
    }
}

fn text(block: &Value, at: &str) -> Checked {
    let problem = match &block["text"] {
        Value::Null => format!("{at}.text: Field required"),
        Value::String(text) if text.is_empty() => "messages: text content blocks must be non-empty".to_owned(),
        Value::String(text) if text.trim().is_empty() => {
            "messages: text content blocks must contain non-whitespace text".to_owned()
        }
        Value::String(_) => return known_fields(block, &["type", "text", "cache_control", "citations"], at),
        _ => format!("{at}.text: Input should be a valid string"),
    };
    Err(ApiError::invalid(problem))
}

fn tool_use(block: &Value, at: &str) -> Checked {
    identifier(block, "id", at)?;
    required_text(&block["name"], &format!("{at}.name"))?;
    let input = format!("{at}.input");
    if block["input"].is_null() {
        return Err(ApiError::invalid(format!("{input}: Field required")));
    }
    optional(&block["input"], &input, Value::is_object, "a valid dictionary")?;
    known_fields(block, &["type", "id", "name", "input", "cache_control", "caller"], at)
}

fn tool_result(block: &Value, at: &str) -> Checked {
    identifier(block, "tool_use_id", at)?;
    let is_error = format!("{at}.is_error");
    optional(&block["is_error"], &is_error, Value::is_boolean, "a valid boolean")?;
    match &block["content"] {
        Value::Null | Value::String(_) => {}
        Value::Array(parts) => {
            for (index, part) in parts.iter().enumerate() {
                let at = format!("{at}.content.{index}");
                if tagged(part, &at, &RESULT_TYPES)? == "text" {
                    text(part, &format!("{at}.text"))?;
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
    let id = required_text(&block[field], &format!("{at}.{field}"))?;
    if is_identifier(id) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{at}.{field}: String should match pattern '^[a-zA-Z0-9_-]+$'"
    )))
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
