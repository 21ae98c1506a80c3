//! What the Messages API would refuse with 400, for tests of what this client sends.
//!
//! Written from the vendor's documents, independently of the checks in the simulator: a rule that both forgot or misread would
//! otherwise pass every test. It judges a request without beta headers.

mod blocks;
mod messages;
mod models;
mod options;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use serde_json::{Map, Value};

use self::models::Rules;

type Object = Map<String, Value>;

/// The reasons for which the API at `version` would refuse `request`, each with the path of the value that is at fault. Empty
/// if it would accept the request.
pub(super) fn violations(request: &Value, version: &str) -> Vec<String> {
    let mut found = Violations::default();
    let Some(version) = Version::named(version) else {
        found.add("anthropic-version", format_args!("`{version}` is not a version"));
        return found.list;
    };
    let Some(request) = found.object("request", request) else {
        return found.list;
    };
    found.only(
        "",
        request,
        &[
            "cache_control",
            "container",
            "diagnostics",
            "inference_geo",
            "max_tokens",
            "messages",
            "metadata",
            "model",
            "output_config",
            "service_tier",
            "speed",
            "stop_sequences",
            "stream",
            "system",
            "thinking",
            "tool_choice",
            "tools",
            // Their own rule refuses them where they aren't accepted.
            "temperature",
            "top_k",
            "top_p",
        ],
    );
    let model = found.text("model", request.get("model")).unwrap_or_default();
    let judge = Judge {
        version,
        rules: models::rules(model),
        request,
    };
    judge.options(&mut found);
    judge.tools(&mut found);
    judge.system(&mut found);
    judge.messages(&mut found);
    judge.breakpoints(&mut found);
    found.list
}

/// What the rules depend on.
struct Judge<'a> {
    version: Version,
    rules: Rules,
    request: &'a Object,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    June2023,
    October2026,
}

impl Version {
    fn named(version: &str) -> Option<Self> {
        match version {
            "2023-06-01" => Some(Self::June2023),
            "2026-10-21" => Some(Self::October2026),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Violations {
    list: Vec<String>,
}

impl Violations {
    fn add(&mut self, path: &str, reason: impl Display) {
        self.list.push(format!("{path}: {reason}"));
    }

    /// Refuses fields that aren't `known`.
    fn only(&mut self, path: &str, object: &Object, known: &[&str]) {
        for name in object.keys().filter(|name| !known.contains(&name.as_str())) {
            self.add(&join(path, name), "Extra inputs are not permitted");
        }
    }

    fn object<'a>(&mut self, path: &str, value: &'a Value) -> Option<&'a Object> {
        let object = value.as_object();
        if object.is_none() {
            self.add(path, "must be an object");
        }
        object
    }

    fn list<'a>(&mut self, path: &str, value: &'a Value) -> &'a [Value] {
        match value {
            Value::Array(list) => list,
            _ => {
                self.add(path, "must be a list");
                &[]
            }
        }
    }

    /// A field that is required and must be a string.
    fn text<'a>(&mut self, path: &str, value: Option<&'a Value>) -> Option<&'a str> {
        match value {
            Some(Value::String(text)) => return Some(text),
            Some(_) => self.add(path, "must be a string"),
            None => self.add(path, "Field required"),
        }
        None
    }

    /// A field that must be one of `choices` where it is present.
    fn choice(&mut self, path: &str, value: Option<&Value>, choices: &[&str]) {
        let is_known = |value: &Value| value.as_str().is_some_and(|text| choices.contains(&text));
        if value.is_some_and(|value| !is_known(value)) {
            self.add(path, format_args!("must be one of {choices:?}"));
        }
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// An optional field: `null` counts as absent.
fn present<'a>(object: &'a Object, name: &str) -> Option<&'a Value> {
    object.get(name).filter(|value| !value.is_null())
}

fn is_identifier(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}
