//! What an operator grants a plugin.

use std::collections::BTreeMap;

use super::files::FolderGrant;
use super::http::HttpGrant;
use super::limits::Limits;
use super::metering::Metering;

/// What an operator grants a plugin, and the limits of its calls. By default nothing is granted, and every limit has its
/// default.
#[derive(Clone, Debug, Default, PartialEq)]
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
