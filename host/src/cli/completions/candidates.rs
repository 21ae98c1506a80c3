//! What a shell can complete beyond the commands and options: what the configuration has.
//!
//! Nothing is compiled for it, and it doesn't take long: plugins whose compiled form isn't cached have no tools here, except for the
//! built-in ones.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};

use crate::assembly;
use crate::cli::format;
use crate::config::Config;
use crate::ledger::Scope;
use crate::model::Prices;
use crate::sandbox::CompilePlace;
use crate::session::{ApprovalState, SessionInfo};
use crate::store::{ApprovalFilter, SessionFilter, Store, StoreError};
use crate::tools::{BUILTIN_NAMES, ComponentSource};

/// The longest time that a shell waits for the tools of plugins.
const LOAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The most sessions that a shell is offered.
const MAX_SESSIONS: u32 = 100;

/// The longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 60;

/// The tools of the built-in plugins that are meant to be called.
const BUILTIN_TOOLS: [(&str, &[&str]); 3] = [
    ("calculator", &["calculate"]),
    ("weather", &["get_weather"]),
    ("notes", &["notes_add", "notes_delete", "notes_list", "notes_search"]),
];

/// Completes a configured tool or a component file.
pub fn tools() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| with_files(tool_names(), current))
}

/// Completes a component file, a built-in one, or a configured plugin or tool.
pub fn components() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let plugins = configuration().map(|config| config.plugins).unwrap_or_default();
        let plugins = plugins
            .into_iter()
            .map(|plugin| (plugin.name, "a configured plugin".to_owned()));
        let builtin = BUILTIN_NAMES.iter().map(|name| {
            let component = ComponentSource::Builtin((*name).to_owned()).to_string();
            (component, "built-in".to_owned())
        });
        with_files(plugins.chain(tool_names()).chain(builtin).collect(), current)
    })
}

/// Completes the id of a session that is kept.
pub fn sessions() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        let sessions = kept_sessions()
            .into_iter()
            .filter(|session| session.id.starts_with(&*typed));
        let candidates = sessions.map(|session| {
            let title = format::one_line(&session.title, MAX_DESCRIPTION_CHARS);
            CompletionCandidate::new(session.id).help(Some(title.into()))
        });
        candidates.collect()
    })
}

/// The newest sessions of the configuration of the line.
fn kept_sessions() -> Vec<SessionInfo> {
    listed(async |store| {
        let filter = SessionFilter {
            count: MAX_SESSIONS,
            ..SessionFilter::default()
        };
        store.sessions(filter).await
    })
}

/// The calls that wait for a person.
pub fn approvals() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        let open = listed(async |store| {
            let filter = ApprovalFilter {
                only_open: true,
                ..ApprovalFilter::default()
            };
            store.approvals(filter).await
        });
        let pending = open
            .into_iter()
            .filter(|approval| approval.state == ApprovalState::Pending);
        let typed = pending.filter(|approval| approval.id.starts_with(&*typed));
        let candidates = typed.map(|approval| {
            let tool = format::one_line(&approval.tool, MAX_DESCRIPTION_CHARS);
            CompletionCandidate::new(approval.id).help(Some(tool.into()))
        });
        candidates.collect()
    })
}

/// The breakers that the store knows.
pub fn breakers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let typed = current.to_string_lossy();
        let known = listed(async |store| store.breakers().await).into_iter();
        let names = known
            .map(|breaker| breaker.name)
            .filter(|name| name.starts_with(&*typed));
        names.map(CompletionCandidate::new).collect()
    })
}

/// The scopes of a budget.
pub fn scopes() -> ArgValueCandidates {
    ArgValueCandidates::new(|| Scope::ALL.map(Scope::name).map(CompletionCandidate::new).into())
}

/// What a limit can be beside an amount.
pub fn limits() -> ArgValueCandidates {
    ArgValueCandidates::new(|| ["default", "unlimited"].map(CompletionCandidate::new).into())
}

/// What the store of the configuration of the line has. Nothing is created or changed to find it.
fn listed<T>(list: impl AsyncFnOnce(Store) -> Result<Vec<T>, StoreError>) -> Vec<T> {
    let (Some(config), Ok(runtime)) = (configuration(), tokio::runtime::Handle::try_current()) else {
        return Vec::new();
    };
    let list = async {
        let store = Store::open_read_only(&config.ledger_path()).ok()?;
        list(store).await.ok()
    };
    let list = async { tokio::time::timeout(LOAD_TIMEOUT, list).await };
    let listed = tokio::task::block_in_place(|| runtime.block_on(list));
    listed.ok().flatten().unwrap_or_default()
}

/// The models that have a price.
pub fn model_names(config: &Config) -> BTreeSet<String> {
    let prices = Prices::configured(config.budget.prices.as_deref()).ok();
    prices.iter().flat_map(Prices::rows).map(|row| row.model).collect()
}

/// The names that begin with what is typed, and the files.
fn with_files(names: Vec<(String, String)>, current: &OsStr) -> Vec<CompletionCandidate> {
    let typed = current.to_string_lossy();
    let names = names.into_iter().filter(|(name, _)| name.starts_with(&*typed));
    let names = names.map(|(name, what)| {
        let what = format::one_line(&what, MAX_DESCRIPTION_CHARS);
        CompletionCandidate::new(name).help(Some(what.into()))
    });
    names.chain(PathCompleter::file().complete(current)).collect()
}

/// The configuration of the line that is being completed, unless it is invalid.
fn configuration() -> Option<Config> {
    Config::load(named_file(std::env::args_os().collect()).as_deref()).ok()
}

/// The file after `--config`.
fn named_file(line: Vec<std::ffi::OsString>) -> Option<PathBuf> {
    let mut words = line.iter();
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(file) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(Path::new(file).to_owned());
        }
    }
    None
}

/// The configured tools with their descriptions.
fn tool_names() -> Vec<(String, String)> {
    let Some(config) = configuration() else {
        return Vec::new();
    };
    let known = BUILTIN_TOOLS.iter().filter(|(builtin, _)| {
        let is_it = |source: &ComponentSource| matches!(source, ComponentSource::Builtin(name) if name == builtin);
        config.plugins.iter().any(|plugin| is_it(&plugin.source))
    });
    let known = known.flat_map(|(_, tools)| tools.iter());
    let mut names: Vec<(String, String)> = known
        .map(|tool| ((*tool).to_owned(), "a built-in tool".to_owned()))
        .collect();
    let loaded = loaded_tools(&config);
    names.retain(|(name, _)| !loaded.iter().any(|(loaded, _)| loaded == name));
    names.extend(loaded);
    names.sort();
    names
}

/// The tools that can be listed at once.
fn loaded_tools(config: &Config) -> Vec<(String, String)> {
    let (Ok(runtime), Ok(tls)) = (tokio::runtime::Handle::try_current(), crate::tls::client_config()) else {
        return Vec::new();
    };
    let load = assembly::load_tools(config, Some(CompilePlace::Nowhere), tls);
    let load = async { tokio::time::timeout(LOAD_TIMEOUT, load).await };
    match tokio::task::block_in_place(|| runtime.block_on(load)) {
        Ok(Ok(tools)) => tools
            .tools()
            .map(|tool| (tool.name.clone(), tool.description.clone()))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_that_of_the_line() {
        let file = |line: &str| named_file(line.split(' ').map(std::ffi::OsString::from).collect());
        assert_eq!(file("cofferdam tool call"), None);
        assert_eq!(file("cofferdam --config a.toml tool call"), Some("a.toml".into()));
        assert_eq!(file("cofferdam tool call --config=a.toml"), Some("a.toml".into()));
        assert_eq!(file("cofferdam tool call --config"), None);
    }
}
