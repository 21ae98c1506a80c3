//! The host's own types for the contract, independent of its version.

use std::time::Duration;

use crate::untrusted::Untrusted;

/// A tool, as the component describes it. Every field is untrusted text or an unchecked promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolInfo {
    /// The component's own name for the tool; an operator can show another to the model.
    pub name: Untrusted,
    /// For the model: what the tool does, when to use it and what it returns.
    pub description: Untrusted,
    /// JSON Schema (draft 2020-12) as JSON text, not parsed yet.
    pub input_schema: String,
    /// JSON Schema of a successful result, which then is one JSON document or, for a string, one text. `None` if nothing is
    /// known about it.
    pub output_schema: Option<String>,
    pub annotations: Annotations,
}

/// What a tool promises about the effects of a call. The host uses it to retry, never to permit anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// A call changes nothing outside its own instance.
    pub read_only: bool,
    /// Two calls with the same input have the effect of one.
    pub idempotent: bool,
    /// A call can delete or overwrite something that a person could want back.
    pub destructive: bool,
}

/// One piece of a result. A result is a list of them, in the order in which the model reads them. An empty list is a success
/// without output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// One JSON document as text, not parsed yet.
    Json(String),
    Image(Image),
}

/// An image in a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The type that the component claims, for example `image/png`.
    pub mime_type: String,
    /// The bytes of the file, not encoded.
    pub data: Vec<u8>,
}

/// An error that a tool returned. Its texts are untrusted and not masked yet. For other failures of a call, see
/// [`CallFailure`](crate::sandbox::CallFailure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum ToolError {
    /// The input fits the schema but is still invalid. The model can correct it.
    InvalidInput(String),
    /// Something that the tool needs is unavailable right now. The same call can succeed later.
    Unavailable {
        message: String,
        /// How long to wait before the next attempt, in whole milliseconds.
        retry_after: Option<Duration>,
    },
    /// The same call would fail again.
    Failed(String),
    /// As [`Self::Failed`], but an answer like "not found", which says nothing about the tool's health.
    Rejected(String),
}

impl ToolError {
    /// The tool's own message.
    pub(in crate::sandbox) fn message(&self) -> &str {
        match self {
            Self::InvalidInput(message)
            | Self::Failed(message)
            | Self::Rejected(message)
            | Self::Unavailable { message, .. } => message,
        }
    }
}
