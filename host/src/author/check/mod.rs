//! `tool check`: what an operator wants to know before installing a component, and an author before publishing it.
//!
//! The check calls each tool with inputs that its schema suggests. Nothing real is within its reach: where the component imports
//! HTTP, a store or files, it gets a server that stands for every server, an empty store and a folder with one file, which exist
//! only for the check.
//!
//! 1. **Deterministic.** Every input is sent twice, each time to the same surroundings. A tool may refuse an input or return an error;
//!    it may not crash, run into a limit or return invalid output.
//! 2. **Real clocks.** One sample is called several times, to measure it: the first input that succeeded, if one did.
//! 3. **The claims `read-only` and `idempotent`**, by what a call sent, stored and wrote.
//! 4. **Nothing granted, small limits, servers that fail.** A tool should say so, not crash.
//!
//! A plugin of the configuration keeps its variables, arguments and `config`.

mod claims;
mod faults;
mod fixture;
mod folder;
mod grants;
mod inputs;
mod probe;
mod report;
mod seen;
mod texts;
mod upstream;
mod verdict;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use report::{ErrorAnswer, Finding, ImportReport, Level, Report, Sample, ServerReport, ToolReport};

use self::fixture::{Fixture, Imports};
use self::grants::import_report;
use self::inputs::{Input, Kind, inputs};
use self::probe::Probe;
use self::seen::{Seen, no_success};
use self::verdict::{failure, is_failing, is_repeated};
use super::libc_names::is_of_libc;
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::events::Outcome;
use crate::sandbox::{ComponentError, Inspection, SetIn};
use crate::tools::{PluginProblem, PluginSettings, Tool, open_component};

/// Calls of the sample after the first, of which the median is reported.
const WARM_CALLS: usize = 5;
/// A tool that crashed or ran into limits so often isn't called with further inputs.
const MAX_FAILURES: usize = 2;
/// Bytes of arguments that may be too many for a program whose component has the adapter for WASI 0.1 in it. The host refuses
/// arguments too long for its own adapter, and can't tell whether a component has one.
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
            report.tools = check.tools(Imports::of(&inspection)).await?;
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
    #[error("can't use the temporary folder of the check")]
    Folder(#[source] std::io::Error),
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
        let read = tokio::task::spawn_blocking(move || open_component(&source, limit)).await;
        let bytes = match read.unwrap_or_else(|error| Err(ComponentError::Host(error.to_string()))) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        let started = Instant::now();
        let inspected = sandbox.inspect(bytes, &limits).await;
        Ok(inspected.map(|inspection| (inspection, started.elapsed())))
    }

    fn unusable(&mut self, error: &ComponentError) {
        let finding = Finding::failure("unusable", error.to_string());
        self.findings.push(match error.hint(SetIn::Configuration) {
            Some(hint) => finding.with_hint(hint),
            None => finding,
        });
    }

    async fn tools(&mut self, imports: Imports) -> Result<Vec<ToolReport>, CheckError> {
        let plain = self.load_without_grants().await?;
        for problem in plain.tools.problems() {
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
        for warning in plain.tools.warnings() {
            self.findings
                .push(Finding::warning("ignored_documentation", warning.text.clone()));
        }
        let exports: Vec<String> = plain.tools.tools().map(|tool| tool.export.clone()).collect();
        if exports.is_empty() {
            if plain.tools.problems().is_empty() {
                self.findings.push(Finding::failure("no_tools", "it offers no tool"));
            }
            return Ok(Vec::new());
        }
        let fixtures = Fixtures {
            deterministic: self.load_with_grants(imports, &exports, true, self.limits()).await?,
            real: self.load_with_grants(imports, &exports, false, self.limits()).await?,
            small: self
                .load_with_grants(imports, &exports, false, self.small_limits())
                .await?,
            plain,
            imports,
        };
        let mut reports = Vec::new();
        let first = self.findings.len();
        for tool in fixtures.plain.tools.tools() {
            reports.push(self.tool(&fixtures, tool).await?);
            if self.probe.is_over() {
                let text = match self.probe.is_cancelled() {
                    true => "the check was cancelled before everything was tried",
                    false => "the time of the check was over before everything was tried; raise `--time`",
                };
                self.findings.push(Finding::failure("unfinished", text).of(&tool.name));
                break;
            }
        }
        let clash = exports.iter().find(|export| is_of_libc(export));
        if let Some(hint) = clash.map(|name| hint_of_libc(name)) {
            let crashes = self.findings[first..].iter_mut();
            for finding in crashes.filter(|finding| ["crash", "limit"].contains(&finding.code)) {
                finding.hint.get_or_insert_with(|| hint.clone());
            }
        }
        let is_silent = reports.iter().all(|tool| tool.requests.is_empty());
        if imports.http && is_silent && !self.probe.is_over() {
            let text =
                "it imports `wasi:http`, and no call sent a request, so what it does when a server fails wasn't seen";
            self.findings.push(Finding::warning("no_request", text));
        }
        Ok(reports)
    }

    async fn tool(&mut self, fixtures: &Fixtures, tool: &Tool) -> Result<ToolReport, CheckError> {
        let schema: Value = serde_json::from_str(tool.input_schema()).unwrap_or_default();
        self.findings.extend(texts::review(tool, &schema));
        let mut seen = Seen::default();
        let inputs = inputs(&schema, self.bounds.inputs);
        seen.first = inputs.first().cloned();
        self.probe_inputs(&fixtures.deterministic, tool, &inputs, &mut seen)
            .await?;
        if !seen.outcomes.is_empty() && seen.success.is_none() {
            self.findings.push(no_success(&seen).of(&tool.name));
        }
        let sample = self.measure(&fixtures.real, tool, &mut seen).await;
        self.claims(&fixtures.deterministic, tool, &seen).await?;
        let mut servers = None;
        // A tool that crashes in any case says nothing about its surroundings.
        if sample.as_ref().is_some_and(|sample| !is_failing(sample.outcome)) {
            let Imports { http, keyvalue, files } = fixtures.imports;
            if http || keyvalue || files {
                self.without_grants(&fixtures.plain, &tool.name, &seen).await;
                self.with_small_limits(&fixtures.small, fixtures.imports, &tool.name, &seen)
                    .await;
            }
            servers = self.server_faults(&fixtures.real, &tool.name, &seen).await;
        }
        Ok(ToolReport {
            name: tool.name.clone(),
            description: tool.claimed_description.clone(),
            input_schema: schema,
            read_only: tool.annotations.read_only,
            idempotent: tool.annotations.idempotent,
            destructive: tool.annotations.destructive,
            sample,
            outcomes: seen.outcomes,
            requests: seen.requests.into_list(),
            servers: servers.unwrap_or_default(),
            error_answer: seen.error_answer,
        })
    }

    /// Measures the first call of a tool and some more.
    async fn measure(&mut self, fixture: &Fixture, tool: &Tool, seen: &mut Seen) -> Option<Sample> {
        let input = seen.sample()?.clone();
        let tenant = self.probe.new_tenant();
        let first = self.probe.call(fixture, &tenant, &tool.name, &input).await?;
        seen.count(&first.result);
        let mut warm = Vec::new();
        // Another call of a tool that doesn't end would only take time.
        let again = if is_failing(first.result.outcome) {
            0
        } else {
            WARM_CALLS
        };
        for _ in 0..again {
            let called = self.probe.call(fixture, &tenant, &tool.name, &input).await?;
            seen.count(&called.result);
            self.same_requests(tool, &input, &first.sent, &called.sent);
            warm.push(called.result.finished.duration_ms);
        }
        warm.sort_by(f64::total_cmp);
        Some(Sample {
            input,
            outcome: first.result.outcome,
            cold_ms: first.result.finished.duration_ms,
            warm_ms: warm.get(warm.len() / 2).copied(),
            fuel: first.result.finished.fuel,
            peak_memory_bytes: first.result.finished.peak_memory_bytes,
        })
    }

    /// Calls a tool twice with each input, under the same clocks and random numbers and in the same surroundings, until the time is
    /// over.
    async fn probe_inputs(
        &mut self,
        fixture: &Fixture,
        tool: &Tool,
        inputs: &[Input],
        seen: &mut Seen,
    ) -> Result<(), CheckError> {
        let name = &tool.name;
        let has_claims = tool.annotations.read_only || tool.annotations.idempotent;
        let mut failures = 0;
        let mut is_repeatable = true;
        let mut accepted: Vec<String> = Vec::new();
        let mut accepted_input = None;
        for input in inputs {
            fixture.reset_files()?;
            let before = if has_claims { Some(fixture.state().await?) } else { None };
            let Some(called) = self.probe.call_once(fixture, name, &input.value).await else {
                break;
            };
            seen.note(input, &called.result, &called.sent);
            if let Some(before) = before {
                let changes = before.changes_to(&fixture.state().await?);
                seen.changes
                    .extend(changes.map(|changes| (changes, input.value.clone())));
            }
            let first = called.result;
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
                        "a program that was adapted from WASI 0.1 has room for about 56 KiB of arguments and variables; bound the text \
                         with `maxLength` in `input_schema`",
                    );
                }
                self.findings.push(finding);
                failures += 1;
                if failures == MAX_FAILURES {
                    let text = format!(
                        "it crashed, or ran into limits, {MAX_FAILURES} times, so it wasn't called with further inputs"
                    );
                    self.findings.push(Finding::warning("skipped", text).of(name));
                    return Ok(());
                }
                continue;
            }
            if !ran || !is_repeatable {
                continue;
            }
            fixture.reset_files()?;
            let Some(second) = self.probe.call_once(fixture, name, &input.value).await else {
                break;
            };
            let second = second.result;
            seen.count(&second);
            if !is_repeated(&first, &second) {
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
        Ok(())
    }
}

/// The same tools in different surroundings.
struct Fixtures {
    /// Nothing is granted.
    plain: Fixture,
    deterministic: Fixture,
    real: Fixture,
    /// With small limits.
    small: Fixture,
    imports: Imports,
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// What may be behind a crash of any tool of a component that exports a function of this name.
fn hint_of_libc(name: &str) -> String {
    format!(
        "the component exports `{name}`, the name of a function of the C library; if it is written in Rust, the export takes the place of \
         that one, and code that calls it can crash: rename the function in wit/world.wit, for example to `{name}-it`"
    )
}

/// The ways in which the component is tools here.
fn contract(inspection: &Inspection, plugin: &PluginSettings) -> Option<String> {
    let described = plugin.command.as_ref().and(inspection.command.as_ref());
    let ways = inspection.contracts.iter().map(|way| (*way).to_owned());
    let ways: Vec<String> = ways.chain(described.map(|run| run.display().to_string())).collect();
    (!ways.is_empty()).then(|| ways.join(", "))
}
