//! The binary: a runtime, the command line on it, an exit code.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

/// How long the end of the process waits for work that a command left behind.
const SHUTDOWN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Components are compiled in a child of this program, and this may be one.
    cofferdam::sandbox::become_compiler_if_asked();
    match run() {
        Ok(code) => code,
        Err(error) => {
            // Nothing else is left to tell where stderr is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the threads of the runtime")?;
    let code = runtime.block_on(cofferdam::cli::main());
    runtime.shutdown_timeout(SHUTDOWN);
    Ok(code)
}
