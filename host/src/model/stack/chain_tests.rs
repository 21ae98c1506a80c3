//! Which model is asked, when, and what is said of those that had no answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::{Misconnected, MisconnectedKind};
use super::chain::another_may_answer;
use super::harness::{Harness, MODEL, Step, api, cut};
use super::*;
use crate::model::{ApiError, GaveUp};
use crate::resilience::{BreakerSettings, Override};

const SECOND: &str = "claude-haiku-5-5";
const THIRD: &str = "claude-opus-5-5";

/// The models that were asked, an entry per attempt.
async fn asked(harness: &Harness) -> Vec<String> {
    let attempt = |event| match event {
        EventKind::ModelAttempt { model, .. } => Some(model),
        _ => None,
    };
    harness.events().await.into_iter().filter_map(attempt).collect()
}

fn overloaded() -> [Step; 3] {
    [Step::status(529), Step::status(529), Step::status(529)]
}

#[tokio::test(start_paused = true)]
async fn the_next_model_answers_once_the_first_has_used_up_its_retries() {
    let harness = Harness::of(MODEL, overloaded()).or(SECOND, [Step::status(500), Step::ok()]);
    let response = harness.call().await.0.unwrap();
    assert_eq!(response.model, SECOND);
    assert_eq!(asked(&harness).await, [MODEL, MODEL, MODEL, SECOND, SECOND]);
    let events = harness.events().await;
    let fallback = events.iter().find_map(|event| match event {
        EventKind::ModelFallback { from, to, error } => Some((from.as_str(), to.as_str(), error.kind.as_str())),
        _ => None,
    });
    assert_eq!(fallback, Some((MODEL, SECOND, "overloaded")));
    let metrics = harness.metrics();
    assert_eq!((metrics.fallbacks, metrics.answers.get(SECOND)), (1, Some(&1)));
    // 1,000 tokens at $0.10 and 100 at $0.50 per million: the price of the model that answered.
    assert_eq!(metrics.estimated_cost_usd.as_nanos(), 150_000);
}

#[tokio::test(start_paused = true)]
async fn every_failed_model_is_named() {
    let refused = || {
        Step::fails(ModelError::Connect {
            endpoint: "http://x".to_owned(),
            reason: "refused".to_owned(),
        })
    };
    let harness = Harness::of(MODEL, overloaded())
        .or(SECOND, [Step::status(401)])
        .or(THIRD, [refused(), refused(), refused()]);
    let error = harness.fails().await;
    assert_eq!(error.kind(), "overloaded", "that of the first one");
    let message = error.to_string();
    let (second, third) = (
        format!("; then the fallback `{SECOND}` failed: "),
        format!("; then the fallback `{THIRD}` failed: gave up after 3 attempts: can't connect"),
    );
    assert!(message.starts_with("gave up after 3 attempts: "), "{message}");
    assert!(message.contains(&second) && message.contains(&third), "{message}");
    assert_eq!(error.request_id(), Some("req_529"));
}

#[tokio::test(start_paused = true)]
async fn every_failed_model_has_its_hint_which_names_the_table_of_its_settings() {
    let harness = Harness::of(MODEL, [Step::status(404)])
        .or(SECOND, [Step::status(404)])
        .or(THIRD, [Step::status(401)]);
    assert_eq!(
        harness.fails().await.hint().unwrap(),
        format!(
            "check `[model] model` and `[model] base_url`\n\
             for `{SECOND}`, check `[[fallback_models]] model` and `[[fallback_models]] base_url`\n\
             for `{THIRD}`, check the API key in the variable that `[[fallback_models]] api_key_env` names"
        ),
    );
    let hints: Vec<String> = harness
        .events()
        .await
        .into_iter()
        .filter_map(|event| match event {
            EventKind::ModelAttempt { error, .. } => error?.hint,
            EventKind::ModelFallback { error, .. } => error.hint,
            _ => None,
        })
        .collect();
    let tables: Vec<bool> = hints
        .iter()
        .map(|hint| hint.contains("`[[fallback_models]] "))
        .collect();
    assert_eq!(tables, [false, false, true, true, true], "{hints:?}");

    let harness = Harness::of(MODEL, overloaded()).or(SECOND, overloaded());
    let hint = harness.fails().await.hint();
    assert_eq!(hint.unwrap(), "the API is having problems; try again later");
}

/// What a fallback can't take says nothing of the next one, nor of the conversation.
#[tokio::test(start_paused = true)]
async fn an_unfit_fallback_is_passed_over() {
    let too_long = || ModelError::ContextOverflow(Box::new(api(400)));
    let harness = Harness::of(MODEL, overloaded())
        .or("nobody-knows-its-price", [])
        .or(SECOND, [Step::fails(too_long())])
        .or(THIRD, [Step::ok()]);
    assert_eq!(harness.call().await.0.unwrap().model, THIRD);

    let harness = Harness::of(MODEL, overloaded()).or(SECOND, [Step::fails(too_long())]);
    assert_eq!(
        harness.fails().await.kind(),
        "overloaded",
        "so nothing is taken out of the conversation"
    );
}

/// A second attempt of that length would leave no time for another model.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_used_all_of_its_time_is_not_repeated() {
    let slow = || Step::ok().after(400);
    let harness = Harness::of(MODEL, [slow()]).or(SECOND, [Step::ok()]);
    let (response, took) = harness.call().await;
    assert_eq!(
        (response.unwrap().model.as_str(), took),
        (SECOND, Duration::from_secs(300))
    );
    let harness = Harness::of(MODEL, [slow(), Step::ok()]);
    assert_eq!(
        harness.call().await.0.unwrap().model,
        MODEL,
        "without another model it is"
    );
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_asks_nobody_else() {
    let harness = Harness::of(MODEL, [Step::status(401)])
        .or(SECOND, [Step::ok().after(10)])
        .or(THIRD, []);
    let cancel = harness.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cancel.cancel();
    });
    assert_eq!(harness.fails().await.kind(), "cancelled");
}

#[tokio::test(start_paused = true)]
async fn every_call_begins_with_the_first_model() {
    let harness = Harness::of(MODEL, overloaded().into_iter().chain([Step::ok()])).or(SECOND, [Step::ok()]);
    assert_eq!(harness.call().await.0.unwrap().model, SECOND);
    assert_eq!(harness.call().await.0.unwrap().model, MODEL);
}

/// An outage costs each call nothing once the breaker is open, and a probe brings the first model back.
#[tokio::test(start_paused = true)]
async fn an_open_breaker_is_not_waited_for() {
    let mut harness = Harness::of(MODEL, [Step::status(529), Step::ok()]).or(SECOND, [Step::ok(), Step::ok()]);
    harness.stack.retry.max_attempts = 1;
    let settings = BreakerSettings {
        failure_threshold: 1,
        open_for: Duration::from_secs(1),
        ..BreakerSettings::default()
    };
    harness.stack.breaker = Arc::new(Breaker::new("model:m", settings));
    for _ in 0..2 {
        let (response, took) = harness.call().await;
        assert_eq!((response.unwrap().model.as_str(), took), (SECOND, Duration::ZERO));
    }
    assert_eq!(asked(&harness).await, [MODEL, SECOND, SECOND]);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(harness.call().await.0.unwrap().model, MODEL);
}

#[tokio::test(start_paused = true)]
async fn an_operator_can_take_a_model_out_of_service() {
    let harness = Harness::of(MODEL, []).or(SECOND, [Step::ok()]);
    harness.stack.breaker.apply_override(Override::Open);
    assert_eq!(harness.call().await.0.unwrap().model, SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_long_wait_is_not_taken_where_another_model_needs_none() {
    let rate_limited = |seconds| {
        Step::fails(ApiError {
            retry_after: Some(Duration::from_secs(seconds)),
            ..api(429)
        })
    };
    for (seconds, expected) in [(4, MODEL), (6, SECOND)] {
        let harness = Harness::of(MODEL, [rate_limited(seconds), Step::ok()]).or(SECOND, [Step::ok()]);
        assert_eq!(harness.call().await.0.unwrap().model, expected, "{seconds} s");
    }
    // The last one is worth the wait.
    let harness = Harness::of(MODEL, [Step::status(401)]).or(SECOND, [rate_limited(40), Step::ok()]);
    let (response, took) = harness.call().await;
    assert_eq!(response.unwrap().model, SECOND);
    assert!(took >= Duration::from_secs(40), "{took:?}");
}

/// A retry of the first model would come too late, and another model needs no wait.
#[tokio::test(start_paused = true)]
async fn another_model_is_asked_only_inside_the_deadline() {
    let mut harness = Harness::of(MODEL, [Step::status(529)]).or(SECOND, [Step::ok()]);
    harness.stack.retry.initial_delay = Duration::from_secs(20);
    harness.deadline = Duration::from_secs(10);
    let (response, took) = harness.call().await;
    assert_eq!((response.unwrap().model.as_str(), took), (SECOND, Duration::ZERO));

    let mut harness = Harness::of(MODEL, [Step::ok().after(20)]).or(SECOND, [Step::ok()]);
    harness.deadline = Duration::from_secs(10);
    assert_eq!(harness.fails().await.kind(), "deadline_exceeded");
    assert_eq!(asked(&harness).await, [MODEL]);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_is_asked_once_text_was_shown() {
    let malformed = || ModelError::Malformed {
        reason: String::new(),
        request_id: None,
    };
    for (streams_to_user, expected) in [(true, None), (false, Some(SECOND))] {
        for error in [cut(), malformed()] {
            let mut harness = Harness::of(MODEL, [Step::fails(error).showing("The ")]).or(SECOND, [Step::ok()]);
            harness.stack.retry.max_attempts = 1;
            harness.streams_to_user = streams_to_user;
            let answered = harness.call().await.0.ok().map(|response| response.model);
            assert_eq!(answered.as_deref(), expected);
        }
    }
}

#[test]
fn another_model_helps_where_the_model_its_server_or_its_account_is_at_fault() {
    let misconnected = Misconnected {
        kind: MisconnectedKind::NotTls,
        endpoint: String::new(),
        reason: String::new(),
        hint: String::new(),
    };
    let gave_up = |why| ModelError::GaveUp {
        why,
        last: Box::new(cut()),
    };
    for (error, expected) in [
        (api(400).into(), false),
        (api(401).into(), true),
        (api(402).into(), true),
        (api(403).into(), true),
        (api(404).into(), true),
        (api(413).into(), false),
        (api(429).into(), true),
        (api(500).into(), true),
        (api(529).into(), true),
        (ModelError::SpendLimit(Box::new(api(400))), true),
        (ModelError::ContextOverflow(Box::new(api(400))), false),
        (ModelError::Misconnected(Box::new(misconnected)), true),
        (cut(), true),
        (gave_up(GaveUp::Attempts(3)), true),
        (gave_up(GaveUp::RetryBudget), true),
        (gave_up(GaveUp::TextShown), false),
        (
            ModelError::GaveUp {
                why: GaveUp::Attempts(3),
                last: Box::new(api(400).into()),
            },
            false,
        ),
        (ModelError::Cancelled, false),
        (
            ModelError::UnknownPrice {
                model: String::new(),
                limits: Vec::new(),
                hint: String::new(),
            },
            false,
        ),
    ] {
        assert_eq!(another_may_answer(&error), expected, "{error:?}");
    }
}
