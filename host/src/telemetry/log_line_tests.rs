#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::events::{BreakerState, Ending, TrimReason, Usage};
use crate::money::NanoUsd;

const CONTENT: &str = "text of a user, model or tool";

/// One event of each kind, with every content field set.
fn one_of_each() -> Vec<EventKind> {
    let content = || CONTENT.to_owned();
    let error = || ErrorInfo {
        kind: "overloaded".to_owned(),
        message: "the API is overloaded".to_owned(),
        hint: None,
        request_id: Some("req_1".to_owned()),
    };
    let cancelled = || ErrorInfo {
        kind: ErrorInfo::CANCELLED.to_owned(),
        ..error()
    };
    let finished = |outcome| {
        EventKind::ToolCallFinished(Box::new(ToolCallFinished {
            call_id: "c".to_owned(),
            tool: "calculate".to_owned(),
            plugin: "calculator".to_owned(),
            outcome,
            degraded: false,
            tries: 1,
            duration_ms: 0.4,
            fuel: 81_234,
            peak_memory_bytes: 1_114_112,
            host_calls: 3,
            http_requests: 0,
            bytes_sent: 0,
            bytes_received: 0,
            log_bytes_dropped: 0,
            detail: None,
            output: content(),
            replaced_output: Some(content()),
            log: content(),
        }))
    };
    let attempt = |error: Option<ErrorInfo>| EventKind::ModelAttempt {
        attempt: 1,
        model: "m".to_owned(),
        duration_ms: 9,
        time_to_first_token_ms: Some(4),
        request_id: Some("req_1".to_owned()),
        error,
    };
    let finish = |error| EventKind::SessionFinished {
        outcome: Ending::Completed,
        duration_ms: 9,
        error,
        answer: content(),
    };
    vec![
        EventKind::SessionStarted {
            agent: "agent".to_owned(),
            model: "m".to_owned(),
            tools: vec!["calculate".to_owned()],
            prompt: content(),
            structured: false,
        },
        EventKind::TurnStarted {},
        EventKind::ModelWaiting {
            retry_after_ms: Some(1_000),
            error: error(),
        },
        EventKind::ModelFallback {
            from: "m".to_owned(),
            to: "n".to_owned(),
            error: error(),
        },
        EventKind::HistoryTrimmed {
            reason: TrimReason::TooLong,
            results: 2,
            bytes: 5_000,
            images: 0,
            files: Vec::new(),
        },
        attempt(None),
        attempt(Some(error())),
        attempt(Some(cancelled())),
        EventKind::ModelRetry {
            attempt: 1,
            max_attempts: 3,
            delay_ms: 5,
            error: error(),
        },
        EventKind::ModelResponse {
            model: "m".to_owned(),
            stop_reason: "end_turn".to_owned(),
            usage: Usage::default(),
            duration_ms: 9,
            request_id: Some("req_1".to_owned()),
            text: content(),
        },
        EventKind::TextDelta { text: content() },
        EventKind::ToolCallStarted {
            call_id: "c".to_owned(),
            tool: "calculate".to_owned(),
            plugin: "calculator".to_owned(),
            input: json!({ "expression": CONTENT }).into(),
        },
        finished(Outcome::Ok),
        finished(Outcome::Timeout),
        EventKind::BreakerChanged {
            name: "tool:calculate".to_owned(),
            from: BreakerState::Closed,
            to: BreakerState::Open,
            retry_after_ms: Some(60_000),
            last_failure: Some("unavailable".into()),
        },
        EventKind::BudgetReserved {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(1),
        },
        EventKind::BudgetSettled {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(1),
            estimated: false,
            in_full: false,
            usage: None,
            cache_savings_usd: None,
        },
        EventKind::BudgetSettled {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(1),
            estimated: true,
            in_full: true,
            usage: None,
            cache_savings_usd: None,
        },
        EventKind::BudgetReleased {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(1),
        },
        EventKind::BudgetAlert {
            scope: "session".to_owned(),
            percent: 50,
            spent_usd: NanoUsd::ZERO,
            limit_usd: NanoUsd::ZERO,
        },
        EventKind::Alert {
            rule: "budget".to_owned(),
            message: "half is gone".to_owned(),
        },
        finish(None),
        finish(Some(error())),
        finish(Some(cancelled())),
    ]
}

fn logged(contents: bool) -> Vec<Value> {
    super::super::logging::tests::json_lines(|| {
        for kind in one_of_each() {
            let at = jiff::Timestamp::UNIX_EPOCH;
            write(
                &Event {
                    at,
                    session_id: "s1".into(),
                    tenant: "default".into(),
                    turn: 2,
                    kind,
                },
                contents,
            );
        }
    })
}

#[test]
fn every_event_is_one_line_with_the_right_level_and_fields() {
    let lines = logged(false);
    let names: Vec<_> = one_of_each().iter().map(EventKind::name).collect();
    assert_eq!(
        lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect::<Vec<_>>(),
        names
    );
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(
        levels.join(" "),
        "INFO DEBUG INFO WARN WARN DEBUG WARN DEBUG DEBUG DEBUG TRACE DEBUG INFO WARN DEBUG DEBUG DEBUG WARN DEBUG DEBUG WARN INFO \
         WARN INFO"
    );
    for line in &lines {
        assert_eq!(
            (&line["session"], &line["tenant"], &line["turn"]),
            (&json!("s1"), &json!("default"), &json!(2))
        );
    }
    let tool = &lines[12];
    assert_eq!((&tool["tool"], &tool["outcome"]), (&json!("calculate"), &json!("ok")));
    assert_eq!(
        (&tool["duration_ms"], &tool["fuel"], &tool["degraded"]),
        (&json!(0.4), &json!(81_234), &json!(false))
    );
    assert_eq!(lines[5]["request_id"], "req_1");
    assert_eq!(lines[6]["error"], "the API is overloaded");
    assert!(
        lines[17]["hint"].as_str().unwrap().contains("budget reverse r "),
        "{}",
        lines[17]
    );
    assert_eq!(lines[20]["alert"], "half is gone");
}

#[test]
fn contents_are_logged_only_if_enabled() {
    for line in logged(false) {
        assert!(!line.to_string().contains(CONTENT), "{line}");
        for field in EventKind::CONTENT_FIELDS {
            assert!(line.get(field).is_none(), "{line}");
        }
    }
    let with_contents = logged(true)
        .iter()
        .filter(|line| line.to_string().contains(CONTENT))
        .count();
    assert_eq!(with_contents, 9);
}
