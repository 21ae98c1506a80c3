//! `cofferdam config …`: checks and shows the configuration.

use clap::Subcommand;

use super::{CliError, Context, Output, error};
use crate::config;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and report all problems at once
    Check,
    /// Print the effective configuration: defaults, file and environment, with secrets redacted
    Show,
    /// Print the JSON Schema of the configuration file
    Schema,
}

pub fn config(cx: &Context, command: ConfigCommand) -> Result<u8, CliError> {
    match command {
        ConfigCommand::Check => {
            let config = cx.config()?;
            cx.stderr.line("the configuration is valid");
            let missing = config.missing_secrets.iter();
            let missing = missing.map(|(name, reason)| format!("the secret `{name}` is not available here: {reason}"));
            let plugins = config.plugins.iter();
            let of_plugins = plugins.flat_map(|plugin| plugin.unavailable().into_iter().chain(plugin.warnings()));
            for remark in config.model.warnings().into_iter().chain(missing).chain(of_plugins) {
                cx.stderr.line(&error::warning(&remark));
            }
        }
        ConfigCommand::Show => {
            let config = cx.config()?;
            match cx.global.output {
                Output::Text => cx.stdout.write(&config.to_toml()),
                Output::Json => cx.stdout.json_pretty(&config.to_json()),
                Output::StreamJson => cx.stdout.json_line(&config.to_json()),
            }
        }
        ConfigCommand::Schema => cx.stdout.json_pretty(&config::schema()),
    }
    Ok(0)
}
