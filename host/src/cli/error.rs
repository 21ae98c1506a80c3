//! The errors that stop a command, and how they are printed: the cause chain, then a hint.

use std::error::Error;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};

use super::format;
use crate::assembly::HostError;
use crate::author::AuthorError;
use crate::author::check::CheckError;
use crate::causes::{causes, with_causes};
use crate::config::ConfigError;
use crate::events::ErrorInfo;
use crate::ledger::LedgerError;
use crate::model::PriceError;
use crate::sandbox::{ComponentError, SetIn};
use crate::simulator::ScriptError;
use crate::store::StoreError;
use crate::telemetry::LoggingError;

/// An error before a run exists, such as wrong usage or an invalid configuration. Errors during a run are in its report.
/// The exit code is 2, except that [`CliError::Output`] turns only a code of 0 into 1.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Arguments that the parser accepts but that make no sense.
    #[error("{message}")]
    Usage { message: String, hint: String },
    #[error(
        "there is no API key for `{}`: the environment variable {variable} is empty or not set",
        format::escape(model)
    )]
    NoApiKey { model: String, variable: String },
    #[error("can't read {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("can't write {}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("can't read the {what} from stdin")]
    Stdin { what: &'static str, source: std::io::Error },
    #[error("can't write the output, part of it is lost")]
    Output(#[source] std::io::Error),
    #[error("can't create a temporary folder")]
    TemporaryFolder(#[source] std::io::Error),
    #[error("can't start a thread for {what}")]
    Thread { what: &'static str, source: std::io::Error },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Prices(#[from] PriceError),
    #[error("can't start the {what}")]
    Listen { what: &'static str, source: std::io::Error },
    #[error("the MCP server stopped: {0}")]
    Protocol(String),
    #[error("can't use {name}")]
    Component {
        name: String,
        set_in: SetIn,
        source: ComponentError,
    },
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error(transparent)]
    Author(#[from] AuthorError),
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl CliError {
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A stable identifier, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Usage { .. } => "usage",
            Self::NoApiKey { .. } => "no_api_key",
            Self::Read { .. } | Self::Stdin { .. } => "unreadable",
            Self::Write { .. } => "unwritable",
            Self::Output(_) => "output_failed",
            Self::TemporaryFolder(_) | Self::Thread { .. } | Self::Listen { .. } => "system",
            Self::Config(_) | Self::Prices(_) => "configuration",
            Self::Logging(_) => "logging",
            Self::Host(HostError::Capability(_)) => "configuration",
            Self::Host(_) => "host",
            Self::Ledger(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Protocol(_) => "protocol",
            Self::Component { .. } => "component",
            Self::Script(_) => "script",
            Self::Author(_) => "project",
            Self::Check(_) => "check",
        }
    }

    /// The error with its causes in the form of a report's error.
    pub fn info(&self) -> ErrorInfo {
        // On a terminal, each problem has its hint below it.
        let (message, hint) = match self {
            Self::Config(error) | Self::Host(HostError::Config(error)) => {
                let hints = error.problems().iter();
                let hints = hints.filter_map(|problem| Some((problem.key.clone(), problem.hint.clone()?)));
                (error.without_hints().to_string(), together(hints))
            }
            Self::Host(HostError::Tools(error)) => {
                let messages: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
                let hints = error.problems.iter();
                let hints = hints.filter_map(|problem| Some((problem.key(), problem.hint()?)));
                (messages.join("\n"), together(hints))
            }
            _ => (with_causes(self), None),
        };
        ErrorInfo {
            kind: self.kind().to_owned(),
            message,
            hint: hint.or_else(|| self.hint()),
            request_id: None,
        }
    }

    /// How the user can fix it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } => Some(hint.clone()),
            Self::NoApiKey { variable, .. } => Some(format!(
                "set {variable}, or try `cofferdam demo`, which needs neither a key nor a network"
            )),
            Self::Read { source, .. } => Some(
                match source.kind() {
                    ErrorKind::InvalidData => "it must be text in UTF-8",
                    ErrorKind::IsADirectory => "it is a folder; name a file",
                    _ => "check that the file exists and that you can read it",
                }
                .to_owned(),
            ),
            Self::Write { .. } => Some("choose a folder that you can write to".to_owned()),
            Self::Stdin { what, .. } => Some(format!("the {what} must be UTF-8 text")),
            Self::Output(_) => Some("check the free space on the disk that stdout is written to".to_owned()),
            Self::TemporaryFolder(_) => {
                Some("set TMPDIR to a folder that you can write to, on a disk with free space".to_owned())
            }
            Self::Thread { .. } => {
                Some("the user may have reached the limit of processes and threads (`ulimit -u`)".to_owned())
            }
            Self::Config(error) => error.hint(),
            Self::Logging(error) => error.hint().map(str::to_owned),
            Self::Host(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Prices(error) => Some(error.hint().to_owned()),
            Self::Listen { .. } => Some("use an address of this machine and a free port".to_owned()),
            Self::Protocol(_) => Some("clients begin with `initialize` or `server/discover`".to_owned()),
            Self::Script(error) => Some(error.hint().to_owned()),
            Self::Component { source, set_in, .. } => source.hint(*set_in),
            Self::Author(error) => error.hint(),
            Self::Check(CheckError::Host(error)) => error.hint(),
            Self::Check(CheckError::Store(error)) => Some(error.hint()),
            Self::Check(CheckError::Folder(_)) => {
                Some("set TMPDIR to a folder that you can write to, on a disk with free space".to_owned())
            }
        }
    }
}

/// The hints of several problems, each with its key.
fn together(hints: impl Iterator<Item = (String, String)>) -> Option<String> {
    let hints: Vec<(String, String)> = hints.collect();
    match &hints[..] {
        [] => None,
        [(_, hint)] => Some(hint.clone()),
        hints => {
            let lines: Vec<String> = hints.iter().map(|(key, hint)| format!("{key}: {hint}")).collect();
            Some(lines.join("\n"))
        }
    }
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// An error, its causes and its hint, each on its own line.
pub fn render(error: &dyn Error, hint: Option<&str>) -> String {
    render_chain(format!("{ERROR}error{ERROR:#}"), error, hint)
}

/// A problem without a cause chain that is part of a command's result.
pub fn problem(text: &str, hint: Option<&str>) -> String {
    let mut out = format!("{ERROR}error{ERROR:#}: {}", format::escape(text));
    push_hint(&mut out, hint);
    out
}

/// A line without a label.
pub fn with_hint(text: &str, hint: Option<&str>) -> String {
    let mut out = format::escape(text).into_owned();
    push_hint(&mut out, hint);
    out
}

/// A warning without a cause chain.
pub fn warning(text: &str, hint: Option<&str>) -> String {
    let mut out = format!("{WARNING}warning{WARNING:#}: {}", format::escape(text));
    push_hint(&mut out, hint);
    out
}

/// An error that does not stop the command.
pub fn render_warning(error: &dyn Error, hint: Option<&str>) -> String {
    render_chain(format!("{WARNING}warning{WARNING:#}"), error, hint)
}

fn render_chain(label: String, error: &dyn Error, hint: Option<&str>) -> String {
    let mut out = format!("{label}: {}", format::escape(&error.to_string()));
    causes(error).for_each(|cause| {
        let _ = write!(out, "\n  caused by: {}", format::escape(&cause));
    });
    push_hint(&mut out, hint);
    out
}

/// The error of a run, as its report carries it.
pub fn render_info(error: &ErrorInfo) -> String {
    let mut out = format!("{ERROR}error{ERROR:#}: {}", format::escape(&error.message));
    if let Some(request_id) = &error.request_id {
        let _ = write!(out, "\n  request id: {}", format::escape(request_id));
    }
    push_hint(&mut out, error.hint.as_deref());
    out
}

fn push_hint(out: &mut String, hint: Option<&str>) {
    if let Some(hint) = hint {
        let _ = write!(out, "\n{HINT}hint{HINT:#}: {}", format::escape(&format::indented(hint)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn causes_and_hint_follow_the_error() {
        let error = CliError::Read {
            path: "missing.wasm".into(),
            source: std::io::Error::new(ErrorKind::NotFound, "no such file"),
        };
        assert_eq!(
            plain(&render(&error, error.hint().as_deref())),
            "error: can't read missing.wasm\n  caused by: no such file\nhint: check that the file exists and that you can read it"
        );
    }

    #[test]
    fn a_missing_key_has_a_hint() {
        let error = CliError::NoApiKey {
            model: "claude".into(),
            variable: "ANTHROPIC_API_KEY".into(),
        };
        let text = plain(&render(&error, error.hint().as_deref()));
        assert!(
            text.contains("ANTHROPIC_API_KEY") && text.contains("cofferdam demo"),
            "{text}"
        );
    }

    #[test]
    fn control_characters_in_api_errors_are_escaped() {
        let info = ErrorInfo {
            kind: "api_error".into(),
            message: "a\u{1b}[2Jb".into(),
            hint: None,
            request_id: Some("req_1".into()),
        };
        assert_eq!(plain(&render_info(&info)), "error: a\\u{1b}[2Jb\n  request id: req_1");
    }
}
