//! Reads the command line, and says more of a mistake in it than the parser does.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, Parser, ValueEnum};

use super::{Cli, CliError, Output};

/// # Errors
/// The words are no command line, or ask for help or the version.
pub fn parse(words: &[OsString]) -> clap::error::Result<Cli> {
    Cli::try_parse_from(words).map_err(|mistake| with_tip(mistake, words))
}

/// The mistake as other errors say it, for programs.
pub fn error(mistake: &clap::Error, words: &[OsString]) -> CliError {
    let help = || {
        let mut root = Cli::command();
        root.build();
        let command = command_of(&root, words);
        format!(
            "`{} --help` lists what it takes",
            command.get_bin_name().unwrap_or("cofferdam")
        )
    };
    if mistake.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return CliError::usage("a command is missing", help());
    }
    let text = mistake.to_string();
    let mut parts = text
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = parts.next().unwrap_or_default();
    let message = message.strip_prefix("error: ").unwrap_or(&message).to_owned();
    let tips = parts.filter_map(|part| part.strip_prefix("tip: ").map(|tips| tips.replace(" tip: ", "; ")));
    let tips: Vec<String> = tips.collect();
    CliError::usage(message, if tips.is_empty() { help() } else { tips.join("; ") })
}

/// The format of stdout that the words ask for, whatever else is wrong with them.
pub fn output(words: &[OsString]) -> Output {
    let mut words = words
        .iter()
        .map_while(|word| word.to_str().filter(|word| *word != "--"));
    let mut output = None;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--output") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        output = value.and_then(|value| Output::from_str(value, false).ok()).or(output);
    }
    output.unwrap_or(Output::Text)
}

/// Adds the command that was meant, or the values that an argument can have.
fn with_tip(mut mistake: clap::Error, words: &[OsString]) -> clap::Error {
    let mut root = Cli::command();
    root.build();
    match mistake.kind() {
        ErrorKind::InvalidSubcommand if mistake.get(ContextKind::SuggestedSubcommand).is_none() => {
            if let Some(ContextValue::String(word)) = mistake.get(ContextKind::InvalidSubcommand)
                && let Some(meant) = nearest(word, command_of(&root, words))
            {
                mistake.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(vec![meant]));
            }
        }
        ErrorKind::MissingRequiredArgument => {
            if let Some(ContextValue::Strings(missing)) = mistake.get(ContextKind::InvalidArg) {
                let arguments = command_of(&root, words).get_arguments();
                let missing = arguments.filter(|argument| missing.contains(&argument.to_string()));
                let tips = missing.filter_map(values).collect();
                mistake.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
        }
        _ => {}
    }
    mistake
}

/// The innermost command that the words name.
fn command_of<'a>(root: &'a Command, words: &[OsString]) -> &'a Command {
    let words = words.iter().skip(1);
    words.fold(root, |command, word| command.find_subcommand(word).unwrap_or(command))
}

/// The command whose name differs by a typing error. The parser's own measure finds none for short words whose letters have
/// changed places.
fn nearest(word: &str, command: &Command) -> Option<String> {
    let allowed = (word.chars().count() / 3).max(1);
    let names = command.get_subcommands().map(Command::get_name);
    let distances = names.map(|name| (strsim::damerau_levenshtein(word, name), name));
    let near = distances.filter(|(distance, _)| *distance <= allowed);
    near.min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

/// What an argument can be, if it can't be everything.
fn values(argument: &Arg) -> Option<StyledStr> {
    let values = argument.get_possible_values();
    let names: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    (!names.is_empty()).then(|| format!("{argument} takes one of: {}", names.join(", ")).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mistake(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        parse(&words).unwrap_err().to_string()
    }

    #[test]
    fn a_misspelt_command_has_a_tip_at_every_level() {
        for (line, meant) in [
            ("cofferdam rnu", "run"),
            ("cofferdam --quiet rnu hello", "run"),
            ("cofferdam caht", "chat"),
            ("cofferdam help dmeo", "demo"),
            ("cofferdam tool lits", "list"),
            ("cofferdam tool --output json nwe x", "new"),
            ("cofferdam mcp cofnig", "config"),
            ("cofferdam budget est", "set"),
            ("cofferdam config shwo", "show"),
        ] {
            let said = mistake(line);
            assert!(
                said.contains("similar subcommand exists") && said.contains(&format!("'{meant}'")),
                "{line}: {said}"
            );
        }
        let said = mistake("cofferdam frobnicate");
        assert!(!said.contains("tip"), "{said}");
    }

    #[test]
    fn a_program_reads_a_mistake_as_one_line_and_what_to_do() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let error = error(&parse(&words).unwrap_err(), &words);
            (error.to_string(), error.hint().unwrap())
        };
        let (message, hint) = read("cofferdam caht");
        assert_eq!(message, "unrecognized subcommand 'caht'");
        assert_eq!(hint, "a similar subcommand exists: 'chat'");
        let (message, hint) = read("cofferdam chat --modle x");
        assert_eq!(message, "unexpected argument '--modle' found");
        assert!(hint.starts_with("a similar argument exists: '--model'"), "{hint}");
        let (message, hint) = read("cofferdam session delete");
        assert!(
            message.starts_with("the following required arguments were not provided: <ID|"),
            "{message}"
        );
        assert_eq!(hint, "`cofferdam session delete --help` lists what it takes");
        let (message, hint) = read("cofferdam tool");
        assert_eq!(message, "a command is missing");
        assert_eq!(hint, "`cofferdam tool --help` lists what it takes");
    }

    #[test]
    fn the_format_is_known_whatever_else_is_wrong() {
        for (line, format) in [
            ("cofferdam rnu --output json", Output::Json),
            ("cofferdam --output=stream-json rnu", Output::StreamJson),
            ("cofferdam rnu --output jsn", Output::Text),
            ("cofferdam run --modle x -- --output json", Output::Text),
            ("cofferdam rnu --output", Output::Text),
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert_eq!(output(&words), format, "{line}");
        }
    }

    #[test]
    fn a_missing_argument_comes_with_its_values() {
        for (line, values) in [
            (
                "cofferdam completions",
                "<SHELL> takes one of: bash, elvish, fish, powershell, zsh",
            ),
            ("cofferdam mcp config", "--client <CLIENT> takes one of: claude, vscode"),
            ("cofferdam tool new x", "--lang <LANGUAGE> takes one of: "),
        ] {
            let said = mistake(line);
            assert!(said.contains(values), "{line}: {said}");
        }
        // There is nothing to choose from.
        assert!(!mistake("cofferdam tool call").contains("tip"));
    }
}
