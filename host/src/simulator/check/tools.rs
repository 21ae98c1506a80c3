//! The rules of `tools` and `tool_choice`.

use std::collections::HashSet;

use serde_json::Value;

use super::super::request::RequestView;
use super::super::tool_search::is_deferred;
use super::tool_kinds::{MCP_TOOLSET, TOOL_KINDS, ToolKind};
use super::{ApiError, Checked, Rules, known_fields, optional, required_text, tagged};
use crate::messages_api::limits::{REFUSED_ROOT_KEYWORDS, is_property_name, is_tool_name};

const CHOICES: [&str; 4] = ["auto", "any", "tool", "none"];
const DISABLE_PARALLEL: &str = "disable_parallel_tool_use";

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    if !body["tools"].is_null() && !body["tools"].is_array() {
        return Err(ApiError::invalid("tools: Input should be a valid list"));
    }
    let tools = listed(body);
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = entry(tool, &format!("tools.{index}"), rules)?;
        if name.is_some_and(|name| !names.insert(name)) {
            return Err(ApiError::invalid("tools: Tool names must be unique."));
        }
    }
    if !tools.is_empty() && tools.iter().all(is_deferred) {
        return Err(ApiError::invalid(
            "At least one tool must have defer_loading=false. All tools cannot be deferred.",
        ));
    }
    found(body, tools, &names)?;
    choice(&body["tool_choice"], tools, &names)
}

/// The request's list.
pub(super) fn listed(body: &Value) -> &[Value] {
    body["tools"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Checks an entry of the list. Returns its name, if it has one.
pub(super) fn entry<'a>(tool: &'a Value, at: &str, rules: &Rules<'_>) -> Result<Option<&'a str>, ApiError> {
    if !tool.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    let name = match &tool["type"] {
        Value::Null => custom(tool, &format!("{at}.custom"))?,
        kind => match required_text(kind, &format!("{at}.type"))? {
            "custom" => custom(tool, &format!("{at}.custom"))?,
            _ => match vendors(tool, at, rules)? {
                Some(name) => name,
                None => return Ok(None),
            },
        },
    };
    deferral(tool, name, at)?;
    Ok(Some(name))
}

/// A tool that is no part of the prompt's beginning can't end a cached one.
fn deferral(tool: &Value, name: &str, at: &str) -> Checked {
    let field = format!("{at}.defer_loading");
    optional(&tool["defer_loading"], &field, Value::is_boolean, "a valid boolean")?;
    if is_deferred(tool) && !tool["cache_control"].is_null() {
        return Err(ApiError::invalid(format!(
            "Tool '{name}' cannot have both defer_loading=true and cache_control set. Tools with defer_loading cannot use prompt caching."
        )));
    }
    Ok(())
}

/// What searches in the conversation have found has to be there still.
fn found(body: &Value, tools: &[Value], names: &HashSet<&str>) -> Checked {
    let gone = RequestView::new(body).references().find(|name| !names.contains(name));
    match gone.filter(|_| !has_toolset(tools)) {
        Some(name) => Err(ApiError::invalid(format!(
            "Tool reference '{name}' not found in available tools"
        ))),
        None => Ok(()),
    }
}

/// Whether only the server of a toolset knows all names.
pub(super) fn has_toolset(tools: &[Value]) -> bool {
    tools.iter().any(|tool| tool["type"] == MCP_TOOLSET)
}

/// Checks a tool of the vendor's. It has other fields, but its name is in the same namespace.
fn vendors<'a>(tool: &'a Value, at: &str, rules: &Rules<'_>) -> Result<Option<&'a str>, ApiError> {
    let usable = |kind: &&ToolKind| rules.betas.allow(kind.betas);
    let tags = TOOL_KINDS.iter().filter(usable).map(|kind| kind.kind);
    let tags: Vec<_> = ["custom"].into_iter().chain(tags).collect();
    let tag = tagged(tool, at, &tags)?;
    let Some(kind) = TOOL_KINDS.iter().find(|kind| kind.kind == tag) else {
        return Ok(None);
    };
    let at = format!("{at}.{tag}");
    let mut fields = vec!["type", "cache_control"];
    fields.extend(kind.name.map(|_| "name"));
    fields.extend(kind.fields.iter().copied().flatten());
    known_fields(tool, &fields, &at)?;
    let Some(expected) = kind.name else {
        return Ok(None);
    };
    let name = required_text(&tool["name"], &format!("{at}.name"))?;
    if name == expected {
        Ok(Some(name))
    } else {
        Err(ApiError::invalid(format!("{at}.name: Input should be '{expected}'")))
    }
}

fn custom<'a>(tool: &'a Value, at: &str) -> Result<&'a str, ApiError> {
    let name = required_text(&tool["name"], &format!("{at}.name"))?;
    if !is_tool_name(name) {
        return Err(ApiError::invalid(format!(
            "{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        )));
    }
    let description = format!("{at}.description");
    optional(&tool["description"], &description, Value::is_string, "a valid string")?;
    schema(&tool["input_schema"], &format!("{at}.input_schema"))?;
    known_fields(
        tool,
        &[
            "type",
            "name",
            "description",
            "input_schema",
            "cache_control",
            "strict",
            "defer_loading",
            "allowed_callers",
            "input_examples",
            "eager_input_streaming",
        ],
        at,
    )?;
    Ok(name)
}

fn schema(schema: &Value, at: &str) -> Checked {
    let wrong = |problem: &str| Err(ApiError::invalid(format!("{at}{problem}")));
    match schema {
        Value::Null => wrong(": Field required"),
        Value::Object(fields) => {
            if REFUSED_ROOT_KEYWORDS
                .iter()
                .any(|keyword| fields.contains_key(*keyword))
            {
                return wrong(": input_schema does not support oneOf, allOf, or anyOf at the top level");
            }
            // The API checks the names of top-level properties only.
            let properties = fields.get("properties").and_then(Value::as_object);
            if properties.is_some_and(|properties| !properties.keys().all(|name| is_property_name(name))) {
                return wrong(".properties: Property keys should match pattern '^[a-zA-Z0-9_.-]{1,64}$'");
            }
            match fields.get("type") {
                None => wrong(".type: Field required"),
                Some(kind) if kind == "object" => Ok(()),
                Some(_) => wrong(".type: Input should be 'object'"),
            }
        }
        _ => wrong(": Input should be a valid dictionary"),
    }
}

fn choice(choice: &Value, tools: &[Value], names: &HashSet<&str>) -> Checked {
    if choice.is_null() {
        return Ok(());
    }
    let kind = tagged(choice, "tool_choice", &CHOICES)?;
    let at = format!("tool_choice.{kind}");
    let known = match kind {
        "none" => &["type"][..],
        "tool" => &["type", "name", DISABLE_PARALLEL],
        _ => &["type", DISABLE_PARALLEL],
    };
    known_fields(choice, known, &at)?;
    let parallel = format!("{at}.{DISABLE_PARALLEL}");
    optional(
        &choice[DISABLE_PARALLEL],
        &parallel,
        Value::is_boolean,
        "a valid boolean",
    )?;
    if tools.is_empty() {
        return Err(ApiError::invalid(
            "tool_choice may only be specified while providing tools.",
        ));
    }
    if kind == "tool" {
        let name = required_text(&choice["name"], &format!("{at}.name"))?;
        if !names.contains(name) && !has_toolset(tools) {
            return Err(ApiError::invalid(format!("Tool '{name}' not found in provided tools")));
        }
    }
    Ok(())
}
