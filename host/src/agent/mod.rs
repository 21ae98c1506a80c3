//! The agent loop: calls the model and runs its tool calls until there is an answer or a limit is reached. The only module that
//! imports both `model` and `tools`.

#[allow(clippy::module_inception)] // `Agent` is the module's main type.
mod agent;
mod answer_format;
mod approval;
mod consequences;
mod decisions;
mod differences;
mod explain;
mod gate;
#[cfg(test)]
mod history_tests;
mod journal;
mod known_tools;
mod missing_tools;
mod outbox;
mod report;
mod run;
mod session;
mod settings;
mod step;
mod tenant;
mod tool_result;

pub(crate) use agent::WeakAgent;
pub use agent::{Agent, AgentParts, definitions};
pub use approval::{Answer, Approver, Question};
pub use report::{LeftOut, RunReport};
pub use session::{RunOptions, Session};
pub use settings::AgentSettings;
pub use tenant::{DEFAULT_TENANT, SessionNameError, TenantNameError, check_tenant};
