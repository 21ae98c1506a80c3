//! The rules of a model's answer.

use serde_json::{Map, Value};

use super::super::message::delta_kinds;
use super::super::placeholder;
use super::super::script::{ContentItem, ItemKind, MessageAnswer, ToolCall, ToolInput, UsageAnswer};
use super::{check_text, excerpt};

const MAX_TOOLS: usize = 64;
const MAX_BLOCKS: usize = 256;
/// Maximum nesting of a tool's input. JSON parsers often stop not far beyond it.
const MAX_DEPTH: usize = 100;

pub(super) fn check_message(message: &MessageAnswer, report: &mut dyn FnMut(String)) {
    check_text("text", &message.text, report);
    for (key, text) in [
        ("thinking", &message.thinking),
        ("stop_reason", &message.stop_reason),
        ("stop_sequence", &message.stop_sequence),
        ("model", &message.model),
    ] {
        check_text(key, text.as_deref().unwrap_or_default(), report);
    }
    if let Err(problem) = placeholder::check(&message.text) {
        report(format!("`text` {problem}"));
    }
    if message.tools.len() > MAX_TOOLS {
        report(format!(
            "{} tool calls, but at most {MAX_TOOLS} are allowed",
            message.tools.len()
        ));
    }
    for tool in &message.tools {
        check_tool(tool, report);
    }
    check_content(&message.content, report);
    if let Some(details) = &message.stop_details {
        check_json("stop_details", details, report);
    }
    for (key, usage) in [
        ("usage", Some(&message.usage)),
        ("usage_start", message.usage_start.as_ref()),
    ] {
        if let Some(UsageAnswer::Json(json)) = usage {
            check_json(key, json, report);
        }
    }
    check_fields("extra", &message.extra, report);
}

fn check_content(content: &[ContentItem], report: &mut dyn FnMut(String)) {
    if content.len() > MAX_BLOCKS {
        report(format!(
            "`content` has {} blocks, but at most {MAX_BLOCKS} are allowed",
            content.len()
        ));
    }
    for item in content {
        match &item.kind {
            ItemKind::Text(text) => {
                check_text("content.text", text, report);
                if let Err(problem) = placeholder::check(text) {
                    report(format!("`content.text` {problem}"));
                }
            }
            ItemKind::Thinking { text, signature } => {
                check_text("content.thinking", text, report);
                check_text("content.signature", signature.as_deref().unwrap_or_default(), report);
            }
            ItemKind::Tool(tool) => check_tool(tool, report),
            ItemKind::Block(block) if !block.is_object() => report("`content.block` must be a table".to_owned()),
            ItemKind::Block(block) => check_json("content.block", block, report),
        }
        if let Some(delta) = item
            .delta
            .as_deref()
            .filter(|delta| !delta_kinds().any(|known| known == *delta))
        {
            report(format!(
                "`content.delta` has an unknown type {:?}; known are {}",
                excerpt(delta),
                delta_kinds().collect::<Vec<_>>().join(", ")
            ));
        }
        check_fields("content.extra", &item.extra, report);
    }
}

fn check_tool(tool: &ToolCall, report: &mut dyn FnMut(String)) {
    check_text("name", &tool.name, report);
    check_text("id", tool.id.as_deref().unwrap_or_default(), report);
    if tool.name.is_empty() {
        report("a tool call has an empty `name`".to_owned());
    }
    if tool.id.as_deref() == Some("") {
        report("a tool call has an empty `id`".to_owned());
    }
    match &tool.input {
        ToolInput::Json(value) if !value.is_object() => {
            report(format!(
                "the `input` of tool call {:?} must be a table",
                excerpt(&tool.name)
            ));
        }
        // Checked before serialising, which recurses as deep as the value.
        ToolInput::Json(value) if !is_within(value, MAX_DEPTH) => report(format!(
            "the `input` of tool call {:?} is nested deeper than {MAX_DEPTH} levels",
            excerpt(&tool.name)
        )),
        ToolInput::Json(value) => check_text("input", &value.to_string(), report),
        ToolInput::Text(text) => check_text("input_text", text, report),
    }
}

pub(super) fn check_fields(key: &str, fields: &Map<String, Value>, report: &mut dyn FnMut(String)) {
    for (name, value) in fields {
        check_json(&format!("{key}.{}", excerpt(name)), value, report);
    }
}

fn check_json(key: &str, value: &Value, report: &mut dyn FnMut(String)) {
    if is_within(value, MAX_DEPTH) {
        check_text(key, &value.to_string(), report);
    } else {
        report(format!("`{key}` is nested deeper than {MAX_DEPTH} levels"));
    }
}

/// Whether a value is nested at most `levels` deep.
fn is_within(value: &Value, levels: usize) -> bool {
    let Some(inner) = levels.checked_sub(1) else {
        return false;
    };
    match value {
        Value::Array(items) => items.iter().all(|item| is_within(item, inner)),
        Value::Object(fields) => fields.values().all(|field| is_within(field, inner)),
        _ => true,
    }
}
