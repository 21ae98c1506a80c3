//! What callers rely on: the guard, the limits and the thresholds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use serde_json::json;

use super::*;

const NOW: &str = "2026-11-24T12:00:00Z";

const fn nanos(nanos: u64) -> NanoUsd {
    NanoUsd::from_nanos(nanos)
}

fn limits(session: u64, daily: u64) -> BudgetSettings {
    BudgetSettings {
        session: Some(nanos(session)),
        daily: Some(nanos(daily)),
        prices: None,
    }
}

fn request(amount: u64) -> ReserveRequest {
    ReserveRequest {
        tenant: "default".to_owned(),
        session_id: "s".to_owned(),
        model: "m".to_owned(),
        amount: nanos(amount),
        limits: limits(100, 1_000),
        now: NOW.parse().unwrap(),
    }
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("ledger.db");
    (folder, path)
}

/// (spent, reserved) of the session and of the day.
async fn totals(ledger: &Ledger) -> [(u64, u64); 2] {
    let status = ledger
        .status("default", Some("s"), &limits(100, 1_000), NOW.parse().unwrap())
        .await
        .unwrap();
    [0, 1].map(|scope: usize| {
        (
            status[scope].spent_usd.as_nanos(),
            status[scope].reserved_usd.as_nanos(),
        )
    })
}

/// Waits until work in the background has brought the books to this.
async fn spent_in_the_end(ledger: &Ledger, spent: u64) {
    let wait = async {
        while totals(ledger).await != [(spent, 0); 2] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

/// The one row of the books, as (state, spent).
async fn only_row(ledger: &Ledger) -> (String, Option<u64>) {
    let rows = ledger.export(None).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    (rows[0].state.clone(), rows[0].spent_usd.map(NanoUsd::as_nanos))
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn what_is_settled_replaces_what_was_reserved() {
    let ledger = Ledger::in_memory().unwrap();
    let reservation = ledger.reserve(request(60)).await.unwrap();
    assert_eq!(reservation.amount(), nanos(60));
    assert_eq!(totals(&ledger).await, [(0, 60); 2]);

    let refusal = ledger.reserve(request(41)).await.unwrap_err();
    let LedgerError::Exceeded(refusal) = refusal else {
        panic!("{refusal}")
    };
    assert_eq!(
        refusal,
        BudgetExceeded {
            scope: Scope::Session,
            limit: nanos(100),
            spent: nanos(0),
            reserved: nanos(60),
            asked: nanos(41)
        }
    );

    let settled = reservation
        .settle(nanos(7), &json!({ "input_tokens": 3 }))
        .await
        .unwrap();
    assert_eq!((settled.amount, settled.estimated), (nanos(7), false));
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);

    ledger.reserve(request(93)).await.unwrap().release().await.unwrap();
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);
}

#[tokio::test]
async fn unknown_usage_keeps_the_larger_figure() {
    let ledger = Ledger::in_memory().unwrap();
    let settled = ledger
        .reserve(request(10))
        .await
        .unwrap()
        .settle_unknown(nanos(4))
        .await
        .unwrap();
    assert_eq!((settled.amount, settled.estimated), (nanos(10), true));
    let settled = ledger
        .reserve(request(10))
        .await
        .unwrap()
        .settle_unknown(nanos(14))
        .await
        .unwrap();
    assert_eq!(settled.amount, nanos(14));
    assert_eq!(totals(&ledger).await, [(24, 0); 2]);
}

#[tokio::test]
async fn a_settlement_above_its_reservation_is_booked_and_closes_the_scope() {
    let ledger = Ledger::in_memory().unwrap();
    ledger
        .reserve(request(60))
        .await
        .unwrap()
        .settle(nanos(130), &())
        .await
        .unwrap();
    assert_eq!(totals(&ledger).await, [(130, 0); 2]);
    assert!(matches!(
        ledger.reserve(request(1)).await,
        Err(LedgerError::Exceeded(_))
    ));
    // What costs nothing goes on.
    ledger
        .reserve(request(0))
        .await
        .unwrap()
        .settle(nanos(0), &())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_reservation_is_charged_in_full_without_further_ado() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    drop(ledger.reserve(request(60)).await.unwrap());
    // Seen from another handle, which does not do the work itself.
    let other = Ledger::open(&path).unwrap();
    spent_in_the_end(&other, 60).await;
    assert_eq!(only_row(&other).await, ("charged".to_owned(), Some(60)));
}

#[tokio::test]
async fn a_reservation_whose_caller_left_while_it_was_made_is_not_lost() {
    let ledger = Ledger::in_memory().unwrap();
    {
        let busy = ledger.inner.store();
        let mut reserve = Box::pin(ledger.reserve(request(60)));
        assert!(poll_once(reserve.as_mut()).is_pending());
        drop(reserve);
        drop(busy);
    }
    spent_in_the_end(&ledger, 60).await;
    assert_eq!(only_row(&ledger).await, ("charged".to_owned(), Some(60)));
}

#[tokio::test]
async fn a_caller_that_leaves_while_it_waits_its_turn_reserves_nothing() {
    let ledger = Ledger::in_memory().unwrap();
    let turn = Arc::clone(&ledger.inner.turn).acquire_owned().await.unwrap();
    {
        let mut reserve = pin!(ledger.reserve(request(60)));
        assert!(poll_once(reserve.as_mut()).is_pending());
    }
    drop(turn);
    assert!(ledger.export(None).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_settlement_happens_even_if_nobody_waits_for_it() {
    let ledger = Ledger::in_memory().unwrap();
    // Never polled.
    drop(ledger.reserve(request(60)).await.unwrap().settle(nanos(7), &()));
    drop(ledger.reserve(request(20)).await.unwrap().release());
    // Dropped while it waits its turn.
    let reservation = ledger.reserve(request(20)).await.unwrap();
    let turn = Arc::clone(&ledger.inner.turn).acquire_owned().await.unwrap();
    {
        let mut settle = pin!(reservation.settle(nanos(30), &()));
        assert!(poll_once(settle.as_mut()).is_pending());
    }
    drop(turn);
    spent_in_the_end(&ledger, 37).await;
}

#[test]
fn without_a_runtime_the_last_handle_closes_what_is_open() {
    let (_folder, path) = file();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::open(&path).unwrap();
    let reservation = runtime.block_on(ledger.reserve(request(60))).unwrap();
    drop(ledger);
    drop(runtime);
    drop(reservation.settle(nanos(70), &()));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(runtime.block_on(only_row(&ledger)), ("settled".to_owned(), Some(70)));
}

#[tokio::test]
async fn a_settlement_that_the_database_refuses_is_made_up_for() {
    let (_folder, path) = file();
    let ledger = Ledger::open_within(&path, Duration::ZERO).unwrap();
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = reservation.settle(nanos(70), &()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    spent_in_the_end(&ledger, 70).await;
    assert_eq!(only_row(&ledger).await, ("settled".to_owned(), Some(70)));
}

/// Reserves without a guard, so that nothing is closed but by hand.
fn left_open<const N: usize>(ledger: &Ledger, sessions: [&str; N]) -> [ReservationId; N] {
    let ids = sessions.map(|session| {
        let mut request = request(10);
        request.session_id = session.to_owned();
        ledger.inner.store().reserve(&request).unwrap()
    });
    let closings = ids.iter().map(|id| (id.clone(), Closing::Charge));
    ledger.inner.unfinished().extend(closings);
    ids
}

fn unfinished(ledger: &Ledger) -> Vec<ReservationId> {
    ledger.inner.unfinished().iter().map(|(id, _)| id.clone()).collect()
}

#[tokio::test]
async fn a_reservation_that_cannot_be_closed_holds_up_no_other() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    let [stuck, _, also_stuck, _, stuck_too] = left_open(&ledger, ["stuck", "s", "stuck", "t", "stuck"]);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER stuck BEFORE UPDATE ON reservations WHEN old.session_id = 'stuck'
             BEGIN SELECT RAISE(ABORT, 'stuck'); END",
        )
        .unwrap();
    ledger.inner.finish();
    assert_eq!(unfinished(&ledger), [stuck, also_stuck, stuck_too]);
    for row in ledger.export(None).await.unwrap() {
        let expected = if row.session_id == "stuck" { "open" } else { "charged" };
        assert_eq!(row.state, expected, "{row:?}");
    }
    other.execute_batch("DROP TRIGGER stuck").unwrap();
    ledger.inner.finish();
    assert!(unfinished(&ledger).is_empty());
    assert!(
        ledger
            .export(None)
            .await
            .unwrap()
            .iter()
            .all(|row| row.state == "charged")
    );
}

#[test]
fn a_lock_is_waited_for_once_and_not_with_every_reservation() {
    let (_folder, path) = file();
    let ledger = Ledger::open_within(&path, Duration::ZERO).unwrap();
    let [first, second, third] = left_open(&ledger, ["s", "t", "u"]);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    ledger.inner.finish();
    // Only the first was tried, and had to go to the end.
    assert_eq!(unfinished(&ledger), [second, third, first]);
    other.execute_batch("COMMIT").unwrap();
    ledger.inner.finish();
    assert!(unfinished(&ledger).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_on_several_handles_never_overdraw() {
    let (_folder, path) = file();
    let handles = [
        Ledger::open(&path).unwrap(),
        Ledger::open(&path).unwrap(),
        Ledger::open(&path).unwrap(),
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..48_usize {
        let ledger = handles[task % handles.len()].clone();
        tasks.spawn(async move {
            let mut granted = 0;
            for round in 0..4 {
                let mut request = request(10);
                request.session_id = format!("s{}", task % 7);
                request.limits = limits(90, 400);
                let Ok(reservation) = ledger.reserve(request).await else {
                    continue;
                };
                granted += 1;
                match (task + round) % 4 {
                    0 => drop(reservation.settle(nanos(3), &()).await.unwrap()),
                    1 => reservation.release().await.unwrap(),
                    2 => drop(reservation),
                    _ => drop(reservation.settle_unknown(nanos(0)).await.unwrap()),
                }
            }
            granted
        });
    }
    let mut granted = 0;
    while let Some(task) = tasks.join_next().await {
        granted += task.unwrap();
    }
    for ledger in &handles {
        ledger
            .status("default", None, &limits(0, 0), NOW.parse().unwrap())
            .await
            .unwrap();
    }
    let rows = loop {
        let rows = handles[0].export(None).await.unwrap();
        if rows.iter().all(|row| row.state != "open") {
            break rows;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(rows.len(), granted);
    let spent: NanoUsd = rows.iter().filter_map(|row| row.spent_usd).sum();
    assert!(spent <= nanos(400), "{spent}");
    assert!(granted < 48 * 4, "the limit was never felt");
    assert_eq!(totals(&handles[0]).await[1], (spent.as_nanos(), 0));
}

#[tokio::test]
async fn a_session_outlives_its_process_and_a_day_ends_at_midnight_utc() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    let mut late = request(60);
    late.now = "2026-11-24T23:59:59Z".parse().unwrap();
    let reservation = ledger.reserve(late).await.unwrap();
    // It is settled on the next day, and counts for the day that it was reserved on.
    reservation.settle(nanos(50), &()).await.unwrap();
    drop(ledger);

    let ledger = Ledger::open(&path).unwrap();
    let day = |day: &'static str| {
        let ledger = ledger.clone();
        async move {
            ledger
                .status("default", None, &limits(0, 0), day.parse().unwrap())
                .await
                .unwrap()[0]
                .spent_usd
        }
    };
    assert_eq!(day("2026-11-24T00:00:00Z").await, nanos(50));
    assert_eq!(day("2026-11-25T00:00:00Z").await, nanos(0));

    let mut next_day = request(51);
    next_day.now = "2026-11-25T00:00:00Z".parse().unwrap();
    next_day.limits = limits(100, 51);
    let LedgerError::Exceeded(refusal) = ledger.reserve(next_day.clone()).await.unwrap_err() else {
        panic!()
    };
    assert_eq!(refusal.scope, Scope::Session);
    next_day.session_id = "another".to_owned();
    ledger.reserve(next_day).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn thresholds_are_announced_once() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    let spend = |ledger: Ledger, amount| async move {
        let settled = ledger
            .reserve(request(amount))
            .await
            .unwrap()
            .settle(nanos(amount), &())
            .await
            .unwrap();
        settled
            .alerts
            .into_iter()
            .map(|alert| (alert.scope, alert.percent))
            .collect::<Vec<_>>()
    };
    assert_eq!(spend(ledger.clone(), 49).await, []);
    assert_eq!(spend(ledger.clone(), 1).await, [(Scope::Session, 50)]);
    assert_eq!(spend(ledger.clone(), 1).await, []);
    drop(ledger);
    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(
        spend(ledger.clone(), 40).await,
        [(Scope::Session, 75), (Scope::Session, 90)]
    );
    assert_eq!(spend(ledger, 9).await, [(Scope::Session, 100)]);
}

#[tokio::test]
async fn limits_set_by_hand_stand_above_the_configuration_until_taken_back() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    ledger.set_limit(Scope::Session, Some(nanos(20))).await.unwrap();
    drop(ledger);

    let ledger = Ledger::open(&path).unwrap();
    assert_eq!(
        ledger.effective_limits(&limits(100, 1_000)).await.unwrap(),
        limits(20, 1_000)
    );
    let unlimited = BudgetSettings {
        session: None,
        daily: None,
        prices: None,
    };
    assert!(!unlimited.in_force());
    assert!(ledger.effective_limits(&unlimited).await.unwrap().in_force());
    assert!(matches!(
        ledger.reserve(request(21)).await,
        Err(LedgerError::Exceeded(_))
    ));

    ledger.set_limit(Scope::Session, None).await.unwrap();
    ledger.reserve(request(21)).await.unwrap().release().await.unwrap();
    let too_large = ledger.set_limit(Scope::Session, Some(NanoUsd::MAX)).await;
    assert!(matches!(too_large, Err(LedgerError::TooLarge { .. })));
}

#[tokio::test]
async fn amounts_beyond_the_store_are_refused_before_and_saturate_after() {
    let ledger = Ledger::in_memory().unwrap();
    let unlimited = BudgetSettings {
        session: None,
        daily: None,
        prices: None,
    };
    let mut huge = request(u64::MAX);
    huge.limits = unlimited.clone();
    assert!(matches!(
        ledger.reserve(huge.clone()).await,
        Err(LedgerError::TooLarge { .. })
    ));
    assert!(ledger.export(None).await.unwrap().is_empty());

    huge.amount = nanos(1);
    let reservation = ledger.reserve(huge.clone()).await.unwrap();
    let other = ledger.reserve(huge.clone()).await.unwrap();
    reservation.settle(NanoUsd::MAX, &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(i64::MAX as u64, 1); 2]);
    other.settle(nanos(1), &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(i64::MAX as u64, 0); 2]);
    assert!(matches!(ledger.reserve(huge).await, Err(LedgerError::TooLarge { .. })));
}

#[tokio::test]
async fn exports_are_exact_and_paged() {
    let ledger = Ledger::in_memory().unwrap();
    ledger
        .reserve(request(60))
        .await
        .unwrap()
        .settle(nanos(7), &json!({ "input_tokens": 3 }))
        .await
        .unwrap();
    let open = ledger.reserve(request(5)).await.unwrap();
    let rows = ledger.export(None).await.unwrap();
    assert_eq!(ledger.export(Some(&rows[0].id)).await.unwrap(), rows[1..]);
    assert!(ledger.export(Some(open.id())).await.unwrap().is_empty());

    let mut row = serde_json::to_value(&rows[0]).unwrap();
    let closed_at = row["closed_at"].take();
    assert!(closed_at.as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    assert_eq!(
        row,
        json!({
            "id": rows[0].id.as_str(), "tenant": "default", "session_id": "s", "model": "m", "day": "2026-11-24",
            "reserved_at": NOW, "closed_at": null, "state": "settled", "reserved_usd": "0.000000060",
            "spent_usd": "0.000000007", "estimated": false, "usage": { "input_tokens": 3 },
        })
    );
    let row = serde_json::to_value(&rows[1]).unwrap();
    assert_eq!(
        (&row["state"], &row["spent_usd"], &row["usage"]),
        (&json!("open"), &json!(null), &json!(null))
    );
}

#[tokio::test]
async fn reservations_of_the_dead_are_charged_and_a_late_report_still_counts() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let dead = uuid::Uuid::now_v7();
    let lock = PathBuf::from(format!("{}-owner-{dead}", path.display()));
    fs::write(&lock, "").unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE reservations SET owner = ?1", [dead.to_string()])
        .unwrap();

    // Even an attempt that is refused looks after the dead.
    assert!(matches!(
        ledger.reserve(request(41)).await,
        Err(LedgerError::Exceeded(_))
    ));
    assert_eq!(only_row(&ledger).await, ("charged".to_owned(), Some(60)));
    assert_eq!(totals(&ledger).await, [(60, 0); 2]);
    assert!(!lock.exists());

    reservation.settle(nanos(7), &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);
    assert_eq!(only_row(&ledger).await, ("settled".to_owned(), Some(7)));
}

#[tokio::test]
async fn opening_looks_after_the_dead() {
    let (_folder, path) = file();
    let ledger = Ledger::open(&path).unwrap();
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE reservations SET owner = ?1", [uuid::Uuid::now_v7().to_string()])
        .unwrap();
    let reopened = Ledger::open(&path).unwrap();
    assert_eq!(only_row(&reopened).await, ("charged".to_owned(), Some(60)));
    assert_eq!(totals(&reopened).await, [(60, 0); 2]);
    reservation.release().await.unwrap();
    assert_eq!(totals(&reopened).await, [(0, 0); 2]);
}
