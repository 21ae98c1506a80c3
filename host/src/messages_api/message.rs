//! A complete answer, or the part of it that starts a stream.

use std::borrow::Cow;

use super::Usage;
use crate::json_text::Json;

/// A message without its content. The caller reads that, because only the content can be malformed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The model's id as the API reports it.
    pub(crate) model: String,
    pub(crate) stop_reason: Option<String>,
    pub(crate) stop_details: Option<StopDetails>,
    pub(crate) usage: Option<Usage>,
}

impl Message {
    pub(crate) fn read_head(message: Json<'_>) -> Self {
        let text = |name: &str| message.field(name)?.string().map(Cow::into_owned);
        Self {
            model: text("model").unwrap_or_default(),
            stop_reason: text("stop_reason"),
            stop_details: StopDetails::read(message),
            usage: message.field("usage").map(|usage| Usage::read(&usage.to_value())),
        }
    }
}

/// Why the model refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StopDetails {
    pub(crate) category: Option<String>,
    pub(crate) explanation: Option<String>,
}

impl StopDetails {
    /// Reads the details from what holds the stop reason. `None` if it has none.
    pub(crate) fn read(holder: Json<'_>) -> Option<Self> {
        let details = holder.field("stop_details").filter(|details| details.is_object())?;
        let text = |name: &str| details.field(name)?.string().map(Cow::into_owned);
        Some(Self {
            category: text("category"),
            explanation: text("explanation"),
        })
    }
}
