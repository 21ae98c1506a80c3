//! The parts of a message.

use std::sync::Arc;

use super::{Attachment, ToolResult, ToolUse};

/// One part of a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Block {
    Text {
        text: String,
        /// A vendor's additional fields, such as citations.
        extra: Option<Opaque>,
    },
    ToolUse(ToolUse),
    ToolResult(ToolResult),
    /// A file that comes with a prompt.
    Attachment(Attachment),
    /// A block of a vendor-specific kind, such as thinking.
    Opaque(Opaque),
}

impl Block {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            extra: None,
        }
    }
}

/// Data that only one provider understands. The conversation keeps it verbatim and in place. Later requests to that provider
/// include it, and requests to other providers omit it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// The provider's name, the same in every request.
    pub provider: Arc<str>,
    /// JSON text.
    pub json: Arc<str>,
    /// The model that wrote it, as its provider distinguishes models. `None`: unknown.
    pub author: Option<Arc<str>>,
}

impl Opaque {
    pub fn new(provider: &str, json: impl Into<Arc<str>>) -> Self {
        Self {
            provider: provider.into(),
            json: json.into(),
            author: None,
        }
    }

    /// Whether `author` may have written it.
    pub fn may_be_of(&self, author: &str) -> bool {
        self.author.as_deref().is_none_or(|known| known == author)
    }

    /// The JSON text, if `provider` is the one it came from.
    pub fn json_for(&self, provider: &str) -> Option<&str> {
        (*self.provider == *provider).then_some(&*self.json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_provider_that_sent_a_block_gets_it_back() {
        let opaque = Opaque::new("a", r#"{"type": "thinking"}"#);
        assert_eq!(opaque.json_for("a"), Some(r#"{"type": "thinking"}"#));
        assert_eq!(opaque.json_for("b"), None);
    }

    #[test]
    fn what_nobody_signed_may_be_of_anybody() {
        let mut opaque = Opaque::new("a", "{}");
        assert!(opaque.may_be_of("x"));
        opaque.author = Some("x".into());
        assert!(opaque.may_be_of("x") && !opaque.may_be_of("y"));
    }
}
