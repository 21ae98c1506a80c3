//! How a run ended.

use serde::{Deserialize, Serialize};

/// Every run ends with exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The model finished its answer.
    Completed,
    MaxIterations,
    MaxToolCalls,
    DeadlineExceeded,
    /// The model called the same tool five times in a row, with the same input and the same outcome.
    LoopDetected,
    /// A call needs a person's approval, and nobody was there to give it. The run goes on once somebody has decided and the session
    /// is resumed.
    AwaitingApproval,
    /// The host's ledger refused an attempt.
    BudgetExceeded,
    /// The answer hit `max_tokens`.
    Truncated,
    /// The model declined.
    Refused,
    ContextOverflow,
    ModelFailed,
    Cancelled,
}

impl Ending {
    pub const ALL: [Self; 12] = [
        Self::Completed,
        Self::MaxIterations,
        Self::MaxToolCalls,
        Self::DeadlineExceeded,
        Self::LoopDetected,
        Self::AwaitingApproval,
        Self::BudgetExceeded,
        Self::Truncated,
        Self::Refused,
        Self::ContextOverflow,
        Self::ModelFailed,
        Self::Cancelled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::MaxIterations => "max_iterations",
            Self::MaxToolCalls => "max_tool_calls",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::LoopDetected => "loop_detected",
            Self::AwaitingApproval => "awaiting_approval",
            Self::BudgetExceeded => "budget_exceeded",
            Self::Truncated => "truncated",
            Self::Refused => "refused",
            Self::ContextOverflow => "context_overflow",
            Self::ModelFailed => "model_failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The process's exit code for a run with this ending. Code 2 isn't used here: it means that no run started.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Truncated | Self::Refused | Self::ContextOverflow | Self::ModelFailed => 1,
            Self::BudgetExceeded => 3,
            Self::MaxIterations
            | Self::MaxToolCalls
            | Self::DeadlineExceeded
            | Self::LoopDetected
            | Self::AwaitingApproval => 4,
            Self::Cancelled => 130,
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
