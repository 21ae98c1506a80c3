#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! What the ledger holds after every way a call can end, and how calls wait for money.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::{join_all, poll_immediate};
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::super::{BoxFuture, ModelError};
use super::harness::{Harness, MODEL, Step, USAGE, another_reserves, cut, reserved};
use super::*;
use crate::events::Usage;
use crate::ledger::{LedgerRow, SpendingBy, SpendingFilter};
use crate::money::NanoUsd;
use crate::store::{Durability, Store};

/// What `message_start` reports.
const STARTED: Usage = Usage {
    output_tokens: 1,
    ..USAGE
};

/// The cost of the reported input and this many tokens of output.
fn cost_with_output(output_tokens: u64) -> NanoUsd {
    let price = Prices::builtin().find(MODEL, jiff::civil::date(2026, 11, 24)).unwrap();
    price.cost(&Usage { output_tokens, ..USAGE })
}

/// The ledger's rows, once nothing is open any more.
async fn closed_rows(ledger: &Ledger) -> Vec<LedgerRow> {
    for _ in 0..10_000 {
        let rows = ledger.export(None).await.unwrap();
        if rows.iter().all(|row| row.state != "open") {
            return rows;
        }
        tokio::task::yield_now().await;
    }
    panic!("a reservation stays open")
}

async fn cancelled_after(harness: &Harness, seconds: u64) -> ModelError {
    let cancel = harness.cancel.clone();
    let later = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        cancel.cancel();
    };
    tokio::join!(harness.fails(), later).0
}

/// Cancelled, past the deadline, or dropped: the host hung up.
#[tokio::test(start_paused = true)]
async fn hanging_up_on_a_stream_costs_what_was_reported_and_what_arrived() {
    let stream = || Step::ok().reporting(STARTED).showing("Half of an answer").after(100);
    let expected = cost_with_output("Half of an answer".len().div_ceil(2) as u64 + 256);
    assert!(expected < reserved());

    let cancelled = Harness::new([stream()]);
    assert_eq!(cancelled_after(&cancelled, 5).await.kind(), "cancelled");

    let mut overdue = Harness::new([stream()]);
    overdue.deadline = Duration::from_secs(5);
    assert_eq!(overdue.fails().await.kind(), "deadline_exceeded");

    let dropped = Harness::new([stream()]);
    let call = tokio::time::timeout(Duration::from_secs(5), dropped.call());
    assert!(call.await.is_err());

    for harness in [cancelled, overdue, dropped] {
        let row = closed_rows(&harness.stack.ledger).await.remove(0);
        assert_eq!((row.spent_usd, row.estimated), (Some(expected), true));
        assert_eq!(harness.settlements().await, [(expected, true)]);
        assert_eq!(harness.metrics().charged_in_full, 0);
    }

    // What the server or a time-out cut is charged in full.
    let mut timed_out = Harness::new([stream()]);
    timed_out.stack.attempt_timeout = Duration::from_secs(5);
    timed_out.fails().await;
    let cut = Harness::new([Step::fails(cut()).reporting(STARTED).showing("Half")]);
    cut.fails().await;
    for harness in [timed_out, cut] {
        assert_eq!(harness.settlements().await, [(reserved(), true)]);
        assert_eq!(harness.metrics().charged_in_full, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_up_before_anything_was_reported_is_charged_in_full_and_says_so() {
    let harness = Harness::new([Step::ok().after(100)]);
    cancelled_after(&harness, 5).await;
    assert_eq!(harness.settlements().await, [(reserved(), true)]);
    let in_full = harness
        .events()
        .await
        .into_iter()
        .filter(|event| matches!(event, EventKind::BudgetSettled { in_full: true, .. }));
    assert_eq!(in_full.count(), 1);
    assert_eq!(harness.metrics().charged_in_full, 1);
}

/// As with local models: there is nothing to say of what nobody pays.
#[tokio::test(start_paused = true)]
async fn what_is_free_is_not_charged_in_full() {
    let mut harness = Harness::new([Step::ok().after(100)]);
    harness.stack.prices = Arc::new(Prices::parse(&format!("{MODEL} = [{{ free = true }}]")).unwrap());
    cancelled_after(&harness, 5).await;
    assert_eq!(harness.settlements().await, [(NanoUsd::ZERO, false)]);
    assert_eq!(harness.metrics().charged_in_full, 0);
}

/// Nothing was sent, so nothing is charged, and nothing stays reserved.
#[tokio::test]
async fn a_run_dropped_or_cancelled_while_it_reserves_costs_nothing() {
    for cancels in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.db");
        let mut harness = Harness::new([Step::ok()]);
        harness.stack.ledger = Store::open(&path, Durability::default()).unwrap().ledger();
        let other = rusqlite::Connection::open(&path).unwrap();
        // The reservation can't commit while another program holds the database.
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        {
            let mut call = std::pin::pin!(harness.call());
            assert!(poll_immediate(&mut call).await.is_none());
            if cancels {
                harness.cancel.cancel();
                assert_eq!(call.await.0.unwrap_err().kind(), "cancelled");
            }
        }
        other.execute_batch("COMMIT").unwrap();
        // It commits although nobody waits for it.
        let rows = closed_rows(&harness.stack.ledger).await;
        assert_eq!(rows.len(), 1);
        assert_eq!(
            (rows[0].state.as_str(), rows[0].spent_usd),
            ("released", Some(NanoUsd::ZERO))
        );
        assert_eq!(harness.steps_left(), 1);
        assert!(harness.settlements().await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_is_released_with_an_event() {
    let harness = Harness::new([Step::status(400)]);
    harness.fails().await;
    let names = harness.event_names().await;
    assert_eq!(names, ["budget_reserved", "model_attempt", "budget_released"]);
    assert!(
        harness.events().await.iter().any(|event| {
            matches!(event, EventKind::BudgetReleased { amount_usd, .. } if *amount_usd == reserved())
        })
    );
}

/// How one call ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Completed,
    Status(u16),
    Cut,
    Malformed,
    TimedOut,
    Cancelled(u64),
    Overdue(u64),
    Dropped(u64),
    /// Dropped after so many polls, wherever it is then.
    DroppedAtPoll(u32),
}

fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![
        Just(Ends::Completed),
        prop_oneof![Just(400_u16), Just(429), Just(529)].prop_map(Ends::Status),
        Just(Ends::Cut),
        Just(Ends::Malformed),
        Just(Ends::TimedOut),
        (0..12_u64).prop_map(Ends::Cancelled),
        (0..12_u64).prop_map(Ends::Overdue),
        (0..12_u64).prop_map(Ends::Dropped),
        (0..12_u32).prop_map(Ends::DroppedAtPoll),
    ]
}

fn step(ends: Ends, reports: bool, text: &'static str) -> Step {
    let step = match ends {
        Ends::Completed | Ends::Cancelled(_) | Ends::Overdue(_) | Ends::Dropped(_) | Ends::DroppedAtPoll(_) => {
            Step::ok()
        }
        Ends::TimedOut => Step::ok().after(1_000),
        Ends::Status(status) => Step::status(status),
        Ends::Cut => Step::fails(cut()),
        Ends::Malformed => Step::fails(ModelError::Malformed {
            reason: String::new(),
            request_id: None,
        }),
    };
    let takes = step.takes.max(Duration::from_secs(10));
    Step {
        takes,
        text,
        measured: reports.then_some(STARTED),
        ..step
    }
}

/// Makes one call that ends like this, on a ledger that is shared with others.
async fn call(ledger: &Ledger, ends: Ends, reports: bool, text: &'static str) -> Harness {
    let mut harness = Harness::new([step(ends, reports, text)]);
    harness.stack.ledger = ledger.clone();
    harness.stack.retry.max_attempts = 1;
    harness.stack.attempt_timeout = Duration::from_secs(100);
    match ends {
        Ends::Cancelled(seconds) => {
            harness.cancel = CancellationToken::new();
            let cancel = harness.cancel.clone();
            let later = async {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                cancel.cancel();
            };
            let _ = tokio::join!(harness.call(), later);
        }
        Ends::Overdue(seconds) => {
            harness.deadline = Duration::from_secs(seconds);
            let _ = harness.call().await;
        }
        Ends::Dropped(seconds) => {
            let _ = tokio::time::timeout(Duration::from_secs(seconds), harness.call()).await;
        }
        Ends::DroppedAtPoll(polls) => {
            let mut call = std::pin::pin!(harness.call());
            for _ in 0..polls {
                if poll_immediate(&mut call).await.is_some() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        _ => drop(harness.call().await),
    }
    harness
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The events, the metrics and the ledger say the same, whatever happens to the calls.
    #[test]
    fn events_add_up_to_the_ledger(calls in prop::collection::vec((ends(), any::<bool>(), prop_oneof![Just(""), Just("some words")]), 1..8)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let ledger = Store::in_memory().unwrap().ledger();
            let (mut events, mut cost, mut attempts) = (Vec::new(), NanoUsd::ZERO, 0);
            for (ends, reports, text) in &calls {
                let harness = call(&ledger, *ends, *reports, text).await;
                events.extend(harness.events().await);
                cost = cost.saturating_add(harness.metrics().estimated_cost_usd);
            }
            let rows = closed_rows(&ledger).await;
            let (mut open, mut reservations) = (Vec::new(), 0);
            let mut charged = BTreeMap::new();
            for event in events {
                match event {
                    EventKind::ModelAttempt { .. } => attempts += 1,
                    EventKind::BudgetReserved { reservation, .. } => {
                        reservations += 1;
                        open.push(reservation);
                    }
                    EventKind::BudgetSettled { reservation, amount_usd, .. } => {
                        open.retain(|reserved| *reserved != reservation);
                        prop_assert!(charged.insert(reservation, amount_usd).is_none(), "settled twice");
                    }
                    EventKind::BudgetReleased { reservation, .. } => {
                        open.retain(|reserved| *reserved != reservation);
                        prop_assert!(charged.insert(reservation, NanoUsd::ZERO).is_none(), "closed twice");
                    }
                    _ => {}
                }
            }
            prop_assert!(open.is_empty(), "reserved without an end: {open:?}");
            prop_assert_eq!(attempts, reservations, "each is an attempt");
            for row in &rows {
                let spent = row.spent_usd.unwrap();
                // What was dropped while it was reserved has no events.
                let announced = charged.get(row.id.as_str()).copied().unwrap_or(NanoUsd::ZERO);
                prop_assert_eq!(spent, announced, "{:?}", row);
            }
            let spent: NanoUsd = rows.iter().filter_map(|row| row.spent_usd).sum();
            prop_assert_eq!(spent, cost);
            prop_assert_eq!(spent, charged.into_values().sum::<NanoUsd>());
            Ok(())
        })?;
    }
}

/// Other sessions free money for one of two hundred calls after the other.
#[tokio::test(start_paused = true)]
async fn a_settlement_wakes_few_of_many_waiting_calls() {
    const CALLS: usize = 200;
    const RELEASES: usize = 20;
    let mut harness = Harness::new((0..CALLS).map(|_| Step::ok()));
    harness.stack.budget.session = None;
    harness.stack.budget.daily = Some(reserved().saturating_mul(RELEASES as u64));
    let mut held = Vec::new();
    for _ in 0..RELEASES {
        held.push(another_reserves(&harness, reserved()).await);
    }
    let calls = join_all((0..CALLS).map(|_| harness.call()));
    let releases = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = harness.stack.ledger.asked();
        assert_eq!(before, RELEASES + CALLS, "everybody was refused once");
        for reservation in held {
            reservation.release().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Nobody has polled yet.
        let asked = harness.stack.ledger.asked() - before;
        let served = harness.settlements().await.len();
        assert!(served >= RELEASES, "{served}");
        // Each success wakes one more, who may ask in vain, and so does the settlement that follows it. Waking everybody would
        // take a hundred times as many.
        assert!(asked <= 2 * RELEASES + 4 * served, "{asked} for {served}");
        harness.cancel.cancel();
    };
    tokio::join!(calls, releases);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_seldom_poll_for_other_processes() {
    const CALLS: usize = 50;
    let mut harness = Harness::new([]);
    harness.stack.budget.daily = Some(reserved());
    let _held = another_reserves(&harness, NanoUsd::from_nanos(1)).await;
    let results = join_all((0..CALLS).map(|_| harness.call())).await;
    for (result, took) in results {
        assert_eq!(result.unwrap_err().kind(), "budget_exceeded");
        assert_eq!(took.as_secs(), 30);
    }
    // Every two seconds on average, for thirty seconds.
    let polls = harness.stack.ledger.asked() / CALLS;
    assert!((10..=25).contains(&polls), "{polls}");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_money_ends_with_the_runs_deadline() {
    let mut harness = Harness::new([]);
    harness.deadline = Duration::from_millis(700);
    harness.stack.budget.daily = Some(reserved());
    let _held = another_reserves(&harness, NanoUsd::from_nanos(1)).await;
    let (result, took) = harness.call().await;
    let error = result.unwrap_err();
    assert_eq!((error.kind(), took), ("deadline_exceeded", Duration::from_millis(700)));
    assert!(
        error.to_string().contains("before that, the host_day budget"),
        "{error}"
    );
}

/// Another provider, and what it counts.
#[derive(Debug)]
struct Counting {
    provider: Arc<dyn Provider>,
    /// After so many seconds.
    answer: (u64, Option<u64>),
    asked: Arc<AtomicU32>,
}

impl Provider for Counting {
    fn model(&self) -> &str {
        self.provider.model()
    }

    fn endpoint(&self) -> String {
        self.provider.endpoint()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        self.provider.prepare(request)
    }

    fn count_tokens<'a>(&'a self, _: &'a PreparedRequest<'a>) -> BoxFuture<'a, Option<u64>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(self.answer.0)).await;
            self.answer.1
        })
    }

    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        self.provider.attempt(request, progress)
    }
}

/// Where the estimate alone would be refused.
#[tokio::test(start_paused = true)]
async fn what_the_estimate_would_refuse_is_counted() {
    let price = Prices::builtin().find(MODEL, jiff::civil::date(2026, 11, 24)).unwrap();
    let output_alone = price.worst_case(0, 1_000, None);
    let less = NanoUsd::from_nanos(reserved().as_nanos() - 1);
    for (limit, answer, is_asked, is_admitted) in [
        (reserved(), (0, Some(100)), false, true),
        (less, (0, Some(100)), true, true),
        (less, (4, Some(100)), true, true),
        // It can't say, it takes too long, it says no less: the estimate stays.
        (less, (0, None), true, false),
        (less, (6, Some(100)), true, false),
        (less, (0, Some(1_000_000)), true, false),
        // No prompt would be short enough.
        (
            NanoUsd::from_nanos(output_alone.as_nanos() - 1),
            (0, Some(1)),
            false,
            false,
        ),
    ] {
        let mut harness = Harness::new([Step::ok()]);
        let asked = Arc::new(AtomicU32::new(0));
        harness.stack.provider = Arc::new(Counting {
            provider: Arc::clone(&harness.stack.provider),
            answer,
            asked: Arc::clone(&asked),
        });
        harness.stack.budget.session = Some(limit);
        let (result, took) = harness.call().await;
        assert_eq!(asked.load(Ordering::Relaxed), u32::from(is_asked), "{limit} {answer:?}");
        match result {
            Ok(_) => assert!(is_admitted, "{limit} {answer:?}"),
            Err(error) => assert!(!is_admitted && error.kind() == "budget_exceeded", "{error}"),
        }
        assert!(took <= Duration::from_secs(5), "{took:?}");
    }
}

/// By model, beside what the API reported.
#[tokio::test(start_paused = true)]
async fn the_error_of_estimates_can_be_read_from_the_books() {
    let harness = Harness::new([Step::ok(), Step::ok(), Step::fails(cut()).showing("Half")]);
    for _ in 0..3 {
        drop(harness.call().await);
    }
    let filter = SpendingFilter {
        by: SpendingBy::Model,
        tenant: None,
        since: None,
        count: 10,
    };
    let found = harness.stack.ledger.spending(filter).await.unwrap().remove(0);
    // The last one was cut off, so it isn't known what it had to be.
    assert_eq!(found.prompt_tokens, Some(2 * USAGE.prompt_tokens()));
    let estimated = found.estimated_prompt_tokens.unwrap();
    assert!(estimated > 2_048 && estimated.is_multiple_of(2), "{estimated}");
}
