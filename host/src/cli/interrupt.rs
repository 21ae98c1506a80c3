//! Handles Ctrl-C, SIGTERM from service managers, and SIGHUP, which says that the terminal is gone. The first signal cancels the
//! run, the second exits the process. SIGHUP is never the second one: it comes from the shell and from the system.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::process;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Context;
use crate::events::Ending;

/// While it exists, the first signal cancels the token and the second exits the process immediately. In that case the next
/// process to open the ledger charges the open reservations in full.
#[derive(Debug)]
pub struct Interrupt {
    task: JoinHandle<()>,
    terminated: Arc<AtomicBool>,
}

impl Interrupt {
    pub fn cancel_on_signal(token: CancellationToken, cx: &Context) -> Self {
        Self::at_terminal(token.clone(), token, cx, || {})
    }

    /// The same, but SIGHUP cancels `gone` in place of the token. Before it exits the process, it does what belongs to the end of that.
    pub fn at_terminal(
        token: CancellationToken,
        gone: CancellationToken,
        cx: &Context,
        at_exit: impl FnOnce() + Send + 'static,
    ) -> Self {
        let (stdout, stderr) = (cx.stdout.clone(), cx.stderr.clone());
        let was_terminated = Arc::new(AtomicBool::new(false));
        let terminating = was_terminated.clone();
        // From here on, so that a signal that comes before the task runs isn't lost.
        let mut signals = Signals::listen();
        let task = tokio::spawn(async move {
            let mut is_first = true;
            loop {
                let received = signals.next().await;
                if received != Received::Interrupt {
                    terminating.store(true, Ordering::Relaxed);
                }
                match received {
                    Received::HangUp => gone.cancel(),
                    Received::Interrupt | Received::Termination => token.cancel(),
                }
                if std::mem::take(&mut is_first) {
                    stderr.line("\ncancelling; press Ctrl-C again to stop at once");
                } else if received != Received::HangUp {
                    break;
                }
            }
            at_exit();
            stdout.put_held();
            std::process::exit(i32::from(Ending::Cancelled.exit_code()));
        });
        Self {
            task,
            terminated: was_terminated,
        }
    }

    /// Whether SIGTERM or SIGHUP came, which are for the whole process and not only for what it does now.
    pub fn was_terminated(&self) -> bool {
        self.terminated.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A write beyond the file size limit of this process (`ulimit -f`) fails from here on, like one on a full disk. The system's default
/// is to end the process.
pub fn outlive_file_size_limit() {
    // The handler stays when the stream is dropped. Where none can be installed, the default holds.
    drop(signal(SignalKind::from_raw(process::Signal::XFSZ.as_raw())));
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Termination,
    /// SIGHUP.
    HangUp,
}

/// Ctrl-C, SIGTERM and SIGHUP, from its creation on. Where no handler can be installed, the system's default action ends the process.
struct Signals {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    hang_up: Option<Signal>,
}

impl Signals {
    fn listen() -> Self {
        Self {
            interrupt: signal(SignalKind::interrupt()).ok(),
            terminate: signal(SignalKind::terminate()).ok(),
            hang_up: hang_up(),
        }
    }

    async fn next(&mut self) -> Received {
        tokio::select! {
            // A shell whose terminal is closed sends SIGHUP and then SIGTERM to what it has stopped, which sees both at once.
            biased;
            () = received(self.hang_up.as_mut()) => Received::HangUp,
            () = received(self.interrupt.as_mut()) => Received::Interrupt,
            () = received(self.terminate.as_mut()) => Received::Termination,
        }
    }
}

/// `None` where `nohup` or a supervisor had SIGHUP ignored: the process outlives its terminal then.
fn hang_up() -> Option<Signal> {
    static IS_IGNORED: OnceLock<bool> = OnceLock::new();
    match IS_IGNORED.get_or_init(ignores_hang_up) {
        true => None,
        false => signal(SignalKind::hangup()).ok(),
    }
}

/// Whether SIGHUP is ignored, before a handler changes that. Where the system doesn't say so, it counts as ignored, and no handler
/// takes the place of the system's action.
fn ignores_hang_up() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is signal 1, the lowest bit.
    mask.is_none_or(|mask| mask & 1 != 0)
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

/// Returns at the next Ctrl-C, SIGTERM or SIGHUP.
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

/// Stops the process for threads outside of the current runtime.
#[derive(Debug)]
pub struct Stop(Handle);

/// How long a stop may take. Where the system stops no process, because no shell could continue it, the process goes on after this.
const STOP_WAIT: Duration = Duration::from_millis(500);

impl Stop {
    pub fn here() -> Self {
        Self(Handle::current())
    }

    /// Returns once the process is continued.
    pub fn until_continued(&self) {
        self.0.block_on(stop_until_continued());
    }
}

/// Stops this process and those that run together with it, as Ctrl-Z does. Returns once it is continued.
pub async fn stop_until_continued() {
    let Ok(mut continued) = signal(SignalKind::from_raw(process::Signal::CONT.as_raw())) else {
        return;
    };
    // The signal reaches some thread of the process, and this one runs until then.
    if process::kill_current_process_group(process::Signal::TSTP).is_ok() {
        let _ = tokio::time::timeout(STOP_WAIT, continued.recv()).await;
    }
}

/// Returns at the next SIGTERM or SIGHUP.
pub async fn terminated() {
    let (mut terminate, mut hang_up) = (signal(SignalKind::terminate()).ok(), hang_up());
    tokio::select! {
        () = received(terminate.as_mut()) => {}
        () = received(hang_up.as_mut()) => {}
    }
}
