//! The agent: a model that may call tools, run until it has an answer or meets a limit. The only module that knows both.

#[allow(clippy::module_inception)] // What the module is named for.
mod agent;
mod conversation;
mod given;
mod repetition;
mod report;
mod session;
mod settings;
mod step;
mod tenant;

pub use agent::{Agent, AgentParts};
pub use report::RunReport;
pub use session::{RunOptions, Session};
pub use settings::AgentSettings;
pub use tenant::{DEFAULT_TENANT, TenantNameError};
