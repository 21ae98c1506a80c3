//! What settings must be, whoever made them: a program that makes a [`Config`] has no schema to tell it what makes no
//! sense, and of a file the schema does not tell everything.

use std::collections::BTreeMap;

use super::Config;
use super::bounds::{self, wrong_duration};
use super::duration::DurationText;
use super::format::{base_url, check_name};
use super::limits::wrong_limit;
use super::problem::{ConfigError, Origin, Problem, Wrong};
use super::redact::quote;
use super::size::ByteSize;
use super::source::push_segment;
use super::usd::UsdLimit;
use crate::agent::AgentSettings;
use crate::ledger::BudgetSettings;
use crate::model::{ModelSettings, ProviderKind, is_loopback};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{FolderGrant, Grants, Limits};
use crate::tools::{PluginSettings, ToolSettings};

/// Where a simulator is to be had.
pub(super) const SIMULATOR_HINT: &str =
    "`cofferdam simulate SCRIPT` starts a simulator and prints its address; `cofferdam demo` has its own";

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Finding {
    /// The keys that lead to it, and the index where there is a list.
    pub(super) path: Vec<String>,
    /// The other key, where two contradict each other.
    pub(super) other: Option<Vec<String>>,
    pub(super) wrong: Wrong,
}

/// Whether settings make sense that were made in code, so that no file is to blame.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let problem = |finding: Finding| Problem {
        origin: Origin::Code,
        key: key_of(&finding.path),
        message: finding.wrong.message,
        hint: finding.wrong.hint,
    };
    let problems: Vec<Problem> = findings(config).into_iter().map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError::new(problems))
}

/// A path as TOML writes it. Only some keys of plugins are lists.
fn key_of<S: AsRef<str>>(path: &[S]) -> String {
    const INDEX: usize = 3;
    let mut key = String::new();
    for (depth, segment) in path.iter().enumerate() {
        let is_index = depth == INDEX && matches!(path[INDEX - 1].as_ref(), "files" | "args");
        push_segment(&mut key, segment.as_ref(), is_index);
    }
    key
}

/// Everything that is wrong, in no order.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.model(&config.model);
    findings.agent(&config.agent);
    findings.retry(&config.retry);
    findings.breaker(&["breaker"], &config.breaker);
    findings.budget(&config.budget);
    findings.limits(&["limits"], &config.limits);
    let engine = &config.engine;
    findings.section(
        &["limits"],
        [
            ("stack", bounds::STACK.wrong(ByteSize(engine.stack))),
            (
                "host_concurrency",
                bounds::HOST_CONCURRENCY.wrong(engine.host_concurrency),
            ),
            (
                "host_memory",
                engine
                    .host_memory
                    .and_then(|bytes| bounds::HOST_MEMORY.wrong(ByteSize(bytes))),
            ),
            ("queue_timeout", wrong_duration(config.queue_timeout)),
        ],
    );
    findings.section(
        &["alerts"],
        [("error_rate", bounds::ERROR_RATE.wrong(config.alerts.error_rate))],
    );
    findings.section(
        &["storage"],
        [("cache_bytes", bounds::CACHE_BYTES.wrong(ByteSize(engine.cache_bytes)))],
    );
    findings.plugins(&config.plugins);
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, path: &[&str], wrong: Option<Wrong>) {
        if let Some(wrong) = wrong {
            let path = owned(path);
            self.0.push(Finding {
                path,
                other: None,
                wrong,
            });
        }
    }

    /// Several keys of one section, each with what is wrong with it, if anything is.
    fn section<const N: usize>(&mut self, section: &[&str], keys: [(&str, Option<Wrong>); N]) {
        for (key, wrong) in keys {
            let path: Vec<&str> = section.iter().copied().chain([key]).collect();
            self.add(&path, wrong);
        }
    }

    fn model(&mut self, model: &ModelSettings) {
        let base_url = base_url(model.base_url.as_str()).err().or_else(|| elsewhere(model));
        let temperature = model.temperature;
        self.section(
            &["model"],
            [
                ("model", empty(&model.model)),
                ("base_url", base_url),
                ("max_tokens", bounds::MAX_TOKENS.wrong(model.max_tokens)),
                ("connect_timeout", wrong_duration(model.connect_timeout)),
                ("idle_timeout", wrong_duration(model.idle_timeout)),
                ("attempt_timeout", wrong_duration(model.attempt_timeout)),
                (
                    "temperature",
                    temperature.and_then(|value| bounds::TEMPERATURE.wrong(value)),
                ),
            ],
        );
    }

    fn agent(&mut self, agent: &AgentSettings) {
        let most = bounds::AGENT_NAME_CHARS;
        let is_long = agent.name.chars().count() > most;
        let long = || Wrong::new(format!("must not be longer than {most} characters"));
        self.section(
            &["agent"],
            [
                ("name", empty(&agent.name).or_else(|| is_long.then(long))),
                ("max_iterations", bounds::MAX_ITERATIONS.wrong(agent.max_iterations)),
                ("max_tool_calls", bounds::MAX_TOOL_CALLS.wrong(agent.max_tool_calls)),
                (
                    "parallel_tool_calls",
                    bounds::PARALLEL_TOOL_CALLS.wrong(agent.parallel_tool_calls),
                ),
                (
                    "max_result_bytes",
                    bounds::MAX_RESULT_BYTES.wrong(ByteSize(agent.max_result_bytes)),
                ),
                ("deadline", wrong_duration(agent.deadline)),
            ],
        );
    }

    fn retry(&mut self, retry: &RetrySettings) {
        let delays = [wrong_duration(retry.initial_delay), wrong_duration(retry.max_delay)];
        if delays.iter().all(Option::is_none) && retry.max_delay < retry.initial_delay {
            let message = format!(
                "max_delay ({}) is shorter than initial_delay ({})",
                DurationText(retry.max_delay),
                DurationText(retry.initial_delay)
            );
            self.0.push(Finding {
                path: owned(&["retry", "max_delay"]),
                other: Some(owned(&["retry", "initial_delay"])),
                wrong: Wrong::new(message).hint("raise max_delay, or lower initial_delay"),
            });
        }
        let [initial_delay, max_delay] = delays;
        self.section(
            &["retry"],
            [
                ("max_attempts", bounds::MAX_ATTEMPTS.wrong(retry.max_attempts)),
                ("initial_delay", initial_delay),
                ("max_delay", max_delay),
                ("multiplier", bounds::MULTIPLIER.wrong(retry.multiplier)),
            ],
        );
    }

    fn breaker(&mut self, section: &[&str], breaker: &BreakerSettings) {
        self.section(
            section,
            [
                ("failure_threshold", bounds::THRESHOLD.wrong(breaker.failure_threshold)),
                ("open_for", wrong_duration(breaker.open_for)),
                ("success_threshold", bounds::THRESHOLD.wrong(breaker.success_threshold)),
            ],
        );
    }

    fn budget(&mut self, budget: &BudgetSettings) {
        self.section(
            &["budget"],
            [
                ("session_usd", UsdLimit(budget.session).wrong()),
                ("daily_usd", UsdLimit(budget.daily).wrong()),
            ],
        );
    }

    fn limits(&mut self, section: &[&str], limits: &Limits) {
        for limit in Limits::ALL {
            let path: Vec<&str> = section.iter().copied().chain([limit.name]).collect();
            self.add(&path, wrong_limit(limit, limits));
        }
    }

    fn plugins(&mut self, plugins: &[PluginSettings]) {
        for (position, plugin) in plugins.iter().enumerate() {
            let path = ["plugins", plugin.name.as_str()];
            self.add(&path, check_name(&plugin.name).err());
            // What it keeps between calls would be the other's as well.
            let is_taken = plugins[..position].iter().any(|other| other.name == plugin.name);
            let taken = || Wrong::new("two plugins have this name").hint("give one of the two another name");
            self.add(&path, is_taken.then(taken));
            self.grants(path, &plugin.grants);
            self.breaker(&[path[0], path[1], "breaker"], &plugin.breaker);
            for (name, tool) in &plugin.tools {
                self.tool([path[0], path[1], "tools", name.as_str()], tool);
            }
        }
        self.tool_names(plugins);
    }

    fn grants(&mut self, [plugins, name]: [&str; 2], grants: &Grants) {
        self.limits(&[plugins, name, "limits"], &grants.limits);
        for (index, folder) in grants.files.iter().enumerate() {
            let wrong = wrong_folder(&folder.at, &grants.files[..index]);
            self.add(&[plugins, name, "files", &index.to_string(), "at"], wrong);
        }
        for (variable, value) in &grants.environment {
            self.add(&[plugins, name, "env", variable], wrong_variable(variable, value));
        }
        for (index, argument) in grants.arguments.iter().enumerate() {
            let ends = || Wrong::new("holds a NUL, where an argument would end");
            let wrong = argument.contains('\0').then(ends);
            self.add(&[plugins, name, "args", &index.to_string()], wrong);
        }
    }

    fn tool(&mut self, path: [&str; 4], tool: &ToolSettings) {
        self.section(&path, [("fallback", tool.fallback.as_deref().and_then(empty))]);
        if let Some(breaker) = &tool.breaker {
            let path: Vec<&str> = path.into_iter().chain(["breaker"]).collect();
            self.breaker(&path, breaker);
        }
    }

    /// The model knows tools by their names alone, so no two may share one.
    fn tool_names(&mut self, plugins: &[PluginSettings]) {
        let mut taken: BTreeMap<&str, String> = BTreeMap::new();
        for plugin in plugins {
            for (own_name, tool) in &plugin.tools {
                let path = ["plugins", plugin.name.as_str(), "tools", own_name.as_str(), "name"];
                let (path, name, illegal) = match &tool.name {
                    Some(name) => (&path[..], name.as_str(), check_name(name).err()),
                    None => {
                        let illegal = check_name(own_name).err();
                        let illegal = illegal.map(|wrong| wrong.hint("give it another with `name = \"…\"`"));
                        (&path[..4], own_name.as_str(), illegal)
                    }
                };
                self.add(path, illegal);
                let key = key_of(path);
                match taken.get(name) {
                    None => {
                        taken.insert(name, key);
                    }
                    // Two plugins of one name, which was said.
                    Some(first) if *first == key => {}
                    Some(first) => {
                        let message = format!("the tool name {} is taken by {first}", quote(name));
                        let hint = "give one of the two another name with `name = \"…\"`";
                        self.add(path, Some(Wrong::new(message).hint(hint)));
                    }
                }
            }
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|segment| (*segment).to_owned()).collect()
}

fn empty(text: &str) -> Option<Wrong> {
    text.is_empty().then(|| Wrong::new("must not be empty"))
}

/// What is meant for the simulator must not leave this machine.
fn elsewhere(model: &ModelSettings) -> Option<Wrong> {
    if model.provider != ProviderKind::Simulated || is_loopback(&model.base_url) {
        return None;
    }
    let url = quote(model.base_url.as_str().trim_end_matches('/'));
    Some(Wrong::new(format!("{url} is not on this machine, where the simulator listens")).hint(SIMULATOR_HINT))
}

/// What is wrong with where a plugin finds a folder, given the `others` that it has.
pub(super) fn wrong_folder(at: &str, others: &[FolderGrant]) -> Option<Wrong> {
    let is_taken = others.iter().any(|other| other.at == at);
    let taken = is_taken.then_some("is where another folder is");
    let problem = FolderGrant::problem_of(at).or(taken)?;
    Some(Wrong::new(format!("{} {problem}", quote(at))).hint("for example \"/data\""))
}

/// A guest gets variables as `NAME=value`, each up to the first NUL.
fn wrong_variable(name: &str, value: &str) -> Option<Wrong> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Some(Wrong::new("is no name of a variable: it is empty, or holds `=` or NUL"));
    }
    let ends = || Wrong::new("holds a NUL, where a variable would end");
    value.contains('\0').then(ends)
}
