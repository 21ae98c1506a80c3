//! Token usage as an answer reports it.

use crate::json_text::Json;

/// Any figure may be missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Includes `cached_tokens`.
    pub(crate) prompt_tokens: Option<u64>,
    pub(crate) completion_tokens: Option<u64>,
    /// At some vendors more than the sum of the two above: they don't count reasoning as part of the completion.
    pub(crate) total_tokens: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
}

impl Usage {
    pub(crate) fn largest_figure(&self) -> u64 {
        let all = [
            self.prompt_tokens,
            self.completion_tokens,
            self.total_tokens,
            self.cached_tokens,
        ];
        all.into_iter().flatten().max().unwrap_or(0)
    }

    /// `None` for anything but an object.
    pub(crate) fn read(usage: Json<'_>) -> Option<Self> {
        let figure = |name: &str| usage.field(name).and_then(Json::integer);
        let details = usage.field("prompt_tokens_details");
        usage.is_object().then(|| Self {
            prompt_tokens: figure("prompt_tokens"),
            completion_tokens: figure("completion_tokens"),
            total_tokens: figure("total_tokens"),
            // DeepSeek has a name of its own.
            cached_tokens: details
                .and_then(|details| details.field("cached_tokens")?.integer())
                .or_else(|| figure("prompt_cache_hit_tokens")),
        })
    }
}
