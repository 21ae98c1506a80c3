//! What a check found.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::events::Outcome;
use crate::untrusted::Untrusted;

/// What a finding keeps of what a tool printed.
const MAX_PRINTED_LINES: usize = 6;
const MAX_PRINTED_BYTES: usize = 1_000;

/// What `tool check` reports.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub component: String,
    /// The configured plugin whose settings the tools were loaded with. `None`: the defaults.
    pub plugin: Option<String>,
    /// Whether no finding is a failure.
    pub passed: bool,
    pub digest: Option<String>,
    pub size_bytes: Option<u64>,
    /// The contract of its tools.
    pub contract: Option<String>,
    /// Time to compile the component, or to load it from the compile cache.
    pub load_ms: Option<f64>,
    pub imports: Vec<ImportReport>,
    pub tools: Vec<ToolReport>,
    pub findings: Vec<Finding>,
    /// Calls that were made.
    pub calls: u64,
    pub duration_ms: f64,
}

/// An interface that the component imports.
#[derive(Clone, Debug, Serialize)]
pub struct ImportReport {
    pub name: Untrusted,
    /// What the import lets the component do.
    pub meaning: &'static str,
    /// What the configuration has to say to grant it; `None` if it needs no grant.
    pub grant: Option<&'static str>,
}

/// One tool, and how its sample call went.
#[derive(Clone, Debug, Serialize)]
pub struct ToolReport {
    pub name: String,
    pub description: Untrusted,
    pub input_schema: Value,
    pub read_only: bool,
    pub idempotent: bool,
    pub destructive: bool,
    pub sample: Option<Sample>,
    /// How often the calls of this tool ended in each outcome.
    pub outcomes: BTreeMap<Outcome, u32>,
    /// The first different requests that it sent: method and URL, without the query.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<Untrusted>,
    /// What became of a call whose requests weren't answered as they should be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerReport>,
    /// The first error that a call of the tool was answered with. That isn't a finding: a tool may refuse what it can't use.
    pub error_answer: Option<ErrorAnswer>,
}

/// One call while the server failed in one way.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    /// What the tool got from the server.
    pub server: &'static str,
    pub outcome: Outcome,
    pub duration_ms: f64,
}

/// An error as the answer to an input that fits the schema: `failed`, `unavailable` or `invalid_input`.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorAnswer {
    pub outcome: Outcome,
    pub input: Value,
    /// What the model reads.
    pub message: Untrusted,
}

/// A call with an input that was generated from the schema: the first that succeeded, else the first.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    pub input: Value,
    pub outcome: Outcome,
    /// The first call after loading.
    pub cold_ms: f64,
    /// The median of the calls after it; `None` if there were none.
    pub warm_ms: Option<f64>,
    pub fuel: u64,
    pub peak_memory_bytes: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The check fails.
    Failure,
    Warning,
}

/// Something to mend, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub level: Level,
    /// A stable identifier, for programs.
    pub code: &'static str,
    /// `None` if it is about the whole component.
    pub tool: Option<String>,
    pub text: String,
    pub hint: Option<String>,
    /// The input that showed it.
    pub input: Option<Value>,
    /// The first lines that the tool printed in that call, as it printed them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub printed: Vec<String>,
}

impl Finding {
    pub(super) fn failure(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Failure,
            code,
            tool: None,
            text: text.into(),
            hint: None,
            input: None,
            printed: Vec::new(),
        }
    }

    pub(super) fn warning(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::failure(code, text)
        }
    }

    pub(super) fn of(mut self, tool: &str) -> Self {
        self.tool = Some(tool.to_owned());
        self
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the first lines of a call's log that aren't blank.
    pub(super) fn with_printed(mut self, log: &str) -> Self {
        let lines = log.lines().filter(|line| !line.trim().is_empty());
        self.printed = lines.take(MAX_PRINTED_LINES).map(cut).collect();
        self
    }

    pub(super) fn with_input(mut self, input: &Value) -> Self {
        self.input = Some(input.clone());
        self
    }
}

fn cut(line: &str) -> String {
    line[..line.floor_char_boundary(MAX_PRINTED_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_keeps_the_first_lines_that_a_tool_printed() {
        let log = format!("\n \n{}\n{}", "é".repeat(MAX_PRINTED_BYTES), "line\n".repeat(100));
        let printed = Finding::failure("crash", "it crashes").with_printed(&log).printed;
        assert_eq!(printed.len(), MAX_PRINTED_LINES);
        assert_eq!(printed[0], "é".repeat(MAX_PRINTED_BYTES / 2));
        assert_eq!(printed[1], "line");
    }
}
