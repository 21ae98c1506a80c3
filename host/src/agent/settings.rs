//! How a run behaves, and where it ends.

use std::time::Duration;

/// `[agent]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSettings {
    pub name: String,
    /// The system prompt; empty: none.
    pub system: String,
    /// Model calls of one run. Default 10. A call that is retried counts once.
    pub max_iterations: u32,
    /// Tool calls of one run. Default 50.
    pub max_tool_calls: u32,
    /// Tool calls of one turn that run at the same time. Default 8.
    pub parallel_tool_calls: u32,
    /// Bytes of text of one result that the model is given; the rest is cut. Default 64 KiB. Every later call pays for them
    /// again.
    pub max_result_bytes: u64,
    /// Of one run, everything included. Default 10 min.
    pub deadline: Duration,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            name: "agent".to_owned(),
            system: String::new(),
            max_iterations: 10,
            max_tool_calls: 50,
            parallel_tool_calls: 8,
            max_result_bytes: 64 * 1024,
            deadline: Duration::from_secs(600),
        }
    }
}
