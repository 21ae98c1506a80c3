//! Refuses what OpenAI's API refuses. Servers that follow it refuse less, so what passes here passes there. Sources: the
//! vendor's API reference, and the messages that users quote in public issue threads.

use serde_json::{Map, Value};

use crate::chat_api::{ASSISTANT, MAX_ID_BYTES, SYSTEM, TOOL, USER};
use crate::simulator::error::ApiError;

type Checked = Result<(), ApiError>;

/// The fields of a request that the API knows.
const FIELDS: [&str; 37] = [
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "modalities",
    "model",
    "moderation",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

/// Bytes of a tool's name.
const MAX_NAME_BYTES: usize = 64;

const MAX_TEMPERATURE: f64 = 2.0;

const DEVELOPER: &str = "developer";

pub(in crate::simulator) fn check(request: &Value) -> Checked {
    let request = request
        .as_object()
        .ok_or_else(|| ApiError::invalid("We could not parse the JSON body of your request."))?;
    if let Some(unknown) = request.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return refuse(unknown, format!("Unknown parameter: '{unknown}'."));
    }
    if request.get("model").and_then(Value::as_str).is_none_or(str::is_empty) {
        return refuse("model", "you must provide a model parameter");
    }
    options(request)?;
    let tools = request.get("tools").map_or(Ok(&[][..]), |tools| list(tools, "tools"))?;
    for (index, tool) in tools.iter().enumerate() {
        self::tool(tool, &format!("tools[{index}]"))?;
    }
    let messages = list(request.get("messages").unwrap_or(&Value::Null), "messages")?;
    if messages.is_empty() {
        return refuse(
            "messages",
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
        );
    }
    self::messages(messages)
}

fn options(request: &Map<String, Value>) -> Checked {
    for name in ["stream", "parallel_tool_calls", "store"] {
        if request
            .get(name)
            .is_some_and(|value| !value.is_boolean() && !value.is_null())
        {
            return refuse(name, format!("Invalid type for '{name}': expected a boolean."));
        }
    }
    for name in ["max_tokens", "max_completion_tokens"] {
        if request
            .get(name)
            .is_some_and(|value| value.as_u64().is_none_or(|tokens| tokens == 0))
        {
            return refuse(name, format!("Invalid '{name}': integer below minimum value."));
        }
    }
    if request.contains_key("max_tokens") && request.contains_key("max_completion_tokens") {
        return Err(ApiError::invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ));
    }
    if request.contains_key("stream_options") && request.get("stream") != Some(&Value::Bool(true)) {
        return refuse(
            "stream_options",
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        );
    }
    if let Some(temperature) = request.get("temperature").filter(|value| !value.is_null()) {
        let is_valid = |value: f64| (0.0..=MAX_TEMPERATURE).contains(&value);
        if !temperature.as_f64().is_some_and(is_valid) {
            return refuse(
                "temperature",
                format!(
                    "Invalid 'temperature': expected a number from 0 to {MAX_TEMPERATURE}, but got {temperature} instead."
                ),
            );
        }
    }
    for name in ["tool_choice", "parallel_tool_calls"] {
        if request.contains_key(name) && !request.contains_key("tools") {
            return refuse(
                name,
                format!("Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified."),
            );
        }
    }
    Ok(())
}

fn tool(tool: &Value, at: &str) -> Checked {
    if tool["type"] != "function" {
        return refuse(
            format!("{at}.type"),
            format!("Invalid value: '{}'. Supported values are: 'function'.", tool["type"]),
        );
    }
    name(&tool["function"]["name"], &format!("{at}.function.name"))?;
    match &tool["function"]["parameters"] {
        Value::Object(schema) if schema.get("type").is_none_or(|kind| kind == "object") => Ok(()),
        Value::Null => Ok(()),
        _ => refuse(
            format!("{at}.function.parameters"),
            format!("Invalid schema for '{at}': schema must be a JSON Schema of 'type: \"object\"'."),
        ),
    }
}

/// Each call is answered, by messages right after it, before anything else.
fn messages(messages: &[Value]) -> Checked {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages[{index}]");
        let role = message["role"].as_str();
        if role != Some(TOOL) && !open.is_empty() {
            return unanswered(&open, index);
        }
        match role {
            Some(SYSTEM | DEVELOPER) => content(&message["content"], &at)?,
            Some(USER) => content(&message["content"], &at)?,
            Some(ASSISTANT) => open = answer(message, &at)?,
            Some(TOOL) => {
                content(&message["content"], &at)?;
                let id = message["tool_call_id"].as_str();
                let Some(position) = open.iter().position(|open| Some(*open) == id) else {
                    return refuse(
                        format!("messages.[{index}].role"),
                        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with \
                         'tool_calls'.",
                    );
                };
                open.remove(position);
            }
            _ => return refuse(format!("{at}.role"), format!("Invalid value: '{}'.", message["role"])),
        }
    }
    if open.is_empty() {
        Ok(())
    } else {
        unanswered(&open, messages.len())
    }
}

/// The ids of the answer's calls.
fn answer<'a>(message: &'a Value, at: &str) -> Result<Vec<&'a str>, ApiError> {
    let calls = match &message["tool_calls"] {
        Value::Null => &[][..],
        calls => list(calls, &format!("{at}.tool_calls"))?,
    };
    match &message["content"] {
        Value::Null if !calls.is_empty() || message["refusal"].is_string() => {}
        text => content(text, at)?,
    }
    let mut ids = Vec::new();
    for (index, call) in calls.iter().enumerate() {
        let at = format!("{at}.tool_calls[{index}]");
        let id = call["id"].as_str().filter(|id| !id.is_empty());
        let Some(id) = id.filter(|id| !ids.contains(id)) else {
            return refuse(format!("{at}.id"), "Missing, empty or repeated id of a call.");
        };
        if id.len() > MAX_ID_BYTES {
            let at = format!("{at}.id");
            let words = format!(
                "Invalid '{at}': string too long. Expected a string with maximum length {MAX_ID_BYTES}, but got a string \
                 with length {} instead.",
                id.len()
            );
            return refuse(at, words);
        }
        if call["type"] != "function" {
            return refuse(
                format!("{at}.type"),
                format!("Missing required parameter: '{at}.type'."),
            );
        }
        name(&call["function"]["name"], &format!("{at}.function.name"))?;
        if !call["function"]["arguments"].is_string() {
            let at = format!("{at}.function.arguments");
            let words = format!("Invalid type for '{at}': expected a string.");
            return refuse(at, words);
        }
        ids.push(id);
    }
    Ok(ids)
}

fn content(content: &Value, at: &str) -> Checked {
    let is_part = |part: &Value| match part["type"].as_str() {
        Some("text") => part["text"].is_string(),
        Some("image_url") => part["image_url"]["url"].is_string(),
        Some("file") => part["file"]["file_data"].is_string(),
        _ => false,
    };
    match content {
        Value::String(_) => Ok(()),
        Value::Array(parts) if !parts.is_empty() && parts.iter().all(is_part) => Ok(()),
        _ => refuse(
            format!("{at}.content"),
            format!(
                "Invalid type for '{at}.content': expected one of a string or an array of objects with text, image_url or file."
            ),
        ),
    }
}

fn name(name: &Value, at: &str) -> Checked {
    let is_valid = |name: &str| {
        (1..=MAX_NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    match name.as_str().is_some_and(is_valid) {
        true => Ok(()),
        false => refuse(
            at,
            format!(
                "Invalid '{at}': string does not match pattern. Expected a string that matches the pattern \
                 '^[a-zA-Z0-9_-]+$'."
            ),
        ),
    }
}

fn list<'a>(value: &'a Value, at: &str) -> Result<&'a [Value], ApiError> {
    let list = value.as_array().map(Vec::as_slice);
    match list {
        Some(list) => Ok(list),
        None => refuse(at, format!("Invalid type for '{at}': expected an array of objects.")),
    }
}

/// `next` is the message where a result was expected.
fn unanswered(open: &[&str], next: usize) -> Checked {
    refuse(
        format!("messages.[{next}].role"),
        format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
             The following tool_call_ids did not have response messages: {}",
            open.join(", ")
        ),
    )
}

/// `param` is the field that the error names.
fn refuse<T>(param: impl Into<String>, message: impl Into<String>) -> Result<T, ApiError> {
    let mut error = ApiError::invalid(message);
    error.details.insert("param".to_owned(), param.into().into());
    Err(error)
}
