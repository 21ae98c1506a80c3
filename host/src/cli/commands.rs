//! The commands in messages. Each is followed as it is written, so it has the options of this command line without which it would do
//! something else: another configuration, another model, another limit.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::grants::in_message;

/// Begins a command.
const COMMAND: &str = "`cofferdam ";

/// Commands that are about what the configuration says, whatever follows.
const CONFIGURED: [&str; 8] = [
    "approval", "breakers", "budget", "chat", "doctor", "run", "session", "usage",
];
/// The same of those that others of their kind refuse it.
const CONFIGURED_ALONE: [&str; 2] = ["config check", "tool list"];

const MODEL: &str = "--model ";

/// What a person must fill in.
pub const OPEN: &str = "<VALUE>";

/// What commands in messages have in common. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Commands(Arc<Options>);

#[derive(Debug, Default)]
struct Options {
    /// As a shell reads it.
    config: Option<String>,
    /// What goes on with a session of this one needs more, each with its value.
    of_sessions: Mutex<Vec<String>>,
    /// The options whose value is left open.
    open: Mutex<Vec<&'static str>>,
}

impl Commands {
    pub fn of(config: Option<&Path>) -> Self {
        let config = config.map(|path| format!("--config {}", in_message(&path.display().to_string())));
        Self(Arc::new(Options {
            config,
            of_sessions: Mutex::default(),
            open: Mutex::default(),
        }))
    }

    /// Has commands that go on with a session repeat these options.
    pub fn repeat(&self, options: Vec<String>) {
        *self.of_sessions() = options;
    }

    /// Has them repeat this model.
    pub fn repeat_model(&self, model: &str) {
        let mut options = self.of_sessions();
        options.retain(|option| !option.starts_with(MODEL));
        options.insert(0, format!("{MODEL}{}", in_message(model)));
    }

    /// Has them leave the values of these options open: with those of now, what has just failed would fail again.
    pub fn leave_open(&self, options: Vec<&'static str>) {
        *self.open() = options;
    }

    /// The text, with the options of its commands. Those that a command has already aren't repeated.
    pub fn complete<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut completed = String::new();
        let mut rest = text;
        while let Some((before, command)) = rest.split_once(COMMAND)
            && let Some((command, after)) = command.split_once('`')
        {
            completed = completed + before + COMMAND + command;
            for option in self.options(command) {
                if !command.contains(option.as_str()) {
                    completed = completed + " " + &option;
                }
            }
            completed.push('`');
            rest = after;
        }
        match completed.is_empty() {
            true => Cow::Borrowed(text),
            false => Cow::Owned(completed + rest),
        }
    }

    /// What this command needs. What a person must fill in comes last.
    fn options(&self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        let name = words.first().copied().unwrap_or_default();
        let goes_on = match name {
            "run" | "chat" => words.contains(&"--session") || words.contains(&"--continue"),
            "session" => words.get(1) == Some(&"resume"),
            _ => false,
        };
        // A name alone stands in a sentence.
        let is_mentioned = matches!(command, "run" | "chat");
        let is_configured = CONFIGURED.contains(&name) || CONFIGURED_ALONE.contains(&command);
        let config = self.0.config.iter().filter(|_| is_configured && !is_mentioned).cloned();
        let mut options: Vec<String> = config.collect();
        if goes_on {
            let open = self.open();
            options.extend(self.of_sessions().iter().map(|said| {
                let is_of = |option: &&&str| said.strip_prefix(**option).is_some_and(|value| value.starts_with(' '));
                let open = open.iter().find(is_of);
                open.map_or_else(|| said.clone(), |option| format!("{option} {OPEN}"))
            }));
        }
        options.sort_by_key(|option| option.contains(OPEN));
        options
    }

    fn open(&self) -> MutexGuard<'_, Vec<&'static str>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of_sessions(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.of_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_options_that_it_needs() {
        let commands = Commands::of(Some(Path::new("my st.toml")));
        commands.repeat(vec!["--system <VALUE>".to_owned(), "--budget 1".to_owned()]);
        commands.repeat_model("n");
        commands.repeat_model("m");
        for (said, completed) in [
            ("try again", "try again"),
            (
                "`cofferdam session resume 01` sends it again, `cofferdam approval list` shows all.",
                "`cofferdam session resume 01 --config 'my st.toml' --model m --budget 1 --system <VALUE>` sends it again, \
                 `cofferdam approval list --config 'my st.toml'` shows all.",
            ),
            (
                "`cofferdam run --session 01 'go on'`, `cofferdam chat --continue`",
                "`cofferdam run --session 01 'go on' --config 'my st.toml' --model m --budget 1 --system <VALUE>`, \
                 `cofferdam chat --continue --config 'my st.toml' --model m --budget 1 --system <VALUE>`",
            ),
            (
                "what is piped into `cofferdam run`; `cofferdam init` and `cofferdam tool new x`",
                "what is piped into `cofferdam run`; `cofferdam init` and `cofferdam tool new x`",
            ),
            (
                "`cofferdam config check`, `cofferdam config schema`",
                "`cofferdam config check --config 'my st.toml'`, `cofferdam config schema`",
            ),
            ("not `cofferdam budget show", "not `cofferdam budget show"),
        ] {
            assert_eq!(commands.complete(said), completed);
            assert_eq!(commands.complete(completed), completed, "once");
        }
        for (open, completed) in [
            (vec!["--budget", "--mod"], "--model m --system <VALUE> --budget <VALUE>"),
            (vec![], "--model m --budget 1 --system <VALUE>"),
        ] {
            commands.leave_open(open);
            let completed = format!("`cofferdam session resume 01 --config 'my st.toml' {completed}`");
            assert_eq!(commands.complete("`cofferdam session resume 01`"), completed);
        }
        // Neither ends the command in the message.
        for word in ["a `touch x`", "two\nlines", &"x".repeat(201)] {
            assert_eq!(in_message(word), "<VALUE>");
        }
        let plain = Commands::of(None);
        assert_eq!(plain.complete("`cofferdam budget show`"), "`cofferdam budget show`");
    }
}
