//! Reads a script from TOML. `docs/simulator.md` describes the format. Every problem is reported with its line.

mod raw;

use std::fmt;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

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
        let (raw, keys) = read(text).map_err(error)?;

        let mut problems = Vec::new();
        let mut answers = Vec::new();
        for (index, answer) in raw.answer.into_iter().enumerate() {
            match answer.into_inner().into_answer() {
                Ok(answer) => answers.push(answer),
                Err(message) => {
                    problems.push(ScriptProblem {
                        line: line_of_problem(&keys, index, &message),
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
            rate_limits: raw.rate_limits.map(Into::into).unwrap_or_default(),
        };
        problems.extend(validate(&script).into_iter().map(|violation| {
            ScriptProblem {
                line: violation
                    .answer
                    .and_then(|index| line_of_problem(&keys, index, &violation.message)),
                message: violation.message,
            }
        }));
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() {
            Ok(script)
        } else {
            Err(error(problems))
        }
    }
}

/// The lines of an answer and of its keys, the answer itself first. A key inside a table has a dotted path.
type KeyLines = Vec<(String, usize)>;

fn read(text: &str) -> Result<(RawScript, Vec<KeyLines>), Vec<ScriptProblem>> {
    let table = read_table(text).map_err(|problems| {
        let problems = problems.into_iter();
        problems
            .map(|problem| script_problem(text, problem))
            .collect::<Vec<_>>()
    })?;
    let keys = key_lines(text, &table);
    RawScript::deserialize(toml::Deserializer::from(Spanned::new(0..text.len(), table)))
        .map(|raw| (raw, keys))
        .map_err(|cause| vec![script_problem(text, problem_of(cause))])
}

fn key_lines(text: &str, script: &DeTable<'_>) -> Vec<KeyLines> {
    let Some(DeValue::Array(answers)) = script.get("answer").map(Spanned::get_ref) else {
        return Vec::new();
    };
    let answers = answers.iter().map(|answer| {
        let mut lines = vec![(String::new(), line_of(text, answer.span().start))];
        collect_lines(text, answer.get_ref(), "", &mut lines);
        lines
    });
    answers.collect()
}

/// Items of a list have no path of their own, so a path can occur several times.
fn collect_lines(text: &str, value: &DeValue<'_>, at: &str, lines: &mut KeyLines) {
    match value {
        DeValue::Table(fields) => {
            for (key, value) in fields {
                let path = format!("{at}{}", key.get_ref());
                lines.push((path.clone(), line_of(text, key.span().start)));
                collect_lines(text, value.get_ref(), &format!("{path}."), lines);
            }
        }
        DeValue::Array(items) => {
            for item in items {
                collect_lines(text, item.get_ref(), at, lines);
            }
        }
        _ => {}
    }
}

/// The line of the first key that a message quotes, or of the answer.
fn line_of_problem(answers: &[KeyLines], answer: usize, message: &str) -> Option<usize> {
    let lines = answers.get(answer)?;
    // A message may name a key without its table.
    let line_of_key = |key: &str| {
        let exact = lines.iter().find(|(path, _)| path == key);
        let inner = || lines.iter().find(|(path, _)| path.rsplit('.').next() == Some(key));
        exact.or_else(inner).map(|(_, line)| *line)
    };
    let quoted = message.split('`').skip(1).step_by(2);
    let mut found = quoted.filter_map(|key| {
        let parents = key.rmatch_indices('.').filter_map(|(end, _)| key.get(..end));
        std::iter::once(key).chain(parents).find_map(line_of_key)
    });
    found.next().or_else(|| line_of_key(""))
}

fn script_problem(text: &str, problem: TomlProblem) -> ScriptProblem {
    ScriptProblem {
        line: problem.span.map(|span| line_of(text, span.start)),
        message: problem.message,
    }
}

#[cfg(test)]
mod tests;
