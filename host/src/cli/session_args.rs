//! What the command line of `run` and `chat` sets, over the configuration.

use clap::Args;

use super::grants::GrantArgs;
use super::{CliError, Context};
use crate::config::{Arguments, Config};

#[derive(Args, Clone, Debug, Default)]
pub struct SessionArgs {
    /// The model, by its id
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// The system prompt
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most model calls in one run
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    max_iterations: Option<String>,
    /// The most that the session can cost, in US dollars, or `unlimited`
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    budget: Option<String>,
    /// Use this component (also builtin:NAME) beside the configured plugins, or in place of the one with its name; may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    plugin: Vec<String>,
    /// Keep nothing of the session
    #[arg(long)]
    ephemeral: bool,
    #[command(flatten)]
    grants: GrantArgs,
}

impl SessionArgs {
    /// The configuration with these settings.
    ///
    /// # Errors
    /// The configuration or an argument is invalid.
    pub fn config(&self, cx: &Context) -> Result<Config, CliError> {
        let mut arguments = Arguments::default();
        for (name, key, value) in [
            ("--model", &["model", "model"], &self.model),
            ("--system", &["agent", "system"], &self.system),
            ("--max-iterations", &["agent", "max_iterations"], &self.max_iterations),
            ("--budget", &["budget", "session_usd"], &self.budget),
        ] {
            if let Some(value) = value {
                arguments.set(name, key, value);
            }
        }
        if self.ephemeral {
            arguments.set("--ephemeral", &["sessions", "keep"], "false");
        }
        // A component that is named here is wanted: without it, the run isn't what was asked for.
        self.grants.apply(&self.plugin, true, &mut arguments)?;
        cx.config_with(arguments)
    }
}
