//! `cofferdam tool …`: code shared by the tool commands.

use clap::Subcommand;

use super::{CliError, Context, tool_call, tool_inspect};
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::tools::ToolSet;

#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// List the configured tools
    List,
    /// Show what a component imports, and what the configuration grants it
    Inspect(tool_inspect::InspectArgs),
    /// Call a tool
    Call(tool_call::CallArgs),
}

/// Loads the tools of a configuration, without the ledger, and without a model, which would need a key.
///
/// # Errors
/// The sandbox does not work here, or a `required` plugin can't be loaded. Other plugins that can't be loaded are reported
/// and skipped.
pub async fn load(cx: &Context, config: &Config, progress_shown: bool) -> Result<ToolSet, CliError> {
    let tls = crate::tls::client_config().map_err(HostError::from)?;
    let tools = assembly::load_tools(config, None, tls).await?;
    cx.report_skipped_plugins(&tools, cx.log_level(config, progress_shown));
    Ok(tools)
}
