//! `budget prices`: the known models with their prices.

use serde_json::json;

use super::MAX_CELL_CHARS;
use crate::cli::table::{Column, Table};
use crate::cli::{CliError, Context, Output, format};
use crate::config::Config;
use crate::model::{PriceRow, Prices};

pub(super) fn show(cx: &Context, config: &Config, toml: bool) -> Result<u8, CliError> {
    if toml {
        cx.stdout.write(Prices::BUILTIN);
        return Ok(0);
    }
    let (prices, table) = match &config.budget.prices {
        Some(path) => (Prices::load(path)?, path.display().to_string()),
        None => (Prices::builtin(), "built-in".to_owned()),
    };
    let rows = prices.rows();
    match cx.global.output {
        Output::Text => cx.stdout.write(&price_table(&rows)),
        Output::Json => cx.stdout.json_pretty(&json!({ "table": table, "prices": rows })),
        Output::StreamJson => rows.iter().for_each(|row| cx.stdout.json_line(row)),
    }
    Ok(0)
}

fn price_table(rows: &[PriceRow]) -> String {
    let mut table = Table::new([
        Column::Left("model"),
        Column::Right("input"),
        Column::Right("output"),
        Column::Right("5m write"),
        Column::Right("1h write"),
        Column::Right("cache read"),
        Column::Left("applies"),
        Column::Left("as of"),
        Column::Left("source"),
    ]);
    for row in rows {
        table.row([
            format::one_line(&row.model, MAX_CELL_CHARS),
            row.input.clone(),
            row.output.clone(),
            row.cache_write_5m.clone(),
            row.cache_write_1h.clone(),
            row.cache_read.clone(),
            applies(row),
            row.as_of.map_or_else(|| "-".to_owned(), |date| date.to_string()),
            format::one_line(row.source.as_deref().unwrap_or("-"), MAX_CELL_CHARS),
        ]);
    }
    table.render()
}

fn applies(row: &PriceRow) -> String {
    let prompts = (row.above_prompt_tokens > 0)
        .then(|| format!("prompts over {} tokens", format::count(row.above_prompt_tokens)));
    let from = row.from.map(|date| format!("from {date}"));
    let until = row.until.map(|date| format!("before {date}"));
    let parts: Vec<String> = [prompts, from, until].into_iter().flatten().collect();
    if parts.is_empty() {
        "always".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_prices_says_when_each_row_applies() {
        let table = price_table(&Prices::builtin().rows());
        for words in [
            "before 2026-10-07",
            "from 2026-10-07",
            "prompts over 100,000 tokens",
            "2026-11-28",
            "0.625",
        ] {
            assert!(table.contains(words), "{words}:\n{table}");
        }
    }
}
