//! Tool calls and their results.

use super::{Content, Opaque, ToolInput};

/// A tool call that the model requested.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    /// Unique within a conversation. The result refers to it.
    pub id: String,
    pub name: String,
    pub input: ToolInput,
    /// A vendor's additional fields, as an object.
    pub extra: Option<Opaque>,
}

/// The result of a [`ToolUse`].
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    pub tool_use_id: String,
    pub content: Vec<Content>,
    pub is_error: bool,
}
