//! `cofferdam run`: runs one prompt in one session and prints one report.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::interrupt::Interrupt;
use super::live::{LiveHost, print_report};
use super::session_args::SessionArgs;
use super::{CliError, Context, attach, completions, prompt, session};
use crate::config::Config;
use crate::model::{ModelSettings, ProviderKind};
use crate::regular_file;
use crate::tools::AnswerSchema;

#[derive(Args, Debug)]
pub struct RunArgs {
    /// What the agent should do. What is piped into stdin is added to it; without a prompt, or with `-`, stdin alone is it
    // It can begin with a dash. That is for one word: a list would take every option after it as well.
    #[arg(value_name = "PROMPT", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Its other words
    #[arg(hide = true)]
    words: Vec<String>,
    /// What is part of it however it looks
    #[arg(hide = true, last = true)]
    literal: Vec<String>,
    /// Add this text file to the prompt; may be repeated
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Attach this image (PNG, JPEG, GIF, WebP), PDF or text file; may be repeated
    #[arg(long, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// The answer must be JSON that matches the JSON Schema in this file
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Go on with this session, by its id or the beginning of it, or begin one with this id
    #[arg(long = "session", value_name = "ID", add = completions::sessions(), conflicts_with = "ephemeral")]
    id: Option<String>,
    #[command(flatten)]
    session: SessionArgs,
}

pub async fn run(cx: &Context, args: RunArgs) -> Result<u8, CliError> {
    let config = args.session.config(cx)?;
    let schema = args.schema.as_deref().map(read_schema).transpose()?;
    let words: Vec<String> = args.prompt.into_iter().chain(args.words).collect();
    let prompt = prompt::read(cx, &words, &args.literal, &args.file).await?;
    let mut attachments = Vec::new();
    for path in &args.attach {
        match attach::read(path, &attachments)? {
            Some(attachment) => attachments.push(attachment),
            None => cx.note(&attach::already(path)),
        }
    }
    require_keys(&config)?;
    if args.id.is_some() {
        session::require_kept(&config, "--session")?;
    }
    cx.note_missing_configuration(&config);
    let show_progress = cx.shows_progress();
    let _logging = cx.logging_of_runs(&config, show_progress)?;
    cx.commands.repeat(args.session.repeated());
    let live = LiveHost::start(cx, config, show_progress).await?.answering(schema);

    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancel_on_signal(cancel.clone(), cx);
    let mut session = match &args.id {
        None => live.session(),
        Some(id) => session::open_or_create(cx, &live, id).await?,
    };
    session::require_finished(&session)?;
    session::warn_of_files_left(cx, &session, &attachments);
    let report = live.run(&mut session, &prompt, attachments, cancel).await;
    print_report(cx, &report);
    session::note_left(cx, &session, &report);
    drop(session);
    live.shutdown().await;
    Ok(report.outcome.exit_code())
}

/// More than any schema that is taken: an endless file is not read to its end.
const MAX_SCHEMA_BYTES: u64 = 128 * 1024;

/// The schema of the answer.
fn read_schema(path: &Path) -> Result<Arc<AnswerSchema>, CliError> {
    let mut text = String::new();
    let read = regular_file::open(path).and_then(|file| file.take(MAX_SCHEMA_BYTES).read_to_string(&mut text));
    read.map_err(|source| CliError::Read {
        path: path.to_owned(),
        source,
    })?;
    let schema = AnswerSchema::parse(&text).map_err(|problem| {
        CliError::usage(
            format!("{}: {problem}", path.display()),
            "it must be a JSON Schema of an object, for example {\"type\": \"object\", \"properties\": {\"city\": {\"type\": \"string\"}}}"
                .to_owned(),
        )
    })?;
    Ok(Arc::new(schema))
}

/// Reports a missing API key before anything is built, because it is the first error that new users see. That of a fallback would
/// otherwise show during an outage.
pub fn require_keys(config: &Config) -> Result<(), CliError> {
    require_key(&config.model)?;
    config.fallback_models.iter().try_for_each(require_key)
}

/// The same for one model.
pub fn require_key(model: &ModelSettings) -> Result<(), CliError> {
    match (model.provider, &model.api_key, &model.api_key_env) {
        // A server on one's own machine needs no key, but one that is named has to be there.
        (ProviderKind::Anthropic | ProviderKind::OpenAi, None, Some(variable)) => Err(CliError::NoApiKey {
            model: model.model.clone(),
            variable: variable.clone(),
        }),
        _ => Ok(()),
    }
}
