//! The rules of `tools` and `tool_choice`.

use std::collections::HashSet;

use serde_json::Value;

use super::{ApiError, Checked, known_fields, required_text};

const CHOICES: [&str; 4] = ["auto", "any", "tool", "none"];
const MAX_NAME: usize = 128;

pub(super) fn check(body: &Value) -> Checked {
    let tools = match &body["tools"] {
        Value::Null => &[][..],
        Value::Array(tools) => tools.as_slice(),
        _ => return Err(ApiError::invalid("tools: Input should be a valid list")),
    };
    let mut names = HashSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = match &tool["type"] {
            // It stands for all tools of a server, and has no name of its own.
            Value::String(kind) if kind == "mcp_toolset" => continue,
            // A tool with a type of its own runs at the vendor's and has other fields.
            Value::String(kind) if kind != "custom" => {
                required_text(tool, "name", &format!("tools.{index}.{kind}.name"))?
            }
            Value::String(_) | Value::Null => custom(tool, &format!("tools.{index}.custom"))?,
            _ => {
                return Err(ApiError::invalid(format!(
                    "tools.{index}.type: Input should be a valid string"
                )));
            }
        };
        if !names.insert(name) {
            return Err(ApiError::invalid("tools: Tool names must be unique."));
        }
    }
    choice(&body["tool_choice"], &names)
}

fn custom<'a>(tool: &'a Value, at: &str) -> Result<&'a str, ApiError> {
    if !tool.is_object() {
        return Err(ApiError::invalid(format!("{at}: Input should be a valid dictionary")));
    }
    let name = required_text(tool, "name", &format!("{at}.name"))?;
    if name.len() > MAX_NAME
        || !name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        return Err(ApiError::invalid(format!(
            "{at}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        )));
    }
    if !tool["description"].is_null() && !tool["description"].is_string() {
        return Err(ApiError::invalid(format!(
            "{at}.description: Input should be a valid string"
        )));
    }
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
            if ["oneOf", "allOf", "anyOf"]
                .iter()
                .any(|keyword| fields.contains_key(*keyword))
            {
                return wrong(": input_schema does not support oneOf, allOf, or anyOf at the top level");
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

fn choice(choice: &Value, names: &HashSet<&str>) -> Checked {
    if choice.is_null() {
        return Ok(());
    }
    let kind = required_text(choice, "type", "tool_choice.type")?;
    if !CHOICES.contains(&kind) {
        return Err(ApiError::invalid(format!(
            "tool_choice: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'auto', \
             'any', 'tool', 'none'"
        )));
    }
    if names.is_empty() {
        return Err(ApiError::invalid(
            "tool_choice may only be specified while providing tools.",
        ));
    }
    if kind == "tool" {
        let name = required_text(choice, "name", "tool_choice.tool.name")?;
        if !names.contains(name) {
            return Err(ApiError::invalid(format!("Tool '{name}' not found in provided tools")));
        }
    }
    Ok(())
}
