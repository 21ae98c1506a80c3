//! The configuration of a plugin and its tools.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, PathBuf};

use bytes::Bytes;

use crate::resilience::BreakerSettings;
use crate::sandbox::{Command, Grants, Limits, Metering, SecretError, SetIn};

/// The longest plugin name.
const MAX_NAME_CHARS: usize = 64;

/// Where a component comes from.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ComponentSource {
    /// One of the example plugins embedded in the binary.
    Builtin(String),
    Path(PathBuf),
    /// The component itself, as a program that carries it has it.
    Bytes(Bytes),
}

impl fmt::Debug for ComponentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl ComponentSource {
    /// The prefix of an embedded plugin's name.
    pub const BUILTIN_PREFIX: &'static str = "builtin:";

    /// Reads `builtin:NAME` or a path.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix(Self::BUILTIN_PREFIX) {
            Some(name) => Self::Builtin(name.to_owned()),
            None => Self::Path(PathBuf::from(text)),
        }
    }

    /// Where it is, from whichever folder it is named: an absolute path, or `builtin:NAME`. Symbolic links stay, because a release may be
    /// one.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Builtin(_) | Self::Bytes(_) => self.to_string(),
            Self::Path(path) => {
                let mut place = PathBuf::new();
                for part in std::path::absolute(path).unwrap_or_else(|_| path.clone()).components() {
                    match part {
                        Component::ParentDir => {
                            place.pop();
                        }
                        part => place.push(part),
                    }
                }
                place.to_string_lossy().into_owned()
            }
        }
    }

    /// The default name of a plugin: its file's stem, with every other character than those of a name replaced by `_`.
    pub fn plugin_name(&self) -> String {
        let stem: Cow<'_, str> = match self {
            Self::Builtin(name) => name.as_str().into(),
            Self::Path(path) => path.file_stem().unwrap_or_default().to_string_lossy(),
            Self::Bytes(_) => Cow::default(),
        };
        let legal = |character: char| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
            _ => '_',
        };
        let name: String = stem.chars().map(legal).take(MAX_NAME_CHARS).collect();
        match name.is_empty() {
            true => "component".to_owned(),
            false => name,
        }
    }
}

impl fmt::Display for ComponentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Builtin(name) => write!(f, "{}{name}", Self::BUILTIN_PREFIX),
            Self::Path(path) => path.display().fmt(f),
            Self::Bytes(bytes) => write!(f, "{} bytes of this program", bytes.len()),
        }
    }
}

/// One plugin of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSettings {
    /// 1 to 64 letters, digits, `_` and `-`, unique within the host.
    pub name: String,
    pub source: ComponentSource,
    pub set_in: SetIn,
    /// `sha256:…`. A component with another digest is left out.
    pub digest: Option<String>,
    /// Whether the host refuses to start if anything is wrong with the plugin or one of its tools.
    pub required: bool,
    /// What the plugin may do, and the limits of its calls.
    pub grants: Grants,
    pub breaker: BreakerSettings,
    /// Whether its breakers count every error that a typed function returns, and every exit status of a command other than 0. By
    /// default they count errors that mean `failed` or `unavailable`, because most others are answers like "not found".
    pub errors_count: bool,
    /// The program that the component is, as a tool.
    pub command: Option<Command>,
    /// By the names that the component gives its tools.
    pub tools: BTreeMap<String, ToolSettings>,
}

impl PluginSettings {
    /// A plugin with nothing granted and every default.
    pub fn new(name: impl Into<String>, source: ComponentSource) -> Self {
        Self {
            name: name.into(),
            source,
            set_in: SetIn::default(),
            digest: None,
            required: false,
            grants: Grants::default(),
            breaker: BreakerSettings::default(),
            errors_count: false,
            command: None,
            tools: BTreeMap::new(),
        }
    }

    /// Reasons why the plugin can't be loaded here that are known without its component: secrets that are set but can't be
    /// used.
    pub fn unavailable(&self) -> Vec<String> {
        let headers = self.grants.http.iter().flat_map(|grant| &grant.headers);
        headers
            .filter_map(|header| header.check().err())
            .filter(|error| !matches!(error, SecretError::Unavailable { .. }))
            .map(|error| format!("plugin `{}` can't be loaded here: {error}", self.name))
            .collect()
    }

    /// Warnings about settings that work but are risky or have no effect.
    pub fn warnings(&self) -> Vec<String> {
        let in_the_clear = self
            .grants
            .http
            .iter()
            .filter(|grant| grant.sends_secrets_in_the_clear());
        let in_the_clear = in_the_clear.map(|grant| {
            format!(
                "plugin `{}`: a secret goes to {} unencrypted, so others on the network can read it; use https",
                self.name,
                grant.url()
            )
        });
        let grants = &self.grants;
        let fuel_is_ignored = grants.metering == Metering::Epoch && grants.limits.fuel != Limits::default().fuel;
        let no_fuel = fuel_is_ignored.then(|| {
            format!(
                "plugin `{}`: limits.fuel has no effect with metering = \"epoch\"; `timeout` bounds the call",
                self.name
            )
        });
        let command = self.command.iter().flat_map(Command::warnings);
        let command = command.map(|warning| format!("plugin `{}`: {warning}", self.name));
        in_the_clear.chain(no_fuel).chain(command).collect()
    }
}

/// One tool of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSettings {
    /// Whether the model can use it. Default true.
    pub enabled: bool,
    /// The name for the model, if it differs from the component's.
    pub name: Option<String>,
    /// The description for the model. `None`: the component's own.
    pub description: Option<String>,
    /// Whether a call changes nothing outside its own instance. `None` here and below: what the component says.
    pub read_only: Option<bool>,
    /// Whether two calls with the same input have the effect of one.
    pub idempotent: Option<bool>,
    /// Whether a call can delete or overwrite something that a person could want back.
    pub destructive: Option<bool>,
    /// What the model reads, marked as degraded, if the tool fails.
    pub fallback: Option<String>,
    /// Whether the model always reads its definition, even where it searches for other tools. Default false.
    pub always_load: bool,
    /// Overrides the plugin's breaker settings.
    pub breaker: Option<BreakerSettings>,
}

impl Default for ToolSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            name: None,
            description: None,
            read_only: None,
            idempotent: None,
            destructive: None,
            fallback: None,
            always_load: false,
            breaker: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::is_tool_name;

    #[test]
    fn the_default_plugin_name_is_the_files_stem() {
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
