//! Parses a price table. Reports every problem, not only the first.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Deserialize;
use toml::{Spanned, Value};

use super::{Price, PriceOrigin, Tier};
use crate::money::NanoUsd;
use crate::toml_text::{TomlProblem, line_of, problem_of, read_table};

/// Prices by model id, each with its start date, newest first. `None` means no start date, and sorts as the oldest.
pub(super) type Table = BTreeMap<String, Vec<(Option<Date>, Price)>>;

/// The table's prices are per million tokens, the parsed ones per token.
pub(super) const TOKENS: u64 = 1_000_000;

/// A row as written. A price keeps its span, because only the text has all digits of a number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    from: Option<toml::value::Datetime>,
    #[serde(default)]
    above_prompt_tokens: u64,
    #[serde(default)]
    free: bool,
    input: Option<Spanned<Value>>,
    cache_write_5m: Option<Spanned<Value>>,
    cache_write_1h: Option<Spanned<Value>>,
    cache_read: Option<Spanned<Value>>,
    output: Option<Spanned<Value>>,
    source: Option<String>,
    as_of: Option<toml::value::Datetime>,
}

/// A model's rows, each with its span.
type Rows = Spanned<Vec<Spanned<Row>>>;

/// A problem, and its byte offset in the text.
struct RowProblem {
    offset: usize,
    message: String,
}

pub(super) fn parse(text: &str) -> Result<Table, Vec<String>> {
    let rows = rows(text).map_err(|problems| {
        let problems = problems.into_iter();
        problems.map(|problem| describe(text, problem)).collect::<Vec<_>>()
    })?;
    let mut problems = Vec::new();
    let mut table = Table::new();
    for (model, rows) in rows {
        match dated(&rows, text) {
            Ok(dated) => drop(table.insert(model, dated)),
            Err(found) => {
                problems.extend(found.into_iter().map(|RowProblem { offset, message }| {
                    format!("line {}: `{model}`: {message}", line_of(text, offset))
                }))
            }
        }
    }
    if problems.is_empty() { Ok(table) } else { Err(problems) }
}

fn rows(text: &str) -> Result<BTreeMap<String, Rows>, Vec<TomlProblem>> {
    let table = Spanned::new(0..text.len(), read_table(text)?);
    BTreeMap::deserialize(toml::Deserializer::from(table)).map_err(|cause| vec![problem_of(cause)])
}

fn describe(text: &str, problem: TomlProblem) -> String {
    match problem.span {
        Some(span) => format!("line {}: {}", line_of(text, span.start), problem.message),
        None => problem.message,
    }
}

/// One model's rows, sorted into dates and tiers.
fn dated(rows: &Rows, text: &str) -> Result<Vec<(Option<Date>, Price)>, Vec<RowProblem>> {
    let mut problems = Vec::new();
    let whole = |message: &str| RowProblem {
        offset: rows.span().start,
        message: message.to_owned(),
    };
    let mut tiers: BTreeMap<Option<Date>, Vec<Tier>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for row in rows.get_ref() {
        let at_row = |message: String| RowProblem {
            offset: row.span().start,
            message,
        };
        let start = date("from", row.get_ref().from).map_err(at_row);
        match (start, tier(row, text)) {
            (Ok(from), Ok(tier)) => {
                if !seen.insert((from, tier.above_prompt_tokens)) {
                    problems.push(at_row("two rows apply to the same days and prompts".to_owned()));
                }
                tiers.entry(from).or_default().push(tier);
            }
            (from, tier) => problems.extend(from.err().into_iter().chain(tier.err())),
        }
    }
    if rows.get_ref().is_empty() {
        problems.push(whole("at least one row is required"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut dated = Vec::new();
    for (from, mut tiers) in tiers.into_iter().rev() {
        tiers.sort_by_key(|tier| std::cmp::Reverse(tier.above_prompt_tokens));
        if tiers.last().is_none_or(|tier| tier.above_prompt_tokens != 0) {
            problems.push(whole("short prompts need a row without `above_prompt_tokens`"));
        }
        dated.push((from, Price { tiers: tiers.into() }));
    }
    if problems.is_empty() { Ok(dated) } else { Err(problems) }
}

fn date(name: &str, value: Option<toml::value::Datetime>) -> Result<Option<Date>, String> {
    let Some(value) = value else { return Ok(None) };
    match value.date {
        Some(_) if value.time.is_none() && value.offset.is_none() => value
            .to_string()
            .parse()
            .map(Some)
            .map_err(|error| format!("`{name}`: {error}")),
        _ => Err(format!("`{name}` must be a date such as 2026-10-07, without a time")),
    }
}

fn tier(row: &Spanned<Row>, text: &str) -> Result<Tier, RowProblem> {
    let at = |offset: usize| move |message: String| RowProblem { offset, message };
    let at_row = at(row.span().start);
    let row = row.get_ref();
    let prices = [
        &row.input,
        &row.cache_write_5m,
        &row.cache_write_1h,
        &row.cache_read,
        &row.output,
    ];
    let above_prompt_tokens = row.above_prompt_tokens;
    let origin = PriceOrigin {
        source: row.source.as_deref().map(Into::into),
        as_of: date("as_of", row.as_of).map_err(at_row)?,
    };
    if row.free {
        if prices.into_iter().any(Option::is_some) {
            return Err(at_row("a row is free or has prices, not both".to_owned()));
        }
        return Ok(Tier {
            above_prompt_tokens,
            origin,
            ..Tier::default()
        });
    }
    let optional = |name: &str, price: &Option<Spanned<Value>>| {
        let Some(price) = price else { return Ok(None) };
        let at_price = at(price.span().start);
        let price = per_token(price, text).map_err(|reason| at_price(format!("`{name}`: {reason}")))?;
        Ok(Some(price))
    };
    let required = |name: &str, price| optional(name, price)?.ok_or_else(|| at_row(format!("`{name}` is missing")));
    let input = required("input", &row.input)?;
    Ok(Tier {
        above_prompt_tokens,
        input,
        // By default, a cached token costs as much as any other.
        cache_write_5m: optional("cache_write_5m", &row.cache_write_5m)?.unwrap_or(input),
        cache_write_1h: optional("cache_write_1h", &row.cache_write_1h)?.unwrap_or(input),
        cache_read: optional("cache_read", &row.cache_read)?.unwrap_or(input),
        output: required("output", &row.output)?,
        origin,
    })
}

/// The exact price of one token.
fn per_token(price: &Spanned<Value>, text: &str) -> Result<NanoUsd, String> {
    let decimal = match price.get_ref() {
        Value::String(decimal) => decimal.as_str(),
        Value::Integer(_) | Value::Float(_) => text.get(price.span()).unwrap_or_default(),
        _ => return Err("a price must be a decimal such as 2.50".to_owned()),
    };
    let per_million: NanoUsd = decimal
        .parse()
        .map_err(|error: crate::money::MoneyError| error.to_string())?;
    if per_million.as_nanos().is_multiple_of(TOKENS) {
        Ok(NanoUsd::from_nanos(per_million.as_nanos() / TOKENS))
    } else {
        Err(format!("`{decimal}` has more than three decimals"))
    }
}
