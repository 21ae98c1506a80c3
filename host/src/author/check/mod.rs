//! `tool check`: what an operator wants to know before installing a component, and an author before publishing it.
//!
//! The check loads the component under four sets of grants and calls each tool with inputs that its schema suggests:
//!
//! 1. **Deterministic, nothing granted.** Every input is called twice. A tool may refuse an input or return an error; it may not
//!    crash, run into a limit or return invalid output.
//! 2. **Nothing granted.** One sample is called several times, to measure it: the first input that succeeded, if one did.
//! 3. **An empty key-value store.** Shows whether the claims `read-only` and `idempotent` are true.
//! 4. **A full key-value store and small limits.** A tool that can't store anything should say so, not crash.
//!
//! "Nothing" is nothing that could have an effect: a plugin of the configuration keeps its variables, arguments and `config`.
//!
//! What it can't see: effects over HTTP and on files, which would need something to talk to.

mod inputs;
mod probe;
mod report;
mod texts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use report::{ErrorAnswer, Finding, ImportReport, Level, Report, Sample, ToolReport};

use self::inputs::{Input, Kind, inputs};
use self::probe::Probe;
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::events::Outcome;
use crate::resilience::BreakerSettings;
use crate::sandbox::{ComponentError, Grants, Import, Inspection, KeyValueStore, Limits};
use crate::tools::{PluginProblem, PluginSettings, ToolResult, ToolSet, ToolSettings, read_component};

/// Calls of the sample after the first, of which the median is reported.
const WARM_CALLS: usize = 5;
/// A tool that crashed or ran into limits so often isn't called with further inputs.
const MAX_FAILURES: usize = 2;
/// More failures than a check makes calls, and the most that a breaker can be set to.
const MANY: u32 = 1_000_000;
/// Bytes of arguments that a program for WASI 0.1 surely can get. The adapter keeps them and the variables in one page of memory,
/// with its own state.
const PROGRAM_ARGUMENTS: usize = 48 << 10;
/// Bytes above which a component takes long to compile and to distribute.
const LARGE_COMPONENT: u64 = 32 << 20;

/// How much a check may do.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Different inputs per tool.
    pub inputs: usize,
    /// The limit `timeout` of every call.
    pub call_timeout: Duration,
    /// The time of the whole check, compilation aside. A check that isn't finished then has failed.
    pub time: Duration,
}

/// Checks the component of a plugin, as its settings describe it. `base` has the engine's settings; its plugins are ignored, and
/// so is what `plugin` may do outside its own calls.
///
/// # Errors
///
/// If the sandbox doesn't work on this machine, or there is no temporary folder. What is wrong with the component is in the
/// report.
pub async fn check(
    base: &Config,
    plugin: &PluginSettings,
    bounds: Bounds,
    tls: Arc<rustls::ClientConfig>,
    cancel: CancellationToken,
) -> Result<Report, CheckError> {
    let started = Instant::now();
    let mut check = Check {
        base,
        plugin,
        bounds,
        tls,
        findings: Vec::new(),
        probe: Probe::new(bounds.time, cancel.clone()),
    };
    let mut report = Report {
        component: plugin.source.to_string(),
        plugin: None,
        passed: false,
        digest: None,
        size_bytes: None,
        contract: None,
        load_ms: None,
        imports: Vec::new(),
        tools: Vec::new(),
        findings: Vec::new(),
        calls: 0,
        duration_ms: 0.0,
    };
    match check.inspect().await? {
        Ok((inspection, took)) => {
            report.digest = Some(inspection.digest.clone());
            report.size_bytes = Some(inspection.size);
            report.contract = contract(&inspection, plugin);
            report.load_ms = Some(millis(took));
            report.imports = inspection.imports.iter().map(import_report).collect();
            if inspection.size > LARGE_COMPONENT {
                check.findings.push(Finding::warning(
                    "large",
                    format!(
                        "it has {} MiB, so it takes long to compile and to distribute",
                        inspection.size >> 20
                    ),
                ));
            }
            for (name, purpose) in &inspection.toolchain_exports {
                let text = format!(
                    "it exports `{}`, which isn't a tool ({purpose}), but another host could offer it to a model",
                    name.display()
                );
                let hint = "`cofferdam tool build` removes it";
                check
                    .findings
                    .push(Finding::warning("toolchain_export", text).with_hint(hint));
            }
            check.probe = Probe::new(bounds.time, cancel);
            let keeps_data = inspection
                .imports
                .iter()
                .any(|import| import.name.raw().starts_with("wasi:keyvalue/"));
            report.tools = check.tools(keeps_data).await?;
        }
        Err(error) => check.unusable(&error),
    }
    report.calls = check.probe.calls;
    report.findings = check.findings;
    report.findings.sort_by_key(|finding| finding.level);
    report.passed = report.findings.iter().all(|finding| finding.level != Level::Failure);
    report.duration_ms = millis(started.elapsed());
    Ok(report)
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("can't create a temporary folder")]
    TemporaryFolder(#[source] std::io::Error),
    #[error("can't read what the tools stored: {0}")]
    Store(#[from] crate::sandbox::KeyValueError),
}

struct Check<'a> {
    base: &'a Config,
    plugin: &'a PluginSettings,
    bounds: Bounds,
    tls: Arc<rustls::ClientConfig>,
    findings: Vec<Finding>,
    probe: Probe,
}

impl Check<'_> {
    /// Compiles the component and reads its types, without running it.
    async fn inspect(&self) -> Result<Result<(Inspection, Duration), ComponentError>, HostError> {
        let config = self.config(self.grants());
        let sandbox = assembly::open_sandbox(&config, None, Arc::clone(&self.tls))?;
        let limits = self.limits();
        let (source, limit) = (self.plugin.source.clone(), limits.component_bytes);
        let read = tokio::task::spawn_blocking(move || read_component(&source, limit)).await;
        let bytes = match read.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string()))) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        let started = Instant::now();
        let inspected = sandbox.inspect(bytes, &limits).await;
        Ok(inspected.map(|inspection| (inspection, started.elapsed())))
    }

    fn limits(&self) -> Limits {
        Limits {
            timeout: self.bounds.call_timeout,
            ..self.plugin.grants.limits.clone()
        }
    }

    /// What every step grants: settings that a tool can read, and nothing that could have an effect.
    fn grants(&self) -> Grants {
        Grants {
            http: Vec::new(),
            keyvalue: false,
            files: Vec::new(),
            limits: self.limits(),
            ..self.plugin.grants.clone()
        }
    }

    /// A configuration with this component alone.
    fn config(&self, grants: Grants) -> Config {
        // Failures are what the check looks for, so they must neither end it nor be replaced.
        let tools = self.plugin.tools.iter().map(|(name, tool)| {
            let tool = ToolSettings {
                fallback: None,
                breaker: None,
                ..tool.clone()
            };
            (name.clone(), tool)
        });
        let plugin = PluginSettings {
            grants,
            required: false,
            breaker: BreakerSettings {
                failure_threshold: MANY,
                ..BreakerSettings::default()
            },
            tools: tools.collect(),
            ..self.plugin.clone()
        };
        Config {
            plugins: vec![plugin],
            ..self.base.clone()
        }
    }

    async fn load(&self, grants: Grants) -> Result<ToolSet, HostError> {
        assembly::load_tools(&self.config(grants), None, Arc::clone(&self.tls)).await
    }

    fn unusable(&mut self, error: &ComponentError) {
        let finding = Finding::failure("unusable", error.to_string());
        self.findings.push(match error.hint() {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        });
    }

    async fn tools(&mut self, keeps_data: bool) -> Result<Vec<ToolReport>, CheckError> {
        let plain = self.load(self.grants()).await?;
        for problem in plain.problems() {
            if let PluginProblem::Component(error) = &problem.problem {
                self.unusable(error);
                continue;
            }
            let finding = Finding::failure("left_out", problem.problem.to_string());
            let finding = problem.tool().map_or(finding.clone(), |tool| finding.of(tool));
            self.findings.push(match problem.hint() {
                Some(hint) => finding.with_hint(hint),
                None => finding,
            });
        }
        if plain.tools().next().is_none() && plain.problems().is_empty() {
            self.findings.push(Finding::failure("no_tools", "it offers no tool"));
        }
        let deterministic = self
            .load(Grants {
                deterministic: true,
                ..self.grants()
            })
            .await?;
        let mut reports = Vec::new();
        for tool in plain.tools() {
            let schema: Value = serde_json::from_str(tool.input_schema()).unwrap_or_default();
            self.findings.extend(texts::review(tool, &schema));
            let inputs = inputs(&schema, self.bounds.inputs);
            let mut seen = Seen::default();
            let finished = self.probe_inputs(&deterministic, &tool.name, &inputs, &mut seen).await;
            if finished.is_none() {
                let text = "the time of the check was over before all its inputs were tried; raise `--time`";
                self.findings.push(Finding::failure("unfinished", text).of(&tool.name));
            }
            if !seen.outcomes.is_empty() && seen.success.is_none() {
                self.findings.push(no_success(&seen).of(&tool.name));
            }
            let sample = match seen.success.clone().or_else(|| inputs.first().cloned()) {
                Some(input) => self.measure(&plain, &tool.name, &input, &mut seen.outcomes).await,
                None => None,
            };
            reports.push(ToolReport {
                name: tool.name.clone(),
                description: tool.claimed_description.clone(),
                input_schema: schema,
                read_only: tool.annotations.read_only,
                idempotent: tool.annotations.idempotent,
                destructive: tool.annotations.destructive,
                sample,
                outcomes: seen.outcomes,
                error_answer: seen.error_answer,
            });
        }
        if keeps_data {
            for tool in &reports {
                self.claims(tool).await?;
                self.full_store(tool).await?;
            }
        }
        Ok(reports)
    }

    /// Measures the first call of a tool and some more.
    async fn measure(
        &mut self,
        tools: &ToolSet,
        name: &str,
        input: &Input,
        outcomes: &mut BTreeMap<Outcome, u32>,
    ) -> Option<Sample> {
        let first = self.probe.call(tools, name, &input.value).await?;
        *outcomes.entry(first.outcome).or_default() += 1;
        let mut warm = Vec::new();
        // Another call of a tool that doesn't end would only take time.
        let again = if is_failure(&first) { 0 } else { WARM_CALLS };
        for _ in 0..again {
            let result = self.probe.call(tools, name, &input.value).await?;
            *outcomes.entry(result.outcome).or_default() += 1;
            warm.push(result.finished.duration_ms);
        }
        warm.sort_by(f64::total_cmp);
        Some(Sample {
            input: input.value.clone(),
            outcome: first.outcome,
            cold_ms: first.finished.duration_ms,
            warm_ms: warm.get(warm.len() / 2).copied(),
            fuel: first.finished.fuel,
            peak_memory_bytes: first.finished.peak_memory_bytes,
        })
    }

    /// Calls a tool twice with each input, under the same clocks and random numbers. `None` if the time was over.
    async fn probe_inputs(&mut self, tools: &ToolSet, name: &str, inputs: &[Input], seen: &mut Seen) -> Option<()> {
        let mut failures = 0;
        let mut is_repeatable = true;
        let mut accepted: Vec<String> = Vec::new();
        let mut accepted_input = None;
        for input in inputs {
            let first = self.probe.call(tools, name, &input.value).await?;
            seen.note(input, &first);
            let ran = first.finished.tries > 0;
            if input.kind == Kind::Invalid && ran && first.outcome == Outcome::Ok {
                accepted.push(input.about.clone());
                accepted_input.get_or_insert_with(|| input.value.clone());
            }
            if let Some(finding) = failure(&first) {
                let text = format!("{} ({})", finding.text, input.about);
                let mut finding = Finding { text, ..finding }.of(name).with_input(&input.value);
                if self.plugin.command.is_some() && input.value.to_string().len() > PROGRAM_ARGUMENTS {
                    finding = finding.with_hint(
                        "a program for WASI 0.1 has room for about 50 KB of arguments and variables; bound the text with \
                         `maxLength` in `input_schema`",
                    );
                }
                self.findings.push(finding);
                failures += 1;
                if failures == MAX_FAILURES {
                    let text = format!(
                        "it crashed, or ran into limits, {MAX_FAILURES} times, so it wasn't called with further inputs"
                    );
                    self.findings.push(Finding::warning("skipped", text).of(name));
                    return Some(());
                }
                continue;
            }
            if !ran || !is_repeatable {
                continue;
            }
            let second = self.probe.call(tools, name, &input.value).await?;
            *seen.outcomes.entry(second.outcome).or_default() += 1;
            let result = |result: &ToolResult| (result.outcome, result.finished.output.clone(), result.finished.fuel);
            if result(&first) != result(&second) {
                is_repeatable = false;
                let text = "two calls with the same input, clocks and random numbers differ in result or fuel, so a failure \
                            may not be reproducible";
                let finding = Finding::warning("not_deterministic", text);
                self.findings.push(finding.of(name).with_input(&input.value));
            }
        }
        if let Some(input) = accepted_input {
            let text = format!(
                "it accepted inputs that should be wrong ({}), so a model isn't corrected",
                accepted.join("; ")
            );
            self.findings.push(
                Finding::warning("accepts_invalid_input", text)
                    .of(name)
                    .with_input(&input),
            );
        }
        Some(())
    }

    /// Calls a tool twice with an empty store, and compares what the store holds.
    async fn claims(&mut self, tool: &ToolReport) -> Result<(), CheckError> {
        let Some(sample) = tool.sample.as_ref().filter(|_| tool.read_only || tool.idempotent) else {
            return Ok(());
        };
        let folder = tempfile::tempdir().map_err(CheckError::TemporaryFolder)?;
        let (tools, path) = self.load_with_store(folder.path(), self.limits()).await?;
        let store = KeyValueStore::open(&path)?;
        let before = store.digest().await?;
        if self.probe.call(&tools, &tool.name, &sample.input).await.is_none() {
            return Ok(());
        }
        let once = store.digest().await?;
        if tool.read_only && before != once {
            let text = "it claims to be read-only, and a call changed the data that it keeps";
            let finding = Finding::failure("not_read_only", text).of(&tool.name);
            self.findings.push(finding.with_input(&sample.input));
        }
        if self.probe.call(&tools, &tool.name, &sample.input).await.is_none() {
            return Ok(());
        }
        if tool.idempotent && once != store.digest().await? {
            let text = "it claims to be idempotent, and a second call with the same input changed the data that it keeps again";
            let finding = Finding::failure("not_idempotent", text).of(&tool.name);
            self.findings.push(finding.with_input(&sample.input));
        }
        Ok(())
    }

    /// Calls a tool whose store refuses everything, and whose output nearly so.
    async fn full_store(&mut self, tool: &ToolReport) -> Result<(), CheckError> {
        let Some(sample) = &tool.sample else { return Ok(()) };
        let folder = tempfile::tempdir().map_err(CheckError::TemporaryFolder)?;
        let limits = Limits {
            keyvalue_bytes: 1,
            log_bytes: 1,
            ..self.limits()
        };
        let (tools, _) = self.load_with_store(folder.path(), limits).await?;
        let Some(result) = self.probe.call(&tools, &tool.name, &sample.input).await else {
            return Ok(());
        };
        if result.outcome == Outcome::Trapped && sample.outcome != Outcome::Trapped {
            let text = "it crashes when it can't store anything (keyvalue_bytes = 1); return an error instead";
            let finding = Finding::warning("crashes_when_full", text).of(&tool.name);
            self.findings.push(finding.with_input(&sample.input));
        }
        Ok(())
    }

    async fn load_with_store(
        &self,
        folder: &std::path::Path,
        limits: Limits,
    ) -> Result<(ToolSet, std::path::PathBuf), CheckError> {
        let mut config = self.config(Grants {
            keyvalue: true,
            deterministic: true,
            limits,
            ..self.grants()
        });
        config.storage.path = Some(folder.to_owned());
        let tools = assembly::load_tools(&config, None, Arc::clone(&self.tls)).await?;
        Ok((tools, config.storage.keyvalue_path()))
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn is_failure(result: &ToolResult) -> bool {
    failure(result).is_some()
}

/// What the calls of one tool led to.
#[derive(Default)]
struct Seen {
    outcomes: BTreeMap<Outcome, u32>,
    /// The first input that succeeded and that the schema accepts.
    success: Option<Input>,
    error_answer: Option<ErrorAnswer>,
    /// What the call that `error_answer` is about printed.
    printed: String,
}

impl Seen {
    fn note(&mut self, input: &Input, result: &ToolResult) {
        *self.outcomes.entry(result.outcome).or_default() += 1;
        let is_answer = matches!(
            result.outcome,
            Outcome::Failed | Outcome::Unavailable | Outcome::InvalidInput
        );
        if result.outcome == Outcome::Ok && input.kind != Kind::Invalid {
            self.success.get_or_insert_with(|| input.clone());
        } else if is_answer && result.finished.tries > 0 && self.error_answer.is_none() {
            self.error_answer = Some(ErrorAnswer {
                outcome: result.outcome,
                input: input.value.clone(),
                message: result.finished.output.as_str().into(),
            });
            self.printed.clone_from(&result.finished.log);
        }
    }
}

fn no_success(seen: &Seen) -> Finding {
    let text = "no input that was generated from its schema succeeded with nothing granted, so its success wasn't seen";
    match &seen.error_answer {
        Some(answer) => Finding::warning("no_success", text)
            .with_input(&answer.input)
            .with_printed(&seen.printed),
        None => Finding::warning("no_success", text),
    }
}

/// The ways in which the component is tools here.
fn contract(inspection: &Inspection, plugin: &PluginSettings) -> Option<String> {
    let described = plugin.command.as_ref().and(inspection.command.as_ref());
    let ways = inspection.contracts.iter().map(|way| (*way).to_owned());
    let ways: Vec<String> = ways.chain(described.map(|run| run.display().to_string())).collect();
    (!ways.is_empty()).then(|| ways.join(", "))
}

/// What no input may lead to.
fn failure(result: &ToolResult) -> Option<Finding> {
    let detail = result
        .finished
        .detail
        .as_deref()
        .and_then(|detail| detail.lines().next());
    let reason = detail.map_or_else(String::new, |detail| format!(": {detail}"));
    let finding = match result.outcome {
        Outcome::Trapped | Outcome::StackOverflow => Finding::failure("crash", format!("it crashes{reason}")),
        Outcome::Timeout | Outcome::OutOfFuel | Outcome::OutOfMemory => {
            Finding::failure("limit", format!("it runs into a limit: {}", result.outcome.name()))
        }
        Outcome::InvalidOutput => Finding::failure("invalid_output", format!("its output is invalid{reason}")),
        Outcome::HostError => Finding::failure("host_error", format!("the host failed{reason}")),
        _ => return None,
    };
    Some(finding.with_printed(&result.finished.log))
}

fn import_report(import: &Import) -> ImportReport {
    ImportReport {
        name: import.name.clone(),
        meaning: import.meaning,
        grant: grant(import.name.raw()),
    }
}

/// What an operator writes into `[plugins.NAME]` to grant an import.
fn grant(interface: &str) -> Option<&'static str> {
    const GRANTS: [(&str, &str); 6] = [
        (
            "wasi:http/outgoing-handler",
            r#"http = [{ url = "https://…", methods = ["GET"] }]"#,
        ),
        ("wasi:config/", r#"config = { key = "…" }"#),
        ("wasi:keyvalue/", "keyvalue = true"),
        ("wasi:filesystem/", r#"files = [{ folder = "…", at = "/…" }]"#),
        ("wasi:cli/environment", r#"env = { NAME = "…" }, args = ["…"]"#),
        ("wasi:sockets/", "never granted"),
    ];
    let found = GRANTS.iter().find(|(prefix, _)| interface.starts_with(prefix));
    found.map(|(_, grant)| *grant)
}
