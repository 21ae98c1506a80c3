//! The tokens that an answer used.

use serde::{Deserialize, Serialize};

/// Token counts by kind, as the API bills them. `input_tokens` counts only uncached input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_5m_input_tokens: u64,
    pub cache_creation_1h_input_tokens: u64,
    pub cache_read_input_tokens: u64,
}

impl Usage {
    pub const fn cache_creation_input_tokens(&self) -> u64 {
        self.cache_creation_5m_input_tokens
            .saturating_add(self.cache_creation_1h_input_tokens)
    }

    /// The length of the prompt, which selects the tier of tiered prices.
    pub const fn prompt_tokens(&self) -> u64 {
        self.input_tokens
            .saturating_add(self.cache_creation_input_tokens())
            .saturating_add(self.cache_read_input_tokens)
    }

    /// Whether it has at least as much of each kind.
    pub(crate) const fn covers(&self, other: &Self) -> bool {
        self.input_tokens >= other.input_tokens
            && self.output_tokens >= other.output_tokens
            && self.cache_creation_input_tokens() >= other.cache_creation_input_tokens()
            && self.cache_read_input_tokens >= other.cache_read_input_tokens
    }

    pub const fn add(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cache_creation_5m_input_tokens: self
                .cache_creation_5m_input_tokens
                .saturating_add(other.cache_creation_5m_input_tokens),
            cache_creation_1h_input_tokens: self
                .cache_creation_1h_input_tokens
                .saturating_add(other.cache_creation_1h_input_tokens),
            cache_read_input_tokens: self
                .cache_read_input_tokens
                .saturating_add(other.cache_read_input_tokens),
        }
    }
}
