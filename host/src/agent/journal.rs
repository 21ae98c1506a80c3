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
use crate::session::Fact;
use crate::store::{Change, Commit, FactBody, Lease, Made, Store, StoreError};

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

/// What isn't durable yet. It holds no store, so that what waits in the store's queue doesn't keep the store open.
///
/// A caller that has something to write puts a ticket into the store's queue, unless one is there already. Facts are taken and numbered
/// when it is the ticket's turn. By then everything before is durable or was put back, so they reach the store in their order
/// whatever fails.
#[derive(Debug)]
struct Outbox {
    id: Arc<str>,
    tenant: Arc<str>,
    pending: Mutex<Pending>,
}

#[derive(Default)]
struct Pending {
    /// `None`: the session isn't in the store yet.
    lease: Option<u64>,
    title: String,
    /// The number of the last fact that was taken.
    seq: u64,
    facts: Vec<Arc<FactBody>>,
    /// What these facts mean for the store's other rows.
    consequences: Vec<Change>,
    /// How the last run ended, if that changed since the last commit.
    outcome: Option<Option<Ending>>,
    /// Settlements that wait for the next commit. They are booked even if nobody polls these.
    booked: Vec<BoxFuture<'static, ()>>,
    /// Who waits for the ticket in the queue; `None`: there is none.
    queued: Option<Vec<oneshot::Sender<Result<(), StoreError>>>>,
    /// Whether what was taken isn't answered yet.
    is_being_written: bool,
    /// Whether the journal is gone: what is left is written, and others can take the session over.
    is_closed: bool,
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
        pending.facts.push(Arc::new(FactBody::new(fact)));
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
    fn has_facts(&self) -> bool {
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
    fn pending(&self) -> MutexGuard<'_, Pending> {
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
    fn ticket(self: Arc<Self>) -> Commit {
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
                tracing::error!(session = %self.id, %error, "the end of a session could not be written");
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
            // Where there was nothing to write, everything before is durable.
            let _ = waits.send(if has_facts { result.clone() } else { Ok(()) });
        }
        (again && is_last).then(|| self.ticket())
    }

    /// Reserves and writes down that an attempt starts, both or none, when it is its turn.
    fn start(
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

impl Kept {
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
        let mut pending = kept.outbox.pending();
        let ended = FactBody::new(&Fact::AttemptEnded {
            reservation,
            usage,
            request_id,
            error,
            partial_text,
        });
        pending.facts.push(Arc::new(ended));
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
        let mut pending = kept.outbox.pending();
        pending.is_closed = true;
        let is_in_store = pending.lease.is_some() || pending.has_facts();
        if is_in_store && pending.queued.is_none() {
            pending.queued = Some(Vec::new());
            let ticket = Arc::clone(&kept.outbox).ticket();
            match pending.has_facts() || pending.is_being_written {
                true => kept.store.commit_all([ticket]),
                // Nobody loses anything if the process ends before.
                false => kept.store.commit_soon(ticket),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    // The database is held up on purpose while callers wait.
    #![allow(clippy::await_holding_lock)]
    use std::path::Path;
    use std::task::Poll;
    use std::time::Duration;

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

    /// What a settlement has reached is announced before the next request leaves.
    #[tokio::test]
    async fn a_start_waits_for_the_settlements_before_it() {
        let store = Store::in_memory().unwrap();
        let (journal, ledger) = (Journal::new(&store, "s", "t"), store.ledger());
        let attempt = ledger.reserve(request(10)).await.unwrap().begin();
        let settled = attempt.settle(NanoUsd::from_nanos(1), &());
        let (announce, mut announced) = oneshot::channel();
        let booked = async move {
            settled.await.unwrap();
            announce.send(()).unwrap();
        };
        let end = AttemptEnd {
            reservation: None,
            usage: None,
            request_id: None,
            error: None,
            partial_text: None,
        };
        journal.ended(end, booked.boxed()).await;
        let started = journal.started(&ledger, "m", Some(request(1))).await.unwrap();
        assert_eq!(announced.try_recv(), Ok(()));
        drop(started);
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

    /// Another program's lock on the database, while it exists.
    fn lock(path: &Path) -> rusqlite::Connection {
        let other = rusqlite::Connection::open(path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }

    /// One commit fails while another waits behind it, and a third is asked for before the second is made.
    #[tokio::test(flavor = "multi_thread")]
    async fn commits_that_wait_behind_one_that_fails_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let store = Store::open_within(&path, Durability::PowerLoss, Duration::from_millis(300)).unwrap();
        let journal = Journal::new(&store, "s", "t");
        journal.record(&prompted("one"));
        journal.commit().await.unwrap();
        let other = lock(&path);
        journal.record(&prompted("two"));
        let second = journal.commit();
        tokio::time::sleep(Duration::from_millis(100)).await;
        journal.record(&prompted("three"));
        let third = journal.commit();
        assert!(second.await.is_err());
        journal.record(&ended());
        let fourth = journal.commit();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(other);
        third.await.unwrap();
        fourth.await.unwrap();
        assert_eq!(kinds(&store).await, ["prompted", "prompted", "prompted", "run_ended"]);
        let texts = store.facts("s", 0).await.unwrap();
        let texts: Vec<_> = texts.iter().filter_map(|fact| fact.fact["text"].as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        let session = store.find_session("s", None).await.unwrap();
        assert_eq!(session.outcome, Some(Ending::Cancelled));
    }

    /// What is durable is asked for while it is being written. Without facts of its own, the answer waits for those before.
    #[tokio::test]
    async fn a_commit_without_facts_waits_for_those_on_their_way() {
        let store = Store::in_memory().unwrap();
        let journal = Journal::new(&store, "s", "t");
        let held = store.hold();
        journal.record(&prompted("one"));
        journal.flush();
        let mut written = Box::pin(journal.commit());
        assert!(matches!(futures_util::poll!(&mut written), Poll::Pending));
        drop(held);
        written.await.unwrap();
        assert_eq!(kinds(&store).await, ["prompted"]);
    }

    /// The session's own commits come first, whatever delays them.
    #[tokio::test]
    async fn a_session_that_is_left_with_a_commit_on_its_way_is_in_use_no_more() {
        let store = Store::in_memory().unwrap();
        for is_new in [true, false] {
            let journal = match is_new {
                true => Journal::new(&store, "s", "t"),
                false => {
                    let taken = store.take_session("s").await.unwrap();
                    Journal::leased(&store, "t", taken.lease, taken.seq)
                }
            };
            let held = store.hold();
            journal.record(&prompted("one"));
            journal.flush();
            tokio::task::yield_now().await;
            journal.record(&ended());
            drop(journal);
            drop(held);
            let session = store.find_session("s", None).await.unwrap();
            assert_eq!((session.in_use, session.outcome), (false, Some(Ending::Cancelled)));
        }
        assert_eq!(kinds(&store).await, ["prompted", "run_ended", "prompted", "run_ended"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_fails_after_the_session_was_left_is_written_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let store = Store::open_within(&path, Durability::PowerLoss, Duration::from_millis(100)).unwrap();
        let journal = Journal::new(&store, "s", "t");
        let other = lock(&path);
        journal.record(&prompted("one"));
        let written = journal.commit();
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(journal);
        assert!(written.await.is_err());
        drop(other);
        let is_left = async || {
            let session = store.find_session("s", None).await;
            session.is_ok_and(|session| !session.in_use)
        };
        while !is_left().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(kinds(&store).await, ["prompted"]);
    }
}
