#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! What decides a probe of the half-open breaker, and which calls earn retries.

use super::super::ModelError;
use super::harness::{Harness, Step, api, cut, half_open};
use super::*;
use crate::events::BreakerState;
use crate::resilience::{BreakerSettings, Override};

/// Each answer streams for more than three minutes. Its head comes after a second.
#[tokio::test(start_paused = true)]
async fn the_head_of_its_answer_decides_a_probe() {
    let long = || Step::ok().head(1, 200).after(200);
    let mut harness = Harness::new([Step::status(500), long(), long(), long()]);
    half_open(&mut harness).await;
    let started = Instant::now();
    let closed = async {
        while harness.stack.breaker.state() != BreakerState::Closed {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        started.elapsed()
    };
    let ((first, _), (second, took), (third, _), closed) =
        tokio::join!(harness.call(), harness.call(), harness.call(), closed);
    for result in [first, second, third] {
        result.unwrap();
    }
    assert!(closed < Duration::from_secs(5), "{closed:?}");
    assert!(took < Duration::from_secs(205), "the answers overlap: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_below_500_closes_a_half_open_breaker() {
    for status in [400, 401, 413, 429] {
        for reports_head in [true, false] {
            let refused = || match reports_head {
                true => Step::status(status).head(1, status),
                false => Step::status(status),
            };
            let mut harness = Harness::new([Step::status(500), refused(), refused()]);
            half_open(&mut harness).await;
            for expected in [BreakerState::HalfOpen, BreakerState::Closed] {
                harness.fails().await;
                assert_eq!(harness.stack.breaker.state(), expected, "{status}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_5xx_or_no_head_at_all_opens_it_again() {
    let stalled = || {
        Step::fails(ModelError::Stalled {
            idle: Duration::ZERO,
            request_id: None,
        })
    };
    for probe in [Step::status(503).head(1, 503).after(5), Step::status(503), stalled()] {
        let mut harness = Harness::new([Step::status(500), probe]);
        half_open(&mut harness).await;
        harness.fails().await;
        assert_eq!(harness.stack.breaker.state(), BreakerState::Open);
    }
}

/// As documented in `resilience/breaker.rs`.
#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_a_success_of_a_probe_and_a_failure_while_closed() {
    let breaks_off = || Step::fails(cut()).head(1, 200).after(5);
    let mut harness = Harness::new([Step::status(500), breaks_off(), breaks_off(), breaks_off()]);
    half_open(&mut harness).await;
    for expected in [BreakerState::HalfOpen, BreakerState::Closed, BreakerState::Open] {
        harness.fails().await;
        assert_eq!(harness.stack.breaker.state(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_cancelled_before_its_head_decides_nothing_and_is_free_again() {
    let mut harness = Harness::new([Step::status(500), Step::ok().head(10, 200), Step::ok(), Step::ok()]);
    half_open(&mut harness).await;
    let dropped = tokio::time::timeout(Duration::from_secs(5), harness.call()).await;
    assert!(dropped.is_err());
    assert_eq!(harness.stack.breaker.stats().success_count, 0);
    harness.call().await.0.unwrap();
    assert_eq!(harness.stack.breaker.stats().success_count, 1);
    // After its head it has decided.
    harness.call().await.0.unwrap();
    assert_eq!(harness.stack.breaker.state(), BreakerState::Closed);
}

fn retries_left(harness: &Harness) -> usize {
    (0..).take_while(|_| harness.stack.retry_budget.try_retry()).count()
}

#[tokio::test(start_paused = true)]
async fn only_calls_that_were_sent_earn_retries() {
    let mut harness = Harness::new((0..100).map(|_| Step::ok()));
    for _ in 0..100 {
        harness.call().await.0.unwrap();
    }
    assert_eq!(retries_left(&harness), 10 + 10);

    harness = Harness::new([]);
    harness.stack.breaker.apply_override(Override::Open);
    for _ in 0..1_000 {
        assert_eq!(harness.fails().await.kind(), "breaker_open");
    }
    assert_eq!(retries_left(&harness), 10, "refused by the breaker");

    harness = Harness::new([]);
    harness.stack.budget.session = Some(crate::money::NanoUsd::from_nanos(1));
    for _ in 0..100 {
        assert_eq!(harness.fails().await.kind(), "budget_exceeded");
    }
    assert_eq!(retries_left(&harness), 10, "refused by the ledger");

    let unreachable = || {
        Step::fails(ModelError::Connect {
            endpoint: String::new(),
            reason: String::new(),
        })
    };
    harness = Harness::new((0..100).map(|_| unreachable()));
    harness.stack.retry.max_attempts = 1;
    harness.stack.breaker = Arc::new(Breaker::new(
        "model:m",
        BreakerSettings {
            failure_threshold: 1_000,
            ..BreakerSettings::default()
        },
    ));
    for _ in 0..100 {
        assert_eq!(harness.fails().await.kind(), "connect_failed");
    }
    assert_eq!(retries_left(&harness), 10, "never connected");

    // One that is sent twice earns once.
    harness = Harness::new((0..200).map(|_| Step::fails(api(429))));
    harness.stack.retry.max_attempts = 2;
    harness.stack.retry.initial_delay = Duration::ZERO;
    for _ in 0..10 {
        harness.fails().await;
    }
    assert_eq!(retries_left(&harness), 10 + 1 - 10);
}
