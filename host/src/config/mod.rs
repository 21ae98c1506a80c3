//! The configuration: `cofferdam.toml`, overridden by variables `COFFERDAM_SECTION__KEY` and by arguments, converted into the
//! settings that the other modules own. Loading reports all problems at once, each with its location, its key and a hint. Nothing starts
//! half-configured.
//!
//! `raw.rs` lists every key once, with those of a plugin in `plugin.rs`, except the limits of a call, which the sandbox lists (`limits.rs`).
//! `source.rs` reads a file into a tree that records the location of each value, `env.rs` applies the variables to it, and `arguments.rs`
//! the command line. The schema generated from the keys finds unknown keys and ill-typed values (`schema.rs`, `violations.rs`). `resolve.rs` makes the checks that need the file system or the environment. `check.rs` checks settings
//! from any source, against the bounds in `bounds.rs`.

mod arguments;
mod bounds;
mod check;
mod command;
mod convert;
mod days;
mod duration;
mod env;
mod folders;
mod format;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod limits;
mod load;
mod origins;
mod overlay;
mod plugin;
mod problem;
mod raw;
mod redact;
mod renamed;
mod resolve;
mod schema;
mod show;
mod size;
mod source;
mod usd;
mod violations;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use arguments::{Arguments, Granted};
pub use env::misspelt as misspelt_variables;
pub use folders::Folders;
pub(crate) use load::FILE_NAME;
pub(crate) use load::Invalid;
pub use load::LoadOptions;
pub use origins::Origins;
pub use problem::{ConfigError, Origin, Problem};
pub use schema::schema;

use crate::agent::AgentSettings;
use crate::ledger::BudgetSettings;
use crate::model::{ModelSettings, ProviderKind};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{EngineSettings, Limits};
use crate::store::Durability;
use crate::telemetry::{AlertSettings, LoggingSettings};
use crate::tools::PluginSettings;

/// Everything an operator decides. The default is that of a program which sets the rest in code: no plugins, no key and no cache of compiled
/// components, because neither a variable nor the user's folders are read ([`Config::load`] reads them), and the documented default of
/// every key.
#[derive(Clone, Debug)]
pub struct Config {
    pub model: ModelSettings,
    /// The models that are asked, in this order, when the ones before them can't answer; at most 8.
    pub fallback_models: Vec<ModelSettings>,
    pub agent: AgentSettings,
    pub retry: RetrySettings,
    /// The model's breaker.
    pub breaker: BreakerSettings,
    pub budget: BudgetSettings,
    pub limits: InheritedLimits,
    pub engine: EngineSettings,
    /// How long a tool call waits in the queue at most. Default 5 s.
    pub queue_timeout: Duration,
    pub logging: LoggingSettings,
    pub alerts: AlertSettings,
    pub storage: StorageSettings,
    pub sessions: SessionSettings,
    /// The sources of the secrets. The values are in the grants that use them.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The secrets that are not available here, with the reason.
    pub missing_secrets: BTreeMap<String, String>,
    /// By name if loaded from a file.
    pub plugins: Vec<PluginSettings>,
    /// Where the values came from, for [`Config::to_toml`].
    pub origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: ModelSettings::default(),
            fallback_models: Vec::new(),
            agent: AgentSettings::default(),
            retry: RetrySettings::default(),
            breaker: BreakerSettings::default(),
            budget: BudgetSettings::default(),
            limits: InheritedLimits::default(),
            engine: EngineSettings::default(),
            queue_timeout: Duration::from_secs(5),
            logging: LoggingSettings::default(),
            alerts: AlertSettings::default(),
            storage: StorageSettings::default(),
            sessions: SessionSettings::default(),
            secrets: BTreeMap::new(),
            missing_secrets: BTreeMap::new(),
            plugins: Vec::new(),
            origins: Origins::default(),
        }
    }
}

impl Config {
    /// Loads the configuration of this process: `file`, else `./cofferdam.toml`, else `cofferdam/cofferdam.toml` in the
    /// user's configuration folder, else the defaults with the plugins `calculator` and `weather`. Environment variables
    /// override it. A missing API key isn't an error here, because not every command needs one.
    ///
    /// # Errors
    ///
    /// All problems of the file and of the variables together.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(&LoadOptions::from_process(file))
    }

    /// Loads the configuration from the given sources.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_from(options: &LoadOptions) -> Result<Self, ConfigError> {
        Self::load_in_parts(options).map_err(|invalid| invalid.error)
    }

    /// The same, with what can be used of a configuration that isn't valid.
    pub(crate) fn load_in_parts(options: &LoadOptions) -> Result<Self, Invalid> {
        load::load(options)
    }

    /// Checks the settings, because a program can set values that a file can't. Hosts, tools and sandboxes refuse a
    /// configuration that fails this check.
    ///
    /// # Errors
    ///
    /// All problems together, each with the key that a file would use. Their origin is [`Origin::Code`].
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self)
    }

    /// Makes another model the first one: a fallback of this id as it is configured, else one of the first one's server. A fallback changes
    /// places with the first one, which is asked next.
    pub fn choose_model(&mut self, id: &str) {
        match self.fallback(id) {
            Some(index) => {
                let chosen = self.fallback_models.remove(index);
                let first = std::mem::replace(&mut self.model, chosen);
                let replaced = &mut self.origins.replaced_model;
                if replaced.as_deref() == Some(id) {
                    *replaced = None;
                } else {
                    replaced.get_or_insert_with(|| first.model.clone());
                }
                self.fallback_models.insert(0, first);
            }
            None => id.clone_into(&mut self.model.model),
        }
    }

    /// The position of the fallback with this id, unless the first model has it.
    pub(crate) fn fallback(&self, id: &str) -> Option<usize> {
        let mut fallbacks = self.fallback_models.iter();
        fallbacks
            .position(|fallback| fallback.model == id)
            .filter(|_| self.model.model != id)
    }

    /// Whether the configuration file leaves `[plugins]` out. It then has no tools, not even the two that are there without a
    /// file, which an operator may not expect.
    pub fn omits_plugins(&self) -> bool {
        self.origins.file().is_some() && !self.origins.has_plugins() && self.plugins.is_empty()
    }

    /// The warning of a configuration that [omits plugins](Self::omits_plugins).
    pub const OMITTED_PLUGINS: &'static str = "the configuration file has no [plugins], so there are no tools";

    /// What to do about [`Self::OMITTED_PLUGINS`].
    pub const OMITTED_PLUGINS_HINT: &'static str = "add the two lines `[plugins.calculator]` and `component = \"builtin:calculator\"`, or an empty `[plugins]` if you want none";

    /// The ledger's file. The simulated provider has a separate ledger, because nothing it costs is paid.
    pub fn ledger_path(&self) -> PathBuf {
        self.storage.folder().join(match self.model.provider {
            ProviderKind::Anthropic | ProviderKind::OpenAi => "ledger.sqlite3",
            ProviderKind::Simulated => "ledger-simulated.sqlite3",
        })
    }

    /// A file that can be loaded again, with the origin of each value as a comment. Secrets are redacted, so a configuration
    /// that contains some doesn't round-trip exactly.
    pub fn to_toml(&self) -> String {
        show::to_toml(self)
    }

    /// The same keys as JSON, with secrets redacted.
    pub fn to_json(&self) -> serde_json::Value {
        show::to_json(self)
    }
}

/// `[limits]` of a file, read-only. Loading has already applied them to each plugin that doesn't override them, so a later
/// change would have no effect. A plugin made in code has its limits in its grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InheritedLimits(Limits);

impl Deref for InheritedLimits {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.0
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    File(PathBuf),
}

/// `[sessions]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSettings {
    /// Whether sessions are kept, so that they survive the end of the process. Default `true`.
    pub keep: bool,
    /// For how many days a session is kept after its last change. Default 30.
    pub retention_days: u32,
    /// The bytes that all sessions together can have; beyond them, the oldest are deleted. Default 1 GiB.
    pub max_bytes: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            keep: true,
            retention_days: 30,
            max_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// The folder of the ledger. Default `None`: the XDG data folder.
    pub path: Option<PathBuf>,
    /// What a commit to the ledger survives. Default: a power failure.
    pub durability: Durability,
}

impl StorageSettings {
    /// The folder of the ledger; `.cofferdam` in the current folder if the user has no home folder.
    pub fn folder(&self) -> PathBuf {
        let for_current_user = || Folders::for_current_user().map(|folders| folders.data);
        self.path
            .clone()
            .or_else(for_current_user)
            .unwrap_or_else(|| PathBuf::from(".cofferdam"))
    }

    /// The database of the data that plugins keep between calls.
    pub fn keyvalue_path(&self) -> PathBuf {
        self.folder().join("keyvalue.sqlite3")
    }
}
