//! What the command says: in words, or as a line of JSON for each event.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::super::progress::ProgressLine;
use super::super::{CliError, Context, Output, error, format, tool_build};
use super::changes::Changes;
use super::command::{self, Mistake};
use super::describe;
use crate::author::Built;

/// Data goes to stdout, what happens meanwhile to stderr. As JSON, all of it is data.
#[derive(Clone, Copy, Debug)]
pub struct Announcer<'a>(pub &'a Context);

impl Announcer<'_> {
    fn is_json(self) -> bool {
        self.0.global.output != Output::Text
    }

    fn event(self, name: &str, mut fields: Value) {
        fields["event"] = name.into();
        self.0.stdout.json_line(&fields);
    }

    pub fn note(self, label: &'static str, text: &str) {
        self.0.note(&ProgressLine::new(label, format::escape(text)).render());
    }

    pub fn mistake(self, mistake: &Mistake) {
        let text = error::problem(&mistake.message, Some(&mistake.hint));
        self.0.stderr.line(&text);
    }

    pub fn server(self, url: &str, snippet: &Value) {
        match self.is_json() {
            true => self.event("mcp", json!({ "url": url })),
            false => self.0.stdout.line(url),
        }
        self.note("mcp", &format!("add this to .mcp.json: {snippet}"));
    }

    /// A build that isn't the first begins. Without a change, it was asked for.
    pub fn build_started(self, folder: &Path, changed: &BTreeSet<PathBuf>) {
        let relative = |path: &PathBuf| path.strip_prefix(folder).unwrap_or(path).display().to_string();
        let changed: Vec<String> = changed.iter().map(relative).collect();
        if self.is_json() {
            self.event("build_started", json!({ "changed": changed }));
        } else if !changed.is_empty() {
            self.note("changed", &changed.join(", "));
        }
    }

    pub fn built(self, built: &Built, took: Duration) {
        for warning in &built.warnings {
            self.0
                .stderr
                .line(&error::warning(&warning.message, Some(&warning.hint)));
        }
        let milliseconds = took.as_secs_f64() * 1000.0;
        if self.is_json() {
            let fields = json!({
                "component": built.component,
                "digest": built.digest.to_string(),
                "size_bytes": built.size,
                "duration_ms": milliseconds,
                "warnings": tool_build::warnings(built),
            });
            return self.event("built", fields);
        }
        let (file, size) = (built.component.display(), format::bytes(built.size));
        self.note("built", &format!("{file}, {size}, in {}", format::millis(milliseconds)));
    }

    /// `is_serving`: whether there is an older component that stays in use.
    pub fn failed(self, error: &CliError, is_serving: bool) {
        self.0.report_error(error);
        if self.is_json() {
            self.event(
                "build_failed",
                json!({ "message": error.to_string(), "hint": error.hint() }),
            );
        }
        if is_serving {
            self.note("tools", "the last component that worked stays in use");
        }
    }

    /// The tools of the first component.
    pub fn tools(self, tools: &[Value]) {
        if self.is_json() {
            return self.event("tools", json!({ "tools": tools }));
        }
        for tool in tools {
            self.note("tool", &describe::line(tool));
        }
    }

    /// The tools of a later one. `is_same`: whether neither the component nor its settings have changed.
    pub fn changes(self, changes: &Changes, is_same: bool) {
        if self.is_json() {
            return self.event("tools_changed", json!(changes));
        }
        match changes.is_empty() {
            true if is_same => self.note("tools", "the component is the same as before"),
            true => self.note("tools", "no tool is described differently"),
            false => changes.lines().iter().for_each(|line| self.note("tools", line)),
        }
    }

    pub fn help(self, tools: &[Value]) {
        if self.is_json() {
            return self.tools(tools);
        }
        for tool in tools {
            self.0.stdout.line(&format::escape(&describe::line(tool)));
        }
        self.0.stdout.line("");
        for (command, meaning) in command::COMMANDS {
            self.0.stdout.line(&format!("{command:<15}{meaning}"));
        }
    }

    pub fn schemas(self, tool: &Value) {
        let mut schemas = json!({ "input_schema": tool["input_schema"], "output_schema": tool["output_schema"] });
        if self.is_json() {
            schemas["name"] = tool["name"].clone();
            return self.event("schema", schemas);
        }
        self.0.stdout.json_pretty(&schemas);
    }
}
