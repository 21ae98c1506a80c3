//! What was said in a conversation, in the words of no vendor. A leaf: it imports nothing of ours, and every provider has an
//! adapter between these types and its own wire format, so nothing here has a serialised form.

mod block;
mod content;
mod input;
mod tool;

pub use self::block::{Block, Opaque};
pub use self::content::{Content, Image};
pub use self::input::ToolInput;
pub use self::tool::{ToolResult, ToolUse};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person, and the tools that answer the model.
    User,
    Assistant,
}

/// One turn of one speaker.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Block>,
}

impl Message {
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: vec![Block::text(text)],
        }
    }
}
