//! `cofferdam budget`: shows, sets and exports the budgets in the ledger, and lists the prices of models.

use clap::{Args, Subcommand};
use serde_json::json;

use super::summary::{self, BudgetLine, LimitSource};
use super::table::{Column, Table};
use super::{CliError, Context, Output, books, format};
use crate::agent::DEFAULT_TENANT;
use crate::config::Config;
use crate::ledger::{Ledger, LedgerError, LimitOverride, Scope};
use crate::model::{PriceRow, Prices};
use crate::money::MoneyError;

/// The maximum width of a model's name and of a source, in characters.
const MAX_CELL_CHARS: usize = 80;

#[derive(Args, Debug)]
pub struct BudgetArgs {
    #[command(subcommand)]
    command: Option<BudgetCommand>,
}

#[derive(Debug, Subcommand)]
enum BudgetCommand {
    /// Show limits and spending; the default without a subcommand
    Show,
    /// Set a limit in the ledger; it overrides the configuration
    Set {
        /// `session` or `host_day`
        #[arg(value_name = "SCOPE", value_parser = parse_scope)]
        scope: Scope,
        /// Dollars such as 2.50, `unlimited`, or `default` to follow the configuration again
        #[arg(value_name = "AMOUNT", value_parser = parse_amount)]
        amount: Amount,
    },
    /// Print every reservation as a line of JSON, oldest first
    Export,
    /// List the known models with their prices in dollars per million tokens
    Prices {
        /// Print the built-in table in the format of `[budget] prices`
        #[arg(long)]
        toml: bool,
    },
}

/// The new override of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Override(LimitOverride),
    Default,
}

impl Amount {
    const fn limit(self) -> Option<LimitOverride> {
        match self {
            Self::Override(limit) => Some(limit),
            Self::Default => None,
        }
    }
}

/// A scope by its name, or by its key in the file: `session_usd`, `host_day_usd` or the former `daily_usd`.
fn parse_scope(text: &str) -> Result<Scope, String> {
    let name = text.strip_suffix("_usd").unwrap_or(text);
    let name = if name == "daily" { Scope::HostDay.name() } else { name };
    Scope::from_name(name).ok_or_else(|| format!("the scopes are {}", Scope::ALL.map(Scope::name).join(" and ")))
}

fn parse_amount(text: &str) -> Result<Amount, MoneyError> {
    match text {
        "default" => Ok(Amount::Default),
        "unlimited" => Ok(Amount::Override(LimitOverride::Unlimited)),
        _ => text.parse().map(|amount| Amount::Override(LimitOverride::Usd(amount))),
    }
}

pub async fn budget(cx: &Context, args: BudgetArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    let _logging = cx.logging(&config, false)?;
    if let Some(BudgetCommand::Prices { toml }) = args.command {
        return prices(cx, &config, toml);
    }
    let is_only_read = !matches!(args.command, Some(BudgetCommand::Set { .. }));
    let ledger = books::open(&config, is_only_read).await?.ledger();
    match args.command {
        None | Some(BudgetCommand::Show | BudgetCommand::Prices { .. }) => {}
        Some(BudgetCommand::Set { scope, amount }) => ledger.set_limit(scope, amount.limit()).await?,
        Some(BudgetCommand::Export) => {
            export(cx, &ledger).await?;
            return Ok(0);
        }
    }
    let scopes = budget_lines(&ledger, &config).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&summary::budget(&scopes, cx.stdout.width())),
        Output::Json => cx.stdout.json_pretty(&scopes),
        Output::StreamJson => scopes.iter().for_each(|scope| cx.stdout.json_line(scope)),
    }
    Ok(0)
}

/// A line per scope: the day's limit and spending, and the limit of each session.
async fn budget_lines(ledger: &Ledger, config: &Config) -> Result<Vec<BudgetLine>, LedgerError> {
    let overrides = ledger.limit_overrides().await?;
    let known = ledger
        .status(DEFAULT_TENANT, None, &config.budget, jiff::Timestamp::now())
        .await?;
    let line = |(scope, over): (Scope, Option<LimitOverride>)| {
        let configured = config.budget.limit(scope);
        let line = match known.iter().find(|status| status.scope == scope) {
            Some(status) => BudgetLine::from(status),
            None => BudgetLine::unused(scope, over.map_or(configured, LimitOverride::limit)),
        };
        let source = match over {
            Some(_) => LimitSource::Override { configured },
            None => {
                let key = format!("{}_usd", scope.name());
                LimitSource::Configured(config.origins.of_key(&["budget", &key]).cloned())
            }
        };
        line.with_source(source)
    };
    Ok(overrides.into_iter().map(line).collect())
}

/// Exports in pages, because the ledger grows without bound.
async fn export(cx: &Context, ledger: &Ledger) -> Result<(), LedgerError> {
    let mut last = None;
    loop {
        let rows = ledger.export(last.as_ref()).await?;
        rows.iter().for_each(|row| cx.stdout.json_line(row));
        match rows.last() {
            Some(row) => last = Some(row.id.clone()),
            None => return Ok(()),
        }
    }
}

fn prices(cx: &Context, config: &Config, toml: bool) -> Result<u8, CliError> {
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
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::money::NanoUsd;
    use crate::store::Store;

    #[test]
    fn scopes_and_amounts_are_parsed_strictly() {
        // As in the output, and as in the file.
        for (text, scope) in [
            ("session", Scope::Session),
            ("session_usd", Scope::Session),
            ("host_day", Scope::HostDay),
            ("host_day_usd", Scope::HostDay),
            ("daily_usd", Scope::HostDay),
        ] {
            assert_eq!(parse_scope(text), Ok(scope), "{text}");
        }
        assert_eq!(parse_scope("week").unwrap_err(), "the scopes are session and host_day");
        let dollars = LimitOverride::Usd(NanoUsd::from_nanos(2_500_000_000));
        assert_eq!(parse_amount("2.50"), Ok(Amount::Override(dollars)));
        assert_eq!(
            parse_amount("unlimited"),
            Ok(Amount::Override(LimitOverride::Unlimited))
        );
        assert_eq!(parse_amount("default").map(Amount::limit), Ok(None));
        assert!(parse_amount("-1").is_err() && parse_amount("much").is_err());
    }

    async fn shown(ledger: &Ledger) -> String {
        summary::budget(&budget_lines(ledger, &Config::default()).await.unwrap(), None)
    }

    #[tokio::test]
    async fn a_limit_is_shown_with_where_it_comes_from() {
        let ledger = Store::in_memory().unwrap().ledger();
        let set = |scope, text| ledger.set_limit(scope, parse_amount(text).unwrap().limit());
        set(Scope::Session, "2.5").await.unwrap();
        assert_eq!(
            shown(&ledger).await,
            "budget         limit      spent   reserved   remaining  limit from\n\
             session    $2.500000          -          -           -  budget set (configured: $1.000000)\n\
             host_day  $10.000000  $0.000000  $0.000000  $10.000000  default\n"
        );
        set(Scope::Session, "unlimited").await.unwrap();
        set(Scope::HostDay, "unlimited").await.unwrap();
        assert_eq!(
            shown(&ledger).await,
            "budget        limit      spent   reserved  remaining  limit from\n\
             session   unlimited          -          -          -  budget set (configured: $1.000000)\n\
             host_day  unlimited  $0.000000  $0.000000  unlimited  budget set (configured: $10.000000)\n"
        );
        let lines = budget_lines(&ledger, &Config::default()).await.unwrap();
        assert_eq!(
            serde_json::to_value(&lines[0]).unwrap(),
            json!({
                "scope": "session", "limit_usd": null, "spent_usd": null, "reserved_usd": null, "remaining_usd": null,
                "limit_from": "override", "configured_usd": "1.000000",
            })
        );
        set(Scope::Session, "default").await.unwrap();
        assert!(
            shown(&ledger).await.contains("session   $1.000000"),
            "{}",
            shown(&ledger).await
        );
    }

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
