//! What the store keeps of sessions: leases, order, large bodies, deletion.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The database is held up on purpose while callers wait.
#![allow(clippy::await_holding_lock)]

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;

use super::*;
use crate::events::Ending;
use crate::session::{Fact, SessionError};

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    (folder, path)
}

fn open(path: &Path) -> Store {
    Store::open(path, Durability::PowerLoss).unwrap()
}

fn prompted(text: &str) -> Arc<FactBody> {
    let fact = FactBody::new(&Fact::Prompted {
        text: text.to_owned(),
        attachments: Vec::new(),
        schema: None,
    });
    Arc::new(fact)
}

fn append(id: &str, lease: u64, first: u64, facts: Vec<Arc<FactBody>>) -> Change {
    Change::Append {
        id: id.into(),
        lease,
        first,
        facts,
        outcome: Some(Some(Ending::Completed)),
    }
}

/// It costs no flush of its own while others commit, and comes all the same if nobody does.
#[tokio::test(start_paused = true)]
async fn what_is_not_urgent_shares_the_commit_of_others() {
    let store = Store::in_memory().unwrap();
    let open = |id: &str| Change::OpenSession {
        id: id.into(),
        tenant: "t".into(),
        title: "title".to_owned(),
    };
    store.change(vec![open("a"), open("b")]).await.unwrap();
    let release = |id: &str| {
        Commit::until_done(vec![Change::Release {
            id: id.into(),
            lease: 1,
        }])
    };
    while store.inner.is_led() {
        tokio::task::yield_now().await;
    }
    let before = store.inner.commits();
    store.commit_soon(release("a"));
    store.change(vec![open("c")]).await.unwrap();
    assert_eq!(store.inner.commits() - before, 1);
    assert!(!store.find_session("a", None).await.unwrap().in_use);

    while store.inner.is_led() {
        tokio::task::yield_now().await;
    }
    store.commit_soon(release("b"));
    assert_eq!(store.inner.commits() - before, 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    while store.inner.commits() - before < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!store.find_session("b", None).await.unwrap().in_use);
}

/// A new session of this tenant with these facts, which nobody drives any more.
async fn session(store: &Store, id: &str, tenant: &str, prompts: &[&str]) {
    let changes = vec![
        Change::OpenSession {
            id: id.into(),
            tenant: tenant.into(),
            title: "title".to_owned(),
        },
        append(id, 1, 1, prompts.iter().map(|prompt| prompted(prompt)).collect()),
        Change::Release {
            id: id.into(),
            lease: 1,
        },
    ];
    store.change(changes).await.unwrap();
}

async fn lease(store: &Store, id: &str) -> Result<u64, StoreError> {
    let applied = store.change(vec![Change::Lease { id: id.into() }]).await?;
    match applied[..] {
        [Applied::Leased(lease)] => Ok(lease),
        _ => panic!("{applied:?}"),
    }
}

fn session_error<T: std::fmt::Debug>(result: Result<T, StoreError>) -> SessionError {
    match result {
        Err(StoreError::Session(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn prompts(store: &Store, id: &str) -> Vec<String> {
    let facts = store.facts(id, 0).await.unwrap();
    facts
        .iter()
        .map(|fact| fact.fact["text"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_process_that_lives_keeps_its_lease_and_a_dead_one_loses_it() {
    let (_folder, path) = file();
    let store = open(&path);
    session(&store, "s", "t", &["one"]).await;
    assert_eq!(lease(&store, "s").await.unwrap(), 2);
    assert!(matches!(
        session_error(lease(&store, "s").await),
        SessionError::InUse { .. }
    ));
    // Neither can another handle of the same process, which would write over what this one writes.
    assert!(matches!(
        session_error(lease(&open(&path), "s").await),
        SessionError::InUse { .. }
    ));

    let seen_by_a_reader = async || {
        let reader = Store::open_read_only(&path).unwrap();
        reader.find_session("s", None).await.unwrap().in_use
    };
    assert!(seen_by_a_reader().await);

    let other = Connection::open(&path).unwrap();
    let dead = uuid::Uuid::now_v7().to_string();
    other.execute("UPDATE sessions SET owner = ?1", [dead]).unwrap();
    assert!(!seen_by_a_reader().await);
    assert_eq!(lease(&store, "s").await.unwrap(), 3);
    // The process that seemed dead comes back.
    let stale = store.change(vec![append("s", 2, 2, vec![prompted("stale")])]).await;
    assert!(matches!(session_error(stale), SessionError::TakenOver { .. }));
    store
        .change(vec![append("s", 3, 2, vec![prompted("two")])])
        .await
        .unwrap();
    assert_eq!(prompts(&store, "s").await, ["one", "two"]);
}

#[tokio::test]
async fn facts_are_appended_without_a_gap() {
    let store = Store::in_memory().unwrap();
    session(&store, "s", "t", &["one"]).await;
    let lease = lease(&store, "s").await.unwrap();
    for first in [1, 3] {
        let appended = store.change(vec![append("s", lease, first, vec![prompted("x")])]).await;
        assert!(matches!(session_error(appended), SessionError::OutOfOrder { .. }));
    }
    assert_eq!(prompts(&store, "s").await, ["one"]);
    assert!(matches!(
        session_error(store.change(vec![append("other", 1, 1, vec![prompted("x")])]).await),
        SessionError::Unknown { .. }
    ));
}

fn count(path: &Path, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    Connection::open(path)
        .unwrap()
        .query_row(&query, [], |row| row.get(0))
        .unwrap()
}

#[tokio::test]
async fn a_large_body_is_stored_once_per_tenant_and_goes_with_its_last_use() {
    let (_folder, path) = file();
    let store = open(&path);
    let large = "x".repeat(5_000);
    session(&store, "a", "t", &[&large, "small", &large]).await;
    session(&store, "b", "t", &[&large]).await;
    session(&store, "c", "u", &[&large]).await;
    assert_eq!((count(&path, "facts"), count(&path, "blobs")), (5, 2));
    assert_eq!(prompts(&store, "a").await, [large.as_str(), "small", large.as_str()]);

    store.delete_session("a").await.unwrap();
    assert_eq!((count(&path, "facts"), count(&path, "blobs")), (2, 2));
    assert_eq!(prompts(&store, "b").await, [large.as_str()]);
    store.delete_session("b").await.unwrap();
    assert_eq!((count(&path, "facts"), count(&path, "blobs")), (1, 1));
    store.delete_session("c").await.unwrap();
    assert_eq!((count(&path, "sessions"), count(&path, "blobs")), (0, 0));
}

#[tokio::test]
async fn old_sessions_are_deleted_unless_somebody_drives_them() {
    let store = Store::in_memory().unwrap();
    for id in ["a", "b", "c"] {
        session(&store, id, "t", &["x"]).await;
    }
    lease(&store, "b").await.unwrap();
    let retention = SignedDuration::from_hours(30 * 24);
    let days_later = async |days: i64| {
        let now = Timestamp::now() + SignedDuration::from_hours(days * 24);
        store.delete_expired_sessions(now, retention, u64::MAX).await.unwrap()
    };
    assert_eq!(days_later(0).await, 0);
    assert_eq!(days_later(40).await, 0, "perhaps the clock is wrong");
    assert_eq!(days_later(41).await, 2);
    let filter = SessionFilter {
        count: 9,
        ..SessionFilter::default()
    };
    let left = store.sessions(filter).await.unwrap();
    assert_eq!(
        left.iter().map(|session| session.id.as_str()).collect::<Vec<_>>(),
        ["b"]
    );
}

#[tokio::test]
async fn a_damaged_session_names_the_fact_and_can_be_deleted() {
    let (_folder, path) = file();
    let store = open(&path);
    for (id, damage) in [
        ("a", "UPDATE facts SET body = '{' WHERE session = 'a' AND seq = 2"),
        ("b", "UPDATE facts SET seq = 9 WHERE session = 'b' AND seq = 2"),
        (
            "c",
            "UPDATE facts SET body = '{\"kind\": \"prompted\"}' WHERE session = 'c' AND seq = 2",
        ),
    ] {
        session(&store, id, "t", &["one", "two"]).await;
        Connection::open(&path).unwrap().execute(damage, []).unwrap();
        let seq = if id == "b" { 9 } else { 2 };
        let expected = SessionError::Damaged { id: id.to_owned(), seq };
        assert_eq!(session_error(store.take_session(id).await), expected);
        // That of "c" can be read, although it is no fact.
        if id != "c" {
            assert_eq!(prompts(&store, id).await, ["one"], "what comes before can be read");
            assert_eq!(session_error(store.facts(id, 1).await), expected);
        }
        store.delete_session(id).await.unwrap();
    }
}

/// Names are not: the session of one customer is not that of another.
#[tokio::test]
async fn sessions_are_found_by_the_beginning_of_a_generated_id() {
    const FIRST: &str = "01a228b2-db28-7072-ad55-459dcffd9f93";
    const SECOND: &str = "01a228b2-db29-7072-ad55-459dcffd9f93";
    const THIRD: &str = "01a228b2-f026-743e-b797-173039a5ac39";
    let store = Store::in_memory().unwrap();
    for (id, tenant) in [("abc", "t"), (FIRST, "t"), (SECOND, "t"), (THIRD, "t"), ("x%", "u")] {
        session(&store, id, tenant, &["x"]).await;
    }
    // Newer ones with the same beginning don't hide the one that has exactly this id.
    for number in 0..60 {
        session(&store, &format!("abc{number}"), "t", &["x"]).await;
    }
    assert_eq!(store.find_session("abc", None).await.unwrap().id, "abc");
    assert_eq!(store.find_session("01a228b2-f", None).await.unwrap().id, THIRD);
    let ambiguous = session_error(store.find_session("01a228b2", None).await);
    assert!(matches!(ambiguous, SessionError::Ambiguous { .. }));
    for (unknown, tenant) in [
        ("%", None),
        ("b", None),
        ("", None),
        ("01a228b", None),
        ("abc-long-enough", None),
        ("abc", Some("u")),
    ] {
        let unknown = session_error(store.find_session(unknown, tenant).await);
        assert!(matches!(unknown, SessionError::Unknown { .. }));
    }
}

#[tokio::test]
async fn the_oldest_sessions_go_where_all_are_too_much() {
    let store = Store::in_memory().unwrap();
    for number in 0..40 {
        session(&store, &format!("{number:02}"), "t", &["x"]).await;
    }
    let each = store.find_session("00", None).await.unwrap().bytes;
    lease(&store, "00").await.unwrap();
    let retention = SignedDuration::from_hours(24);
    // More than one commit deletes.
    let deleted = store.delete_expired_sessions(Timestamp::now(), retention, 10 * each);
    assert_eq!(deleted.await.unwrap(), 30);
    let filter = SessionFilter {
        count: 99,
        ..SessionFilter::default()
    };
    let mut left = store.sessions(filter).await.unwrap();
    left.sort_by(|one, other| one.id.cmp(&other.id));
    let ids: Vec<&str> = left.iter().map(|session| session.id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[1]), (10, "00", "31"), "the first one is in use");
}

#[tokio::test]
async fn a_full_session_takes_no_more() {
    let (_folder, path) = file();
    let store = open(&path);
    session(&store, "s", "t", &["one"]).await;
    let lease = lease(&store, "s").await.unwrap();
    let full = "UPDATE sessions SET bytes = 256 * 1024 * 1024 - 100";
    Connection::open(&path).unwrap().execute(full, []).unwrap();
    let appended = store
        .change(vec![append("s", lease, 2, vec![prompted(&"x".repeat(100))])])
        .await;
    assert!(matches!(session_error(appended), SessionError::Full { .. }));
    store
        .change(vec![append("s", lease, 2, vec![prompted("x")])])
        .await
        .unwrap();
}

/// An answer is paid for, and a call was made.
#[tokio::test]
async fn what_has_begun_in_a_full_session_is_written_to_its_end() {
    let (_folder, path) = file();
    let store = open(&path);
    session(&store, "s", "t", &["one"]).await;
    let lease = lease(&store, "s").await.unwrap();
    let full = "UPDATE sessions SET bytes = 256 * 1024 * 1024";
    Connection::open(&path).unwrap().execute(full, []).unwrap();
    let ended = || vec![Arc::new(FactBody::new(&Fact::run_ended(Ending::ModelFailed, None)))];
    store.change(vec![append("s", lease, 2, ended())]).await.unwrap();
    let started = FactBody::new(&Fact::AttemptStarted {
        model: "m".to_owned(),
        reservation: None,
    });
    let appended = store.change(vec![append("s", lease, 3, vec![Arc::new(started)])]).await;
    assert!(matches!(session_error(appended), SessionError::Full { .. }));
}

/// Its caller is gone before it could drive the session.
#[tokio::test]
async fn a_lease_that_nobody_receives_is_given_back() {
    let store = Store::in_memory().unwrap();
    session(&store, "s", "t", &["one"]).await;
    let taken = store.take_session("s").await.unwrap();
    assert!(matches!(
        session_error(store.take_session("s").await),
        SessionError::InUse { .. }
    ));
    drop(taken);
    let busy = store.inner.backend();
    let mut taking = Box::pin(store.take_session("s"));
    assert!(futures_util::poll!(&mut taking).is_pending());
    drop(taking);
    drop(busy);
    // It is given back by a commit of its own.
    while let Err(error) = store.take_session("s").await {
        assert!(matches!(session_error::<()>(Err(error)), SessionError::InUse { .. }));
    }
}

/// The end of a session is written although nobody waits for it and the database is held by another program for a while.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_session_is_tried_until_it_is_written() {
    let (_folder, path) = file();
    let store = Store::open_within(&path, Durability::PowerLoss, Duration::ZERO).unwrap();
    session(&store, "s", "t", &["one"]).await;
    let lease = lease(&store, "s").await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let release = Change::Release { id: "s".into(), lease };
    let end = vec![append("s", lease, 2, vec![prompted("two")]), release];
    store.commit_all([Commit::until_done(end)]);
    tokio::time::sleep(Duration::from_millis(10)).await;
    other.execute_batch("COMMIT").unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(prompts(&store, "s").await, ["one", "two"]);
    assert!(!store.find_session("s", None).await.unwrap().in_use);
}

/// One caller's change that has no room leaves the others' alone, or fails them all alike. Nothing is half done.
#[tokio::test]
async fn a_full_disk_fails_alike_what_it_fails() {
    let (_folder, path) = file();
    let store = open(&path);
    session(&store, "s", "t", &["one"]).await;
    session(&store, "u", "t", &["one"]).await;
    let (first, second) = (lease(&store, "s").await.unwrap(), lease(&store, "u").await.unwrap());
    store.limit_pages(12);
    let busy = store.inner.backend();
    let large = store.clone();
    let large = tokio::spawn(async move {
        let large_body = vec![prompted(&"x".repeat(4_000_000))];
        large.change(vec![append("s", first, 2, large_body)]).await
    });
    tokio::task::yield_now().await;
    let small = store.clone();
    let small = tokio::spawn(async move { small.change(vec![append("u", second, 2, vec![prompted("two")])]).await });
    tokio::task::yield_now().await;
    drop(busy);
    let large = large.await.unwrap();
    assert!(
        matches!(large, Err(StoreError::Ledger(LedgerError::DiskFull { .. }))),
        "{large:?}"
    );
    let small = small.await.unwrap();
    let expected: &[&str] = if small.is_ok() { &["one", "two"] } else { &["one"] };
    assert_eq!(prompts(&store, "u").await, expected, "{small:?}");
    assert_eq!(prompts(&store, "s").await, ["one"]);
}

#[tokio::test]
async fn what_is_deleted_is_not_left_in_the_file() {
    const SAID: &str = "said in confidence";
    let (_folder, path) = file();
    let store = open(&path);
    session(&store, "s", "t", &[SAID, &SAID.repeat(500)]).await;
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    let holds = || {
        [&path, &wal].into_iter().any(|file| {
            let bytes = std::fs::read(file).unwrap();
            bytes.windows(SAID.len()).any(|window| window == SAID.as_bytes())
        })
    };
    assert!(holds());
    store.delete_session("s").await.unwrap();
    assert!(!holds());
}
