//! Writes a session's facts to the store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{FutureExt, join_all};
use tokio::sync::oneshot;

use super::consequences::consequences;
use super::decisions::Decisions;
use crate::events::Ending;
use crate::fault::{self, Point};
use crate::ledger::{Ledger, LedgerError, Reservation, ReservationId, ReserveRequest};
use crate::model::{AttemptEnd, AttemptLog, BoxFuture, ModelError, Unlogged};
use crate::session::{Fact, SessionError};
use crate::store::{Change, Commit, FactBody, Lease, Store, StoreError};

/// The characters of the first prompt that are the session's title.
const TITLE_CHARS: usize = 80;

/// The facts of one session on their way to the store. A session that isn't kept has none.
///
/// Facts wait here until the next commit, so that what belongs together is durable together: the end of an attempt, its answer
/// and the admission of its calls share one.
#[derive(Debug)]
pub(super) struct Journal {
    kept: Option<Arc<Kept>>,
    /// The text of the last answer, if it was cut off. Also of a session that isn't kept.
    partial_text: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Kept {
    store: Store,
    id: Arc<str>,
    tenant: Arc<str>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// `None`: the session isn't in the store yet.
    lease: Option<u64>,
    title: String,
    /// The number of the last fact that was submitted.
    seq: u64,
    /// Counts what was recorded, so that what couldn't be written keeps its place.
    recorded: u64,
    facts: Vec<(u64, FactBody)>,
    /// What these facts mean for the store's other rows.
    consequences: Vec<(u64, Change)>,
    /// How the last run ended, if that changed since the last commit.
    outcome: Option<Option<Ending>>,
    /// Settlements that wait for the next commit. They are booked even if nobody polls these.
    booked: Vec<BoxFuture<'static, ()>>,
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
    facts: Vec<(u64, FactBody)>,
    consequences: Vec<(u64, Change)>,
    outcome: Option<Option<Ending>>,
    /// The number of the first fact.
    first: u64,
    /// The title of the session that these facts open.
    opened: Option<String>,
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
            kept: Some(Arc::new(Kept {
                store: store.clone(),
                id: id.into(),
                tenant: tenant.into(),
                pending: Mutex::new(pending),
            })),
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
        let Some(kept) = &self.kept else { return };
        let mut pending = kept.pending();
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
        let recorded = pending.recorded;
        let changes = consequences(fact, &kept.id, &kept.tenant);
        pending.consequences.extend(changes.map(|change| (recorded, change)));
    }

    /// Has the next commit say that the run waits for a person, though it has not ended.
    pub(super) fn waits_for_approval(&self) {
        if let Some(kept) = &self.kept {
            kept.pending().outcome = Some(Some(Ending::AwaitingApproval));
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
            let booked = std::mem::take(&mut kept.pending().booked);
            (Arc::clone(kept), kept.submit(), join_all(booked))
        });
        async move {
            let Some((kept, written, booked)) = submitted else {
                return Ok(());
            };
            match futures_util::join!(written, booked).0 {
                // What was submitted before it failed, and can go first now.
                Err(StoreError::Session(SessionError::OutOfOrder { .. })) => kept.submit().await,
                written => written,
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

impl Pending {
    fn add(&mut self, fact: &Fact) {
        self.recorded += 1;
        self.facts.push((self.recorded, FactBody::new(fact)));
    }

    /// Takes what waits; nothing if nothing does.
    fn take(&mut self) -> Option<Batch> {
        if self.facts.is_empty() && self.outcome.is_none() {
            return None;
        }
        let facts = std::mem::take(&mut self.facts);
        let consequences = std::mem::take(&mut self.consequences);
        let first = self.seq + 1;
        self.seq += facts.len() as u64;
        let opened = self.lease.is_none().then(|| std::mem::take(&mut self.title));
        self.lease.get_or_insert(1);
        Some(Batch {
            facts,
            consequences,
            outcome: self.outcome.take(),
            first,
            opened,
        })
    }

    /// Puts back what couldn't be written, for the next commit.
    fn put_back(&mut self, batch: Batch) {
        if let Some(title) = batch.opened {
            self.title = title;
            self.lease = None;
        }
        self.seq = self.seq.min(batch.first - 1);
        self.facts.extend(batch.facts);
        self.facts.sort_by_key(|(recorded, _)| *recorded);
        self.consequences.extend(batch.consequences);
        self.consequences.sort_by_key(|(recorded, _)| *recorded);
        self.outcome = self.outcome.or(batch.outcome);
    }
}

impl Kept {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What writes a batch.
    fn changes(&self, lease: u64, batch: &Batch) -> Vec<Change> {
        let open = batch.opened.as_ref().map(|title| Change::OpenSession {
            id: Arc::clone(&self.id),
            tenant: Arc::clone(&self.tenant),
            title: title.clone(),
        });
        let append = Change::Append {
            id: Arc::clone(&self.id),
            lease,
            first: batch.first,
            facts: batch.facts.iter().map(|(_, fact)| fact.clone()).collect(),
            outcome: batch.outcome,
        };
        open.into_iter()
            .chain([append])
            .chain(batch.consequences.iter().map(|(_, change)| change.clone()))
            .collect()
    }

    /// Submits what was recorded.
    fn submit(self: &Arc<Self>) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let mut pending = self.pending();
        let (commit, written) = self.write(&mut pending);
        // Submitted under the lock, so that facts reach the store in order.
        self.store.commit_all(commit);
        drop(pending);
        async move { received(written).await }
    }

    /// What writes the facts that wait, if some do, and who hears of it.
    fn write(self: &Arc<Self>, pending: &mut Pending) -> (Option<Commit>, oneshot::Receiver<Result<(), StoreError>>) {
        let (sender, written) = oneshot::channel();
        let Some(batch) = pending.take() else {
            let _ = sender.send(Ok(()));
            return (None, written);
        };
        let changes = self.changes(pending.lease.unwrap_or(1), &batch);
        let kept = Arc::clone(self);
        let commit = Commit::new(changes, move |result| {
            if result.is_err() {
                kept.pending().put_back(batch);
            }
            let _ = sender.send(result.map(drop));
        });
        (Some(commit), written)
    }

    /// Submits the start of an attempt with its reservation: both are made, or none.
    fn start(
        self: &Arc<Self>,
        ledger: &Ledger,
        model: &str,
        request: Option<ReserveRequest>,
    ) -> impl Future<Output = Result<Option<Reservation>, StoreError>> + Send + use<> {
        let (sender, started) = oneshot::channel();
        let reserve = request.map(|request| (ReservationId::generate(), ledger.guard(&request), request));
        let fact = Fact::AttemptStarted {
            model: model.to_owned(),
            reservation: reserve.as_ref().map(|(id, ..)| id.to_string()),
        };
        let mut pending = self.pending();
        // What happened before is true whatever the ledger says now. Both are on the disk with one flush.
        let (before, written) = self.write(&mut pending);
        pending.add(&fact);
        let started_as = pending.recorded;
        // There is one: it was just added.
        let start = pending.take().map(|mut batch| {
            let mut changes = self.changes(pending.lease.unwrap_or(1), &batch);
            let mut guard = None;
            if let Some((id, guards, request)) = reserve {
                changes.push(Change::Reserve(id.clone(), request));
                guard = Some(move || guards(id));
            }
            let kept = Arc::clone(self);
            Commit::new(changes, move |result| {
                if result.is_err() {
                    // The attempt doesn't start, so there is nothing to write of it.
                    batch.facts.retain(|(recorded, _)| *recorded != started_as);
                    kept.pending().put_back(batch);
                }
                // The guard is created with the reservation, so a cancelled caller can't leak it.
                let reserved = result.and_then(|_| Ok(guard.map(|guard| guard()).transpose()?));
                let _ = sender.send(reserved);
            })
        });
        self.store.commit_all(before.into_iter().chain(start));
        drop(pending);
        async move {
            received(written).await?;
            received(started).await
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
        let mut pending = kept.pending();
        pending.add(&Fact::AttemptEnded {
            reservation,
            usage,
            request_id,
            error,
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
        let Some(kept) = &self.kept else { return };
        let mut pending = kept.pending();
        let batch = pending.take();
        let Some(lease) = pending.lease else { return };
        let mut changes = batch.map_or_else(Vec::new, |batch| kept.changes(lease, &batch));
        changes.push(Change::Release {
            id: Arc::clone(&kept.id),
            lease,
        });
        kept.store.commit_until_done(changes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    // The database is held up on purpose while callers wait.
    #![allow(clippy::await_holding_lock)]
    use std::task::Poll;

    use super::*;
    use crate::ledger::BudgetLimits;
    use crate::money::NanoUsd;
    use crate::store::Durability;

    fn request(amount: u64) -> ReserveRequest {
        ReserveRequest {
            tenant: "t".to_owned(),
            session_id: "s".to_owned(),
            model: "m".to_owned(),
            amount: NanoUsd::from_nanos(amount),
            limits: BudgetLimits {
                session: Some(NanoUsd::from_nanos(100)),
                ..BudgetLimits::default()
            },
            now: jiff::Timestamp::now(),
        }
    }

    fn prompted(text: &str) -> Fact {
        Fact::Prompted {
            text: text.to_owned(),
            attachments: Vec::new(),
            schema: None,
        }
    }

    fn ended() -> Fact {
        Fact::run_ended(Ending::Cancelled, None)
    }

    async fn kinds(store: &Store) -> Vec<String> {
        let facts = store.facts("s", 0).await.unwrap();
        let kinds = facts.iter().map(|fact| fact.fact["kind"].as_str().unwrap().to_owned());
        kinds.collect()
    }

    /// The caller was cancelled while it waited, and the run went on without it.
    #[tokio::test]
    async fn a_start_that_is_refused_after_its_caller_left_leaves_no_gap() {
        let store = Store::in_memory().unwrap();
        let journal = Journal::new(&store, "s", "t");
        journal.record(&prompted("one"));
        journal.commit().await.unwrap();
        let ledger = store.ledger();
        let held = store.hold();
        let mut started = journal.started(&ledger, "m", Some(request(101)));
        assert!(matches!(futures_util::poll!(&mut started), Poll::Pending));
        drop(started);
        journal.record(&ended());
        let written = journal.commit();
        drop(held);
        written.await.unwrap();
        journal.record(&prompted("two"));
        journal.commit().await.unwrap();
        assert_eq!(kinds(&store).await, ["prompted", "run_ended", "prompted"]);
        let reserved = journal.started(&ledger, "m", Some(request(100))).await.unwrap();
        assert!(reserved.is_some());
        assert_eq!(kinds(&store).await.last().unwrap(), "attempt_started");
    }

    /// Another program holds the database for a while. Everything is written afterwards, in its order, also the session itself.
    #[tokio::test]
    async fn what_could_not_be_written_is_written_later_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let store = Store::open_impatiently(&path, Durability::PowerLoss).unwrap();
        let journal = Journal::new(&store, "s", "t");
        let other = rusqlite::Connection::open(&path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        journal.record(&prompted("one"));
        let ledger = store.ledger();
        assert!(journal.started(&ledger, "m", Some(request(1))).await.is_err());
        journal.record(&ended());
        assert!(journal.commit().await.is_err());
        other.execute_batch("COMMIT").unwrap();
        journal.record(&prompted("two"));
        journal.commit().await.unwrap();
        assert_eq!(kinds(&store).await, ["prompted", "run_ended", "prompted"]);
        let session = store.find_session("s", Some("t")).await.unwrap();
        assert_eq!((session.title.as_str(), session.in_use), ("one", true));
        drop(journal);
        assert!(!store.find_session("s", None).await.unwrap().in_use);
    }
}
