//! Who may call what: the embedder's word on every call, before anything of the tool runs.

use serde_json::Value;

use super::registry::Tool;

/// What a policy says about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// The reason is shown to the model, which then knows that trying again will not help.
    Deny(String),
}

/// Decides about calls that are valid. Consulted on every call; decides at once, without waiting for anything.
pub trait ToolPolicy: std::fmt::Debug + Send + Sync + 'static {
    /// The name that the model reads as the one who refused.
    fn name(&self) -> &str;

    fn decide(&self, tenant: &str, tool: &Tool, input: &Value) -> Decision;
}
