//! `cofferdam tool build`: builds the component of a project.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::interrupt::interrupted;
use super::progress::ProgressLine;
use super::{CliError, Context, Output, error, format};
use crate::author::{self, Built, Progress};
use crate::events::Ending;

#[derive(Args, Debug)]
pub struct BuildArgs {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The component's file [default: NAME.wasm in the project's folder]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The exit code is 0. Ctrl-C kills the toolchain and ends with that of a cancelled run.
pub async fn build(cx: &Context, args: BuildArgs) -> Result<u8, CliError> {
    let show = |command: &str| cx.note(&ProgressLine::new("running", format::escape(command)).render());
    let progress = match cx.global.quiet {
        true => Progress::Quiet,
        false => Progress::Shown(&show),
    };
    let built = tokio::select! {
        // Waits for signals before it starts anything.
        biased;
        () = interrupted() => return Ok(Ending::Cancelled.exit_code()),
        built = author::build(&args.folder, args.out.as_deref(), progress) => built?,
    };
    for warning in &built.warnings {
        cx.stderr.line(&error::warning(&warning.message, Some(&warning.hint)));
    }
    let file = built.component.display().to_string();
    match cx.global.output {
        Output::Text => {
            cx.stdout.write_untrusted(&format!(
                "component  {file}\ndigest     {}\nsize       {}\n",
                built.digest,
                format::bytes(built.size)
            ));
            cx.note(&format!("next: cofferdam tool check {file}"));
            cx.note(&format!("      cofferdam tool list {file}"));
        }
        Output::Json | Output::StreamJson => cx.stdout.json_line(&json!({
            "component": built.component,
            "language": built.language.title(),
            "digest": built.digest.to_string(),
            "size_bytes": built.size,
            "warnings": warnings(&built),
        })),
    }
    Ok(0)
}

/// What is built and won't work.
pub fn warnings(built: &Built) -> Vec<Value> {
    let warnings = built.warnings.iter();
    warnings
        .map(|warning| json!({ "message": warning.message, "hint": warning.hint }))
        .collect()
}
