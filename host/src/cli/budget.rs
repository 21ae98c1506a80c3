//! `cofferdam budget`: shows, sets, corrects and exports the budgets in the ledger, and lists the prices of models.

mod csv;
pub mod limits;
mod prices;
mod spending;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{CliError, Context, Output, books, completions, config_check, error, format};
use crate::agent::check_tenant;
use crate::config::Config;
use crate::ledger::{
    Ahead, Ledger, LedgerError, LimitOverride, ReservationId, Reversal, ReversalRequest, Scope, SpendingBy,
    SpendingFilter, Unusual,
};
use crate::model::Prices;
use crate::money::{MoneyError, NANOS_PER_MICRO, NanoUsd};

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
        #[arg(value_name = "SCOPE", value_parser = parse_scope, add = completions::scopes())]
        scope: Scope,
        /// Dollars such as 2.50, `unlimited`, or `default` to follow the configuration again
        #[arg(value_name = "AMOUNT", value_parser = parse_amount, add = completions::limits())]
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
        // Nothing would show what holds.
        amount if amount.as_nanos() % NANOS_PER_MICRO != 0 => Err("a limit has six decimals at most".to_owned()),
        amount => Ok(Amount::Override(LimitOverride::Usd(amount))),
    }
}

pub async fn budget(cx: &Context, args: BudgetArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    let _logging = cx.logging(&config, false)?;
    if let Some(BudgetCommand::Prices { toml }) = args.command {
        return prices::show(cx, &config, toml);
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
            spending::show(cx, &ledger, filter).await?;
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
        cx.stderr.line(&error::warning(words, Some(confirm_hint(&unusual))));
    });
    let scopes = limits::lines(&ledger, &config, shown_tenant).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&limits::table(&scopes, cx.stdout.width())),
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

/// How what is unusual is accepted.
pub(super) const fn confirm_hint(unusual: &Unusual) -> &'static str {
    match unusual.ahead {
        Some(_) => {
            "`cofferdam budget confirm --date YYYY-MM-DD`, with today's date in UTC, accepts this; host/docs/operations.md says what to \
             look at before"
        }
        None => "`cofferdam budget confirm` accepts this; host/docs/operations.md says what to look at before",
    }
}

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        for refused in ["-1", "much", "0", "0.0", "00.000", "0.0000001", "1.0000005"] {
            assert!(parse_amount(refused).is_err(), "{refused}");
        }
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
}
