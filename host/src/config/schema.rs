//! The JSON Schema of the configuration, generated from the raw types. It checks files, and `config schema` prints it.

use std::borrow::Cow;

use jsonschema::{Draft, Validator};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Value as Json, json};

use super::format::FORMATS;
use super::raw::RawConfig;
use super::source::{Node, Value};
use super::usd;

/// The schema of `cofferdam.toml`, with every key's description and its default, if it has one.
pub fn schema() -> Json {
    let settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(simplify_for_toml));
    settings.into_generator().into_root_schema_for::<RawConfig>().to_value()
}

/// Simplifies what schemars generates: TOML has no null, and a section's default repeats those of its keys.
fn simplify_for_toml(schema: &mut schemars::Schema) {
    let Some(keywords) = schema.as_object_mut() else { return };
    let optional = keywords
        .get("anyOf")
        .and_then(Json::as_array)
        .and_then(|options| match options.as_slice() {
            [some, null] if *null == json!({ "type": "null" }) => some.as_object().cloned(),
            _ => None,
        });
    if let Some(some) = optional {
        keywords.remove("anyOf");
        keywords.extend(some);
    }
    if let Some(Json::Array(types)) = keywords.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            keywords.insert("type".to_owned(), only);
        }
    }
    if keywords
        .get("default")
        .is_some_and(|default| default.is_null() || default.is_object())
    {
        keywords.remove("default");
    }
    // Doc comments are wrapped for the source code.
    if let Some(Json::String(description)) = keywords.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    // Other tools don't know the number formats of Rust.
    if keywords
        .get("format")
        .and_then(Json::as_str)
        .is_some_and(|name| name.starts_with("uint") || name == "double")
    {
        keywords.remove("format");
    }
}

/// The schema, and its validator for one configuration.
pub(super) struct Schema {
    document: Json,
    validator: Validator,
}

impl Schema {
    /// Compiles only the sections that `root` has: every command waits for this, and a file has few of them.
    pub(super) fn of(root: &Node) -> Result<Self, jsonschema::ValidationError<'static>> {
        let document = schema();
        let options = FORMATS.iter().fold(
            jsonschema::options()
                .with_draft(Draft::Draft202012)
                .should_validate_formats(true),
            |options, format| options.with_format(format.name, |text: &str| (format.check)(text).is_ok()),
        );
        let mut used = document.clone();
        if let (Some(Json::Object(sections)), Value::Table(entries)) = (used.get_mut("properties"), &root.value) {
            sections.retain(|section, _| entries.contains_key(section));
        }
        let validator = options.build(&used)?;
        Ok(Self { document, validator })
    }

    pub(super) fn validator(&self) -> &Validator {
        &self.validator
    }

    pub(super) fn document(&self) -> &Json {
        &self.document
    }

    /// The part of the schema at a JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Json> {
        self.document.pointer(pointer)
    }

    /// Follows the schema's `$ref`, if it has one.
    pub(super) fn follow<'a>(&'a self, schema: &'a Json) -> &'a Json {
        let target = schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|reference| reference.strip_prefix('#'));
        target.and_then(|pointer| self.at(pointer)).unwrap_or(schema)
    }

    /// The tree as JSON, with each value converted to the form that the schema expects: money as its original text, and a
    /// variable or an argument as its raw text where the schema expects a string.
    pub(super) fn coerce(&self, root: &Node) -> Json {
        self.coerce_as(root, Some(&self.document))
    }

    fn coerce_as(&self, node: &Node, schema: Option<&Json>) -> Json {
        let schema = schema.map(|schema| self.follow(schema));
        match &node.value {
            Value::Table(entries) => {
                let entry = |(key, value): (&String, &Node)| {
                    let schema = schema.and_then(|schema| property(schema, key));
                    (key.clone(), self.coerce_as(value, schema))
                };
                Json::Object(entries.iter().map(entry).collect())
            }
            Value::Array(items) => {
                let schema = schema.and_then(|schema| schema.get("items"));
                Json::Array(items.iter().map(|item| self.coerce_as(item, schema)).collect())
            }
            Value::String(text) => Json::String(text.clone()),
            _ if node.text.is_some() && schema.is_some_and(expects_string) => node.text.clone().into(),
            Value::Boolean(value) => Json::Bool(*value),
            Value::Number { text, .. } if schema.is_some_and(expects_money) => Json::String(text.clone()),
            Value::Number { number, .. } => match (number, schema) {
                (Some(number), Some(schema)) if expects_integer(schema) => float_to_integer(number),
                (number, _) => number.clone().map_or(Json::Null, Json::Number),
            },
            // No key is a date, and the schema refuses null everywhere.
            Value::Datetime => Json::Null,
        }
    }
}

fn property<'a>(schema: &'a Json, key: &str) -> Option<&'a Json> {
    let named = schema.get("properties").and_then(|properties| properties.get(key));
    named.or_else(|| schema.get("additionalProperties"))
}

fn expects_string(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("string")
}

fn expects_money(schema: &Json) -> bool {
    let format = schema.get("format").and_then(Json::as_str);
    format.is_some_and(|format| [usd::FORMAT, usd::LIMIT_FORMAT].contains(&format))
}

fn expects_integer(schema: &Json) -> bool {
    match schema.get("type") {
        Some(Json::String(name)) => name == "integer",
        Some(Json::Array(names)) => names.iter().any(|name| name == "integer"),
        _ => false,
    }
}

/// JSON Schema accepts `5.0` as an integer, and serde doesn't.
fn float_to_integer(number: &serde_json::Number) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => Json::from(float as i64),
        _ => Json::Number(number.clone()),
    }
}

/// The values that an enum schema allows.
pub(super) fn enum_values(schema: &Json) -> Vec<Cow<'_, str>> {
    let names = schema.get("enum").and_then(Json::as_array);
    names
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .map(Cow::from)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::problem::Origin;
    use super::*;

    /// Calls `see` with every schema inside `schema`.
    fn visit(schema: &Json, see: &mut dyn FnMut(&Json)) {
        match schema {
            Json::Object(keywords) => {
                see(schema);
                keywords.values().for_each(|value| visit(value, see));
            }
            Json::Array(items) => items.iter().for_each(|item| visit(item, see)),
            _ => {}
        }
    }

    #[test]
    fn the_schema_is_valid() {
        assert!(jsonschema::meta::is_valid(&schema()));
        let sections = schema()["properties"].as_object().unwrap().clone();
        let empty = |section: String| (section, Node::table(Origin::Code));
        let root = Node {
            value: Value::Table(sections.into_iter().map(|(section, _)| empty(section)).collect()),
            ..Node::table(Origin::Code)
        };
        Schema::of(&root).unwrap();
    }

    #[test]
    fn no_table_accepts_unknown_keys() {
        let mut tables = 0;
        visit(&schema(), &mut |schema| {
            if schema.get("type") == Some(&json!("object")) {
                tables += 1;
                assert!(
                    schema
                        .get("additionalProperties")
                        .is_some_and(|more| *more != json!(true)),
                    "{schema}"
                );
            }
        });
        assert!(tables > 12, "{tables}");
    }

    #[test]
    fn every_key_is_described_and_none_can_be_null() {
        let root = schema();
        // A table has its description in its own definition.
        let is_table = |property: &Json| {
            let name = property["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
            name.is_some_and(|name| root["$defs"][name].get("properties").is_some())
        };
        visit(&root, &mut |schema| {
            assert!(!schema.to_string().contains("\"null\""), "{schema}");
            let properties = schema.get("properties").and_then(Json::as_object);
            for (key, property) in properties.into_iter().flatten() {
                assert!(property.get("description").is_some() || is_table(property), "{key}");
            }
        });
    }
}
