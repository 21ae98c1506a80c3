//! Every key of the configuration, declared once. Files deserialize into these types, and `config show` serializes them.
//! The schema is generated from them, with the doc comments as descriptions. Defaults come from the settings types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::bounds;
use super::days::DaysText;
use super::duration::DurationText;
use super::format;
use super::limits::RawCallLimits;
use super::overlay::Overlay;
use super::size::ByteSize;
use super::usd::{Usd, UsdLimit};
use crate::ledger::TenantBudget;

pub(super) use super::command::RawCommand;
pub(super) use super::plugin::*;

/// The configuration of Cofferdam, usually the file `cofferdam.toml`. Every key can be overridden by an environment
/// variable `COFFERDAM_SECTION__KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Cofferdam configuration")]
pub(super) struct RawConfig {
    pub(super) model: RawModel,
    /// Models that are asked, in this order, when the ones before them can't answer. Each has its own retries, breaker and price. A
    /// missing key is that of `[model]`; but for another `provider` or `base_url`, `api_version`, `auth`, `max_tokens_field`, `prompt_cache`,
    /// `tool_search`, `tool_changes`, `follow_rate_limits` and `temperature` have their defaults, and `api_key_env` is none of `[model]`'s.
    /// `effort`, `thinking` and `thinking_budget` are never taken over, because models differ in what they take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = bounds::MAX_FALLBACK_MODELS))]
    pub(super) fallback_models: Vec<Overlay<RawModel>>,
    pub(super) agent: RawAgent,
    pub(super) retry: RawRetry,
    pub(super) breaker: RawBreaker,
    pub(super) budget: RawBudget,
    pub(super) limits: RawLimits,
    pub(super) logging: RawLogging,
    pub(super) alerts: RawAlerts,
    pub(super) storage: RawStorage,
    pub(super) sessions: RawSessions,
    /// Tenants by name, with limits of their own. A tenant needs no entry.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tenants: BTreeMap<String, RawTenant>,
    /// Secrets by name. Grants refer to them as `${secret:NAME}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) secrets: BTreeMap<String, RawSecret>,
    /// The plugins by name: 1 to 64 letters, digits, `_` and `-`. A file without plugins has no tools, not
    /// even the two that are there without a file.
    pub(super) plugins: BTreeMap<String, RawPlugin>,
}

impl Default for RawConfig {
    fn default() -> Self {
        Self::from(&Config::default())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Provider")]
pub(super) enum RawProvider {
    Anthropic,
    OpenAi,
    Simulated,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "MaxTokensField")]
pub(super) enum RawMaxTokensField {
    MaxTokens,
    MaxCompletionTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ApiVersion")]
pub(super) enum RawApiVersion {
    #[serde(rename = "2026-10-21")]
    V2026_10_21,
    #[serde(rename = "2023-06-01")]
    V2023_06_01,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Auth")]
pub(super) enum RawAuth {
    XApiKey,
    Bearer,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "CacheTtl")]
pub(super) enum RawCacheTtl {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    OneHour,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ToolSearch")]
pub(super) enum RawToolSearch {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ToolChanges")]
pub(super) enum RawToolChanges {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Effort")]
pub(super) enum RawEffort {
    Low,
    Medium,
    High,
    XHigh,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Thinking")]
pub(super) enum RawThinking {
    Adaptive,
    BetweenTools,
    Off,
}

/// The model and the connection to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Model")]
pub(super) struct RawModel {
    /// `anthropic`: the Messages API at `base_url`. `openai`: the Chat Completions API there, of OpenAI, Ollama, vLLM,
    /// llama.cpp and many gateways; it needs a `base_url`. `simulated`: the Messages API without a key, as
    /// `cofferdam simulate` serves it; `base_url` must be the loopback address where it listens.
    pub(super) provider: RawProvider,
    /// The model's id.
    #[schemars(length(min = 1))]
    pub(super) model: String,
    /// The name of the environment variable that holds the API key. The key itself is never in a file. With
    /// `provider = "openai"`, requests have no key unless this is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::ENV_NAME))]
    pub(super) api_key_env: Option<String>,
    /// The base URL of the API. Requests go to `/v1/messages` below it. Where it already ends in `/v1` or `/v1/messages`,
    /// that part isn't repeated. With `provider = "openai"`, they go to `/chat/completions` below it, or to
    /// `/v1/chat/completions` if it has no path.
    #[schemars(extend("format" = format::BASE_URL))]
    pub(super) base_url: String,
    /// The version of the Messages API. `2026-10-21` refuses sampling parameters such as `temperature`.
    pub(super) api_version: RawApiVersion,
    /// The header with the API key. `x-api-key`: as the vendor documents it. `bearer`: `Authorization: Bearer`, for servers
    /// that read only that; the default with `provider = "openai"`.
    pub(super) auth: RawAuth,
    /// The proxy for requests to the model: its URL, or `none`. Empty: the one that the environment's variables name, such as
    /// `HTTPS_PROXY`.
    #[schemars(extend("format" = format::PROXY))]
    pub(super) proxy: String,
    /// The maximum length of one answer, in tokens.
    #[schemars(range(min = bounds::MAX_TOKENS.min, max = bounds::MAX_TOKENS.max))]
    pub(super) max_tokens: u32,
    /// With `provider = "openai"`, the field of requests with `max_tokens`. OpenAI's newer models require
    /// `max_completion_tokens`.
    pub(super) max_tokens_field: RawMaxTokensField,
    /// Whether answers are streamed.
    pub(super) stream: bool,
    /// Whether requests wait while the rate limits that the server announces would have it refuse them. All requests with the same
    /// model, server and key wait in one queue, in which tenants take turns. `false` for gateways that announce wrong limits.
    pub(super) follow_rate_limits: bool,
    /// Whether the Messages API caches the prompt, so that the next request of a conversation pays only for what is new in it.
    /// `false` for gateways that refuse `cache_control`. With `provider = "openai"`, the server decides itself.
    pub(super) prompt_cache: bool,
    /// How long a cached prompt is kept after its last use. `1h` is for conversations with long pauses: writing costs twice the
    /// price of input then, instead of 1.25 times.
    pub(super) prompt_cache_ttl: RawCacheTtl,
    /// Whether the model searches for tools, instead of reading all of their definitions with every request. `auto`: if they have more
    /// than an estimated 10,000 tokens, at Anthropic's own server or the simulator. `always`: for other servers that can do it, and for
    /// few tools. `never`. Not with `provider = "openai"`, whose API has no such tool.
    pub(super) tool_search: RawToolSearch,
    /// Whether tools that change in the middle of a conversation are announced there, so that its prompt stays cached. `auto`: at
    /// Anthropic's own server or the simulator, if Anthropic's documentation names the model. `always`: for other models and servers that can
    /// do it. `never`. Not with `provider = "openai"`, whose API has no such messages.
    pub(super) tool_changes: RawToolChanges,
    /// The longest time to connect.
    pub(super) connect_timeout: DurationText,
    /// The longest silence: while a request is sent, and between two events of a stream.
    pub(super) idle_timeout: DurationText,
    /// The longest time for one attempt as a whole.
    pub(super) attempt_timeout: DurationText,
    /// The sampling temperature. Only with `provider = "openai"`, or up to 1 with `api_version = "2023-06-01"`, and only for models
    /// that accept it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::TEMPERATURE.min, max = bounds::TEMPERATURE.max))]
    pub(super) temperature: Option<f64>,
    /// How thoroughly the model works, and how many tokens that takes. Default: the model's own. Models differ in what they take. With
    /// `provider = "openai"` it is sent as `reasoning_effort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effort: Option<RawEffort>,
    /// When the model thinks: `adaptive`, as it sees fit; `between_tools`, only between tool calls; `off`. Default: the model's own. Models
    /// differ in what they take. Not with `provider = "openai"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<RawThinking>,
    /// For models that think on a budget: the most tokens of an answer for that, less than `max_tokens`. In place of `thinking`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::THINKING_BUDGET.min, max = bounds::THINKING_BUDGET.max))]
    pub(super) thinking_budget: Option<u32>,
}

/// The agent and the limits of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Agent")]
pub(super) struct RawAgent {
    /// The agent's name in events and logs.
    #[schemars(length(min = 1, max = bounds::MAX_AGENT_NAME_CHARS))]
    pub(super) name: String,
    /// The tenant of the conversations of `run`, `chat` and `mcp`: 1 to 64 letters, digits, `_`, `.` and `-`.
    #[schemars(extend("format" = format::TENANT))]
    pub(super) tenant: String,
    /// The system prompt. Empty: none.
    pub(super) system: String,
    /// The most model calls in one run.
    #[schemars(range(min = bounds::MAX_ITERATIONS.min, max = bounds::MAX_ITERATIONS.max))]
    pub(super) max_iterations: u32,
    /// The most tool calls in one run.
    #[schemars(range(min = bounds::MAX_TOOL_CALLS.min, max = bounds::MAX_TOOL_CALLS.max))]
    pub(super) max_tool_calls: u32,
    /// The most tool calls of one turn that run at the same time.
    #[schemars(range(min = bounds::PARALLEL_TOOL_CALLS.min, max = bounds::PARALLEL_TOOL_CALLS.max))]
    pub(super) parallel_tool_calls: u32,
    /// The most bytes of text of one tool result that the model gets, as a request writes it; the rest is truncated.
    pub(super) max_result_bytes: ByteSize,
    /// The longest time for one run. Waiting for a person doesn't count.
    pub(super) deadline: DurationText,
    /// Which calls a person must approve: none; those of tools that the operator or the component calls destructive; these, and those
    /// of tools that can change something by what they are granted, unless the operator calls the tool read-only; all.
    pub(super) approve: RawApprove,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Approve")]
pub(super) enum RawApprove {
    Never,
    Destructive,
    Writes,
    Always,
}

/// Retries of model calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub(super) struct RawRetry {
    /// Total attempts. 1: no retry.
    #[schemars(range(min = bounds::MAX_ATTEMPTS.min, max = bounds::MAX_ATTEMPTS.max))]
    pub(super) max_attempts: u32,
    /// The delay before the first retry.
    pub(super) initial_delay: DurationText,
    /// The longest delay, except for one that the server requests.
    pub(super) max_delay: DurationText,
    /// The factor from one delay to the next.
    #[schemars(range(min = bounds::MULTIPLIER.min, max = bounds::MULTIPLIER.max))]
    pub(super) multiplier: f64,
    /// Whether each delay is random between zero and its full length.
    pub(super) jitter: bool,
}

/// When a circuit breaker opens and closes. The top-level table is the model's breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(super) struct RawBreaker {
    /// What opens it: `failure_threshold` failures in a row, or the rates of the last calls.
    pub(super) mode: RawBreakerMode,
    /// Consecutive failures that open it. With mode `consecutive`.
    #[schemars(range(min = bounds::THRESHOLD.min, max = bounds::THRESHOLD.max))]
    pub(super) failure_threshold: u32,
    /// How many of the last calls are looked at. This and the next four keys: with mode `window`.
    #[schemars(range(min = bounds::WINDOW_CALLS.min, max = bounds::WINDOW_CALLS.max))]
    pub(super) window: u32,
    /// With fewer calls than this, nothing is concluded.
    #[schemars(range(min = bounds::WINDOW_CALLS.min, max = bounds::WINDOW_CALLS.max))]
    pub(super) min_calls: u32,
    /// The part of failed calls that opens it.
    #[schemars(range(min = bounds::RATE.min, max = bounds::RATE.max))]
    pub(super) failure_rate: f64,
    /// A call that takes at least this long is slow. Without it, none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) slow_call: Option<DurationText>,
    /// The part of slow calls that opens it.
    #[schemars(range(min = bounds::RATE.min, max = bounds::RATE.max))]
    pub(super) slow_rate: f64,
    /// How long it stays open before it lets a probe through.
    pub(super) open_for: DurationText,
    /// Successful probes that close it.
    #[schemars(range(min = bounds::THRESHOLD.min, max = bounds::THRESHOLD.max))]
    pub(super) success_threshold: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "BreakerMode")]
pub(super) enum RawBreakerMode {
    Consecutive,
    Window,
}

/// Spending limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub(super) struct RawBudget {
    /// The most that one session can cost.
    pub(super) session_usd: UsdLimit,
    /// The most that all sessions on this host can cost in one day (UTC).
    pub(super) host_day_usd: UsdLimit,
    /// A price table that replaces the built-in one. Empty: the built-in one.
    pub(super) prices: String,
}

/// One tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tenant")]
pub(super) struct RawTenant {
    pub(super) budget: RawTenantBudget,
}

/// What all sessions of a tenant together can cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "TenantBudget")]
pub(super) struct RawTenantBudget {
    /// The most in one day (UTC).
    pub(super) daily_usd: UsdLimit,
    /// The most in one month (UTC).
    pub(super) monthly_usd: UsdLimit,
}

impl Default for RawTenantBudget {
    fn default() -> Self {
        Self::from(TenantBudget::default())
    }
}

/// The limits of every tool call, which a plugin can override, and the limits of the host as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(super) struct RawLimits {
    #[serde(flatten)]
    pub(super) call: RawCallLimits,
    /// The wasm stack of one call. The engine sets it for all plugins, so a plugin can't override it.
    pub(super) stack: ByteSize,
    /// The most calls of all tools that run at the same time.
    #[schemars(range(min = bounds::HOST_CONCURRENCY.min, max = bounds::HOST_CONCURRENCY.max))]
    pub(super) host_concurrency: u32,
    /// The linear memory of all calls together. One plugin gets at most half of it, and a tenant at most three times what
    /// it leaves free. Unset: three quarters of the memory of the machine, or of this process's control group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_memory: Option<ByteSize>,
    /// The longest time that a call waits in the queue before the model gets an error that the host is overloaded.
    pub(super) queue_timeout: DurationText,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Level")]
pub(super) enum RawLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// What is logged, and where to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Logging")]
pub(super) struct RawLogging {
    /// The log level of the console (standard error).
    pub(super) console: RawLevel,
    /// The log level of the file.
    pub(super) file: RawLevel,
    /// The folder of the JSON log files, one per day. Empty: no file.
    pub(super) directory: String,
    /// Whether the log includes prompts, answers, tool inputs and tool outputs.
    pub(super) contents: bool,
}

/// When to log an alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alerts")]
pub(super) struct RawAlerts {
    /// Alert when a larger share of a run's model attempts and tool calls fails.
    #[schemars(range(min = bounds::ERROR_RATE.min, max = bounds::ERROR_RATE.max))]
    pub(super) error_rate: f64,
    /// Alert when a session costs more.
    pub(super) session_cost_usd: Usd,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Storage")]
pub(super) struct RawStorage {
    /// The folder of the ledger and of the data that plugins keep between calls. Empty: `cofferdam` in the XDG data folder.
    pub(super) path: String,
    /// What a booked amount survives. `power_loss`: it is on the disk before the next step. `process_crash`: faster, but a power
    /// failure can undo the last moments, and what was spent in them.
    pub(super) durability: RawDurability,
    /// The maximum size of the cache of compiled components. Beyond it, the least recently used are removed.
    pub(super) cache_bytes: ByteSize,
}

/// Conversations that survive the end of the process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Sessions")]
pub(super) struct RawSessions {
    /// Whether sessions are kept, with everything that was said and every result of a tool.
    pub(super) keep: bool,
    /// How long a session is kept after its last change.
    pub(super) retention: DaysText,
    /// The size of all sessions together. Beyond it, the oldest are deleted.
    pub(super) max_bytes: ByteSize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Durability")]
pub(super) enum RawDurability {
    PowerLoss,
    ProcessCrash,
}

/// The source of a secret: either `env` or `file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub(super) struct RawSecret {
    /// The environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::ENV_NAME))]
    pub(super) env: Option<String>,
    /// The file that holds it, relative to the configuration file. White space and invisible characters around it are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) file: Option<String>,
}
