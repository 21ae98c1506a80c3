//! Tools in a line each: how they are called, and what their schemas say.

use serde_json::{Map, Value};

use super::super::format;

/// The maximum length of a type, a value or a description, in characters.
const MAX_CHARS: usize = 70;

/// How a tool is called, and the first line of its description.
pub fn line(tool: &Value) -> String {
    let description = tool["description"].as_str().unwrap_or_default();
    let first = description.lines().next().unwrap_or_default();
    format!("{}  {}", signature(tool), short(first)).trim_end().to_owned()
}

/// `count_letter(text: string, letter?: string) -> integer`
pub fn signature(tool: &Value) -> String {
    let schema = &tool["input_schema"];
    let parameters = parameters(schema).into_iter().map(|(name, is_required)| {
        let optional = if is_required { "" } else { "?" };
        let of = kind(&schema["properties"][name]);
        format!("{}{optional}: {of}", short(name))
    });
    let parameters: Vec<String> = parameters.collect();
    let output = match &tool["output_schema"] {
        Value::Null => String::new(),
        output => format!(" -> {}", kind(output)),
    };
    format!(
        "{}({}){output}",
        tool["name"].as_str().unwrap_or_default(),
        parameters.join(", ")
    )
}

/// An input with a value of the right type for each parameter that is required, for a person to change.
pub fn example(tool: &Value) -> String {
    let schema = &tool["input_schema"];
    let required = parameters(schema).into_iter().filter(|(_, is_required)| *is_required);
    let values = required.map(|(name, _)| {
        let value = match schema["properties"][name]["type"].as_str() {
            Some("integer" | "number") => "1",
            Some("boolean") => "true",
            Some("array") => "[]",
            Some("object") => "{}",
            _ => "\"…\"",
        };
        format!("{}: {value}", Value::from(name))
    });
    format::escape_json(&format!("{{{}}}", values.collect::<Vec<_>>().join(", "))).into_owned()
}

/// The names of an object's properties, those that are required first and in the order in which the schema requires them.
fn parameters(schema: &Value) -> Vec<(&str, bool)> {
    let required: Vec<&str> = required(schema).collect();
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::keys);
    let optional = properties.map(String::as_str).filter(|name| !required.contains(name));
    let optional = optional.map(|name| (name, false));
    required.iter().map(|name| (*name, true)).chain(optional).collect()
}

pub fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

/// The type that a schema describes, in a few words.
pub fn kind(schema: &Value) -> String {
    let joined = |kinds: Vec<String>| kinds.join(" | ");
    let alternatives = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array());
    let kind = if let Some(values) = schema["enum"].as_array() {
        joined(values.iter().map(Value::to_string).collect())
    } else if let Some(constant) = schema.get("const") {
        constant.to_string()
    } else if let Some(alternatives) = alternatives {
        joined(alternatives.iter().map(kind).collect())
    } else {
        match &schema["type"] {
            Value::String(name) if name == "array" && schema["items"].is_object() => {
                format!("array of {}", kind(&schema["items"]))
            }
            Value::String(name) => name.clone(),
            Value::Array(names) => joined(names.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            _ => "any".to_owned(),
        }
    };
    short(&kind)
}

/// Text of a component on one line.
pub fn short(text: &str) -> String {
    format::one_line(text, MAX_CHARS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_has_the_parameters_and_the_first_line_of_the_description() {
        let tool = json!({
            "name": "count_letter",
            "description": "Counts letters.\nSlowly.",
            "input_schema": {
                "type": "object",
                "properties": {
                    "case": { "enum": ["upper", "lower"] },
                    "letter": { "type": ["string", "null"] },
                    "text": { "type": "string" },
                    "spans": { "type": "array", "items": { "type": "integer" } },
                    "any": true,
                },
                "required": ["text", "letter"],
            },
            "output_schema": { "anyOf": [{ "type": "integer" }, { "type": "null" }] },
        });
        assert_eq!(
            line(&tool),
            "count_letter(text: string, letter: string | null, any?: any, case?: \"upper\" | \"lower\", \
             spans?: array of integer) -> integer | null  Counts letters."
        );
        assert_eq!(example(&tool), r#"{"text": "…", "letter": "…"}"#);
        let bare =
            json!({ "name": "now", "description": "", "input_schema": { "type": "object" }, "output_schema": null });
        assert_eq!((line(&bare).as_str(), example(&bare).as_str()), ("now()", "{}"));
    }

    #[test]
    fn text_of_a_component_stays_on_its_line() {
        let tool = json!({
            "name": "t",
            "description": "a\u{1b}[2Jb",
            "input_schema": { "properties": { "x\ny": { "enum": ["\u{1b}"] } }, "required": ["x\ny"] },
        });
        assert_eq!(line(&tool), "t(x y: \"\\u001b\")  a\\u{1b}[2Jb");
        assert_eq!(example(&tool), "{\"x\\ny\": \"…\"}");
    }
}
