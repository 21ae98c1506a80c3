#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The whole stack on a scripted provider with paused time, so that durations are exact.

use super::super::{ApiError, GaveUp};
use super::harness::{COST, Harness, Step, USAGE, another_reserves, api, cut, half_open, reserved};
use super::*;
use crate::events::{BreakerState, Usage};
use crate::money::NanoUsd;
use crate::resilience::BreakerSettings;

#[tokio::test(start_paused = true)]
async fn a_successful_attempt_emits_its_events_in_order() {
    let harness = Harness::new([Step::ok().after(2).showing("hello")]);
    let (result, took) = harness.call().await;
    assert_eq!(result.unwrap().text(), "hello");
    assert_eq!(took, Duration::from_secs(2));
    assert_eq!(
        harness.event_names().await,
        [
            "budget_reserved",
            "text_delta",
            "model_attempt",
            "budget_settled",
            "model_response"
        ]
    );
    assert_eq!(harness.settlements().await, [(COST, false)]);
    let metrics = harness.metrics();
    assert_eq!(
        (metrics.model_attempts, metrics.model_errors, metrics.retries),
        (1, 0, 0)
    );
    assert_eq!(metrics.time_to_first_token_ms, Some(0));
    assert_eq!(metrics.request_ids, ["req_ok"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_not_streamed_is_one_delta() {
    let harness = Harness::new([Step::ok()]);
    harness.call().await.0.unwrap();
    let deltas = harness
        .events()
        .await
        .into_iter()
        .filter(|event| matches!(event, EventKind::TextDelta { text } if text == "hello"));
    assert_eq!(deltas.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn retries_back_off_and_cost_nothing() {
    let harness = Harness::new([Step::status(529), Step::status(500), Step::ok()]);
    let (result, took) = harness.call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(1 + 2));
    assert_eq!(harness.serialized(), 1, "all attempts share one body");
    assert_eq!(harness.settlements().await, [(COST, false)]);
    let session = harness.session().await;
    assert_eq!((session.spent_usd, session.reserved_usd), (COST, NanoUsd::ZERO));
    let metrics = harness.metrics();
    assert_eq!(
        (metrics.model_attempts, metrics.model_errors, metrics.retries),
        (3, 2, 2)
    );
    let retries: Vec<_> = harness
        .events()
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
async fn retry_after_is_honoured_up_to_a_minute() {
    let limited = |retry_after| {
        Step::fails(ApiError {
            retry_after: Some(Duration::from_secs(retry_after)),
            ..api(429)
        })
    };
    for retry_after in [7, 60] {
        let harness = Harness::new([limited(retry_after), Step::ok()]);
        assert_eq!(harness.call().await.1, Duration::from_secs(retry_after));
    }
    // Every retry within a minute would fail as well.
    for (retry_after, words) in [(61, "1 min 1 s"), (14_400, "4 h")] {
        let error = Harness::new([limited(retry_after), Step::ok()]).fails().await;
        assert_eq!(error.to_string(), format!("HTTP 429 (the API asked to wait {words})"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_attempts_error_is_returned() {
    let harness = Harness::new([Step::status(529), Step::status(529), Step::status(503)]);
    let error = harness.fails().await;
    assert_eq!(error.to_string(), "gave up after 3 attempts: HTTP 503");
    assert_eq!((error.kind(), error.request_id()), ("server_error", Some("req_503")));
    assert_eq!(harness.session().await.spent_usd, NanoUsd::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_is_not_retried() {
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
        let harness = Harness::new([step, Step::ok()]);
        let error = harness.fails().await;
        assert_eq!((error.kind(), harness.steps_left()), (kind, 1));
        assert_eq!(harness.stack.breaker.stats().failure_count, 0, "{kind}");
        assert_eq!(harness.session().await.spent_usd, NanoUsd::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delay_past_the_deadline_fails_at_once() {
    let limited = ApiError {
        retry_after: Some(Duration::from_secs(30)),
        ..api(429)
    };
    let mut harness = Harness::new([Step::fails(limited), Step::ok()]);
    harness.deadline = Duration::from_secs(30);
    let (result, took) = harness.call().await;
    let error = result.expect_err("no time left");
    assert_eq!(took, Duration::ZERO);
    assert_eq!(
        error.to_string(),
        "the run's deadline leaves no time for another attempt; before that, HTTP 429 (retry after 30 s)"
    );
    assert_eq!(
        (error.kind(), error.request_id()),
        ("deadline_exceeded", Some("req_429"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_an_attempt_without_counting_against_the_endpoint() {
    let mut harness = Harness::new([Step::status(500), Step::ok().after(100)]);
    harness.deadline = Duration::from_secs(10);
    let (result, took) = harness.call().await;
    let error = result.expect_err("no time left");
    assert_eq!(took, Duration::from_secs(10));
    assert_eq!(
        error.to_string(),
        "the run's deadline passed before the answer was complete; before that, HTTP 500"
    );
    assert_eq!(harness.stack.breaker.stats().failure_count, 1, "the 500 alone");
    assert_eq!(harness.settlements().await, [(reserved(), true)]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_times_out_is_charged_and_retried() {
    let mut harness = Harness::new([Step::ok().after(1_000), Step::ok()]);
    harness.stack.attempt_timeout = Duration::from_secs(20);
    let (result, took) = harness.call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(20 + 1));
    assert_eq!(harness.settlements().await, [(reserved(), true), (COST, false)]);
    assert_eq!(harness.session().await.spent_usd, reserved().saturating_add(COST));
}

#[tokio::test(start_paused = true)]
async fn a_cut_answer_costs_the_larger_of_measured_and_reserved() {
    let huge = Usage {
        input_tokens: 1_000_000,
        ..Usage::default()
    };
    for (measured, amount) in [(USAGE, reserved()), (huge, NanoUsd::from_nanos(2_000_000_000))] {
        let harness = Harness::new([
            Step {
                measured: Some(measured),
                ..Step::fails(cut())
            },
            Step::ok(),
        ]);
        // Spent money is recorded even above the limit. The next attempt is then refused.
        let _ = harness.call().await;
        assert_eq!(harness.settlements().await[0], (amount, true));
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_showed_text_to_a_person_is_not_retried() {
    let script = || [Step::fails(cut()).showing("hel"), Step::ok()];
    let harness = Harness::new(script());
    let error = harness.fails().await;
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
    assert_eq!((error.kind(), harness.steps_left()), ("stream_cut", 1));

    let mut machine = Harness::new(script());
    machine.streams_to_user = false;
    assert_eq!(machine.call().await.0.unwrap().text(), "hello");

    // The failed attempt showed nothing.
    let silent = Harness::new([Step::fails(cut()), Step::ok()]);
    assert_eq!(silent.call().await.0.unwrap().text(), "hello");
}

#[tokio::test(start_paused = true)]
async fn the_breaker_opens_stays_open_and_closes_again() {
    let mut harness = Harness::new((0..5).map(|_| Step::status(500)).chain([Step::ok(), Step::ok()]));
    harness.stack.retry.max_attempts = 1;
    for _ in 0..5 {
        assert_eq!(harness.fails().await.kind(), "server_error");
    }
    let error = harness.fails().await;
    assert_eq!(
        error.to_string(),
        "the breaker `model:claude-sonnet-5-5` is open, next try in 60.0 s; the last failure: server_error: HTTP 500"
    );
    assert_eq!((error.kind(), harness.steps_left()), ("breaker_open", 2));
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        harness.call().await.0.unwrap();
    }
    let states: Vec<_> = harness
        .events()
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
    assert_eq!(harness.metrics().model_attempts, 7, "a refused call is not an attempt");
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_waited_for_only_if_the_delay_covers_it() {
    let opened = |open_for| {
        let mut harness = Harness::new([Step::status(500), Step::ok()]);
        let settings = BreakerSettings {
            failure_threshold: 1,
            open_for,
            ..BreakerSettings::default()
        };
        harness.stack.breaker = Arc::new(Breaker::new("model:m", settings));
        harness
    };
    // The first delay, one second, meets the breaker half-open.
    let (result, took) = opened(Duration::from_secs(1)).call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(1));
    // Here it meets the breaker open with two seconds to go, which the second delay covers.
    let (result, took) = opened(Duration::from_secs(3)).call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(3));
    // No delay covers it here.
    let (result, took) = opened(Duration::from_secs(60)).call().await;
    let error = result.expect_err("refused");
    assert_eq!(took, Duration::from_secs(1));
    assert_eq!(
        error.to_string(),
        "the breaker `model:m` is open, next try in 59.0 s; before that, HTTP 500"
    );
    assert_eq!(error.request_id(), Some("req_500"));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_not_waited_for_past_the_deadline() {
    let mut harness = Harness::new([Step::status(500), Step::ok()]);
    let settings = BreakerSettings {
        failure_threshold: 1,
        open_for: Duration::from_secs(3),
        ..BreakerSettings::default()
    };
    harness.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    harness.deadline = Duration::from_millis(2_500);
    let (result, took) = harness.call().await;
    let error = result.expect_err("no time left");
    assert_eq!((error.kind(), took), ("deadline_exceeded", Duration::from_secs(1)));
    assert_eq!(
        error.to_string(),
        "the run's deadline leaves no time for another attempt; before that, the breaker `model:m` is open, next try in \
         2.0 s; before that, HTTP 500"
    );
}

/// One call probes the endpoint for longer than all retries would take. The others wait and are served after it.
#[tokio::test(start_paused = true)]
async fn calls_during_a_probe_wait_without_spending_retries() {
    let probe = Step::ok().after(20);
    let mut harness = Harness::new([Step::status(500), probe, Step::ok(), Step::ok()]);
    half_open(&mut harness).await;
    let ((first, _), (second, took), (third, _)) = tokio::join!(harness.call(), harness.call(), harness.call());
    for result in [first, second, third] {
        result.unwrap();
    }
    assert!(
        took >= Duration::from_secs(20) && took < Duration::from_secs(25),
        "{took:?}"
    );
    let metrics = harness.metrics();
    assert_eq!((metrics.model_attempts, metrics.retries), (4, 0));
    let waiting = harness
        .event_names()
        .await
        .into_iter()
        .filter(|name| *name == "model_waiting");
    assert_eq!(waiting.count(), 2, "one event per waiting call");
}

/// A call that waits for budget doesn't hold the breaker's probe permit.
#[tokio::test(start_paused = true)]
async fn waiting_for_budget_does_not_hold_the_probe_permit() {
    let mut harness = Harness::new([Step::status(500)]);
    half_open(&mut harness).await;
    harness.stack.budget.daily = Some(reserved());
    let _held = another_reserves(&harness, NanoUsd::from_nanos(1)).await;
    let probe = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        // The waiting call takes the permit only briefly, and it is free in between.
        for _ in 0..100 {
            if let Ok((permit, _)) = harness.stack.breaker.try_acquire() {
                permit.neutral();
                return true;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        false
    };
    let ((result, _), was_free) = tokio::join!(harness.call(), probe);
    assert_eq!(result.unwrap_err().kind(), "budget_exceeded");
    assert!(was_free);
}

#[tokio::test(start_paused = true)]
async fn a_requested_delay_gets_jitter() {
    let limited = || {
        Step::fails(ApiError {
            retry_after: Some(Duration::from_secs(20)),
            ..api(429)
        })
    };
    let mut delays = Vec::new();
    for _ in 0..20 {
        let mut harness = Harness::new([limited(), Step::ok()]);
        harness.stack.retry.jitter = true;
        let (result, took) = harness.call().await;
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
async fn calls_wait_for_money_that_others_have_only_reserved() {
    let mut harness = Harness::new([Step::ok(), Step::ok()]);
    harness.stack.budget.daily = Some(reserved().saturating_add(reserved()));
    let most = NanoUsd::from_nanos(reserved().as_nanos() + 1);
    let held = another_reserves(&harness, most).await;
    // The wait is bounded.
    let (result, took) = harness.call().await;
    assert_eq!(result.unwrap_err().kind(), "budget_exceeded");
    assert!(
        took > Duration::from_secs(29) && took <= Duration::from_secs(30),
        "{took:?}"
    );
    let settles = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        held.begin().settle(COST, &USAGE).await.unwrap();
    };
    let ((result, took), ()) = tokio::join!(harness.call(), settles);
    result.unwrap();
    assert!(
        took >= Duration::from_secs(5) && took < Duration::from_secs(6),
        "{took:?}"
    );
    // There is no wait for money that is spent.
    let spent = another_reserves(&harness, reserved()).await;
    spent.begin().settle(reserved(), &USAGE).await.unwrap();
    let (result, took) = harness.call().await;
    assert_eq!((result.unwrap_err().kind(), took), ("budget_exceeded", Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_retry_budget_bounds_retries_in_an_outage() {
    let mut harness = Harness::new((0..100).map(|_| Step::status(429)));
    harness.stack.retry.max_attempts = 2;
    harness.stack.retry.initial_delay = Duration::ZERO;
    let mut refused = 0;
    for _ in 0..20 {
        let error = harness.fails().await;
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
    // Ten, plus one per ten calls.
    let retried = harness.metrics().retries;
    assert_eq!(retried + refused, 20);
    assert!((10..=12).contains(&retried), "{retried}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_budget_ends_the_call_before_anything_is_sent() {
    let mut harness = Harness::new([Step::ok()]);
    harness.stack.budget.session = Some(NanoUsd::from_nanos(1));
    let error = harness.fails().await;
    let ModelError::Budget(exceeded) = &error else {
        panic!("{error:?}")
    };
    assert_eq!((exceeded.scope.name(), exceeded.asked), ("session", reserved()));
    assert_eq!(error.kind(), "budget_exceeded");
    assert_eq!(harness.steps_left(), 1);
    assert!(harness.events().await.is_empty());
    assert_eq!(harness.stack.breaker.stats().failure_count, 0);
}

#[tokio::test(start_paused = true)]
async fn budget_thresholds_alert_once() {
    let mut harness = Harness::new([Step::ok(), Step::ok()]);
    harness.stack.budget.session = Some(reserved().saturating_add(COST));
    harness.stack.budget.daily = Some(COST.saturating_add(reserved()));
    harness.call().await.0.unwrap();
    harness.call().await.0.unwrap();
    let names = harness.event_names().await;
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
    let mut harness = Harness::of("llama-of-tomorrow", [Step::ok()]);
    let error = harness.fails().await;
    assert_eq!((error.kind(), harness.steps_left()), ("unknown_price", 1));
    assert!(
        error.hint().unwrap().contains("\"llama-of-tomorrow\" = [{"),
        "{:?}",
        error.hint()
    );

    (harness.stack.budget.session, harness.stack.budget.daily) = (None, None);
    harness.call().await.0.unwrap();
    assert_eq!(
        harness.event_names().await,
        ["model_attempt", "text_delta", "model_response"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancellation_ends_every_phase() {
    // Before the first attempt.
    let harness = Harness::new([Step::ok()]);
    harness.cancel.cancel();
    assert_eq!(harness.fails().await.kind(), "cancelled");
    assert!(harness.events().await.is_empty());

    for (steps, events, spent) in [
        // During the attempt, which may have been billed.
        (
            vec![Step::ok().after(100)],
            &["budget_reserved", "model_attempt", "budget_settled"][..],
            reserved(),
        ),
        // During the delay before a retry.
        (
            vec![Step::fails(ApiError {
                retry_after: Some(Duration::from_secs(50)),
                ..api(429)
            })],
            &["budget_reserved", "model_attempt", "budget_released", "model_retry"][..],
            NanoUsd::ZERO,
        ),
    ] {
        let harness = Harness::new(steps);
        let cancel = harness.cancel.clone();
        let later = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            cancel.cancel();
        };
        let ((result, took), ()) = tokio::join!(harness.call(), later);
        assert_eq!(result.expect_err("cancelled").kind(), "cancelled");
        assert_eq!(took, Duration::from_secs(5));
        assert_eq!(harness.event_names().await, events);
        assert_eq!(harness.session().await.spent_usd, spent);
        assert_eq!(harness.stack.breaker.stats().failure_count, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_stays_charged_and_frees_the_probe() {
    let mut harness = Harness::new([Step::status(500), Step::ok().after(100), Step::ok()]);
    harness.stack.retry.max_attempts = 1;
    let settings = BreakerSettings {
        failure_threshold: 1,
        ..BreakerSettings::default()
    };
    harness.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    harness.fails().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    // The probe, dropped midway.
    assert!(
        tokio::time::timeout(Duration::from_secs(5), harness.call())
            .await
            .is_err()
    );
    harness.call().await.0.expect("another probe is let through");
    assert_eq!(harness.session().await.spent_usd, reserved().saturating_add(COST));
}
