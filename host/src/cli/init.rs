//! `cofferdam init`: a configuration to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{CliError, Context, Output};
use crate::config::FILE_NAME;

const TEMPLATE: &str = include_str!("init/template.toml");

#[derive(Args, Debug)]
pub struct InitArgs {
    /// The folder to write cofferdam.toml to
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

pub fn init(cx: &Context, args: InitArgs) -> Result<u8, CliError> {
    let file = args.folder.join(FILE_NAME);
    let failed = |source| CliError::Write {
        path: file.clone(),
        source,
    };
    std::fs::create_dir_all(&args.folder).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.write(true);
    match args.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let mut writing = options.open(&file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => CliError::usage(
            format!("{} is there already", file.display()),
            "`cofferdam config check` checks it; `cofferdam init --force` replaces it",
        ),
        _ => failed(error),
    })?;
    writing.write_all(TEMPLATE.as_bytes()).map_err(failed)?;
    match cx.global.output {
        Output::Text => cx.stdout.line(&file.display().to_string()),
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({ "file": file })),
    }
    cx.note("next: set ANTHROPIC_API_KEY, then `cofferdam config check`, then `cofferdam run \"What is 25 * 17?\"`");
    Ok(0)
}
