//! Takes over the session that a command names.

use jiff::Timestamp;

use super::charge::Charge;
use super::{MAX_SESSIONS, short};
use crate::agent::Session;
use crate::cli::live::LiveHost;
use crate::cli::{CliError, Context, format};
use crate::config::Config;
use crate::session::{SessionError, SessionInfo};
use crate::store::{SessionFilter, StoreError};

/// Takes a session over, and says what differs from when it was last driven.
pub async fn reopen(cx: &Context, live: &LiveHost, id: &str) -> Result<Session, CliError> {
    let session = take_over(live, id).await?;
    announce(cx, live, &session).await;
    Ok(session)
}

pub(super) async fn take_over(live: &LiveHost, id: &str) -> Result<Session, CliError> {
    let Some(store) = live.host().store() else {
        return Err(StoreError::from(SessionError::Unknown { id: id.to_owned() }).into());
    };
    let found = store.find_session(id, None).await?;
    require_tenant(live.host().config(), &found)?;
    Ok(live.host().reopen(&found.tenant, &found.id).await?)
}

/// Says what became of the session since it was last driven.
pub(super) async fn announce(cx: &Context, live: &LiveHost, session: &Session) {
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
    let charge = match Charge::find(live.host().ledger(), session.cut_attempt()?).await {
        Ok(charge) => charge?,
        Err(error) => {
            tracing::warn!(%error, "can't read what an attempt was charged");
            return None;
        }
    };
    Some(format!(
        "A model request of {} UTC was cut off before its answer. What it cost isn't known, so all that was reserved for it is charged: \
         ${}; {}.",
        format::minute(&charge.row.reserved_at),
        charge.in_full()?,
        charge.correction()
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
                    "`cofferdam session list` shows the sessions that are kept, and eight characters of an id are enough; for a new one \
                     leave `--session` out, or choose a name that doesn't look like an id",
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

/// Whether it is, or begins like, an id that this program can have generated until now, with its dashes or without. Nobody chooses such
/// a name for a new session, so it is one that was mistyped or that is deleted.
fn looks_generated(id: &str, now: Timestamp) -> bool {
    /// UUIDs of version 7, which begin with the time in milliseconds.
    const FORM: &str = "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx";
    /// The first eight characters count in this unit of about a minute.
    const UNIT_MS: i64 = 1 << 16;
    /// In these units the beginning of 2024, before this program.
    const FIRST: i64 = 0x018c_c251;
    /// Fewer can be anything.
    const LEAST: usize = 4;
    let has_form = |form: &str| {
        let fits = |(character, form): (char, char)| match form {
            'x' => character.is_ascii_hexdigit(),
            _ => character == form,
        };
        id.len() <= form.len() && id.chars().zip(form.chars()).all(fits)
    };
    let newest = now.as_millisecond() / UNIT_MS;
    let digits = id.len().min(8);
    let unit = 4 * (8 - digits);
    let time = id.get(..digits).and_then(|time| i64::from_str_radix(time, 16).ok());
    let is_past = |time| (FIRST >> unit..=newest >> unit).contains(&time);
    digits >= LEAST && time.is_some_and(is_past) && (has_form(FORM) || has_form(&FORM.replace('-', "")))
}

/// The newest session of the configured tenant that nobody drives.
pub async fn newest(cx: &Context, live: &LiveHost) -> Result<String, CliError> {
    let filter = SessionFilter {
        tenant: Some(live.host().config().agent.tenant.clone()),
        count: MAX_SESSIONS,
        ..SessionFilter::default()
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
    fn a_name_is_not_taken_for_a_generated_id() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        for id in [
            "01a22c37",
            "01a22c37-d4f7",
            "01A22C37-D4F7",
            "01a22c37-d4f7-768d-bc0c-f53debca8612",
            "0199aaaa-",
            "01a22c3",
            "01a2",
            "01a22c37d4f7",
            "01a22c37d4f7768dbc0cf53debca8612",
        ] {
            assert!(looks_generated(id, now), "{id}");
        }
        for name in [
            "nightly",
            "20261130",
            "20261130-a",
            "30112026",
            "deadbeef",
            "01a",
            "0131",
            "2026",
            "cafe",
            "01a22c37-ticket",
            "01a22c37-d4f7-468d-bc0c-f53debca8612",
            "01a22c37-d4f7-768d-bc0c-f53debca8612-b",
            "01b00000-0000",
            "01a22c37d4f7468d",
            "",
            "zürich-1",
        ] {
            assert!(!looks_generated(name, now), "{name}");
        }
    }
}
