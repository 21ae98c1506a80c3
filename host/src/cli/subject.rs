//! What `tool inspect` and `tool check` look at: a component, or a plugin of the configuration.

use std::path::Path;

use super::{CliError, tool};
use crate::config::Config;
use crate::tools::{ComponentSource, PluginSettings, is_tool_name};

/// A component and the settings that its tools are loaded with.
#[derive(Debug)]
pub struct Subject {
    pub plugin: PluginSettings,
    /// Whether these are the settings of the configuration, not the defaults.
    pub is_configured: bool,
    /// Whether the user named the plugin or one of its tools, not its component.
    pub is_named: bool,
}

impl Subject {
    /// Whether `target` names a plugin or a tool of the configuration, not a component. A file has a folder or an extension, or
    /// it exists.
    pub fn is_name(target: &str) -> bool {
        is_tool_name(target) && !Path::new(target).exists()
    }

    /// Finds the configured plugin or tool of this name, else takes `target` for a component. A component says nothing about the
    /// program that it is, so the plugin that describes the program provides the settings.
    ///
    /// # Errors
    ///
    /// There is no such plugin, tool or file, or several plugins describe the program.
    pub async fn find(config: &Config, target: &str) -> Result<Self, CliError> {
        if let Some(plugin) = config.plugins.iter().find(|plugin| plugin.name == target) {
            return Ok(Self::configured(plugin, true));
        }
        if !Self::is_name(target) {
            return Self::of_component(config, ComponentSource::parse(target));
        }
        let tools = tool::load_silently(config).await?;
        let owner = tools.get(target).map(|tool| &tool.plugin);
        let plugin = owner.and_then(|owner| config.plugins.iter().find(|plugin| plugin.name == *owner));
        if let Some(plugin) = plugin {
            return Ok(Self::configured(plugin, true));
        }
        let mut known: Vec<&str> = config.plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        for tool in tools.tools().map(|tool| tool.name.as_str()) {
            if !known.contains(&tool) {
                known.push(tool);
            }
        }
        let known = match known.is_empty() {
            true => "name a component file; there are no plugins".to_owned(),
            false => format!("name a component file, or one of {}", known.join(", ")),
        };
        Err(CliError::usage(
            format!("there is no configured plugin or tool `{target}`, and no such file"),
            match config.origins.file() {
                Some(_) => format!("{known}; {}", config.origins.summary()),
                None => known,
            },
        ))
    }

    fn of_component(config: &Config, source: ComponentSource) -> Result<Self, CliError> {
        match describing(config, &source)[..] {
            [] => Ok(Self {
                plugin: PluginSettings::new(source.plugin_name(), source),
                is_configured: false,
                is_named: false,
            }),
            [plugin] => Ok(Self::configured(plugin, false)),
            ref several => {
                let names: Vec<&str> = several.iter().map(|plugin| plugin.name.as_str()).collect();
                Err(CliError::usage(
                    format!("several plugins describe {source}: {}", names.join(", ")),
                    "name one of them instead of the file",
                ))
            }
        }
    }

    fn configured(plugin: &PluginSettings, is_named: bool) -> Self {
        Self {
            plugin: PluginSettings {
                // The command reports what would stop the host.
                required: false,
                ..plugin.clone()
            },
            is_configured: true,
            is_named,
        }
    }
}

/// The plugins that describe this component as a program.
pub fn describing<'a>(config: &'a Config, source: &ComponentSource) -> Vec<&'a PluginSettings> {
    let plugins = config.plugins.iter();
    plugins
        .filter(|plugin| plugin.command.is_some() && same_component(&plugin.source, source))
        .collect()
}

/// Whether two sources are the same built-in plugin or the same file.
pub fn same_component(a: &ComponentSource, b: &ComponentSource) -> bool {
    match (a, b) {
        (ComponentSource::Path(a), ComponentSource::Path(b)) => match (a.canonicalize(), b.canonicalize()) {
            (Ok(a), Ok(b)) => a == b,
            _ => a == b,
        },
        (a, b) => a == b,
    }
}
