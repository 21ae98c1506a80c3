//! Handles Ctrl-C, and SIGTERM from service managers. The first signal cancels the run, the second exits the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lines::TerminalMode;
use super::output::Sink;
use crate::events::Ending;

/// While it exists, the first signal cancels the token and the second exits the process immediately. In that case the next
/// process to open the ledger charges the open reservations in full.
#[derive(Debug)]
pub struct Interrupt {
    task: JoinHandle<()>,
    terminated: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn cancel_on_signal(token: CancellationToken, stderr: Sink) -> Self {
        Self::at_terminal(token, stderr, None)
    }

    /// Restores the terminal before it exits the process.
    pub fn at_terminal(token: CancellationToken, stderr: Sink, terminal: Option<TerminalMode>) -> Self {
        let was_terminated = Arc::new(AtomicBool::new(false));
        let terminating = was_terminated.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = ctrl_c() => {}
                () = terminated() => terminating.store(true, Ordering::Relaxed),
            }
            token.cancel();
            stderr.line("\ncancelling; press Ctrl-C again to stop at once");
            interrupted().await;
            if let Some(terminal) = terminal {
                terminal.restore();
            }
            std::process::exit(i32::from(Ending::Cancelled.exit_code()));
        });
        Self {
            task,
            terminated: was_terminated,
        }
    }

    /// Whether the first signal was SIGTERM, which is for the whole process and not only for what it does now.
    pub fn was_terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns at the next Ctrl-C or SIGTERM. If no signal handler can be installed, it never returns, and the system's default
/// action ends the process.
pub async fn interrupted() {
    tokio::select! {
        () = ctrl_c() => {}
        () = terminated() => {}
    }
}

/// Returns at the next Ctrl-C; otherwise as [`interrupted`].
pub async fn ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}

/// Returns at the next SIGTERM; otherwise as [`interrupted`].
#[cfg(unix)]
pub async fn terminated() {
    next(tokio::signal::unix::SignalKind::terminate()).await;
}

/// Returns at the next SIGHUP, which says that the terminal is gone; otherwise as [`interrupted`]. From then on `nohup` has no
/// effect, so only commands that need a terminal wait for it.
#[cfg(unix)]
pub async fn hung_up() {
    next(tokio::signal::unix::SignalKind::hangup()).await;
}

#[cfg(unix)]
async fn next(kind: tokio::signal::unix::SignalKind) {
    if let Ok(mut signals) = tokio::signal::unix::signal(kind)
        && signals.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

#[cfg(not(unix))]
pub async fn terminated() {
    std::future::pending().await
}

#[cfg(not(unix))]
pub async fn hung_up() {
    std::future::pending().await
}
