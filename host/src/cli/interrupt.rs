//! Ctrl-C, and SIGTERM, which a service manager sends: the first asks the run to end well, the second ends the process.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::output::Sink;
use crate::events::Ending;

/// While it lives, the first interruption cancels the token and the second ends the process at once. What the ledger
/// had reserved then is charged in full by whoever opens it next.
#[derive(Debug)]
pub struct Interrupt {
    task: JoinHandle<()>,
}

impl Interrupt {
    pub fn cancels(token: CancellationToken, stderr: Sink) -> Self {
        let task = tokio::spawn(async move {
            interrupted().await;
            token.cancel();
            stderr.line("\ncancelling; press Ctrl-C again to stop at once");
            interrupted().await;
            std::process::exit(i32::from(Ending::Cancelled.exit_code()));
        });
        Self { task }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns at the next interruption. Where the system cannot tell, never: its own default then ends the process.
pub async fn interrupted() {
    tokio::select! {
        ctrl_c = tokio::signal::ctrl_c() => if ctrl_c.is_err() { std::future::pending().await },
        () = terminated() => {}
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};

    if let Ok(mut terminate) = signal(SignalKind::terminate())
        && terminate.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}
