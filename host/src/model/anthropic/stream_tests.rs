#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::json;
use sse_stream::SseByteStream;

use super::super::super::Measured;
use super::super::fuzz::sent_back;
use super::*;
use crate::events::Usage;

/// The result of reading a stream: the answer, the text shown, the measured usage.
struct Seen {
    result: Result<Option<ModelResponse>, ModelError>,
    shown: String,
    measured: Measured,
}

impl Seen {
    fn answer(self) -> ModelResponse {
        self.result.unwrap().expect("a whole answer")
    }
}

async fn read(pieces: Vec<Bytes>) -> Seen {
    let shown = Mutex::new(String::new());
    let progress = Progress::new(|text| shown.lock().unwrap().push_str(text));
    let mut events = SseByteStream::new(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)));
    let mut assembler = Assembler::new(Some("req_1".to_owned()));
    let result = loop {
        let Some(event) = events.next().await else {
            break Ok(None);
        };
        match assembler.event(&event.expect("well-formed events"), &progress) {
            Ok(Step::Continue) => {}
            Ok(Step::Complete) => break assembler.finish(&progress).map(Some),
            Err(error) => break Err(error),
        }
    };
    let measured = progress.measured();
    drop(progress);
    Seen {
        result,
        shown: shown.into_inner().unwrap(),
        measured,
    }
}

fn wire(events: &[Value]) -> String {
    events
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect()
}

async fn read_events(events: &[Value]) -> Seen {
    read(vec![Bytes::from(wire(events))]).await
}

fn start() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude-x", "content": [],
        "usage": {"input_tokens": 25, "output_tokens": 1, "cache_read_input_tokens": 4}}})
}

fn block(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn input(index: u64, piece: &str) -> Value {
    delta(index, json!({"type": "input_json_delta", "partial_json": piece}))
}

fn stop(reason: &str) -> [Value; 2] {
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 15}}),
        json!({"type": "message_stop"}),
    ]
}

fn call(index: u64) -> Value {
    block(
        index,
        json!({"type": "tool_use", "id": format!("toolu_{index}"), "name": "t", "input": {}}),
    )
}

fn whole_answer() -> Vec<Value> {
    let mut events = vec![
        start(),
        json!({"type": "ping"}),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "let me "})),
        delta(0, json!({"type": "thinking_delta", "thinking": "see"})),
        delta(0, json!({"type": "signature_delta", "signature": "c2ln"})),
        json!({"type": "content_block_stop", "index": 0}),
        block(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "Grüße, 世"})),
        delta(1, json!({"type": "text_delta", "text": "界 🌍"})),
        delta(1, json!({"type": "delta_of_tomorrow", "x": 1})),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "event_of_tomorrow", "x": 1}),
        call(2),
        input(2, ""),
        input(2, "{\"location\": \"Bos"),
        input(2, "ton \\u00fc\"}"),
        json!({"type": "content_block_stop", "index": 2}),
        call(3),
        json!({"type": "content_block_stop", "index": 3}),
    ];
    events.extend(stop("tool_use"));
    events
}

fn check_whole(seen: Seen) {
    assert_eq!(seen.shown, "Grüße, 世界 🌍");
    let usage = Usage {
        input_tokens: 25,
        output_tokens: 15,
        cache_read_input_tokens: 4,
        ..Usage::default()
    };
    assert_eq!(seen.measured, Measured::Complete(usage));
    let answer = seen.answer();
    assert_eq!(answer.model, "claude-x");
    assert_eq!(answer.stop_reason, StopReason::ToolUse);
    assert_eq!(answer.usage, usage);
    assert_eq!(answer.request_id.as_deref(), Some("req_1"));
    assert_eq!(answer.text(), "Grüße, 世界 🌍");
    let inputs: Vec<_> = answer.tool_uses().map(|call| call.input.value().clone()).collect();
    assert_eq!(inputs, [json!({"location": "Boston ü"}), json!({})]);
    assert_eq!(
        sent_back(answer.content)[0],
        json!({"type": "thinking", "thinking": "let me see", "signature": "c2ln"})
    );
}

#[tokio::test]
async fn a_stream_may_be_split_at_every_byte() {
    for text in [wire(&whole_answer()), wire(&whole_answer()).replace('\n', "\r\n")] {
        let bytes = Bytes::from(text);
        for at in 0..=bytes.len() {
            check_whole(read(vec![bytes.slice(..at), bytes.slice(at..)]).await);
        }
        check_whole(read(bytes.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect()).await);
    }
}

#[tokio::test]
async fn only_message_stop_completes_an_answer() {
    let events = whole_answer();
    for length in 0..events.len() {
        let seen = read_events(&events[..length]).await;
        assert!(
            matches!(seen.result, Ok(None)),
            "{length} events must not complete the answer"
        );
        assert!(
            !matches!(seen.measured, Measured::Complete(_)),
            "{length} events must not complete the usage"
        );
    }
}

#[tokio::test]
async fn citations_are_kept_verbatim() {
    let cited = |n: u64| json!({"type": "char_location", "n": n});
    for start_block in [
        json!({"type": "text", "text": ""}),
        json!({"type": "text", "text": "", "citations": null}),
    ] {
        let mut events = vec![start(), block(0, start_block)];
        events.extend([
            delta(0, json!({"type": "text_delta", "text": "so it says"})),
            delta(0, json!({"type": "citations_delta", "citation": cited(1)})),
            delta(0, json!({"type": "citations_delta", "citation": cited(2)})),
        ]);
        events.extend(stop("end_turn"));
        let answer = read_events(&events).await.answer();
        assert_eq!(answer.text(), "so it says");
        assert_eq!(
            sent_back(answer.content),
            [json!({"type": "text", "text": "so it says", "citations": [cited(1), cited(2)]})]
        );
    }
}

#[tokio::test]
async fn an_incomplete_call_is_dropped_if_the_model_was_cut_off() {
    for reason in ["max_tokens", "model_context_window_exceeded", "refusal"] {
        for half in ["{\"a\": ", "1", "nonsense"] {
            let mut events = vec![start(), call(0), input(0, "{}"), call(1), input(1, half)];
            events.extend(stop(reason));
            let answer = read_events(&events).await.answer();
            assert_eq!(answer.stop_reason.as_str(), reason);
            assert_eq!(answer.tool_uses().count(), 1, "{reason} {half}");
        }
    }
}

#[tokio::test]
async fn unusable_answers_are_malformed_and_still_measured() {
    let with = |events: Vec<Value>, reason: &str| [vec![start()], events, stop(reason).to_vec()].concat();
    for (events, reason) in [
        (
            with(vec![call(0), input(0, "{\"a\": ")], "tool_use"),
            "isn't a JSON object",
        ),
        (with(vec![call(0), input(0, "[1]")], "tool_use"), "isn't a JSON object"),
        (
            with(vec![call(0), input(0, "{\"a\": ")], "end_turn"),
            "isn't a JSON object",
        ),
        (
            with(vec![block(0, json!({"type": "text", "text": "x"}))], "tool_use"),
            "no tool call",
        ),
        (
            with(vec![block(0, json!({"type": "tool_use", "id": "a"}))], "tool_use"),
            "incomplete",
        ),
        (with(vec![block(0, json!(7))], "end_turn"), "incomplete"),
    ] {
        let seen = read_events(&events).await;
        let error = seen.result.expect_err("malformed");
        assert_eq!(error.kind(), "malformed_answer");
        assert!(error.to_string().contains(reason), "{error} lacks {reason}");
        assert!(matches!(seen.measured, Measured::Complete(_)));
    }
}

#[tokio::test]
async fn broken_events_are_malformed_at_once() {
    for text in [
        "event: message_start\ndata: {\"type\n\n",
        "data: [DONE\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":5,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"content_block\":{}}\n\n",
    ] {
        let error = read(vec![Bytes::from(text)]).await.result.expect_err(text);
        assert_eq!(
            (error.kind(), error.request_id()),
            ("malformed_answer", Some("req_1")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn unknown_events_are_skipped_unparsed() {
    let noise =
        ": a comment\n\nretry: 5\n\nevent: tomorrow\ndata: {no json\n\ndata: 7\n\ndata: {\"type\": 7}\n\nid: 1\n\n";
    check_whole(read(vec![Bytes::from(noise), Bytes::from(wire(&whole_answer()))]).await);
}

#[tokio::test]
async fn an_error_event_ends_the_stream_with_an_error_of_its_type() {
    let events = [
        start(),
        json!({"type": "error", "request_id": "req_body",
            "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ];
    let seen = read_events(&events).await;
    let error = seen.result.expect_err("an error");
    assert_eq!(error.kind(), "overloaded");
    assert_eq!(error.request_id(), Some("req_1"), "the header's id takes precedence");
    assert_eq!(
        error.to_string(),
        "error inside the answer, overloaded_error: Overloaded"
    );
    assert!(matches!(seen.measured, Measured::Partial(_)));
}

#[tokio::test]
async fn usage_without_final_output_tokens_is_partial() {
    let events = [
        start(),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),
        json!({"type": "message_stop"}),
    ];
    let seen = read_events(&events).await;
    assert!(matches!(seen.measured, Measured::Partial(usage) if usage.input_tokens == 25));
    assert_eq!(seen.answer().stop_reason, StopReason::EndTurn);
}

#[tokio::test]
async fn the_largest_figure_of_each_kind_counts() {
    let events = [
        start(),
        json!({"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": 30, "output_tokens": 9, "cache_read_input_tokens": 0}}),
        json!({"type": "message_stop"}),
    ];
    let answer = read_events(&events).await.answer();
    assert_eq!(
        answer.usage,
        Usage {
            input_tokens: 30,
            output_tokens: 9,
            cache_read_input_tokens: 4,
            ..Usage::default()
        }
    );
}

/// Some gateways end a stream with zero or `null` figures. The API's earlier figures stay known, so the attempt costs those
/// and not its whole reservation.
#[tokio::test]
async fn a_later_zero_or_null_replaces_no_figure() {
    for missing in [json!(0), json!(null), json!("n/a"), json!(-1)] {
        let events = [
            start(),
            json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
                "usage": {"input_tokens": missing, "output_tokens": 9, "cache_read_input_tokens": missing,
                    "cache_creation_input_tokens": missing, "cache_creation": missing}}),
            json!({"type": "message_delta", "delta": {}, "usage": {"input_tokens": missing, "output_tokens": missing}}),
            json!({"type": "message_stop"}),
        ];
        let seen = read_events(&events).await;
        let usage = Usage {
            input_tokens: 25,
            output_tokens: 9,
            cache_read_input_tokens: 4,
            ..Usage::default()
        };
        assert_eq!(seen.measured, Measured::Complete(usage), "{missing}");
    }
}

/// The end of a stream reports only the sum. The split arrived at its beginning.
#[tokio::test]
async fn the_lifetimes_of_cache_writes_survive_their_sum() {
    let begin = |total: u64, split: Value| {
        json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m",
            "content": [], "usage": {"input_tokens": 3, "output_tokens": 1,
                "cache_creation_input_tokens": total, "cache_creation": split}}})
    };
    let end = |total: u64| {
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9, "cache_creation_input_tokens": total}})
    };
    for (last, (five, one)) in [(30, (10, 20)), (40, (20, 20)), (0, (10, 20))] {
        let split = json!({"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20});
        let events = [begin(30, split), end(last), json!({"type": "message_stop"})];
        let usage = read_events(&events).await.answer().usage;
        assert_eq!(
            (
                usage.cache_creation_5m_input_tokens,
                usage.cache_creation_1h_input_tokens
            ),
            (five, one)
        );
    }
}
