//! Components named on the command line, with default settings and without a configuration file.

use super::subject::describing;
use super::{CliError, Context, config_in_code, tool};
use crate::config::Config;
use crate::sandbox::{ComponentError, Grants, HttpGrant};
use crate::telemetry::LogLevel;
use crate::tools::{ComponentSource, PluginProblem, PluginSettings, ToolSet};

/// The methods that `--allow-http` grants: all, because the user has named the address.
const ALLOWED_METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What `--allow-http` grants.
pub fn grants(allow_http: &[String]) -> Result<Grants, CliError> {
    let http = allow_http
        .iter()
        .map(|url| HttpGrant::parse(url, &ALLOWED_METHODS))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            CliError::usage(
                format!("--allow-http: {error}"),
                "write scheme://host[:port][/path-prefix]",
            )
        })?;
    Ok(Grants {
        http,
        ..Grants::default()
    })
}

/// The default configuration with these components as its plugins, each with the same grants.
pub fn config(sources: impl IntoIterator<Item = ComponentSource>, grants: &Grants) -> Config {
    let mut config = config_in_code();
    // The command itself reports what is left out.
    config.logging.console = LogLevel::Error;
    for source in sources {
        let name = unused_name(source.plugin_name(), &config.plugins);
        config.plugins.push(PluginSettings {
            grants: grants.clone(),
            ..PluginSettings::new(name, source)
        });
    }
    config
}

/// Two files in different folders may have the same name.
fn unused_name(name: String, plugins: &[PluginSettings]) -> String {
    let is_unused = |name: &String| plugins.iter().all(|plugin| plugin.name != *name);
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut names = std::iter::once(name.clone()).chain(numbered);
    names.find(is_unused).unwrap_or(name)
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
    use super::*;

    #[test]
    fn a_component_gets_only_the_allowed_grants() {
        let source = ComponentSource::Path("dir/my tool.wasm".into());
        let grants = grants(&["https://api.example/v1".to_owned()]).unwrap();
        let config = config([source.clone(), source], &grants);
        let names: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        assert_eq!(names, ["my_tool", "my_tool-2"]);
        for plugin in &config.plugins {
            assert_eq!((plugin.grants.config.len(), plugin.grants.http.len()), (0, 1));
            let grant = &plugin.grants.http[0];
            assert_eq!(
                (grant.host.as_str(), grant.path_prefix.as_str()),
                ("api.example", "/v1")
            );
        }
    }

    #[test]
    fn an_invalid_grant_is_a_usage_error() {
        let error = grants(&["ftp://x".to_owned()]).unwrap_err();
        assert!(matches!(error, CliError::Usage { .. }));
    }
}
