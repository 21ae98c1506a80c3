//! Who decides about a call before any code of the tool runs: the embedder's policy, and where it or the operator wants it, a person.

use serde_json::Value;

use super::registry::Tool;
use crate::sandbox::Effects;

/// Which calls wait for a person. `[agent] approve`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApproveCalls {
    Never,
    /// Calls of tools that the operator or the component calls destructive.
    #[default]
    Destructive,
    /// These, and calls of tools whose grants let them change something, unless the operator calls the tool read-only.
    Writes,
    Always,
}

impl ApproveCalls {
    pub const ALL: [Self; 4] = [Self::Never, Self::Destructive, Self::Writes, Self::Always];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Destructive => "destructive",
            Self::Writes => "writes",
            Self::Always => "always",
        }
    }

    /// Whether a call of the tool waits for a person.
    pub fn asks_for(self, tool: &Tool) -> bool {
        self.asks(
            tool.annotations.destructive,
            tool.effects(),
            tool.operator_says_read_only,
        )
    }

    fn asks(self, is_destructive: bool, effects: Effects, operator_says_read_only: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Destructive => is_destructive,
            Self::Writes => is_destructive || (effects == Effects::Writes && !operator_says_read_only),
            Self::Always => true,
        }
    }
}

/// A policy's decision about a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// The model reads the reason, so that it knows that a retry won't help.
    Deny(String),
    /// A person decides. Where none can be asked, the run waits; clients of an MCP server are refused.
    Ask,
}

/// Allows or denies calls, or has a person decide. It can't waive an approval that `[agent] approve` requires.
///
/// Consulted for every call whose input is valid. `decide` must not block.
pub trait ToolPolicy: std::fmt::Debug + Send + Sync + 'static {
    /// The policy's name, as the model reads it in a denial.
    fn name(&self) -> &str;

    fn decide(&self, tenant: &str, tool: &Tool, input: &Value) -> Decision;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_asks_for_its_calls() {
        let asking = |is_destructive, effects, is_read_only| {
            ApproveCalls::ALL.map(|setting| u8::from(setting.asks(is_destructive, effects, is_read_only)))
        };
        for effects in [Effects::None, Effects::Reads] {
            assert_eq!(asking(false, effects, false), [0, 0, 0, 1]);
            assert_eq!(asking(true, effects, false), [0, 1, 1, 1]);
        }
        assert_eq!(asking(false, Effects::Writes, false), [0, 0, 1, 1]);
        assert_eq!(asking(false, Effects::Writes, true), [0, 0, 0, 1]);
        assert_eq!(asking(true, Effects::Writes, true), [0, 1, 1, 1]);
    }
}
