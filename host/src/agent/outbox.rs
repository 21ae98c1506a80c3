//! What of a session isn't durable yet, on its way to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::events::Ending;
use crate::ledger::{LedgerError, Reservation, ReservationId, ReserveRequest};
use crate::model::BoxFuture;
use crate::session::{Fact, SessionError};
use crate::store::{Change, Commit, FactBody, Made, StoreError};

/// What isn't durable yet. It holds no store, so that what waits in the store's queue doesn't keep the store open.
///
/// A caller that has something to write puts a ticket into the store's queue, unless one is there already. Facts are taken and numbered
/// when it is the ticket's turn. By then everything before is durable or was put back, so they reach the store in their order
/// whatever fails.
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) id: Arc<str>,
    pub(super) tenant: Arc<str>,
    pub(super) pending: Mutex<Pending>,
}

#[derive(Default)]
pub(super) struct Pending {
    /// `None`: the session isn't in the store yet.
    pub(super) lease: Option<u64>,
    pub(super) title: String,
    /// The number of the last fact that was taken.
    pub(super) seq: u64,
    pub(super) facts: Vec<Arc<FactBody>>,
    /// What these facts mean for the store's other rows.
    pub(super) consequences: Vec<Change>,
    /// How the last run ended, if that changed since the last commit.
    pub(super) outcome: Option<Option<Ending>>,
    /// Settlements that wait for the next commit. They are booked even if nobody polls these.
    pub(super) booked: Vec<BoxFuture<'static, ()>>,
    /// Who waits for the ticket in the queue; `None`: there is none.
    pub(super) queued: Option<Vec<oneshot::Sender<Result<(), StoreError>>>>,
    /// Whether what was taken isn't answered yet.
    pub(super) is_being_written: bool,
    /// Whether the journal is gone: what is left is written, and others can take the session over.
    pub(super) is_closed: bool,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending")
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

/// Facts on their way, and what must be undone if they can't be written.
struct Batch {
    facts: Vec<Arc<FactBody>>,
    consequences: Vec<Change>,
    outcome: Option<Option<Ending>>,
    /// The number of the first fact.
    first: u64,
    /// The title of the session that these facts open.
    opened: Option<String>,
}

impl Pending {
    pub(super) fn add(&mut self, fact: &Fact) {
        self.facts.push(Arc::new(FactBody::new(fact)));
    }

    pub(super) fn has_facts(&self) -> bool {
        !self.facts.is_empty() || self.outcome.is_some()
    }

    /// Takes what waits; nothing if nothing does.
    fn take(&mut self) -> Option<Batch> {
        self.has_facts().then(|| {
            let facts = std::mem::take(&mut self.facts);
            let consequences = std::mem::take(&mut self.consequences);
            let outcome = self.outcome.take();
            self.batch(facts, consequences, outcome)
        })
    }

    /// Numbers facts that follow on all before.
    fn batch(
        &mut self,
        facts: Vec<Arc<FactBody>>,
        consequences: Vec<Change>,
        outcome: Option<Option<Ending>>,
    ) -> Batch {
        let first = self.seq + 1;
        self.seq += facts.len() as u64;
        let opened = self.lease.is_none().then(|| std::mem::take(&mut self.title));
        self.lease.get_or_insert(1);
        Batch {
            facts,
            consequences,
            outcome,
            first,
            opened,
        }
    }

    /// Puts back what couldn't be written, before what came since.
    fn put_back(&mut self, mut batch: Batch) {
        self.undo(&mut batch);
        batch.facts.append(&mut self.facts);
        self.facts = batch.facts;
        batch.consequences.append(&mut self.consequences);
        self.consequences = batch.consequences;
        self.outcome = self.outcome.or(batch.outcome);
    }

    /// Gives back the numbers of a batch that isn't written.
    fn undo(&mut self, batch: &mut Batch) {
        if let Some(title) = batch.opened.take() {
            self.title = title;
            self.lease = None;
        }
        self.seq = self.seq.min(batch.first - 1);
    }
}

impl Outbox {
    pub(super) fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What writes a batch.
    fn changes(&self, lease: Option<u64>, batch: &Batch) -> Vec<Change> {
        let open = batch.opened.as_ref().map(|title| Change::OpenSession {
            id: Arc::clone(&self.id),
            tenant: Arc::clone(&self.tenant),
            title: title.clone(),
        });
        let append = Change::Append {
            id: Arc::clone(&self.id),
            lease: lease.unwrap_or(1),
            first: batch.first,
            facts: batch.facts.clone(),
            outcome: batch.outcome,
        };
        open.into_iter()
            .chain([append])
            .chain(batch.consequences.iter().cloned())
            .collect()
    }

    /// Writes what waits when it is its turn.
    pub(super) fn ticket(self: Arc<Self>) -> Commit {
        Commit::made_late(move || {
            let mut pending = self.pending();
            let waiting = pending.queued.take().unwrap_or_default();
            let is_last = pending.is_closed;
            pending.is_being_written = true;
            let batch = pending.take();
            let written = batch.iter().flat_map(|batch| self.changes(pending.lease, batch));
            let released = pending.lease.filter(|_| is_last).map(|lease| Change::Release {
                id: Arc::clone(&self.id),
                lease,
            });
            let changes = written.chain(released).collect();
            drop(pending);
            Made::new(changes, move |result| {
                self.answered(batch, waiting, is_last, result.map(drop))
            })
        })
    }

    fn answered(
        self: Arc<Self>,
        batch: Option<Batch>,
        waiting: Vec<oneshot::Sender<Result<(), StoreError>>>,
        is_last: bool,
        result: Result<(), StoreError>,
    ) -> Option<Commit> {
        let mut pending = self.pending();
        pending.is_being_written = false;
        let has_facts = batch.is_some();
        let again = match (&result, batch) {
            (Ok(()), _) => false,
            (Err(error @ StoreError::Ledger(_)), batch) => {
                batch.into_iter().for_each(|batch| pending.put_back(batch));
                if is_last {
                    tracing::warn!(%error, "could not write the end of a session yet, will try again");
                }
                true
            }
            (Err(error), Some(mut batch)) if is_last => {
                // Nobody can change what a rule refuses, but others must be able to take the session over.
                match error {
                    // It never began here, as its run said.
                    StoreError::Session(SessionError::InUse { .. } | SessionError::Exists { .. })
                        if batch.opened.is_some() =>
                    {
                        tracing::debug!(session = %self.id, %error, "what was to begin a session is dropped");
                    }
                    _ => tracing::error!(session = %self.id, %error, "the end of a session could not be written"),
                }
                pending.undo(&mut batch);
                true
            }
            (Err(_), batch) => {
                batch.into_iter().for_each(|batch| pending.put_back(batch));
                false
            }
        };
        drop(pending);
        for waits in waiting {
            // Where there was nothing to write, everything before is durable. The last commit also gives the session back.
            let _ = waits.send(if has_facts || is_last { result.clone() } else { Ok(()) });
        }
        (again && is_last).then(|| self.ticket())
    }

    /// Reserves and writes down that an attempt starts, both or none, when it is its turn.
    pub(super) fn start(
        self: Arc<Self>,
        fact: FactBody,
        reserve: Option<(
            ReservationId,
            impl FnOnce(ReservationId) -> Result<Reservation, LedgerError> + Send + 'static,
            ReserveRequest,
        )>,
        sender: oneshot::Sender<Result<Option<Reservation>, StoreError>>,
    ) -> Commit {
        Commit::made_late(move || {
            let mut pending = self.pending();
            // The caller is gone, or hears that what happened before couldn't be written.
            if sender.is_closed() || pending.has_facts() {
                return Made::new(Vec::new(), |_| None);
            }
            let mut batch = pending.batch(vec![Arc::new(fact)], Vec::new(), None);
            let mut changes = self.changes(pending.lease, &batch);
            drop(pending);
            let guard = reserve.map(|(id, guards, request)| {
                changes.push(Change::Reserve(id.clone(), request));
                move || guards(id)
            });
            Made::new(changes, move |result| {
                if result.is_err() {
                    // The attempt doesn't start, so there is nothing to write of it.
                    self.pending().undo(&mut batch);
                }
                // The guard is created with the reservation, so a cancelled caller can't leak it.
                let reserved = result.and_then(|_| Ok(guard.map(|guard| guard()).transpose()?));
                let _ = sender.send(reserved);
                None
            })
        })
    }
}
