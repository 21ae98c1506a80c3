//! With what a session is made, and what of that differs from before.

use super::agent::Agent;
use super::known_tools::kept_tools;
use crate::session::{Fact, State, StoredTool, ToolMark};

/// The most tools that a line about a change names.
const MAX_NAMED_TOOLS: usize = 5;

/// With what the next runs of a session are made.
pub(super) fn setting(agent: &Agent) -> Fact {
    let parts = agent.parts();
    let tools = parts.tools.tools().map(|tool| ToolMark {
        name: tool.name.clone(),
        plugin: tool.plugin.clone(),
        digest: tool.digest(),
    });
    Fact::Opened {
        model: parts.model.model().to_owned(),
        system_sha256: agent.system_sha256().to_owned(),
        tools: tools.collect(),
        definitions: kept_tools(agent),
    }
}

/// What differs from when the session was last driven, a line each.
pub(super) fn changes_since(state: &State, agent: &Agent) -> Vec<String> {
    let mut changes = Vec::new();
    let parts = agent.parts();
    let now = parts.model.model();
    if let Some(before) = state.model.as_deref().filter(|before| *before != now) {
        changes.push(format!("the model is now `{now}`, before it was `{before}`"));
    }
    let system = agent.system_sha256();
    if state.system_sha256.as_deref().is_some_and(|before| before != system) {
        changes.push("the system prompt changed".to_owned());
    }
    let (mut gone, mut changed) = (Vec::new(), Vec::new());
    for before in &state.tools {
        match parts.tools.get(&before.name) {
            None => gone.push(before.name.as_str()),
            Some(tool) if tool.digest() != before.digest => changed.push(before.name.as_str()),
            Some(_) => {}
        }
    }
    let is_new = |name: &str| !state.tools.iter().any(|before| before.name == name);
    let names = parts.tools.tools().map(|tool| tool.name.as_str());
    let new: Vec<&str> = names.filter(|name| is_new(name)).collect();
    changes.extend(about_tools(&gone, "is gone", "are gone"));
    changes.extend(about_tools(&changed, "has another component", "have another component"));
    changes.extend(about_tools(&new, "is new", "are new"));
    let kept = kept_tools(agent).unwrap_or_default();
    let known = state.known_tools.last().map_or(&[][..], |known| &known.tools);
    let is_redefined = |tool: &&StoredTool| {
        let before = known.iter().find(|before| before.name == tool.name);
        before.is_some_and(|before| !before.reads_like(tool)) && !changed.contains(&&*tool.name)
    };
    let redefined: Vec<&str> = kept.iter().filter(is_redefined).map(|tool| &*tool.name).collect();
    changes.extend(about_tools(
        &redefined,
        "has another definition",
        "have another definition",
    ));
    changes
}

/// A line about tools that have changed in the same way. `None` without any.
fn about_tools(names: &[&str], one: &str, many: &str) -> Option<String> {
    match names {
        [] => None,
        [name] => Some(format!("the tool `{name}` {one}")),
        names => {
            let first: Vec<String> = names
                .iter()
                .take(MAX_NAMED_TOOLS)
                .map(|name| format!("`{name}`"))
                .collect();
            let more = match names.len() - first.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!("{} tools {many}: {}{more}", names.len(), first.join(", ")))
        }
    }
}
