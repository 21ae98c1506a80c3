//! `cofferdam wit`: the contract and the WASI interfaces, for those who have only the binary.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{CliError, Context, Output};
use crate::author::{CONTRACT, wit_files, write_wit_files};

#[derive(Args, Debug)]
pub struct WitArgs {
    /// Write the contract and the WASI interfaces to DIR/deps, where the bindings generators of a world in DIR find them.
    /// Without it, the contract is printed
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Replace files that differ
    #[arg(long, requires = "folder")]
    force: bool,
}

pub fn wit(cx: &Context, args: WitArgs) -> Result<u8, CliError> {
    let Some(folder) = args.folder else {
        match cx.global.output {
            Output::Text => cx.stdout.write(CONTRACT.text),
            Output::Json | Output::StreamJson => cx.stdout.json_line(&files()),
        }
        return Ok(0);
    };
    let written = write_wit_files(&folder, args.force)?;
    match cx.global.output {
        Output::Text => written
            .iter()
            .for_each(|path| cx.stdout.line(&path.display().to_string())),
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({ "files": written })),
    }
    Ok(0)
}

/// Every file with its text.
fn files() -> Value {
    let files = wit_files().iter();
    let files = files.map(|file| json!({ "name": file.name, "package": file.package, "text": file.text }));
    json!({ "files": files.collect::<Vec<_>>() })
}
