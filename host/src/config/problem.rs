//! The problems of a configuration, and where they are.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A location in a file. Line and column count from one, the column in characters.
    File { path: PathBuf, line: usize, column: usize },
    /// A file as a whole.
    WholeFile { path: PathBuf },
    /// An environment variable.
    Env { name: String },
    /// An argument of the command line.
    Argument { name: String },
    /// The built-in configuration, used when there is no file.
    BuiltIn,
    /// Settings made by a program.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::WholeFile { path } => write!(f, "{}", path.display()),
            Self::Env { name } | Self::Argument { name } => f.write_str(name),
            Self::BuiltIn => f.write_str("built-in configuration"),
            Self::Code => f.write_str("in code"),
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub origin: Origin,
    /// The key in TOML notation, such as `plugins.weather.limits.timeout`; empty if the problem isn't about a key.
    pub key: String,
    pub message: String,
    /// How to fix it.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n    hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All problems of a configuration, in the order of the file, else of the keys. The message lists each problem on a line,
/// with its hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        problems.sort();
        problems.dedup();
        Self { problems }
    }

    /// Never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Where to find more. The hint for each problem is in the message, below the problem.
    pub fn hint(&self) -> Option<String> {
        Some(match self.is_of_arguments() {
            true => "`--help` describes each argument, and `cofferdam config schema` each key".to_owned(),
            false => "`cofferdam config schema` describes every key".to_owned(),
        })
    }

    /// The same problems without their hints, for programs, which have a field for those.
    pub fn without_hints(&self) -> Self {
        let without = |problem: &Problem| Problem {
            hint: None,
            ..problem.clone()
        };
        Self {
            problems: self.problems.iter().map(without).collect(),
        }
    }

    /// Whether the files and variables are as they should be.
    fn is_of_arguments(&self) -> bool {
        let mut problems = self.problems.iter();
        problems.all(|problem| matches!(problem.origin, Origin::Argument { .. }))
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.is_of_arguments() {
            true => "the command line",
            false => "the configuration",
        };
        match self.problems.len() {
            1 => write!(f, "{what} has a problem")?,
            count => write!(f, "{what} has {count} problems")?,
        }
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

/// The problem with one value, before its key and location are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueProblem {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl ValueProblem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl fmt::Display for ValueProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
