//! Vendor-neutral messages of a conversation. A leaf module: it imports only other leaves of this crate. Every provider adapts
//! these types to its own wire format, so they have no serialised form.

mod attachment;
mod blank;
mod block;
mod content;
mod input;
mod repair;
mod tool;

pub use self::attachment::{
    ATTACHMENT_TYPES, Attachment, AttachmentContent, MAX_ATTACHMENT_BYTES, MAX_ATTACHMENTS, is_torn, other_encoding,
    tagged,
};
pub use self::blank::is_blank;
pub use self::block::{Block, Opaque};
pub use self::content::{Content, IMAGE_TYPES, Image};
pub use self::input::ToolInput;
pub use self::repair::{Rules, identifier, repair, repair_with_positions};
pub use self::tool::{ToolResult, ToolUse};

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person, or tools that return results to the model.
    User,
    Assistant,
}

/// One message of one author.
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
