//! The closed list of tool call outcomes, and what each means.

use serde::{Deserialize, Serialize};

/// How a tool call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    Ok,
    UnknownTool,
    InvalidInput,
    /// A policy or a person refused the call.
    Denied,
    /// The tool reported a permanent failure.
    Failed,
    /// The tool reported that it is temporarily unavailable.
    Unavailable,
    Timeout,
    OutOfFuel,
    OutOfMemory,
    StackOverflow,
    Trapped,
    InvalidOutput,
    BreakerOpen,
    Overloaded,
    Cancelled,
    /// The host failed, not the tool.
    HostError,
}

/// What an outcome says about the health of the tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    Success,
    Failure,
    /// The outcome says nothing about the tool.
    Neutral,
}

impl Outcome {
    pub const ALL: [Self; 16] = [
        Self::Ok,
        Self::UnknownTool,
        Self::InvalidInput,
        Self::Denied,
        Self::Failed,
        Self::Unavailable,
        Self::Timeout,
        Self::OutOfFuel,
        Self::OutOfMemory,
        Self::StackOverflow,
        Self::Trapped,
        Self::InvalidOutput,
        Self::BreakerOpen,
        Self::Overloaded,
        Self::Cancelled,
        Self::HostError,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::UnknownTool => "unknown_tool",
            Self::InvalidInput => "invalid_input",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::OutOfFuel => "out_of_fuel",
            Self::OutOfMemory => "out_of_memory",
            Self::StackOverflow => "stack_overflow",
            Self::Trapped => "trapped",
            Self::InvalidOutput => "invalid_output",
            Self::BreakerOpen => "breaker_open",
            Self::Overloaded => "overloaded",
            Self::Cancelled => "cancelled",
            Self::HostError => "host_error",
        }
    }

    /// How the tool's breaker counts this outcome.
    pub const fn health(self) -> Health {
        match self {
            Self::Ok => Health::Success,
            Self::Failed
            | Self::Unavailable
            | Self::Timeout
            | Self::OutOfFuel
            | Self::OutOfMemory
            | Self::StackOverflow
            | Self::Trapped
            | Self::InvalidOutput => Health::Failure,
            Self::UnknownTool
            | Self::InvalidInput
            | Self::Denied
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::Cancelled
            | Self::HostError => Health::Neutral,
        }
    }

    /// Whether a configured fallback text replaces the result. True if the tool failed or couldn't run. False for the model's
    /// own mistakes and for denied or cancelled calls.
    pub const fn allows_fallback(self) -> bool {
        matches!(self.health(), Health::Failure)
            || matches!(self, Self::BreakerOpen | Self::Overloaded | Self::HostError)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
