//! Writes a session's facts to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{FutureExt, join_all};
use tokio::sync::oneshot;

use super::consequences::consequences;
use super::decisions::Decisions;
use super::outbox::{Outbox, Pending};
use crate::events::Ending;
use crate::fault::{self, Point};
use crate::ledger::{Ledger, LedgerError, Reservation, ReservationId, ReserveRequest};
use crate::model::{AttemptEnd, AttemptLog, BoxFuture, ModelError, Unlogged};
use crate::session::Fact;
use crate::store::{Commit, FactBody, Lease, Store, StoreError};

/// The characters of the first prompt that are the session's title.
const TITLE_CHARS: usize = 80;

/// The facts of one session on their way to the store. A session that isn't kept has none.
///
/// Facts wait here until the next commit, so that what belongs together is durable together: the end of an attempt, its answer
/// and the admission of its calls share one.
#[derive(Debug)]
pub(super) struct Journal {
    kept: Option<Kept>,
    /// The text of the last answer, if it was cut off. Also of a session that isn't kept.
    partial_text: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Kept {
    store: Store,
    outbox: Arc<Outbox>,
}

impl Journal {
    /// Of a session that isn't kept.
    pub(super) const fn none() -> Self {
        Self {
            kept: None,
            partial_text: Mutex::new(None),
        }
    }

    /// Of a new session. It is in the store from its first commit on.
    pub(super) fn new(store: &Store, id: &str, tenant: &str) -> Self {
        Self::of(store, id, tenant, Pending::default())
    }

    /// Of a session that goes on, after the fact with this number.
    pub(super) fn leased(store: &Store, tenant: &str, lease: Lease, seq: u64) -> Self {
        let (id, lease) = lease.keep();
        let pending = Pending {
            lease: Some(lease),
            seq,
            ..Pending::default()
        };
        Self::of(store, &id, tenant, pending)
    }

    fn of(store: &Store, id: &str, tenant: &str, pending: Pending) -> Self {
        Self {
            kept: Some(Kept {
                store: store.clone(),
                outbox: Arc::new(Outbox {
                    id: id.into(),
                    tenant: tenant.into(),
                    pending: Mutex::new(pending),
                }),
            }),
            partial_text: Mutex::default(),
        }
    }

    /// What had arrived of the answer that was cut off last, unless one has come since.
    pub(super) fn take_partial_text(&self) -> Option<String> {
        self.partial_text().take()
    }

    fn partial_text(&self) -> MutexGuard<'_, Option<String>> {
        self.partial_text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) const fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Adds a fact to the next commit.
    pub(super) fn record(&self, fact: &Fact) {
        let Some(Kept { outbox, .. }) = &self.kept else {
            return;
        };
        let mut pending = outbox.pending();
        match fact {
            Fact::Prompted { text, .. } => {
                pending.outcome = Some(None);
                if pending.title.is_empty() {
                    pending.title = title(text);
                }
            }
            Fact::RunEnded { outcome, .. } => pending.outcome = Some(Some(*outcome)),
            Fact::ApprovalRequested { .. } => pending.outcome = Some(Some(Ending::AwaitingApproval)),
            Fact::ApprovalDecided { .. } | Fact::ApprovalExpired { .. } => pending.outcome = Some(None),
            _ => {}
        }
        pending.add(fact);
        let changes = consequences(fact, &outbox.id, &outbox.tenant);
        pending.consequences.extend(changes);
    }

    /// Has the next commit say that the run waits for a person, though it has not ended.
    pub(super) fn waits_for_approval(&self) {
        if let Some(kept) = &self.kept {
            kept.outbox.pending().outcome = Some(Some(Ending::AwaitingApproval));
        }
    }

    /// Commits what was recorded, and the settlements before it. The future returns when both are durable, and what the settlements
    /// have reached is announced. They become durable even if it is dropped.
    ///
    /// # Errors
    ///
    /// What couldn't be written is tried again with the next commit.
    pub(super) fn commit(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let submitted = self.kept.as_ref().map(|kept| {
            let booked = std::mem::take(&mut kept.outbox.pending().booked);
            futures_util::future::join(kept.submit(), join_all(booked))
        });
        async move {
            match submitted {
                Some(submitted) => submitted.await.0,
                None => Ok(()),
            }
        }
    }

    /// Writes what is left and lets others take the session over. The future returns when that is done; it is done even if it is dropped.
    ///
    /// # Errors
    ///
    /// As [`Self::commit`].
    pub(super) fn close(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let closing = self.kept.as_ref().map(|kept| {
            let (sender, closed) = oneshot::channel();
            kept.close(Some(sender));
            received(closed)
        });
        async move {
            match closing {
                Some(closing) => closing.await,
                None => Ok(()),
            }
        }
    }

    /// What people decide about the session's calls.
    pub(super) fn decisions(&self) -> Decisions {
        Decisions::of(self.kept.as_ref().map(|kept| kept.store.clone()))
    }

    /// Submits what was recorded, for durability some time soon.
    pub(super) fn flush(&self) {
        if let Some(kept) = &self.kept {
            drop(kept.submit());
        }
    }
}

/// `title` in the store's list.
fn title(prompt: &str) -> String {
    let line = prompt
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .trim();
    line.chars().take(TITLE_CHARS).collect()
}

impl Kept {
    /// Has the last commit of the session made, unless it is already. `closed` hears of it.
    fn close(&self, closed: Option<oneshot::Sender<Result<(), StoreError>>>) {
        let mut pending = self.outbox.pending();
        if std::mem::replace(&mut pending.is_closed, true) {
            return;
        }
        let is_in_store = pending.lease.is_some() || pending.has_facts();
        let is_awaited = closed.is_some();
        match &mut pending.queued {
            Some(waiting) => waiting.extend(closed),
            None if is_in_store => {
                pending.queued = Some(closed.into_iter().collect());
                let ticket = Arc::clone(&self.outbox).ticket();
                match pending.has_facts() || pending.is_being_written || is_awaited {
                    true => self.store.commit_all([ticket]),
                    // Nobody loses anything if the process ends before.
                    false => self.store.commit_soon(ticket),
                }
            }
            None => {
                let _ = closed.map(|closed| closed.send(Ok(())));
            }
        }
    }

    /// Has what was recorded written. The future returns when it is durable.
    fn submit(&self) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let mut pending = self.outbox.pending();
        let (ticket, written) = self.queue(&mut pending);
        // Under the lock, so that what follows is behind it.
        self.store.commit_all(ticket);
        received(written)
    }

    /// The ticket for the store's queue, unless it is there or nothing is left to write, and who hears of it.
    fn queue(&self, pending: &mut Pending) -> (Option<Commit>, oneshot::Receiver<Result<(), StoreError>>) {
        let (sender, written) = oneshot::channel();
        let is_needed = pending.has_facts() || pending.is_being_written;
        match &mut pending.queued {
            Some(waiting) => waiting.push(sender),
            queued @ None if is_needed => {
                *queued = Some(vec![sender]);
                return (Some(Arc::clone(&self.outbox).ticket()), written);
            }
            None => {
                let _ = sender.send(Ok(()));
            }
        }
        (None, written)
    }

    /// Submits the start of an attempt with its reservation: both are made, or none.
    fn start(
        &self,
        ledger: &Ledger,
        model: &str,
        request: Option<ReserveRequest>,
    ) -> impl Future<Output = Result<Option<Reservation>, StoreError>> + Send + use<> {
        let (sender, started) = oneshot::channel();
        let reserve = request.map(|request| (ReservationId::generate(), ledger.guard(&request), request));
        let fact = FactBody::new(&Fact::AttemptStarted {
            model: model.to_owned(),
            reservation: reserve.as_ref().map(|(id, ..)| id.to_string()),
        });
        let start = Arc::clone(&self.outbox).start(fact, reserve, sender);
        // What happened before is true whatever the ledger says now. Both are on the disk with one flush.
        let mut pending = self.outbox.pending();
        let (before, written) = self.queue(&mut pending);
        self.store.commit_all(before.into_iter().chain([start]));
        drop(pending);
        let outbox = Arc::clone(&self.outbox);
        async move {
            received(written).await?;
            let started = received(started).await;
            // They came before it, so they don't have to be waited for.
            let booked = std::mem::take(&mut outbox.pending().booked);
            join_all(booked).await;
            started
        }
    }
}

async fn received<T>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    answer.await.unwrap_or_else(|_| Err(LedgerError::Interrupted.into()))
}

impl AttemptLog for Journal {
    /// One commit for the reservation and the fact.
    fn started<'a>(
        &'a self,
        ledger: &'a Ledger,
        model: &'a str,
        request: Option<ReserveRequest>,
    ) -> BoxFuture<'a, Result<Option<Reservation>, ModelError>> {
        let Some(kept) = &self.kept else {
            return Unlogged.started(ledger, model, request);
        };
        let started = kept.start(ledger, model, request);
        async move {
            let started = started.await.map_err(model_error);
            fault::passes(Point::AttemptReady);
            started
        }
        .boxed()
    }

    fn ended(&self, end: AttemptEnd, booked: BoxFuture<'static, ()>) -> BoxFuture<'_, ()> {
        fault::passes(Point::AnswerArrived);
        let AttemptEnd {
            reservation,
            usage,
            request_id,
            error,
            partial_text,
        } = end;
        let has_failed = error.is_some();
        if partial_text.is_some() || !has_failed {
            self.partial_text().clone_from(&partial_text);
        }
        let Some(kept) = &self.kept else { return booked };
        let (error, message) = error.map(|error| (error.kind, error.message)).unzip();
        let mut pending = kept.outbox.pending();
        pending.add(&Fact::AttemptEnded {
            reservation,
            usage,
            request_id,
            error,
            message,
            partial_text,
        });
        pending.booked.push(booked);
        drop(pending);
        // After an answer there is more to write, which the agent commits at once.
        match has_failed {
            true => self.commit().map(drop).boxed(),
            false => std::future::ready(()).boxed(),
        }
    }
}

/// How a run ends whose journal can't be written.
pub(super) fn model_error(error: StoreError) -> ModelError {
    match error {
        StoreError::Ledger(error) => error.into(),
        StoreError::Session(error) => ModelError::Session(error),
        // No fact is refused for it.
        StoreError::Approval(_) => LedgerError::Interrupted.into(),
    }
}

impl Drop for Journal {
    /// Writes what is left and lets others take the session over, however long that takes.
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.close(None);
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
