//! The configuration: `cofferdam.toml`, overridden by variables `COFFERDAM_SECTION__KEY`, turned into the settings that
//! the other modules own. All that is wrong is found at once, each problem with its place, its key and a hint, and
//! nothing starts half-configured.
//!
//! The keys are listed once, in `raw.rs`, but for the limits of a call, which the sandbox lists (`limits.rs`). A file is read into a tree that remembers where each value stands
//! (`source.rs`), variables are put over it (`env.rs`), the schema made of the keys finds what is unknown or ill-typed
//! (`schema.rs`, `violations.rs`), and `resolve.rs` checks what takes a look around. What settings must be whoever made
//! them is in `check.rs`, with the bounds of each in `bounds.rs`.

mod bounds;
mod check;
mod convert;
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
mod problem;
mod raw;
mod redact;
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

pub use folders::Folders;
pub use load::LoadOptions;
pub use origins::Origins;
pub use problem::{ConfigError, Origin, Problem};
pub use schema::schema;

use crate::agent::AgentSettings;
use crate::ledger::BudgetSettings;
use crate::model::{ModelSettings, ProviderKind};
use crate::resilience::{BreakerSettings, RetrySettings};
use crate::sandbox::{EngineSettings, Limits};
use crate::telemetry::{AlertSettings, LoggingSettings};
use crate::tools::PluginSettings;

/// Everything an operator decides. The default is what a file without any key means: no plugins, and the documented
/// default of every key.
#[derive(Clone, Debug)]
pub struct Config {
    pub model: ModelSettings,
    /// The environment variable that holds the model's API key. Default `ANTHROPIC_API_KEY`.
    pub api_key_env: String,
    pub agent: AgentSettings,
    pub retry: RetrySettings,
    /// The model's breaker.
    pub breaker: BreakerSettings,
    pub budget: BudgetSettings,
    pub limits: FileLimits,
    pub engine: EngineSettings,
    /// How long a tool call may wait for its turn. Default 5 s.
    pub queue_timeout: Duration,
    pub logging: LoggingSettings,
    pub alerts: AlertSettings,
    pub storage: StorageSettings,
    /// Where the secrets come from; the grants that use them hold them.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Those that can't be had here, with the reason.
    pub missing_secrets: BTreeMap<String, String>,
    /// In the order of their names.
    pub plugins: Vec<PluginSettings>,
    /// Where the values came from, for [`Config::to_toml`].
    pub origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model: ModelSettings::default(),
            api_key_env: "ANTHROPIC_API_KEY".to_owned(),
            agent: AgentSettings::default(),
            retry: RetrySettings::default(),
            breaker: BreakerSettings::default(),
            budget: BudgetSettings::default(),
            limits: FileLimits::default(),
            engine: EngineSettings::default(),
            queue_timeout: Duration::from_secs(5),
            logging: LoggingSettings::default(),
            alerts: AlertSettings::default(),
            storage: StorageSettings::default(),
            secrets: BTreeMap::new(),
            missing_secrets: BTreeMap::new(),
            plugins: Vec::new(),
            origins: Origins::default(),
        }
    }
}

impl Config {
    /// Loads the configuration of this process: `file`, else `./cofferdam.toml`, else `cofferdam/cofferdam.toml` in the
    /// user's configuration folder, else the defaults with the plugins `calculator` and `weather`; and the environment
    /// over it. An API key that is missing is no error here, for not every command needs one.
    ///
    /// # Errors
    ///
    /// All problems of the file and of the variables together.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(&LoadOptions::of_process(file))
    }

    /// The same from surroundings that are given.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_from(options: &LoadOptions) -> Result<Self, ConfigError> {
        load::load(options)
    }

    /// Whether it makes sense: a program can set what no file may say. Hosts, tools and sandboxes are made of no other.
    ///
    /// # Errors
    ///
    /// All problems together, each with its key as a file names it; their origin is [`Origin::Code`].
    pub fn check(&self) -> Result<(), ConfigError> {
        check::check(self)
    }

    /// Where the books are kept. What a simulated model would have cost nobody pays, so it has books of its own.
    pub fn ledger_path(&self) -> PathBuf {
        self.storage.folder().join(match self.model.provider {
            ProviderKind::Anthropic => "ledger.sqlite3",
            ProviderKind::Simulated => "ledger-simulated.sqlite3",
        })
    }

    /// As a file that can be loaded again, with the origin of each value as a comment. A secret is not shown, so where
    /// one is, the file is not quite the same.
    pub fn to_toml(&self) -> String {
        show::to_toml(self)
    }

    /// As the same keys in JSON, without secrets.
    pub fn to_json(&self) -> serde_json::Value {
        show::to_json(self)
    }
}

/// `[limits]` of a file. Its plugins have inherited them already, each where it has none of its own, so nobody can set
/// them any more: a plugin that a program makes has the limits in its grants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLimits(Limits);

impl Deref for FileLimits {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.0
    }
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the environment.
    Env(String),
    File(PathBuf),
}

/// `[storage]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// The folder of the ledger. Default `None`: the XDG data folder.
    pub path: Option<PathBuf>,
}

impl StorageSettings {
    /// The folder of the ledger; where a user has no home, `.cofferdam` in the current folder.
    pub fn folder(&self) -> PathBuf {
        let of_user = || Folders::of_user().map(|folders| folders.data);
        self.path
            .clone()
            .or_else(of_user)
            .unwrap_or_else(|| PathBuf::from(".cofferdam"))
    }

    /// What plugins keep between calls.
    pub fn keyvalue_path(&self) -> PathBuf {
        self.folder().join("keyvalue.sqlite3")
    }
}
