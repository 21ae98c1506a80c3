//! Inputs that a JSON Schema suggests: what a model would send, what is at the edges, and what the schema should refuse.

use serde_json::{Map, Number, Value, json};

/// How deep schemas are followed.
const MAX_DEPTH: usize = 12;
/// The longest text, in characters, and list that are generated where the schema allows any length.
const LONG_TEXT: usize = 64 * 1024;
const LONG_LIST: usize = 200;
/// What stands for any text, and for any URL.
const ANY_TEXT: &str = "example";
const ANY_URL: &str = "https://example.com/";
/// Text that breaks careless code: a combining mark, an emoji of two UTF-16 units, a direction mark, quotes, a NUL.
const ODD_TEXT: &str = "e\u{301} 😀 \u{202e}\"'\\\n\0";

/// Why an input is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a model would send.
    Valid,
    /// Valid, and at an edge of the schema.
    Boundary,
    /// The schema should refuse it.
    Invalid,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) kind: Kind,
    /// What is special about it.
    pub(super) about: String,
    pub(super) value: Value,
}

/// At most `max` different inputs, valid ones first. The first is the sample that is measured.
pub(super) fn inputs(schema: &Value, max: usize) -> Vec<Input> {
    let generator = Generator { root: schema };
    let mut found: Vec<Input> = Vec::new();
    let mut add = |kind, about: String, value: Value| {
        if found.iter().all(|input| input.value != value) {
            found.push(Input { kind, about, value });
        }
    };
    let properties = generator.properties();
    let required = |name: &str| {
        let names = schema["required"].as_array();
        names.is_some_and(|names| names.iter().any(|required| required == name))
    };
    let typical = |only_required: bool| -> Map<String, Value> {
        let wanted = properties.iter().filter(|(name, _)| !only_required || required(name));
        wanted
            .map(|(name, schema)| (name.clone(), generator.parameter(name, schema)))
            .collect()
    };
    let (all, least) = (typical(false), typical(true));
    add(Kind::Valid, "every parameter".to_owned(), Value::Object(all.clone()));
    add(
        Kind::Valid,
        "required parameters only".to_owned(),
        Value::Object(least.clone()),
    );
    let with = |name: &str, value: Value| {
        let mut input = all.clone();
        input.insert(name.to_owned(), value);
        Value::Object(input)
    };
    for (name, schema) in &properties {
        for (about, value) in generator.edges(schema) {
            add(Kind::Boundary, format!("{name}: {about}"), with(name, value));
        }
    }
    for (name, schema) in &properties {
        if required(name) {
            let mut input = all.clone();
            input.remove(name);
            add(Kind::Invalid, format!("{name} is missing"), Value::Object(input));
        }
        if let Some(value) = generator.of_wrong_type(schema) {
            add(Kind::Invalid, format!("{name} has the wrong type"), with(name, value));
        }
    }
    add(
        Kind::Invalid,
        "an unknown parameter".to_owned(),
        with("no_such_parameter", json!(1)),
    );
    // Of many edges, keep some of each parameter and some invalid inputs.
    spread(found, max)
}

/// The first two inputs, then every n-th of the rest.
fn spread(found: Vec<Input>, max: usize) -> Vec<Input> {
    let rest = found.len().saturating_sub(2);
    let kept = max.saturating_sub(2).max(1);
    let step = rest.div_ceil(kept).max(1);
    let is_kept = |position: usize| position < 2 || (position - 2).is_multiple_of(step);
    found
        .into_iter()
        .enumerate()
        .filter(|(position, _)| is_kept(*position))
        .map(|(_, input)| input)
        .take(max)
        .collect()
}

struct Generator<'a> {
    root: &'a Value,
}

impl<'a> Generator<'a> {
    fn properties(&self) -> Vec<(String, &'a Value)> {
        let properties = self.root["properties"].as_object().into_iter().flatten();
        properties.map(|(name, schema)| (name.clone(), schema)).collect()
    }

    /// The schema itself, or the one that it refers to.
    fn resolve(&self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        for _ in 0..MAX_DEPTH {
            let target = schema["$ref"]
                .as_str()
                .and_then(|reference| reference.strip_prefix('#'));
            match target.and_then(|pointer| self.root.pointer(pointer)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    /// What a model would send as this parameter. Schemas made of types have no formats.
    fn parameter(&self, name: &str, schema: &'a Value) -> Value {
        let value = self.typical(schema, 0);
        let is_url = ["url", "uri"]
            .iter()
            .any(|end| name.to_ascii_lowercase().ends_with(end));
        match value.as_str() {
            Some(ANY_TEXT) if is_url => ANY_URL.into(),
            _ => value,
        }
    }

    /// What a model would send.
    fn typical(&self, schema: &'a Value, depth: usize) -> Value {
        let schema = self.resolve(schema);
        if depth > MAX_DEPTH {
            return Value::Null;
        }
        if let Some(value) = fixed(schema) {
            return value;
        }
        for word in ["oneOf", "anyOf", "allOf"] {
            if let Some(first) = schema[word].as_array().and_then(|schemas| schemas.first()) {
                return self.typical(first, depth + 1);
            }
        }
        match type_of(schema) {
            "string" => Value::String(text(schema)),
            "integer" => integer(schema, 1),
            "number" => number(schema, 1.5),
            "boolean" => Value::Bool(true),
            "array" => self.list(
                schema,
                usize::try_from(bound(schema, "minItems", 1)).unwrap_or(1),
                depth,
            ),
            "object" => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                properties
                    .map(|(name, schema)| (name.clone(), self.typical(schema, depth + 1)))
                    .collect()
            }
            _ => Value::Null,
        }
    }

    fn list(&self, schema: &'a Value, length: usize, depth: usize) -> Value {
        if let Some(items) = schema["prefixItems"].as_array() {
            return items.iter().map(|item| self.typical(item, depth + 1)).collect();
        }
        let choices = self.resolve(&schema["items"])["enum"].as_array();
        match choices {
            // The items may have to be unique.
            Some(choices) => choices.iter().take(length).cloned().collect(),
            None => vec![self.typical(&schema["items"], depth + 1); length].into(),
        }
    }

    /// Values at the edges of what the schema allows.
    fn edges(&self, schema: &'a Value) -> Vec<(String, Value)> {
        let schema = self.resolve(schema);
        let mut edges: Vec<(String, Value)> = Vec::new();
        if let Some(choices) = schema["enum"].as_array() {
            edges.extend(
                choices
                    .iter()
                    .skip(1)
                    .map(|choice| (choice.to_string(), choice.clone())),
            );
            return edges;
        }
        if schema.get("const").is_some() {
            return edges;
        }
        let mut add = |about: &str, value: Value| edges.push((about.to_owned(), value));
        match type_of(schema) {
            "string" if schema.get("pattern").is_some() || schema.get("format").is_some() => {}
            "string" if schema.get("contentEncoding").is_some() => add("no bytes", "".into()),
            "string" => {
                let shortest = usize::try_from(bound(schema, "minLength", 0)).unwrap_or(0);
                let longest = usize::try_from(bound(schema, "maxLength", LONG_TEXT as u64)).unwrap_or(LONG_TEXT);
                add("the shortest text", "x".repeat(shortest.min(LONG_TEXT)).into());
                if shortest <= 1 && longest >= 1 {
                    add("one character", "e".into());
                }
                if longest >= ODD_TEXT.chars().count() && shortest <= ODD_TEXT.chars().count() {
                    add("unusual characters", ODD_TEXT.into());
                }
                add("a long text", "x".repeat(longest.min(LONG_TEXT)).into());
            }
            "integer" => {
                add("the least number", integer(schema, i64::MIN));
                add("0", integer(schema, 0));
                add("-1", integer(schema, -1));
                add("the greatest number", integer(schema, i64::MAX));
            }
            "number" => {
                add("a negative number", number(schema, -1.5));
                add("a small number", number(schema, 5e-324));
                add("a great number", number(schema, 1.7e308));
            }
            "boolean" => add("false", false.into()),
            "array" => {
                let least = usize::try_from(bound(schema, "minItems", 0)).unwrap_or(0);
                let most = usize::try_from(bound(schema, "maxItems", LONG_LIST as u64)).unwrap_or(LONG_LIST);
                add("the shortest list", self.list(schema, least.min(LONG_LIST), 0));
                add("a long list", self.list(schema, most.min(LONG_LIST), 0));
            }
            _ => {}
        }
        edges
    }

    /// `None` if every type is right.
    fn of_wrong_type(&self, schema: &'a Value) -> Option<Value> {
        let schema = self.resolve(schema);
        match type_of(schema) {
            "string" => Some(json!(["not a text"])),
            "integer" | "number" | "boolean" | "array" | "object" => Some("not of this type".into()),
            _ => None,
        }
    }
}

/// A value that the schema names.
fn fixed(schema: &Value) -> Option<Value> {
    let first = |word: &str| schema[word].as_array().and_then(|values| values.first());
    let named = schema.get("const").or_else(|| schema.get("default"));
    named.or_else(|| first("examples")).or_else(|| first("enum")).cloned()
}

/// The schema's type, the first that isn't null if it has several.
fn type_of(schema: &Value) -> &str {
    let name = match &schema["type"] {
        Value::Array(types) => types.iter().find(|name| *name != "null"),
        name => Some(name),
    };
    match name.and_then(Value::as_str) {
        Some(name) => name,
        None if schema.get("properties").is_some() => "object",
        None if schema.get("items").is_some() => "array",
        None => "string",
    }
}

fn bound(schema: &Value, word: &str, default: u64) -> u64 {
    schema[word].as_u64().unwrap_or(default)
}

fn text(schema: &Value) -> String {
    let of_format = match schema["format"].as_str() {
        Some("date") => Some("2026-01-31"),
        Some("date-time") => Some("2026-01-31T12:00:00Z"),
        Some("time") => Some("12:00:00Z"),
        Some("email") => Some("name@example.com"),
        Some("uri" | "url") => Some(ANY_URL),
        Some("uuid") => Some("123e4567-e89b-42d3-a456-426614174000"),
        Some("ipv4") => Some("192.0.2.1"),
        _ => None,
    };
    if let Some(text) = of_format {
        return text.to_owned();
    }
    if schema.get("contentEncoding").is_some() {
        return "AAEC".to_owned();
    }
    let shortest = usize::try_from(bound(schema, "minLength", 0))
        .unwrap_or(0)
        .min(LONG_TEXT);
    let longest = usize::try_from(bound(schema, "maxLength", u64::MAX)).unwrap_or(usize::MAX);
    let mut text: String = ANY_TEXT.chars().take(longest).collect();
    text.extend(std::iter::repeat_n('x', shortest.saturating_sub(text.len())));
    text
}

/// The integer nearest to `wanted` that the schema allows.
fn integer(schema: &Value, wanted: i64) -> Value {
    let least = schema["minimum"]
        .as_i64()
        .or_else(|| schema["exclusiveMinimum"].as_i64().map(|bound| bound.saturating_add(1)));
    let most = schema["maximum"]
        .as_i64()
        .or_else(|| schema["exclusiveMaximum"].as_i64().map(|bound| bound.saturating_sub(1)));
    if wanted == i64::MAX && most.is_none() {
        // A `u64` goes further.
        return schema["maximum"].as_u64().map_or(i64::MAX.into(), Value::from);
    }
    let clamped = wanted.max(least.unwrap_or(i64::MIN)).min(most.unwrap_or(i64::MAX));
    match schema["multipleOf"].as_i64() {
        Some(step) if step > 1 => (clamped.saturating_add(step - 1) / step).saturating_mul(step).into(),
        _ => clamped.into(),
    }
}

fn number(schema: &Value, wanted: f64) -> Value {
    let least = schema["minimum"].as_f64().unwrap_or(f64::MIN);
    let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
    let clamped = wanted.max(least).min(most);
    Number::from_f64(clamped).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_kind(schema: &Value, kind: Kind) -> Vec<Value> {
        let inputs = inputs(schema, 100).into_iter();
        inputs
            .filter(|input| input.kind == kind)
            .map(|input| input.value)
            .collect()
    }

    #[test]
    fn a_schema_suggests_valid_boundary_and_invalid_inputs() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": { "type": "string", "minLength": 2, "maxLength": 3 },
                "days": { "type": "integer", "minimum": 1, "maximum": 7 },
                "unit": { "enum": ["c", "f"] },
            },
            "required": ["city"],
        });
        assert_eq!(
            of_kind(&schema, Kind::Valid),
            [
                json!({ "city": "exa", "days": 1, "unit": "c" }),
                json!({ "city": "exa" })
            ]
        );
        let boundary = of_kind(&schema, Kind::Boundary);
        for input in [
            json!({ "city": "xx", "days": 1, "unit": "c" }),
            json!({ "city": "xxx", "days": 1, "unit": "c" }),
            json!({ "city": "exa", "days": 7, "unit": "c" }),
            json!({ "city": "exa", "days": 1, "unit": "f" }),
        ] {
            assert!(boundary.contains(&input), "{input}: {boundary:?}");
        }
        let invalid = of_kind(&schema, Kind::Invalid);
        for input in [
            json!({ "days": 1, "unit": "c" }),
            json!({ "city": ["not a text"], "days": 1, "unit": "c" }),
            json!({ "city": "exa", "days": 1, "unit": "c", "no_such_parameter": 1 }),
        ] {
            assert!(invalid.contains(&input), "{input}: {invalid:?}");
        }
    }

    #[test]
    fn a_parameter_that_is_called_a_url_is_one() {
        let text = json!({ "type": "string" });
        let short = json!({ "type": "string", "maxLength": 3 });
        let schema = json!({ "properties": { "url": text, "pageURL": text, "curly": text, "uri": short } });
        let expected = json!({ "url": ANY_URL, "pageURL": ANY_URL, "curly": ANY_TEXT, "uri": "exa" });
        assert_eq!(of_kind(&schema, Kind::Valid)[0], expected);
    }

    #[test]
    fn nested_and_recursive_schemas_end() {
        let schema = json!({
            "type": "object",
            "properties": {
                "tree": { "$ref": "#/$defs/tree" },
                "pair": { "type": "array", "prefixItems": [{ "type": "boolean" }, { "type": "null" }] },
                "either": { "anyOf": [{ "type": "number", "minimum": 2 }, { "type": "string" }] },
            },
            "$defs": { "tree": { "type": "object", "properties": { "left": { "$ref": "#/$defs/tree" } } } },
        });
        let valid = of_kind(&schema, Kind::Valid);
        assert_eq!(
            (&valid[0]["pair"], &valid[0]["either"]),
            (&json!([true, null]), &json!(2.0))
        );
        assert!(valid[0].pointer("/tree/left/left").is_some());
        let endless =
            json!({ "$defs": { "a": { "$ref": "#/$defs/a" } }, "properties": { "x": { "$ref": "#/$defs/a" } } });
        assert!(!inputs(&endless, 10).is_empty());
    }

    #[test]
    fn the_number_of_inputs_is_bounded() {
        let properties: Map<String, Value> = (0..50)
            .map(|n| (format!("p{n}"), json!({ "type": "integer" })))
            .collect();
        let schema = json!({ "type": "object", "properties": properties });
        for max in [1, 2, 3, 12, 1000] {
            let found = inputs(&schema, max);
            assert!(found.len() <= max && !found.is_empty(), "{max}: {}", found.len());
        }
        let kinds: Vec<Kind> = inputs(&schema, 12).into_iter().map(|input| input.kind).collect();
        assert!(
            kinds.contains(&Kind::Boundary) && kinds.contains(&Kind::Invalid),
            "{kinds:?}"
        );
    }
}
