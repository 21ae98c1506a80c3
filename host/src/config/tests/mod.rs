#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

//! Tests of whole configurations, from text to settings or problems.

mod bad_files;
mod checking;
mod commands;
mod defaults;
mod discovery;
mod overrides;
mod showing;

use std::path::Path;

use super::raw::RawConfig;
use super::source::Source;
use super::{Config, ConfigError, LoadOptions, load};

/// Load options without any files.
fn nowhere(variables: &[(&str, &str)]) -> LoadOptions {
    LoadOptions {
        file: None,
        env: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        cwd: "/nowhere".into(),
        ..LoadOptions::default()
    }
}

fn load_with(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let source = Source::file(Path::new("c.toml"), text.to_owned());
    load::read(&source, Path::new("/nowhere"), &nowhere(variables))
}

fn load_text(text: &str) -> Config {
    load_with(text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// Every problem of a text, each with its hint after a bar.
fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    match load_with(text, variables) {
        Ok(_) => Vec::new(),
        Err(error) => error
            .problems()
            .iter()
            .map(|problem| problem.to_string().replace("\n    hint: ", " | "))
            .collect(),
    }
}

/// All keys of a configuration, for comparisons.
fn keys(config: &Config) -> RawConfig {
    RawConfig::from(config)
}
