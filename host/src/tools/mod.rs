//! Tools: loads them, checks and dispatches each call, and runs it in the [sandbox](crate::sandbox). This module knows
//! nothing about agents and models.

mod breakers;
mod builtin;
mod content;
mod dispatch;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod policy;
mod registry;
mod schema;
mod schema_bounds;
mod settings;
mod toolset;

pub use builtin::{BUILTIN_NAMES, builtin};
pub use content::Part;
pub use dispatch::{ToolCall, ToolContext, ToolResult};
pub use policy::{Decision, ToolPolicy};
pub use registry::{PluginError, PluginProblem, Tool, is_tool_name, read_component};
pub use settings::{ComponentSource, PluginSettings, ToolSettings};
pub use toolset::{LoadError, ToolSet};
