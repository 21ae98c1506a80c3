//! Why a project can't be created or built.

use std::path::PathBuf;

use super::language::{Language, Style};

/// An error of `tool new`, `tool build` or `wit`. Nothing is left half-written, except by the language's own toolchain.
#[derive(Debug, thiserror::Error)]
pub enum AuthorError {
    #[error("`{name}` can't be the name of a tool: {reason}")]
    Name { name: String, reason: &'static str },
    #[error("{} has no {style} template", .language.title())]
    NoTemplate { language: Language, style: Style },
    #[error("{} exists and isn't an empty folder", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} differs from the file that would replace it", .0.display())]
    Differs(PathBuf),
    #[error("can't write {}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("can't read {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} isn't a tool's project: it has none of {}", .0.display(), Language::markers())]
    NoProject(PathBuf),
    #[error("{} isn't valid WIT: {reason}", .path.display())]
    Wit { path: PathBuf, reason: String },
    #[error("{} is missing, which building {} takes", .program, .language.title())]
    Missing {
        program: &'static str,
        language: Language,
        install: &'static str,
    },
    #[error("can't start {program}")]
    Start { program: String, source: std::io::Error },
    #[error("`{command}` failed: {status}{output}")]
    Failed {
        command: String,
        status: std::process::ExitStatus,
        /// What it printed, if that wasn't shown while it ran.
        output: String,
        hint: Option<&'static str>,
    },
    #[error("`{command}` made no WebAssembly file")]
    NoOutput { command: String, hint: &'static str },
    #[error("can't generate the bindings of {}: {reason}", .language.title())]
    Bindings { language: Language, reason: String },
    #[error("can't make a component of the module: {0}")]
    Componentize(String),
}

impl AuthorError {
    /// Adds a hint to the failure of a command, if its cause is the one that the hint is about.
    pub(super) fn with_hint_if(mut self, text: &'static str, applies: impl FnOnce() -> bool) -> Self {
        if let Self::Failed { hint, .. } = &mut self
            && applies()
        {
            *hint = Some(text);
        }
        self
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Name { .. } => {
                "write lower-case words of letters and digits joined by `-`, for example `unit-converter`"
            }
            Self::NoTemplate { .. } => "leave `--style` out, or write `--style typed`",
            Self::NotEmpty(_) => "choose another name, or remove the folder",
            Self::Differs(_) => "`--force` replaces files that differ",
            Self::Write { .. } => "check that you may write to the folder and that its disk has free space",
            Self::Read { .. } => "check that the file exists and that you can read it",
            Self::NoProject(_) => "`cofferdam tool new NAME --lang LANGUAGE` makes one; then name its folder",
            Self::Wit { .. } => "`cofferdam wit DIR` writes the interfaces that a tool can import to DIR/deps",
            Self::Missing { install, .. } => install,
            Self::Start { .. } => "check that the program can be executed",
            Self::Failed { hint, .. } => return hint.map(str::to_owned),
            Self::NoOutput { hint, .. } => hint,
            Self::Bindings { .. } => "generators don't support every WIT type; try a simpler signature",
            Self::Componentize(_) => {
                "the module must export the functions of the world in `wit`, by the names that the bindings give them"
            }
        };
        Some(hint.to_owned())
    }
}
