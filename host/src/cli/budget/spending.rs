//! `budget show --by`: what was spent, added up by something.

use super::MAX_CELL_CHARS;
use crate::cli::table::{Column, Table};
use crate::cli::{Context, Output, format};
use crate::ledger::{Ledger, LedgerError, Spending, SpendingBy, SpendingFilter};

pub(super) async fn show(cx: &Context, ledger: &Ledger, filter: SpendingFilter) -> Result<(), LedgerError> {
    let by = filter.by;
    let lines = ledger.spending(filter).await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&lines),
        Output::StreamJson => lines.iter().for_each(|line| cx.stdout.json_line(line)),
        Output::Text if lines.is_empty() => cx.note("Nothing was spent."),
        Output::Text => cx.stdout.write(&table(by, &lines).render_within(cx.stdout.width())),
    }
    if by == SpendingBy::Tool && cx.global.output == Output::Text {
        cx.note(
            "Tools cost nothing themselves. These are the attempts whose answers called the tool, in the sessions that are kept; an \
             answer that calls two tools counts for both.",
        );
    }
    Ok(())
}

fn table(by: SpendingBy, lines: &[Spending]) -> Table {
    let key = match by {
        SpendingBy::Tenant => "tenant",
        SpendingBy::Session => "session",
        SpendingBy::Model => "model",
        SpendingBy::Day => "day",
        SpendingBy::Tool => "tool",
    };
    let of_key = |line: &Spending| {
        let key = match by {
            SpendingBy::Tenant => &line.tenant,
            SpendingBy::Session => &line.session_id,
            SpendingBy::Model => &line.model,
            SpendingBy::Day => &line.day,
            SpendingBy::Tool => &line.tool,
        };
        format::one_line(key.as_deref().unwrap_or("-"), MAX_CELL_CHARS)
    };
    let tenant = (by == SpendingBy::Session).then_some(Column::Left("tenant"));
    let calls = (by == SpendingBy::Tool).then_some(Column::Right("calls"));
    let estimates = (by == SpendingBy::Model).then_some(Column::Right("prompts estimated"));
    let mut columns = vec![Column::Left(key)];
    columns.extend(tenant.into_iter().chain(calls));
    columns.extend([
        Column::Right("attempts"),
        Column::Right("spent"),
        Column::Right("reserved"),
    ]);
    columns.extend(estimates);
    let mut table = Table::new(columns);
    for line in lines {
        let tenant = tenant.map(|_| format::escape(line.tenant.as_deref().unwrap_or("-")).into_owned());
        let calls = calls.map(|_| format::count(line.calls.unwrap_or(0)));
        let sums = [
            format::count(line.attempts),
            format!("${}", line.spent_usd),
            format!("${}", line.reserved_usd),
        ];
        let sums = sums.into_iter().chain(estimates.map(|_| estimated(line)));
        table.row([of_key(line)].into_iter().chain(tenant).chain(calls).chain(sums));
    }
    table
}

/// How far estimates of prompts were from what the API reported.
fn estimated(line: &Spending) -> String {
    match (line.estimated_prompt_tokens, line.prompt_tokens) {
        (Some(estimated), Some(reported)) if reported > 0 => {
            format!("at {:.2} × their tokens", estimated as f64 / reported as f64)
        }
        _ => "-".to_owned(),
    }
}
