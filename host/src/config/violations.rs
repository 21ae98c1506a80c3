//! Turns schema violations into problems with plain messages and locations. Removes the invalid values, so that later
//! checks still see the rest of the configuration.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value as Json;

use super::format;
use super::problem::{Problem, ValueProblem};
use super::redact::{is_secret_name, quote};
use super::schema::{Schema, enum_values};
use super::source::{Node, Value};
use crate::near::nearest;

/// Adds a problem for every violation and removes the invalid values from `json`.
pub(super) fn report_and_remove(schema: &Schema, root: &Node, json: &mut Json, problems: &mut Vec<Problem>) {
    let mut invalid_paths: Vec<Vec<String>> = Vec::new();
    for error in schema.validator().iter_errors(json) {
        let path: Vec<String> = error
            .instance_path()
            .segments()
            .map(|segment| segment.to_string())
            .collect();
        let (parent, _) = error.schema_path().as_str().rsplit_once('/').unwrap_or_default();
        let violation = Violation {
            schema,
            root,
            path: &path,
            expected: schema.at(parent).unwrap_or(&Json::Null),
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let path: Vec<String> = path.iter().chain([key]).cloned().collect();
                    problems.push(violation.unknown(&path, key));
                    invalid_paths.push(path);
                }
            }
            Kind::Required { property } => problems.push(violation.missing(property.as_str().unwrap_or_default())),
            // Each value is reported once.
            _ if invalid_paths.contains(&path) => {}
            // The value may be the secret itself, so the message doesn't quote it.
            _ if path.first().is_some_and(|section| section == "secrets") => {
                let hint = "write NAME = { env = \"VARIABLE\" } or NAME = { file = \"path\" }";
                let problem = ValueProblem::new("must be the source of a secret (the value is not shown)");
                problems.push(violation.problem(&path, problem.hint(hint)));
                invalid_paths.push(path);
            }
            kind => {
                problems.push(violation.problem(&path, violation.describe(kind)));
                invalid_paths.push(path);
            }
        }
    }
    for path in &invalid_paths {
        remove_value(json, path);
    }
}

/// An item in a list of tables is replaced with an empty table, so that the items after it keep their indices. Any other
/// list is removed as a whole.
fn remove_value(json: &mut Json, path: &[String]) {
    let Some((last, parents)) = path.split_last() else {
        *json = Json::Object(serde_json::Map::new());
        return;
    };
    let parent = parents.iter().try_fold(&mut *json, |value, segment| match value {
        Json::Object(entries) => entries.get_mut(segment),
        Json::Array(items) => items.get_mut(segment.parse::<usize>().ok()?),
        _ => None,
    });
    match parent {
        Some(Json::Object(entries)) => drop(entries.remove(last)),
        Some(Json::Array(items)) => {
            let holds_tables = items.iter().any(Json::is_object);
            match last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                Some(item) if holds_tables => *item = Json::Object(serde_json::Map::new()),
                _ => remove_value(json, parents),
            }
        }
        _ => {}
    }
}

/// A violation, with its location in the configuration and in the schema.
struct Violation<'a> {
    schema: &'a Schema,
    root: &'a Node,
    path: &'a [String],
    /// The schema that the value violates.
    expected: &'a Json,
}

impl<'a> Violation<'a> {
    fn problem(&self, path: &[String], problem: ValueProblem) -> Problem {
        let origin = self.root.nearest(path).value_origin().clone();
        Problem {
            origin,
            key: self.root.key_of(path),
            message: problem.message,
            hint: problem.hint,
        }
    }

    fn missing(&self, key: &str) -> Problem {
        let path: Vec<String> = self.path.iter().cloned().chain([key.to_owned()]).collect();
        let property = self
            .expected
            .get("properties")
            .and_then(|properties| properties.get(key));
        let description = property
            .and_then(|property| property.get("description"))
            .and_then(Json::as_str);
        let mut problem = self.problem(&path, ValueProblem::new("this key is missing"));
        problem.hint = description.map(|text| text.trim_end_matches('.').to_owned());
        problem
    }

    fn unknown(&self, path: &[String], key: &str) -> Problem {
        let origin = self.root.nearest(path).key_origin().clone();
        let is_misspelt = || nearest(key, keys(self.expected)).is_some();
        let may_hold_a_key = path.len() == 2 && path[0] == "model" && (is_secret_name(key) || key == "key");
        let problem = if may_hold_a_key && !is_misspelt() {
            ValueProblem::new("an API key must not be in a configuration file (the value is not shown)")
                .hint("put the key into an environment variable and its name here: api_key_env = \"ANTHROPIC_API_KEY\"")
        } else {
            ValueProblem {
                message: "unknown key".to_owned(),
                hint: self.suggestion(key),
            }
        };
        Problem {
            origin,
            ..self.problem(path, problem)
        }
    }

    /// A hint for the intended key: a similar key here, else the same key in another section, else the list of keys here.
    fn suggestion(&self, key: &str) -> Option<String> {
        let known: Vec<&str> = keys(self.expected).collect();
        if let Some(near) = nearest(key, known.iter().copied()) {
            return Some(format!("did you mean `{near}`?"));
        }
        // A word of the name, such as `dash`.
        let by_word: Vec<&str> = known
            .iter()
            .copied()
            .filter(|candidate| candidate.split('_').any(|word| word == key))
            .collect();
        if let [one] = by_word[..] {
            return Some(format!("did you mean `{one}`?"));
        }
        let sections = self.schema.document().get("properties").and_then(Json::as_object);
        let elsewhere = sections
            .into_iter()
            .flatten()
            .find(|(_, section)| keys(self.schema.follow(section)).any(|candidate| candidate == key));
        if let Some((section, _)) = elsewhere {
            return Some(format!("`{key}` belongs to [{}]", self.section(section, key)));
        }
        (!known.is_empty()).then(|| format!("the keys here are {}", list(known, "and")))
    }

    /// The section that is meant: a plugin has some of the host's as its own.
    fn section(&self, section: &str, key: &str) -> String {
        let part = |schema: &'a Json, name: &str| schema.get(name).map(|schema| self.schema.follow(schema));
        let property = |schema: &'a Json, name: &str| {
            let properties = schema.get("properties")?;
            part(properties, name)
        };
        let of_plugin = match self.path {
            [plugins, plugin, ..] if plugins == "plugins" => property(self.schema.document(), plugins)
                .and_then(|plugins| part(plugins, "additionalProperties"))
                .and_then(|plugin| property(plugin, section))
                .filter(|own| keys(own).any(|candidate| candidate == key))
                .map(|_| [plugins.clone(), plugin.clone(), section.to_owned()]),
            _ => None,
        };
        of_plugin.map_or_else(|| section.to_owned(), |path| self.root.key_of(&path))
    }

    fn describe(&self, kind: &Kind) -> ValueProblem {
        let node = self.root.nearest(self.path);
        match kind {
            Kind::Type { kind } => self.describe_type(kind, node),
            Kind::Format { format } => match (format::find(format), &node.value) {
                (Some(format), Value::String(text) | Value::Number { text, .. }) => (format.check)(text)
                    .err()
                    .unwrap_or_else(|| ValueProblem::new(format!("expected {}", format.expected))),
                _ => ValueProblem::new("has the wrong format"),
            },
            Kind::Enum { .. } => {
                let known = enum_values(self.expected);
                let text = match &node.value {
                    Value::String(text) => text.as_str(),
                    _ => "",
                };
                let hint = nearest(&text.to_ascii_lowercase(), known.iter().map(AsRef::as_ref))
                    .or_else(|| nearest(&text.to_ascii_uppercase(), known.iter().map(AsRef::as_ref)))
                    .map(|name| format!("did you mean \"{name}\"?"));
                let options = list(known.iter().map(AsRef::as_ref), "or");
                let message = format!("expected {options}, found {}", self.found(node));
                ValueProblem { message, hint }
            }
            Kind::Minimum { limit } if is_zero(node) => {
                ValueProblem::new(format!("must not be zero, but at least {limit}"))
            }
            Kind::Minimum { limit } => {
                ValueProblem::new(format!("must be at least {limit}, found {}", self.found(node)))
            }
            Kind::Maximum { limit } => {
                ValueProblem::new(format!("must be at most {limit}, found {}", self.found(node)))
            }
            Kind::MinLength { .. } | Kind::MinItems { .. } => ValueProblem::new("must not be empty"),
            Kind::MaxLength { limit } => ValueProblem::new(format!("must not be longer than {limit} characters")),
            _ => ValueProblem::new("is not allowed here"),
        }
    }

    /// Describes the actual value. Quotes it only where it is unlikely to be a secret.
    fn found(&self, node: &Node) -> String {
        let holds = |section: &str| self.path.iter().any(|segment| segment == section);
        let is_secret_name = self.path.last().is_some_and(|key| is_secret_name(key));
        let is_private =
            ["secrets", "env", "args", "headers"].into_iter().any(holds) || (holds("config") && is_secret_name);
        let quote = |text: &str| match is_private {
            true => "(not shown)".to_owned(),
            false => quote(text),
        };
        match &node.value {
            Value::Boolean(value) => format!("`{value}`"),
            Value::Number { text, number: None } => quote(text),
            Value::Number { text, .. } => format!("the number {}", quote(text)),
            Value::String(text) => format!("the string {}", quote(text)),
            Value::Datetime => "a date".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    fn describe_type(&self, kind: &TypeKind, node: &Node) -> ValueProblem {
        let format = self
            .expected
            .get("format")
            .and_then(Json::as_str)
            .and_then(format::find);
        let known = enum_values(self.expected);
        let expected = match format {
            Some(format) => format.expected.to_owned(),
            None if !known.is_empty() => list(known.iter().map(AsRef::as_ref), "or"),
            None => match kind {
                TypeKind::Single(kind) => type_name(&kind.to_string()),
                TypeKind::Multiple(_) => "another type",
            }
            .to_owned(),
        };
        let hint = match (expected.as_str(), &node.value) {
            ("a string", Value::Number { .. } | Value::Boolean(_) | Value::Datetime) => Some("put it in quotes"),
            ("a whole number" | "a number" | "true or false", Value::String(text))
                if text.parse::<f64>().is_ok() || matches!(text.as_str(), "true" | "false") =>
            {
                Some("remove the quotes")
            }
            (_, Value::Number { .. }) if expected.starts_with("a duration") => {
                Some("a duration needs a unit and quotes")
            }
            ("a table", _) => Some("a table is written as [section] and keys below it, or as { key = value }"),
            ("a list", _) => Some("a list is written as [value, value]"),
            _ => None,
        };
        let problem = ValueProblem::new(format!("expected {expected}, found {}", self.found(node)));
        ValueProblem {
            hint: hint.map(str::to_owned),
            ..problem
        }
    }
}

fn keys(schema: &Json) -> impl Iterator<Item = &str> {
    let properties = schema.get("properties").and_then(Json::as_object);
    properties
        .into_iter()
        .flat_map(|properties| properties.keys())
        .map(String::as_str)
}

fn type_name(json: &str) -> &'static str {
    match json {
        "string" => "a string",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        _ => "a table",
    }
}

fn is_zero(node: &Node) -> bool {
    matches!(&node.value, Value::Number { text, .. } if text.parse() == Ok(0.0))
}

fn list<'a>(names: impl IntoIterator<Item = &'a str>, conjunction: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} {conjunction} {last}", rest.join(", ")),
        None => String::new(),
    }
}
