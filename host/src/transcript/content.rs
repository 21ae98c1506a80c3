//! The content of a tool result.

/// A piece of a tool result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text { text: String },
    Image(Image),
}

/// The types of images that all vendors' APIs accept.
pub const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// An image in the encoding that all vendors' APIs accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// For example `image/png`.
    pub media_type: String,
    /// The file, in base64.
    pub base64: String,
}

impl Content {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}
