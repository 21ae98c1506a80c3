//! The content blocks of requests: where each kind may stand, and its fields. Source: the request types of the vendor's
//! SDKs.

use serde_json::Value;

use super::super::message::thinking_signature;
use super::{ApiError, Checked, Rules, Version, extra, known_fields, one_of, optional, required_text, tagged};
use crate::messages_api::limits::{MAX_IMAGE_BASE64_BYTES, is_identifier};
use crate::messages_api::{ASSISTANT, SYSTEM, USER};

/// A kind of block.
struct Kind {
    name: &'static str,
    /// The roles of messages that it can be in.
    roles: &'static [&'static str],
    required: &'static [&'static str],
    optional: &'static [&'static str],
    /// One of these betas has to be active. None: the kind needs no beta.
    betas: &'static [&'static str],
}

const ANYONE: &[&str] = &[USER, ASSISTANT];
const ONLY_USER: &[&str] = &[USER];
const ONLY_ASSISTANT: &[&str] = &[ASSISTANT];
const ONLY_SYSTEM: &[&str] = &[SYSTEM];

const fn kind(
    name: &'static str,
    roles: &'static [&'static str],
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Kind {
    Kind {
        name,
        roles,
        required,
        optional,
        betas: &[],
    }
}

/// A result of a tool that the vendor runs.
const fn server_result(name: &'static str, optional: &'static [&'static str]) -> Kind {
    kind(name, ONLY_ASSISTANT, &["tool_use_id", "content"], optional)
}

impl Kind {
    const fn beta(self, betas: &'static [&'static str]) -> Self {
        Self { betas, ..self }
    }
}

const CACHE: &[&str] = &["cache_control"];
const CACHE_AND_CALLER: &[&str] = &["cache_control", "caller"];
const TOOL_CHANGES: &[&str] = &["mid-conversation-tool-changes-", "inline-tools-"];

const KINDS: [Kind; 24] = [
    kind(
        "text",
        &[USER, ASSISTANT, SYSTEM],
        &["text"],
        &["cache_control", "citations"],
    ),
    kind("image", ANYONE, &["source"], &["cache_control", "transformations"]),
    kind(
        "document",
        ANYONE,
        &["source"],
        &["cache_control", "citations", "context", "title"],
    ),
    kind(
        "search_result",
        ONLY_USER,
        &["source", "title", "content"],
        &["cache_control", "citations"],
    ),
    kind("thinking", ONLY_ASSISTANT, &["thinking", "signature"], &[]),
    kind("redacted_thinking", ONLY_ASSISTANT, &["data"], &[]),
    kind(
        "tool_use",
        ONLY_ASSISTANT,
        &["id", "name", "input"],
        &["cache_control", "caller", "toolset_name"],
    ),
    kind(
        "tool_result",
        ONLY_USER,
        &["tool_use_id"],
        &["cache_control", "content", "is_error", "toolset_name"],
    ),
    kind(
        "server_tool_use",
        ONLY_ASSISTANT,
        &["id", "name", "input"],
        CACHE_AND_CALLER,
    ),
    server_result("web_search_tool_result", CACHE_AND_CALLER),
    server_result("web_fetch_tool_result", CACHE_AND_CALLER),
    server_result("code_execution_tool_result", CACHE),
    server_result("bash_code_execution_tool_result", CACHE),
    server_result("text_editor_code_execution_tool_result", CACHE),
    server_result("tool_search_tool_result", CACHE),
    server_result("advisor_tool_result", CACHE),
    kind("container_upload", ANYONE, &["file_id"], CACHE),
    kind(
        "mcp_tool_use",
        ONLY_ASSISTANT,
        &["id", "name", "input", "server_name"],
        CACHE,
    ),
    server_result("mcp_tool_result", &["cache_control", "is_error"]),
    kind("mcp_tool_listing", ONLY_ASSISTANT, &["mcp_server_name", "tools"], &[]),
    kind(
        "compaction",
        ANYONE,
        &[],
        &[
            "cache_control",
            "content",
            "encrypted_content",
            "signature",
            "tool_changes",
        ],
    ),
    kind("fallback", ONLY_ASSISTANT, &["from", "to"], &["trigger"]),
    kind("tool_addition", ONLY_SYSTEM, &["tool"], CACHE).beta(TOOL_CHANGES),
    kind("tool_removal", ONLY_SYSTEM, &["tool"], CACHE).beta(TOOL_CHANGES),
];

const RESULT_PARTS: [&str; 6] = [
    "text",
    "image",
    "document",
    "search_result",
    "tool_reference",
    "browser_state",
];

const IMAGE_SOURCES: [&str; 3] = ["base64", "url", "file"];
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
const DOCUMENT_SOURCES: [&str; 5] = ["base64", "text", "content", "url", "file"];

/// Whether the vendor runs the tool of this block, so that a turn can pause at it.
pub(super) fn is_run_by_the_vendor(block: &Value) -> bool {
    let kind = block["type"].as_str().unwrap_or_default();
    kind == "server_tool_use" || kind == "mcp_tool_use" || (kind.ends_with("_tool_result") && kind != "tool_result")
}

/// Refuses unknown fields of a block.
pub(super) fn known(block: &Value, name: &str, at: &str, rules: &Rules<'_>) -> Checked {
    let Some(kind) = KINDS
        .iter()
        .find(|kind| kind.name == name && rules.betas.allow(kind.betas))
    else {
        return Ok(());
    };
    let fields: Vec<_> = ["type"]
        .iter()
        .chain(kind.required)
        .chain(kind.optional)
        .copied()
        .collect();
    known_fields(block, &fields, at)
}

/// Checks a block of the message `messages.{index}`.
pub(super) fn check(block: &Value, role: &str, index: usize, position: usize, rules: &Rules<'_>) -> Checked {
    let at = format!("messages.{index}.content.{position}");
    let usable = |kind: &&Kind| rules.betas.allow(kind.betas);
    let tags: Vec<_> = KINDS.iter().filter(usable).map(|kind| kind.name).collect();
    let name = tagged(block, &at, &tags)?;
    let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
        return Ok(());
    };
    // Since 2026-10-21 a document can be in an assistant message only inside another block.
    let is_echoed_document = name == "document" && role == ASSISTANT && rules.version == Version::Current;
    if !kind.roles.contains(&role) || is_echoed_document {
        let roles = if name == "document" { ONLY_USER } else { kind.roles };
        return Err(ApiError::invalid(format!(
            "messages.{index}: `{name}` blocks can only be in `{}` messages",
            roles.join("` or `")
        )));
    }
    let typed_at = format!("{at}.{name}");
    match name {
        "text" => {
            text(block, &typed_at, rules)?;
            citations(block, &typed_at, role, rules)?;
        }
        "image" => image(block, &typed_at)?,
        "document" => source(block, &typed_at, &DOCUMENT_SOURCES).map(drop)?,
        "search_result" => search_result(block, &typed_at, role, rules)?,
        "tool_use" => tool_use(block, &typed_at)?,
        "tool_result" => tool_result(block, &typed_at, rules)?,
        "thinking" => thinking(block, &at, rules)?,
        "redacted_thinking" => required_text(&block["data"], &format!("{typed_at}.data")).map(drop)?,
        "compaction" if block["content"] == "" => {
            return Err(ApiError::invalid(format!(
                "{typed_at}.content: String should have at least 1 character"
            )));
        }
        _ => {
            let missing = kind.required.iter().find(|field| block[**field].is_null());
            if let Some(field) = missing {
                return Err(ApiError::invalid(format!("{typed_at}.{field}: Field required")));
            }
        }
    }
    known(block, name, &typed_at, rules)
}

fn text(block: &Value, at: &str, rules: &Rules<'_>) -> Checked {
    let problem = match &block["text"] {
        Value::Null => format!("{at}.text: Field required"),
        Value::String(text) if text.is_empty() => "messages: text content blocks must be non-empty".to_owned(),
        Value::String(text) if text.trim().is_empty() => {
            "messages: text content blocks must contain non-whitespace text".to_owned()
        }
        Value::String(_) => return known(block, "text", at, rules),
        _ => format!("{at}.text: Input should be a valid string"),
    };
    Err(ApiError::invalid(problem))
}

/// Since 2026-10-21, text of a user can't cite.
fn citations(block: &Value, at: &str, role: &str, rules: &Rules<'_>) -> Checked {
    let cites = block["citations"]
        .as_array()
        .is_some_and(|citations| !citations.is_empty());
    if cites && role == USER && rules.version == Version::Current {
        return Err(extra(&format!("{at}.citations")));
    }
    Ok(())
}

fn search_result(block: &Value, at: &str, role: &str, rules: &Rules<'_>) -> Checked {
    required_text(&block["source"], &format!("{at}.source"))?;
    required_text(&block["title"], &format!("{at}.title"))?;
    let Some(parts) = block["content"].as_array() else {
        return Err(ApiError::invalid(format!("{at}.content: Input should be a valid list")));
    };
    for (index, part) in parts.iter().enumerate() {
        let at = format!("{at}.content.{index}");
        tagged(part, &at, &["text"])?;
        text(part, &at, rules)?;
        citations(part, &at, role, rules)?;
    }
    Ok(())
}

fn source<'a>(block: &'a Value, at: &str, kinds: &[&str]) -> Result<(&'a str, String), ApiError> {
    let at = format!("{at}.source");
    if block["source"].is_null() {
        return Err(ApiError::invalid(format!("{at}: Field required")));
    }
    let kind = tagged(&block["source"], &at, kinds)?;
    Ok((kind, format!("{at}.{kind}")))
}

fn image(block: &Value, at: &str) -> Checked {
    let (kind, source_at) = source(block, at, &IMAGE_SOURCES)?;
    let oversized = &block["transformations"]["oversized_image"];
    one_of(
        oversized,
        &format!("{at}.transformations.oversized_image"),
        &["downsize", "error"],
    )?;
    if kind != "base64" {
        return Ok(());
    }
    let source = &block["source"];
    required_text(&source["media_type"], &format!("{source_at}.media_type"))?;
    one_of(&source["media_type"], &format!("{source_at}.media_type"), &IMAGE_TYPES)?;
    let data = required_text(&source["data"], &format!("{source_at}.data"))?;
    if data.len() > MAX_IMAGE_BASE64_BYTES {
        return Err(ApiError::invalid(format!(
            "{source_at}: image exceeds 10 MB maximum: {} bytes > {MAX_IMAGE_BASE64_BYTES} bytes",
            data.len()
        )));
    }
    Ok(())
}

fn tool_use(block: &Value, at: &str) -> Checked {
    identifier(block, "id", at)?;
    required_text(&block["name"], &format!("{at}.name"))?;
    let input = format!("{at}.input");
    if block["input"].is_null() {
        return Err(ApiError::invalid(format!("{input}: Field required")));
    }
    optional(&block["input"], &input, Value::is_object, "a valid dictionary")
}

fn tool_result(block: &Value, at: &str, rules: &Rules<'_>) -> Checked {
    identifier(block, "tool_use_id", at)?;
    let is_error = format!("{at}.is_error");
    optional(&block["is_error"], &is_error, Value::is_boolean, "a valid boolean")?;
    match &block["content"] {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
            let at = format!("{at}.content.{index}");
            match tagged(part, &at, &RESULT_PARTS)? {
                "text" => text(part, &format!("{at}.text"), rules),
                "image" => image(part, &format!("{at}.image")),
                _ => Ok(()),
            }
        }),
        _ => Err(ApiError::invalid(format!(
            "{at}.content: Input should be a valid string or list"
        ))),
    }
}

/// The block has to be an unchanged one of the simulator's.
fn thinking(block: &Value, at: &str, rules: &Rules<'_>) -> Checked {
    let text = block["thinking"].as_str().unwrap_or_default();
    let signature = block["signature"].as_str().unwrap_or_default();
    if signature == thinking_signature(text) || rules.script.signatures.contains(signature) {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "{at}: Invalid `signature` in `thinking` block"
    )))
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
