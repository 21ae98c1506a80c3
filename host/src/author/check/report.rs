//! What a check found.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::events::Outcome;
use crate::untrusted::Untrusted;

/// What `tool check` reports.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub component: String,
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
}

/// A call with an input that was generated from the schema.
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

    pub(super) fn with_input(mut self, input: &Value) -> Self {
        self.input = Some(input.clone());
        self
    }
}
