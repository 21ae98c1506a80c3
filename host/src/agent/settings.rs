//! The settings and limits of a run.

use std::time::Duration;

use super::tenant::DEFAULT_TENANT;
use crate::tools::ApproveCalls;

/// `[agent]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    pub name: String,
    /// The tenant of conversations that name none. Default [`DEFAULT_TENANT`].
    pub tenant: String,
    /// The system prompt; empty: none.
    pub system: String,
    /// Maximum model calls per run. Default 10. A retried call counts once.
    pub max_iterations: u32,
    /// Maximum tool calls per run. Default 50.
    pub max_tool_calls: u32,
    /// Maximum tool calls of one turn that run concurrently. Default 8.
    pub parallel_tool_calls: u32,
    /// Maximum bytes of text per result, as a request writes it; the rest is truncated. Default 64 KiB. Every later model call is billed for them again.
    pub max_result_bytes: u64,
    /// Maximum duration of a run, everything included. Default 10 min.
    pub deadline: Duration,
    /// Which calls wait for a person. Default: those of destructive tools.
    pub approve: ApproveCalls,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            name: "agent".to_owned(),
            tenant: DEFAULT_TENANT.to_owned(),
            system: String::new(),
            max_iterations: 10,
            max_tool_calls: 50,
            parallel_tool_calls: 8,
            max_result_bytes: 64 * 1024,
            deadline: Duration::from_secs(600),
            approve: ApproveCalls::default(),
        }
    }
}
