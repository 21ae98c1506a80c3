//! Messages of the role `system`: where they may stand, and what they change of the tools. Source: the vendor's page on mid-conversation
//! system messages and tool changes, and the errors that users quote.

use std::collections::HashMap;

use serde_json::Value;

use super::tools::{entry, has_toolset, listed};
use super::{ApiError, Checked, Rules, blocks, known_fields, required_text, tagged};
use crate::messages_api::limits::MAX_INLINE_TOOL_BYTES;
use crate::messages_api::{ASSISTANT, SYSTEM, USER};

const ADDITION: &str = "tool_addition";
const REMOVAL: &str = "tool_removal";
const REFERENCES: [&str; 3] = ["tool_reference", "mcp_tool_reference", "mcp_toolset_reference"];
const DEFINITION: &str = "tool_definition";

/// The beta in which a change can define a tool.
const INLINE: &str = "inline-tools-";

/// What is accepted anywhere.
const SUFFIX: &str = "the directive-only form (content: [] with output_config) is accepted at any position";

/// A tool that the conversation knows, in a request that is checked from its beginning on.
#[derive(Clone, Copy)]
struct Known {
    is_custom: bool,
    /// Of a definition that stands in a message, as long as the model has the tool.
    inline_bytes: usize,
}

pub(super) fn check(body: &Value, rules: &Rules<'_>) -> Checked {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let tools = listed(body);
    let mut known: HashMap<&str, Known> = HashMap::new();
    for tool in tools {
        if let Some(name) = tool["name"].as_str() {
            known.insert(
                name,
                Known {
                    is_custom: is_custom(tool),
                    inline_bytes: 0,
                },
            );
        }
    }
    for (index, message) in messages
        .iter()
        .enumerate()
        .filter(|(_, message)| message["role"] == SYSTEM)
    {
        let changes = message["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        let changes: Vec<_> = changes
            .iter()
            .enumerate()
            .filter(|(_, block)| is_change(block))
            .collect();
        placed(messages, index, !changes.is_empty())?;
        for (position, block) in changes {
            let at = format!("messages.{index}.content.{position}");
            change(block, &at, has_toolset(tools), &mut known, rules)?;
        }
        if known.values().map(|tool| tool.inline_bytes).sum::<usize>() > MAX_INLINE_TOOL_BYTES {
            return Err(coded(
                "available_tools_limit_exceeded",
                format!("messages.{index}: the tools defined in messages exceed {MAX_INLINE_TOOL_BYTES} bytes"),
            ));
        }
    }
    Ok(())
}

fn is_change(block: &Value) -> bool {
    block["type"] == ADDITION || block["type"] == REMOVAL
}

fn is_custom(tool: &Value) -> bool {
    tool["type"].is_null() || tool["type"] == "custom"
}

/// Several in a row are judged together.
fn placed(messages: &[Value], index: usize, changes_tools: bool) -> Checked {
    let at = format!("messages.{index}");
    let is_other = |message: &&Value| message["role"] != SYSTEM;
    let before = messages[..index].iter().rev().find(is_other);
    let after = messages[index..].iter().find(is_other);
    let Some(before) = before else {
        return Err(ApiError::invalid(format!(
            "{at}: use the top-level 'system' parameter for the initial system prompt; {SUFFIX}"
        )));
    };
    let last = before["content"].as_array().and_then(|blocks| blocks.last());
    let is_paused = before["role"] == ASSISTANT
        && last.is_some_and(|block| block["type"] != "server_tool_use" && blocks::is_run_by_the_vendor(block));
    if before["role"] != USER && !is_paused {
        return Err(ApiError::invalid(format!(
            "{at}: role 'system' must follow a 'user' message or an 'assistant' message ending in a server tool result; {SUFFIX}"
        )));
    }
    if is_paused && changes_tools {
        return Err(ApiError::invalid(format!(
            "{at}: {ADDITION} and {REMOVAL} blocks must not follow a paused 'assistant' message"
        )));
    }
    if after.is_some_and(|after| after["role"] != ASSISTANT) {
        return Err(ApiError::invalid(format!(
            "{at}: role 'system' must precede an 'assistant' message or end the array; {SUFFIX}"
        )));
    }
    Ok(())
}

fn change<'a>(
    block: &'a Value,
    at: &str,
    has_toolset: bool,
    known: &mut HashMap<&'a str, Known>,
    rules: &Rules<'_>,
) -> Checked {
    let adds = block["type"] == ADDITION;
    let at = format!("{at}.{}.tool", block["type"].as_str().unwrap_or_default());
    let tool = &block["tool"];
    let defines = adds && rules.betas.has(INLINE);
    let tags: Vec<_> = REFERENCES.into_iter().chain(defines.then_some(DEFINITION)).collect();
    let tag = tagged(tool, &at, &tags)?;
    let at = format!("{at}.{tag}");
    match tag {
        DEFINITION => {
            known_fields(tool, &["type", "definition"], &at)?;
            let definition = &tool["definition"];
            if !block["cache_control"].is_null() && !definition["cache_control"].is_null() {
                return Err(ApiError::invalid(format!(
                    "{at}: cache_control can be on the block or in the definition, not on both"
                )));
            }
            let Some(name) = entry(definition, &format!("{at}.definition"), rules)? else {
                return Ok(());
            };
            let defined = Known {
                is_custom: is_custom(definition),
                inline_bytes: definition.to_string().len(),
            };
            match known.insert(name, defined) {
                Some(before) if before.is_custom != defined.is_custom => Err(coded(
                    "tool_name_conflict",
                    format!("{at}: the name '{name}' is that of another type of tool"),
                )),
                _ => Ok(()),
            }
        }
        "tool_reference" => {
            known_fields(tool, &["type", "name"], &at)?;
            let name = required_text(&tool["name"], &format!("{at}.name"))?;
            match known.get_mut(name) {
                Some(_) if adds => Ok(()),
                Some(known) => {
                    known.inline_bytes = 0;
                    Ok(())
                }
                None if has_toolset => Ok(()),
                None => Err(coded(
                    "tool_reference_unresolved",
                    format!("{at}: Tool reference '{name}' not found in available tools"),
                )),
            }
        }
        _ => Ok(()),
    }
}

fn coded(code: &str, message: String) -> ApiError {
    ApiError {
        error_code: Some(code.to_owned()),
        ..ApiError::invalid(message)
    }
}
