//! What a row came to, as `host/docs/failures.md` shows it.

use std::fmt::Write;
use std::ops::RangeInclusive;

use cofferdam::events::Ending;

use super::fault::{BACKOFF, Money};

pub(super) struct Row {
    pub(super) name: String,
    pub(super) attempts: u64,
    /// Each with what is right for it, in milliseconds.
    pub(super) delays: Vec<(u64, RangeInclusive<u64>)>,
    /// `None` for a delay that wasn't waited for.
    pub(super) ending: Option<Ending>,
    /// Of the error. Empty without one.
    pub(super) kind: String,
    /// Of each attempt.
    pub(super) money: Vec<Money>,
    /// What the user reads.
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// The rows as a table in Markdown.
pub(super) fn table(rows: &[Row]) -> String {
    let mut table =
        "| sent | attempts | delays | outcome | it costs | the user reads |\n|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        let outcome = match (row.ending, row.kind.as_str()) {
            (None, _) => "the answer to the next attempt".to_owned(),
            (Some(ending), kind) if kind.is_empty() || kind == ending.to_string() => format!("`{ending}`"),
            (Some(ending), kind) => format!("`{ending}`: `{kind}`"),
        };
        let delays: Vec<String> = row.delays.iter().map(|(found, right)| delay(*found, right)).collect();
        writeln!(
            table,
            "| {} | {} | {} | {outcome} | {} | {} |",
            cell(&row.name),
            row.attempts,
            delays.join(", "),
            money(&row.money),
            words(row),
        )
        .unwrap();
    }
    table
}

fn words(row: &Row) -> String {
    let hint = row.hint.iter().map(|hint| format!("hint: {}", cell(hint)));
    match row.ending {
        Some(_) => [cell(&row.message)]
            .into_iter()
            .chain(hint)
            .collect::<Vec<_>>()
            .join("<br>"),
        None => String::new(),
    }
}

fn delay(found: u64, right: &RangeInclusive<u64>) -> String {
    const DOUBLED: u64 = 2 * BACKOFF;
    let time = |millis: u64| match millis {
        millis if millis % 1_000 == 0 => format!("{} s", millis / 1_000),
        millis => format!("{millis} ms"),
    };
    match found {
        _ if right.start() != right.end() => format!("{} to {}", time(*right.start()), time(*right.end())),
        BACKOFF => "d".to_owned(),
        DOUBLED => "2 d".to_owned(),
        found => time(found),
    }
}

fn money(attempts: &[Money]) -> String {
    let word = |money: &Money| match money {
        Money::Released => "nothing",
        Money::Exact => "exact",
        Money::Full | Money::Charged => "in full",
    };
    let mut words: Vec<&str> = attempts.iter().map(word).collect();
    words.dedup();
    words.join(", then ")
}

/// A text that a table can hold.
fn cell(text: &str) -> String {
    let escaped = text.replace('|', "\\|").replace('<', "&lt;");
    escaped.split_whitespace().collect::<Vec<_>>().join(" ")
}
