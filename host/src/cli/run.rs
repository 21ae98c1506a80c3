//! `cofferdam run`: one prompt, one session, one report.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::interrupt::Interrupt;
use super::live::{Live, print_report};
use super::{CliError, Context, prompt};
use crate::config::Config;
use crate::model::ProviderKind;

#[derive(Args, Debug)]
pub struct RunArgs {
    /// What the agent should do; `-` reads it from stdin
    prompt: Option<String>,
}

pub async fn run(cx: &Context, args: RunArgs) -> Result<u8, CliError> {
    let prompt = prompt::read(args.prompt)?;
    let config = cx.config()?;
    require_key(&config)?;
    let narrate = cx.narrates();
    let _logging = cx.logging(&config, narrate)?;
    let live = Live::start(cx, config, narrate).await?;

    let cancel = CancellationToken::new();
    let _interrupt = Interrupt::cancels(cancel.clone(), cx.stderr.clone());
    let mut session = live.session();
    let report = live.run(&mut session, &prompt, cancel).await;
    print_report(cx, &report);
    live.shutdown().await;
    Ok(report.outcome.exit_code())
}

/// A missing key is said before anything is built, for it is the first thing a newcomer meets.
pub fn require_key(config: &Config) -> Result<(), CliError> {
    match (config.model.provider, &config.model.api_key) {
        (ProviderKind::Anthropic, None) => Err(CliError::NoApiKey {
            variable: config.api_key_env.clone(),
        }),
        _ => Ok(()),
    }
}
