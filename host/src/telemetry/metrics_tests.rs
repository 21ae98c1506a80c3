#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::json;

use super::*;
use crate::events::{Ending, ErrorInfo, Usage};

fn metrics_of(kinds: Vec<EventKind>) -> SessionMetrics {
    let mut metrics = SessionMetrics::default();
    for kind in kinds {
        let at = jiff::Timestamp::UNIX_EPOCH;
        metrics.apply(&Event {
            at,
            session_id: "s".into(),
            tenant: "default".into(),
            turn: 1,
            kind,
        });
    }
    metrics
}

fn cancelled_attempt() -> EventKind {
    EventKind::ModelAttempt {
        attempt: 1,
        model: "m".to_owned(),
        duration_ms: 100,
        time_to_first_token_ms: None,
        request_id: None,
        error: Some(ErrorInfo {
            kind: ErrorInfo::CANCELLED.to_owned(),
            ..error()
        }),
    }
}

fn attempt(failed: bool, time_to_first_token_ms: Option<u64>, request_id: &str) -> EventKind {
    EventKind::ModelAttempt {
        attempt: 1,
        model: "m".to_owned(),
        duration_ms: 100,
        time_to_first_token_ms,
        request_id: Some(request_id.to_owned()),
        error: failed.then(error),
    }
}

fn error() -> ErrorInfo {
    ErrorInfo {
        kind: "overloaded".to_owned(),
        message: "the API is overloaded".to_owned(),
        hint: None,
        request_id: None,
    }
}

fn tool(outcome: Outcome, degraded: bool, duration_ms: f64, peak_memory_bytes: u64) -> EventKind {
    EventKind::ToolCallFinished(Box::new(ToolCallFinished {
        call_id: "c".to_owned(),
        tool: "calculate".to_owned(),
        plugin: "calculator".to_owned(),
        outcome,
        degraded,
        tries: 1,
        duration_ms,
        fuel: 1_000,
        peak_memory_bytes,
        host_calls: 0,
        http_requests: 0,
        bytes_sent: 0,
        bytes_received: 0,
        log_bytes_dropped: 0,
        detail: None,
        output: String::new(),
        replaced_output: None,
        log: String::new(),
    }))
}

#[test]
fn metrics_serialise_the_documented_fields_in_order() {
    let usage = Usage {
        input_tokens: 700,
        output_tokens: 52,
        cache_creation_5m_input_tokens: 3,
        cache_creation_1h_input_tokens: 4,
        cache_read_input_tokens: 5,
    };
    let metrics = metrics_of(vec![
        EventKind::TurnStarted {},
        attempt(true, Some(5), "r1"),
        EventKind::ModelRetry {
            attempt: 1,
            max_attempts: 3,
            delay_ms: 10,
            error: error(),
        },
        attempt(false, Some(210), "r2"),
        EventKind::BudgetSettled {
            reservation: "b".to_owned(),
            amount_usd: NanoUsd::from_nanos(2_880_000),
            estimated: true,
            in_full: true,
            usage: None,
            cache_savings_usd: Some(NanoUsd::ZERO.minus(NanoUsd::from_nanos(1_001))),
        },
        EventKind::ModelResponse {
            model: "m".to_owned(),
            stop_reason: "end_turn".to_owned(),
            usage,
            duration_ms: 100,
            request_id: None,
            text: String::new(),
        },
        tool(Outcome::Ok, false, 0.400_04, 1_114_112),
        attempt(false, Some(99), "r3"),
        EventKind::SessionFinished {
            outcome: Ending::Completed,
            duration_ms: 1_830,
            error: None,
            answer: String::new(),
        },
    ]);
    let expected = concat!(
        r#"{"input_tokens":700,"output_tokens":52,"cache_creation_input_tokens":7,"cache_read_input_tokens":5,"#,
        r#""tool_calls":1,"model_attempts":3,"model_errors":1,"model_cancelled":0,"tool_errors":0,"retries":1,"fallbacks":0,"answers":{"m":1},"history_trims":0,"#,
        r#""estimated_cost_usd":"0.002880","cache_savings_usd":"-0.000002","charged_in_full":1,"charged_by_estimate":0,"duration_ms":1830,"model_duration_ms":300,"time_to_first_token_ms":210,"#,
        r#""request_ids":["r1","r2","r3"],"tools":{"calculate":{"calls":1,"successes":1,"failures":0,"degraded":0,"#,
        r#""success_rate":1.0,"avg_duration_ms":0.4,"fuel":1000,"peak_memory_bytes":1114112,"outcomes":{"ok":1}}}}"#,
    );
    assert_eq!(serde_json::to_string(&metrics).unwrap(), expected);
    assert_eq!(metrics.iterations, 1);
    assert!(!metrics.degraded);
}

#[test]
fn a_degraded_call_counts_as_a_failure_and_an_error() {
    let metrics = metrics_of(vec![
        tool(Outcome::Ok, false, 1.0, 10),
        tool(Outcome::Timeout, true, 2.0, 30),
        tool(Outcome::Cancelled, false, 6.0, 20),
    ]);
    let denied = metrics_of(vec![tool(Outcome::Denied, false, 0.0, 0)]);
    assert_eq!((denied.tool_calls, denied.tool_errors), (1, 0));
    assert_eq!((metrics.tool_calls, metrics.tool_errors), (3, 1));
    assert!(metrics.degraded);
    let tool = &metrics.tools["calculate"];
    assert_eq!((tool.calls, tool.successes, tool.failures, tool.degraded), (3, 1, 2, 1));
    assert_eq!(
        (tool.avg_duration_ms, tool.fuel, tool.peak_memory_bytes),
        (3.0, 3_000, 30)
    );
    assert_eq!(
        serde_json::to_value(&tool.outcomes).unwrap(),
        json!({ "ok": 1, "timeout": 1, "cancelled": 1 })
    );
}

#[test]
fn a_cancelled_attempt_is_no_error_and_its_estimated_charge_is_counted() {
    let metrics = metrics_of(vec![
        attempt(true, None, "r1"),
        cancelled_attempt(),
        EventKind::BudgetSettled {
            reservation: "b".to_owned(),
            amount_usd: NanoUsd::from_nanos(2_880_000),
            estimated: true,
            in_full: false,
            usage: Some(Usage {
                input_tokens: 700,
                output_tokens: 256,
                ..Usage::default()
            }),
            cache_savings_usd: None,
        },
    ]);
    assert_eq!((metrics.input_tokens, metrics.output_tokens), (700, 256));
    let attempts = (metrics.model_attempts, metrics.model_errors, metrics.model_cancelled);
    assert_eq!(attempts, (2, 1, 1));
    assert_eq!((metrics.charged_in_full, metrics.charged_by_estimate), (0, 1));
}

#[test]
fn time_to_first_token_is_null_without_streaming() {
    assert_eq!(
        serde_json::to_value(metrics_of(vec![attempt(false, None, "r")])).unwrap()["time_to_first_token_ms"],
        json!(null)
    );
}
