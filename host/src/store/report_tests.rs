//! Reports beside the commits.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::sync::mpsc;

use super::file_tests::request;
use super::*;
use crate::ledger::{SpendingBy, SpendingFilter};
use crate::money::NanoUsd;

fn open(folder: &Path) -> Store {
    Store::open(&folder.join("ledger.db"), Durability::ProcessCrash).unwrap()
}

/// Reserves, and asserts that reports see each reservation.
async fn assert_reports_follow_commits(store: &Store) {
    let ledger = store.ledger();
    let mut reservations = Vec::new();
    for count in 1..=50 {
        reservations.push(ledger.reserve(request()).await.unwrap());
        let filter = SpendingFilter {
            by: SpendingBy::Tenant,
            tenant: None,
            since: None,
            count: 1,
        };
        let spending = ledger.spending(filter).await.unwrap();
        let reserved = spending.first().map(|spending| spending.reserved_usd);
        assert_eq!(reserved, Some(NanoUsd::from_nanos(count)));
        assert_eq!(ledger.export(None).await.unwrap().len() as u64, count);
    }
}

#[tokio::test]
async fn a_report_sees_all_that_was_committed_before() {
    let folder = tempfile::tempdir().unwrap();
    assert_reports_follow_commits(&open(folder.path())).await;
    assert_reports_follow_commits(&Store::in_memory().unwrap()).await;
}

#[tokio::test]
async fn a_report_that_takes_long_holds_no_commit_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let ledger = store.ledger();
    let reservation = ledger.reserve(request()).await.unwrap();

    let (begun, begins) = oneshot::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let reading = store.clone();
    let report = tokio::spawn(async move {
        reading
            .report(move |backend| {
                let _ = begun.send(());
                // Ends with an error once the other side is gone, should the test fail.
                let _ = goes_on.recv();
                backend.sessions(&SessionFilter {
                    count: 1,
                    ..SessionFilter::default()
                })
            })
            .await
    });
    begins.await.unwrap();
    let limit = Duration::from_secs(30);
    let second = tokio::time::timeout(limit, ledger.reserve(request())).await;
    let second = second.expect("a reservation waits for a report").unwrap();
    let unusual = tokio::time::timeout(limit, ledger.unusual("2026-11-24T12:00:00Z".parse().unwrap())).await;
    unusual.expect("a short read waits for a report").unwrap();
    go_on.send(()).unwrap();
    assert_eq!(report.await.unwrap().unwrap().len(), 0);
    drop((reservation, second));
}

#[tokio::test]
async fn a_report_writes_nothing_and_notices_that_its_file_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let order = Change::OrderBreaker {
        name: "model:m".to_owned(),
        to: crate::resilience::Override::Open,
        at: "2026-11-24T12:00:00Z".parse().unwrap(),
    };
    let written = store.report(move |backend| {
        let mut results = backend.commit(&[Work::Write(&[order])]);
        results.remove(0).map(drop)
    });
    assert!(matches!(
        written.await,
        Err(StoreError::Ledger(LedgerError::Unwritable { .. }))
    ));
    let path = folder.path().join("ledger.db");
    fs::rename(&path, folder.path().join("elsewhere.db")).unwrap();
    let found = store.usage(UsageFilter::default()).await;
    assert!(
        matches!(found, Err(StoreError::Ledger(LedgerError::Displaced { .. }))),
        "{found:?}"
    );
    fs::rename(folder.path().join("elsewhere.db"), &path).unwrap();
    store.usage(UsageFilter::default()).await.unwrap();
}

/// Waits until the database is closed: the thread that worked last does it, a moment after it has answered.
async fn assert_closed(folder: &Path) {
    let log = folder.join("ledger.db-wal");
    let begun = tokio::time::Instant::now();
    while log.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the log is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_log_is_gone_once_a_store_that_made_reports_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_reports_follow_commits(&store).await;
    drop(store);
    assert_closed(folder.path()).await;
}

#[tokio::test]
async fn a_report_that_nobody_waits_for_is_the_last_to_keep_the_store_open() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    drop(store.ledger().reserve(request()).await.unwrap());
    let (begun, begins) = oneshot::channel();
    let (go_on, goes_on) = mpsc::channel::<()>();
    let reading = store.clone();
    let report = tokio::spawn(async move {
        let read = reading.report(move |backend| {
            let _ = begun.send(());
            let _ = goes_on.recv();
            backend.usage(&UsageFilter::default())
        });
        read.await
    });
    begins.await.unwrap();
    report.abort();
    let _ = report.await;
    drop(store);
    assert!(folder.path().join("ledger.db-wal").exists(), "the report keeps it open");
    drop(go_on);
    assert_closed(folder.path()).await;
}

#[tokio::test]
async fn the_first_report_takes_no_other_file_for_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["", "-wal", "-shm"].map(|suffix| format!("ledger.db{suffix}"));
    let take = |from: &Path, to: &Path| {
        for file in &files {
            fs::rename(from.join(file), to.join(file)).unwrap();
        }
    };
    let aside = tempfile::tempdir_in(folder.path()).unwrap();
    let store = open(folder.path());
    let reservation = store.ledger().reserve(request()).await.unwrap();
    take(folder.path(), aside.path());
    let other = open(folder.path());
    let refused = store.ledger().export(None).await;
    assert!(matches!(refused, Err(LedgerError::Displaced { .. })), "{refused:?}");
    // The other one goes, and what was moved comes back.
    drop(other);
    assert_closed(folder.path()).await;
    take(aside.path(), folder.path());
    let rows = store.ledger().export(None).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].state, "open");
    drop(reservation);
}
