//! What an operator says about a plugin and its tools.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::resilience::BreakerSettings;
use crate::sandbox::{Grants, Limits, Metering, SecretError};

/// As long as a name may be.
const MAX_NAME_CHARS: usize = 64;

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

    /// What a plugin is called that nobody gave a name: as its file is, as far as a plugin may be called that.
    pub fn plugin_name(&self) -> String {
        let own: Cow<'_, str> = match self {
            Self::Builtin(name) => name.as_str().into(),
            Self::Path(path) => path.file_stem().unwrap_or_default().to_string_lossy(),
        };
        let legal = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
            _ => '_',
        };
        let name: String = own.chars().map(legal).take(MAX_NAME_CHARS).collect();
        match name.is_empty() {
            true => "component".to_owned(),
            false => name,
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
    /// 1 to 64 letters, digits, `_` and `-`; no other plugin of the host has it.
    pub name: String,
    pub source: ComponentSource,
    /// `sha256:…`: any other component is refused.
    pub digest: Option<String>,
    /// Whether the host refuses to start without it.
    pub required: bool,
    /// What it may do, and the limits of its calls: these, whatever others have.
    pub grants: Grants,
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
            grants: Grants::default(),
            breaker: BreakerSettings::default(),
            tools: BTreeMap::new(),
        }
    }

    /// Why it can't be loaded here, as far as that can be told without its component: secrets that are there and can't be
    /// used.
    pub fn unavailable(&self) -> Vec<String> {
        let headers = self.grants.http.iter().flat_map(|grant| &grant.headers);
        headers
            .filter_map(|header| header.check().err())
            .filter(|error| !matches!(error, SecretError::Unavailable { .. }))
            .map(|error| format!("plugin `{}` can't be loaded here: {error}", self.name))
            .collect()
    }

    /// What works, but should be known.
    pub fn warnings(&self) -> Vec<String> {
        let in_the_clear = self
            .grants
            .http
            .iter()
            .filter(|grant| grant.sends_secrets_in_the_clear());
        let in_the_clear = in_the_clear.map(|grant| {
            format!(
                "plugin `{}`: a secret goes to {} unencrypted, where others on the way can read it; use https",
                self.name,
                grant.url()
            )
        });
        let grants = &self.grants;
        let bounds_nothing = grants.metering == Metering::Epoch && grants.limits.fuel != Limits::default().fuel;
        let no_fuel = bounds_nothing.then(|| {
            format!(
                "plugin `{}`: limits.fuel bounds nothing where metering is \"epoch\"; `timeout` does",
                self.name
            )
        });
        in_the_clear.chain(no_fuel).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::is_tool_name;

    #[test]
    fn a_component_without_a_name_is_called_as_its_file() {
        let long = format!("{}.wasm", "x".repeat(100));
        for (source, name) in [
            ("builtin:weather", "weather"),
            ("a/b/calc-2.wasm", "calc-2"),
            ("my tool.v1.wasm", "my_tool_v1"),
            ("é.wasm", "_"),
            ("/", "component"),
            (long.as_str(), "x".repeat(64).as_str()),
        ] {
            let found = ComponentSource::parse(source).plugin_name();
            assert_eq!(found, name);
            assert!(is_tool_name(&found), "{found}");
        }
    }
}
