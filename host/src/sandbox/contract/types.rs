//! What a component tells the host, in types of the host's own, whatever version of the contract it speaks.

use std::time::Duration;

/// A tool, as the component describes it. Every field is untrusted text or an unchecked promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolInfo {
    /// The component's own name for the tool; an operator can show another to the model.
    pub name: String,
    /// For the model: what the tool does, when to use it and what it returns.
    pub description: String,
    /// JSON Schema (draft 2020-12) as JSON text, not parsed yet.
    pub input_schema: String,
    pub annotations: Annotations,
}

/// What a tool promises about the effects of a call. The host uses it to retry, never to permit anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// A call changes nothing outside its own instance.
    pub read_only: bool,
    /// Two calls with the same input have the effect of one.
    pub idempotent: bool,
    /// A call can lose or overwrite something that a person may want back.
    pub destructive: bool,
}

/// One piece of a result. A result is a list of them in the order in which the model reads them; an empty list is a
/// success without anything to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Plain text.
    Text(String),
    /// One JSON document as text, not parsed yet.
    Json(String),
    Image(Image),
}

/// A picture in a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The type that the component claims, for example `image/png`.
    pub mime_type: String,
    /// The bytes of the file, not encoded.
    pub data: Vec<u8>,
}

/// The error that a tool chose to return; its texts are untrusted and not masked yet. Why a call failed otherwise is a
/// [`CallFailure`](crate::sandbox::CallFailure).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum ToolError {
    /// The input fits the schema and still makes no sense: the model's fault.
    InvalidInput(String),
    /// Something that the tool needs is missing right now; the same call may succeed later.
    Unavailable {
        message: String,
        /// How long the tool asks to wait before the next attempt; whole milliseconds.
        retry_after: Option<Duration>,
    },
    /// The same call would fail again.
    Failed(String),
}

impl ToolError {
    /// What the tool says about it.
    pub(in crate::sandbox) fn message(&self) -> &str {
        match self {
            Self::InvalidInput(message) | Self::Failed(message) | Self::Unavailable { message, .. } => message,
        }
    }
}
