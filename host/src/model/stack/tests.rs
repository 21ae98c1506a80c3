#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The whole stack over a scripted provider, on paused time: a test takes as long as the model it tells of would.

use super::super::{ApiError, GaveUp};
use super::bench::{Bench, COST, Step, USAGE, api, cut, reserved};
use super::*;
use crate::events::BreakerState;
use crate::events::Usage;
use crate::ledger::{Reservation, ReserveRequest};
use crate::money::NanoUsd;
use crate::resilience::BreakerSettings;

#[tokio::test(start_paused = true)]
async fn one_good_attempt_tells_its_story_in_order() {
    let bench = Bench::new([Step::ok().after(2).showing("hello")]);
    let (result, took) = bench.call().await;
    assert_eq!(result.unwrap().text(), "hello");
    assert_eq!(took, Duration::from_secs(2));
    assert_eq!(
        bench.heard_names().await,
        [
            "budget_reserved",
            "text_delta",
            "model_attempt",
            "budget_settled",
            "model_response"
        ]
    );
    assert_eq!(bench.settlements().await, [(COST, false)]);
    let metrics = bench.metrics();
    assert_eq!(
        (metrics.model_attempts, metrics.model_errors, metrics.retries),
        (1, 0, 0)
    );
    assert_eq!(metrics.time_to_first_token_ms, Some(0));
    assert_eq!(metrics.request_ids, ["req_ok"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_not_streamed_is_one_delta() {
    let bench = Bench::new([Step::ok()]);
    bench.call().await.0.unwrap();
    let deltas = bench
        .heard()
        .await
        .into_iter()
        .filter(|event| matches!(event, EventKind::TextDelta { text } if text == "hello"));
    assert_eq!(deltas.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_back_off_and_cost_nothing() {
    let bench = Bench::new([Step::status(529), Step::status(500), Step::ok()]);
    let (result, took) = bench.call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(1 + 2));
    assert_eq!(bench.serialized(), 1, "all attempts share one body");
    assert_eq!(bench.settlements().await, [(COST, false)]);
    let session = bench.session().await;
    assert_eq!((session.spent_usd, session.reserved_usd), (COST, NanoUsd::ZERO));
    let metrics = bench.metrics();
    assert_eq!(
        (metrics.model_attempts, metrics.model_errors, metrics.retries),
        (3, 2, 2)
    );
    let retries: Vec<_> = bench
        .heard()
        .await
        .into_iter()
        .filter_map(|event| match event {
            EventKind::ModelRetry {
                attempt,
                max_attempts,
                delay_ms,
                error,
            } => Some((attempt, max_attempts, delay_ms, error.kind)),
            _ => None,
        })
        .collect();
    assert_eq!(
        retries,
        [
            (1, 3, 1_000, "overloaded".to_owned()),
            (2, 3, 2_000, "server_error".to_owned())
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_is_honoured_up_to_a_minute() {
    for (wish, took) in [(7, 7), (60, 60), (61, 1)] {
        let limited = ApiError {
            retry_after: Some(Duration::from_secs(wish)),
            ..api(429)
        };
        let bench = Bench::new([Step::fails(limited), Step::ok()]);
        assert_eq!(bench.call().await.1, Duration::from_secs(took), "{wish}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_of_the_attempts_is_the_error() {
    let bench = Bench::new([Step::status(529), Step::status(529), Step::status(503)]);
    let error = bench.fails().await;
    assert_eq!(error.to_string(), "gave up after 3 attempts: HTTP 503");
    assert_eq!((error.kind(), error.request_id()), ("server_error", Some("req_503")));
    assert_eq!(bench.session().await.spent_usd, NanoUsd::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_is_not_tried_again() {
    let spend_cap = ApiError {
        error_code: Some("enforced_spend_limit_reached".to_owned()),
        retry_after: Some(Duration::from_secs(1)),
        ..api(429)
    };
    let too_long = ApiError {
        message: "prompt is too long".to_owned(),
        ..api(400)
    };
    for (step, kind) in [
        (Step::status(401), "authentication"),
        (Step::fails(spend_cap), "spend_limit"),
        (Step::fails(too_long), "context_overflow"),
    ] {
        let bench = Bench::new([step, Step::ok()]);
        let error = bench.fails().await;
        assert_eq!((error.kind(), bench.steps_left()), (kind, 1));
        assert_eq!(bench.stack.breaker.stats().failure_count, 0, "{kind}");
        assert_eq!(bench.session().await.spent_usd, NanoUsd::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_past_the_deadline_is_not_begun() {
    let limited = ApiError {
        retry_after: Some(Duration::from_secs(30)),
        ..api(429)
    };
    let mut bench = Bench::new([Step::fails(limited), Step::ok()]);
    bench.deadline = Duration::from_secs(30);
    let (result, took) = bench.call().await;
    let error = result.expect_err("no time left");
    assert_eq!(took, Duration::ZERO);
    assert_eq!(
        error.to_string(),
        "the run's deadline leaves no time for another attempt; before that, HTTP 429 (it asks for a pause of 30 s)"
    );
    assert_eq!(
        (error.kind(), error.request_id()),
        ("deadline_exceeded", Some("req_429"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_and_says_nothing_of_the_endpoint() {
    let mut bench = Bench::new([Step::status(500), Step::ok().after(100)]);
    bench.deadline = Duration::from_secs(10);
    let (result, took) = bench.call().await;
    let error = result.expect_err("no time left");
    assert_eq!(took, Duration::from_secs(10));
    assert_eq!(
        error.to_string(),
        "the run's deadline leaves no time for another attempt; before that, HTTP 500"
    );
    assert_eq!(bench.stack.breaker.stats().failure_count, 1, "the 500 alone");
    assert_eq!(bench.settlements().await, [(reserved(), true)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_charged_and_tried_again() {
    let mut bench = Bench::new([Step::ok().after(1_000), Step::ok()]);
    bench.stack.attempt_timeout = Duration::from_secs(20);
    let (result, took) = bench.call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(20 + 1));
    assert_eq!(bench.settlements().await, [(reserved(), true), (COST, false)]);
    assert_eq!(bench.session().await.spent_usd, reserved().saturating_add(COST));
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_costs_the_larger_of_measured_and_reserved() {
    let huge = Usage {
        input_tokens: 1_000_000,
        ..Usage::default()
    };
    for (measured, amount) in [(USAGE, reserved()), (huge, NanoUsd::from_nanos(2_000_000_000))] {
        let bench = Bench::new([
            Step {
                measured: Some(measured),
                ..Step::fails(cut())
            },
            Step::ok(),
        ]);
        // Spent money is booked even above the limit; the next attempt is refused then.
        let _ = bench.call().await;
        assert_eq!(bench.settlements().await[0], (amount, true));
    }
}

#[tokio::test(start_paused = true)]
async fn text_that_a_person_read_is_never_written_twice() {
    let script = || [Step::fails(cut()).showing("hel"), Step::ok()];
    let bench = Bench::new(script());
    let error = bench.fails().await;
    assert!(
        matches!(
            &error,
            ModelError::GaveUp {
                why: GaveUp::TextShown,
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!((error.kind(), bench.steps_left()), ("stream_cut", 1));

    let mut machine = Bench::new(script());
    machine.streams_to_user = false;
    assert_eq!(machine.call().await.0.unwrap().text(), "hello");

    // Nothing was shown by the attempt that failed.
    let silent = Bench::new([Step::fails(cut()), Step::ok()]);
    assert_eq!(silent.call().await.0.unwrap().text(), "hello");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_stays_open_and_closes_again() {
    let mut bench = Bench::new((0..5).map(|_| Step::status(500)).chain([Step::ok(), Step::ok()]));
    bench.stack.retry.max_attempts = 1;
    for _ in 0..5 {
        assert_eq!(bench.fails().await.kind(), "server_error");
    }
    let error = bench.fails().await;
    assert_eq!(
        error.to_string(),
        "the breaker `model:claude-sonnet-5-5` is open, next try in 60.0 s"
    );
    assert_eq!((error.kind(), bench.steps_left()), ("breaker_open", 2));
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        bench.call().await.0.unwrap();
    }
    let states: Vec<_> = bench
        .heard()
        .await
        .into_iter()
        .filter_map(|event| match event {
            EventKind::BreakerChanged { to, retry_after_ms, .. } => Some((to, retry_after_ms)),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            (BreakerState::Open, Some(60_000)),
            (BreakerState::HalfOpen, None),
            (BreakerState::Closed, None)
        ]
    );
    assert_eq!(
        bench.metrics().model_attempts,
        7,
        "a call that was refused was no attempt"
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_waited_for_only_if_the_delay_covers_it() {
    let opened = |open_for| {
        let mut bench = Bench::new([Step::status(500), Step::ok()]);
        let settings = BreakerSettings {
            failure_threshold: 1,
            open_for,
            ..BreakerSettings::default()
        };
        bench.stack.breaker = Arc::new(Breaker::new("model:m", settings));
        bench
    };
    // The first delay, one second, meets the breaker half-open.
    let (result, took) = opened(Duration::from_secs(1)).call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(1));
    // Here it meets the breaker open with two seconds to go, which the second delay covers.
    let (result, took) = opened(Duration::from_secs(3)).call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(3));
    // And here none does.
    let (result, took) = opened(Duration::from_secs(60)).call().await;
    let error = result.expect_err("refused");
    assert_eq!(took, Duration::from_secs(1));
    assert_eq!(
        error.to_string(),
        "the breaker `model:m` is open, next try in 59.0 s; before that, HTTP 500"
    );
    assert_eq!(error.request_id(), Some("req_500"));
}

/// Uses up the first step, which fails, and waits until the breaker lets a probe through.
async fn half_open(bench: &mut Bench) {
    bench.stack.retry.max_attempts = 1;
    let settings = BreakerSettings {
        failure_threshold: 1,
        open_for: Duration::from_secs(1),
        ..BreakerSettings::default()
    };
    bench.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    bench.fails().await;
    tokio::time::advance(Duration::from_secs(1)).await;
}

/// Another session takes so much of the day's budget.
async fn another_reserves(bench: &Bench, amount: NanoUsd) -> Reservation {
    let request = ReserveRequest {
        tenant: "default".to_owned(),
        session_id: "another".to_owned(),
        model: "m".to_owned(),
        amount,
        limits: bench.stack.budget.clone(),
        now: jiff::Timestamp::now(),
    };
    bench.stack.ledger.reserve(request).await.unwrap()
}

/// One call tries the endpoint out for longer than all retries would take, and the others are served after it.
#[tokio::test(start_paused = true)]
async fn who_comes_while_the_endpoint_is_tried_out_waits_and_pays_for_no_retry() {
    let probe = Step::ok().after(20);
    let mut bench = Bench::new([Step::status(500), probe, Step::ok(), Step::ok()]);
    half_open(&mut bench).await;
    let ((first, _), (second, took), (third, _)) = tokio::join!(bench.call(), bench.call(), bench.call());
    for result in [first, second, third] {
        result.unwrap();
    }
    assert!(
        took >= Duration::from_secs(20) && took < Duration::from_secs(25),
        "{took:?}"
    );
    let metrics = bench.metrics();
    assert_eq!((metrics.model_attempts, metrics.retries), (4, 0));
    let told = bench
        .heard_names()
        .await
        .into_iter()
        .filter(|name| *name == "model_waiting");
    assert_eq!(told.count(), 2, "once by each who waited");
}

/// Whoever waits for money is no probe, and keeps nobody from being one.
#[tokio::test(start_paused = true)]
async fn who_waits_for_money_does_not_hold_the_breaker() {
    let mut bench = Bench::new([Step::status(500)]);
    half_open(&mut bench).await;
    bench.stack.budget.daily = Some(reserved());
    let _held = another_reserves(&bench, NanoUsd::from_nanos(1)).await;
    let probe = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Each time it is asked for a moment; in between the place is free.
        for _ in 0..100 {
            if let Ok((permit, _)) = bench.stack.breaker.try_acquire() {
                permit.neutral();
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    };
    let ((result, _), was_free) = tokio::join!(bench.call(), probe);
    assert_eq!(result.unwrap_err().kind(), "budget_exceeded");
    assert!(was_free);
}

#[tokio::test(start_paused = true)]
async fn many_are_not_sent_back_at_the_same_moment() {
    let limited = || {
        Step::fails(ApiError {
            retry_after: Some(Duration::from_secs(20)),
            ..api(429)
        })
    };
    let mut delays = Vec::new();
    for _ in 0..20 {
        let mut bench = Bench::new([limited(), Step::ok()]);
        bench.stack.retry.jitter = true;
        let (result, took) = bench.call().await;
        result.unwrap();
        assert!(
            took >= Duration::from_secs(20) && took <= Duration::from_secs(22),
            "{took:?}"
        );
        delays.push(took);
    }
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 10, "{delays:?}");
}

#[tokio::test(start_paused = true)]
async fn money_that_others_will_not_have_spent_is_waited_for() {
    let mut bench = Bench::new([Step::ok(), Step::ok()]);
    bench.stack.budget.daily = Some(reserved().saturating_add(reserved()));
    let most = NanoUsd::from_nanos(reserved().as_nanos() + 1);
    let held = another_reserves(&bench, most).await;
    // It is given up some time.
    let (result, took) = bench.call().await;
    assert_eq!(result.unwrap_err().kind(), "budget_exceeded");
    assert!(
        took > Duration::from_secs(29) && took <= Duration::from_secs(30),
        "{took:?}"
    );
    let settles = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        held.settle(COST, &USAGE).await.unwrap();
    };
    let ((result, took), ()) = tokio::join!(bench.call(), settles);
    result.unwrap();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(6),
        "{took:?}"
    );
    // What is spent does not come back.
    let spent = another_reserves(&bench, reserved()).await;
    spent.settle(reserved(), &USAGE).await.unwrap();
    let (result, took) = bench.call().await;
    assert_eq!((result.unwrap_err().kind(), took), ("budget_exceeded", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_multiplied() {
    let mut bench = Bench::new((0..100).map(|_| Step::status(429)));
    bench.stack.retry.max_attempts = 2;
    bench.stack.retry.initial_delay = Duration::ZERO;
    let mut refused = 0;
    for _ in 0..20 {
        let error = bench.fails().await;
        if matches!(
            error,
            ModelError::GaveUp {
                why: GaveUp::RetryBudget,
                ..
            }
        ) {
            refused += 1;
            assert_eq!(error.kind(), "rate_limited");
            assert!(error.hint().unwrap().contains("try again later"));
        }
    }
    // Ten, and one in ten of the calls.
    let retried = bench.metrics().retries;
    assert_eq!(retried + refused, 20);
    assert!((10..=12).contains(&retried), "{retried}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_budget_ends_the_call_before_anything_is_sent() {
    let mut bench = Bench::new([Step::ok()]);
    bench.stack.budget.session = Some(NanoUsd::from_nanos(1));
    let error = bench.fails().await;
    let ModelError::Budget(exceeded) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((exceeded.scope.name(), exceeded.asked), ("session", reserved()));
    assert_eq!(error.kind(), "budget_exceeded");
    assert_eq!(bench.steps_left(), 1);
    assert!(bench.heard().await.is_empty());
    assert_eq!(bench.stack.breaker.stats().failure_count, 0);
}

#[tokio::test(start_paused = true)]
async fn thresholds_are_announced_once() {
    let mut bench = Bench::new([Step::ok(), Step::ok()]);
    bench.stack.budget.session = Some(reserved().saturating_add(COST));
    bench.stack.budget.daily = Some(COST.saturating_add(reserved()));
    bench.call().await.0.unwrap();
    bench.call().await.0.unwrap();
    let names = bench.heard_names().await;
    let alerts = names.iter().filter(|name| **name == "budget_alert").count();
    let percent = COST.saturating_mul(2).as_nanos() * 100 / reserved().saturating_add(COST).as_nanos();
    let reached = [50, 75, 90, 100]
        .iter()
        .filter(|threshold| percent >= **threshold)
        .count();
    assert_eq!(alerts, 2 * reached, "two scopes at {percent} %: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn a_model_without_a_price_runs_only_without_a_budget() {
    let mut bench = Bench::of("llama-of-tomorrow", [Step::ok()]);
    let error = bench.fails().await;
    assert_eq!((error.kind(), bench.steps_left()), ("unknown_price", 1));
    assert!(
        error.hint().unwrap().contains("\"llama-of-tomorrow\" = [{"),
        "{:?}",
        error.hint()
    );

    (bench.stack.budget.session, bench.stack.budget.daily) = (None, None);
    bench.call().await.0.unwrap();
    assert_eq!(
        bench.heard_names().await,
        ["model_attempt", "text_delta", "model_response"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_is_heard_everywhere() {
    // Before anything.
    let bench = Bench::new([Step::ok()]);
    bench.cancel.cancel();
    assert_eq!(bench.fails().await.kind(), "cancelled");
    assert!(bench.heard().await.is_empty());

    for (steps, events, spent) in [
        // In the attempt, which may have been billed.
        (
            vec![Step::ok().after(100)],
            &["budget_reserved", "model_attempt", "budget_settled"][..],
            reserved(),
        ),
        // In the delay before a retry.
        (
            vec![Step::fails(ApiError {
                retry_after: Some(Duration::from_secs(50)),
                ..api(429)
            })],
            &["budget_reserved", "model_attempt", "model_retry"][..],
            NanoUsd::ZERO,
        ),
    ] {
        let bench = Bench::new(steps);
        let cancel = bench.cancel.clone();
        let later = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        };
        let ((result, took), ()) = tokio::join!(bench.call(), later);
        assert_eq!(result.expect_err("cancelled").kind(), "cancelled");
        assert_eq!(took, Duration::from_secs(5));
        assert_eq!(bench.heard_names().await, events);
        assert_eq!(bench.session().await.spent_usd, spent);
        assert_eq!(bench.stack.breaker.stats().failure_count, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_stays_charged_and_frees_the_probe() {
    let mut bench = Bench::new([Step::status(500), Step::ok().after(100), Step::ok()]);
    bench.stack.retry.max_attempts = 1;
    let settings = BreakerSettings {
        failure_threshold: 1,
        ..BreakerSettings::default()
    };
    bench.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    bench.fails().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    // The probe, dropped half-way.
    assert!(
        tokio::time::timeout(Duration::from_secs(5), bench.call())
            .await
            .is_err()
    );
    bench.call().await.0.expect("another probe is let through");
    assert_eq!(bench.session().await.spent_usd, reserved().saturating_add(COST));
}
