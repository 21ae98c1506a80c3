//! The binary: starts a Tokio runtime, runs the command line and returns its exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

/// How long to wait at exit for work that a command left running.
const SHUTDOWN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // The host compiles components in child processes of this program, and this process can be one of them.
    cofferdam::sandbox::run_compiler_if_requested();
    match run() {
        Ok(code) => code,
        Err(error) => {
            // If stderr is closed, there is nowhere left to report the error.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("can't start the async runtime's threads")?;
    let code = runtime.block_on(cofferdam::cli::main());
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(code)
}
