//! The price table: `prices.toml`, which describes its own format, or an operator's file that replaces it.

mod listing;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use crate::events::Usage;
use crate::messages_api::CacheTtl;
use crate::money::{NanoUsd, NanoUsdDifference};
use crate::near::nearest;
pub use listing::PriceRow;
use table::Table;

/// Every known price, by exact model id.
#[derive(Clone, Debug)]
pub struct Prices {
    table: Arc<Table>,
    is_builtin: bool,
}

/// Why a price table can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PriceError {
    #[error("the price table {} can't be read", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// Every problem found, one per entry.
    #[error("the price table {} is not valid{}", .path.display(), lines(.problems))]
    Invalid { path: PathBuf, problems: Vec<String> },
}

fn lines(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

impl PriceError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check `[budget] prices`; leave it out for the built-in table",
            Self::Invalid { .. } => {
                "`cofferdam budget prices --toml` prints the built-in table, which describes the format at its top"
            }
        }
    }
}

impl Prices {
    /// The built-in table, as text.
    pub const BUILTIN: &'static str = include_str!("prices.toml");

    /// The built-in table.
    pub fn builtin() -> Self {
        // A test checks that it parses. If it didn't, no model would have a price, and a budget would refuse every call.
        Self {
            table: Arc::new(table::parse(Self::BUILTIN).unwrap_or_default()),
            is_builtin: true,
        }
    }

    /// The table in the file that `[budget] prices` names, else the built-in one.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub fn configured(file: Option<&Path>) -> Result<Self, PriceError> {
        file.map_or_else(|| Ok(Self::builtin()), Self::load)
    }

    /// The table in a file, which replaces the built-in one as a whole.
    ///
    /// # Errors
    ///
    /// The file can't be read, or is invalid. All its problems are reported together.
    pub fn load(path: &Path) -> Result<Self, PriceError> {
        let text = fs::read_to_string(path).map_err(|source| PriceError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::of_text(&text, path)
    }

    /// A table in the format of that file, for a program that has it elsewhere.
    ///
    /// # Errors
    ///
    /// It is invalid. All problems are reported together.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        Self::of_text(text, Path::new("of the program"))
    }

    fn of_text(text: &str, path: &Path) -> Result<Self, PriceError> {
        match table::parse(text) {
            Ok(table) => Ok(Self {
                table: Arc::new(table),
                is_builtin: false,
            }),
            Err(problems) => Err(PriceError::Invalid {
                path: path.to_owned(),
                problems,
            }),
        }
    }

    /// The price of a model on a UTC day, by its exact id, else by its id without a date suffix (`-YYYYMMDD`). `None` means
    /// that the price is unknown, not that the model is free.
    pub fn find(&self, model: &str, on: Date) -> Option<Price> {
        let dated = self.table.get(model).or_else(|| self.table.get(without_date(model)?))?;
        // Newest first, so the first one that has started applies.
        dated
            .iter()
            .find(|(from, _)| from.is_none_or(|from| from <= on))
            .map(|(_, price)| price.clone())
    }

    /// Every row of the table: sorted by model, older rows and shorter prompts first.
    pub fn rows(&self) -> Vec<PriceRow> {
        listing::rows(&self.table)
    }

    /// The model of the table whose id differs from this one by a typing error.
    pub fn nearest(&self, model: &str) -> Option<String> {
        let ids = self.table.keys().map(String::as_str);
        nearest(model, ids).map(str::to_owned)
    }

    /// How to go on where a model has no price: the id that may have been meant, and the line to add to the table.
    pub fn hint_for(&self, model: &str) -> String {
        let meant = self.nearest(model).map(|id| format!("did you mean `{id}`? Otherwise "));
        let table = match self.is_builtin {
            true => {
                "a price table of your own: `cofferdam budget prices --toml > prices.toml` begins one, and `[budget] prices` names it"
            }
            false => "the price table that `[budget] prices` names",
        };
        format!(
            "{}add `{}` to {table}. A model that costs nothing has `free = true` in the braces",
            meant.unwrap_or_default(),
            Self::line_to_add(model)
        )
    }

    /// A template line for the price table that gives `model` a price, for a person to fill in.
    pub fn line_to_add(model: &str) -> String {
        let key = toml::Value::from(model);
        format!("{key} = [{{ input = \"$ PER MILLION TOKENS\", output = \"$ PER MILLION TOKENS\" }}]")
    }
}

fn without_date(model: &str) -> Option<&str> {
    let (name, date) = model.rsplit_once('-')?;
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// What one model costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// Longest prompts first. The last tier applies to every prompt.
    tiers: Arc<[Tier]>,
}

/// Prices for prompts above a length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tier {
    above_prompt_tokens: u64,
    /// Per token, like all following prices.
    input: NanoUsd,
    cache_write_5m: NanoUsd,
    cache_write_1h: NanoUsd,
    cache_read: NanoUsd,
    output: NanoUsd,
    origin: PriceOrigin,
}

/// Where the prices of a row were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct PriceOrigin {
    source: Option<Arc<str>>,
    as_of: Option<Date>,
}

impl Tier {
    const fn covers(&self, prompt_tokens: u64) -> bool {
        self.above_prompt_tokens == 0 || prompt_tokens > self.above_prompt_tokens
    }

    /// The highest price of a token of a prompt that the API caches for so long, if at all.
    fn dearest_input(&self, cached_for: Option<CacheTtl>) -> NanoUsd {
        let written = match cached_for {
            None => NanoUsd::ZERO,
            Some(CacheTtl::FiveMinutes) => self.cache_write_5m,
            Some(CacheTtl::OneHour) => self.cache_write_1h,
        };
        self.input.max(written).max(self.cache_read)
    }

    /// The price of a token of a prompt that is read again.
    const fn reread(&self, cached_for: Option<CacheTtl>) -> NanoUsd {
        match cached_for {
            None => self.input,
            Some(_) => self.cache_read,
        }
    }
}

impl Price {
    pub(crate) fn is_free(&self) -> bool {
        self.worst_case(1, 1, None) == NanoUsd::ZERO
    }

    /// The cost of this usage. Saturates, so an absurd usage is unaffordable rather than free.
    pub fn cost(&self, usage: &Usage) -> NanoUsd {
        let prompt_tokens = usage.prompt_tokens();
        let Some(tier) = self.tiers.iter().find(|tier| tier.covers(prompt_tokens)) else {
            return NanoUsd::MAX;
        };
        [
            tier.input.saturating_mul(usage.input_tokens),
            tier.cache_write_5m.saturating_mul(usage.cache_creation_5m_input_tokens),
            tier.cache_write_1h.saturating_mul(usage.cache_creation_1h_input_tokens),
            tier.cache_read.saturating_mul(usage.cache_read_input_tokens),
            tier.output.saturating_mul(usage.output_tokens),
        ]
        .into_iter()
        .sum()
    }

    /// What prompt caching saved: the cost of this usage if every token of the prompt were plain input, less its cost. Negative if
    /// more was paid for writing to the cache than reading from it saved.
    pub fn cache_savings(&self, usage: &Usage) -> NanoUsdDifference {
        let uncached = Usage {
            input_tokens: usage.prompt_tokens(),
            output_tokens: usage.output_tokens,
            ..Usage::default()
        };
        self.cost(&uncached).minus(self.cost(usage))
    }

    /// The maximum cost of a request with at most `prompt_tokens` of prompt and `max_tokens` of answer. Every prompt token
    /// counts at the highest price that could apply (a write to the cache that keeps it for `cached_for`, a shorter prompt's tier),
    /// every answer token at the highest output price.
    pub fn worst_case(&self, prompt_tokens: u64, max_tokens: u64, cached_for: Option<CacheTtl>) -> NanoUsd {
        self.worst_case_with_searches(prompt_tokens, 0, max_tokens, cached_for)
    }

    /// The same if the API reads the prompt again for each of so many searches within the answer: from its cache if it keeps prompts
    /// there, else as input.
    pub fn worst_case_with_searches(
        &self,
        prompt_tokens: u64,
        searches: u64,
        max_tokens: u64,
        cached_for: Option<CacheTtl>,
    ) -> NanoUsd {
        let reread_tokens = prompt_tokens.saturating_mul(searches);
        let read_tokens = prompt_tokens.saturating_add(reread_tokens);
        let cost = |tokens: u64, price: &dyn Fn(&Tier) -> NanoUsd| {
            let possible = self.tiers.iter().filter(|tier| tier.covers(read_tokens));
            let highest = possible.map(price).max().unwrap_or(NanoUsd::MAX);
            highest.saturating_mul(tokens)
        };
        cost(prompt_tokens, &|tier| tier.dearest_input(cached_for))
            .saturating_add(cost(reread_tokens, &|tier| tier.reread(cached_for)))
            .saturating_add(cost(max_tokens, &|tier| tier.output))
    }
}

#[cfg(test)]
mod tests;
