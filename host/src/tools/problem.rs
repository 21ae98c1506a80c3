//! Why a plugin, or one of its tools, is left out.
//!
//! One rule: what is wrong with a plugin or a tool leaves that one out. The host says so at start, and refuses to start only
//! if the plugin is `required`.

use crate::sandbox::{ComponentError, SetIn};
use crate::untrusted::{Untrusted, is_hidden};

/// What is wrong with a plugin or one of its tools.
#[derive(Clone, Debug, thiserror::Error)]
#[error("plugin `{plugin}`: {problem}")]
pub struct PluginError {
    pub plugin: String,
    pub problem: PluginProblem,
    /// Whether the host refuses to start: the plugin is required.
    pub fatal: bool,
    /// Where the plugin is set.
    pub set_in: SetIn,
}

#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginProblem {
    /// The whole plugin is left out.
    #[error(transparent)]
    Component(#[from] ComponentError),
    #[error("the tool `{}` is not usable: {reason}", .tool.display_sentence())]
    UnusableTool { tool: Untrusted, reason: String },
    #[error(
        "the tool {} lost to the tool `{owner}` of plugin `{of_plugin}`: a model couldn't tell their names apart",
        named(.tool, .name)
    )]
    LostName {
        tool: Untrusted,
        /// Its name for the model.
        name: String,
        owner: String,
        of_plugin: String,
    },
    /// Nothing is left out but the settings of the section.
    #[error("[plugins.{plugin}.tools.{tool}] names a tool that the component doesn't have; it has {known}")]
    NoSuchTool {
        plugin: String,
        tool: String,
        known: String,
    },
}

/// What a plugin's tools lack without being left out, such as descriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginWarning {
    pub plugin: String,
    pub text: String,
}

fn named(tool: &Untrusted, name: &str) -> String {
    match tool.raw() == name {
        true => format!("`{name}`"),
        false => format!("`{}`, named `{name}`,", tool.display()),
    }
}

impl PluginError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let plugin = &self.plugin;
        match &self.problem {
            PluginProblem::Component(error) => error.hint(self.set_in),
            PluginProblem::LostName { .. } if self.set_in == SetIn::CommandLine => {
                Some("leave one of the two components out".to_owned())
            }
            PluginProblem::UnusableTool { .. } if self.set_in == SetIn::CommandLine => {
                Some("ask the component's author".to_owned())
            }
            PluginProblem::NoSuchTool { .. } => Some("correct the name, or remove the section".to_owned()),
            PluginProblem::LostName { tool, .. } => {
                let section = section(plugin, tool);
                Some(format!(
                    "rename it with {section} name = \"…\", or leave it out with {section} enabled = false"
                ))
            }
            PluginProblem::UnusableTool { tool, .. } => Some(format!(
                "ask the plugin's author, or leave it out with {} enabled = false",
                section(plugin, tool)
            )),
        }
    }

    /// The key of the configuration that it is about.
    pub fn key(&self) -> String {
        let plugin = format!("plugins.{}", self.plugin);
        let key = match &self.problem {
            PluginProblem::NoSuchTool { tool, .. } => return format!("{plugin}.tools.{}", quoted_key(tool)),
            PluginProblem::UnusableTool { tool, .. } | PluginProblem::LostName { tool, .. } => {
                return format!("{plugin}.tools.{}", quoted_key(tool.raw()));
            }
            PluginProblem::Component(error) => match error {
                ComponentError::DigestMismatch { .. } => "digest",
                ComponentError::Folder { .. } => "files",
                ComponentError::UndescribedCommand { .. } | ComponentError::NoCommand { .. } => "command",
                ComponentError::CommandNameTaken(_) => "command.name",
                ComponentError::GrantTooLong { key, .. } => key,
                ComponentError::Secret(_) => "http",
                ComponentError::NoStore | ComponentError::Store(_) => "keyvalue",
                _ => match error.limit() {
                    Some(limit) => return format!("{plugin}.limits.{limit}"),
                    None => "component",
                },
            },
        };
        format!("{plugin}.{key}")
    }

    /// The component's own name for the tool, if the problem is with one tool.
    pub fn tool(&self) -> Option<&str> {
        match &self.problem {
            PluginProblem::Component(_) => None,
            PluginProblem::NoSuchTool { tool, .. } => Some(tool),
            PluginProblem::UnusableTool { tool, .. } | PluginProblem::LostName { tool, .. } => Some(tool.raw()),
        }
    }
}

/// Where a tool is set.
pub(super) fn section(plugin: &str, tool: &Untrusted) -> String {
    format!("[plugins.{plugin}.tools.{}]", quoted_key(tool.raw()))
}

/// The key in TOML notation, in which what a terminal doesn't show is escaped.
fn quoted_key(name: &str) -> String {
    let is_bare = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => {
            let mut quoted = String::from('"');
            for character in name.chars() {
                match character {
                    '"' | '\\' => quoted.extend(['\\', character]),
                    _ if is_hidden(character) => quoted += &format!("\\U{:08x}", u32::from(character)),
                    _ => quoted.push(character),
                }
            }
            quoted + "\""
        }
    }
}

/// Why a host can't start with these plugins: a required one, or a tool of it, would be left out.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", list(.problems))]
pub struct LoadError {
    /// Everything that would be left out, whether required or not.
    pub problems: Vec<PluginError>,
}

/// Each problem with its hint below it.
fn list(problems: &[PluginError]) -> String {
    let problems = problems.iter().map(|problem| match problem.hint() {
        Some(hint) => format!("{problem}\n    hint: {}", hint.replace('\n', "\n        ")),
        None => problem.to_string(),
    });
    problems.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_names_no_section_for_a_component_of_the_command_line() {
        let problems = [
            PluginProblem::UnusableTool {
                tool: "t".into(),
                reason: String::new(),
            },
            PluginProblem::LostName {
                tool: "t".into(),
                name: "t".to_owned(),
                owner: "T".to_owned(),
                of_plugin: "q".to_owned(),
            },
        ];
        for problem in problems {
            for (set_in, names_a_section) in [(SetIn::Configuration, true), (SetIn::CommandLine, false)] {
                let error = PluginError {
                    plugin: "p".to_owned(),
                    problem: problem.clone(),
                    fatal: false,
                    set_in,
                };
                let hint = error.hint().unwrap_or_default();
                assert_eq!(hint.contains("[plugins.p.tools.t]"), names_a_section, "{hint}");
            }
        }
    }
}
