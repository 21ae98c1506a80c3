//! The commands in messages. Each is followed as it is written, so it has the options of this command line without which it would do
//! something else: another configuration, another model, another limit.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::grants::quoted;

/// Begins a command.
const COMMAND: &str = "`cofferdam ";

/// Commands that read the configuration. The others refuse `--config`.
const CONFIGURED: [&str; 8] = [
    "approval", "breakers", "budget", "chat", "doctor", "run", "session", "usage",
];

/// What commands in messages have in common. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Commands(Arc<Options>);

#[derive(Debug, Default)]
struct Options {
    /// As a shell reads them.
    of_all: String,
    /// What goes on with a session of this one needs more.
    of_sessions: OnceLock<String>,
}

impl Commands {
    pub fn of(config: Option<&Path>) -> Self {
        let config = config.map(|path| format!("--config {}", quoted(&path.display().to_string())));
        Self(Arc::new(Options {
            of_all: config.unwrap_or_default(),
            of_sessions: OnceLock::new(),
        }))
    }

    /// Has commands that go on with a session repeat these options, once they are known.
    pub fn repeat(&self, options: String) {
        // A process has one command line.
        let _ = self.0.of_sessions.set(options);
    }

    /// The text, with the options of its commands. Those that a command has already aren't repeated.
    pub fn complete<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut completed = String::new();
        let mut rest = text;
        while let Some((before, command)) = rest.split_once(COMMAND)
            && let Some((command, after)) = command.split_once('`')
        {
            completed = completed + before + COMMAND + command;
            for options in self.options(command) {
                if !options.is_empty() && !command.contains(options.as_str()) {
                    completed = completed + " " + options;
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

    /// What this command needs.
    fn options(&self, command: &str) -> impl Iterator<Item = &String> {
        let mut words = command.split_whitespace();
        let name = words.next().unwrap_or_default();
        let has = |option: &str| command.split_whitespace().any(|word| word == option);
        let goes_on = match name {
            "run" | "chat" => has("--session") || has("--continue"),
            "session" => words.next() == Some("resume"),
            _ => false,
        };
        // `run` alone is its name in a sentence.
        let is_mentioned = matches!(name, "run" | "chat") && !goes_on;
        let is_configured = CONFIGURED.contains(&name) && !is_mentioned;
        let of_all = is_configured.then_some(&self.0.of_all);
        of_all.into_iter().chain(self.0.of_sessions.get().filter(|_| goes_on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_the_options_that_it_needs() {
        let commands = Commands::of(Some(Path::new("my st.toml")));
        commands.repeat("--model m --budget 1".to_owned());
        for (said, completed) in [
            ("try again", "try again"),
            (
                "`cofferdam session resume 01` sends it again, `cofferdam approval list` shows all.",
                "`cofferdam session resume 01 --config 'my st.toml' --model m --budget 1` sends it again, \
                 `cofferdam approval list --config 'my st.toml'` shows all.",
            ),
            (
                "`cofferdam run --session 01 'go on'`, `cofferdam chat --continue`",
                "`cofferdam run --session 01 'go on' --config 'my st.toml' --model m --budget 1`, \
                 `cofferdam chat --continue --config 'my st.toml' --model m --budget 1`",
            ),
            (
                "what is piped into `cofferdam run`; `cofferdam init` and `cofferdam tool new x`",
                "what is piped into `cofferdam run`; `cofferdam init` and `cofferdam tool new x`",
            ),
            ("not `cofferdam budget show", "not `cofferdam budget show"),
        ] {
            assert_eq!(commands.complete(said), completed);
            assert_eq!(commands.complete(completed), completed, "once");
        }
        let plain = Commands::of(None);
        assert_eq!(plain.complete("`cofferdam budget show`"), "`cofferdam budget show`");
    }
}
