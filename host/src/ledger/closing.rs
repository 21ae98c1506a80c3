//! How reservations are closed: through one queue, so that nothing spent is lost and nobody waits for it.
//!
//! Every settlement, release and charge enters the queue at once. The next operation of the ledger books the whole queue before
//! its own work, so that those who wait for money are never served before those who free it. If nobody comes, one task in the
//! background takes a turn. It is one task however many runs are dropped: while another program holds the database, it occupies
//! one blocking thread, and those of all other work stay free.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::row::Settlement;
use super::{BudgetAlert, BudgetSettings, Inner, Ledger, LedgerError, ReservationId};

/// The pause of the background task after a failure. It doubles up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How a reservation ends.
#[derive(Clone, Debug)]
pub(super) enum Closing {
    /// It cost this much.
    Settle(Settlement),
    /// It cost nothing.
    Release,
    /// Its cost is unknown, so it is charged in full.
    Charge,
}

type Booked = Result<Vec<BudgetAlert>, LedgerError>;

/// A reservation that is still to be closed.
#[derive(Debug)]
pub(super) struct PendingClosing {
    pub(super) id: ReservationId,
    pub(super) closing: Closing,
    pub(super) limits: BudgetSettings,
    /// Who waits for the result, if anybody does. A failure is reported once, and then the closing is tried again without.
    pub(super) done: Option<oneshot::Sender<Booked>>,
}

/// The result of a closing that its own caller's turn booked.
struct OwnTurn {
    booked: Booked,
    /// Kept, so that the caller waits for the end of its turn, and with it for the turn's handle of the ledger.
    _done: Option<oneshot::Sender<Booked>>,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) waiting: VecDeque<PendingClosing>,
    /// Whether a background task is going to book them.
    draining: bool,
}

impl Ledger {
    /// Closes a reservation. The future returns once it is booked, and it is booked even if the future is dropped.
    pub(super) fn close(
        &self,
        id: ReservationId,
        closing: Closing,
        limits: BudgetSettings,
    ) -> impl Future<Output = Booked> + Send + use<> {
        let (sender, done) = oneshot::channel();
        self.inner.queue().waiting.push_back(PendingClosing {
            id: id.clone(),
            closing,
            limits,
            done: Some(sender),
        });
        let ledger = self.clone();
        let in_background = DrainOnDrop(Some(self.clone()));
        async move {
            let mut done = done;
            let turn = ledger.turn(move |inner| inner.close_first(&id));
            let booked = tokio::select! {
                biased;
                booked = &mut done => booked.unwrap_or(Err(LedgerError::Interrupted)),
                turn = turn => match turn? {
                    Some(OwnTurn { booked, .. }) => booked,
                    None => done.try_recv().unwrap_or(Err(LedgerError::Interrupted)),
                },
            };
            if matches!(booked, Ok(_) | Err(LedgerError::NotOpen { .. })) {
                in_background.disarm();
            }
            booked
        }
    }

    /// Closes a reservation in the background: now if there is a runtime, else with the next operation.
    pub(super) fn close_later(&self, id: ReservationId, closing: Closing, limits: BudgetSettings) {
        self.inner.queue().waiting.push_back(PendingClosing {
            id,
            closing,
            limits,
            done: None,
        });
        self.drain_in_background();
    }

    fn drain_in_background(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut queue = self.inner.queue();
        if std::mem::replace(&mut queue.draining, true) {
            return;
        }
        drop(queue);
        let drain = Drain {
            inner: Arc::downgrade(&self.inner),
            is_finished: false,
        };
        runtime.spawn(drain.run());
    }
}

/// Has a closing booked in the background unless it was booked before: its future was dropped, or the database refused it.
struct DrainOnDrop(Option<Ledger>);

impl DrainOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        if let Some(ledger) = &self.0 {
            ledger.drain_in_background();
        }
    }
}

/// The background task. It doesn't keep the ledger open: the last handle books what is left.
struct Drain {
    inner: Weak<Inner>,
    is_finished: bool,
}

impl Drain {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        while let Some(inner) = self.inner.upgrade() {
            let ledger = Ledger { inner };
            let book = |inner: &Inner| {
                inner.close_pending();
                let mut queue = inner.queue();
                // Decided under the lock, so that a closing that arrives now finds a task or starts one.
                queue.draining = !queue.waiting.is_empty();
                !queue.draining
            };
            match ledger.turn(book).await {
                Ok(true) => {
                    self.is_finished = true;
                    return;
                }
                Ok(false) => {}
                Err(_) => return,
            }
            drop(ledger);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

impl Drop for Drain {
    /// The runtime is shutting down. Another one can start another task.
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade().filter(|_| !self.is_finished) {
            inner.queue().draining = false;
        }
    }
}

impl Inner {
    /// Tries once to close each pending reservation, oldest first. A failed one moves to the back of the queue, so that it
    /// doesn't block the others.
    pub(super) fn close_pending(&self) {
        let count = self.queue().waiting.len();
        for _ in 0..count {
            let Some(mut pending) = self.queue().waiting.pop_front() else {
                return;
            };
            let done = pending.done.take();
            let (booked, next) = self.book(pending, done.as_ref());
            if let Some(done) = done {
                // If the caller is gone, so is the need for the result.
                let _ = done.send(booked);
            }
            if next.is_break() {
                return;
            }
        }
    }

    /// Closes this reservation before the others, because its caller waits for the result. `None` if another turn has closed it.
    fn close_first(&self, id: &ReservationId) -> Option<OwnTurn> {
        let pending = {
            let mut queue = self.queue();
            let position = queue.waiting.iter().position(|pending| pending.id == *id);
            position.and_then(|position| queue.waiting.remove(position))
        };
        let Some(mut pending) = pending else {
            self.close_pending();
            return None;
        };
        let done = pending.done.take();
        let (booked, next) = self.book(pending, done.as_ref());
        if next.is_continue() {
            self.close_pending();
        }
        Some(OwnTurn { booked, _done: done })
    }

    /// Books one closing, or puts it back into the queue. Breaks if the others would fail the same way.
    fn book(&self, pending: PendingClosing, done: Option<&oneshot::Sender<Booked>>) -> (Booked, ControlFlow<()>) {
        // An alert that nobody receives is left for the next settlement.
        let limits = done.filter(|done| !done.is_closed()).map(|_| &pending.limits);
        let booked = self.store().close(&pending.id, &pending.closing, limits);
        let next = match &booked {
            Ok(_) => {
                self.announce_freed();
                ControlFlow::Continue(())
            }
            Err(LedgerError::NotOpen { .. }) => ControlFlow::Continue(()),
            Err(error) => {
                tracing::warn!(reservation = %pending.id, %error, "could not close a reservation yet, will try again");
                self.queue().waiting.push_back(pending);
                match error.affects_whole_file() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            }
        };
        (booked, next)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Reservations are still pending here only if no runtime was left to close them.
        self.close_pending();
    }
}
