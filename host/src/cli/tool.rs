//! `cofferdam tool …`: what the tool commands share.

use clap::Subcommand;

use super::{CliError, Context, tool_call, tool_inspect};
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::tools::ToolSet;

#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// List the tools of the configuration
    List,
    /// Show what a component asks for, and what the configuration grants it
    Inspect(tool_inspect::InspectArgs),
    /// Call a tool
    Call(tool_call::CallArgs),
}

/// The tools of a configuration, without a model, which would need a key, and without the ledger.
///
/// # Errors
/// The sandbox does not work here, or a `required` plugin does not load; one that is not is reported and left out.
pub async fn load(cx: &Context, config: &Config, narrated: bool) -> Result<ToolSet, CliError> {
    let tls = crate::tls::client_config().map_err(HostError::from)?;
    let tools = assembly::load_tools(config, None, tls).await?;
    cx.report_left_out(&tools, cx.log_level(config, narrated));
    Ok(tools)
}
