//! `cofferdam doctor`: where everything lies, and what of this machine would get in the way.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::standalone;
use super::tool_call::Calls;
use super::{CliError, Context, Output, budget, config_in_code, error, format, grants, run, session, tool};
use crate::config::Config;
use crate::events::{BreakerState, Outcome};
use crate::ledger::LedgerError;
use crate::model::{self, ClientError, ModelSettings, Provider, ProviderKind};
use crate::sandbox::{guest_memory, resets_memory_fast, system_limits};
use crate::store::{BreakerRecord, SessionFilter, Store, StoreError};
use crate::telemetry::{EventBus, logging};
use crate::tls;

/// The log of the ledger and its index, when they are created.
const ROOM_BYTES: usize = 64 * 1024;

/// The tool whose call shows that the sandbox works, and its input.
const TRIAL: &str = "builtin:calculator";
const TRIAL_TOOL: &str = "calculate";
const TRIAL_INPUT: &str = "{\"expression\": \"6 * 7\"}";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    /// It works, and could be better.
    Note,
    Problem,
}

impl Status {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// What was looked at, and how it is.
#[derive(Debug, Serialize)]
struct Finding {
    subject: &'static str,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Finding {
    fn ok(subject: &'static str, detail: impl Into<String>) -> Self {
        Self {
            subject,
            status: Status::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    fn note(subject: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            status: Status::Note,
            hint: Some(hint.into()),
            ..Self::ok(subject, detail)
        }
    }

    fn problem(subject: &'static str, detail: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            status: Status::Problem,
            hint,
            ..Self::ok(subject, detail)
        }
    }
}

/// Looks at everything, and sends nothing to anybody. Exits with 1 if something has to be mended first.
pub async fn doctor(cx: &Context) -> Result<u8, CliError> {
    let mut findings = Vec::new();
    let config = match cx.config() {
        Ok(config) => {
            findings.extend(configured(&config));
            config
        }
        Err(error) => {
            let info = error.info();
            findings.push(Finding::problem("configuration", info.message, info.hint));
            // The rest is about this machine, and about the defaults.
            config_in_code()
        }
    };
    findings.extend(folders(&config));
    findings.extend(books(&config).await);
    findings.extend(system(&config));
    findings.push(trial(cx).await);
    print(cx, &findings);
    Ok(u8::from(
        findings.iter().any(|finding| finding.status == Status::Problem),
    ))
}

/// The configuration, and the model that it names.
fn configured(config: &Config) -> Vec<Finding> {
    let mut findings = vec![match config.origins.file() {
        Some(file) => Finding::ok("configuration", file.display().to_string()),
        None => Finding::note(
            "configuration",
            config.origins.summary(),
            "the defaults are in force; `cofferdam init` writes a file to start from",
        ),
    }];
    let plugins: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    findings.push(match plugins.is_empty() {
        true => Finding::note("plugins", "none", Config::OMITTED_PLUGINS_HINT),
        false => Finding::ok(
            "plugins",
            format!("{}; `cofferdam config check` loads them", plugins.join(", ")),
        ),
    });
    findings.push(model("model", &config.model));
    let fallbacks = config.fallback_models.iter();
    findings.extend(fallbacks.map(|settings| model("fallback model", settings)));
    findings
}

fn model(name: &'static str, settings: &ModelSettings) -> Finding {
    let id = format::escape(&settings.model).into_owned();
    match (run::require_key(settings), client(settings)) {
        (Err(missing), _) => Finding::problem(name, format!("{id}: {missing}"), missing.hint()),
        (Ok(()), Ok(client)) => {
            let key = match (settings.provider, &settings.api_key_env) {
                (ProviderKind::Simulated, _) => ", simulated".to_owned(),
                (_, Some(variable)) => format!(", with the key in {variable}"),
                (_, None) => ", without a key".to_owned(),
            };
            Finding::ok(name, format!("{id} at {}{key}", client.route()))
        }
        (Ok(()), Err(error)) => Finding::problem(name, format!("{id}: {error}"), error.hint().map(str::to_owned)),
    }
}

fn client(settings: &ModelSettings) -> Result<Arc<dyn Provider>, ClientError> {
    let tls = tls::client_config().map_err(|error| ClientError::Http(error.to_string()))?;
    model::provider_for(settings, &tls)
}

/// Where data, compiled components and logs lie, and whether they can be written there.
fn folders(config: &Config) -> Vec<Finding> {
    let data = config.storage.folder();
    let data = folder("data", &data, "name another folder in `[storage] path`");
    let kept = config.storage.keyvalue_path();
    let kept = file("kept data", kept, "no plugin keeps data yet", &data);
    let mut findings = vec![data, kept];
    findings.push(match &config.engine.cache_dir {
        Some(cache) => folder("cache", cache, "set XDG_CACHE_HOME to a folder that you can write to"),
        None => Finding::note(
            "cache",
            "none, so every start compiles all components",
            "set HOME or XDG_CACHE_HOME",
        ),
    });
    findings.push(match (&config.logging.directory, logging::check(&config.logging)) {
        (Some(directory), Ok(())) => folder("log", directory, "name another folder in `[logging] directory`"),
        (None, _) => Finding::ok("log", "none; `[logging] directory` names a folder for one"),
        (_, Err(error)) => Finding::problem("log", error.to_string(), error.hint().map(str::to_owned)),
    });
    findings
}

/// What was spent, and the sessions beside it: whether they can be read, and written to.
async fn books(config: &Config) -> Vec<Finding> {
    let path = config.ledger_path();
    let data = folder(
        "data",
        &config.storage.folder(),
        "name another folder in `[storage] path`",
    );
    let budgets = file("budgets", path.clone(), "nothing was spent yet", &data);
    if budgets.status != Status::Ok || !path.exists() {
        return vec![budgets];
    }
    let read = async {
        let opened = tokio::task::spawn_blocking(move || Store::open_read_only(&path)).await;
        let store = opened.unwrap_or(Err(LedgerError::Interrupted))?;
        let filter = SessionFilter {
            count: session::MAX_SESSIONS,
            ..SessionFilter::default()
        };
        let unusual = store.ledger().unusual(Timestamp::now()).await?;
        Ok::<_, StoreError>((store.sessions(filter).await?, unusual, store.breakers().await?))
    };
    let (sessions, unusual, breakers) = match read.await {
        Ok(read) => read,
        Err(error) => {
            let error = CliError::from(error);
            return vec![Finding::problem("budgets", error.info().message, error.hint())];
        }
    };
    let kept = match config.sessions.keep {
        true => "",
        false => "; new ones aren't kept",
    };
    let count = format::counted(sessions.len() as u64, "session");
    let unfinished = sessions
        .iter()
        .filter(|session| session.outcome.is_none() && !session.in_use);
    let budgets = match (budget::in_words(&unusual).join("; "), unusual.restored) {
        (words, _) if words.is_empty() => budgets,
        (words, Some(_)) => Finding::problem("budgets", words, Some(budget::confirm_hint(&unusual).to_owned())),
        (words, None) => Finding::note("budgets", words, budget::confirm_hint(&unusual)),
    };
    let open_models = breakers
        .iter()
        .filter(|breaker| breaker.tenant.is_none() && breaker.state == BreakerState::Open);
    let mut findings: Vec<Finding> = open_models
        .filter(|breaker| breaker.name.starts_with("model:"))
        .map(open_breaker)
        .collect();
    findings.extend([
        budgets,
        match unfinished.count() {
            0 => Finding::ok("sessions", format!("{count}{kept}")),
            unfinished => Finding::note(
                "sessions",
                format!("{count}, {} unfinished{kept}", format::count(unfinished as u64)),
                "`cofferdam session list` shows them, and `cofferdam session resume ID` goes on with one",
            ),
        },
    ]);
    findings
}

/// A model that isn't asked.
fn open_breaker(breaker: &BreakerRecord) -> Finding {
    let name = format::escape(&breaker.name);
    let next = match breaker.until {
        None => "held open by an operator".to_owned(),
        Some(until) if until <= Timestamp::now() => "the next call is a probe".to_owned(),
        Some(until) => format!("no calls until {} UTC", format::second(until)),
    };
    let failure = breaker
        .last_failure
        .as_deref()
        .map_or_else(String::new, |failure| format!("; the last failure: {failure}"));
    Finding::note(
        "breaker",
        format!(
            "{name} is open since {} UTC: {next}{failure}",
            format::second(breaker.since)
        ),
        format!("`cofferdam breakers close {name}` lets calls through at once"),
    )
}

/// A folder that is there or can be created.
fn folder(subject: &'static str, folder: &Path, hint: &str) -> Finding {
    let existing = folder.ancestors().find(|ancestor| ancestor.exists());
    let shown = folder.display();
    if let Some(file) = existing.filter(|existing| !existing.is_dir()) {
        let file = file.display();
        return Finding::problem(
            subject,
            format!("{shown} can't be written to: {file} is a file"),
            Some(format!("move {file} away, or {hint}")),
        );
    }
    match existing.map(|existing| (existing == folder, try_writing(existing))) {
        Some((true, Ok(_))) => Finding::ok(subject, shown.to_string()),
        Some((false, Ok(_))) => Finding::ok(subject, format!("{shown} (not there yet)")),
        Some((_, Err(error))) => {
            let hint = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => format!("free some space, or {hint}"),
                _ => hint.to_owned(),
            };
            Finding::problem(subject, format!("{shown} can't be written to: {error}"), Some(hint))
        }
        None => Finding::problem(subject, format!("{shown} can't be created"), Some(hint.to_owned())),
    }
}

/// Writes a file that nobody sees, as large as what a database needs to be opened: an empty one fits on a full disk.
fn try_writing(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder)?.write_all(&[0; ROOM_BYTES])
}

/// A database, which needs more files beside it while it is used.
fn file(subject: &'static str, path: PathBuf, missing: &str, folder: &Finding) -> Finding {
    let shown = path.display();
    let (detail, writable) = match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_file() => (
            format!("{shown} ({})", format::bytes(metadata.len())),
            // Writes nothing.
            File::options().append(true).open(&path).map(drop),
        ),
        Ok(_) => (shown.to_string(), Err(io::Error::other("it isn't a file"))),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            (format!("{shown} ({missing})"), Ok(()))
        }
        Err(error) => {
            let hint = "let this user look at it".to_owned();
            return Finding::problem(subject, format!("{shown} can't be looked at: {error}"), Some(hint));
        }
    };
    match (writable, folder.status) {
        (Err(error), _) => {
            let hint = "make it writable, or move it away".to_owned();
            Finding::problem(subject, format!("{detail} can't be written to: {error}"), Some(hint))
        }
        (Ok(()), Status::Problem) => {
            let detail = format!("{detail} can't be written to, because its folder can't");
            Finding::problem(subject, detail, folder.hint.clone())
        }
        (Ok(()), _) => Finding::ok(subject, detail),
    }
}

/// What the system allows, and what as many calls as can run at once need.
fn system(config: &Config) -> Vec<Finding> {
    let calls = config.engine.host_concurrency;
    let mut findings: Vec<Finding> = system_limits(&config.engine)
        .into_iter()
        .map(|limit| {
            let has = match limit.has {
                u64::MAX => "unlimited".to_owned(),
                has => format::count(has),
            };
            let detail = format!("{has}; {calls} calls at once need {}", format::count(limit.needed));
            match limit.is_enough() {
                true => Finding::ok(limit.what, detail),
                false => Finding::note(limit.what, detail, limit.hint),
            }
        })
        .collect();
    findings.push(match guest_memory(&config.engine) {
        Some(bytes) => Finding::ok(
            "memory for tools",
            format!("{} for all calls together", format::bytes(bytes)),
        ),
        None => Finding::note(
            "memory for tools",
            "not limited, because this system doesn't say how much there is",
            "set [limits] host_memory",
        ),
    });
    findings.push(match resets_memory_fast() {
        true => Finding::ok("kernel", "resets the memory of calls fast (PAGEMAP_SCAN)"),
        false => Finding::note(
            "kernel",
            "lacks PAGEMAP_SCAN, so a call costs about two and a half times as much",
            "Linux 6.7 has it",
        ),
    });
    findings.push(match tls::roots_problem() {
        None => Finding::ok("certificates", format!("{} roots", tls::root_count())),
        Some(problem) => Finding::problem(
            "certificates",
            problem,
            Some("without them, no https:// address can be reached".to_owned()),
        ),
    });
    findings
}

/// Calls a tool in the sandbox, which also compiles it if it isn't in the cache.
async fn trial(cx: &Context) -> Finding {
    match call_trial_tool(cx).await {
        Ok(detail) => Finding::ok("sandbox", detail),
        Err(error) => {
            let info = error.info();
            Finding::problem("sandbox", info.message, info.hint)
        }
    }
}

async fn call_trial_tool(cx: &Context) -> Result<String, CliError> {
    let mut config = standalone::config(grants::component(TRIAL, &grants::GrantArgs::default())?)?;
    config.engine.host_concurrency = 1;
    let started = Instant::now();
    let tools = tool::load_silently(&config).await?;
    let loaded = started.elapsed();
    let calls = Calls::new(cx, &config, EventBus::new(), false)?;
    let result = calls
        .call(
            &tools,
            TRIAL_TOOL.to_owned(),
            TRIAL_INPUT,
            &tokio_util::sync::CancellationToken::new(),
        )
        .await;
    match result.outcome {
        Outcome::Ok => Ok(format!(
            "{TRIAL} was loaded in {} and called in {}",
            format::millis(loaded.as_secs_f64() * 1000.0),
            format::millis(result.finished.duration_ms)
        )),
        outcome => Err(CliError::usage(
            format!(
                "a call of {TRIAL} ended with {outcome}: {}",
                result.finished.detail.unwrap_or(result.finished.output)
            ),
            "`cofferdam tool call builtin:calculator '{\"expression\": \"6 * 7\"}' -v` shows more",
        )),
    }
}

fn print(cx: &Context, findings: &[Finding]) {
    let healthy = findings.iter().all(|finding| finding.status != Status::Problem);
    let document = json!({ "healthy": healthy, "findings": findings });
    match cx.global.output {
        Output::Text => findings
            .iter()
            .for_each(|finding| cx.stdout.write(&cx.commands.complete(&line(finding)))),
        Output::Json => cx.stdout.json_pretty(&document),
        Output::StreamJson => cx.stdout.json_line(&document),
    }
    if cx.global.output == Output::Text && !healthy {
        cx.note(&error::warning("something has to be mended first", None));
    }
}

fn line(finding: &Finding) -> String {
    let detail = format::escape(&format::indented(&finding.detail)).into_owned();
    let mut line = format!("{:<8}{:<18}{detail}\n", finding.status.name(), finding.subject);
    if let Some(hint) = &finding.hint {
        line += &format!("{:<26}hint: {}\n", "", format::escape(&format::indented(hint)));
    }
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_is_there_or_can_be_created_or_neither() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(folder("data", root.path(), "").status, Status::Ok);
        let below = folder("data", &root.path().join("a/b"), "");
        assert!(
            below.status == Status::Ok && below.detail.contains("not there yet"),
            "{below:?}"
        );
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let impossible = folder("data", &file.join("b"), "elsewhere");
        assert_eq!(impossible.status, Status::Problem);
        let hint = format!("move {} away, or elsewhere", file.display());
        assert_eq!(impossible.hint, Some(hint));
    }

    #[test]
    fn a_database_needs_a_folder_and_a_file_that_can_be_written_to() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ledger");
        let writable = folder("data", root.path(), "");
        let found = file("budgets", path.clone(), "nothing yet", &writable);
        assert!(
            found.status == Status::Ok && found.detail.ends_with("(nothing yet)"),
            "{found:?}"
        );
        let impossible = Finding::problem("data", "", Some("elsewhere".to_owned()));
        let found = file("budgets", path.clone(), "nothing yet", &impossible);
        assert_eq!(
            (found.status, found.hint.as_deref()),
            (Status::Problem, Some("elsewhere"))
        );
        std::fs::write(&path, "x").unwrap();
        assert_eq!(file("budgets", path.clone(), "", &writable).status, Status::Ok);
        assert_eq!(file("budgets", path.clone(), "", &impossible).status, Status::Problem);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(file("budgets", path, "", &writable).status, Status::Problem);
    }

    #[test]
    fn too_low_a_limit_is_a_note_with_its_hint() {
        let mut config = config_in_code();
        config.engine.host_concurrency = 10_000_000;
        let findings = system(&config);
        let descriptors = findings
            .iter()
            .find(|finding| finding.subject == "file descriptors")
            .unwrap();
        assert_eq!(descriptors.status, Status::Note);
        assert!(line(descriptors).contains("hint: lower [limits] host_concurrency"));
    }
}
