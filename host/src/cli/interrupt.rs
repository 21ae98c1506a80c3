//! Handles Ctrl-C, and SIGTERM from service managers. The first signal cancels the run, the second exits the process.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::output::Sink;
use crate::events::Ending;

/// While it exists, the first signal cancels the token and the second exits the process immediately. In that case the next
/// process to open the ledger charges the open reservations in full.
#[derive(Debug)]
pub struct Interrupt {
    task: JoinHandle<()>,
}

impl Interrupt {
    pub fn cancel_on_signal(token: CancellationToken, stderr: Sink) -> Self {
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

/// Returns at the next signal. If no signal handler can be installed, it never returns, and the system's default action
/// ends the process.
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
