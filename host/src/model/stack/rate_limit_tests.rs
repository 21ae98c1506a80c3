//! Calls wait for the rate limits that the server announces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::ApiError;
use super::harness::{Harness, MODEL, Step, api};
use super::*;

const SECOND: &str = "claude-haiku-5-5";

async fn waits(harness: &Harness) -> Vec<String> {
    let waiting = |event| match event {
        EventKind::ModelWaiting { error, retry_after_ms } => Some(format!("{retry_after_ms:?} {}", error.message)),
        _ => None,
    };
    harness.events().await.into_iter().filter_map(waiting).collect()
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_until_the_next_request_is_allowed_and_says_so() {
    // Two a second: none is left, so the next one is due in half a second.
    let harness = Harness::new([Step::ok().leaving(0, 120), Step::ok().leaving(0, 120)]);
    assert_eq!(harness.call().await.1, Duration::ZERO);
    let (result, took) = harness.call().await;
    result.unwrap();
    assert!(
        took.abs_diff(Duration::from_millis(500)) < Duration::from_millis(20),
        "{took:?}"
    );
    let message = "Some(500) the rate limit of http://scripted is reached for requests";
    assert_eq!(waits(&harness).await, [message]);
    let names = harness.event_names().await;
    let attempts = names.iter().filter(|name| **name == "model_attempt").count();
    assert_eq!((attempts, harness.metrics().retries), (2, 0), "a wait is no attempt");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_deadline() {
    let mut harness = Harness::new([Step::ok().leaving(0, 2)]);
    harness.call().await.0.unwrap();
    harness.deadline = Duration::from_secs(20);
    let (result, took) = harness.call().await;
    let error = result.unwrap_err();
    assert!(
        matches!(&error, ModelError::DeadlineExceeded { last: Some(last), .. } if last.kind() == "rate_limit_reached"),
        "{error}"
    );
    assert_eq!(took, Duration::from_secs(20));
    assert_eq!(harness.session().await.reserved_usd.as_nanos(), 0);
}

#[tokio::test(start_paused = true)]
async fn cancelling_ends_the_wait() {
    let harness = Harness::new([Step::ok().leaving(0, 2)]);
    harness.call().await.0.unwrap();
    let cancel = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        harness.cancel.cancel();
    };
    let ((result, took), ()) = tokio::join!(harness.call(), cancel);
    assert!(matches!(result, Err(ModelError::Cancelled)));
    assert_eq!(took, Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn another_model_is_asked_in_place_of_a_long_wait_but_not_of_a_short_one() {
    for (limit, answered_by) in [(60, MODEL), (6, SECOND)] {
        let harness = Harness::of(MODEL, [Step::ok().leaving(0, limit), Step::ok()]).or(SECOND, [Step::ok()]);
        harness.call().await.0.unwrap();
        let (result, took) = harness.call().await;
        assert_eq!(result.unwrap().model, answered_by);
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_call_was_refused_with_keeps_others_from_asking() {
    let refused = || {
        Step::fails(ApiError {
            retry_after: Some(Duration::from_secs(10)),
            ..api(429)
        })
    };
    let mut harness = Harness::new([refused(), Step::ok()]);
    harness.stack.retry.max_attempts = 1;
    assert_eq!(harness.fails().await.kind(), "rate_limited");
    let (result, took) = harness.call().await;
    result.unwrap();
    assert_eq!(took, Duration::from_secs(10));
    let message = "Some(10000) the rate limit of http://scripted is reached";
    assert_eq!(waits(&harness).await, [message]);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_ignores_the_limits_asks_at_once() {
    let mut harness = Harness::new([Step::ok().leaving(0, 1), Step::ok()]);
    harness.stack.rate_limits = None;
    harness.call().await.0.unwrap();
    let (result, took) = harness.call().await;
    result.unwrap();
    assert_eq!(took, Duration::ZERO);
}
