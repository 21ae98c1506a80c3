//! The rows of a price table, for people and programs to read.

use jiff::civil::Date;
use serde::Serialize;

use super::Tier;
use super::table::{TOKENS, Table};
use crate::money::NanoUsd;

/// One row, under the names of the table's file. Prices are exact decimals in US dollars per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PriceRow {
    pub model: String,
    /// The first UTC day on which it applies; `None`: no limit.
    pub from: Option<Date>,
    /// The first UTC day on which it no longer applies; `None`: no limit.
    pub until: Option<Date>,
    /// It applies to longer prompts than this. 0: to every prompt that no other row applies to.
    pub above_prompt_tokens: u64,
    pub input: String,
    pub output: String,
    pub cache_write_5m: String,
    pub cache_write_1h: String,
    pub cache_read: String,
    /// Where the prices were read.
    pub source: Option<String>,
    /// When they were read.
    pub as_of: Option<Date>,
}

impl PriceRow {
    fn new(model: &str, from: Option<Date>, until: Option<Date>, tier: &Tier) -> Self {
        Self {
            model: model.to_owned(),
            from,
            until,
            above_prompt_tokens: tier.above_prompt_tokens,
            input: per_million(tier.input),
            output: per_million(tier.output),
            cache_write_5m: per_million(tier.cache_write_5m),
            cache_write_1h: per_million(tier.cache_write_1h),
            cache_read: per_million(tier.cache_read),
            source: tier.origin.source.as_deref().map(str::to_owned),
            as_of: tier.origin.as_of,
        }
    }
}

pub(super) fn rows(table: &Table) -> Vec<PriceRow> {
    let mut rows = Vec::new();
    for (model, dated) in table {
        for (position, (from, price)) in dated.iter().enumerate().rev() {
            // Newest first, so the one before is the next.
            let next = position.checked_sub(1).and_then(|next| dated.get(next));
            let until = next.and_then(|(from, _)| *from);
            let tiers = price.tiers.iter().rev();
            rows.extend(tiers.map(|tier| PriceRow::new(model, *from, until, tier)));
        }
    }
    rows
}

/// At least two decimals, and a third one where it isn't zero.
fn per_million(token: NanoUsd) -> String {
    let exact = token.saturating_mul(TOKENS).exact();
    let (whole, decimals) = exact.split_once('.').unwrap_or((&exact, ""));
    format!("{whole}.{:0<2}", decimals.trim_end_matches('0'))
}
