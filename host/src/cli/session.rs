//! `cofferdam session`: lists, shows, continues, exports and deletes the sessions that are kept.

mod charge;
mod left;
mod requests;
mod taken;
mod words;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::left::with_files;
pub use self::left::{note_left, warn_of_files_left};
use self::requests::Requests;
use self::taken::{announce, take_over};
pub use self::taken::{newest, open_or_create, reopen, require_finished, require_kept};
use self::words::in_words;
use super::interrupt::Interrupt;
use super::live::{LiveHost, print_report};
use super::session_args::SessionArgs;
use super::table::{Column, Table};
use super::{CliError, Context, Output, books, completions, format, run};
use crate::ledger::{BudgetSettings, Scope};
use crate::money::NanoUsd;
use crate::session::{RecordedFact, SessionInfo};
use crate::store::{SessionFilter, Store, StoreError};
use crate::telemetry::LoggingGuard;

/// Characters of an id in a list. They tell sessions apart that began in different milliseconds.
const SHORT_ID_CHARS: usize = 13;
/// Characters of a title in a list.
const TITLE_CHARS: usize = 60;
/// The most sessions that a command looks at.
pub const MAX_SESSIONS: u32 = 100_000;

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List the sessions that are kept, the newest first
    List(ListArgs),
    /// Show what happened in a session
    Show(OneArgs),
    /// Go on with a run that has not ended, or send the last prompt again if it got no answer
    Resume(Box<ResumeArgs>),
    /// Print everything that is kept of a session, as JSON lines
    Export(OneArgs),
    /// Delete sessions
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub struct ListArgs {
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The most to list
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Args, Debug)]
pub struct OneArgs {
    /// The session's id, or the beginning of a generated one
    #[arg(value_name = "ID", add = completions::sessions())]
    id: String,
}

#[derive(Args, Debug)]
pub struct ResumeArgs {
    /// The session's id, or the beginning of a generated one
    #[arg(value_name = "ID", add = completions::sessions())]
    id: String,
    /// Go on without the calls that wait for a person, or were approved, and whose tools aren't there any more
    #[arg(long)]
    give_up: bool,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub struct DeleteArgs {
    /// Ids of sessions, or the beginnings of generated ones
    #[arg(value_name = "ID", add = completions::sessions())]
    ids: Vec<String>,
    /// All sessions of this tenant
    #[arg(long, value_name = "TENANT", conflicts_with = "ids")]
    tenant: Option<String>,
}

pub async fn session(cx: &Context, command: SessionCommand) -> Result<u8, CliError> {
    match command {
        SessionCommand::Resume(args) => return resume(cx, *args).await,
        SessionCommand::List(args) => list(cx, &open(cx, true).await?.0, args).await?,
        SessionCommand::Show(args) => show(cx, &open(cx, true).await?.0, &args.id).await?,
        SessionCommand::Export(args) => export(cx, &open(cx, true).await?.0, &args.id).await?,
        SessionCommand::Delete(args) => return delete(cx, &open(cx, false).await?.0, args).await,
    }
    Ok(0)
}

async fn open(cx: &Context, is_only_read: bool) -> Result<(Store, LoggingGuard), CliError> {
    books::open_and_say(cx, &cx.config()?, is_only_read).await
}

async fn list(cx: &Context, store: &Store, args: ListArgs) -> Result<(), CliError> {
    let filter = SessionFilter {
        tenant: args.tenant,
        count: args.limit,
        ..SessionFilter::default()
    };
    let sessions = store.sessions(filter).await?;
    match cx.global.output {
        Output::Json => cx.stdout.json_pretty(&sessions),
        Output::StreamJson => sessions.iter().for_each(|session| cx.stdout.json_line(session)),
        Output::Text if sessions.is_empty() => cx.note("No such session is kept here: `run` and `chat` keep theirs."),
        Output::Text => cx.stdout.write(&table(&sessions).render_within(cx.stdout.width())),
    }
    Ok(())
}

fn table(sessions: &[SessionInfo]) -> Table {
    let mut table = Table::new([
        Column::Left("session"),
        Column::Left("last change"),
        Column::Left("ended"),
        Column::Right("facts"),
        Column::Left("began with"),
    ]);
    for session in sessions {
        table.row([
            short(&session.id).to_owned(),
            format::minute(&session.changed_at),
            ending(session),
            session.facts.to_string(),
            format::one_line(&session.title, TITLE_CHARS),
        ]);
    }
    table
}

/// The beginning of an id that is enough to name it.
pub fn short(id: &str) -> &str {
    match uuid::Uuid::try_parse(id) {
        Ok(_) => id.get(..SHORT_ID_CHARS).unwrap_or(id),
        // Somebody's own name for it.
        Err(_) => id,
    }
}

fn ending(session: &SessionInfo) -> String {
    match (session.outcome, session.in_use) {
        (_, true) => "in use".to_owned(),
        (Some(outcome), false) => outcome.to_string(),
        (None, false) => "unfinished".to_owned(),
    }
}

/// Calls `print` with each fact, a page at a time, because a session can be long.
async fn each_fact(
    store: &Store,
    id: &str,
    mut print: impl AsyncFnMut(&RecordedFact) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut after = 0;
    loop {
        let page = store.facts(id, after).await?;
        for fact in &page {
            print(fact).await?;
        }
        match page.last() {
            Some(last) => after = last.seq,
            None => return Ok(()),
        }
    }
}

async fn export(cx: &Context, store: &Store, id: &str) -> Result<(), CliError> {
    let session = store.find_session(id, None).await?;
    cx.stdout.json_line(&json!({ "session": session }));
    each_fact(store, &session.id, async |fact| {
        cx.stdout.json_line(fact);
        Ok(())
    })
    .await?;
    Ok(())
}

async fn show(cx: &Context, store: &Store, id: &str) -> Result<(), CliError> {
    let session = store.find_session(id, None).await?;
    if cx.global.output == Output::StreamJson {
        return export(cx, store, id).await;
    }
    let mut requests = Requests::new(store.ledger());
    if cx.global.output == Output::Json {
        let mut facts = Vec::new();
        each_fact(store, &session.id, async |fact| {
            requests.read(&fact.fact).await?;
            facts.push(without_files(fact.clone()));
            Ok(())
        })
        .await?;
        requests.finish().await?;
        let spent = spent(store, &session).await?;
        cx.stdout.json_pretty(
            &json!({ "session": session, "facts": facts, "spent_usd": spent, "charges": requests.rows() }),
        );
        return Ok(());
    }
    cx.stdout.line(&format!(
        "session {} of {}, begun {}, {}",
        session.id,
        format::escape(&session.tenant),
        format::minute(&session.opened_at),
        ending(&session)
    ));
    each_fact(store, &session.id, async |fact| {
        let of_request = requests.read(&fact.fact).await?;
        let of_request = of_request.map(|text| cx.commands.complete(&text).into_owned());
        let said = [of_request, in_words(&fact.fact)];
        for text in said.into_iter().flatten() {
            cx.stdout.line(&format!("\n{}  {text}", format::minute(&fact.at)));
        }
        Ok(())
    })
    .await?;
    if let Some(text) = requests.finish().await? {
        cx.stdout.line(&format!("\n{}", cx.commands.complete(&text)));
    }
    cx.stdout
        .line(&format!("\n{}", requests.total(spent(store, &session).await?)));
    Ok(())
}

/// What the ledger counts for the session, less what was taken back.
async fn spent(store: &Store, session: &SessionInfo) -> Result<NanoUsd, StoreError> {
    let (ledger, no_limits) = (store.ledger(), BudgetSettings::default());
    let status = ledger
        .status(&session.tenant, Some(&session.id), &no_limits, Timestamp::now())
        .await?;
    let of_session = status.iter().find(|status| status.scope == Scope::Session);
    Ok(of_session.map_or(NanoUsd::ZERO, |status| status.spent_usd))
}

/// The fact without the bytes of attached files. `session export` has them.
fn without_files(mut fact: RecordedFact) -> RecordedFact {
    for attachment in fact.fact["attachments"].as_array_mut().into_iter().flatten() {
        if let Some(fields) = attachment.as_object_mut() {
            fields.remove("data");
        }
    }
    fact
}

async fn delete(cx: &Context, store: &Store, args: DeleteArgs) -> Result<u8, CliError> {
    let ids = match args.tenant {
        Some(tenant) => {
            let filter = SessionFilter {
                tenant: Some(tenant),
                count: MAX_SESSIONS,
                ..SessionFilter::default()
            };
            store
                .sessions(filter)
                .await?
                .into_iter()
                .map(|session| session.id)
                .collect()
        }
        None => args.ids,
    };
    let (mut deleted, mut failed) = (0, Vec::new());
    for id in ids {
        let found = store.find_session(&id, None).await;
        let done = match found {
            Ok(session) => store.delete_session(&session.id).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => deleted += 1,
            // The others can still be deleted.
            Err(error) => {
                let error = CliError::from(error);
                cx.report_error(&error);
                failed.push(json!({ "id": id, "error": error.info() }));
            }
        }
    }
    match cx.global.output {
        Output::Text => cx.note(&format!("{deleted} deleted")),
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({ "deleted": deleted, "failed": failed })),
    }
    Ok(u8::from(!failed.is_empty()))
}

async fn resume(cx: &Context, args: ResumeArgs) -> Result<u8, CliError> {
    let mut config = args.session.config(cx)?;
    run::require_keys(&config)?;
    if args.session.is_ephemeral() {
        return Err(CliError::usage(
            "the session is kept already",
            "leave `--ephemeral` out; `cofferdam session delete` forgets a session",
        ));
    }
    // This one is, whatever becomes of others.
    config.sessions.keep = true;
    cx.note_missing_configuration(&config);
    let show_progress = cx.shows_progress();
    let _logging = cx.logging_of_runs(&config, show_progress)?;
    cx.commands.repeat(args.session.repeated());
    let live = LiveHost::start(cx, config, show_progress).await?;
    let mut session = take_over(&live, &args.id).await?;
    let nothing_left = CliError::usage(
        format!(
            "nothing is left to do in the session {}: its last run ended",
            short(session.id())
        ),
        format!(
            "ask something else with `cofferdam run --session {} PROMPT`",
            short(session.id())
        ),
    );
    if session.unfinished().is_none() && session.unanswered().is_none() {
        return Err(nothing_left);
    }
    announce(cx, &live, &session).await;
    if args.give_up {
        for tool in session.give_up_missing_tools().await {
            let tool = format::escape(&tool);
            cx.note(&format!(
                "The call of {tool} is given up. The model reads that there is no such tool."
            ));
        }
    }
    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    let resumed = match session.unfinished() {
        Some(_) => live.resume(&mut session, cancel).await,
        None => {
            if let Some((prompt, files)) = session.unanswered() {
                let prompt = format::one_line(prompt, TITLE_CHARS);
                cx.note(&format!(
                    "Sending the last prompt again{}: {prompt}",
                    with_files(&files)
                ));
            }
            live.send_again(&mut session, cancel).await
        }
    };
    let Some(report) = resumed else {
        return Err(nothing_left);
    };
    print_report(cx, &report);
    note_left(cx, &session, &report);
    drop(session);
    live.shutdown().await;
    Ok(report.outcome.exit_code())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_short_id_is_its_beginning() {
        assert_eq!(short("01a2289e-70dc-768d-bc0c-f53debca8612"), "01a2289e-70dc");
        assert_eq!(short("ticket-2026-11-29-a"), "ticket-2026-11-29-a");
    }
}
