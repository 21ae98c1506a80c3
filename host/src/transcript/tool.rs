//! Calls of tools, and what came of them.

use super::{Content, Opaque, ToolInput};

/// A model's wish to call a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolUse {
    /// Unique in a conversation; the result names it.
    pub id: String,
    pub name: String,
    pub input: ToolInput,
    /// What a vendor adds to its calls.
    pub extra: Option<Opaque>,
}

/// The answer to a [`ToolUse`].
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    pub tool_use_id: String,
    pub content: Vec<Content>,
    pub is_error: bool,
}
