//! Checks for settings from any source. A program that builds a [`Config`] has no schema to check it, and a schema can't
//! express every rule for a file.

use std::collections::BTreeMap;

use super::Config;
use super::bounds::{self, duration_problem};
use super::command;
use super::duration::DurationText;
use super::format::{base_url, check_name, check_tenant_name};
use super::limits::limit_problem;
use super::problem::{ConfigError, Origin, Problem, ValueProblem};
use super::redact::quote;
use super::size::ByteSize;
use super::source::push_segment;
use super::usd::UsdLimit;
use crate::agent::AgentSettings;
use crate::ledger::{BudgetSettings, TenantBudget};
use crate::model::{ApiVersion, Effort, ModelSettings, ProviderKind, Thinking, ToolChanges, ToolSearch, is_loopback};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{FolderGrant, Grants, Limits};
use crate::tools::{PluginSettings, ToolSettings, name_identity};

/// How to get a simulator.
pub(super) const SIMULATOR_HINT: &str =
    "`cofferdam simulate SCRIPT` starts a simulator and prints its address; `cofferdam demo` has its own";

/// One problem in the settings.
#[derive(Debug)]
pub(super) struct Finding {
    /// The keys that lead to the value, with the index as the key inside a list.
    pub(super) path: Vec<String>,
    /// The second key, when two contradict each other.
    pub(super) other: Option<Vec<String>>,
    pub(super) problem: ValueProblem,
}

/// Checks settings made in code. All problems have the origin [`Origin::Code`].
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
    let problem = |finding: Finding| Problem {
        origin: Origin::Code,
        key: key_of(&finding.path),
        message: finding.problem.message,
        hint: finding.problem.hint,
    };
    let problems: Vec<Problem> = findings(config).into_iter().map(problem).collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(ConfigError::new(problems))
}

/// The path in TOML notation. Only the fallback models and some keys of plugins are lists.
fn key_of<S: AsRef<str>>(path: &[S]) -> String {
    let mut key = String::new();
    for (depth, segment) in path.iter().enumerate() {
        let before = path[..depth].iter().skip(2).map(AsRef::as_ref).collect::<Vec<&str>>();
        let is_fallback = depth == 1 && path[0].as_ref() == FALLBACKS;
        let is_index = is_fallback || matches!(before[..], ["files" | "args"] | ["command", "args"]);
        push_segment(&mut key, segment.as_ref(), is_index);
    }
    key
}

/// All problems, in no particular order.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Findings::default();
    findings.model(&["model"], &config.model);
    let count = config.fallback_models.len();
    let many = || {
        ValueProblem::new(format!(
            "must not have more than {} entries",
            bounds::MAX_FALLBACK_MODELS
        ))
    };
    findings.add(&[FALLBACKS], (count > bounds::MAX_FALLBACK_MODELS).then(many));
    for (index, settings) in config.fallback_models.iter().enumerate() {
        let index = index.to_string();
        let path = [FALLBACKS, &index];
        findings.model(&path, settings);
        findings.same_world(&path, settings, &config.model);
    }
    findings.agent(&config.agent);
    findings.retry(&config.retry);
    findings.breaker(&["breaker"], &config.breaker);
    findings.budget(&config.budget);
    findings.limits(&["limits"], &config.limits);
    let engine = &config.engine;
    findings.section(
        &["limits"],
        [
            ("stack", bounds::STACK.problem(ByteSize(engine.stack))),
            (
                "host_concurrency",
                bounds::HOST_CONCURRENCY.problem(engine.host_concurrency),
            ),
            (
                "host_memory",
                engine
                    .host_memory
                    .and_then(|bytes| bounds::HOST_MEMORY.problem(ByteSize(bytes))),
            ),
            ("queue_timeout", duration_problem(config.queue_timeout)),
        ],
    );
    findings.section(
        &["alerts"],
        [("error_rate", bounds::ERROR_RATE.problem(config.alerts.error_rate))],
    );
    findings.section(
        &["storage"],
        [
            ("cache_bytes", bounds::CACHE_BYTES.problem(ByteSize(engine.cache_bytes))),
            // It would be the current folder.
            (
                "path",
                config
                    .storage
                    .path
                    .as_deref()
                    .and_then(|path| empty(&path.to_string_lossy())),
            ),
        ],
    );
    let sessions = &config.sessions;
    findings.section(
        &["sessions"],
        [
            ("retention", bounds::RETENTION_DAYS.problem(sessions.retention_days)),
            ("max_bytes", bounds::SESSION_BYTES.problem(ByteSize(sessions.max_bytes))),
        ],
    );
    findings.plugins(&config.plugins);
    findings.0
}

/// The key of the models after the first.
const FALLBACKS: &str = "fallback_models";

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, path: &[&str], problem: Option<ValueProblem>) {
        if let Some(problem) = problem {
            let path = owned(path);
            self.0.push(Finding {
                path,
                other: None,
                problem,
            });
        }
    }

    /// Adds the problems of several keys of one section.
    fn section<const N: usize>(&mut self, section: &[&str], keys: [(&str, Option<ValueProblem>); N]) {
        for (key, problem) in keys {
            let path: Vec<&str> = section.iter().copied().chain([key]).collect();
            self.add(&path, problem);
        }
    }

    fn model(&mut self, path: &[&str], model: &ModelSettings) {
        let base_url = base_url(model.base_url.as_str()).err().or_else(|| off_loopback(model));
        let temperature = model.temperature;
        self.section(
            path,
            [
                ("model", empty(&model.model)),
                ("base_url", base_url),
                ("max_tokens", bounds::MAX_TOKENS.problem(model.max_tokens)),
                ("connect_timeout", duration_problem(model.connect_timeout)),
                ("idle_timeout", duration_problem(model.idle_timeout)),
                ("attempt_timeout", duration_problem(model.attempt_timeout)),
                (
                    "temperature",
                    temperature.and_then(|value| {
                        let refused = (!model.takes_sampling()).then(|| sampling_problem(model.api_version));
                        let range = match model.provider {
                            ProviderKind::OpenAi => bounds::TEMPERATURE,
                            ProviderKind::Anthropic | ProviderKind::Simulated => bounds::MESSAGES_TEMPERATURE,
                        };
                        range.problem(value).or(refused)
                    }),
                ),
                ("effort", effort_problem(model)),
                ("thinking", thinking_problem(model)),
                ("thinking_budget", budget_problem(model)),
                ("tool_search", tool_search_problem(model)),
                ("tool_changes", tool_changes_problem(model)),
            ],
        );
    }

    /// What the simulator's answers cost is in books of its own.
    fn same_world(&mut self, path: &[&str], fallback: &ModelSettings, first: &ModelSettings) {
        let is_simulated = |settings: &ModelSettings| settings.provider == ProviderKind::Simulated;
        if is_simulated(fallback) != is_simulated(first) {
            let problem = ValueProblem::new("simulated and real models can't stand in for each other")
                .hint("make all of them \"simulated\", or none");
            self.0.push(Finding {
                path: owned(&[path, &["provider"]].concat()),
                other: Some(owned(&["model", "provider"])),
                problem,
            });
        }
    }

    fn agent(&mut self, agent: &AgentSettings) {
        let max = bounds::MAX_AGENT_NAME_CHARS;
        let is_long = agent.name.chars().count() > max;
        let long = || ValueProblem::new(format!("must not be longer than {max} characters"));
        self.section(
            &["agent"],
            [
                ("name", empty(&agent.name).or_else(|| is_long.then(long))),
                ("tenant", check_tenant_name(&agent.tenant).err()),
                ("max_iterations", bounds::MAX_ITERATIONS.problem(agent.max_iterations)),
                ("max_tool_calls", bounds::MAX_TOOL_CALLS.problem(agent.max_tool_calls)),
                (
                    "parallel_tool_calls",
                    bounds::PARALLEL_TOOL_CALLS.problem(agent.parallel_tool_calls),
                ),
                (
                    "max_result_bytes",
                    bounds::MAX_RESULT_BYTES.problem(ByteSize(agent.max_result_bytes)),
                ),
                ("deadline", duration_problem(agent.deadline)),
            ],
        );
    }

    fn retry(&mut self, retry: &RetrySettings) {
        let delays = [duration_problem(retry.initial_delay), duration_problem(retry.max_delay)];
        if delays.iter().all(Option::is_none) && retry.max_delay < retry.initial_delay {
            let message = format!(
                "max_delay ({}) is shorter than initial_delay ({})",
                DurationText(retry.max_delay),
                DurationText(retry.initial_delay)
            );
            self.0.push(Finding {
                path: owned(&["retry", "max_delay"]),
                other: Some(owned(&["retry", "initial_delay"])),
                problem: ValueProblem::new(message).hint("raise max_delay, or lower initial_delay"),
            });
        }
        let [initial_delay, max_delay] = delays;
        self.section(
            &["retry"],
            [
                ("max_attempts", bounds::MAX_ATTEMPTS.problem(retry.max_attempts)),
                ("initial_delay", initial_delay),
                ("max_delay", max_delay),
                ("multiplier", bounds::MULTIPLIER.problem(retry.multiplier)),
            ],
        );
    }

    fn breaker(&mut self, section: &[&str], breaker: &BreakerSettings) {
        self.section(
            section,
            [
                (
                    "failure_threshold",
                    bounds::THRESHOLD.problem(breaker.failure_threshold),
                ),
                ("open_for", duration_problem(breaker.open_for)),
                (
                    "success_threshold",
                    bounds::THRESHOLD.problem(breaker.success_threshold),
                ),
            ],
        );
        let Some(window) = &breaker.window else { return };
        self.section(
            section,
            [
                ("window", bounds::WINDOW_CALLS.problem(window.calls)),
                (
                    "min_calls",
                    bounds::WINDOW_CALLS.problem(window.min_calls).or_else(|| {
                        (window.min_calls > window.calls).then(|| {
                            ValueProblem::new(format!(
                                "must be at most the calls of the window ({}), found {}",
                                window.calls, window.min_calls
                            ))
                        })
                    }),
                ),
                ("failure_rate", bounds::RATE.problem(window.failure_rate)),
                ("slow_call", window.slow_call.and_then(duration_problem)),
                ("slow_rate", bounds::RATE.problem(window.slow_rate)),
            ],
        );
    }

    fn budget(&mut self, budget: &BudgetSettings) {
        self.section(
            &["budget"],
            [
                ("session_usd", UsdLimit(budget.session).problem()),
                ("host_day_usd", UsdLimit(budget.daily).problem()),
            ],
        );
        for (tenant, TenantBudget { daily, monthly }) in &budget.tenants {
            self.add(&["tenants", tenant], check_tenant_name(tenant).err());
            self.section(
                &["tenants", tenant, "budget"],
                [
                    ("daily_usd", UsdLimit(*daily).problem()),
                    ("monthly_usd", UsdLimit(*monthly).problem()),
                ],
            );
        }
    }

    fn limits(&mut self, section: &[&str], limits: &Limits) {
        for limit in Limits::ALL {
            let path: Vec<&str> = section.iter().copied().chain([limit.name]).collect();
            self.add(&path, limit_problem(limit, limits));
        }
    }

    fn plugins(&mut self, plugins: &[PluginSettings]) {
        for (position, plugin) in plugins.iter().enumerate() {
            let path = ["plugins", plugin.name.as_str()];
            self.add(&path, check_name(&plugin.name).err());
            // Two plugins with one name would share the data that they keep between calls.
            let is_taken = plugins[..position].iter().any(|other| other.name == plugin.name);
            let taken = || ValueProblem::new("two plugins have this name").hint("give one of the two another name");
            self.add(&path, is_taken.then(taken));
            self.grants(path, &plugin.grants);
            self.breaker(&[path[0], path[1], "breaker"], &plugin.breaker);
            for (key, problem) in plugin.command.iter().flat_map(command::problems) {
                let key = key.iter().map(String::as_str);
                let path: Vec<&str> = path.into_iter().chain(["command"]).chain(key).collect();
                self.add(&path, Some(problem));
            }
            for (name, tool) in &plugin.tools {
                self.tool([path[0], path[1], "tools", name.as_str()], tool);
            }
        }
        self.tool_names(plugins);
    }

    fn grants(&mut self, [plugins, name]: [&str; 2], grants: &Grants) {
        self.limits(&[plugins, name, "limits"], &grants.limits);
        for (index, folder) in grants.files.iter().enumerate() {
            let problem = folder_problem(&folder.at, &grants.files[..index]);
            self.add(&[plugins, name, "files", &index.to_string(), "at"], problem);
        }
        for (variable, value) in &grants.environment {
            self.add(&[plugins, name, "env", variable], variable_problem(variable, value));
        }
        for (index, argument) in grants.arguments.iter().enumerate() {
            let ends = || ValueProblem::new("contains a NUL, which would end the argument");
            let problem = argument.contains('\0').then(ends);
            self.add(&[plugins, name, "args", &index.to_string()], problem);
        }
    }

    fn tool(&mut self, path: [&str; 4], tool: &ToolSettings) {
        let texts = [("description", &tool.description), ("fallback", &tool.fallback)];
        self.section(&path, texts.map(|(key, text)| (key, text.as_deref().and_then(empty))));
        if let Some(breaker) = &tool.breaker {
            let path: Vec<&str> = path.into_iter().chain(["breaker"]).collect();
            self.breaker(&path, breaker);
        }
    }

    /// The model identifies a tool by its name alone, so names must be unique.
    fn tool_names(&mut self, plugins: &[PluginSettings]) {
        let mut taken: BTreeMap<String, String> = BTreeMap::new();
        for plugin in plugins {
            self.command_name(plugin, &mut taken);
            for (own_name, tool) in plugin.tools.iter().filter(|(_, tool)| tool.enabled) {
                let path = ["plugins", plugin.name.as_str(), "tools", own_name.as_str(), "name"];
                let (path, name, illegal) = match &tool.name {
                    Some(name) => (&path[..], name.as_str(), check_name(name).err()),
                    None => {
                        let illegal = check_name(own_name).err();
                        let illegal = illegal.map(|problem| problem.hint("give it another with `name = \"…\"`"));
                        (&path[..4], own_name.as_str(), illegal)
                    }
                };
                self.add(path, illegal);
                self.take_name(name, path, &mut taken);
            }
        }
    }

    /// The name of a command, unless its entry among the tools says something about it.
    fn command_name(&mut self, plugin: &PluginSettings, taken: &mut BTreeMap<String, String>) {
        if let Some(command) = &plugin.command
            && !plugin.tools.contains_key(&command.name)
        {
            let path = ["plugins", plugin.name.as_str(), "command", "name"];
            // Without a name of its own it has the plugin's.
            let path = match command.name == plugin.name {
                true => &path[..3],
                false => &path[..],
            };
            self.take_name(&command.name, path, taken);
        }
    }

    fn take_name(&mut self, name: &str, path: &[&str], taken: &mut BTreeMap<String, String>) {
        let key = key_of(path);
        let identity = name_identity(name);
        match taken.get(&identity) {
            None => {
                taken.insert(identity, key);
            }
            // The plugins share a name, which is already reported.
            Some(first) if *first == key => {}
            Some(first) => {
                let message = format!("the tool name {} is taken by {first}", quote(name));
                let hint = "give one of the two another name with `name = \"…\"`";
                self.add(path, Some(ValueProblem::new(message).hint(hint)));
            }
        }
    }
}

fn owned(path: &[&str]) -> Vec<String> {
    path.iter().map(|segment| (*segment).to_owned()).collect()
}

fn empty(text: &str) -> Option<ValueProblem> {
    text.is_empty().then(|| ValueProblem::new("must not be empty"))
}

/// The API would refuse every request.
fn sampling_problem(version: ApiVersion) -> ValueProblem {
    ValueProblem::new(format!("API version {} refuses sampling parameters", version.as_str()))
        .hint("leave the temperature out, or set `[model] api_version = \"2023-06-01\"` if the model still accepts one")
}

/// No model thinks less and works harder. Source: the vendor's pages on effort and on thinking.
fn effort_problem(model: &ModelSettings) -> Option<ValueProblem> {
    let effort = model
        .effort
        .filter(|effort| matches!(effort, Effort::XHigh | Effort::Max))?;
    let thinking = match model.thinking? {
        Thinking::Off => "off",
        Thinking::BetweenTools => "between_tools",
        Thinking::Adaptive | Thinking::Budget { .. } => return None,
    };
    let problem = ValueProblem::new(format!(
        "{} doesn't go with thinking = {}",
        quote(effort.as_str()),
        quote(thinking)
    ));
    Some(problem.hint("lower the effort to \"high\", or set thinking = \"adaptive\""))
}

fn thinking_problem(model: &ModelSettings) -> Option<ValueProblem> {
    let is_kind = matches!(
        model.thinking?,
        Thinking::Adaptive | Thinking::BetweenTools | Thinking::Off
    );
    (is_kind && model.provider == ProviderKind::OpenAi).then(unknown_thinking)
}

fn budget_problem(model: &ModelSettings) -> Option<ValueProblem> {
    let Thinking::Budget { budget_tokens } = model.thinking? else {
        return None;
    };
    if model.provider == ProviderKind::OpenAi {
        return Some(unknown_thinking());
    }
    let too_large = (budget_tokens >= model.max_tokens).then(|| {
        ValueProblem::new(format!(
            "must be less than max_tokens, which is {}, and is {budget_tokens}",
            model.max_tokens
        ))
    });
    bounds::THINKING_BUDGET.problem(budget_tokens).or(too_large)
}

fn tool_search_problem(model: &ModelSettings) -> Option<ValueProblem> {
    let is_impossible = model.tool_search == ToolSearch::Always && model.provider == ProviderKind::OpenAi;
    is_impossible.then(|| {
        ValueProblem::new("the Chat Completions API has no tool that searches for tools")
            .hint("leave it out, or set `provider = \"anthropic\"` for a server with the Messages API")
    })
}

fn tool_changes_problem(model: &ModelSettings) -> Option<ValueProblem> {
    let is_impossible = model.tool_changes == ToolChanges::Always && model.provider == ProviderKind::OpenAi;
    is_impossible.then(|| {
        ValueProblem::new("the Chat Completions API has no messages that change the tools")
            .hint("leave it out, or set `provider = \"anthropic\"` for a server with the Messages API")
    })
}

fn unknown_thinking() -> ValueProblem {
    ValueProblem::new("the Chat Completions API has no such setting")
        .hint("leave it out; `effort` says how much the model thinks")
}

/// Requests meant for the simulator must not leave this machine.
fn off_loopback(model: &ModelSettings) -> Option<ValueProblem> {
    if model.provider != ProviderKind::Simulated || is_loopback(&model.base_url) {
        return None;
    }
    let url = quote(model.base_url.as_str().trim_end_matches('/'));
    Some(ValueProblem::new(format!("{url} is not on this machine, where the simulator listens")).hint(SIMULATOR_HINT))
}

/// The problem with the path `at` where a plugin would see a folder, given the `others` that it already has.
pub(super) fn folder_problem(at: &str, others: &[FolderGrant]) -> Option<ValueProblem> {
    let is_taken = others.iter().any(|other| other.at == at);
    let taken = is_taken.then_some("is already taken by another folder");
    let problem = FolderGrant::problem_of(at).or(taken)?;
    Some(ValueProblem::new(format!("{} {problem}", quote(at))).hint("for example \"/data\""))
}

/// A guest gets variables as `NAME=value`, each up to the first NUL.
fn variable_problem(name: &str, value: &str) -> Option<ValueProblem> {
    if name.is_empty() || name.contains(['=', '\0']) {
        return Some(ValueProblem::new(
            "isn't a valid variable name: it is empty or contains `=` or NUL",
        ));
    }
    let ends = || ValueProblem::new("contains a NUL, which would end the variable");
    value.contains('\0').then(ends)
}
