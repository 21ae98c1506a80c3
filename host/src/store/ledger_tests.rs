//! The ledger's public behaviour on this store: the guard, the limits and the thresholds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The database is held up on purpose while callers wait.
#![allow(clippy::await_holding_lock)]

use std::fs;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use rusqlite::Connection;
use serde_json::json;

use super::*;
use crate::ledger::{
    Ahead, AskAgain, BudgetExceeded, BudgetLimits, BudgetSettings, Closing, Reversal, ReversalError, Spending,
    SpendingBy, SpendingFilter, Unusual,
};
use crate::money::NanoUsd;

const NOW: &str = "2026-11-24T12:00:00Z";

const fn nanos(nanos: u64) -> NanoUsd {
    NanoUsd::from_nanos(nanos)
}

fn settings(session: u64, daily: u64) -> BudgetSettings {
    BudgetSettings {
        session: Some(nanos(session)),
        daily: Some(nanos(daily)),
        ..BudgetSettings::default()
    }
}

fn limits(session: u64, daily: u64) -> BudgetLimits {
    settings(session, daily).limits("default")
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

fn open(path: &Path) -> Ledger {
    open_within(path, BUSY_TIMEOUT)
}

fn open_within(path: &Path, busy: Duration) -> Ledger {
    let store = Store::open_within(path, Durability::PowerLoss, busy).unwrap();
    store.ledger()
}

/// (spent, reserved) of the session and of the day.
async fn totals(ledger: &Ledger) -> [(u64, u64); 2] {
    let status = ledger
        .status("default", Some("s"), &settings(100, 1_000), NOW.parse().unwrap())
        .await
        .unwrap();
    [Scope::Session, Scope::HostDay].map(|scope| {
        let status = status.iter().find(|status| status.scope == scope).unwrap();
        (status.spent_usd.as_nanos(), status.reserved_usd.as_nanos())
    })
}

/// Waits until background work has settled exactly `spent` and nothing is reserved.
async fn wait_until_spent(ledger: &Ledger, spent: u64) {
    let wait = async {
        while totals(ledger).await != [(spent, 0); 2] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap();
}

/// The ledger's only row, as (state, spent).
async fn only_row(ledger: &Ledger) -> (String, Option<u64>) {
    let rows = ledger.export(None).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    (rows[0].state.clone(), rows[0].spent_usd.map(NanoUsd::as_nanos))
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_settlement_replaces_its_reservation() {
    let ledger = Store::in_memory().unwrap().ledger();
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
            tenant: String::new(),
            limit: nanos(100),
            spent: nanos(0),
            reserved: nanos(60),
            asked: nanos(41),
            prompt: nanos(0),
            is_mostly_carried: false,
            is_override: false,
            is_cap: false,
            ahead: nanos(0),
        }
    );

    let settled = reservation
        .begin()
        .settle(nanos(7), &json!({ "input_tokens": 3 }))
        .await
        .unwrap();
    assert_eq!((settled.amount, settled.estimated), (nanos(7), false));
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);

    ledger.reserve(request(93)).await.unwrap().release().await.unwrap();
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);
}

#[tokio::test]
async fn unknown_usage_settles_for_the_larger_amount() {
    let ledger = Store::in_memory().unwrap().ledger();
    let settled = ledger
        .reserve(request(10))
        .await
        .unwrap()
        .begin()
        .settle_unknown(nanos(4))
        .await
        .unwrap();
    assert_eq!((settled.amount, settled.estimated), (nanos(10), true));
    let settled = ledger
        .reserve(request(10))
        .await
        .unwrap()
        .begin()
        .settle_unknown(nanos(14))
        .await
        .unwrap();
    assert_eq!(settled.amount, nanos(14));
    assert_eq!(totals(&ledger).await, [(24, 0); 2]);
}

#[tokio::test]
async fn a_settlement_above_its_reservation_is_booked_and_exhausts_the_scope() {
    let ledger = Store::in_memory().unwrap().ledger();
    ledger
        .reserve(request(60))
        .await
        .unwrap()
        .begin()
        .settle(nanos(130), &())
        .await
        .unwrap();
    assert_eq!(totals(&ledger).await, [(130, 0); 2]);
    assert!(matches!(
        ledger.reserve(request(1)).await,
        Err(LedgerError::Exceeded(_))
    ));
    // Requests that cost nothing still pass.
    ledger
        .reserve(request(0))
        .await
        .unwrap()
        .begin()
        .settle(nanos(0), &())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dropped_attempt_is_charged_in_full_in_the_background() {
    let (_folder, path) = file();
    let ledger = open(&path);
    drop(ledger.reserve(request(60)).await.unwrap().begin());
    // Observed through another handle, which doesn't close the reservation itself.
    let other = open(&path);
    wait_until_spent(&other, 60).await;
    assert_eq!(only_row(&other).await, ("charged".to_owned(), Some(60)));
}

/// Nothing was sent.
#[tokio::test]
async fn a_reservation_dropped_before_its_attempt_begins_is_released() {
    let (_folder, path) = file();
    let ledger = open(&path);
    drop(ledger.reserve(request(60)).await.unwrap());
    let other = open(&path);
    wait_until_spent(&other, 0).await;
    assert_eq!(only_row(&other).await, ("released".to_owned(), Some(0)));
}

#[tokio::test]
async fn a_reservation_whose_caller_is_cancelled_during_the_transaction_is_released() {
    let store = Store::in_memory().unwrap();
    let ledger = store.ledger();
    {
        let busy = store.inner.backend();
        let mut reserve = Box::pin(ledger.reserve(request(60)));
        assert!(poll_once(reserve.as_mut()).is_pending());
        drop(reserve);
        drop(busy);
    }
    let row = async {
        while ledger.export(None).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), row).await.unwrap();
    wait_until_spent(&ledger, 0).await;
    assert_eq!(only_row(&ledger).await, ("released".to_owned(), Some(0)));
}

#[tokio::test]
async fn a_settlement_takes_effect_even_if_its_future_is_dropped() {
    let store = Store::in_memory().unwrap();
    let ledger = store.ledger();
    // Never polled.
    drop(ledger.reserve(request(60)).await.unwrap().begin().settle(nanos(7), &()));
    drop(ledger.reserve(request(20)).await.unwrap().release());
    // Dropped while it waits in the queue.
    let reservation = ledger.reserve(request(20)).await.unwrap();
    let busy = store.inner.backend();
    {
        let mut settle = pin!(reservation.begin().settle(nanos(30), &()));
        assert!(poll_once(settle.as_mut()).is_pending());
    }
    drop(busy);
    wait_until_spent(&ledger, 37).await;
}

#[test]
fn without_a_runtime_the_last_handle_closes_pending_reservations() {
    let (_folder, path) = file();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = open(&path);
    let reservation = runtime.block_on(ledger.reserve(request(60))).unwrap();
    drop(ledger);
    drop(runtime);
    drop(reservation.begin().settle(nanos(70), &()));

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = open(&path);
    assert_eq!(runtime.block_on(only_row(&ledger)), ("settled".to_owned(), Some(70)));
}

#[tokio::test]
async fn a_settlement_that_the_database_refuses_is_retried() {
    let (_folder, path) = file();
    let ledger = open_within(&path, Duration::ZERO);
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = reservation.begin().settle(nanos(70), &()).await.unwrap_err();
    assert!(matches!(error, LedgerError::Locked { .. }), "{error}");
    other.execute_batch("COMMIT").unwrap();
    wait_until_spent(&ledger, 70).await;
    assert_eq!(only_row(&ledger).await, ("settled".to_owned(), Some(70)));
}

/// While another program holds the database, one thread waits for it, however many runs are dropped. Files, DNS and data of all
/// plugins need the others.
#[test]
fn many_dropped_attempts_leave_the_blocking_threads_free() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(2)
        .enable_time()
        .build()
        .unwrap();
    let (_folder, path) = file();
    let ledger = open_within(&path, Duration::from_secs(60));
    let other = Connection::open(&path).unwrap();
    runtime.block_on(async {
        let mut attempts = Vec::new();
        for _ in 0..500 {
            let mut request = request(1);
            request.limits = limits(1_000, 1_000);
            attempts.push(ledger.reserve(request).await.unwrap().begin());
        }
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        drop(attempts);
        for _ in 0..10 {
            let other_work = tokio::task::spawn_blocking(|| ());
            let done = tokio::time::timeout(Duration::from_secs(20), other_work).await;
            assert!(done.is_ok(), "every blocking thread waits for the database");
        }
        other.execute_batch("COMMIT").unwrap();
        let observer = open(&path);
        wait_until_spent(&observer, 500).await;
    });
}

/// Nobody asks the ledger for anything, and still what another program held up is booked.
#[tokio::test(start_paused = true)]
async fn what_the_database_refused_is_tried_again_in_the_background() {
    let (_folder, path) = file();
    let ledger = open_within(&path, Duration::ZERO);
    let attempt = ledger.reserve(request(60)).await.unwrap().begin();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(attempt.settle(nanos(7), &()).await.is_err());
    other.execute_batch("COMMIT").unwrap();
    // Longer than the first pause.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let observer = open(&path);
    assert_eq!(totals(&observer).await, [(7, 0); 2]);
}

#[tokio::test]
async fn what_could_not_be_booked_yet_counts_already() {
    let (_folder, path) = file();
    let ledger = open_within(&path, Duration::ZERO);
    let [settled, released, charged] = [60, 20, 5].map(|amount| ledger.reserve(request(amount)));
    let [settled, released] = [settled.await.unwrap().begin(), released.await.unwrap().begin()];
    let charged = charged.await.unwrap().begin();
    let observer = open(&path);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(settled.settle(nanos(7), &()).await.is_err());
    assert!(released.release().await.is_err());
    drop(charged);
    assert_eq!(totals(&ledger).await, [(12, 0); 2]);
    // Another process reads what is in the books.
    assert_eq!(totals(&observer).await, [(0, 85); 2]);
    let settings = settings(100, 1_000);
    let status = ledger.status("default", Some("other"), &settings, NOW.parse().unwrap());
    let status = status.await.unwrap();
    let spent = |scope| status.iter().find(|status| status.scope == scope).unwrap().spent_usd;
    assert_eq!((spent(Scope::Session), spent(Scope::HostDay)), (nanos(0), nanos(12)));
    other.execute_batch("COMMIT").unwrap();
}

#[tokio::test]
async fn a_settlement_goes_ahead_of_those_who_ask_for_money() {
    let store = Store::in_memory().unwrap();
    let ledger = store.ledger();
    let attempt = ledger.reserve(request(60)).await.unwrap().begin();
    let busy = store.inner.backend();
    // Keeps the leader busy, so that the next two share a commit.
    let mut status = pin!(totals(&ledger));
    assert!(poll_once(status.as_mut()).is_pending());
    while store.inner.has_waiting() {
        std::thread::yield_now();
    }
    let mut reserve = pin!(ledger.reserve(request(90)));
    assert!(poll_once(reserve.as_mut()).is_pending());
    // It comes later and is booked before.
    let settle = attempt.settle(nanos(10), &());
    drop(busy);
    reserve.await.unwrap().release().await.unwrap();
    settle.await.unwrap();
}

#[tokio::test]
async fn an_estimate_is_booked_as_one() {
    let ledger = Store::in_memory().unwrap().ledger();
    let attempt = ledger.reserve(request(60)).await.unwrap().begin();
    let settled = attempt
        .settle_estimated(nanos(7), &json!({ "output_tokens": 3 }))
        .await
        .unwrap();
    assert_eq!((settled.amount, settled.estimated), (nanos(7), true));
    let row = ledger.export(None).await.unwrap().remove(0);
    assert_eq!((row.state.as_str(), row.estimated), ("settled", true));
    assert_eq!(row.usage, Some(json!({ "output_tokens": 3 })));
}

/// Polls everybody once.
fn woken<F: Future<Output = AskAgain>>(waiting: &mut Vec<Pin<Box<F>>>) -> Vec<AskAgain> {
    let mut woken = Vec::new();
    waiting.retain_mut(|waiter| match poll_once(waiter.as_mut()) {
        Poll::Ready(turn) => {
            woken.push(turn);
            false
        }
        Poll::Pending => true,
    });
    woken
}

#[tokio::test]
async fn a_settlement_wakes_one_waiter_who_passes_the_turn_on() {
    let ledger = Store::in_memory().unwrap().ledger();
    let mut waiting = (0..200).map(|_| Box::pin(ledger.freed())).collect::<Vec<_>>();
    assert!(woken(&mut waiting).is_empty());
    let attempt = ledger.reserve(request(60)).await.unwrap().begin();
    attempt.settle(nanos(7), &()).await.unwrap();
    let mut turn = woken(&mut waiting);
    assert_eq!(turn.len(), 1);
    // It succeeds, or gives up.
    drop(turn);
    turn = woken(&mut waiting);
    assert_eq!(turn.len(), 1);
    turn.remove(0).in_vain();
    assert!(woken(&mut waiting).is_empty());
    // A release wakes as well. A waiter that leaves with its turn passes it on.
    ledger.reserve(request(1)).await.unwrap().release().await.unwrap();
    drop(waiting.remove(0));
    assert_eq!(woken(&mut waiting).len(), 1);
}

/// Reserves without a guard, so that only an explicit call closes the reservations.
fn reserve_unguarded<const N: usize>(store: &Store, sessions: [&str; N]) -> [PendingClosing; N] {
    sessions.map(|session| {
        let mut request = request(10);
        request.session_id = session.to_owned();
        let id = ReservationId::generate();
        let changes = [Change::Reserve(id.clone(), request)];
        store
            .inner
            .backend()
            .commit(&[Work::Write(&changes)])
            .remove(0)
            .unwrap();
        PendingClosing {
            id,
            closing: Closing::Charge,
            limits: limits(100, 1_000),
            done: None,
        }
    })
}

#[tokio::test]
async fn a_reservation_that_cannot_be_closed_does_not_block_the_others() {
    let (_folder, path) = file();
    let store = Store::open(&path, Durability::PowerLoss).unwrap();
    let closings = reserve_unguarded(&store, ["stuck", "s", "stuck", "t", "stuck"]);
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch(
            "CREATE TRIGGER stuck BEFORE UPDATE ON reservations WHEN old.session_id = 'stuck'
             BEGIN SELECT RAISE(ABORT, 'stuck'); END",
        )
        .unwrap();
    closings
        .into_iter()
        .for_each(|closing| store.inner.enqueue(Request::Close(closing)));
    for row in store.ledger().export(None).await.unwrap() {
        let expected = if row.session_id == "stuck" { "open" } else { "charged" };
        assert_eq!(row.state, expected, "{row:?}");
    }
    other.execute_batch("DROP TRIGGER stuck").unwrap();
    // The next commit books them.
    store.ledger().set_limit(Scope::Session, "", None).await.unwrap();
    let rows = store.ledger().export(None).await.unwrap();
    assert!(rows.iter().all(|row| row.state == "charged"), "{rows:?}");
}

/// Each closing by itself would wait for as long as the first.
#[tokio::test]
async fn a_locked_database_is_waited_for_once_and_not_per_reservation() {
    let (_folder, path) = file();
    let store = Store::open_within(&path, Durability::PowerLoss, Duration::from_secs(1)).unwrap();
    let closings = reserve_unguarded(&store, ["s"; 8]);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = tokio::time::Instant::now();
    closings
        .into_iter()
        .for_each(|closing| store.inner.enqueue(Request::Close(closing)));
    assert_eq!(store.ledger().export(None).await.unwrap()[0].state, "open");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    other.execute_batch("COMMIT").unwrap();
    store.ledger().set_limit(Scope::Session, "", None).await.unwrap();
    let rows = store.ledger().export(None).await.unwrap();
    assert!(rows.iter().all(|row| row.state == "charged"), "{rows:?}");
}

/// The commits of one hundred callers that ask at once: as many flushes as it takes, and not a hundred.
#[tokio::test]
async fn callers_who_wait_share_a_commit() {
    let (_folder, path) = file();
    let store = Store::open(&path, Durability::PowerLoss).unwrap();
    let ledger = store.ledger();
    let busy = store.inner.backend();
    let asked = (0..100).map(|_| {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let mut request = request(1);
            request.limits = limits(1_000, 1_000);
            ledger.reserve(request).await.unwrap()
        })
    });
    let asked: Vec<_> = asked.collect();
    tokio::task::yield_now().await;
    drop(busy);
    let before = store.inner.commits();
    let mut reservations = Vec::new();
    for asked in asked {
        reservations.push(asked.await.unwrap());
    }
    let commits = store.inner.commits() - before;
    assert!((1..=3).contains(&commits), "{commits} commits for 100 callers");
    assert_eq!(totals(&ledger).await, [(0, 100); 2]);
}

/// What one caller asked for is refused as a whole, and leaves the others alone.
#[tokio::test]
async fn a_refused_caller_undoes_only_its_own_changes() {
    let store = Store::in_memory().unwrap();
    let busy = store.inner.backend();
    let [first, second, third] = [(60, 0), (10, 50), (30, 0)].map(|(one, two)| {
        let changes = [one, two]
            .map(|amount| Change::Reserve(ReservationId::generate(), request(amount)))
            .to_vec();
        let (sender, done) = oneshot::channel();
        store.inner.commit(changes, |result| {
            sender.send(result.map(|applied| applied.len())).unwrap()
        });
        done
    });
    drop(busy);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    assert!(second.await.unwrap().is_err());
    assert_eq!(third.await.unwrap().unwrap(), 2);
    assert_eq!(totals(&store.ledger()).await, [(0, 90); 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_on_several_handles_never_overdraw() {
    let (_folder, path) = file();
    let handles = [open(&path), open(&path), open(&path)];
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
                    0 => drop(reservation.begin().settle(nanos(3), &()).await.unwrap()),
                    1 => reservation.release().await.unwrap(),
                    2 => drop(reservation.begin()),
                    _ => drop(reservation.begin().settle_unknown(nanos(0)).await.unwrap()),
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
            .status("default", None, &settings(0, 0), NOW.parse().unwrap())
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
    assert!(granted < 48 * 4, "the limit was never reached");
    assert_eq!(totals(&handles[0]).await[1], (spent.as_nanos(), 0));
}

#[tokio::test]
async fn a_session_budget_survives_restarts_and_a_day_ends_at_midnight_utc() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let mut late = request(60);
    late.now = "2026-11-24T23:59:59Z".parse().unwrap();
    let reservation = ledger.reserve(late).await.unwrap();
    // Settled on the next day, it counts for the day on which it was reserved.
    reservation.begin().settle(nanos(50), &()).await.unwrap();
    drop(ledger);

    let ledger = open(&path);
    let day = |day: &'static str| {
        let ledger = ledger.clone();
        async move {
            ledger
                .status("default", None, &settings(0, 0), day.parse().unwrap())
                .await
                .unwrap()
                .pop()
                .unwrap()
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
async fn a_tenant_is_held_to_its_day_and_its_month() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let limits = BudgetLimits {
        tenant_day: Some(nanos(60)),
        tenant_month: Some(nanos(100)),
        ..BudgetLimits::default()
    };
    let reserve = |tenant: &str, day: &str, amount| {
        let request = ReserveRequest {
            tenant: tenant.to_owned(),
            limits,
            now: format!("{day}T12:00:00Z").parse().unwrap(),
            ..request(amount)
        };
        let ledger = ledger.clone();
        async move { ledger.reserve(request).await }
    };
    let refused = |result: Result<_, LedgerError>| match result.map(|_: crate::ledger::Reservation| ()) {
        Err(LedgerError::Exceeded(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let first = reserve("acme", "2026-11-24", 60).await.unwrap();
    let refusal = refused(reserve("acme", "2026-11-24", 1).await);
    assert_eq!((refusal.scope, refusal.tenant.as_str()), (Scope::TenantDay, "acme"));
    assert_eq!((refusal.reserved, refusal.asked), (nanos(60), nanos(1)));
    // Another tenant and another day have their own.
    reserve("other", "2026-11-24", 60)
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let second = reserve("acme", "2026-11-25", 40).await.unwrap();
    assert_eq!(
        refused(reserve("acme", "2026-11-26", 1).await).scope,
        Scope::TenantMonth
    );
    let third = reserve("acme", "2026-12-01", 60).await.unwrap();

    // Each threshold of each window, once.
    let alerts = |settled: crate::ledger::Settled| {
        let alerts = settled.alerts.into_iter();
        alerts.map(|alert| (alert.scope, alert.percent)).collect::<Vec<_>>()
    };
    let [day, month] = [Scope::TenantDay, Scope::TenantMonth];
    assert_eq!(
        alerts(first.begin().settle(nanos(60), &()).await.unwrap()),
        [(day, 50), (day, 75), (day, 90), (day, 100), (month, 50)]
    );
    assert_eq!(
        alerts(second.begin().settle(nanos(40), &()).await.unwrap()),
        [(day, 50), (month, 75), (month, 90), (month, 100)]
    );
    third.release().await.unwrap();

    // An override is one tenant's.
    let twenty = Some(LimitOverride::Usd(nanos(20)));
    ledger.set_limit(Scope::TenantDay, "acme", twenty).await.unwrap();
    assert_eq!(refused(reserve("acme", "2026-12-02", 21).await).limit, nanos(20));
    drop(reserve("other", "2026-12-02", 21).await.unwrap());
    let now = "2026-12-02T00:00:00Z".parse().unwrap();
    assert_eq!(ledger.tenants(now).await.unwrap(), ["acme", "other"]);
    let now = "2027-01-02T00:00:00Z".parse().unwrap();
    assert_eq!(ledger.tenants(now).await.unwrap(), ["acme"]);
}

#[tokio::test]
async fn thresholds_are_announced_once() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let spend = |ledger: Ledger, amount| async move {
        let settled = ledger
            .reserve(request(amount))
            .await
            .unwrap()
            .begin()
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
    let ledger = open(&path);
    assert_eq!(
        spend(ledger.clone(), 40).await,
        [(Scope::Session, 75), (Scope::Session, 90)]
    );
    assert_eq!(spend(ledger, 9).await, [(Scope::Session, 100)]);
}

#[tokio::test]
async fn set_limits_override_the_configuration_until_removed() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let twenty = LimitOverride::Usd(nanos(20));
    ledger.set_limit(Scope::Session, "", Some(twenty)).await.unwrap();
    drop(ledger);

    let ledger = open(&path);
    let effective = ledger.effective_limits("default", &settings(100, 1_000)).await;
    assert_eq!(effective.unwrap(), limits(20, 1_000));
    let unlimited = BudgetSettings {
        session: None,
        daily: None,
        ..BudgetSettings::default()
    };
    assert!(!unlimited.limits("default").has_limit());
    assert!(
        ledger
            .effective_limits("default", &unlimited)
            .await
            .unwrap()
            .has_limit()
    );
    assert!(matches!(
        ledger.reserve(request(21)).await,
        Err(LedgerError::Exceeded(_))
    ));

    ledger.set_limit(Scope::Session, "", None).await.unwrap();
    ledger.reserve(request(21)).await.unwrap().release().await.unwrap();
    for amount in [NanoUsd::MAX, nanos(i64::MAX as u64)] {
        let too_large = ledger
            .set_limit(Scope::Session, "", Some(LimitOverride::Usd(amount)))
            .await;
        assert!(matches!(too_large, Err(LedgerError::TooLarge { .. })));
    }
}

#[tokio::test]
async fn an_override_can_remove_a_limit() {
    let (_folder, path) = file();
    let ledger = open(&path);
    for scope in Scope::ALL {
        ledger
            .set_limit(scope, "default", Some(LimitOverride::Unlimited))
            .await
            .unwrap();
    }
    drop(ledger);

    let ledger = open(&path);
    assert_eq!(
        ledger.limit_overrides("default").await.unwrap(),
        Scope::ALL.map(|scope| (scope, Some(LimitOverride::Unlimited)))
    );
    assert!(
        !ledger
            .effective_limits("default", &settings(1, 1))
            .await
            .unwrap()
            .has_limit()
    );
    ledger.reserve(request(1_000)).await.unwrap().release().await.unwrap();
    ledger.set_limit(Scope::Session, "", None).await.unwrap();
    assert_eq!(
        ledger.limit_overrides("default").await.unwrap(),
        Scope::ALL.map(|scope| (scope, (scope != Scope::Session).then_some(LimitOverride::Unlimited)))
    );
}

#[tokio::test]
async fn oversized_amounts_are_refused_when_reserved_and_saturate_when_settled() {
    let ledger = Store::in_memory().unwrap().ledger();
    let mut huge = request(u64::MAX);
    huge.limits = BudgetLimits::default();
    assert!(matches!(
        ledger.reserve(huge.clone()).await,
        Err(LedgerError::TooLarge { .. })
    ));
    assert!(ledger.export(None).await.unwrap().is_empty());

    huge.amount = nanos(1);
    let reservation = ledger.reserve(huge.clone()).await.unwrap();
    let other = ledger.reserve(huge.clone()).await.unwrap();
    reservation.begin().settle(NanoUsd::MAX, &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(i64::MAX as u64, 1); 2]);
    other.begin().settle(nanos(1), &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(i64::MAX as u64, 0); 2]);
    assert!(matches!(ledger.reserve(huge).await, Err(LedgerError::TooLarge { .. })));
}

#[tokio::test]
async fn exports_have_exact_amounts_and_pages() {
    let ledger = Store::in_memory().unwrap().ledger();
    ledger
        .reserve(request(60))
        .await
        .unwrap()
        .begin()
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
            "reverses": null, "reversed_usd": null, "reason": null,
        })
    );
    let row = serde_json::to_value(&rows[1]).unwrap();
    assert_eq!(
        (&row["state"], &row["spent_usd"], &row["usage"]),
        (&json!("open"), &json!(null), &json!(null))
    );
}

fn reversal(entry: &ReservationId, amount: Option<u64>, reason: &str) -> ReversalRequest {
    ReversalRequest {
        entry: entry.clone(),
        amount: amount.map(nanos),
        reason: reason.to_owned(),
    }
}

#[tokio::test]
async fn a_reversal_is_booked_beside_its_charge_and_once() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let settled = ledger.reserve(request(60)).await.unwrap().begin();
    let settled = settled.settle(nanos(60), &()).await.unwrap();
    let open_one = ledger.reserve(request(30)).await.unwrap();
    let refused = |result: Result<Reversal, LedgerError>| match result {
        Err(LedgerError::Reversal(error)) => error,
        other => panic!("{other:?}"),
    };

    let first = ledger.reverse(reversal(&settled.id, Some(20), "double")).await.unwrap();
    assert_eq!((first.reversed_usd, first.is_new), (nanos(20), true));
    assert_eq!(totals(&ledger).await, [(40, 30); 2]);
    // Again, also from another process and without the amount: it is the same one.
    for amount in [Some(20), None] {
        let again = open(&path)
            .reverse(reversal(&settled.id, amount, "double"))
            .await
            .unwrap();
        assert_eq!(
            (&again.id, again.reversed_usd, again.is_new),
            (&first.id, nanos(20), false)
        );
    }
    assert_eq!(
        refused(ledger.reverse(reversal(&settled.id, Some(21), "double")).await),
        ReversalError::Booked {
            entry: settled.id.clone(),
            booked: nanos(20)
        }
    );
    // Never more than was charged, in total.
    assert!(matches!(
        refused(ledger.reverse(reversal(&settled.id, Some(41), "more")).await),
        ReversalError::TooMuch { .. }
    ));
    let rest = ledger.reverse(reversal(&settled.id, None, "more")).await.unwrap();
    assert_eq!(rest.reversed_usd, nanos(40));
    assert_eq!(totals(&ledger).await, [(0, 30); 2]);
    assert!(matches!(
        refused(ledger.reverse(reversal(&settled.id, None, "all of it")).await),
        ReversalError::NothingLeft { .. }
    ));
    assert!(matches!(
        refused(ledger.reverse(reversal(open_one.id(), None, "early")).await),
        ReversalError::Open { .. }
    ));
    assert!(matches!(
        refused(ledger.reverse(reversal(&ReservationId::generate(), None, "?")).await),
        ReversalError::Unknown { .. }
    ));
    // The money can be reserved again, and the charge is still there.
    let again = ledger.reserve(request(70)).await.unwrap();
    let rows = ledger.export(None).await.unwrap();
    let states: Vec<_> = rows.iter().map(|row| row.state.as_str()).collect();
    assert_eq!(states, ["settled", "open", "reversal", "reversal", "open"]);
    assert_eq!(rows[0].spent_usd, Some(nanos(60)));
    let row = &rows[2];
    assert_eq!(
        (
            row.reverses.as_ref(),
            row.reversed_usd,
            row.reason.as_deref(),
            row.day.as_str()
        ),
        (Some(&settled.id), Some(nanos(20)), Some("double"), "2026-11-24")
    );
    assert_eq!(ledger.export(Some(&rows[2].id)).await.unwrap(), rows[3..]);
    again.release().await.unwrap();
    open_one.release().await.unwrap();
}

#[tokio::test]
async fn a_charge_that_was_corrected_is_final() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let attempt = ledger.reserve(request(60)).await.unwrap().begin();
    let id = attempt.id().clone();
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE reservations SET owner = ?1", [uuid::Uuid::now_v7().to_string()])
        .unwrap();
    let reopened = open(&path);
    reopened
        .reverse(reversal(&id, Some(50), "the bill says 10"))
        .await
        .unwrap();
    assert!(matches!(
        attempt.settle(nanos(60), &()).await,
        Err(LedgerError::NotOpen { .. })
    ));
    assert_eq!(totals(&reopened).await, [(10, 0); 2]);
}

/// Reserves on a day of the host's budget of 100.
async fn reserve_on(ledger: &Ledger, day: &str, amount: u64) -> Result<crate::ledger::Reservation, BudgetExceeded> {
    let request = ReserveRequest {
        limits: BudgetLimits {
            host_day: Some(nanos(100)),
            tenant_month: Some(nanos(1_000)),
            ..BudgetLimits::default()
        },
        now: format!("{day}T23:59:00Z").parse().unwrap(),
        ..request(amount)
    };
    ledger.reserve(request).await.map_err(|error| match error {
        LedgerError::Exceeded(refusal) => refusal,
        error => panic!("{error}"),
    })
}

async fn spend_on(ledger: &Ledger, day: &str, amount: u64) {
    let attempt = reserve_on(ledger, day, amount).await.unwrap().begin();
    attempt.settle(nanos(amount), &()).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_steps_back_over_midnight_opens_no_second_day() {
    let ledger = Store::in_memory().unwrap().ledger();
    spend_on(&ledger, "2026-11-25", 90).await;
    // Neither the day before, nor one that was never used.
    for day in ["2026-11-24", "2026-11-01"] {
        let refusal = reserve_on(&ledger, day, 11).await.unwrap_err();
        assert_eq!((refusal.spent, refusal.ahead), (nanos(90), nanos(90)));
        assert!(refusal.hint().contains("budget confirm"), "{}", refusal.hint());
    }
    spend_on(&ledger, "2026-11-24", 10).await;
    assert!(reserve_on(&ledger, "2026-11-24", 1).await.is_err());
    // After midnight the day before is over.
    spend_on(&ledger, "2026-11-25", 10).await;
    assert!(reserve_on(&ledger, "2026-11-25", 1).await.is_err());
    spend_on(&ledger, "2026-11-26", 100).await;
}

#[tokio::test]
async fn a_clock_that_jumps_a_month_ahead_and_back_opens_no_second_day() {
    let (_folder, path) = file();
    let ledger = open(&path);
    spend_on(&ledger, "2026-11-24", 40).await;
    // Nobody can tell it from a machine that was off.
    spend_on(&ledger, "2026-12-24", 60).await;
    drop(ledger);
    let ledger = open(&path);
    assert!(reserve_on(&ledger, "2026-11-24", 1).await.is_err());
    assert!(reserve_on(&ledger, "2026-11-25", 41).await.is_err());
    spend_on(&ledger, "2026-11-25", 40).await;
    let status = async |day: &str| {
        let now = format!("{day}T12:00:00Z").parse().unwrap();
        let status = ledger.status("default", None, &settings(100, 100), now).await.unwrap();
        let of = |scope| {
            status
                .iter()
                .find(|status| status.scope == scope)
                .unwrap()
                .spent_usd
                .as_nanos()
        };
        (of(Scope::HostDay), of(Scope::TenantMonth))
    };
    assert_eq!(status("2026-11-25").await, (100, 140));
    assert_eq!(status("2026-12-24").await, (60, 60));
    let now = "2026-11-25T12:00:00Z".parse().unwrap();
    let ahead = Ahead {
        day: "2026-12-24".to_owned(),
        amount_usd: nanos(60),
    };
    assert_eq!(ledger.unusual(now).await.unwrap().ahead, Some(ahead.clone()));

    // It was spent today, and the days after it are free.
    let open_one = reserve_on(&ledger, "2026-12-31", 5).await.unwrap();
    let accepted = ledger.confirm(now).await.unwrap();
    assert_eq!(accepted.ahead.unwrap().amount_usd, nanos(65));
    assert_eq!(ledger.unusual(now).await.unwrap(), Unusual::default());
    assert_eq!(ledger.confirm(now).await.unwrap(), Unusual::default());
    assert_eq!(status("2026-11-25").await, (100, 140));
    assert_eq!(status("2026-12-24").await, (0, 0));
    open_one.begin().settle(nanos(7), &()).await.unwrap();
    assert_eq!(status("2026-11-25").await, (107, 147));
    spend_on(&ledger, "2026-11-26", 100).await;
    let days = ledger.export(None).await.unwrap().into_iter().map(|row| row.day);
    assert!(days.into_iter().all(|day| day.as_str() <= "2026-11-26"));
}

/// What a refusal would count is what is announced, and days that a wrong clock showed are announced again when they come.
#[tokio::test]
async fn thresholds_count_later_days_until_these_are_emptied() {
    let ledger = Store::in_memory().unwrap().ledger();
    let spend = async |day, amount| {
        let attempt = reserve_on(&ledger, day, amount).await.unwrap().begin();
        let settled = attempt.settle(nanos(amount), &()).await.unwrap();
        let alerts = settled.alerts.into_iter();
        alerts
            .map(|alert| (alert.percent, alert.spent_usd.as_nanos()))
            .collect::<Vec<_>>()
    };
    assert_eq!(spend("2026-12-24", 60).await, [(50, 60)]);
    assert_eq!(spend("2026-11-25", 20).await, [(50, 80), (75, 80)]);
    let now = "2026-11-25T12:00:00Z".parse().unwrap();
    ledger.confirm(now).await.unwrap();
    assert_eq!(spend("2026-11-25", 10).await, [(90, 90)], "the others were announced");
    assert_eq!(spend("2026-12-24", 60).await, [(50, 60)]);
}

#[tokio::test]
async fn spending_is_added_up_by_what_it_was_spent_on() {
    let ledger = Store::in_memory().unwrap().ledger();
    for (tenant, session, model, day, spent) in [
        ("a", "s", "m", "2026-11-24", 5),
        ("a", "t", "n", "2026-11-25", 30),
        ("b", "s", "m", "2026-11-25", 7),
    ] {
        let request = ReserveRequest {
            tenant: tenant.to_owned(),
            session_id: session.to_owned(),
            model: model.to_owned(),
            now: format!("{day}T12:00:00Z").parse().unwrap(),
            ..request(40)
        };
        let attempt = ledger.reserve(request.clone()).await.unwrap().begin();
        let settled = attempt.settle(nanos(spent), &()).await.unwrap();
        if spent == 30 {
            ledger.reverse(reversal(&settled.id, Some(10), "wrong")).await.unwrap();
        }
        ledger.reserve(request).await.unwrap().release().await.unwrap();
    }
    let _open = ledger.reserve(request(3)).await.unwrap();
    let sums = |by, tenant: Option<&str>, since: Option<&str>| {
        let filter = SpendingFilter {
            by,
            tenant: tenant.map(str::to_owned),
            since: since.map(str::to_owned),
            count: 10,
        };
        let ledger = ledger.clone();
        async move {
            let sums = ledger.spending(filter).await.unwrap().into_iter();
            let line = |line: Spending| {
                let key = line.session_id.or(line.model).or(line.day).or(line.tenant).unwrap();
                let [spent, reserved] = [line.spent_usd, line.reserved_usd].map(NanoUsd::as_nanos);
                format!("{key}: {} {spent} {reserved}", line.attempts)
            };
            sums.map(line).collect::<Vec<_>>()
        }
    };
    assert_eq!(
        sums(SpendingBy::Session, None, None).await,
        ["t: 1 20 0", "s: 1 7 0", "s: 1 5 0", "s: 1 0 3"]
    );
    assert_eq!(sums(SpendingBy::Model, None, None).await, ["n: 1 20 0", "m: 3 12 3"]);
    assert_eq!(
        sums(SpendingBy::Day, None, None).await,
        ["2026-11-25: 2 27 0", "2026-11-24: 2 5 3"]
    );
    assert_eq!(
        sums(SpendingBy::Tenant, None, Some("2026-11-25")).await,
        ["a: 1 20 0", "b: 1 7 0"]
    );
    assert_eq!(sums(SpendingBy::Model, Some("b"), None).await, ["m: 1 7 0"]);
}

#[tokio::test]
async fn reservations_of_dead_owners_are_charged_and_a_late_report_still_counts() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let dead = uuid::Uuid::now_v7();
    let lock = PathBuf::from(format!("{}-owner-{dead}", path.display()));
    fs::write(&lock, "").unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE reservations SET owner = ?1", [dead.to_string()])
        .unwrap();

    // Even a refused attempt charges dead owners.
    assert!(matches!(
        ledger.reserve(request(41)).await,
        Err(LedgerError::Exceeded(_))
    ));
    assert_eq!(only_row(&ledger).await, ("charged".to_owned(), Some(60)));
    assert_eq!(totals(&ledger).await, [(60, 0); 2]);
    assert!(!lock.exists());

    reservation.begin().settle(nanos(7), &()).await.unwrap();
    assert_eq!(totals(&ledger).await, [(7, 0); 2]);
    assert_eq!(only_row(&ledger).await, ("settled".to_owned(), Some(7)));
}

#[tokio::test]
async fn opening_the_ledger_charges_dead_owners() {
    let (_folder, path) = file();
    let ledger = open(&path);
    let reservation = ledger.reserve(request(60)).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute("UPDATE reservations SET owner = ?1", [uuid::Uuid::now_v7().to_string()])
        .unwrap();
    let reopened = open(&path);
    assert_eq!(only_row(&reopened).await, ("charged".to_owned(), Some(60)));
    assert_eq!(totals(&reopened).await, [(60, 0); 2]);
    reservation.release().await.unwrap();
    assert_eq!(totals(&reopened).await, [(0, 0); 2]);
}

/// A server can report any number, and no row is ever deleted.
#[tokio::test]
async fn absurd_numbers_of_tokens_stop_no_sum() {
    let ledger = Store::in_memory().unwrap().ledger();
    for tokens in [u64::MAX, i64::MAX as u64, i64::MAX as u64] {
        let usage = json!({
            "input_tokens": tokens,
            "cache_creation_5m_input_tokens": tokens,
            "cache_creation_1h_input_tokens": 0,
            "cache_read_input_tokens": tokens,
            "estimated_prompt_tokens": tokens,
        });
        let attempt = ledger.reserve(request(1)).await.unwrap().begin();
        attempt.settle(nanos(1), &usage).await.unwrap();
    }
    for by in [SpendingBy::Model, SpendingBy::Session, SpendingBy::Day] {
        let filter = SpendingFilter {
            by,
            tenant: None,
            since: None,
            count: 10,
        };
        let sums = ledger.spending(filter).await.unwrap();
        assert_eq!((sums.len(), sums[0].attempts), (1, 3));
    }
}
