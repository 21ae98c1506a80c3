//! Reads a script from TOML. `docs/simulator.md` describes the format. Every problem is reported with its line.

mod raw;

use std::fmt;

use serde::Deserialize;
use toml::Spanned;

use super::script::{Answer, Script};
use super::validate::validate;
use crate::toml_text::{TomlProblem, line_of, problem_of, read_table};
use raw::RawScript;

const MAX_SCRIPT_BYTES: usize = 4 * 1024 * 1024;

/// An invalid script, with all its problems.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct ScriptError {
    /// Where the script came from, as passed to [`Script::parse`].
    pub origin: String,
    pub problems: Vec<ScriptProblem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptProblem {
    /// Counted from 1. `None` if the problem concerns the whole script.
    pub line: Option<usize>,
    pub message: String,
}

impl ScriptError {
    fn lines(&self) -> String {
        let lines: Vec<_> = self
            .problems
            .iter()
            .map(|problem| format!("{}:{problem}", self.origin))
            .collect();
        lines.join("\n")
    }

    pub fn hint(&self) -> &'static str {
        "host/docs/simulator.md lists every key of a script"
    }
}

impl fmt::Display for ScriptProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{line}: {}", self.message),
            None => write!(f, " {}", self.message),
        }
    }
}

impl Script {
    /// Reads a script; `origin` names it in errors (a path).
    ///
    /// # Errors
    /// [`ScriptError`] for invalid TOML, for an unknown or ill-typed key (the first one), and for broken rules (all of them;
    /// for an answer that doesn't parse, only that).
    pub fn parse(text: &str, origin: &str) -> Result<Self, ScriptError> {
        let error = |problems| ScriptError {
            origin: origin.to_owned(),
            problems,
        };
        if text.len() > MAX_SCRIPT_BYTES {
            let message = format!(
                "the script has {} bytes, but at most {MAX_SCRIPT_BYTES} are allowed",
                text.len()
            );
            return Err(error(vec![ScriptProblem { line: None, message }]));
        }
        let raw = read(text).map_err(error)?;

        let mut problems = Vec::new();
        let mut lines = Vec::new();
        let mut answers = Vec::new();
        for answer in raw.answer {
            let line = line_of(text, answer.span().start);
            lines.push(line);
            match answer.into_inner().into_answer() {
                Ok(answer) => answers.push(answer),
                Err(message) => {
                    problems.push(ScriptProblem {
                        line: Some(line),
                        message,
                    });
                    // A placeholder, so that the rules below number the answers as the file does.
                    answers.push(Answer::text(""));
                }
            }
        }
        let script = Self {
            answers,
            after: raw.after,
        };
        problems.extend(validate(&script).into_iter().map(|violation| ScriptProblem {
            line: violation.answer.and_then(|index| lines.get(index).copied()),
            message: violation.message,
        }));
        if problems.is_empty() {
            Ok(script)
        } else {
            Err(error(problems))
        }
    }
}

fn read(text: &str) -> Result<RawScript, Vec<ScriptProblem>> {
    let table = read_table(text).map_err(|problems| {
        let problems = problems.into_iter();
        problems
            .map(|problem| script_problem(text, problem))
            .collect::<Vec<_>>()
    })?;
    RawScript::deserialize(toml::Deserializer::from(Spanned::new(0..text.len(), table)))
        .map_err(|cause| vec![script_problem(text, problem_of(cause))])
}

fn script_problem(text: &str, problem: TomlProblem) -> ScriptProblem {
    ScriptProblem {
        line: problem.span.map(|span| line_of(text, span.start)),
        message: problem.message,
    }
}

#[cfg(test)]
mod tests;
