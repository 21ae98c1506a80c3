//! What a rebuild changed about the tools.

use serde::Serialize;
use serde_json::{Map, Value};

use super::describe::{kind, line, required, short};

/// What [`kind`] is made of.
const KINDS: [&str; 6] = ["type", "enum", "const", "anyOf", "oneOf", "items"];

/// The longest beginning that is shown of two values, if both have it, and how much is shown of a longer one; in characters.
const MAX_COMMON_CHARS: usize = 30;
const CONTEXT_CHARS: usize = 10;

/// The most new tools that have a line each, and how many are named where there are more.
const MAX_DESCRIBED: usize = 8;
const MAX_NAMED: usize = 5;

/// The differences between two lists of tools, as `tool list --output json` describes them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    pub added: Vec<Added>,
    pub removed: Vec<String>,
    pub changed: Vec<Changed>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Added {
    pub name: String,
    /// The tool in a line, for people.
    #[serde(skip)]
    pub line: String,
}

/// A tool that is described differently.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub name: String,
    /// One difference a line.
    pub changes: Vec<String>,
}

impl Changes {
    pub fn between(before: &[Value], after: &[Value]) -> Self {
        let find = |tools: &[Value], name: &Value| tools.iter().find(|tool| tool["name"] == *name).cloned();
        let name = |tool: &Value| tool["name"].as_str().unwrap_or_default().to_owned();
        let mut changes = Self::default();
        for tool in after {
            match find(before, &tool["name"]) {
                None => changes.added.push(Added {
                    name: name(tool),
                    line: line(tool),
                }),
                Some(old) => {
                    let differences = differences(&old, tool);
                    if !differences.is_empty() {
                        changes.changed.push(Changed {
                            name: name(tool),
                            changes: differences,
                        });
                    }
                }
            }
        }
        let removed = before.iter().filter(|tool| find(after, &tool["name"]).is_none());
        changes.removed = removed.map(name).collect();
        changes
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// The lines that people read.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match self.added.len() {
            ..=MAX_DESCRIBED => lines.extend(self.added.iter().map(|tool| format!("+ {}", tool.line))),
            count => {
                let names: Vec<&str> = self.added.iter().map(|tool| tool.name.as_str()).collect();
                lines.push(format!(
                    "+ {count} tools: {} and {} more; `help` lists them",
                    names[..MAX_NAMED].join(", "),
                    count - MAX_NAMED
                ));
            }
        }
        lines.extend(self.removed.iter().map(|name| format!("- {name}")));
        for tool in &self.changed {
            match &tool.changes[..] {
                [change] => lines.push(format!("~ {}: {change}", tool.name)),
                changes => {
                    lines.push(format!("~ {}:", tool.name));
                    lines.extend(changes.iter().map(|change| format!("    {change}")));
                }
            }
        }
        lines
    }
}

fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if before["description"] != after["description"] {
        found.push(format!(
            "description {}",
            arrow(&before["description"], &after["description"])
        ));
    }
    compare("input", &before["input_schema"], &after["input_schema"], &mut found);
    match (&before["output_schema"], &after["output_schema"]) {
        (Value::Null, Value::Null) => {}
        (Value::Null, new) => found.push(format!("output + {}", kind(new))),
        (old, Value::Null) => found.push(format!("output - {}", kind(old))),
        (old, new) => compare("output", old, new, &mut found),
    }
    for (claim, text) in [
        ("read_only", "read-only"),
        ("idempotent", "idempotent"),
        ("destructive", "destructive"),
    ] {
        match (&before["annotations"][claim], &after["annotations"][claim]) {
            (old, new) if old == new => {}
            (_, Value::Bool(true)) => found.push(format!("claims + {text}")),
            _ => found.push(format!("claims - {text}")),
        }
    }
    found
}

/// Compares two schemas. `path` says where they are.
fn compare(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        found.push(format!("{path} {}", arrow(before, after)));
        return;
    };
    let reported = found.len();
    let is_retyped = kind(before) != kind(after);
    if is_retyped {
        found.push(format!("{path} {} -> {}", kind(before), kind(after)));
    }
    let is_covered = |key: &&str| is_retyped && KINDS.contains(key);
    for key in union(old, new).into_iter().filter(|key| !is_covered(key)) {
        match (key, old.get(key), new.get(key)) {
            (_, old, new) if old == new => {}
            // Compared with the properties.
            ("properties" | "required", ..) => {}
            ("items", Some(old), Some(new)) => compare(&format!("{path}[]"), old, new, found),
            (_, Some(old @ Value::Object(_)), Some(new @ Value::Object(_))) => {
                compare(&format!("{path}.{}", short(key)), old, new, found);
            }
            (_, None, Some(new)) => found.push(format!("{path} + {} {}", short(key), quoted(new))),
            (_, Some(_), None) => found.push(format!("{path} - {}", short(key))),
            (_, Some(old), Some(new)) => {
                found.push(format!("{path} {} {} -> {}", short(key), quoted(old), quoted(new)))
            }
            (_, None, None) => {}
        }
    }
    compare_properties(path, before, after, found);
    if found.len() == reported {
        // Such as another order of what is required.
        found.push(format!("{path} {}", arrow(before, after)));
    }
}

fn compare_properties(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    let properties = |schema: &Value| schema["properties"].as_object().cloned().unwrap_or_default();
    let (old, new) = (properties(before), properties(after));
    let is_required = |name: &str| required(after).any(|required| required == name);
    for name in union(&old, &new) {
        match (old.get(name), new.get(name)) {
            (None, Some(added)) => {
                let required = if is_required(name) { ", required" } else { "" };
                found.push(format!("{path} + {}: {}{required}", short(name), kind(added)));
            }
            (Some(_), None) => found.push(format!("{path} - {}", short(name))),
            (Some(old), Some(new)) => compare(&format!("{path}.{}", short(name)), old, new, found),
            (None, None) => {}
        }
    }
    compare_required(path, before, after, found);
}

/// Properties of both schemas that only one of them requires.
fn compare_required(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    let (old, new): (Vec<&str>, Vec<&str>) = (required(before).collect(), required(after).collect());
    let is_property = |schema: &Value, name: &str| schema["properties"].get(name).is_some();
    for name in new.iter().filter(|name| !old.contains(name)) {
        if is_property(before, name) {
            found.push(format!("{path}.{} is required", short(name)));
        }
    }
    for name in old.iter().filter(|name| !new.contains(name)) {
        if is_property(after, name) {
            found.push(format!("{path}.{} is optional", short(name)));
        }
    }
}

fn union<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> Vec<&'a str> {
    let new = after.keys().filter(|key| !before.contains_key(*key));
    before.keys().chain(new).map(String::as_str).collect()
}

/// Two values that differ. A long beginning that both have is left out.
fn arrow(before: &Value, after: &Value) -> String {
    let (old, new) = (before.to_string(), after.to_string());
    let common = old.chars().zip(new.chars()).take_while(|(old, new)| old == new).count();
    let from_difference = |text: &str| match common > MAX_COMMON_CHARS {
        true => short(&format!(
            "…{}",
            text.chars().skip(common - CONTEXT_CHARS).collect::<String>()
        )),
        false => short(text),
    };
    format!("{} -> {}", from_difference(&old), from_difference(&new))
}

/// A value as JSON, cut off.
fn quoted(value: &Value) -> String {
    short(&value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(schema: Value) -> Value {
        json!({
            "name": "reverse", "description": "Reverses.", "input_schema": schema, "output_schema": null,
            "annotations": { "read_only": false, "idempotent": false, "destructive": false },
        })
    }

    fn input_changes(before: Value, after: Value) -> Vec<String> {
        differences(&tool(before), &tool(after))
    }

    #[test]
    fn tools_are_added_removed_and_changed_by_name() {
        let named = |name: &str, description: &str| {
            let mut tool = tool(json!({ "type": "object" }));
            (tool["name"], tool["description"]) = (name.into(), description.into());
            tool
        };
        let before = [named("a", "A."), named("b", "B."), named("c", "C.")];
        let after = [named("a", "A."), named("c", "Sea."), named("d", "D.")];
        let changes = Changes::between(&before, &after);
        let expected = ["+ d()  D.", "- b", "~ c: description \"C.\" -> \"Sea.\""];
        assert_eq!(changes.lines(), expected);
        assert_eq!(
            serde_json::to_value(&changes).ok(),
            Some(json!({
                "added": [{ "name": "d" }], "removed": ["b"],
                "changed": [{ "name": "c", "changes": ["description \"C.\" -> \"Sea.\""] }],
            }))
        );
        assert!(Changes::between(&before, &before).is_empty());
        // The list of a big component isn't a list of changes.
        let many: Vec<Value> = (1..=40).map(|number| named(&format!("t{number}"), "T.")).collect();
        assert_eq!(
            Changes::between(&[], &many).lines(),
            ["+ 40 tools: t1, t2, t3, t4, t5 and 35 more; `help` lists them"]
        );
        assert_eq!(Changes::between(&[], &many[..8]).lines().len(), 8);
    }

    #[test]
    fn properties_are_compared_one_by_one() {
        let before = json!({
            "type": "object", "additionalProperties": false,
            "properties": {
                "text": { "type": "string", "description": "Text.", "maxLength": 10 },
                "letter": { "type": "string" },
                "gone": {},
                "range": { "type": "object", "properties": { "end": { "type": "integer" } } },
                "list": { "type": "array", "items": { "type": "string", "minLength": 1 } },
            },
            "required": ["text", "gone"],
        });
        let after = json!({
            "type": "object",
            "properties": {
                "text": { "type": "string", "description": "The text.", "minLength": 1 },
                "letter": { "enum": ["a", "b"] },
                "limit": { "type": "integer" },
                "range": { "type": "object", "properties": { "end": { "type": "number" } } },
                "list": { "type": "array", "items": { "type": "string", "minLength": 2 } },
            },
            "required": ["letter", "limit"],
        });
        assert_eq!(
            input_changes(before, after),
            [
                "input - additionalProperties",
                "input - gone",
                "input.letter string -> \"a\" | \"b\"",
                "input.list[] minLength 1 -> 2",
                "input.range.end integer -> number",
                "input.text description \"Text.\" -> \"The text.\"",
                "input.text - maxLength",
                "input.text + minLength 1",
                "input + limit: integer, required",
                "input.letter is required",
                "input.text is optional",
            ]
        );
    }

    #[test]
    fn outputs_and_claims_are_compared() {
        let before = tool(json!({}));
        let mut after = before.clone();
        after["output_schema"] = json!({ "type": "integer" });
        after["annotations"]["idempotent"] = true.into();
        assert_eq!(
            differences(&before, &after),
            ["output + integer", "claims + idempotent"]
        );
        assert_eq!(
            differences(&after, &before),
            ["output - integer", "claims - idempotent"]
        );
        let mut last = after.clone();
        last["output_schema"] = json!({ "type": "string" });
        assert_eq!(differences(&after, &last), ["output integer -> string"]);
    }

    #[test]
    fn a_difference_at_the_end_of_a_long_text_is_shown() {
        let described = |end: &str| {
            let mut tool = tool(json!({}));
            tool["description"] = format!("{} and so on {end}", "word ".repeat(50)).into();
            tool
        };
        assert_eq!(
            differences(&described("forever."), &described("for ever.")),
            [r#"description … so on forever." -> … so on for ever.""#]
        );
    }

    #[test]
    fn no_difference_is_lost() {
        let of = |schema: Value| json!({ "properties": { "x": schema } });
        for (before, after) in [
            (json!({ "required": ["a", "b"] }), json!({ "required": ["b", "a"] })),
            (json!({ "required": ["a"] }), json!({})),
            (json!({ "properties": {} }), json!({})),
            (of(true.into()), of(false.into())),
            (
                of(json!({ "type": "integer" })),
                of(json!({ "anyOf": [{ "type": "integer" }] })),
            ),
            (
                of(json!({ "anyOf": [{ "type": "integer", "minimum": 1 }] })),
                of(json!({ "anyOf": [{ "type": "integer", "minimum": 2 }] })),
            ),
            (
                json!({ "$defs": { "a": {} } }),
                json!({ "$defs": { "a": { "type": "null" } } }),
            ),
            (
                of(json!({ "enum": vec!["a"; 100] })),
                of(json!({ "enum": vec!["a"; 101] })),
            ),
        ] {
            let changes = input_changes(before.clone(), after.clone());
            assert!(!changes.is_empty(), "{before} -> {after}");
        }
    }
}
