//! What every provider checks in an answer once it is complete.

use super::{ModelError, ModelResponse, RefusalDetails, StopReason};
use crate::events::Usage;
use crate::transcript::Block;

/// Whether the model may have been stopped in the middle of a block.
pub(super) fn may_cut_off(reason: &StopReason) -> bool {
    matches!(
        reason,
        StopReason::MaxTokens | StopReason::ContextWindowExceeded | StopReason::Refusal
    )
}

/// An answer received to its end, streamed or not.
pub(super) struct CompleteAnswer {
    pub(super) model: String,
    pub(super) stop_reason: Option<StopReason>,
    pub(super) refusal: Option<RefusalDetails>,
    /// `None` if one of the blocks isn't usable.
    pub(super) content: Option<Vec<Block>>,
    pub(super) usage: Usage,
    pub(super) request_id: Option<String>,
}

impl CompleteAnswer {
    /// Refuses answers that the agent loop can't continue from. What the API doesn't accept back is repaired when the history
    /// is sent.
    pub(super) fn check(self) -> Result<ModelResponse, ModelError> {
        let Self {
            model,
            stop_reason,
            refusal,
            content,
            usage,
            request_id,
        } = self;
        let malformed = |reason: &str| ModelError::Malformed {
            reason: reason.to_owned(),
            request_id: request_id.clone(),
        };
        let Some(stop_reason) = stop_reason else {
            return Err(malformed("the answer has no stop reason"));
        };
        let Some(mut content) = content else {
            return Err(malformed("a tool call or another block is incomplete"));
        };
        // A truncated call is never made, and nobody can answer it.
        if may_cut_off(&stop_reason) {
            content.retain(|block| !matches!(block, Block::ToolUse(call) if call.input.problem().is_some()));
        }
        // The API returns blank text blocks but refuses them when they are sent back.
        content.retain(|block| !matches!(block, Block::Text { text, .. } if text.trim().is_empty()));
        let calls = content.iter().any(|block| matches!(block, Block::ToolUse(_)));
        if stop_reason == StopReason::ToolUse && !calls {
            return Err(malformed("the stop reason is `tool_use`, but there is no tool call"));
        }
        Ok(ModelResponse {
            model,
            content,
            stop_reason,
            refusal,
            usage,
            request_id,
        })
    }
}
