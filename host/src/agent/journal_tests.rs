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

/// Nothing is left to write, but others can't take the session over yet.
#[tokio::test]
async fn a_session_that_could_not_be_given_back_is_not_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Store::open_impatiently(&path, Durability::PowerLoss).unwrap();
    let journal = Journal::new(&store, "s", "t");
    journal.record(&prompted("one"));
    journal.commit().await.unwrap();
    let locked = lock(&path);
    assert!(journal.close().await.is_err());
    drop(locked);
    // It is tried again.
    while store.find_session("s", None).await.unwrap().in_use {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
