//! What was spent, by what it was spent on.

use serde::Serialize;

use crate::money::NanoUsd;

/// What to add amounts up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpendingBy {
    Tenant,
    Session,
    Model,
    /// The UTC day that an attempt counts for.
    Day,
    /// Attempts whose answer called the tool, as far as their sessions are kept. Tools themselves cost nothing here. An answer that
    /// calls two tools counts for both, so these amounts don't add up to a total.
    Tool,
}

/// Which attempts to add up.
#[derive(Clone, Debug)]
pub struct SpendingFilter {
    pub by: SpendingBy,
    /// `None`: all tenants'.
    pub tenant: Option<String>,
    /// From this UTC day on, as `YYYY-MM-DD`; `None`: all.
    pub since: Option<String>,
    /// The most lines.
    pub count: u32,
}

/// A line of the sums. What it isn't added up by is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spending {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Calls of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<u64>,
    /// The prompts whose tokens the API reported, by model, and what was estimated for them before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_prompt_tokens: Option<u64>,
    /// Without those that were released.
    pub attempts: u64,
    /// Less what was taken back.
    pub spent_usd: NanoUsd,
    pub reserved_usd: NanoUsd,
}
