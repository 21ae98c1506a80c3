//! `cofferdam config …`: checks and shows the configuration.

use clap::Subcommand;

use super::{CliError, Context, Output, config_check};
use crate::config;

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Check the configuration and report all problems at once. Loads the plugins as `run` does, and uses no network
    Check(config_check::CheckArgs),
    /// Print the effective configuration: defaults, file and environment, with secrets redacted
    Show,
    /// Print the JSON Schema of the configuration file
    Schema,
}

pub async fn config(cx: &Context, command: ConfigCommand) -> Result<u8, CliError> {
    match command {
        ConfigCommand::Check(args) => return config_check::check(cx, args).await,
        ConfigCommand::Show => {
            let config = cx.config()?;
            cx.note_missing_configuration(&config);
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
