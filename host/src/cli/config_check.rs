//! `cofferdam config check`: everything that would go wrong at start, or with each request, as far as it can be known without
//! running anything.

use std::path::Path;

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::json;

use super::{CliError, Context, Output, error, format, run, tool};
use crate::assembly::HostError;
use crate::causes::with_causes;
use crate::config::{Arguments, Config, ConfigError, Invalid};
use crate::model::{Price, Prices, ProviderKind, least_prompt_tokens};
use crate::money::NanoUsd;
use crate::telemetry::logging;
use crate::tools::{ApproveCalls, PluginError, ToolSet};

#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Check the configuration alone: load no plugin, and look at no secret, folder or price file
    #[arg(long)]
    offline: bool,
}

/// One problem or warning.
#[derive(Debug, Serialize)]
struct Finding {
    /// In TOML notation.
    key: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// What a terminal shows instead of key and message.
    #[serde(skip)]
    text: Option<String>,
}

impl Finding {
    fn new(key: impl Into<String>, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
            hint,
            text: None,
        }
    }

    fn text(&self) -> String {
        match &self.text {
            Some(text) => text.clone(),
            None => format!("{}: {}", self.key, self.message),
        }
    }
}

impl From<&PluginError> for Finding {
    fn from(error: &PluginError) -> Self {
        Self::new(error.key(), error.problem.to_string(), error.hint())
    }
}

#[derive(Debug, Default)]
struct Findings {
    problems: Vec<Finding>,
    warnings: Vec<Finding>,
}

/// Exits with 0 if nothing is wrong, with 1 if something would be left out or refused, with 2 if the file isn't valid.
pub async fn check(cx: &Context, args: CheckArgs) -> Result<u8, CliError> {
    let config = match Config::load_in_parts(&cx.load_options(Arguments::default())) {
        Ok(config) => config,
        Err(invalid) => return invalid_file(cx, invalid, args.offline).await,
    };
    let mut findings = Findings::default();
    findings.remarks(&config, args.offline);
    let tools = match args.offline {
        true => None,
        false => findings.host(&config).await,
    };
    if !args.offline || config.budget.prices.is_none() {
        findings.money(&config, tools.as_ref());
    }
    if let Some(tools) = &tools {
        findings.approvals(&config, tools);
    }
    print(cx, &findings, &config);
    Ok(u8::from(!findings.problems.is_empty()))
}

/// Reports what is wrong with the file, and with the plugins that it is right about.
async fn invalid_file(cx: &Context, invalid: Invalid, offline: bool) -> Result<u8, CliError> {
    let Invalid { error, file, rest } = invalid;
    let mut findings = of_file(&error);
    if let Some(rest) = rest.filter(|_| !offline) {
        findings.host(&rest).await;
    }
    if cx.global.output != Output::Text {
        print_json(cx, &findings, file.as_deref());
        return Err(error.into());
    }
    print_problems(cx, &findings.problems);
    let count = format::counted(findings.problems.len() as u64, "problem");
    let hint = error.hint();
    cx.stderr.line(&error::with_hint(
        &format!("the configuration has {count}"),
        hint.as_deref(),
    ));
    Ok(2)
}

/// The problems of a file that isn't valid.
fn of_file(error: &ConfigError) -> Findings {
    let problems = error.without_hints();
    let problems = problems.problems().iter().zip(error.problems()).map(|(line, problem)| {
        let message = format!("{}: {}", problem.origin, problem.message);
        Finding {
            text: Some(line.to_string()),
            ..Finding::new(problem.key.clone(), message, problem.hint.clone())
        }
    });
    Findings {
        problems: problems.collect(),
        warnings: Vec::new(),
    }
}

impl Findings {
    /// What works, but may not be meant.
    fn remarks(&mut self, config: &Config, offline: bool) {
        let warnings = &mut self.warnings;
        if config.omits_plugins() {
            let hint = Config::OMITTED_PLUGINS_HINT.to_owned();
            warnings.push(Finding::new("plugins", Config::OMITTED_PLUGINS, Some(hint)));
        }
        let fallbacks = config.fallback_models.iter().enumerate();
        let fallbacks = fallbacks.map(|(index, settings)| (format!("fallback_models[{index}]"), settings));
        for (key, settings) in std::iter::once(("model".to_owned(), &config.model)).chain(fallbacks) {
            let of_model = settings.warnings().into_iter();
            warnings.extend(of_model.map(|text| Finding::new(key.clone(), text, None)));
            // No problem of the file: where it is checked, there need be no key.
            if !offline && let Err(error) = run::require_key(settings) {
                let message = format!("{error}, so `run` would ask it nothing");
                warnings.push(Finding::new(format!("{key}.api_key_env"), message, error.hint()));
            }
        }
        for (name, reason) in &config.missing_secrets {
            let message = format!("the secret `{name}` is not available here: {reason}");
            warnings.push(Finding::new(format!("secrets.{name}"), message, None));
        }
        for plugin in &config.plugins {
            let unavailable = offline.then(|| plugin.unavailable()).into_iter().flatten();
            let remarks = unavailable.chain(plugin.warnings()).chain(plugin.unmet_needs());
            warnings.extend(remarks.map(|text| Finding::new(format!("plugins.{}", plugin.name), text, None)));
        }
    }

    /// What `run` would find at start: loads the plugins, from the cache where possible, and opens the log.
    async fn host(&mut self, config: &Config) -> Option<ToolSet> {
        if let Err(error) = logging::check(&config.logging) {
            let hint = error.hint().map(str::to_owned);
            self.problems
                .push(Finding::new("logging.directory", with_causes(&error), hint));
        }
        match tool::load_silently(config).await {
            Ok(tools) => {
                self.problems.extend(tools.problems().iter().map(Finding::from));
                Some(tools)
            }
            // Of a file that isn't valid; said already.
            Err(CliError::Host(HostError::Config(_))) => None,
            Err(CliError::Host(HostError::Tools(error))) => {
                self.problems.extend(error.problems.iter().map(Finding::from));
                None
            }
            Err(error) => {
                self.problems
                    .push(Finding::new("plugins", with_causes(&error), error.hint()));
                None
            }
        }
    }

    /// Which tools can change something without anybody being asked. With `never` it is meant; with `writes` the operator called them
    /// read-only.
    fn approvals(&mut self, config: &Config, tools: &ToolSet) {
        if config.agent.approve != ApproveCalls::Destructive {
            return;
        }
        for plugin in &config.plugins {
            let of_plugin = tools.tools().filter(|tool| tool.plugin == plugin.name);
            let ungated =
                of_plugin.filter(|tool| ApproveCalls::Writes.asks_for(tool) && !config.agent.approve.asks_for(tool));
            let ungated: Vec<&str> = ungated.map(|tool| tool.name.as_str()).collect();
            if !ungated.is_empty() {
                let message = format!(
                    "its grants let it change something, and no person is asked about calls of {}",
                    ungated.join(", ")
                );
                let hint = "`[agent] approve = \"writes\"` asks about them, `destructive = true` about those of one tool; \"never\" says that this is \
                            meant";
                self.warnings.push(Finding::new(
                    format!("plugins.{}", plugin.name),
                    message,
                    Some(hint.to_owned()),
                ));
            }
        }
    }

    /// Whether the budget allows a single request.
    fn money(&mut self, config: &Config, tools: Option<&ToolSet>) {
        let prices = match Prices::configured(config.budget.prices.as_deref()) {
            Ok(prices) => prices,
            Err(error) => {
                let hint = error.hint().to_owned();
                self.problems
                    .push(Finding::new("budget.prices", with_causes(&error), Some(hint)));
                return;
            }
        };
        for (index, fallback) in config.fallback_models.iter().enumerate() {
            self.price(
                config,
                &prices,
                &format!("fallback_models[{index}].model"),
                &fallback.model,
            );
        }
        let Some(price) = self.price(config, &prices, "model.model", &config.model.model) else {
            return;
        };
        let definitions = tools.map_or(0, |tools| tools.tools().map(|tool| tool.definition_bytes()).sum());
        let least = least_reservation(config, &price, definitions);
        let budget = &config.budget;
        let of_tenants = budget.tenants.iter().flat_map(|(tenant, budget)| {
            [("daily_usd", budget.daily), ("monthly_usd", budget.monthly)]
                .map(|(key, limit)| (format!("tenants.{tenant}.budget.{key}"), limit))
        });
        let of_all = [("session_usd", budget.session), ("host_day_usd", budget.daily)];
        let of_all = of_all.map(|(key, limit)| (format!("budget.{key}"), limit));
        for (key, limit) in of_all.into_iter().chain(of_tenants) {
            if let Some(limit) = limit.filter(|limit| *limit < least) {
                self.problems.push(too_little(&key, limit, least));
            }
        }
    }
}

impl Findings {
    /// The price of a model today. Without one, that is a finding.
    fn price(&mut self, config: &Config, prices: &Prices, key: &str, model: &str) -> Option<Price> {
        let today = TimeZone::UTC.to_datetime(Timestamp::now()).date();
        let found = prices.find(model, today);
        if found.is_none() {
            let (into, consequence) = match config.budget.limits(&config.agent.tenant).has_limit() {
                true => (
                    &mut self.problems,
                    "each request is refused while the budget has a limit",
                ),
                false => (&mut self.warnings, "its cost isn't counted"),
            };
            let message = format!("the model `{model}` has no price, so {consequence}");
            into.push(Finding::new(key, message, Some(prices.hint_for(model))));
        }
        found
    }
}

/// What every request to the configured model reserves, with definitions of tools of so many bytes.
pub fn least_reservation(config: &Config, price: &Price, definitions: usize) -> NanoUsd {
    let carried = (config.agent.system.len() + definitions) as u64;
    let prompt_tokens = match config.model.provider {
        ProviderKind::OpenAi => least_prompt_tokens(carried),
        // The API counts a prompt before its estimate is refused, so only the answer's part is certain.
        ProviderKind::Anthropic | ProviderKind::Simulated => 0,
    };
    price.worst_case(
        prompt_tokens,
        u64::from(config.model.max_tokens),
        config.model.cache_writes(),
    )
}

fn too_little(key: &str, limit: NanoUsd, least: NanoUsd) -> Finding {
    let message = format!("a request reserves at least ${least}, more than the limit (${limit}) allows");
    Finding::new(key, message, Some("raise it, or lower `[model] max_tokens`".to_owned()))
}

fn print(cx: &Context, findings: &Findings, config: &Config) {
    if cx.global.output != Output::Text {
        return print_json(cx, findings, config.origins.file());
    }
    for warning in &findings.warnings {
        cx.stderr
            .line(&error::warning(&warning.text(), warning.hint.as_deref()));
    }
    print_problems(cx, &findings.problems);
    let subject = match config.origins.file() {
        Some(file) => format!("the configuration {}", file.display()),
        None => {
            cx.stderr.line(&config.origins.summary());
            "the default configuration".to_owned()
        }
    };
    cx.stderr.line(&match findings.problems.len() {
        0 => format!("{subject} is valid"),
        1 => format!("{subject} has a problem"),
        count => format!("{subject} has {count} problems"),
    });
}

fn print_problems(cx: &Context, problems: &[Finding]) {
    for problem in problems {
        cx.stderr
            .line(&error::problem(&problem.text(), problem.hint.as_deref()));
    }
}

fn print_json(cx: &Context, findings: &Findings, file: Option<&Path>) {
    let Findings { problems, warnings } = findings;
    let value = json!({ "file": file, "valid": problems.is_empty(), "problems": problems, "warnings": warnings });
    match cx.global.output {
        Output::StreamJson => cx.stdout.json_line(&value),
        Output::Text | Output::Json => cx.stdout.json_pretty(&value),
    }
}
