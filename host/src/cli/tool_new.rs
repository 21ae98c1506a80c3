//! `cofferdam tool new`: creates a project for a new tool.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{CliError, Context, Output};
use crate::author::{self, Language, Style};

#[derive(Args, Debug)]
pub struct NewArgs {
    /// The name of the tool and of its folder: lower-case words joined by `-`
    #[arg(value_name = "NAME")]
    name: String,
    /// The language that it is written in
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    lang: Language,
    /// How the tool is described: by its types, or at run time (Rust and Python only)
    #[arg(long, value_enum, default_value_t)]
    style: Style,
    /// The folder in which to create the project's folder
    #[arg(long = "in", value_name = "DIR", default_value = ".")]
    parent: PathBuf,
}

pub fn new(cx: &Context, args: NewArgs) -> Result<u8, CliError> {
    let created = author::create(&args.parent, &args.name, args.lang, args.style)?;
    match cx.global.output {
        Output::Text => {
            for file in &created.files {
                cx.stdout.line(&created.folder.join(file).display().to_string());
            }
            cx.note(&format!(
                "created a {} project; next: {} says what its toolchain needs, then cofferdam tool build {}",
                args.lang.title(),
                created.folder.join("README.md").display(),
                created.folder.display()
            ));
        }
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({
            "folder": created.folder,
            "files": created.files,
        })),
    }
    Ok(0)
}
