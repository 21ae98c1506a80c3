//! What a tool result holds.

/// A piece of a tool result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text { text: String },
    Image(Image),
}

/// An image, encoded as every vendor's API takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Such as `image/png`.
    pub media_type: String,
    /// The file, in base64.
    pub base64: String,
}

impl Content {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}
