//! `cofferdam session`: lists, shows, continues, exports and deletes the sessions that are kept.

mod requests;

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::requests::Requests;
use super::interrupt::Interrupt;
use super::live::{LiveHost, print_report};
use super::session_args::SessionArgs;
use super::table::{Column, Table};
use super::{CliError, Context, Output, attach, books, completions, error, format, run};
use crate::agent::{RunReport, Session};
use crate::config::Config;
use crate::events::{Ending, LeftOutFile};
use crate::ledger::{BudgetSettings, Scope};
use crate::money::NanoUsd;
use crate::session::{RecordedFact, SessionError, SessionInfo};
use crate::store::{SessionFilter, Store, StoreError};
use crate::telemetry::LoggingGuard;
use crate::transcript::Attachment;

/// Characters of an id in a list. They tell sessions apart that began in different milliseconds.
const SHORT_ID_CHARS: usize = 13;
/// Characters of a title in a list.
const TITLE_CHARS: usize = 60;
/// Characters of a result that `show` prints.
const RESULT_CHARS: usize = 400;
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
        id_prefix: None,
        count: args.limit,
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
        cx.stdout
            .json_pretty(&json!({ "session": session, "facts": facts, "spent_usd": spent, "charges": requests.rows }));
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
        let said = [requests.read(&fact.fact).await?, in_words(&fact.fact)];
        for text in said.into_iter().flatten() {
            cx.stdout.line(&format!("\n{}  {text}", format::minute(&fact.at)));
        }
        Ok(())
    })
    .await?;
    if let Some(text) = requests.finish().await? {
        cx.stdout.line(&format!("\n{text}"));
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

/// What a fact says to a person. `None`: only programs need it.
fn in_words(fact: &Value) -> Option<String> {
    let text = |key: &str| fact[key].as_str().unwrap_or_default();
    Some(match text("kind") {
        "prompted" => format!("you: {}{}", format::escape(text("text")), attached(fact)),
        "drafted" if text("text").is_empty() => {
            format!("the files of the last prompt are others now{}", attached(fact))
        }
        "drafted" => format!("you, not sent yet: {}{}", format::escape(text("text")), attached(fact)),
        "answered" => answer(fact)?,
        "corrected" => format!("host: {}", format::escape(text("text"))),
        "call_ended" => {
            let content = fact["content"].as_array().into_iter().flatten();
            let content: Vec<&str> = content.filter_map(|piece| piece["text"].as_str()).collect();
            let content = format::one_line(&content.join(" "), RESULT_CHARS);
            let reason = fact["reason"].as_str();
            let reason = reason.map_or_else(String::new, |reason| {
                format!("\n  reason: {}", format::one_line(reason, RESULT_CHARS))
            });
            format!(
                "{} ({}): {content}{reason}",
                format::escape(text("tool")),
                format::escape(text("outcome"))
            )
        }
        "approval_requested" => format!("{} waits for a person", format::escape(text("tool"))),
        "approval_decided" => {
            let reason = fact["reason"].as_str();
            let reason = reason.map_or_else(String::new, |reason| format!(": {}", format::escape(reason)));
            let scope = if fact["for_session"] == true {
                ", for this session"
            } else {
                ""
            };
            match fact["approved"] == true {
                true => format!("a person approved the call{scope}"),
                false => format!("a person denied the call{reason}"),
            }
        }
        "approval_expired" => "nobody will be asked about the call any longer".to_owned(),
        "attempt_ended" if !text("partial_text").is_empty() => {
            format!("model, cut off: {}", format::escape(text("partial_text")))
        }
        "run_ended" => run_end(fact),
        "reopened" => {
            let changes = fact["changes"].as_array().into_iter().flatten();
            let changes: Vec<&str> = changes.filter_map(Value::as_str).collect();
            let changes = changes
                .into_iter()
                .map(|change| format!("; {}", format::escape(change)));
            format!("continued{}", changes.collect::<String>())
        }
        "trimmed" => format!("left out of the conversation from here on{}", left_out(fact)),
        "left_out" => format!("left out of one request, because of the budget{}", left_out(fact)),
        _ => return None,
    })
}

/// A line for each file of a prompt.
fn attached(fact: &Value) -> String {
    let attachments = fact["attachments"].as_array().into_iter().flatten();
    let lines = attachments.map(|attachment| {
        let text = |key: &str| attachment[key].as_str().unwrap_or_default();
        let bytes = attachment["bytes"].as_u64().unwrap_or_default();
        format!(
            "\n  attached: {}",
            attach::described(text("name"), text("media_type"), bytes)
        )
    });
    lines.collect()
}

/// What was left out, as far as the fact says it.
fn left_out(fact: &Value) -> String {
    let files = serde_json::from_value::<Vec<LeftOutFile>>(fact["files"].clone()).unwrap_or_default();
    let results = match (fact["what"].as_str(), fact["results"].as_u64()) {
        (Some("vendor_blocks"), _) => Some("what only the model's vendor can read".to_owned()),
        (Some("images"), _) => Some("all images".to_owned()),
        (_, Some(0)) => None,
        (_, Some(results)) => Some(format::counted(results, "tool result")),
        // It isn't known whether there were any.
        (_, None) => files.is_empty().then(|| "results of tools, and attachments".to_owned()),
    };
    let what: Vec<String> = files.iter().map(attach::left_out).chain(results).collect();
    format!(": {}", what.join(", "))
}

/// How a run ended, and of an error what its report said. Journals of earlier versions have only its kind.
fn run_end(fact: &Value) -> String {
    let text = |key: &str| fact[key].as_str().filter(|text| !text.is_empty());
    let mut words = format!("the run ended: {}", format::escape(text("outcome").unwrap_or_default()));
    for (label, key) in [("error", "message"), ("request id", "request_id"), ("hint", "hint")] {
        if let Some(text) = text(key) {
            let _ = write!(words, "\n  {label}: {}", format::escape(&format::indented(text)));
        }
    }
    words
}

fn answer(fact: &Value) -> Option<String> {
    let mut words = String::new();
    for block in fact["content"].as_array().into_iter().flatten() {
        let gap = if words.is_empty() { "" } else { "\n" };
        match block["type"].as_str() {
            Some("text") => {
                let text = block["text"].as_str().unwrap_or_default();
                let _ = write!(words, "{gap}model: {}", format::escape(text));
            }
            Some("tool_use") => {
                let (name, input) = (block["name"].as_str(), block["input"].as_str());
                let name = format::escape(name.unwrap_or_default());
                let input = format::one_line(input.unwrap_or_default(), RESULT_CHARS);
                let _ = write!(words, "{gap}model calls {name} {input}");
            }
            _ => {}
        }
    }
    (!words.is_empty()).then_some(words)
}

async fn delete(cx: &Context, store: &Store, args: DeleteArgs) -> Result<u8, CliError> {
    let ids = match args.tenant {
        Some(tenant) => {
            let filter = SessionFilter {
                tenant: Some(tenant),
                id_prefix: None,
                count: MAX_SESSIONS,
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
    let live = LiveHost::start(cx, config, show_progress, args.session.repeated(cx)).await?;
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
    note_left(cx, &live, &session, &report);
    drop(session);
    live.shutdown().await;
    Ok(report.outcome.exit_code())
}

/// Says what a run has left without an answer, and how to go on with it.
pub fn note_left(cx: &Context, live: &LiveHost, session: &Session, report: &RunReport) {
    // The error of a run that waits for a person says how. What can't be written can't be resumed.
    if !session.is_kept() || report.unsaved.is_some() || report.outcome == Ending::AwaitingApproval {
        return;
    }
    let resume = live.resume_command(session);
    let what = match session.unanswered() {
        _ if session.unfinished().is_some() => format!("The run has not ended: {resume} goes on with it."),
        Some(_) if session.drafted().is_some() => format!("The prompt after it was not sent yet: {resume} sends it."),
        Some((_, files)) => {
            let (what, are) = match files.is_empty() {
                true => ("The prompt", "is"),
                false => ("The prompt and what was attached", "are"),
            };
            let with = with_files(&files);
            format!("{what} {are} not part of the session: there was no answer. {resume} sends it again{with}.")
        }
        None if session.ends_with_calls() => format!(
            "The prompt and the calls of tools stay in the session, without an answer. `cofferdam run --session {} 'go on'` goes on from \
             there.",
            short(session.id())
        ),
        None => return,
    };
    cx.note(&what);
}

/// Names the files of an unanswered prompt that another prompt leaves behind.
pub fn warn_of_files_left(cx: &Context, live: &LiveHost, session: &Session, attached: &[Attachment]) {
    let (_, files) = session.unanswered().unwrap_or_default();
    let left: Vec<&Attachment> = files.into_iter().filter(|file| !attached.contains(file)).collect();
    if left.is_empty() {
        return;
    }
    let names: Vec<String> = left.into_iter().map(attach::describe).collect();
    let message = format!(
        "the last prompt got no answer, and what was attached to it isn't sent with this one: {}",
        names.join(", ")
    );
    let hint = format!(
        "attach it again with `--attach`; {} would have sent that prompt with it",
        live.resume_command(session)
    );
    cx.stderr.line(&error::warning(&message, Some(&hint)));
}

/// The files of a prompt in words.
fn with_files(files: &[&Attachment]) -> String {
    let names: Vec<String> = files.iter().copied().map(attach::describe).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", with {}", names.join(", ")),
    }
}

/// Takes a session over, and says what differs from when it was last driven.
pub async fn reopen(cx: &Context, live: &LiveHost, id: &str) -> Result<Session, CliError> {
    let session = take_over(live, id).await?;
    announce(cx, live, &session).await;
    Ok(session)
}

async fn take_over(live: &LiveHost, id: &str) -> Result<Session, CliError> {
    let Some(store) = live.host().store() else {
        return Err(StoreError::from(SessionError::Unknown { id: id.to_owned() }).into());
    };
    let found = store.find_session(id, None).await?;
    require_tenant(live.host().config(), &found)?;
    Ok(live.host().reopen(&found.tenant, &found.id).await?)
}

/// Says what became of the session since it was last driven.
async fn announce(cx: &Context, live: &LiveHost, session: &Session) {
    for tool in session.uncertain_calls() {
        cx.note(&format!(
            "A call of {} was cut off and may have had its effect. It is not made again, and the model reads that.",
            format::escape(tool)
        ));
    }
    if let Some(charge) = charge_of_cut_attempt(live, session).await {
        cx.note(&charge);
    }
    for change in session.changes() {
        cx.note(&format!("since the session was last used: {}", format::escape(change)));
    }
}

/// What an attempt cost that brought no answer, if nobody knows it. Where its process died, the ledger has booked that when it was
/// opened.
async fn charge_of_cut_attempt(live: &LiveHost, session: &Session) -> Option<String> {
    let row = match live.host().ledger().find(session.cut_attempt()?).await {
        Ok(row) => row.filter(|row| {
            row.state == "charged" || row.estimated && row.spent_usd.is_some_and(|spent| spent >= row.reserved_usd)
        })?,
        Err(error) => {
            tracing::warn!(%error, "can't read what an attempt was charged");
            return None;
        }
    };
    Some(format!(
        "A model request of {} UTC was cut off before its answer. What it cost isn't known, so all that was reserved for it is charged: \
         ${}. `cofferdam budget reverse {} AMOUNT --reason TEXT` takes back what the vendor didn't bill.",
        format::minute(&row.reserved_at),
        row.spent_usd.unwrap_or(row.reserved_usd),
        row.id
    ))
}

/// What is asked for one tenant must not be charged to another.
fn require_tenant(config: &Config, found: &SessionInfo) -> Result<(), CliError> {
    let asked = &config.agent.tenant;
    if found.tenant == *asked || config.origins.of_key(&["agent", "tenant"]).is_none() {
        return Ok(());
    }
    let tenant = format::escape(&found.tenant);
    Err(CliError::usage(
        format!(
            "the session `{}` belongs to the tenant {tenant}, not to {asked}",
            short(&found.id)
        ),
        format!("go on with `--tenant {tenant}`"),
    ))
}

/// Goes on with a session, or begins one with this id.
pub async fn open_or_create(cx: &Context, live: &LiveHost, id: &str) -> Result<Session, CliError> {
    match reopen(cx, live, id).await {
        Err(CliError::Store(StoreError::Session(SessionError::Unknown { .. }))) => {
            if looks_generated(id, Timestamp::now()) {
                return Err(CliError::usage(
                    format!("there is no session `{id}`, and it looks like a generated id or the beginning of one"),
                    "`cofferdam session list` shows the sessions that are kept; for a new one leave `--session` out, or choose a name \
                     that doesn't look like an id",
                ));
            }
            let session = live.host().session_named(&live.host().config().agent.tenant, id);
            let session = session.map_err(|error| {
                CliError::usage(
                    error.to_string(),
                    "`cofferdam session list` shows the sessions that are kept",
                )
            })?;
            cx.note(&format!("The session `{id}` is new."));
            Ok(session)
        }
        reopened => reopened,
    }
}

/// Whether it is, or begins like, an id that this program can have generated until now. Nobody chooses such a name for a new session, so
/// it is one that was mistyped or that is deleted.
fn looks_generated(id: &str, now: Timestamp) -> bool {
    /// UUIDs of version 7, which begin with the time in milliseconds.
    const FORM: &str = "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx";
    /// The first eight characters count in this unit of about a minute.
    const UNIT_MS: i64 = 1 << 16;
    /// In these units the beginning of 2024, before this program.
    const FIRST: i64 = 0x018c_c251;
    let fits = |(character, form): (char, char)| match form {
        'x' => character.is_ascii_hexdigit(),
        _ => character == form,
    };
    let has_form = id.len() <= FORM.len() && id.chars().zip(FORM.chars()).all(fits);
    let time = id.get(..8).and_then(|time| i64::from_str_radix(time, 16).ok());
    let newest = now.as_millisecond() / UNIT_MS;
    has_form && time.is_some_and(|time| (FIRST..=newest).contains(&time))
}

/// The newest session of the configured tenant that nobody drives.
pub async fn newest(cx: &Context, live: &LiveHost) -> Result<String, CliError> {
    let filter = SessionFilter {
        tenant: Some(live.host().config().agent.tenant.clone()),
        id_prefix: None,
        count: MAX_SESSIONS,
    };
    let sessions = match live.host().store() {
        Some(store) => store.sessions(filter).await?,
        None => Vec::new(),
    };
    let Some(newest) = sessions.iter().find(|session| !session.in_use) else {
        return Err(CliError::usage(
            "there is no session to continue",
            "`cofferdam session list` shows the sessions that are kept; leave `--continue` out to begin one",
        ));
    };
    for newer in sessions.iter().take_while(|session| session.in_use) {
        let id = short(&newer.id);
        cx.note(&format!("The session {id} is newer, and in use by another process."));
    }
    Ok(newest.id.clone())
}

/// Where a configuration doesn't keep sessions, none can be named.
pub fn require_kept(config: &Config, argument: &str) -> Result<(), CliError> {
    match config.sessions.keep {
        true => Ok(()),
        false => Err(CliError::usage(
            format!("{argument} needs sessions that are kept"),
            "leave `--ephemeral` out, and set `[sessions] keep = true`",
        )),
    }
}

/// A prompt can't follow one that was not answered to the end.
pub fn require_finished(session: &Session) -> Result<(), CliError> {
    match session.unfinished() {
        None => Ok(()),
        Some(_) => Err(StoreError::from(SessionError::Unfinished {
            id: short(session.id()).to_owned(),
        })
        .into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn facts_are_put_into_words_without_control_characters() {
        let fact = json!({ "kind": "answered", "content": [
            { "type": "text", "text": "so\u{1b}[2J" },
            { "type": "tool_use", "name": "t", "input": "{}" },
            { "type": "opaque", "json": "{}" },
        ] });
        let words = in_words(&fact).unwrap();
        assert!(
            words.starts_with("model: so") && words.ends_with("model calls t {}"),
            "{words}"
        );
        assert!(!words.contains('\u{1b}'), "{words}");
        assert_eq!(in_words(&json!({ "kind": "attempt_started" })), None);
        assert_eq!(in_words(&json!({ "kind": "of tomorrow" })), None);
    }

    #[test]
    fn a_run_that_failed_keeps_its_reason() {
        let old = json!({ "kind": "run_ended", "outcome": "model_failed", "error": "stream_cut" });
        assert_eq!(in_words(&old).unwrap(), "the run ended: model_failed");
        let new = json!({
            "kind": "run_ended", "outcome": "model_failed", "error": "stream_cut",
            "message": "the answer\u{1b} was cut off", "hint": "try again", "request_id": "req_1",
        });
        assert_eq!(
            in_words(&new).unwrap(),
            "the run ended: model_failed\n  error: the answer\\u{1b} was cut off\n  request id: req_1\n  hint: try again"
        );
    }

    #[test]
    fn a_name_is_not_taken_for_a_generated_id() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        for id in [
            "01a22c37",
            "01a22c37-d4f7",
            "01A22C37-D4F7",
            "01a22c37-d4f7-768d-bc0c-f53debca8612",
            "0199aaaa-",
        ] {
            assert!(looks_generated(id, now), "{id}");
        }
        for name in [
            "nightly",
            "20261130",
            "20261130-a",
            "30112026",
            "deadbeef",
            "01a22c3",
            "01a22c37-ticket",
            "01a22c37-d4f7-468d-bc0c-f53debca8612",
            "01a22c37-d4f7-768d-bc0c-f53debca8612-b",
            "01b00000-0000",
            "01a22c37d4f7",
            "",
            "zürich-1",
        ] {
            assert!(!looks_generated(name, now), "{name}");
        }
    }

    #[test]
    fn a_short_id_is_its_beginning() {
        assert_eq!(short("01a2289e-70dc-768d-bc0c-f53debca8612"), "01a2289e-70dc");
        assert_eq!(short("ticket-2026-11-29-a"), "ticket-2026-11-29-a");
    }
}
