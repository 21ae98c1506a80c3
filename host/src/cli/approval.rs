//! `cofferdam approval`: lists, shows and decides about calls that wait for a person.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::commands::Commands;
use super::table::{Column, Table};
use super::{CliError, Context, Output, books, completions, format, session};
use crate::config::Config;
use crate::session::{Approval, ApprovalDecision, ApprovalState};
use crate::store::{ApprovalFilter, Store};

/// Characters of an id in a list. They are random.
const SHORT_ID_CHARS: usize = 8;
/// Begins a further line of a value, below its first.
const INDENT: &str = "\n          ";

#[derive(Debug, Subcommand)]
pub enum ApprovalCommand {
    /// List the calls that wait for a person, or are approved and have not begun, the newest first
    List(ListArgs),
    /// Show a call that waits: its tool, its input and what it can reach
    Show(OneArgs),
    /// Let a call be made, once its session is resumed
    Approve(ApproveArgs),
    /// Have the model read that a person denied the call
    Deny(DenyArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Those that were denied, have begun or expired as well
    #[arg(long)]
    all: bool,
    /// Only those of this session
    #[arg(long, value_name = "ID", add = completions::sessions())]
    session: Option<String>,
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The most to list
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Args, Debug)]
pub struct OneArgs {
    /// The approval's id, or the first characters of it: eight or more
    #[arg(value_name = "ID", add = completions::approvals())]
    id: String,
}

#[derive(Args, Debug)]
pub struct ApproveArgs {
    #[command(flatten)]
    approval: OneArgs,
    /// Every later call of the tool in this session as well, as long as its component stays the same
    #[arg(long)]
    always: bool,
}

#[derive(Args, Debug)]
pub struct DenyArgs {
    #[command(flatten)]
    approval: OneArgs,
    /// Why, for the model
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub async fn approval(cx: &Context, command: ApprovalCommand) -> Result<u8, CliError> {
    let is_only_read = matches!(command, ApprovalCommand::List(_) | ApprovalCommand::Show(_));
    let config = cx.config()?;
    let (store, _logging) = books::open_and_say(cx, &config, is_only_read).await?;
    match command {
        ApprovalCommand::List(args) => list(cx, &store, args).await?,
        ApprovalCommand::Show(args) => show(cx, &store, &args.id).await?,
        ApprovalCommand::Approve(args) => {
            let decision = ApprovalDecision {
                approves: true,
                for_session: args.always,
                reason: None,
            };
            decide(cx, &config, &store, &args.approval.id, decision).await?;
        }
        ApprovalCommand::Deny(args) => {
            let decision = ApprovalDecision {
                reason: args.reason,
                ..ApprovalDecision::default()
            };
            decide(cx, &config, &store, &args.approval.id, decision).await?;
        }
    }
    Ok(0)
}

async fn list(cx: &Context, store: &Store, args: ListArgs) -> Result<(), CliError> {
    let session = match &args.session {
        Some(id) => Some(store.find_session(id, args.tenant.as_deref()).await?.id),
        None => None,
    };
    let filter = ApprovalFilter {
        session,
        tenant: args.tenant,
        only_open: !args.all,
        count: args.limit,
        ..ApprovalFilter::default()
    };
    let approvals = store.approvals(filter).await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&approvals),
        Output::StreamJson => approvals.iter().for_each(|approval| cx.stdout.json_line(approval)),
        Output::Text if approvals.is_empty() && args.all => cx.note("No call has waited for a person."),
        Output::Text if approvals.is_empty() => {
            cx.note("No call waits for a person, and none is approved that has not begun.")
        }
        Output::Text => cx.stdout.write(&table(&approvals).render_within(cx.stdout.width())),
    }
    Ok(())
}

fn table(approvals: &[Approval]) -> Table {
    let mut table = Table::new([
        Column::Left("approval"),
        Column::Left("tool"),
        Column::Left("session"),
        Column::Left("asked"),
        Column::Left("until"),
        Column::Left("state"),
    ]);
    for approval in approvals {
        table.row([
            short(&approval.id).to_owned(),
            format::escape(&approval.tool).into_owned(),
            session::short(&approval.session).to_owned(),
            format::minute(approval.requested_at),
            format::minute(approval.expires_at),
            approval.state.to_string(),
        ]);
    }
    table
}

/// The beginning of an id that is enough to name it.
pub fn short(id: &str) -> &str {
    id.get(..SHORT_ID_CHARS).unwrap_or(id)
}

async fn show(cx: &Context, store: &Store, id: &str) -> Result<(), CliError> {
    let approval = store.find_approval(id).await?;
    let input = store.approval_input(&approval).await?;
    match cx.global.output {
        Output::Text => cx.stdout.write(&in_words(&cx.commands, &approval, input.as_ref())),
        Output::Json => cx.stdout.json_pretty(&with_input(&approval, input.as_ref())),
        Output::StreamJson => cx.stdout.json_line(&with_input(&approval, input.as_ref())),
    }
    Ok(())
}

fn with_input(approval: &Approval, input: Option<&Value>) -> Value {
    let mut json = json!(approval);
    json["input"] = json!(input);
    json
}

fn in_words(commands: &Commands, approval: &Approval, input: Option<&Value>) -> String {
    let id = session::short(&approval.session);
    let input = match input {
        Some(input) => serde_json::to_string_pretty(input).unwrap_or_default(),
        None => commands
            .complete(&format!("its turn is over; `cofferdam session show {id}` shows it"))
            .into_owned(),
    };
    let reason = approval
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {reason}"));
    let lines = [
        ("approval", format!("{}, {}{reason}", approval.id, approval.state)),
        ("asked", format::minute(approval.requested_at)),
        ("until", format::minute(approval.expires_at)),
        ("session", format!("{} of {}", approval.session, approval.tenant)),
        ("tool", format!("{} of the plugin {}", approval.tool, approval.plugin)),
        ("digest", approval.digest.clone()),
        ("reaches", approval.reach().replace('\n', INDENT)),
        ("input", input.replace('\n', INDENT)),
    ];
    let lines = lines.map(|(name, value)| format!("{name:<9} {}\n", format::escape(&value)));
    lines.concat()
}

async fn decide(
    cx: &Context,
    config: &Config,
    store: &Store,
    id: &str,
    decision: ApprovalDecision,
) -> Result<(), CliError> {
    let id = store.find_approval(id).await?.id;
    let approval = store.decide(&id, decision).await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&approval),
        Output::StreamJson => cx.stdout.json_line(&approval),
        Output::Text => {
            let session = session::short(&approval.session);
            let found = store.find_session(&approval.session, None).await;
            let is_in_use = found.is_ok_and(|session| session.in_use);
            let next = match approval.state {
                // It may be a conversation that was left at its prompt.
                ApprovalState::Approved | ApprovalState::Denied if is_in_use => {
                    "; the process that asked goes on with its run if it waits for this decision, and a `chat` at its prompt with Enter".to_owned()
                }
                ApprovalState::Approved | ApprovalState::Denied => {
                    let is_configured = config.plugins.iter().any(|plugin| plugin.name == approval.plugin);
                    let with = match is_configured {
                        true => String::new(),
                        false => format!(
                            ", with the `--plugin` of `{}` and the grants of the run that asked",
                            format::escape(&approval.plugin)
                        ),
                    };
                    format!("; `cofferdam session resume {session}` goes on with its run{with}")
                }
                _ => String::new(),
            };
            cx.note(&format!(
                "{} is {}{next}",
                format::escape(&approval.tool),
                approval.state
            ));
        }
    }
    Ok(())
}
