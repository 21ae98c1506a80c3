//! Tools: loads them, checks and dispatches each call, and runs it in the [sandbox](crate::sandbox). This module knows
//! nothing about agents and models.

mod answer_schema;
mod beside;
mod breakers;
mod builtin;
mod call_end;
mod call_totals;
mod content;
mod dispatch;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod integers;
mod policy;
mod problem;
mod registry;
mod schema;
mod schema_bounds;
mod settings;
mod start;
mod toolset;

pub use answer_schema::AnswerSchema;
pub use builtin::{BUILTIN_NAMES, builtin};
pub use content::{Part, Structure};
pub use dispatch::{AdmittedCall, ToolCall, ToolContext, ToolResult};
pub use policy::{ApproveCalls, Decision, ToolPolicy};
pub use problem::{LoadError, PluginError, PluginProblem, PluginWarning};
pub use registry::{Tool, is_tool_name, name_identity, open_component};
pub use settings::{ComponentSource, PluginSettings, ToolSettings};
pub use start::CallStart;
pub use toolset::ToolSet;
