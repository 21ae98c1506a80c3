//! `cofferdam budget`: shows, sets and exports the budgets in the ledger.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::summary::{self, BudgetLine};
use super::{CliError, Context, Output};
use crate::agent::DEFAULT_TENANT;
use crate::ledger::{BudgetSettings, Ledger, LedgerError, Scope};
use crate::money::{MoneyError, NanoUsd};

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
        /// Dollars such as 2.50, or `default` to follow the configuration again
        #[arg(value_name = "AMOUNT", value_parser = parse_amount)]
        amount: Amount,
    },
    /// Print every reservation as a line of JSON, oldest first
    Export,
}

/// The new value of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Amount {
    Usd(NanoUsd),
    Default,
}

impl Amount {
    const fn limit(self) -> Option<NanoUsd> {
        match self {
            Self::Usd(amount) => Some(amount),
            Self::Default => None,
        }
    }
}

fn parse_scope(text: &str) -> Result<Scope, String> {
    Scope::from_name(text).ok_or_else(|| format!("the scopes are {}", Scope::ALL.map(Scope::name).join(" and ")))
}

fn parse_amount(text: &str) -> Result<Amount, MoneyError> {
    if text == "default" {
        Ok(Amount::Default)
    } else {
        text.parse().map(Amount::Usd)
    }
}

pub async fn budget(cx: &Context, args: BudgetArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    let _logging = cx.logging(&config, false)?;
    let ledger = open(config.ledger_path()).await?;
    match args.command {
        None | Some(BudgetCommand::Show) => {}
        Some(BudgetCommand::Set { scope, amount }) => ledger.set_limit(scope, amount.limit()).await?,
        Some(BudgetCommand::Export) => {
            export(cx, &ledger).await?;
            return Ok(0);
        }
    }
    let scopes = budget_lines(&ledger, &config.budget).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&summary::budget(&scopes)),
        Output::Json => cx.stdout.json_pretty(&scopes),
        Output::StreamJson => scopes.iter().for_each(|scope| cx.stdout.json_line(scope)),
    }
    Ok(0)
}

/// A line per scope: the day's limit and spending, and the limit of each session.
async fn budget_lines(ledger: &Ledger, settings: &BudgetSettings) -> Result<Vec<BudgetLine>, LedgerError> {
    let limits = ledger.effective_limits(settings).await?;
    let known = ledger
        .status(DEFAULT_TENANT, None, settings, jiff::Timestamp::now())
        .await?;
    let line = |scope: Scope| match known.iter().find(|status| status.scope == scope) {
        Some(status) => BudgetLine::from(status),
        None => BudgetLine {
            scope,
            limit_usd: limits.limit(scope),
            spent_usd: None,
            reserved_usd: None,
            remaining_usd: None,
        },
    };
    Ok(Scope::ALL.map(line).into())
}

/// Opens the ledger on a blocking thread, because it may wait for another process's lock.
async fn open(path: PathBuf) -> Result<Ledger, LedgerError> {
    tokio::task::spawn_blocking(move || Ledger::open(&path))
        .await
        .unwrap_or(Err(LedgerError::Interrupted))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_and_amounts_are_parsed_strictly() {
        assert_eq!(parse_scope("host_day"), Ok(Scope::HostDay));
        assert_eq!(parse_scope("week").unwrap_err(), "the scopes are session and host_day");
        assert_eq!(
            parse_amount("2.50"),
            Ok(Amount::Usd(NanoUsd::from_nanos(2_500_000_000)))
        );
        assert_eq!(parse_amount("default").map(Amount::limit), Ok(None));
        assert!(parse_amount("-1").is_err() && parse_amount("much").is_err());
    }

    #[tokio::test]
    async fn a_limit_that_was_set_is_shown() {
        let ledger = Ledger::in_memory().unwrap();
        ledger
            .set_limit(Scope::Session, parse_amount("2.5").unwrap().limit())
            .await
            .unwrap();
        let shown = summary::budget(&budget_lines(&ledger, &BudgetSettings::default()).await.unwrap());
        assert_eq!(
            shown,
            "budget         limit      spent   reserved   remaining\n\
             session    $2.500000          -          -           -\n\
             host_day  $10.000000  $0.000000  $0.000000  $10.000000\n"
        );
    }
}
