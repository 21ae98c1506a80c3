//! One content block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Judge, Object, Version, Violations, is_identifier, join, present};

/// The most base64 characters of an image.
const IMAGE_CHARACTERS: usize = 10 * 1024 * 1024;
/// The most pixels of an image's side.
const IMAGE_SIDE: u32 = 8_000;
/// The most characters of a tool's name in a history, where it can be longer than in a list of tools.
const HISTORY_NAME: usize = 200;

/// What a user's message can hold.
const USER: [&str; 6] = [
    "text",
    "image",
    "document",
    "search_result",
    "tool_result",
    "container_upload",
];

/// Results of tools that the API runs itself. They stand in the assistant's message.
pub(super) const SERVER_RESULTS: [&str; 8] = [
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "advisor_tool_result",
    "mcp_tool_result",
];

/// What else an assistant's message can hold: what the API itself puts there.
const ASSISTANT: [&str; 12] = [
    "text",
    "image",
    "search_result",
    "thinking",
    "redacted_thinking",
    "tool_use",
    "server_tool_use",
    "container_upload",
    "mcp_tool_use",
    "mcp_tool_listing",
    "compaction",
    "fallback",
];

/// What a tool result can hold.
const RESULT: [&str; 6] = [
    "text",
    "image",
    "search_result",
    "document",
    "tool_reference",
    "browser_state",
];

impl Judge<'_> {
    /// A block of a message of `role`, or of the system prompt.
    pub(super) fn block(&self, path: &str, block: &Value, role: &str, found: &mut Violations) {
        let Some(object) = found.object(path, block) else {
            return;
        };
        let Some(kind) = found.text(&join(path, "type"), object.get("type")) else {
            return;
        };
        let is_possible = match role {
            "user" => USER.contains(&kind),
            "assistant" => ASSISTANT.contains(&kind) || SERVER_RESULTS.contains(&kind) || self.is_old_document(kind),
            _ => kind == "text",
        };
        if !is_possible {
            found.add(path, format_args!("`{kind}` is not permitted in a `{role}` message"));
            return;
        }
        self.fields(path, object, kind, found);
        match kind {
            "text" => {
                if found
                    .text(&join(path, "text"), object.get("text"))
                    .is_some_and(|text| text.trim().is_empty())
                {
                    found.add(path, "text content blocks must contain non-whitespace text");
                }
                if role == "user" {
                    self.no_citations(path, object, found);
                }
            }
            "tool_result" => self.tool_result(path, object, found),
            _ => self.part(path, object, kind, found),
        }
    }

    /// Before version 2026-10-21 an assistant's message could hold a document.
    fn is_old_document(&self, kind: &str) -> bool {
        kind == "document" && self.version == Version::June2023
    }

    fn fields(&self, path: &str, object: &Object, kind: &str, found: &mut Violations) {
        let known: &[&str] = match kind {
            "text" => &["type", "text", "citations", "cache_control"],
            "thinking" => &["type", "thinking", "signature"],
            "redacted_thinking" => &["type", "data"],
            "tool_use" => &["type", "id", "name", "input", "caller", "toolset_name", "cache_control"],
            "server_tool_use" => &["type", "id", "name", "input", "caller", "cache_control"],
            "tool_result" => &[
                "type",
                "tool_use_id",
                "content",
                "is_error",
                "toolset_name",
                "cache_control",
            ],
            "image" => &["type", "source", "transformations", "cache_control"],
            "document" => &["type", "source", "title", "context", "citations", "cache_control"],
            "search_result" => &["type", "source", "title", "content", "citations", "cache_control"],
            "container_upload" => &["type", "file_id", "cache_control"],
            "web_search_tool_result" | "web_fetch_tool_result" => {
                &["type", "tool_use_id", "content", "caller", "cache_control"]
            }
            "mcp_tool_result" => &["type", "tool_use_id", "content", "is_error", "cache_control"],
            kind if SERVER_RESULTS.contains(&kind) => &["type", "tool_use_id", "content", "cache_control"],
            _ => return,
        };
        found.only(path, object, known);
    }

    fn no_citations(&self, path: &str, object: &Object, found: &mut Violations) {
        let citations = object.get("citations").and_then(Value::as_array);
        if self.version == Version::October2026 && citations.is_some_and(|list| !list.is_empty()) {
            found.add(&join(path, "citations"), "Extra inputs are not permitted");
        }
    }

    fn tool_result(&self, path: &str, object: &Object, found: &mut Violations) {
        found.text(&join(path, "tool_use_id"), object.get("tool_use_id"));
        let is_error = object.get("is_error").unwrap_or(&Value::Bool(false));
        if !is_error.is_boolean() {
            found.add(&join(path, "is_error"), "must be a boolean");
        }
        let Some(content) = object.get("content").filter(|content| !content.is_string()) else {
            return;
        };
        for (index, part) in found.list(&join(path, "content"), content).iter().enumerate() {
            let path = format!("{path}.content.{index}");
            let Some(object) = found.object(&path, part) else {
                continue;
            };
            let kind = object.get("type").and_then(Value::as_str).unwrap_or_default();
            if !RESULT.contains(&kind) {
                found.add(&path, format_args!("`{kind}` is not permitted in a `tool_result`"));
                continue;
            }
            if is_error == &Value::Bool(true) && kind != "text" {
                found.add(&path, "all content must be type `text` if `is_error` is true");
            }
            self.fields(&path, object, kind, found);
            match kind {
                "text" => {
                    if found.text(&join(&path, "text"), object.get("text")) == Some("") {
                        found.add(&path, "text content blocks must be non-empty");
                    }
                    self.no_citations(&path, object, found);
                }
                _ => self.part(&path, object, kind, found),
            }
        }
    }

    /// What a kind of block requires, wherever it stands.
    fn part(&self, path: &str, object: &Object, kind: &str, found: &mut Violations) {
        match kind {
            "thinking" => {
                // The text can be empty: `display: "omitted"` leaves only the signature.
                found.text(&join(path, "thinking"), object.get("thinking"));
                if found.text(&join(path, "signature"), object.get("signature")) == Some("") {
                    found.add(path, "Invalid `signature` in `thinking` block");
                }
            }
            "redacted_thinking" => {
                let data = found.text(&join(path, "data"), object.get("data"));
                if data == Some("") {
                    found.add(path, "Invalid `data` in `redacted_thinking` block");
                }
            }
            "tool_use" | "server_tool_use" => {
                let id = found.text(&join(path, "id"), object.get("id"));
                if id.is_some_and(|id| !is_identifier(id)) {
                    found.add(&join(path, "id"), "String should match pattern '^[a-zA-Z0-9_-]+$'");
                }
                let name = found.text(&join(path, "name"), object.get("name"));
                if name.is_some_and(|name| name.is_empty() || name.chars().count() > HISTORY_NAME) {
                    found.add(
                        &join(path, "name"),
                        format_args!("String should have 1 to {HISTORY_NAME} characters"),
                    );
                }
                match object.get("input") {
                    None => found.add(&join(path, "input"), "Field required"),
                    Some(input) if !input.is_object() => {
                        found.add(&join(path, "input"), "Input should be a valid dictionary");
                    }
                    Some(_) => {}
                }
            }
            "image" => image(path, object, found),
            "search_result" => {
                let content = object.get("content").unwrap_or(&Value::Null);
                for (index, part) in found.list(&join(path, "content"), content).iter().enumerate() {
                    if let Some(part) = part.as_object() {
                        self.no_citations(&format!("{path}.content.{index}"), part, found);
                    }
                }
            }
            kind if SERVER_RESULTS.contains(&kind) => {
                found.text(&join(path, "tool_use_id"), object.get("tool_use_id"));
            }
            _ => {}
        }
    }
}

fn image(path: &str, object: &Object, found: &mut Violations) {
    let path = join(path, "source");
    let Some(source) = object.get("source").and_then(Value::as_object) else {
        found.add(&path, "must be an object");
        return;
    };
    match source.get("type").and_then(Value::as_str) {
        Some("base64") => {}
        Some("url" | "file") => return,
        _ => {
            found.add(&join(&path, "type"), "must be `base64`, `url` or `file`");
            return;
        }
    }
    found.only(&path, source, &["type", "media_type", "data"]);
    let types = ["image/jpeg", "image/png", "image/gif", "image/webp"];
    if present(source, "media_type").is_none() {
        found.add(&join(&path, "media_type"), "Field required");
    }
    found.choice(&join(&path, "media_type"), present(source, "media_type"), &types);
    let data = found.text(&join(&path, "data"), source.get("data")).unwrap_or_default();
    if data.len() > IMAGE_CHARACTERS {
        found.add(&join(&path, "data"), "image exceeds 10 MB maximum");
    }
    match STANDARD.decode(data) {
        Ok(bytes) if bytes.is_empty() => found.add(&join(&path, "data"), "image cannot be empty"),
        Ok(bytes) => {
            if png_sides(&bytes).is_some_and(|sides| sides.into_iter().max() > Some(IMAGE_SIDE)) {
                found.add(&path, format_args!("a side exceeds {IMAGE_SIDE} pixels"));
            }
        }
        Err(error) => found.add(&join(&path, "data"), format_args!("invalid base64 data: {error}")),
    }
}

fn png_sides(bytes: &[u8]) -> Option<[u32; 2]> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")?;
    let side = |from: usize| Some(u32::from_be_bytes(header.get(from..from + 4)?.try_into().ok()?));
    Some([side(0)?, side(4)?])
}
