//! The embedder's policy: it allows or denies every call before any code of the tool runs.

use serde_json::Value;

use super::registry::Tool;

/// A policy's decision about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// The model reads the reason, so that it knows that a retry won't help.
    Deny(String),
}

/// Allows or denies calls. Consulted for every call whose input is valid. `decide` must not block.
pub trait ToolPolicy: std::fmt::Debug + Send + Sync + 'static {
    /// The policy's name, as the model reads it in a denial.
    fn name(&self) -> &str;

    fn decide(&self, tenant: &str, tool: &Tool, input: &Value) -> Decision;
}
