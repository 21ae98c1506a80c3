//! What a line of a conversation is: a prompt, or a command.

/// The commands, with what each does.
pub const COMMANDS: [(&str, &str); 8] = [
    ("/help", "show these commands and the keys"),
    ("/clear", "forget the conversation and start a new one"),
    (
        "/model [NAME]",
        "show the model, or change it for the prompts that follow",
    ),
    (
        "/attach [FILE]",
        "send an image, a PDF or a text file with the next prompt, or list those that are",
    ),
    ("/detach [NAME]", "send one of these files no more, or none"),
    ("/tools", "list the tools"),
    ("/budget", "show the limits and what is spent"),
    ("/exit, /quit", "end; so do `exit`, `quit` and Ctrl-D"),
];

/// The first words of the commands.
pub const WORDS: [&str; 9] = [
    "/help", "/clear", "/model", "/attach", "/detach", "/tools", "/budget", "/exit", "/quit",
];

#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    Nothing,
    Prompt(&'a str),
    Help,
    Exit,
    Clear,
    /// Show the model, or change it.
    Model(Option<&'a str>),
    /// Send these files with the next prompt, or list those that are.
    Attach(Option<&'a str>),
    /// Send these of them no more, or none.
    Detach(Option<&'a str>),
    Tools,
    Budget,
}

impl Line<'_> {
    /// Whether the prompts after it are written for what it does.
    pub const fn prepares(&self) -> bool {
        matches!(
            self,
            Self::Clear | Self::Model(Some(_)) | Self::Attach(Some(_)) | Self::Detach(_)
        )
    }
}

/// A line that is neither a prompt nor a command, and what to write instead. Nothing of it is sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    pub hint: String,
}

/// Reads a line. White space around it doesn't count, except for the indentation of several lines.
pub fn parse(line: &str) -> Result<Line<'_>, Mistake> {
    let indented = without_blank_lines(line);
    let line = line.trim();
    let first = line.split_whitespace().next().unwrap_or_default();
    // Commands are of one line. What has several, or begins with a comment, is code that was pasted.
    if line.contains('\n') && !WORDS.contains(&first) {
        return Ok(Line::Prompt(indented));
    }
    if line.starts_with("//") {
        let is_comment = first == "//" && line != "//";
        return Ok(Line::Prompt(if is_comment { line } else { &line[1..] }));
    }
    if !line.starts_with('/') {
        return Ok(match line {
            "" => Line::Nothing,
            "exit" | "quit" => Line::Exit,
            prompt => Line::Prompt(prompt),
        });
    }
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let parsed = match word {
        "/model" => {
            return match argument.split_whitespace().count() {
                0 => Ok(Line::Model(None)),
                1 => Ok(Line::Model(Some(argument))),
                _ => Err(mistake("`/model` takes one name".to_owned())),
            };
        }
        "/attach" => return Ok(Line::Attach(Some(argument).filter(|files| !files.is_empty()))),
        "/detach" => return Ok(Line::Detach(Some(argument).filter(|files| !files.is_empty()))),
        "/help" => Line::Help,
        "/exit" | "/quit" => Line::Exit,
        "/clear" => Line::Clear,
        "/tools" => Line::Tools,
        "/budget" => Line::Budget,
        _ => return Err(mistake(format!("`{word}` isn't a command, so nothing was sent"))),
    };
    match argument {
        "" => Ok(parsed),
        _ => Err(mistake(format!("`{word}` takes nothing after it, so nothing was sent"))),
    }
}

/// The lines between the blank ones at the beginning and at the end.
fn without_blank_lines(lines: &str) -> &str {
    let lines = lines.trim_end();
    let blank = lines.len() - lines.trim_start().len();
    let begin = lines[..blank].rfind('\n').map_or(0, |end| end + 1);
    &lines[begin..]
}

fn mistake(message: String) -> Mistake {
    Mistake {
        message,
        hint: format!(
            "the commands are {}; `//` sends a line that begins with `/`",
            WORDS.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_prompts_or_commands() {
        for (line, parsed) in [
            ("", Line::Nothing),
            (" \t", Line::Nothing),
            ("What is 25 * 17?", Line::Prompt("What is 25 * 17?")),
            (" \n  two\n    lines\n", Line::Prompt("  two\n    lines")),
            ("  one line\n", Line::Prompt("one line")),
            ("exit", Line::Exit),
            (" quit ", Line::Exit),
            ("exit the loop", Line::Prompt("exit the loop")),
            ("/exit", Line::Exit),
            ("/quit", Line::Exit),
            ("/help", Line::Help),
            ("/clear", Line::Clear),
            ("/tools", Line::Tools),
            ("/budget ", Line::Budget),
            ("/model", Line::Model(None)),
            ("/model  claude-x ", Line::Model(Some("claude-x"))),
            ("/attach  a b.png ", Line::Attach(Some("a b.png"))),
            ("/attach", Line::Attach(None)),
            ("/detach b.png", Line::Detach(Some("b.png"))),
            ("/detach ", Line::Detach(None)),
            ("//etc/hosts", Line::Prompt("/etc/hosts")),
            ("//", Line::Prompt("/")),
            ("// a comment", Line::Prompt("// a comment")),
            ("// main.c\nint x;", Line::Prompt("// main.c\nint x;")),
            ("\n  //main.c\nint x;\n", Line::Prompt("  //main.c\nint x;")),
            ("/* main.c */\nint x;", Line::Prompt("/* main.c */\nint x;")),
        ] {
            assert_eq!(parse(line).unwrap(), parsed, "{line:?}");
        }
    }

    #[test]
    fn some_commands_prepare_the_prompts_after_them() {
        for (line, prepares) in [
            ("/clear", true),
            ("/model x", true),
            ("/model", false),
            ("/attach x", true),
            ("/attach", false),
            ("/detach", true),
            ("/budget", false),
            ("/help", false),
            ("a prompt", false),
        ] {
            assert_eq!(parse(line).unwrap().prepares(), prepares, "{line}");
        }
    }

    #[test]
    fn a_mistake_lists_the_commands() {
        for line in ["/", "/etc/hosts", "/Help", "/clear all", "/model a b", "/tools\nfoo"] {
            let mistake = parse(line).unwrap_err();
            assert!(
                WORDS.iter().all(|word| mistake.hint.contains(word)),
                "{line:?}: {mistake:?}"
            );
        }
    }

    #[test]
    fn the_words_are_those_that_are_shown() {
        let shown: Vec<&str> = COMMANDS
            .iter()
            .flat_map(|(usage, _)| usage.split([' ', ',']))
            .filter(|word| word.starts_with('/'))
            .collect();
        let mut words = WORDS.to_vec();
        words.sort_unstable();
        let mut sorted = shown.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, words);
        assert!(
            words
                .iter()
                .all(|word| parse(word).is_ok() || parse(&format!("{word} x")).is_ok())
        );
    }
}
