//! Conversions between the raw keys and the settings that the modules own. Settings to keys provides the defaults and
//! `config show`. Keys to settings covers the values that need no check beyond the schema's.

use std::path::Path;

use super::days::DaysText;
use super::duration::DurationText;
use super::format::proxy_text;
use super::limits::RawCallLimits;
use super::overlay::Overlay;
use super::raw::*;
use super::size::ByteSize;
use super::usd::{Usd, UsdLimit};
use super::{Config, SecretSource};
use crate::agent::AgentSettings;
use crate::ledger::{BudgetSettings, TenantBudget};
use crate::model::{
    ApiVersion, AuthHeader, CacheTtl, Effort, MaxTokensField, ModelSettings, ProviderKind, Thinking, ToolChanges,
    ToolSearch,
};
use crate::resilience::{BreakerSettings, RetrySettings, WindowSettings};
use crate::sandbox::{FolderGrant, HttpGrant, Metering};
use crate::store::Durability;
use crate::telemetry::{AlertSettings, LogLevel, LoggingSettings};
use crate::tools::{ApproveCalls, PluginSettings, ToolSettings};

impl From<&Config> for RawConfig {
    fn from(config: &Config) -> Self {
        Self {
            model: RawModel::from(&config.model),
            fallback_models: config
                .fallback_models
                .iter()
                .map(|settings| Overlay::of(&RawModel::from(settings)))
                .collect(),
            agent: RawAgent::from(&config.agent),
            retry: RawRetry::from(&config.retry),
            breaker: RawBreaker::from(&config.breaker),
            budget: RawBudget::from(&config.budget),
            limits: RawLimits {
                call: RawCallLimits(config.limits.0.clone()),
                stack: ByteSize(config.engine.stack),
                host_concurrency: config.engine.host_concurrency,
                host_memory: config.engine.host_memory.map(ByteSize),
                queue_timeout: DurationText(config.queue_timeout),
            },
            logging: RawLogging::from(&config.logging),
            alerts: RawAlerts::from(&config.alerts),
            sessions: RawSessions {
                keep: config.sessions.keep,
                retention: DaysText(config.sessions.retention_days),
                max_bytes: ByteSize(config.sessions.max_bytes),
            },
            storage: RawStorage {
                path: optional_path(config.storage.path.as_deref()),
                durability: match config.storage.durability {
                    Durability::PowerLoss => RawDurability::PowerLoss,
                    Durability::ProcessCrash => RawDurability::ProcessCrash,
                },
                cache_bytes: ByteSize(config.engine.cache_bytes),
            },
            tenants: config
                .budget
                .tenants
                .iter()
                .map(|(name, budget)| {
                    (
                        name.clone(),
                        RawTenant {
                            budget: (*budget).into(),
                        },
                    )
                })
                .collect(),
            secrets: config
                .secrets
                .iter()
                .map(|(name, source)| (name.clone(), RawSecret::from(source)))
                .collect(),
            plugins: config
                .plugins
                .iter()
                .map(|plugin| (plugin.name.clone(), RawPlugin::from(plugin)))
                .collect(),
        }
    }
}

/// Takes a section's defaults from the default configuration.
macro_rules! defaults {
    ($($section:ident: $raw:ty),* $(,)?) => {
        $(impl Default for $raw {
            fn default() -> Self {
                RawConfig::default().$section
            }
        })*
    };
}

defaults! {
    model: RawModel,
    agent: RawAgent,
    retry: RawRetry,
    breaker: RawBreaker,
    budget: RawBudget,
    limits: RawLimits,
    logging: RawLogging,
    alerts: RawAlerts,
    storage: RawStorage,
    sessions: RawSessions,
}

/// `None` becomes an empty string, as in the file.
fn optional_path(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

impl From<&ModelSettings> for RawModel {
    fn from(settings: &ModelSettings) -> Self {
        Self {
            provider: match settings.provider {
                ProviderKind::Anthropic => RawProvider::Anthropic,
                ProviderKind::OpenAi => RawProvider::OpenAi,
                ProviderKind::Simulated => RawProvider::Simulated,
            },
            model: settings.model.clone(),
            api_key_env: settings.api_key_env.clone(),
            base_url: settings.base_url.as_str().trim_end_matches('/').to_owned(),
            api_version: match settings.api_version {
                ApiVersion::V2026_10_21 => RawApiVersion::V2026_10_21,
                ApiVersion::V2023_06_01 => RawApiVersion::V2023_06_01,
            },
            auth: match settings.auth {
                AuthHeader::XApiKey => RawAuth::XApiKey,
                AuthHeader::Bearer => RawAuth::Bearer,
            },
            proxy: proxy_text(&settings.proxy),
            max_tokens: settings.max_tokens,
            max_tokens_field: match settings.max_tokens_field {
                MaxTokensField::MaxTokens => RawMaxTokensField::MaxTokens,
                MaxTokensField::MaxCompletionTokens => RawMaxTokensField::MaxCompletionTokens,
            },
            stream: settings.stream,
            follow_rate_limits: settings.follow_rate_limits,
            prompt_cache: settings.prompt_cache,
            prompt_cache_ttl: match settings.prompt_cache_ttl {
                CacheTtl::FiveMinutes => RawCacheTtl::FiveMinutes,
                CacheTtl::OneHour => RawCacheTtl::OneHour,
            },
            tool_search: match settings.tool_search {
                ToolSearch::Auto => RawToolSearch::Auto,
                ToolSearch::Always => RawToolSearch::Always,
                ToolSearch::Never => RawToolSearch::Never,
            },
            tool_changes: match settings.tool_changes {
                ToolChanges::Auto => RawToolChanges::Auto,
                ToolChanges::Always => RawToolChanges::Always,
                ToolChanges::Never => RawToolChanges::Never,
            },
            connect_timeout: DurationText(settings.connect_timeout),
            idle_timeout: DurationText(settings.idle_timeout),
            attempt_timeout: DurationText(settings.attempt_timeout),
            temperature: settings.temperature,
            effort: settings.effort.map(RawEffort::from),
            thinking: match settings.thinking {
                Some(Thinking::Adaptive) => Some(RawThinking::Adaptive),
                Some(Thinking::BetweenTools) => Some(RawThinking::BetweenTools),
                Some(Thinking::Off) => Some(RawThinking::Off),
                Some(Thinking::Budget { .. }) | None => None,
            },
            thinking_budget: match settings.thinking {
                Some(Thinking::Budget { budget_tokens }) => Some(budget_tokens),
                _ => None,
            },
        }
    }
}

impl From<Effort> for RawEffort {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Low => Self::Low,
            Effort::Medium => Self::Medium,
            Effort::High => Self::High,
            Effort::XHigh => Self::XHigh,
            Effort::Max => Self::Max,
        }
    }
}

impl From<RawEffort> for Effort {
    fn from(raw: RawEffort) -> Self {
        match raw {
            RawEffort::Low => Self::Low,
            RawEffort::Medium => Self::Medium,
            RawEffort::High => Self::High,
            RawEffort::XHigh => Self::XHigh,
            RawEffort::Max => Self::Max,
        }
    }
}

impl From<RawThinking> for Thinking {
    fn from(raw: RawThinking) -> Self {
        match raw {
            RawThinking::Adaptive => Self::Adaptive,
            RawThinking::BetweenTools => Self::BetweenTools,
            RawThinking::Off => Self::Off,
        }
    }
}

impl From<RawDurability> for Durability {
    fn from(raw: RawDurability) -> Self {
        match raw {
            RawDurability::PowerLoss => Self::PowerLoss,
            RawDurability::ProcessCrash => Self::ProcessCrash,
        }
    }
}

impl From<RawProvider> for ProviderKind {
    fn from(raw: RawProvider) -> Self {
        match raw {
            RawProvider::Anthropic => Self::Anthropic,
            RawProvider::OpenAi => Self::OpenAi,
            RawProvider::Simulated => Self::Simulated,
        }
    }
}

impl From<RawApiVersion> for ApiVersion {
    fn from(raw: RawApiVersion) -> Self {
        match raw {
            RawApiVersion::V2026_10_21 => Self::V2026_10_21,
            RawApiVersion::V2023_06_01 => Self::V2023_06_01,
        }
    }
}

impl From<RawAuth> for AuthHeader {
    fn from(raw: RawAuth) -> Self {
        match raw {
            RawAuth::XApiKey => Self::XApiKey,
            RawAuth::Bearer => Self::Bearer,
        }
    }
}

impl From<RawToolSearch> for ToolSearch {
    fn from(raw: RawToolSearch) -> Self {
        match raw {
            RawToolSearch::Auto => Self::Auto,
            RawToolSearch::Always => Self::Always,
            RawToolSearch::Never => Self::Never,
        }
    }
}

impl From<RawToolChanges> for ToolChanges {
    fn from(raw: RawToolChanges) -> Self {
        match raw {
            RawToolChanges::Auto => Self::Auto,
            RawToolChanges::Always => Self::Always,
            RawToolChanges::Never => Self::Never,
        }
    }
}

impl From<RawCacheTtl> for CacheTtl {
    fn from(raw: RawCacheTtl) -> Self {
        match raw {
            RawCacheTtl::FiveMinutes => Self::FiveMinutes,
            RawCacheTtl::OneHour => Self::OneHour,
        }
    }
}

impl From<RawMaxTokensField> for MaxTokensField {
    fn from(raw: RawMaxTokensField) -> Self {
        match raw {
            RawMaxTokensField::MaxTokens => Self::MaxTokens,
            RawMaxTokensField::MaxCompletionTokens => Self::MaxCompletionTokens,
        }
    }
}

impl From<&AgentSettings> for RawAgent {
    fn from(settings: &AgentSettings) -> Self {
        Self {
            name: settings.name.clone(),
            tenant: settings.tenant.clone(),
            system: settings.system.clone(),
            max_iterations: settings.max_iterations,
            max_tool_calls: settings.max_tool_calls,
            parallel_tool_calls: settings.parallel_tool_calls,
            max_result_bytes: ByteSize(settings.max_result_bytes),
            deadline: DurationText(settings.deadline),
            approve: match settings.approve {
                ApproveCalls::Never => RawApprove::Never,
                ApproveCalls::Destructive => RawApprove::Destructive,
                ApproveCalls::Writes => RawApprove::Writes,
                ApproveCalls::Always => RawApprove::Always,
            },
        }
    }
}

impl From<RawApprove> for ApproveCalls {
    fn from(raw: RawApprove) -> Self {
        match raw {
            RawApprove::Never => Self::Never,
            RawApprove::Destructive => Self::Destructive,
            RawApprove::Writes => Self::Writes,
            RawApprove::Always => Self::Always,
        }
    }
}

impl From<RawAgent> for AgentSettings {
    fn from(raw: RawAgent) -> Self {
        Self {
            name: raw.name,
            tenant: raw.tenant,
            system: raw.system,
            max_iterations: raw.max_iterations,
            max_tool_calls: raw.max_tool_calls,
            parallel_tool_calls: raw.parallel_tool_calls,
            max_result_bytes: raw.max_result_bytes.0,
            deadline: raw.deadline.0,
            approve: raw.approve.into(),
        }
    }
}

impl From<&RetrySettings> for RawRetry {
    fn from(settings: &RetrySettings) -> Self {
        Self {
            max_attempts: settings.max_attempts,
            initial_delay: DurationText(settings.initial_delay),
            max_delay: DurationText(settings.max_delay),
            multiplier: settings.multiplier,
            jitter: settings.jitter,
        }
    }
}

impl From<RawRetry> for RetrySettings {
    fn from(raw: RawRetry) -> Self {
        Self {
            max_attempts: raw.max_attempts,
            initial_delay: raw.initial_delay.0,
            max_delay: raw.max_delay.0,
            multiplier: raw.multiplier,
            jitter: raw.jitter,
        }
    }
}

impl From<&BreakerSettings> for RawBreaker {
    fn from(settings: &BreakerSettings) -> Self {
        let window = settings.window.clone().unwrap_or_default();
        Self {
            mode: match settings.window {
                None => RawBreakerMode::Consecutive,
                Some(_) => RawBreakerMode::Window,
            },
            failure_threshold: settings.failure_threshold,
            window: window.calls,
            min_calls: window.min_calls,
            failure_rate: window.failure_rate,
            slow_call: window.slow_call.map(DurationText),
            slow_rate: window.slow_rate,
            open_for: DurationText(settings.open_for),
            success_threshold: settings.success_threshold,
        }
    }
}

impl From<RawBreaker> for BreakerSettings {
    fn from(raw: RawBreaker) -> Self {
        let window = WindowSettings {
            calls: raw.window,
            min_calls: raw.min_calls,
            failure_rate: raw.failure_rate,
            slow_call: raw.slow_call.map(|slow| slow.0),
            slow_rate: raw.slow_rate,
        };
        Self {
            failure_threshold: raw.failure_threshold,
            window: match raw.mode {
                RawBreakerMode::Consecutive => None,
                RawBreakerMode::Window => Some(window),
            },
            open_for: raw.open_for.0,
            success_threshold: raw.success_threshold,
        }
    }
}

impl From<&BudgetSettings> for RawBudget {
    fn from(settings: &BudgetSettings) -> Self {
        Self {
            session_usd: UsdLimit(settings.session),
            host_day_usd: UsdLimit(settings.daily),
            prices: optional_path(settings.prices.as_deref()),
        }
    }
}

impl From<TenantBudget> for RawTenantBudget {
    fn from(budget: TenantBudget) -> Self {
        Self {
            daily_usd: UsdLimit(budget.daily),
            monthly_usd: UsdLimit(budget.monthly),
        }
    }
}

impl From<RawTenantBudget> for TenantBudget {
    fn from(raw: RawTenantBudget) -> Self {
        Self {
            daily: raw.daily_usd.0,
            monthly: raw.monthly_usd.0,
        }
    }
}

impl From<&LoggingSettings> for RawLogging {
    fn from(settings: &LoggingSettings) -> Self {
        Self {
            console: settings.console.into(),
            file: settings.file.into(),
            directory: optional_path(settings.directory.as_deref()),
            contents: settings.contents,
        }
    }
}

impl From<LogLevel> for RawLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Off => Self::Off,
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

impl From<RawLevel> for LogLevel {
    fn from(raw: RawLevel) -> Self {
        match raw {
            RawLevel::Off => Self::Off,
            RawLevel::Error => Self::Error,
            RawLevel::Warn => Self::Warn,
            RawLevel::Info => Self::Info,
            RawLevel::Debug => Self::Debug,
            RawLevel::Trace => Self::Trace,
        }
    }
}

impl From<&AlertSettings> for RawAlerts {
    fn from(settings: &AlertSettings) -> Self {
        Self {
            error_rate: settings.error_rate,
            session_cost_usd: Usd(settings.session_cost_usd),
        }
    }
}

impl From<RawAlerts> for AlertSettings {
    fn from(raw: RawAlerts) -> Self {
        Self {
            error_rate: raw.error_rate,
            session_cost_usd: raw.session_cost_usd.0,
        }
    }
}

impl From<Metering> for RawMetering {
    fn from(metering: Metering) -> Self {
        match metering {
            Metering::Fuel => Self::Fuel,
            Metering::Epoch => Self::Epoch,
        }
    }
}

impl From<RawMetering> for Metering {
    fn from(raw: RawMetering) -> Self {
        match raw {
            RawMetering::Fuel => Self::Fuel,
            RawMetering::Epoch => Self::Epoch,
        }
    }
}

impl From<&PluginSettings> for RawPlugin {
    fn from(settings: &PluginSettings) -> Self {
        let grants = &settings.grants;
        Self {
            component: Some(settings.source.to_string()),
            digest: settings.digest.clone().unwrap_or_default(),
            required: settings.required,
            http: grants.http.iter().map(RawHttpGrant::from).collect(),
            config: grants.config.clone(),
            keyvalue: grants.keyvalue,
            files: grants.files.iter().map(RawFolder::from).collect(),
            env: grants.environment.clone(),
            args: grants.arguments.clone(),
            deterministic: grants.deterministic,
            metering: grants.metering.into(),
            limits: Overlay::of(&RawCallLimits(grants.limits.clone())),
            errors_count: settings.errors_count,
            breaker: Overlay::of(&RawBreaker::from(&settings.breaker)),
            command: settings.command.as_ref().map(RawCommand::from),
            tools: settings
                .tools
                .iter()
                .map(|(name, tool)| (name.clone(), RawTool::from(tool)))
                .collect(),
        }
    }
}

impl From<&ToolSettings> for RawTool {
    fn from(settings: &ToolSettings) -> Self {
        Self {
            enabled: settings.enabled,
            name: settings.name.clone(),
            description: settings.description.clone(),
            read_only: settings.read_only,
            idempotent: settings.idempotent,
            destructive: settings.destructive,
            fallback: settings.fallback.clone(),
            always_load: settings.always_load,
            breaker: settings
                .breaker
                .as_ref()
                .map(|breaker| Overlay::of(&breaker.into()))
                .unwrap_or_default(),
        }
    }
}

impl From<&SecretSource> for RawSecret {
    fn from(source: &SecretSource) -> Self {
        match source {
            SecretSource::Env(name) => Self {
                env: Some(name.clone()),
                file: None,
            },
            SecretSource::File(path) => Self {
                env: None,
                file: Some(path.display().to_string()),
            },
        }
    }
}

impl From<&FolderGrant> for RawFolder {
    fn from(grant: &FolderGrant) -> Self {
        Self {
            folder: Some(grant.folder.display().to_string()),
            at: Some(grant.at.clone()),
            write: grant.write,
        }
    }
}

impl From<&HttpGrant> for RawHttpGrant {
    fn from(grant: &HttpGrant) -> Self {
        Self {
            url: Some(grant.url()),
            methods: grant
                .methods
                .iter()
                .filter_map(|method| RawMethod::named(method))
                .collect(),
            headers: grant
                .headers
                .iter()
                .map(|header| (header.name().to_owned(), header.template().to_owned()))
                .collect(),
        }
    }
}
