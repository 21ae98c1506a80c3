//! The keys of `[plugins.NAME]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command::RawCommand;
use super::format;
use super::limits::RawCallLimits;
use super::overlay::Overlay;
use super::raw::RawBreaker;
use crate::tools::ToolSettings;

/// One plugin: a component, its grants, and the limits of its calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Plugin", extend("required" = ["component"]))]
pub(super) struct RawPlugin {
    /// The component's file, relative to the configuration file, or `builtin:NAME`.
    #[schemars(extend("format" = format::COMPONENT))]
    pub(super) component: Option<String>,
    /// `sha256:…` pins the component: one with another digest is left out, and WIT beside it isn't read. Empty: no pin.
    #[schemars(extend("format" = format::DIGEST))]
    pub(super) digest: String,
    /// Whether the host refuses to start if anything is wrong with this plugin or one of its tools. By default, what is wrong
    /// is left out.
    pub(super) required: bool,
    /// The HTTP requests that it can make; none by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) http: Vec<RawHttpGrant>,
    /// The values that it reads through `wasi:config/store`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) config: BTreeMap<String, String>,
    /// Whether it can keep data between calls, through `wasi:keyvalue/store`.
    pub(super) keyvalue: bool,
    /// The folders that it sees; none by default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) files: Vec<RawFolder>,
    /// Its environment variables. It sees no others, and none of the host's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) env: BTreeMap<String, String>,
    /// Its arguments. It sees no others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) args: Vec<String>,
    /// Whether every call sees the same clocks and random numbers.
    pub(super) deterministic: bool,
    /// How the host interrupts it while it computes. `fuel` counts instructions, the same on every machine. `epoch` uses a
    /// clock: long computations are somewhat faster, but `limits.fuel` has no effect and other calls get the CPU less often.
    /// Use `epoch` only for trusted plugins.
    pub(super) metering: RawMetering,
    /// The limits of its calls. Missing keys are inherited from the top-level `limits`.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) limits: Overlay<RawCallLimits>,
    /// Whether its breakers count every error that a typed function returns and every exit status of its command other than 0,
    /// and not only those that mean `failed` or `unavailable`.
    pub(super) errors_count: bool,
    /// The breakers of its tools.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) breaker: Overlay<RawBreaker>,
    /// Describes the program that the component is (it exports `wasi:cli/run`) as a tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<RawCommand>,
    /// Its tools, by the component's own names for them.
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

/// The requests that a plugin can make to one origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "HttpGrant", extend("required" = ["url"]))]
pub(super) struct RawHttpGrant {
    /// `scheme://host[:port][/path-prefix]`.
    #[schemars(length(min = 1))]
    pub(super) url: Option<String>,
    /// The allowed methods.
    #[schemars(length(min = 1))]
    pub(super) methods: Vec<RawMethod>,
    /// Headers that the host adds to each of these requests, for example `"Bearer ${secret:NAME}"`. The plugin never sees
    /// them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) headers: BTreeMap<String, String>,
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

/// A folder that a plugin sees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Folder", extend("required" = ["folder", "at"]))]
pub(super) struct RawFolder {
    /// The folder, relative to the configuration file.
    #[schemars(length(min = 1))]
    pub(super) folder: Option<String>,
    /// The path where the plugin sees it: an absolute path.
    #[schemars(length(min = 1))]
    pub(super) at: Option<String>,
    /// Whether the plugin can write to it.
    pub(super) write: bool,
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

    /// The method with this name, if it can be granted.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == name)
    }
}

/// The operator's settings for one tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Tool")]
pub(super) struct RawTool {
    /// Whether the model can use it.
    pub(super) enabled: bool,
    /// The name that the model sees. Unset: the component's own name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = format::NAME))]
    pub(super) name: Option<String>,
    /// The description that the model reads. Unset: the component's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) description: Option<String>,
    /// Whether a call changes nothing outside its own instance. Such a call can be retried. Unset: what the component says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) read_only: Option<bool>,
    /// Whether two calls with the same input have the effect of one. Such a call can be retried. Unset: what the component
    /// says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) idempotent: Option<bool>,
    /// Whether a call can delete or overwrite something that a person could want back. Unset: what the component says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) destructive: Option<bool>,
    /// The text that the model gets, marked as degraded, when the tool fails. Unset: the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(super) fallback: Option<String>,
    /// Whether the model always reads its definition, even where it searches for other tools (`[model] tool_search`).
    pub(super) always_load: bool,
    /// Its breaker. Missing keys are inherited from the plugin's breaker.
    #[serde(skip_serializing_if = "Overlay::is_empty")]
    pub(super) breaker: Overlay<RawBreaker>,
}

impl Default for RawTool {
    fn default() -> Self {
        Self::from(&ToolSettings::default())
    }
}
