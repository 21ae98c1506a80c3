//! The agent: a model that may call tools, run until it has an answer or meets a limit. The only module that knows both.

mod conversation;
mod ending;
mod given;
mod host;
mod repetition;
mod report;
mod session;
mod settings;
mod step;
mod tenant;

pub use ending::Ending;
pub use host::{Host, HostBuilder, HostError, load_tools, open_sandbox};
pub use report::RunReport;
pub use session::{RunOptions, Session};
pub use settings::AgentSettings;
pub use tenant::{DEFAULT_TENANT, TenantNameError};
