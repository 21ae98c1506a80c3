//! What an operator grants a plugin.

use std::collections::BTreeMap;

use super::call::Metering;
use super::files::FolderGrant;
use super::http::HttpGrant;
use super::limits::Limits;

/// What an operator grants a plugin, and what its calls may use. By default nothing is granted, and every limit has its
/// default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grants {
    pub http: Vec<HttpGrant>,
    /// What `wasi:config/store` answers.
    pub config: BTreeMap<String, String>,
    /// Whether it may keep data between calls, apart for every tenant.
    pub keyvalue: bool,
    /// Folders that it sees; no other.
    pub files: Vec<FolderGrant>,
    /// Its environment variables; none of the host's are among them.
    pub environment: BTreeMap<String, String>,
    /// Its command line, as programs that were made for one expect it.
    pub arguments: Vec<String>,
    /// Whether clocks and random numbers are the same in every call.
    pub deterministic: bool,
    /// What stops it while it computes.
    pub metering: Metering,
    pub limits: Limits,
}
