//! `cofferdam usage`: what tool calls used, by tenant, plugin, tool or day.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::table::{Column, Table};
use super::{CliError, Context, Output, books, format};
use crate::session::UsageRow;
use crate::store::UsageFilter;

/// The maximum width of a name, in characters.
const MAX_NAME_CHARS: usize = 40;

#[derive(Args, Debug)]
pub struct UsageArgs {
    /// What to add the calls up by; may be repeated [default: tool]
    #[arg(long, value_enum, value_name = "WHAT")]
    by: Vec<By>,
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only calls of this day (UTC) and later, such as 2026-11-29
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    since: Option<String>,
    /// Only calls of this day (UTC) and earlier
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    until: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum By {
    Day,
    Tenant,
    Plugin,
    Tool,
}

impl By {
    const ALL: [Self; 4] = [Self::Day, Self::Tenant, Self::Plugin, Self::Tool];

    const fn heading(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Tenant => "tenant",
            Self::Plugin => "plugin",
            Self::Tool => "tool",
        }
    }

    fn of(self, row: &UsageRow) -> &str {
        match self {
            Self::Day => &row.day,
            Self::Tenant => &row.tenant,
            Self::Plugin => &row.plugin,
            Self::Tool => &row.tool,
        }
    }
}

fn parse_day(text: &str) -> Result<String, String> {
    let day = text.parse::<jiff::civil::Date>();
    day.map(|day| day.to_string())
        .map_err(|_| "write a day as 2026-11-29".to_owned())
}

pub async fn usage(cx: &Context, args: UsageArgs) -> Result<u8, CliError> {
    let filter = UsageFilter {
        tenant: args.tenant,
        since: args.since,
        until: args.until,
    };
    let (store, _logging) = books::open_and_say(cx, &cx.config()?, true).await?;
    let rows = store.usage(filter).await?;
    let by: Vec<By> = match args.by.is_empty() {
        true => vec![By::Tool],
        false => By::ALL.into_iter().filter(|by| args.by.contains(by)).collect(),
    };
    let sums = summed(&rows, &by);
    match cx.global.output {
        Output::Json => cx
            .stdout
            .json_pretty(&sums.iter().map(|sum| json(sum, &by)).collect::<Vec<_>>()),
        Output::StreamJson => sums.iter().for_each(|sum| cx.stdout.json_line(&json(sum, &by))),
        Output::Text if sums.is_empty() => cx.note("No tool call of a kept session has been counted."),
        Output::Text => cx.stdout.write(&table(&sums, &by).render_within(cx.stdout.width())),
    }
    Ok(0)
}

/// One row for all that agree in `by`.
fn summed(rows: &[UsageRow], by: &[By]) -> Vec<UsageRow> {
    let mut sums: BTreeMap<Vec<&str>, UsageRow> = BTreeMap::new();
    for row in rows {
        let key = by.iter().map(|by| by.of(row)).collect();
        match sums.get_mut(&key) {
            Some(sum) => sum.add(row),
            None => _ = sums.insert(key, row.clone()),
        }
    }
    sums.into_values().collect()
}

/// Without the names that it isn't summed by: they are only those of the first row.
fn json(sum: &UsageRow, by: &[By]) -> serde_json::Value {
    let mut json = serde_json::json!(sum);
    for left_out in By::ALL.into_iter().filter(|name| !by.contains(name)) {
        if let Some(fields) = json.as_object_mut() {
            fields.remove(left_out.heading());
        }
    }
    json
}

fn table(sums: &[UsageRow], by: &[By]) -> Table {
    let names = by.iter().map(|by| Column::Left(by.heading()));
    let figures = [
        "calls",
        "failed",
        "time",
        "fuel",
        "peak memory",
        "requests",
        "sent",
        "received",
    ];
    let mut table = Table::new(names.chain(figures.map(Column::Right)));
    for sum in sums {
        let names = by.iter().map(|by| format::one_line(by.of(sum), MAX_NAME_CHARS));
        let figures = [
            format::count(sum.calls),
            format::count(sum.failed),
            format::millis(sum.duration_ms as f64),
            format::count(sum.fuel),
            format::bytes(sum.peak_memory_bytes),
            format::count(sum.http_requests),
            format::bytes(sum.bytes_sent),
            format::bytes(sum.bytes_received),
        ];
        table.row(names.chain(figures));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_added_up_by_what_is_asked_for() {
        let row = |day: &str, tenant: &str, tool: &str| UsageRow {
            day: day.to_owned(),
            tenant: tenant.to_owned(),
            plugin: "p".to_owned(),
            tool: tool.to_owned(),
            calls: 1,
            ..UsageRow::default()
        };
        let rows = [
            row("2026-11-28", "a", "x"),
            row("2026-11-28", "b", "x"),
            row("2026-11-29", "a", "x"),
            row("2026-11-29", "a", "y"),
        ];
        let calls = |by: &[By]| summed(&rows, by).iter().map(|sum| sum.calls).collect::<Vec<_>>();
        assert_eq!(calls(&[By::Tool]), [3, 1]);
        assert_eq!(calls(&[By::Tenant]), [3, 1]);
        assert_eq!(calls(&[By::Day, By::Tenant]), [1, 1, 2]);
        assert_eq!(calls(&[By::Plugin]), [4]);
        let json = json(&summed(&rows, &[By::Plugin])[0], &[By::Plugin]);
        assert!(json.get("tool").is_none() && json["plugin"] == "p", "{json}");
    }

    #[test]
    fn only_days_are_days() {
        assert_eq!(parse_day("2026-11-29").as_deref(), Ok("2026-11-29"));
        for text in ["", "today", "2026-02-30", "29.11.2026"] {
            assert!(parse_day(text).is_err(), "{text}");
        }
    }
}
