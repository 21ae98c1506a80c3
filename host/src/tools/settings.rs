//! What an operator says about a plugin and its tools.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::resilience::BreakerSettings;
use crate::sandbox::{HttpGrant, Limits};

/// Where a component comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// One of the example plugins inside the program.
    Builtin(String),
    Path(PathBuf),
}

impl ComponentSource {
    /// What stands before the name of a plugin that is inside the program.
    pub const BUILTIN_PREFIX: &'static str = "builtin:";

    /// Reads `builtin:NAME` or a path.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix(Self::BUILTIN_PREFIX) {
            Some(name) => Self::Builtin(name.to_owned()),
            None => Self::Path(PathBuf::from(text)),
        }
    }
}

impl std::fmt::Display for ComponentSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "{}{name}", Self::BUILTIN_PREFIX),
            Self::Path(path) => path.display().fmt(f),
        }
    }
}

/// One plugin of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSettings {
    pub name: String,
    pub source: ComponentSource,
    /// `sha256:…`: any other component is refused.
    pub digest: Option<String>,
    /// Whether the host refuses to start without it.
    pub required: bool,
    pub http: Vec<HttpGrant>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// Whether it may keep data between calls.
    pub keyvalue: bool,
    /// Its environment variables; it sees no other.
    pub environment: BTreeMap<String, String>,
    /// Its arguments; it sees no other.
    pub arguments: Vec<String>,
    /// Whether clocks and random numbers are the same in every call.
    pub deterministic: bool,
    pub limits: Limits,
    pub breaker: BreakerSettings,
    /// By the component's own names for its tools.
    pub tools: BTreeMap<String, ToolSettings>,
}

impl PluginSettings {
    /// A plugin with nothing granted and every default.
    pub fn new(name: impl Into<String>, source: ComponentSource) -> Self {
        Self {
            name: name.into(),
            source,
            digest: None,
            required: false,
            http: Vec::new(),
            config: BTreeMap::new(),
            keyvalue: false,
            environment: BTreeMap::new(),
            arguments: Vec::new(),
            deterministic: false,
            limits: Limits::default(),
            breaker: BreakerSettings::default(),
            tools: BTreeMap::new(),
        }
    }
}

/// One tool of a plugin.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolSettings {
    /// What the model calls it, where the component's own name does not fit.
    pub name: Option<String>,
    /// What the model reads, marked as degraded, where the tool fails.
    pub fallback: Option<String>,
    /// Instead of the plugin's.
    pub breaker: Option<BreakerSettings>,
}
