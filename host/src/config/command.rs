//! The section `[plugins.NAME.command]`: its keys, its conversion, and the checks that no schema can make.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::format;
use super::problem::ValueProblem;
use super::redact::quote;
use crate::sandbox::{Annotations, Argument, Command, CommandInput, CommandOutput, ExitMeaning, Template};

/// A program as a tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Command", extend("required" = ["description"]))]
pub(super) struct RawCommand {
    /// The tool's name. Unset: the plugin's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::NAME))]
    pub(super) name: Option<String>,
    /// What the program does and what it prints, for the model.
    #[schemars(length(min = 1))]
    pub(super) description: Option<String>,
    /// The JSON Schema of the input, as JSON text. Unset: an object with a required string for every placeholder.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::INPUT_SCHEMA))]
    pub(super) input_schema: Option<String>,
    /// The arguments, after those of the plugin's `args`. `${property}` is replaced by the input's property, and `$${` is a
    /// literal `${`. There is no shell. A list inside the list is a group, such as `["--city", "${city}"]`. A missing property
    /// drops its whole group; an array repeats it for each item.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<RawArgument>,
    /// Whether a value can begin with `-` where the program could read it as an option: not after a literal text in the same
    /// argument, nor after an argument `--`.
    pub(super) allow_leading_dash: bool,
    /// Standard input: `json` is the whole input as JSON text, `none` is nothing, and `${property}` is that property.
    #[schemars(extend("format" = format::STDIN))]
    pub(super) stdin: RawStdin,
    /// What standard output is: `text`, or `json` where it parses as JSON.
    pub(super) output: RawOutput,
    /// What exit statuses from 1 to 255 mean. By default the model reads the end of standard error, and the breaker counts
    /// nothing.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) exit_codes: BTreeMap<String, RawExit>,
    /// Whether the program changes nothing outside its own call.
    pub(super) read_only: bool,
    /// Whether two calls with the same input have the effect of one.
    pub(super) idempotent: bool,
    /// Whether a call can delete or overwrite something that a person could want back.
    pub(super) destructive: bool,
}

/// One argument, or a group of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RawArgument {
    One(String),
    Group(Vec<String>),
}

impl JsonSchema for RawArgument {
    fn schema_name() -> Cow<'static, str> {
        "Argument".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "array"],
            "format": format::ARGUMENT,
            "items": { "type": "string", "format": format::ARGUMENT },
            "minItems": 1,
        })
    }
}

impl RawArgument {
    fn texts(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Group(texts) => texts,
        }
    }
}

/// `json`, `none` or `${property}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(super) struct RawStdin(String);

impl Default for RawStdin {
    fn default() -> Self {
        Self("json".to_owned())
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CommandOutput")]
pub(super) enum RawOutput {
    #[default]
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "ExitMeaning")]
pub(super) enum RawExit {
    Ok,
    InvalidInput,
    Unavailable,
    Failed,
}

pub(super) fn check_argument(text: &str) -> Result<(), ValueProblem> {
    let hint = "a placeholder is `${property}`; write `$${` for a literal `${`";
    match Template::parse(text) {
        Ok(_) => Ok(()),
        // Like other arguments, it can hold a secret, so the text is not shown.
        Err(error) => Err(ValueProblem::new(error.to_string()).hint(hint)),
    }
}

pub(super) fn check_stdin(text: &str) -> Result<(), ValueProblem> {
    stdin(text).map(drop)
}

fn stdin(text: &str) -> Result<CommandInput, ValueProblem> {
    match text {
        "json" => Ok(CommandInput::Json),
        "none" => Ok(CommandInput::None),
        text => match Template::parse(text).ok().as_ref().and_then(Template::only_placeholder) {
            Some(name) => Ok(CommandInput::Property(name.to_owned())),
            None => Err(ValueProblem::new(format!("{} is no standard input", quote(text)))
                .hint("write \"json\", \"none\" or \"${property}\"")),
        },
    }
}

pub(super) fn check_input_schema(text: &str) -> Result<(), ValueProblem> {
    let hint = "for example '{\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}}'";
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) if value.is_object() => Ok(()),
        Ok(_) => Err(ValueProblem::new("is JSON, but not an object").hint(hint)),
        Err(error) => Err(ValueProblem::new(format!("isn't JSON: {error}")).hint(hint)),
    }
}

/// The exit status that a key of `exit_codes` names.
fn status(key: &str) -> Option<u8> {
    let status = key.parse().ok().filter(|status| *status > 0)?;
    (key == format!("{status}")).then_some(status)
}

/// The settings, and the problems with keys inside the section. The schema has checked the syntax of each value.
pub(super) fn resolve(raw: RawCommand, plugin: &str) -> (Command, Vec<(Vec<String>, ValueProblem)>) {
    let mut problems = Vec::new();
    let mut exit_codes = BTreeMap::new();
    for (key, meaning) in raw.exit_codes {
        match status(&key) {
            Some(status) => {
                exit_codes.insert(status, meaning.into());
            }
            None => {
                let problem = ValueProblem::new(format!("{} is no exit status that can be mapped", quote(&key)));
                let hint = "write a number from 1 to 255; the status 0 is always `ok`";
                problems.push((vec!["exit_codes".to_owned(), key], problem.hint(hint)));
            }
        }
    }
    let args = raw
        .args
        .iter()
        .filter_map(|argument| Argument::parse(argument.texts()).ok());
    let command = Command {
        name: raw.name.unwrap_or_else(|| plugin.to_owned()),
        description: raw.description.unwrap_or_default(),
        input_schema: raw.input_schema,
        args: args.collect(),
        allow_leading_dash: raw.allow_leading_dash,
        stdin: stdin(&raw.stdin.0).unwrap_or_default(),
        output: match raw.output {
            RawOutput::Text => CommandOutput::Text,
            RawOutput::Json => CommandOutput::Json,
        },
        exit_codes,
        annotations: Annotations {
            read_only: raw.read_only,
            idempotent: raw.idempotent,
            destructive: raw.destructive,
        },
    };
    (command, problems)
}

/// The problems of settings from any source, each with its key inside the section.
pub(super) fn problems(command: &Command) -> Vec<(Vec<String>, ValueProblem)> {
    let mut problems = Vec::new();
    let mut add = |path: &[&str], problem: Option<ValueProblem>| {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        problems.extend(problem.map(|problem| (path, problem)));
    };
    add(&["name"], format::check_name(&command.name).err());
    let is_empty = || ValueProblem::new("must not be empty");
    add(&["description"], command.description.is_empty().then(is_empty));
    if command.exit_codes.contains_key(&0) {
        add(
            &["exit_codes", "0"],
            Some(ValueProblem::new("the status 0 is always `ok`")),
        );
    }
    let Some(schema) = &command.input_schema else {
        return problems;
    };
    let schema = match check_input_schema(schema) {
        Ok(()) => serde_json::from_str::<serde_json::Value>(schema).unwrap_or_default(),
        Err(problem) => {
            add(&["input_schema"], Some(problem));
            return problems;
        }
    };
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let is_known = |name: &str| properties.is_some_and(|properties| properties.contains_key(name));
    let unknown = |name: &str| {
        let names = properties.into_iter().flat_map(|properties| properties.keys());
        let known: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let problem = ValueProblem::new(format!("`${{{name}}}` is no property of input_schema"));
        match known.is_empty() {
            true => problem.hint("give input_schema `properties` with that name"),
            false => problem.hint(format!("its properties are {}", known.join(", "))),
        }
    };
    for (index, argument) in command.args.iter().enumerate() {
        let first_unknown = argument.placeholders().find(|name| !is_known(name));
        add(&["args", &index.to_string()], first_unknown.map(unknown));
    }
    if let CommandInput::Property(name) = &command.stdin {
        add(&["stdin"], (!is_known(name)).then(|| unknown(name)));
    }
    problems
}

impl From<RawExit> for ExitMeaning {
    fn from(raw: RawExit) -> Self {
        match raw {
            RawExit::Ok => Self::Ok,
            RawExit::InvalidInput => Self::InvalidInput,
            RawExit::Unavailable => Self::Unavailable,
            RawExit::Failed => Self::Failed,
        }
    }
}

impl From<ExitMeaning> for RawExit {
    fn from(meaning: ExitMeaning) -> Self {
        match meaning {
            ExitMeaning::Ok => Self::Ok,
            ExitMeaning::InvalidInput => Self::InvalidInput,
            ExitMeaning::Unavailable => Self::Unavailable,
            ExitMeaning::Failed => Self::Failed,
        }
    }
}

impl From<&Command> for RawCommand {
    fn from(command: &Command) -> Self {
        let argument = |argument: &Argument| match &argument.texts().map(str::to_owned).collect::<Vec<_>>()[..] {
            [one] => RawArgument::One(one.clone()),
            texts => RawArgument::Group(texts.to_vec()),
        };
        let exit = |(status, meaning): (&u8, &ExitMeaning)| (status.to_string(), (*meaning).into());
        Self {
            name: Some(command.name.clone()),
            description: Some(command.description.clone()),
            input_schema: command.input_schema.clone(),
            args: command.args.iter().map(argument).collect(),
            allow_leading_dash: command.allow_leading_dash,
            stdin: RawStdin(match &command.stdin {
                CommandInput::Json => "json".to_owned(),
                CommandInput::None => "none".to_owned(),
                CommandInput::Property(name) => format!("${{{name}}}"),
            }),
            output: match command.output {
                CommandOutput::Text => RawOutput::Text,
                CommandOutput::Json => RawOutput::Json,
            },
            exit_codes: command.exit_codes.iter().map(exit).collect(),
            read_only: command.annotations.read_only,
            idempotent: command.annotations.idempotent,
            destructive: command.annotations.destructive,
        }
    }
}
