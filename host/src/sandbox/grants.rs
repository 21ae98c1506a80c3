//! What an operator grants a plugin.

use std::collections::BTreeMap;
use std::fmt;

use super::files::FolderGrant;
use super::http::HttpGrant;
use super::limits::Limits;
use super::metering::Metering;

/// Where an operator names a plugin, and with it what it is granted and limited to. Messages name the settings as it does there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetIn {
    /// A configuration, of a file or in code.
    #[default]
    Configuration,
    CommandLine,
}

/// What an operator grants a plugin, and the limits of its calls. By default nothing is granted, and every limit has its
/// default.
#[derive(Clone, Default, PartialEq)]
pub struct Grants {
    pub http: Vec<HttpGrant>,
    /// The values of `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    /// Whether the plugin can keep data between calls, separately for each tenant.
    pub keyvalue: bool,
    /// The only folders that the plugin can access.
    pub files: Vec<FolderGrant>,
    /// The plugin's environment variables. It gets none of the host's.
    pub environment: BTreeMap<String, String>,
    /// The plugin's command-line arguments.
    pub arguments: Vec<String>,
    /// Whether clocks and random numbers are the same in every call.
    pub deterministic: bool,
    /// How the plugin is interrupted while it computes.
    pub metering: Metering,
    pub limits: Limits,
}

/// Of values and arguments, the names and the number: some are secret.
impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            http,
            config,
            keyvalue,
            files,
            environment,
            arguments,
            deterministic,
            metering,
            limits,
        } = self;
        f.debug_struct("Grants")
            .field("http", http)
            .field("config", &config.keys())
            .field("keyvalue", keyvalue)
            .field("files", files)
            .field("environment", &environment.keys())
            .field("arguments", &arguments.len())
            .field("deterministic", deterministic)
            .field("metering", metering)
            .field("limits", limits)
            .finish()
    }
}

/// What calls can do outside of the host, by what the operator granted. The host owns every capability, so it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Effects {
    /// A call leaves no trace, and can be made twice.
    None,
    /// A call can ask others, with requests that are meant to change nothing.
    Reads,
    Writes,
}

impl Effects {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Reads => "reads",
            Self::Writes => "writes",
        }
    }
}

impl Grants {
    /// The effects that these grants allow.
    pub fn effects(&self) -> Effects {
        let reads = |method: &String| matches!(method.as_str(), "GET" | "HEAD");
        let http = self.http.iter().map(|grant| match grant.methods.iter().all(reads) {
            true => Effects::Reads,
            false => Effects::Writes,
        });
        let writes = self.keyvalue || self.files.iter().any(|folder| folder.write);
        let own = if writes { Effects::Writes } else { Effects::None };
        http.fold(own, Effects::max)
    }

    /// What these grants let a call reach, a line each, for a person who decides about it. Values are left out: some are secret.
    ///
    /// A decision is about these words: with other ones, also of a later version, a person is asked again.
    pub fn in_words(&self) -> Vec<String> {
        let names = |what: &str, names: Vec<&str>| (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")));
        let http = self.http.iter().map(|grant| format!("HTTP {grant}"));
        // By the name that a person knows, and by that in the call's input.
        let files = self.files.iter().map(|grant| {
            let FolderGrant { folder, at, .. } = grant;
            format!("folder {}, {}, as {at}", folder.display(), grant.may())
        });
        let keyvalue = self.keyvalue.then(|| "its own stored data".to_owned());
        let config = names("settings", self.config.keys().map(String::as_str).collect());
        let environment = names("variables", self.environment.keys().map(String::as_str).collect());
        http.chain(files)
            .chain(keyvalue)
            .chain(config)
            .chain(environment)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_which_folder_is_reached() {
        let files =
            [("/home/ann/in", "/in", false), ("/home/ann/out", "/", true)].map(|(folder, at, write)| FolderGrant {
                folder: folder.into(),
                at: at.to_owned(),
                write,
            });
        let grants = Grants {
            files: files.into(),
            keyvalue: true,
            ..Grants::default()
        };
        assert_eq!(
            grants.in_words(),
            [
                "folder /home/ann/in, read, as /in",
                "folder /home/ann/out, read and write, as /",
                "its own stored data"
            ]
        );
    }
}
