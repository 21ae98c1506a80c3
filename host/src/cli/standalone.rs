//! Components named on the command line, with default settings and without a configuration file.

use super::subject::describing;
use super::{CliError, Context, tool};
use crate::config::{Arguments, Config, LoadOptions};
use crate::sandbox::ComponentError;
use crate::telemetry::LogLevel;
use crate::tools::{ComponentSource, PluginProblem, ToolSet};

/// The default configuration with the plugins of the command line.
///
/// # Errors
/// A grant or a limit is invalid.
pub fn config(arguments: Arguments) -> Result<Config, CliError> {
    let mut config = Config::load_from(&LoadOptions::of_arguments(arguments))?;
    // The command itself reports what is left out.
    config.logging.console = LogLevel::Error;
    Ok(config)
}

/// Loads the tools of such a configuration.
///
/// # Errors
/// A component can't be used. A tool that can't be used is reported and left out.
pub async fn load(cx: &Context, config: &Config) -> Result<ToolSet, CliError> {
    let tools = tool::load_silently(config).await?;
    for problem in tools.problems() {
        let plugin = config.plugins.iter().find(|plugin| plugin.name == problem.plugin);
        if let (PluginProblem::Component(source), Some(plugin)) = (&problem.problem, plugin) {
            if matches!(source, ComponentError::UndescribedCommand { .. })
                && let Some(error) = described_elsewhere(cx, &plugin.source)
            {
                return Err(error);
            }
            return Err(CliError::Component {
                name: plugin.source.to_string(),
                set_in: plugin.set_in,
                source: source.clone(),
            });
        }
    }
    cx.report_left_out(config, &tools, LogLevel::Error);
    Ok(tools)
}

/// The error for a program that a configuration describes, which isn't used here.
fn described_elsewhere(cx: &Context, source: &ComponentSource) -> Option<CliError> {
    let config = cx.config().ok()?;
    let file = config.origins.file()?;
    let plugins = describing(&config, source);
    let plugin = plugins.first()?;
    let tool = plugin.command.as_ref().map_or(&plugin.name, |command| &command.name);
    Some(CliError::usage(
        format!(
            "{source} is a program; the plugin `{}` of {} describes it, but a component that is named by its file is used without \
             a configuration",
            plugin.name,
            file.display()
        ),
        format!("name the tool instead: cofferdam tool call {tool}; `cofferdam mcp` without --plugin serves it"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::super::grants::GrantArgs;
    use super::*;

    fn config_of(plugins: &[&str], grants: GrantArgs) -> Result<Config, CliError> {
        let plugins: Vec<String> = plugins.iter().map(|&plugin| plugin.to_owned()).collect();
        let mut arguments = Arguments::default();
        grants.apply(&plugins, false, &mut arguments)?;
        config(arguments)
    }

    fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[test]
    fn a_component_gets_only_the_allowed_grants() {
        let grants = GrantArgs {
            allow_http: texts(["https://api.example/v1"]),
            dir: texts(["data:rw"]),
            env: texts(["LANG=de"]),
            set: texts(["key=5", "text=a=b"]),
            keyvalue: true,
            limit: texts(["timeout=30s", "fuel=7", "memory=1MiB"]),
        };
        let config = config_of(&["dir/my tool.wasm", "dir/my tool.wasm"], grants).unwrap();
        let names: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["my_tool", "my_tool-2"]);
        for plugin in &config.plugins {
            assert_eq!(plugin.source.to_string(), "dir/my tool.wasm");
            let grants = &plugin.grants;
            assert_eq!((grants.http.len(), grants.files.len()), (1, 1));
            assert_eq!(
                (grants.http[0].host.as_str(), grants.http[0].path_prefix.as_str()),
                ("api.example", "/v1")
            );
            let folder = &grants.files[0];
            assert_eq!((folder.at.as_str(), folder.write), ("/data", true));
            assert_eq!(grants.environment["LANG"], "de");
            assert_eq!(
                (grants.config["key"].as_str(), grants.config["text"].as_str()),
                ("5", "a=b")
            );
            assert!(grants.keyvalue);
            let limits = &grants.limits;
            assert_eq!(
                (limits.timeout, limits.fuel, limits.memory),
                (Duration::from_secs(30), 7, 1 << 20)
            );
        }
    }

    #[test]
    fn by_default_nothing_is_granted() {
        let config = config_of(&["builtin:notes"], GrantArgs::default()).unwrap();
        assert_eq!(config.plugins[0].grants, crate::sandbox::Grants::default());
        assert_eq!(config.plugins[0].name, "notes");
    }

    #[test]
    fn an_invalid_argument_is_named() {
        for (grants, says) in [
            (
                GrantArgs {
                    allow_http: texts(["ftp://x"]),
                    ..GrantArgs::default()
                },
                "--allow-http: plugins.notes.http[0].url:",
            ),
            (
                GrantArgs {
                    limit: texts(["timeuot=5s"]),
                    ..GrantArgs::default()
                },
                "--limit timeuot: plugins.notes.limits.timeuot:",
            ),
            (
                GrantArgs {
                    limit: texts(["timeout=soon"]),
                    ..GrantArgs::default()
                },
                "--limit timeout: plugins.notes.limits.timeout:",
            ),
            (
                GrantArgs {
                    dir: texts(["a:/x", "b:/x"]),
                    ..GrantArgs::default()
                },
                "--dir b: plugins.notes.files[1].at:",
            ),
        ] {
            let error = config_of(&["builtin:notes"], grants).unwrap_err().to_string();
            assert!(
                error.contains("the command line has a problem") && error.contains(says),
                "{error}"
            );
        }
    }
}
