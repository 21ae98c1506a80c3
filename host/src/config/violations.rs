//! What the schema says against a configuration, in our words, with the place of each value; and the configuration
//! without what is wrong, so that the checks after this one still see all the rest.

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value as Json;

use super::format;
use super::problem::{Problem, Wrong};
use super::redact::{names_secret, quote};
use super::schema::{Schema, names};
use super::source::{Node, Value};

/// Adds a problem for every violation and takes what violates out of `json`.
pub(super) fn remove(schema: &Schema, root: &Node, json: &mut Json, problems: &mut Vec<Problem>) {
    let mut wrong_paths: Vec<Vec<String>> = Vec::new();
    for error in schema.validator().iter_errors(json) {
        let path: Vec<String> = error
            .instance_path()
            .segments()
            .map(|segment| segment.to_string())
            .collect();
        let (parent, _) = error.schema_path().as_str().rsplit_once('/').unwrap_or_default();
        let place = Place {
            schema,
            root,
            path: &path,
            expected: schema.at(parent).unwrap_or(&Json::Null),
        };
        match error.kind() {
            Kind::AdditionalProperties { unexpected } => {
                for key in unexpected {
                    let path: Vec<String> = path.iter().chain([key]).cloned().collect();
                    problems.push(place.unknown(&path, key));
                    wrong_paths.push(path);
                }
            }
            Kind::Required { property } => problems.push(place.missing(property.as_str().unwrap_or_default())),
            // One word about a value is enough.
            _ if wrong_paths.contains(&path) => {}
            // Whatever stands there may well be a secret itself.
            _ if path.first().is_some_and(|section| section == "secrets") => {
                let hint = "write NAME = { env = \"VARIABLE\" } or NAME = { file = \"path\" }";
                let wrong = Wrong::new("is not where a secret comes from (the value is not shown)");
                problems.push(place.problem(&path, wrong.hint(hint)));
                wrong_paths.push(path);
            }
            kind => {
                problems.push(place.problem(&path, place.wrong(kind)));
                wrong_paths.push(path);
            }
        }
    }
    for path in &wrong_paths {
        take_out(json, path);
    }
}

/// An item of a list leaves a gap, so that those after it keep their places; where a gap can't be, the list goes too.
fn take_out(json: &mut Json, path: &[String]) {
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
                _ => take_out(json, parents),
            }
        }
        _ => {}
    }
}

/// A violation's place: in the configuration, and in the schema.
struct Place<'a> {
    schema: &'a Schema,
    root: &'a Node,
    path: &'a [String],
    /// The schema that the value violates.
    expected: &'a Json,
}

impl Place<'_> {
    fn problem(&self, path: &[String], wrong: Wrong) -> Problem {
        let origin = self.root.nearest(path).place().clone();
        Problem {
            origin,
            key: self.root.key_of(path),
            message: wrong.message,
            hint: wrong.hint,
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
        let mut problem = self.problem(&path, Wrong::new("this key is missing"));
        problem.hint = description.map(|text| text.trim_end_matches('.').to_owned());
        problem
    }

    fn unknown(&self, path: &[String], key: &str) -> Problem {
        let origin = self.root.nearest(path).key_place().clone();
        let wrong = if path.len() == 2 && path[0] == "model" && (names_secret(key) || key == "key") {
            Wrong::new("an API key has no place in a configuration file (the value is not shown)")
                .hint("put the key into an environment variable and its name here: api_key_env = \"ANTHROPIC_API_KEY\"")
        } else {
            Wrong {
                message: "unknown key".to_owned(),
                hint: self.suggestion(key),
            }
        };
        Problem {
            origin,
            ..self.problem(path, wrong)
        }
    }

    /// The key that was meant: a similar one here, or the same one in another section, or else what there is.
    fn suggestion(&self, key: &str) -> Option<String> {
        let known: Vec<&str> = keys(self.expected).collect();
        if let Some(similar) = similar(key, known.iter().copied()) {
            return Some(format!("did you mean `{similar}`?"));
        }
        let sections = self.schema.document().get("properties").and_then(Json::as_object);
        let elsewhere = sections
            .into_iter()
            .flatten()
            .find(|(_, section)| keys(self.schema.follow(section)).any(|candidate| candidate == key));
        if let Some((section, _)) = elsewhere {
            return Some(format!("`{key}` belongs to [{section}]"));
        }
        (!known.is_empty()).then(|| format!("the keys here are {}", list(known, "and")))
    }

    fn wrong(&self, kind: &Kind) -> Wrong {
        let node = self.root.nearest(self.path);
        match kind {
            Kind::Type { kind } => self.wrong_type(kind, node),
            Kind::Format { format } => match (format::find(format), &node.value) {
                (Some(format), Value::String(text) | Value::Number { text, .. }) => (format.check)(text)
                    .err()
                    .unwrap_or_else(|| Wrong::new(format!("expected {}", format.expected))),
                _ => Wrong::new("is not in the form that is expected here"),
            },
            Kind::Enum { .. } => {
                let known = names(self.expected);
                let text = match &node.value {
                    Value::String(text) => text.as_str(),
                    _ => "",
                };
                let hint = similar(&text.to_ascii_lowercase(), known.iter().map(AsRef::as_ref))
                    .or_else(|| similar(&text.to_ascii_uppercase(), known.iter().map(AsRef::as_ref)))
                    .map(|name| format!("did you mean \"{name}\"?"));
                let options = list(known.iter().map(AsRef::as_ref), "or");
                let message = format!("expected {options}, found {}", self.found(node));
                Wrong { message, hint }
            }
            Kind::Minimum { limit } if is_zero(node) => Wrong::new(format!("must not be zero, but at least {limit}")),
            Kind::Minimum { limit } => Wrong::new(format!("must be at least {limit}, found {}", self.found(node))),
            Kind::Maximum { limit } => Wrong::new(format!("must be at most {limit}, found {}", self.found(node))),
            Kind::MinLength { .. } | Kind::MinItems { .. } => Wrong::new("must not be empty"),
            Kind::MaxLength { limit } => Wrong::new(format!("must not be longer than {limit} characters")),
            _ => Wrong::new("is not allowed here"),
        }
    }

    /// What stands there instead; the value itself only where it can hardly be a secret.
    fn found(&self, node: &Node) -> String {
        let holds = |section: &str| self.path.iter().any(|segment| segment == section);
        let names_secret = self.path.last().is_some_and(|key| names_secret(key));
        let is_private =
            ["secrets", "env", "args", "headers"].into_iter().any(holds) || (holds("config") && names_secret);
        let quote = |text: &str| match is_private {
            true => "(it is not shown)".to_owned(),
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

    fn wrong_type(&self, kind: &TypeKind, node: &Node) -> Wrong {
        let format = self
            .expected
            .get("format")
            .and_then(Json::as_str)
            .and_then(format::find);
        let known = names(self.expected);
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
        let wrong = Wrong::new(format!("expected {expected}, found {}", self.found(node)));
        Wrong {
            hint: hint.map(str::to_owned),
            ..wrong
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

/// The nearest of `candidates`, if it is near enough to have been meant.
fn similar<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR: f64 = 0.75;
    candidates
        .map(|candidate| (strsim::normalized_damerau_levenshtein(text, candidate), candidate))
        .filter(|(nearness, _)| *nearness >= NEAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}
