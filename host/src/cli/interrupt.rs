//! Handles Ctrl-C, and SIGTERM from service managers. The first signal cancels the run, the second exits the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
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
        // From here on, so that a signal that comes before the task runs isn't lost.
        let mut signals = Signals::listen();
        let task = tokio::spawn(async move {
            if signals.next().await == Received::Termination {
                terminating.store(true, Ordering::Relaxed);
            }
            token.cancel();
            stderr.line("\ncancelling; press Ctrl-C again to stop at once");
            signals.next().await;
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

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Termination,
}

/// Ctrl-C and SIGTERM, from its creation on. Where no handler can be installed, the system's default action ends the process.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
        }
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            () = received(self.interrupt.as_mut()) => Received::Interrupt,
            () = received(self.terminate.as_mut()) => Received::Termination,
        }
    }
}

/// Never returns without a handler.
async fn received(signal: Option<&mut Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// Returns at the next Ctrl-C or SIGTERM.
pub async fn interrupted() {
    Signals::listen().next().await;
}

/// Installs the handler of Ctrl-C, which stays.
pub fn handle_ctrl_c() {
    drop(signal(SignalKind::interrupt()));
}

/// Returns at the next Ctrl-C.
pub async fn ctrl_c() {
    received(signal(SignalKind::interrupt()).ok().as_mut()).await;
}

/// Returns at the next SIGTERM.
pub async fn terminated() {
    received(signal(SignalKind::terminate()).ok().as_mut()).await;
}

/// Returns at the next SIGHUP, which says that the terminal is gone. From then on `nohup` has no effect, so only commands that need a
/// terminal wait for it.
pub async fn hung_up() {
    received(signal(SignalKind::hangup()).ok().as_mut()).await;
}
