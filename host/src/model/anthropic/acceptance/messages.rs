//! The messages as a sequence: roles, calls and their results.

use std::collections::BTreeSet;

use serde_json::Value;

use super::blocks::SERVER_RESULTS;
use super::{Judge, Violations};

/// The most messages of a request.
const MESSAGES: usize = 100_000;

impl Judge<'_> {
    pub(super) fn messages(&self, found: &mut Violations) {
        let Some(messages) = self.request.get("messages") else {
            found.add("messages", "Field required");
            return;
        };
        let messages = found.list("messages", messages);
        if messages.is_empty() {
            found.add("messages", "at least one message is required");
        }
        if messages.len() > MESSAGES {
            found.add("messages", format_args!("more than {MESSAGES}"));
        }
        for (index, message) in messages.iter().enumerate() {
            self.message(index, message, index + 1 == messages.len(), found);
        }
        if let Some(first) = messages.first()
            && role(first) != "user"
            && role(first) != "system"
        {
            found.add("messages.0", "first message must use the \"user\" role");
        }
        if let Some(last) = messages.last()
            && role(last) == "assistant"
        {
            self.last_of_the_assistant(messages.len() - 1, last, found);
        }
        pairs(messages, found);
        server_results(messages, found);
    }

    fn message(&self, index: usize, message: &Value, is_last: bool, found: &mut Violations) {
        let path = format!("messages.{index}");
        let Some(object) = found.object(&path, message) else {
            return;
        };
        found.only(&path, object, &["role", "content"]);
        let role = role(message);
        match role {
            "user" | "assistant" => {}
            "system" if self.rules.system_messages => {}
            _ => found.add(&path, format_args!("the role `{role}` is not permitted")),
        }
        let path = format!("{path}.content");
        match object.get("content") {
            None => found.add(&path, "Field required"),
            Some(Value::String(text)) if text.trim().is_empty() => {
                found.add(&path, "text content blocks must contain non-whitespace text");
            }
            Some(Value::String(_)) => {}
            Some(content) => {
                let blocks = found.list(&path, content);
                if blocks.is_empty() && !(is_last && role == "assistant") {
                    found.add(&path, "all messages must have non-empty content");
                }
                for (index, block) in blocks.iter().enumerate() {
                    self.block(&format!("{path}.{index}"), block, role, found);
                }
            }
        }
    }

    fn last_of_the_assistant(&self, index: usize, message: &Value, found: &mut Violations) {
        let path = format!("messages.{index}");
        // A turn that the API itself paused goes back as it came.
        let is_paused = blocks(message).iter().any(|block| {
            let kind = kind(block);
            ["server_tool_use", "mcp_tool_use"].contains(&kind) || SERVER_RESULTS.contains(&kind)
        });
        if !self.rules.prefill && !is_paused {
            found.add(
                &path,
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            );
        }
        let ends_in_thinking = blocks(message)
            .last()
            .is_some_and(|block| ["thinking", "redacted_thinking"].contains(&kind(block)));
        if ends_in_thinking {
            found.add(&path, "The final block in an assistant message cannot be `thinking`.");
        }
    }
}

/// Every call is answered once, in the next message, ahead of everything else there; ids are used once.
fn pairs(messages: &[Value], found: &mut Violations) {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let path = format!("messages.{index}");
        let mut answered = BTreeSet::new();
        let mut others = false;
        for (position, block) in blocks(message).iter().enumerate() {
            if kind(block) != "tool_result" {
                others = true;
                continue;
            }
            let path = format!("{path}.content.{position}");
            let id = field(block, "tool_use_id");
            if !open.contains(&id) {
                found.add(
                    &path,
                    format_args!("unexpected `tool_use_id` found in `tool_result` blocks: {id}"),
                );
            } else if !answered.insert(id) {
                found.add(
                    &path,
                    format_args!("each tool_use must have a single result; several for {id}"),
                );
            }
            if others {
                found.add(&path, "`tool_result` blocks must come before other content");
            }
        }
        unanswered(index, open.iter().filter(|id| !answered.contains(*id)), found);
        open = Vec::new();
        for block in blocks(message) {
            if !["tool_use", "server_tool_use"].contains(&kind(block)) {
                continue;
            }
            let id = field(block, "id");
            if !seen.insert(id) {
                found.add(&path, format_args!("`tool_use` ids must be unique: {id}"));
            }
            if kind(block) == "tool_use" && role(message) == "assistant" {
                open.push(id);
            }
        }
    }
    unanswered(messages.len(), open.iter(), found);
}

/// The calls of the message before `next` that it doesn't answer.
fn unanswered<'a>(next: usize, ids: impl Iterator<Item = &'a &'a str>, found: &mut Violations) {
    for id in ids {
        found.add(
            &format!("messages.{}", next - 1),
            format_args!("`tool_use` ids were found without `tool_result` blocks immediately after: {id}"),
        );
    }
}

/// A result of a tool that the API ran follows that tool's call.
fn server_results(messages: &[Value], found: &mut Violations) {
    let mut seen = BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        for (position, block) in blocks(message).iter().enumerate() {
            if ["server_tool_use", "mcp_tool_use"].contains(&kind(block)) {
                seen.insert(field(block, "id"));
            } else if SERVER_RESULTS.contains(&kind(block)) && !seen.contains(field(block, "tool_use_id")) {
                found.add(
                    &format!("messages.{index}.content.{position}"),
                    format_args!("no call for the `{}`", kind(block)),
                );
            }
        }
    }
}

fn blocks(message: &Value) -> &[Value] {
    message
        .get("content")
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn kind(block: &Value) -> &str {
    field(block, "type")
}

fn role(message: &Value) -> &str {
    field(message, "role")
}
