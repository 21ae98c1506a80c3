//! `cofferdam breakers`: shows the breakers of all hosts that share the store, and overrides them.

use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::table::{Column, Table};
use super::{CliError, Context, Output, books, completions, error, format, tool};
use crate::config::Config;
use crate::events::BreakerState;
use crate::near::nearest;
use crate::resilience::Override;
use crate::store::{BreakerRecord, Store};

/// The maximum width of a name, in characters.
const MAX_NAME_CHARS: usize = 60;

/// The longest failure in the table, in characters. JSON has all that is kept of it.
const MAX_FAILURE_CHARS: usize = 100;

#[derive(Args, Debug)]
pub struct BreakersArgs {
    #[command(subcommand)]
    command: Option<BreakersCommand>,
}

#[derive(Debug, Subcommand)]
enum BreakersCommand {
    /// Show the breakers that have changed their state; the default without a subcommand
    Show,
    /// Refuse all calls to a model or tool until `close` or `reset`, in running hosts and in later ones (not in `tool call` and `mcp`)
    Open(NameArgs),
    /// Let calls through again; new failures open the breaker as before
    Close(NameArgs),
    /// The same, and set the counters of running hosts to 0
    Reset(NameArgs),
}

#[derive(Args, Debug)]
struct NameArgs {
    /// The breaker: `model:ID` or `tool:NAME`
    #[arg(value_name = "NAME", value_parser = parse_name, add = completions::breakers())]
    name: String,
}

fn parse_name(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("model" | "tool", name)) if !name.is_empty() => Ok(text.to_owned()),
        _ => Err("a breaker is named `model:ID` or `tool:NAME`".to_owned()),
    }
}

pub async fn breakers(cx: &Context, args: BreakersArgs) -> Result<u8, CliError> {
    let config = cx.config()?;
    let (name, to) = match args.command {
        None | Some(BreakersCommand::Show) => {
            let (store, _logging) = books::open_and_say(cx, &config, true).await?;
            show(cx, &store).await?;
            return Ok(0);
        }
        Some(BreakersCommand::Open(args)) => (args.name, Override::Open),
        Some(BreakersCommand::Close(args)) => (args.name, Override::Closed),
        Some(BreakersCommand::Reset(args)) => (args.name, Override::Reset),
    };
    let (store, _logging) = books::open_and_say(cx, &config, false).await?;
    if to == Override::Open {
        warn_of_unknown(cx, &config, &store, &name).await?;
    }
    store.order_breaker(&name, to).await?;
    match cx.global.output {
        Output::Text => {
            let state = match to {
                Override::Open => "held open",
                Override::Closed | Override::Reset => "closed",
            };
            cx.note(&format!(
                "{} is {state}: within two seconds in hosts that run, and from their start on in others",
                format::escape(&name)
            ));
        }
        Output::Json | Output::StreamJson => {
            let mut records = store.breakers().await?;
            records.retain(|record| record.name == name);
            cx.stdout.json_line(&records);
        }
    }
    Ok(0)
}

/// An operator who misspells a name would believe that a tool is out of service. The order is given all the same: another host may know
/// the name.
async fn warn_of_unknown(cx: &Context, config: &Config, store: &Store, name: &str) -> Result<(), CliError> {
    let models = std::iter::once(&config.model).chain(&config.fallback_models);
    let mut known: Vec<String> = models.map(|settings| format!("model:{}", settings.model)).collect();
    // What can't be loaded is reported by the commands that use it.
    if let Ok(tools) = tool::load_silently(config).await {
        known.extend(tools.tools().map(|tool| format!("tool:{}", tool.name)));
    }
    known.extend(store.breakers().await?.into_iter().map(|record| record.name));
    let (plain, _) = name.rsplit_once('#').unwrap_or((name, ""));
    if known.iter().any(|known| known == name || known == plain) {
        return Ok(());
    }
    let near = nearest(name, known.iter().map(String::as_str));
    let hint = near.map(|near| format!("did you mean `{near}`? `cofferdam breakers reset` takes the order back"));
    cx.stderr.line(&error::warning(
        &format!("nothing of this configuration is named `{}`", format::escape(name)),
        hint.as_deref()
            .or(Some("`cofferdam tool list` has the names of the tools")),
    ));
    Ok(())
}

async fn show(cx: &Context, store: &Store) -> Result<(), CliError> {
    let records = store.breakers().await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&records),
        Output::StreamJson => records.iter().for_each(|record| cx.stdout.json_line(record)),
        Output::Text if records.is_empty() => cx.note("No breaker has opened: all models and tools are called."),
        Output::Text => {
            let table = table(&records, Timestamp::now());
            cx.stdout.write(&table.render_within(cx.stdout.width()));
        }
    }
    Ok(())
}

fn table(records: &[BreakerRecord], now: Timestamp) -> Table {
    let mut table = Table::new([
        Column::Left("breaker"),
        Column::Left("tenant"),
        Column::Left("state"),
        Column::Left("since"),
        Column::Left("next probe"),
        Column::Left("last failure"),
    ]);
    for record in records {
        table.row([
            format::one_line(&record.name, MAX_NAME_CHARS),
            match &record.tenant {
                Some(tenant) => format::escape(tenant).into_owned(),
                None => "all".to_owned(),
            },
            match record.is_held() {
                true => "held open".to_owned(),
                false => record.state.to_string(),
            },
            format::second(record.since),
            match (record.state, record.until) {
                (BreakerState::Open, Some(until)) if until <= now => "with the next call".to_owned(),
                (BreakerState::Open, Some(until)) => format::second(until),
                _ => String::new(),
            },
            format::one_line(record.last_failure.as_deref().unwrap_or_default(), MAX_FAILURE_CHARS),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_is_named_by_its_kind() {
        for name in ["model:claude-sonnet-5-5", "tool:get_weather", "model:qwen3:8b"] {
            assert_eq!(parse_name(name).as_deref(), Ok(name));
        }
        for name in ["", "get_weather", "tool:", "plugin:x"] {
            assert!(parse_name(name).is_err(), "{name}");
        }
    }
}
