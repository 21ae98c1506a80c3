//! Commands: components that export `wasi:cli/run`. Such a component doesn't say what it is for or what it takes, so the operator
//! describes it as one tool.

mod adapted;
mod arguments;
mod entry;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub(in crate::sandbox) use self::adapted::{MAX_ADAPTED, oversized_arguments, oversized_variables};
pub(in crate::sandbox) use self::arguments::NotFilled;
pub use self::arguments::{Argument, Template, TemplateError};
pub(in crate::sandbox) use self::entry::{Entry, export_name, is_run, run_to_exit};
use super::types::{Annotations, Content, ToolInfo};
use crate::json_text::Json;

/// How an operator describes a command as a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub name: String,
    /// For the model: what the command does and what it prints.
    pub description: String,
    /// JSON Schema as text. `None`: an object with a required string for every placeholder.
    pub input_schema: Option<String>,
    /// The arguments after the program's name and those of the grant.
    pub args: Vec<Argument>,
    /// Whether a value can begin with `-` where the program could read it as an option.
    pub allow_leading_dash: bool,
    pub stdin: CommandInput,
    pub output: CommandOutput,
    /// What exit statuses other than 0 mean. One that isn't listed is a failure that says nothing about the tool's health.
    pub exit_codes: BTreeMap<u8, ExitMeaning>,
    pub annotations: Annotations,
}

/// What a command reads from standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommandInput {
    /// The whole input as JSON text.
    #[default]
    Json,
    /// Nothing.
    None,
    /// One property: a string as it is, anything else as JSON text. Nothing if the input lacks it.
    Property(String),
}

/// What a command's standard output becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommandOutput {
    #[default]
    Text,
    /// JSON where it parses as JSON, else text.
    Json,
}

/// What an exit status means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitMeaning {
    /// A result all the same, such as the 1 of a comparison that found differences.
    Ok,
    InvalidInput,
    Unavailable,
    /// A failure that counts against the tool.
    Failed,
}

/// The arguments and standard input of one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct Invocation {
    pub(in crate::sandbox) arguments: Vec<String>,
    pub(in crate::sandbox) stdin: String,
}

impl Command {
    /// A command without arguments, which reads the input as JSON.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: description.into(),
            input_schema: None,
            args: Vec::new(),
            allow_leading_dash: false,
            stdin: CommandInput::default(),
            output: CommandOutput::default(),
            exit_codes: BTreeMap::new(),
            annotations: Annotations::default(),
        }
    }

    pub(in crate::sandbox) fn info(&self) -> ToolInfo {
        ToolInfo {
            name: self.name.as_str().into(),
            description: self.description.as_str().into(),
            input_schema: self.input_schema.clone().unwrap_or_else(|| self.derived_schema()),
            output_schema: None,
            annotations: self.annotations,
        }
    }

    /// The properties that arguments and standard input refer to, in order of appearance, without duplicates.
    pub fn placeholders(&self) -> Vec<&str> {
        let of_stdin = match &self.stdin {
            CommandInput::Property(name) => Some(name.as_str()),
            CommandInput::Json | CommandInput::None => None,
        };
        let mut seen = BTreeSet::new();
        let all = self.args.iter().flat_map(Argument::placeholders).chain(of_stdin);
        all.filter(|name| seen.insert(*name)).collect()
    }

    /// Properties in their order, which a `Value` doesn't keep.
    fn derived_schema(&self) -> String {
        let names = self.placeholders();
        let properties: Vec<String> = names
            .iter()
            .map(|name| format!("{}:{{\"type\":\"string\"}}", Value::from(*name)))
            .collect();
        format!(
            r#"{{"type":"object","properties":{{{}}},"required":{},"additionalProperties":false}}"#,
            properties.join(","),
            json!(names)
        )
    }

    /// Options that could stand without their value and then take the next argument for it, even a `--`.
    pub fn warnings(&self) -> Vec<String> {
        let schema = self.input_schema.as_deref().unwrap_or_default();
        let Ok(schema) = serde_json::from_str::<Value>(schema) else {
            return Vec::new();
        };
        let required = schema["required"].as_array().into_iter().flatten();
        let required: BTreeSet<&str> = required.filter_map(Value::as_str).collect();
        // The option isn't shown: like every argument, it can hold a secret.
        let pairs = self.args.windows(2).filter_map(|pair| {
            pair[0].literal().filter(|text| text.starts_with('-') && *text != "--")?;
            let value = pair[1].only_placeholder().filter(|name| !required.contains(name))?;
            Some(format!(
                "a call without `{value}` keeps the argument before `${{{value}}}`, which then has no value; if it is an option \
                 that takes one, write both as a group: [\"--option\", \"${{{value}}}\"]"
            ))
        });
        pairs.collect()
    }

    /// What a call with this input passes to the program. `input` is the text of a JSON object that fits the schema.
    ///
    /// # Errors
    ///
    /// Why the input can't be passed on, for the model.
    pub(in crate::sandbox) fn invocation(&self, input: &str, max_bytes: u64) -> Result<Invocation, NotFilled> {
        let json = Json::parse(input).map_err(|error| format!("the input isn't JSON: {error}"))?;
        let arguments = arguments::fill(&self.args, json, self.allow_leading_dash, max_bytes)?;
        let stdin = match &self.stdin {
            CommandInput::Json => input.to_owned(),
            CommandInput::None => String::new(),
            CommandInput::Property(name) => arguments::text_of(json, name).unwrap_or_default(),
        };
        Ok(Invocation { arguments, stdin })
    }

    pub(in crate::sandbox) fn content(&self, stdout: Vec<u8>) -> Content {
        let text = match String::from_utf8(stdout) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        match self.output {
            CommandOutput::Json if Json::parse(&text).is_ok() => Content::Json(text),
            CommandOutput::Json | CommandOutput::Text => Content::Text(text),
        }
    }

    /// What an exit status means; `None` if it is a failure that says nothing about the tool's health.
    pub(in crate::sandbox) fn meaning(&self, status: u8) -> Option<ExitMeaning> {
        match status {
            0 => Some(ExitMeaning::Ok),
            status => self.exit_codes.get(&status).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn command(args: &[&str]) -> Command {
        Command {
            args: args.iter().map(|text| Argument::parse(&[*text]).unwrap()).collect(),
            ..Command::new("c", "Does it.")
        }
    }

    #[test]
    fn the_default_schema_has_each_placeholder_once_in_order() {
        let command = Command {
            stdin: CommandInput::Property("text".to_owned()),
            ..command(&["${z}", "--a=${a}${z}", "$${no}"])
        };
        assert_eq!(
            command.info().input_schema,
            r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"string"},"text":{"type":"string"}},"required":["z","a","text"],"additionalProperties":false}"#
        );
        assert_eq!(
            self::command(&["-v"]).info().input_schema,
            r#"{"type":"object","properties":{},"required":[],"additionalProperties":false}"#
        );
    }

    #[test]
    fn an_option_that_could_stand_without_its_value_is_warned_of() {
        let warnings = |schema: Option<&str>, args: &[&str]| {
            let input_schema = schema.map(str::to_owned);
            let command = Command {
                input_schema,
                ..command(args)
            };
            command.warnings()
        };
        let optional = Some(r#"{"type":"object","properties":{"city":{},"unit":{}},"required":["unit"]}"#);
        let found = warnings(optional, &["--city", "${city}", "--unit", "${unit}"]);
        assert!(
            found.len() == 1 && found[0].contains("${city}") && !found[0].contains("--city"),
            "{found:?}"
        );
        for (schema, args) in [
            (None, &["--city", "${city}"][..]),
            (optional, &["--city=${city}"]),
            (optional, &["--", "${city}"]),
            (optional, &["run", "${city}"]),
        ] {
            assert_eq!(warnings(schema, args), <Vec<String>>::new(), "{args:?}");
        }
        let group = Command {
            args: vec![Argument::parse(&["--city", "${city}"]).unwrap()],
            input_schema: optional.map(str::to_owned),
            ..command(&[])
        };
        assert!(group.warnings().is_empty());
    }

    #[test]
    fn standard_input_is_the_input_one_property_or_nothing() {
        let input = r#"{"text":"a\nb","n":1.50,"gone":null}"#;
        for (stdin, expected) in [
            (CommandInput::Json, input),
            (CommandInput::None, ""),
            (CommandInput::Property("text".to_owned()), "a\nb"),
            (CommandInput::Property("n".to_owned()), "1.50"),
            (CommandInput::Property("gone".to_owned()), ""),
            (CommandInput::Property("other".to_owned()), ""),
        ] {
            let command = Command {
                stdin: stdin.clone(),
                ..command(&[])
            };
            assert_eq!(command.invocation(input, 1_000).unwrap().stdin, expected, "{stdin:?}");
        }
    }

    #[test]
    fn json_is_json_where_it_parses() {
        let command = Command {
            output: CommandOutput::Json,
            ..command(&[])
        };
        let json = |bytes: &[u8]| matches!(command.content(bytes.to_vec()), Content::Json(_));
        assert!(json(b"{\"a\":1}\n") && json(b"1e999"));
        assert!(!json(b"") && !json(b"a") && !json(b"\"\xff") && !json(b"{} {}"));
        let text = self::command(&[]).content(b"a\xffb".to_vec());
        assert_eq!(text, Content::Text("a\u{fffd}b".to_owned()));
    }
}
