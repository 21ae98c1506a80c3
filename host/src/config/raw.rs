//! Every key of the configuration, once: the file is read into these types, the schema is made of them (a doc comment is
//! a key's description), and `config show` writes them. Their defaults are those of the settings they stand for.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use super::bounds;
use super::duration::DurationText;
use super::format;
use super::limits::RawCallLimits;
use super::overlay::Overlay;
use super::size::ByteSize;
use super::usd::{Usd, UsdLimit};

/// The configuration of Cofferdam, usually the file `cofferdam.toml`. Every key can be overridden by an environment
/// variable `COFFERDAM_SECTION__KEY`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Cofferdam configuration")]
pub(super) struct RawConfig {
    pub(super) model: RawModel,
    pub(super) agent: RawAgent,
    pub(super) retry: RawRetry,
    pub(super) breaker: RawBreaker,
    pub(super) budget: RawBudget,
    pub(super) limits: RawLimits,
    pub(super) logging: RawLogging,
    pub(super) alerts: RawAlerts,
    pub(super) storage: RawStorage,
    /// Secrets by the names under which grants use them: `${secret:NAME}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) secrets: BTreeMap<String, RawSecret>,
    /// The plugins by name: 1 to 64 letters, digits, `_` and `-`. A file without any has no tools.
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
    Simulated,
}

/// The model and the way to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Model")]
pub(super) struct RawModel {
    /// `anthropic`: the Messages API at `base_url`. `simulated`: the same API without a key, as
    /// `cofferdam simulate` serves it; `base_url` must be the loopback address where it listens.
    pub(super) provider: RawProvider,
    /// The model's id.
    #[schemars(length(min = 1))]
    pub(super) model: String,
    /// The name of the environment variable that holds the API key. The key itself never stands in a file.
    #[schemars(extend("format" = format::ENV_NAME))]
    pub(super) api_key_env: String,
    /// Where the API is.
    #[schemars(extend("format" = format::BASE_URL))]
    pub(super) base_url: String,
    /// The longest answer, in tokens.
    #[schemars(range(min = bounds::MAX_TOKENS.least, max = bounds::MAX_TOKENS.most))]
    pub(super) max_tokens: u32,
    /// Whether answers are streamed.
    pub(super) stream: bool,
    /// How long connecting may take.
    pub(super) connect_timeout: DurationText,
    /// The longest silence between two events of a stream.
    pub(super) idle_timeout: DurationText,
    /// How long one attempt may take as a whole.
    pub(super) attempt_timeout: DurationText,
    /// The sampling temperature. Unset by default, for the newest models refuse it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = bounds::TEMPERATURE.least, max = bounds::TEMPERATURE.most))]
    pub(super) temperature: Option<f64>,
}

/// The agent and the limits of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Agent")]
pub(super) struct RawAgent {
    /// What the agent is called in events and logs.
    #[schemars(length(min = 1, max = bounds::AGENT_NAME_CHARS))]
    pub(super) name: String,
    /// The system prompt; empty: none.
    pub(super) system: String,
    /// Model calls of one run.
    #[schemars(range(min = bounds::MAX_ITERATIONS.least, max = bounds::MAX_ITERATIONS.most))]
    pub(super) max_iterations: u32,
    /// Tool calls of one run.
    #[schemars(range(min = bounds::MAX_TOOL_CALLS.least, max = bounds::MAX_TOOL_CALLS.most))]
    pub(super) max_tool_calls: u32,
    /// Tool calls of one turn that run at the same time.
    #[schemars(range(min = bounds::PARALLEL_TOOL_CALLS.least, max = bounds::PARALLEL_TOOL_CALLS.most))]
    pub(super) parallel_tool_calls: u32,
    /// Bytes of text of one result that the model is given; the rest is cut.
    pub(super) max_result_bytes: ByteSize,
    /// How long one run may take.
    pub(super) deadline: DurationText,
}

/// Retries of the model's attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub(super) struct RawRetry {
    /// Attempts in all; 1: no retry.
    #[schemars(range(min = bounds::MAX_ATTEMPTS.least, max = bounds::MAX_ATTEMPTS.most))]
    pub(super) max_attempts: u32,
    /// The delay before the first retry.
    pub(super) initial_delay: DurationText,
    /// The longest delay, but for one that the server asks for.
    pub(super) max_delay: DurationText,
    /// By how much each delay is longer than the one before.
    #[schemars(range(min = bounds::MULTIPLIER.least, max = bounds::MULTIPLIER.most))]
    pub(super) multiplier: f64,
    /// Whether a delay is drawn at random between zero and its full length.
    pub(super) jitter: bool,
}

/// When a circuit breaker opens and closes. At the root it is the model's breaker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Breaker")]
pub(super) struct RawBreaker {
    /// Failures in a row that open it.
    #[schemars(range(min = bounds::THRESHOLD.least, max = bounds::THRESHOLD.most))]
    pub(super) failure_threshold: u32,
    /// How long it stays open before it lets a probe through.
    pub(super) open_for: DurationText,
    /// Successful probes that close it.
    #[schemars(range(min = bounds::THRESHOLD.least, max = bounds::THRESHOLD.most))]
    pub(super) success_threshold: u32,
}

/// How much money may be spent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub(super) struct RawBudget {
    /// What one session may cost.
    pub(super) session_usd: UsdLimit,
    /// What all sessions of a day (UTC) on this host may cost together.
    pub(super) daily_usd: UsdLimit,
    /// A price table to use instead of the built-in one; empty: the built-in one.
    pub(super) prices: String,
}

/// The limits of every tool call, where a plugin has none of its own, and those of the host as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub(super) struct RawLimits {
    #[serde(flatten)]
    pub(super) call: RawCallLimits,
    /// The wasm stack of one call. It belongs to the engine, so a plugin has none of its own.
    pub(super) stack: ByteSize,
    /// Calls of all tools that run at the same time.
    #[schemars(range(min = bounds::HOST_CONCURRENCY.least, max = bounds::HOST_CONCURRENCY.most))]
    pub(super) host_concurrency: u32,
    /// All memories of all calls together; a plugin has half of it, and a tenant three times what it leaves free at most. Unset: three quarters of what the machine,
    /// or the control group of this process, has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) host_memory: Option<ByteSize>,
    /// How long a call may wait for its turn before the model is told that the host is overloaded.
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

/// What is logged, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Logging")]
pub(super) struct RawLogging {
    /// The level of the console (standard error).
    pub(super) console: RawLevel,
    /// The level of the file.
    pub(super) file: RawLevel,
    /// The folder of the JSON log files, a file a day; empty: no file.
    pub(super) directory: String,
    /// Whether prompts, answers, tool inputs and outputs are logged too.
    pub(super) contents: bool,
}

/// When an alert is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Alerts")]
pub(super) struct RawAlerts {
    /// The share of failed model attempts and tool calls in a run, above which it is.
    #[schemars(range(min = bounds::ERROR_RATE.least, max = bounds::ERROR_RATE.most))]
    pub(super) error_rate: f64,
    /// The cost of a session, above which it is.
    pub(super) session_cost_usd: Usd,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Storage")]
pub(super) struct RawStorage {
    /// The folder of the ledger and of what plugins keep between calls; empty: `cofferdam` in the XDG data folder.
    pub(super) path: String,
    /// How large the folder of compiled components may grow; then those not used for longest go.
    pub(super) cache_bytes: ByteSize,
}

/// One plugin: a component, what it is granted, and the limits of its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Plugin", extend("required" = ["component"]))]
pub(super) struct RawPlugin {
    /// The component's file, relative to the configuration file, or `builtin:NAME`.
    #[schemars(extend("format" = format::COMPONENT))]
    pub(super) component: Option<String>,
    /// `sha256:…` pins the component: one with another digest is refused. Empty: no pin.
    #[schemars(extend("format" = format::DIGEST))]
    pub(super) digest: String,
    /// Whether nothing starts where this plugin can't be loaded.
    pub(super) required: bool,
    /// The HTTP requests it may make; none by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) http: Vec<RawHttpGrant>,
    /// What it reads through `wasi:config/store`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) config: BTreeMap<String, String>,
    /// Whether it may keep data between calls, through `wasi:keyvalue/store`.
    pub(super) keyvalue: bool,
    /// Folders that it sees; none by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<RawFolder>,
    /// Its environment variables; it sees no other, and none of the host's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
    /// Its arguments; it sees no other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    /// Whether its clocks and random numbers are the same in every call.
    pub(super) deterministic: bool,
    /// What stops it while it computes. `fuel`: a count, the same on every machine. `epoch`: a clock; what computes for long
    /// is somewhat faster, `limits.fuel` bounds nothing, and others get their turn less often: for plugins that are trusted.
    pub(super) metering: RawMetering,
    /// Limits of its calls; what is absent is inherited from the root's `limits`.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) limits: Overlay<RawCallLimits>,
    /// The breakers of its tools.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) breaker: Overlay<RawBreaker>,
    /// Its tools, by the names that the component gives them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tools: BTreeMap<String, RawTool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "Metering")]
pub(super) enum RawMetering {
    #[default]
    Fuel,
    Epoch,
}

/// Requests that a plugin may make to one place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "HttpGrant", extend("required" = ["url"]))]
pub(super) struct RawHttpGrant {
    /// `scheme://host[:port][/path-prefix]`.
    #[schemars(length(min = 1))]
    pub(super) url: Option<String>,
    /// The methods allowed there.
    #[schemars(length(min = 1))]
    pub(super) methods: Vec<RawMethod>,
    /// Headers that the host adds to each of these requests, `"Bearer ${secret:NAME}"` for example. The plugin never sees
    /// them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
}

/// A folder that a plugin sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Folder", extend("required" = ["folder", "at"]))]
pub(super) struct RawFolder {
    /// The folder, relative to the configuration file.
    #[schemars(length(min = 1))]
    pub(super) folder: Option<String>,
    /// What the plugin calls it: an absolute path.
    #[schemars(length(min = 1))]
    pub(super) at: Option<String>,
    /// Whether the plugin may change what is in it.
    pub(super) write: bool,
}

/// Where a secret comes from: either of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Secret")]
pub(super) struct RawSecret {
    /// The environment variable that holds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::ENV_NAME))]
    pub(super) env: Option<String>,
    /// The file that holds it, relative to the configuration file; blanks around it, visible or not, are not part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) file: Option<String>,
}

impl Default for RawHttpGrant {
    fn default() -> Self {
        Self {
            url: None,
            methods: vec![RawMethod::Get],
            headers: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(rename = "Method")]
pub(super) enum RawMethod {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
}

impl RawMethod {
    const ALL: [Self; 7] = [
        Self::Get,
        Self::Head,
        Self::Post,
        Self::Put,
        Self::Delete,
        Self::Patch,
        Self::Options,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
        }
    }

    /// The method of this name, where it is one that can be granted.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// What the operator decides about one tool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tool")]
pub(super) struct RawTool {
    /// The name under which the model knows it; its own where unset.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::NAME))]
    pub(super) name: Option<String>,
    /// What the model reads, marked as degraded, when the tool fails; unset: the failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) fallback: Option<String>,
    /// Its breaker; what is absent is inherited from its plugin's.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) breaker: Overlay<RawBreaker>,
}
