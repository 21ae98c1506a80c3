//! `cofferdam tool …`: code shared by the tool commands.

use clap::Subcommand;

use super::{CliError, Context, tool_build, tool_call, tool_check, tool_dev, tool_inspect, tool_list, tool_new};
use crate::assembly::{self, HostError};
use crate::config::Config;
use crate::tools::ToolSet;

#[derive(Debug, Subcommand)]
pub enum ToolCommand {
    /// List the configured tools, or those of a component
    List(tool_list::ListArgs),
    /// Show the tools of a component, what it imports, and what the configuration grants it
    Inspect(tool_inspect::InspectArgs),
    /// Call a tool
    Call(tool_call::CallArgs),
    /// Create a project for a new tool
    New(tool_new::NewArgs),
    /// Build the component of a project
    Build(tool_build::BuildArgs),
    /// Check a component before you install or publish it
    Check(tool_check::CheckArgs),
    /// Build a project whenever it changes, and call its tools at a prompt
    Dev(tool_dev::DevArgs),
}

/// Loads the tools of a configuration, without the ledger, and without a model, which would need a key.
///
/// # Errors
/// The sandbox does not work here, or something is wrong with a `required` plugin. What is wrong with other plugins is
/// reported and left out.
pub async fn load(cx: &Context, config: &Config, progress_shown: bool) -> Result<ToolSet, CliError> {
    let tools = load_silently(config).await?;
    cx.report_left_out(config, &tools, cx.log_level(config, progress_shown));
    Ok(tools)
}

pub async fn load_silently(config: &Config) -> Result<ToolSet, CliError> {
    let tls = crate::tls::client_config().map_err(HostError::from)?;
    Ok(assembly::load_tools(config, None, tls).await?)
}
