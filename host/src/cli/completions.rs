//! `cofferdam completions`: prints a script on stdout that has a shell ask this program what can be typed next.
//!
//! So the shell knows what the configuration has: tools, plugins, models. The script is the same for every version of the program, and
//! as the program answers it, no command runs.

mod candidates;

use std::io;

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

pub use self::candidates::{approvals, breakers, components, limits, model_names, scopes, sessions, tools};
use super::{Cli, CliError, Context};

/// Set by the scripts, to the name of the shell that asks.
const VARIABLE: &str = "COFFERDAM_COMPLETE";

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to generate the script for
    shell: Shell,
}

pub fn completions(cx: &Context, args: CompletionsArgs) -> Result<u8, CliError> {
    let script = script(args.shell).map_err(CliError::Output)?;
    cx.stdout.write(&script);
    Ok(0)
}

/// Answers a shell that asks for completions. Returns false if none does.
pub fn answer() -> clap::error::Result<bool> {
    let folder = std::env::current_dir().ok();
    CompleteEnv::with_factory(Cli::command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), folder.as_deref())
}

fn script(shell: Shell) -> io::Result<String> {
    let (shells, name) = (Shells::builtins(), shell.to_string());
    let mut script = Vec::new();
    if let Some(shell) = shells.completer(&name) {
        shell.write_registration(VARIABLE, "cofferdam", "cofferdam", "cofferdam", &mut script)?;
    }
    Ok(String::from_utf8_lossy(&script).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_asks_the_program() {
        for shell in Shell::value_variants() {
            let script = script(*shell).unwrap();
            assert!(
                script.contains(VARIABLE) && script.contains("cofferdam"),
                "{shell}: {script}"
            );
        }
    }
}
