//! `cofferdam budget`: shows, sets, corrects and exports the budgets in the ledger, and lists the prices of models.

mod csv;

use std::collections::BTreeSet;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::summary::{self, BudgetLine, LimitSource};
use super::table::{Column, Table};
use super::{CliError, Context, Output, books, config_check, error, format};
use crate::agent::check_tenant;
use crate::config::Config;
use crate::ledger::{
    Ahead, Ledger, LedgerError, LimitOverride, ReservationId, Reversal, ReversalRequest, Scope, Spending, SpendingBy,
    SpendingFilter, Unusual,
};
use crate::model::{PriceRow, Prices};
use crate::money::{MoneyError, NanoUsd};

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
    Show {
        /// Of the tenants, only this one
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
        /// Add up what was spent by this, largest first, instead
        #[arg(long, value_name = "WHAT")]
        by: Option<By>,
        /// With `--by`: from this UTC day on, such as 2026-11-01
        #[arg(long, value_name = "DATE", requires = "by")]
        since: Option<jiff::civil::Date>,
        /// With `--by`: the most lines
        #[arg(long, value_name = "NUMBER", requires = "by", default_value_t = 100)]
        limit: u32,
    },
    /// Set a limit in the ledger; it overrides the configuration
    Set {
        /// `session`, `tenant_day`, `tenant_month` or `host_day`
        #[arg(value_name = "SCOPE", value_parser = parse_scope)]
        scope: Scope,
        /// Dollars such as 2.50, `unlimited`, or `default` to follow the configuration again
        #[arg(value_name = "AMOUNT", value_parser = parse_amount)]
        amount: Amount,
        /// The tenant whose day or month it is; without it, that of `[agent] tenant`
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Take back what was charged by mistake; the charge stays in the books, and the correction beside it
    Reverse {
        /// The charge, by its id in `budget export`
        #[arg(value_name = "ID")]
        id: String,
        /// Dollars such as 0.25; without it, all that is left of the charge
        #[arg(value_name = "AMOUNT")]
        amount: Option<NanoUsd>,
        /// Why; a second correction of the same charge needs another reason
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Accept a ledger that was put back from a copy, and book for today what a wrong clock has booked for later days
    Confirm {
        /// Today's UTC date, if something is booked for later days than the clock shows
        #[arg(long, value_name = "YYYY-MM-DD")]
        date: Option<jiff::civil::Date>,
    },
    /// Print every reservation and every reversal as a line of JSON, oldest first
    Export {
        /// Print CSV instead, with a line of headings
        #[arg(long)]
        csv: bool,
    },
    /// List the known models with their prices in dollars per million tokens
    Prices {
        /// Print the built-in table in the format of `[budget] prices`
        #[arg(long)]
        toml: bool,
    },
}

/// What `budget show --by` adds up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    Tenant,
    Session,
    Model,
    Day,
    /// What answers cost that called the tool
    Tool,
}

impl From<By> for SpendingBy {
    fn from(by: By) -> Self {
        match by {
            By::Tenant => Self::Tenant,
            By::Session => Self::Session,
            By::Model => Self::Model,
            By::Day => Self::Day,
            By::Tool => Self::Tool,
        }
    }
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
    Scope::from_name(name).ok_or_else(|| format!("the scopes are {}", Scope::ALL.map(Scope::name).join(", ")))
}

fn parse_amount(text: &str) -> Result<Amount, String> {
    match text {
        "default" => return Ok(Amount::Default),
        "unlimited" => return Ok(Amount::Override(LimitOverride::Unlimited)),
        _ => {}
    }
    match text.parse().map_err(|error: MoneyError| error.to_string())? {
        // As in the file.
        NanoUsd::ZERO => Err("a limit of zero would refuse every request; set an amount, or `unlimited`".to_owned()),
        amount => Ok(Amount::Override(LimitOverride::Usd(amount))),
    }
}

pub async fn budget(cx: &Context, args: BudgetArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    let _logging = cx.logging(&config, false)?;
    if let Some(BudgetCommand::Prices { toml }) = args.command {
        return prices(cx, &config, toml);
    }
    let is_only_read = !matches!(
        args.command,
        Some(BudgetCommand::Set { .. } | BudgetCommand::Reverse { .. } | BudgetCommand::Confirm { .. })
    );
    let ledger = books::open(&config, is_only_read).await?.ledger();
    let mut shown_tenant = None;
    match args.command {
        None | Some(BudgetCommand::Prices { .. }) => {}
        Some(BudgetCommand::Show {
            by: Some(by),
            tenant,
            since,
            limit,
        }) => {
            let filter = SpendingFilter {
                by: by.into(),
                tenant,
                since: since.map(|date| date.to_string()),
                count: limit,
            };
            show_spending(cx, &ledger, filter).await?;
            return Ok(0);
        }
        Some(BudgetCommand::Show { tenant, .. }) => shown_tenant = tenant,
        Some(BudgetCommand::Reverse { id, amount, reason }) => {
            let request = ReversalRequest {
                entry: ReservationId::from_text(&id),
                amount,
                reason,
            };
            reversed(cx, &ledger.reverse(request).await?);
            return Ok(0);
        }
        Some(BudgetCommand::Set { scope, amount, tenant }) => {
            let tenant = tenant_of_limit(&config, scope, tenant)?;
            ledger.set_limit(scope, &tenant, amount.limit()).await?;
            if let Some(limit) = amount.limit().and_then(LimitOverride::limit) {
                warn_of_too_little(cx, &config, limit);
            }
        }
        Some(BudgetCommand::Confirm { date }) => {
            let now = Timestamp::now();
            check_date(&ledger.unusual(now).await?, date, date_of(now))?;
            let accepted = ledger.confirm(now).await?;
            confirmed(cx, &accepted);
            return Ok(0);
        }
        Some(BudgetCommand::Export { csv }) => {
            export(cx, &ledger, csv).await?;
            return Ok(0);
        }
    }
    let unusual = ledger.unusual(Timestamp::now()).await?;
    in_words(&unusual).iter().for_each(|words| {
        cx.stderr.line(&error::warning(words, Some(CONFIRM_HINT)));
    });
    let scopes = budget_lines(&ledger, &config, shown_tenant).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&summary::budget(&scopes, cx.stdout.width())),
        Output::Json => cx.stdout.json_pretty(&scopes),
        Output::StreamJson => scopes.iter().for_each(|scope| cx.stdout.json_line(scope)),
    }
    Ok(0)
}

/// A limit may be meant to stop every run, but that is more often a slip.
fn warn_of_too_little(cx: &Context, config: &Config, limit: NanoUsd) {
    let prices = Prices::configured(config.budget.prices.as_deref()).ok();
    let price = prices.and_then(|prices| prices.find(&config.model.model, date_of(Timestamp::now())));
    let least = price.map(|price| config_check::least_reservation(config, &price, 0));
    if let Some(least) = least.filter(|least| *least > limit) {
        let message = format!(
            "a request to {} reserves at least ${least}, so with this limit (${limit}) no run can start",
            format::escape(&config.model.model)
        );
        let hint = "set a higher one, or lower `[model] max_tokens`";
        cx.stderr.line(&error::warning(&message, Some(hint)));
    }
}

pub(super) const CONFIRM_HINT: &str =
    "`cofferdam budget confirm` accepts this; host/docs/operations.md says what to look at before";

/// What is unusual, a sentence each.
pub(super) fn in_words(unusual: &Unusual) -> Vec<String> {
    let restored = unusual.restored.iter();
    let restored = restored.map(|restored| format!("the ledger is a copy that was put back: {restored}"));
    let ahead = unusual.ahead.iter().map(|Ahead { day, amount_usd }| {
        format!(
            "${amount_usd} is booked for later days, up to {day}, and counts for today as well: the clock was ahead then, or is behind now (it says {})",
            date_of(Timestamp::now())
        )
    });
    restored.chain(ahead).collect()
}

fn date_of(now: Timestamp) -> jiff::civil::Date {
    jiff::tz::TimeZone::UTC.to_datetime(now).date()
}

/// Has a person vouch for the clock before later days are emptied: if it is behind, the budget of the real day would open again.
fn check_date(unusual: &Unusual, date: Option<jiff::civil::Date>, clock: jiff::civil::Date) -> Result<(), CliError> {
    match (&unusual.ahead, date) {
        (Some(Ahead { day, amount_usd }), None) => Err(CliError::usage(
            format!(
                "${amount_usd} is booked for later days, up to {day}, and would be booked for {clock}, the date of this machine's clock"
            ),
            format!(
                "if that is today's UTC date, `cofferdam budget confirm --date {clock}`; if the clock is behind, set it, and there may be \
                 nothing left to confirm"
            ),
        )),
        (_, Some(date)) if date != clock => Err(CliError::usage(
            format!("the clock of this machine says {clock}, not {date}"),
            "set the clock first; dates are in UTC",
        )),
        _ => Ok(()),
    }
}

fn confirmed(cx: &Context, accepted: &Unusual) {
    match cx.global.output {
        Output::Json => return cx.stdout.json_pretty(accepted),
        Output::StreamJson => return cx.stdout.json_line(accepted),
        Output::Text => {}
    }
    let words = in_words(accepted);
    match words.is_empty() {
        true => cx.note("There is nothing to confirm."),
        false => words
            .iter()
            .for_each(|words| cx.stdout.line(&format!("accepted: {words}"))),
    }
}

/// The tenant whose limit is set; empty where it is the same for all.
fn tenant_of_limit(config: &Config, scope: Scope, tenant: Option<String>) -> Result<String, CliError> {
    match (scope.is_per_tenant(), tenant) {
        (true, Some(tenant)) => {
            let hint = "`cofferdam budget show` lists the tenants that have spent something in this month";
            check_tenant(&tenant).map_err(|error| CliError::usage(error.to_string(), hint))?;
            Ok(tenant)
        }
        (true, None) => Ok(config.agent.tenant.clone()),
        (false, None) => Ok(String::new()),
        (false, Some(_)) => Err(CliError::usage(
            format!("the limit of {scope} is the same for all tenants"),
            "leave `--tenant` out, or set tenant_day or tenant_month",
        )),
    }
}

/// A line per scope: the limit of each session, limits and spending of each tenant's day and month, and of the host's day. Tenants are
/// those that have limits, and those that have spent something in this month.
async fn budget_lines(
    ledger: &Ledger,
    config: &Config,
    tenant: Option<String>,
) -> Result<Vec<BudgetLine>, LedgerError> {
    let now = Timestamp::now();
    let tenants = match tenant {
        Some(tenant) => BTreeSet::from([tenant]),
        None => {
            let known = ledger.tenants(now).await?;
            known.into_iter().chain(config.budget.tenants.keys().cloned()).collect()
        }
    };
    let is_of_tenant = |line: &BudgetLine| line.scope.is_per_tenant();
    let of_all = lines_for(ledger, config, &config.agent.tenant, now).await?;
    let (mut lines, of_host): (Vec<_>, Vec<_>) = of_all
        .into_iter()
        .filter(|line| !is_of_tenant(line))
        .partition(|line| line.scope == Scope::Session);
    for tenant in &tenants {
        let of_tenant = lines_for(ledger, config, tenant, now).await?;
        lines.extend(of_tenant.into_iter().filter(is_of_tenant));
    }
    lines.extend(of_host);
    Ok(lines)
}

/// A line for each scope of a tenant.
async fn lines_for(
    ledger: &Ledger,
    config: &Config,
    tenant: &str,
    now: Timestamp,
) -> Result<Vec<BudgetLine>, LedgerError> {
    let overrides = ledger.limit_overrides(tenant).await?;
    let known = ledger.status(tenant, None, &config.budget, now).await?;
    let limits = config.budget.limits(tenant);
    let line = |(scope, over): (Scope, Option<LimitOverride>)| {
        let configured = limits.limit(scope);
        let line = match known.iter().find(|status| status.scope == scope) {
            Some(status) => BudgetLine::from(status),
            None => BudgetLine::unused(scope, over.map_or(configured, LimitOverride::limit)),
        };
        let source = match over {
            Some(_) => LimitSource::Override { configured },
            None => LimitSource::Configured(config.origins.of_key(&key_path(scope, tenant)).cloned()),
        };
        line.with_source(source)
    };
    Ok(overrides.into_iter().map(line).collect())
}

/// The key of a limit, as the configuration nests it.
fn key_path(scope: Scope, tenant: &str) -> Vec<&str> {
    match scope {
        Scope::Session => vec!["budget", "session_usd"],
        Scope::HostDay => vec!["budget", "host_day_usd"],
        Scope::TenantDay => vec!["tenants", tenant, "budget", "daily_usd"],
        Scope::TenantMonth => vec!["tenants", tenant, "budget", "monthly_usd"],
    }
}

async fn show_spending(cx: &Context, ledger: &Ledger, filter: SpendingFilter) -> Result<(), LedgerError> {
    let by = filter.by;
    let lines = ledger.spending(filter).await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&lines),
        Output::StreamJson => lines.iter().for_each(|line| cx.stdout.json_line(line)),
        Output::Text if lines.is_empty() => cx.note("Nothing was spent."),
        Output::Text => cx
            .stdout
            .write(&spending_table(by, &lines).render_within(cx.stdout.width())),
    }
    if by == SpendingBy::Tool && cx.global.output == Output::Text {
        cx.note(
            "Tools cost nothing themselves. These are the attempts whose answers called the tool, in the sessions that are kept; an \
             answer that calls two tools counts for both.",
        );
    }
    Ok(())
}

fn spending_table(by: SpendingBy, lines: &[Spending]) -> Table {
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

fn reversed(cx: &Context, reversal: &Reversal) {
    let Reversal {
        id,
        reverses,
        reversed_usd,
        is_new,
        ..
    } = reversal;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(reversal),
        Output::StreamJson => cx.stdout.json_line(reversal),
        Output::Text if *is_new => cx
            .stdout
            .line(&format!("${reversed_usd} of {reverses} is taken back, as {id}")),
        Output::Text => cx
            .stdout
            .line(&format!("${reversed_usd} of {reverses} was taken back before, as {id}")),
    }
}

/// Exports in pages, because the ledger grows without bound.
async fn export(cx: &Context, ledger: &Ledger, csv: bool) -> Result<(), LedgerError> {
    if csv {
        cx.stdout.line(csv::HEADINGS);
    }
    let mut last = None;
    loop {
        let rows = ledger.export(last.as_ref()).await?;
        for row in &rows {
            match csv {
                true => cx.stdout.line(&csv::line(row)),
                false => cx.stdout.json_line(row),
            }
        }
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
    use crate::store::Store;

    #[test]
    fn scopes_and_amounts_are_parsed_strictly() {
        // As in the output, and as in the file.
        for (text, scope) in [
            ("session", Scope::Session),
            ("session_usd", Scope::Session),
            ("tenant_day", Scope::TenantDay),
            ("tenant_month", Scope::TenantMonth),
            ("host_day", Scope::HostDay),
            ("host_day_usd", Scope::HostDay),
            ("daily_usd", Scope::HostDay),
        ] {
            assert_eq!(parse_scope(text), Ok(scope), "{text}");
        }
        assert_eq!(
            parse_scope("week").unwrap_err(),
            "the scopes are session, tenant_day, tenant_month, host_day"
        );
        let dollars = LimitOverride::Usd(NanoUsd::from_nanos(2_500_000_000));
        assert_eq!(parse_amount("2.50"), Ok(Amount::Override(dollars)));
        assert_eq!(
            parse_amount("unlimited"),
            Ok(Amount::Override(LimitOverride::Unlimited))
        );
        assert_eq!(parse_amount("default").map(Amount::limit), Ok(None));
        for refused in ["-1", "much", "0", "0.0", "00.000"] {
            assert!(parse_amount(refused).is_err(), "{refused}");
        }
    }

    async fn shown(ledger: &Ledger) -> String {
        summary::budget(&budget_lines(ledger, &Config::default(), None).await.unwrap(), None)
    }

    #[tokio::test]
    async fn a_limit_is_shown_with_where_it_comes_from() {
        let ledger = Store::in_memory().unwrap().ledger();
        let set = |scope, text| ledger.set_limit(scope, "acme", parse_amount(text).unwrap().limit());
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
        let lines = budget_lines(&ledger, &Config::default(), None).await.unwrap();
        assert_eq!(
            serde_json::to_value(&lines[0]).unwrap(),
            json!({
                "scope": "session", "limit_usd": null, "spent_usd": null, "reserved_usd": null, "remaining_usd": null,
                "limit_from": "override", "configured_usd": "1.000000",
            })
        );
        set(Scope::TenantMonth, "30").await.unwrap();
        let with_tenant = shown(&ledger).await;
        let beginnings = with_tenant.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().take(3).collect();
            words.join(" ")
        });
        assert_eq!(
            beginnings.collect::<Vec<_>>(),
            [
                "budget tenant limit",
                "session unlimited -",
                "tenant_day acme unlimited",
                "tenant_month acme $30.000000",
                "host_day unlimited $0.000000",
            ]
        );
        set(Scope::Session, "default").await.unwrap();
        set(Scope::TenantMonth, "default").await.unwrap();
        assert!(
            shown(&ledger).await.contains("session   $1.000000"),
            "{}",
            shown(&ledger).await
        );
    }

    /// A clock that is behind would give the budget of the real day away.
    #[test]
    fn what_lies_ahead_is_confirmed_with_the_date() {
        let date = |day| jiff::civil::date(2026, 11, day);
        let ahead = Unusual {
            ahead: Some(Ahead {
                day: "2026-11-30".to_owned(),
                amount_usd: NanoUsd::from_nanos(1),
            }),
            ..Unusual::default()
        };
        for (unusual, asked, is_accepted) in [
            (&ahead, None, false),
            (&ahead, Some(date(30)), false),
            (&ahead, Some(date(29)), true),
            (&Unusual::default(), None, true),
            (&Unusual::default(), Some(date(28)), false),
        ] {
            let checked = check_date(unusual, asked, date(29));
            assert_eq!(checked.is_ok(), is_accepted, "{unusual:?} {asked:?}");
        }
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
