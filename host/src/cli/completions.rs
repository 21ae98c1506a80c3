//! `cofferdam completions`: prints a completion script on stdout.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, CliError, Context};

#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// The shell to generate the script for
    shell: Shell,
}

pub fn completions(cx: &Context, args: CompletionsArgs) -> Result<u8, CliError> {
    cx.stdout.write(&script(args.shell));
    Ok(0)
}

fn script(shell: Shell) -> String {
    // Written to memory first, because the generator panics when its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cofferdam", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for command in [
                "run",
                "chat",
                "demo",
                "simulate",
                "tool",
                "budget",
                "config",
                "wit",
                "completions",
            ] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
