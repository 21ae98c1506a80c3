//! What a line at the prompt asks for.

use serde_json::Value;

use super::super::tool_call::check_json;
use super::describe::example;

/// The commands, with what each does. The first word of a line is one of them, or the name of a tool. Where a tool has the same
/// name, `/` before the word means the command.
pub const COMMANDS: [(&str, &str); 5] = [
    ("help", "show the tools and these commands"),
    ("schema [NAME]", "show the schemas of a tool"),
    (
        "build",
        "build now, for example after a change outside the project's folder",
    ),
    (
        "NAME {JSON}",
        "call a tool; without the JSON, with {}; with one tool, the JSON is enough",
    ),
    ("quit", "end; so do Ctrl-D, and Ctrl-C at an empty line"),
];

/// The words that begin a command.
pub const WORDS: [&str; 4] = ["help", "schema", "build", "quit"];

#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    Nothing,
    Help,
    /// The schemas of this tool.
    Schema(&'a Value),
    Build,
    Quit,
    Call {
        tool: &'a str,
        input: &'a str,
    },
}

/// A line that asks for nothing, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub hint: String,
}

/// Reads a line. `tools` are described as `tool list --output json` does.
pub fn parse<'a>(line: &'a str, tools: &'a [Value]) -> Result<Command<'a>, Mistake> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Command::Nothing);
    }
    if line.starts_with('{') {
        return call(only_tool(tools)?, line);
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    // A blank before the JSON is easily forgotten.
    let (word, rest) = match (rest.is_empty(), word.find('{')) {
        (_, Some(brace)) => (&word[..brace], line[brace..].trim()),
        (_, None) => (word, rest),
    };
    if let Some(tool) = find(tools, word) {
        return call(tool, if rest.is_empty() { "{}" } else { rest });
    }
    match (word.strip_prefix('/').unwrap_or(word), rest) {
        ("help" | "?", "") => Ok(Command::Help),
        ("build", "") => Ok(Command::Build),
        ("quit" | "exit", "") => Ok(Command::Quit),
        ("schema", "") => only_tool(tools).map(Command::Schema),
        ("schema", name) => find(tools, name)
            .map(Command::Schema)
            .ok_or_else(|| unknown(name, tools)),
        (command, _) if WORDS.contains(&command) => Err(Mistake {
            message: format!("`{command}` stands alone on its line"),
            hint: format!("write {command}"),
        }),
        _ => Err(unknown(word, tools)),
    }
}

fn call<'a>(tool: &'a Value, input: &'a str) -> Result<Command<'a>, Mistake> {
    check_json(input).map_err(|message| Mistake {
        message,
        hint: format!("for example {} {}", name(tool), example(tool)),
    })?;
    Ok(Command::Call {
        tool: name(tool),
        input,
    })
}

pub fn name(tool: &Value) -> &str {
    tool["name"].as_str().unwrap_or_default()
}

fn find<'a>(tools: &'a [Value], word: &str) -> Option<&'a Value> {
    tools.iter().find(|tool| name(tool) == word)
}

fn names(tools: &[Value]) -> String {
    tools.iter().map(name).collect::<Vec<_>>().join(", ")
}

fn only_tool(tools: &[Value]) -> Result<&Value, Mistake> {
    match tools {
        [tool] => Ok(tool),
        [] => Err(no_tools()),
        _ => Err(Mistake {
            message: format!("there are {} tools: {}", tools.len(), names(tools)),
            hint: "begin with the name of one".to_owned(),
        }),
    }
}

fn no_tools() -> Mistake {
    Mistake {
        message: "there is no tool to call".to_owned(),
        hint: "mend what was reported; a changed file of the project starts another build, and so does `build`"
            .to_owned(),
    }
}

fn unknown(word: &str, tools: &[Value]) -> Mistake {
    match tools.is_empty() {
        true => no_tools(),
        false => Mistake {
            message: format!("`{word}` is neither a tool nor a command"),
            hint: format!("the tools: {}; `help` shows the commands", names(tools)),
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn tools(names: &[&str]) -> Vec<Value> {
        let schema = json!({ "properties": { "text": { "type": "string" } }, "required": ["text"] });
        let tool = |name: &&str| json!({ "name": name, "input_schema": schema });
        names.iter().map(tool).collect()
    }

    fn called<'a>(tool: &'a str, input: &'a str) -> Result<Command<'a>, Mistake> {
        Ok(Command::Call { tool, input })
    }

    #[test]
    fn a_line_is_a_command_or_a_call() {
        let two = tools(&["reverse", "help"]);
        for (line, expected) in [
            ("  ", Ok(Command::Nothing)),
            (
                " reverse {\"text\": \"a b\"} ",
                called("reverse", "{\"text\": \"a b\"}"),
            ),
            ("reverse{\"text\": 1}", called("reverse", "{\"text\": 1}")),
            ("reverse\t{\n}", called("reverse", "{\n}")),
            ("reverse", called("reverse", "{}")),
            ("reverse [1]", called("reverse", "[1]")),
            // The tool comes first.
            ("help", called("help", "{}")),
            ("/help", Ok(Command::Help)),
            ("?", Ok(Command::Help)),
            ("build", Ok(Command::Build)),
            ("exit", Ok(Command::Quit)),
            ("/quit", Ok(Command::Quit)),
            ("schema help", Ok(Command::Schema(&two[1]))),
        ] {
            assert_eq!(parse(line, &two), expected, "{line}");
        }
        let one = tools(&["reverse"]);
        assert_eq!(parse("{\"text\": 1}", &one), called("reverse", "{\"text\": 1}"));
        assert_eq!(parse("schema", &one), Ok(Command::Schema(&one[0])));
    }

    #[test]
    fn a_mistake_says_what_to_write() {
        let (none, one, two) = (tools(&[]), tools(&["reverse"]), tools(&["reverse", "count"]));
        for (line, tools, message, hint) in [
            (
                "reverse {\"text\": }",
                &one,
                "isn't JSON: expected value at line 1 column 10",
                "reverse {\"text\": \"…\"}",
            ),
            ("{\"text\"", &one, "isn't JSON", "reverse {\"text\""),
            ("reverse text", &one, "isn't JSON", "reverse {\"text\""),
            ("{}", &two, "2 tools: reverse, count", "the name"),
            ("schema", &two, "2 tools", "the name"),
            ("schema nothing", &two, "`nothing` is neither", "reverse, count"),
            ("revert {}", &two, "`revert` is neither", "reverse, count"),
            ("build now", &two, "`build` stands alone", "build"),
            ("{}", &none, "no tool to call", "`build`"),
            ("reverse {}", &none, "no tool to call", "`build`"),
        ] {
            let mistake = parse(line, tools).unwrap_err();
            assert!(
                mistake.message.contains(message) && mistake.hint.contains(hint),
                "{line}: {mistake:?}"
            );
        }
    }
}
