#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use super::super::super::{Measured, OutputSeen};
use super::super::fuzz::{sent_back, sent_body};
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
async fn a_refusal_has_its_details() {
    let details = json!({"type": "refusal", "category": null, "explanation": "No."});
    let delta = json!({"stop_reason": "refusal", "stop_details": details});
    let events = [
        start(),
        json!({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 1}}),
        json!({"type": "message_stop"}),
    ];
    let expected = RefusalDetails {
        category: None,
        explanation: Some("No.".to_owned()),
    };
    assert_eq!(read_events(&events).await.answer().refusal, Some(expected));
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
            with(vec![block(0, json!({"type": "text", "text": "x"}))], "tool_use"),
            "no tool call",
        ),
        (
            with(vec![block(0, json!({"type": "tool_use", "id": "a"}))], "tool_use"),
            "incomplete",
        ),
        (with(vec![block(0, json!(7))], "end_turn"), "incomplete"),
        // Without these, the answer or the call would be a different one.
        (
            with(
                vec![call(0), delta(0, json!({"type": "text_delta", "text": "x"}))],
                "tool_use",
            ),
            "text for block 0, which is of type `tool_use`",
        ),
        (
            with(
                vec![block(0, json!({"type": "text", "text": ""})), input(0, "{}")],
                "end_turn",
            ),
            "the input of a tool for block 0, which is of type `text`",
        ),
    ] {
        let seen = read_events(&events).await;
        let error = seen.result.expect_err("malformed");
        assert_eq!(error.kind(), "malformed_answer");
        assert!(error.to_string().contains(reason), "{error} lacks {reason}");
        let is_seen_to_its_end = !reason.contains("for block");
        assert_eq!(matches!(seen.measured, Measured::Complete(_)), is_seen_to_its_end);
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

/// A model's bad input is answered like a violation of the schema. The history holds an object, as the API demands.
#[tokio::test]
async fn an_input_that_is_no_object_is_a_call_with_a_problem() {
    for (sent, problem) in [
        ("{\"a\": \"\t\"}", "control character"),
        ("{\"a\": \"\\d\"}", "invalid escape at line 1 column 9"),
        ("{\"a\": \"\\ud83d\"}", "hex escape"),
        ("{\"a\": ", "EOF while parsing a value at line 1 column 6"),
        ("{} {}", "trailing characters at line 1 column 4"),
        ("[1]", "it is an array"),
        ("{\"a\": 1, \"a\": 2}", "a second field `a`"),
    ] {
        let (half, rest) = sent.split_at(sent.len() / 2);
        let mut events = vec![
            start(),
            call(0),
            input(0, half),
            input(0, rest),
            call(1),
            input(1, "{\"b\": 1}"),
        ];
        events.extend(stop("tool_use"));
        let answer = read_events(&events).await.answer();
        let calls: Vec<_> = answer.tool_uses().collect();
        let found = calls[0].input.problem().unwrap();
        assert!(found.contains(problem), "{sent}: {found}");
        assert_eq!((calls[1].input.problem(), calls[1].input.text()), (None, "{\"b\": 1}"));
        let back = sent_back(answer.content);
        assert_eq!(
            back[0],
            json!({"type": "tool_use", "id": "toolu_0", "name": "t", "input": {}})
        );
    }
}

/// Events as text, because a `Value` would sort their fields and round their numbers.
#[tokio::test]
async fn blocks_go_back_with_the_order_and_digits_of_the_stream() {
    let event = |data: &str| format!("data: {data}\n\n");
    let start = |index: u32, block: &str| {
        event(&format!(
            r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#
        ))
    };
    let delta = |index: u32, delta: &str| {
        event(&format!(
            r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#
        ))
    };
    let text = [
        start(0, r#"{"type":"thinking","thinking":"","signature":""}"#),
        delta(0, r#"{"type":"signature_delta","signature":"first"}"#),
        delta(0, r#"{"type":"signature_delta","signature":"c2ln\/"}"#),
        start(1, r#"{"type":"redacted_thinking","data":"x"}"#),
        start(
            2,
            r#"{"type":"tool_use","id":"a","name":"t","input":{},"toolset_name":"browser","caller":{"type":"direct","b":1,"a":2}}"#,
        ),
        delta(
            2,
            r#"{"type":"input_json_delta","partial_json":"{\"reasoning\": \"\\u00fc\", \"confidence\": 1.0,"}"#,
        ),
        delta(
            2,
            r#"{"type":"input_json_delta","partial_json":"  \"answer\": 12345678901234567890123}"}"#,
        ),
        start(
            3,
            r#"{"type":"server_tool_use","name":"web_search","input":{},"id":"srvtoolu_s"}"#,
        ),
        delta(
            3,
            r#"{"type":"input_json_delta","partial_json":"{\"q\":1.0, \"a\":1}"}"#,
        ),
        start(4, r#"{"type":"compaction","content":null,"tool_changes":[1.0]}"#),
        delta(
            4,
            r#"{"type":"compaction_delta","content":"sum","encrypted_content":"e"}"#,
        ),
        start(5, r#"{"type":"text","text":""}"#),
        delta(5, r#"{"type":"text_delta","text":"smile \ud83d"}"#),
        delta(5, r#"{"type":"text_delta","text":"\ude00"}"#),
        delta(
            5,
            r#"{"type":"citations_delta","citation":{"type":"char_location","z":1.0,"a":1e3}}"#,
        ),
        event(r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#),
        event(r#"{"type":"message_stop"}"#),
    ];
    let answer = read(vec![Bytes::from(text.concat())]).await.answer();
    assert_eq!(answer.text(), "smile 😀");
    let sent = sent_body(answer.content);
    let expected = [
        r#"{"type":"thinking","thinking":"","signature":"c2ln\/"}"#,
        r#"{"type":"redacted_thinking","data":"x"}"#,
        r#"{"type":"tool_use","id":"a","name":"t","input":{"reasoning": "\u00fc", "confidence": 1.0,  "answer": 12345678901234567890123},"toolset_name":"browser","caller":{"type":"direct","b":1,"a":2}}"#,
        r#"{"type":"compaction","content":"sum","tool_changes":[1.0],"encrypted_content":"e"}"#,
        r#"{"type":"text","text":"smile 😀","citations":[{"type":"char_location","z":1.0,"a":1e3}]}"#,
    ];
    assert!(sent.contains(&format!("[{}]", expected.join(","))), "{sent}");
}

/// Some gateways give all blocks index 0, whether or not the one before has ended.
#[tokio::test]
async fn blocks_of_the_same_index_are_all_kept_in_order_of_arrival() {
    for closed in [true, false] {
        let close = closed.then(|| json!({"type": "content_block_stop", "index": 0}));
        let mut events = vec![start(), block(0, json!({"type": "text", "text": ""}))];
        events.push(delta(0, json!({"type": "text_delta", "text": "first"})));
        events.extend(close.clone());
        events.extend([call(0), input(0, "{\"a\": 1}")]);
        events.extend(close.clone());
        events.push(block(0, json!({"type": "text", "text": ""})));
        events.push(delta(0, json!({"type": "text_delta", "text": " second"})));
        events.extend(close);
        events.extend(stop("tool_use"));
        let seen = read_events(&events).await;
        assert_eq!(seen.shown, "first second");
        let answer = seen.answer();
        assert_eq!(answer.text(), "first second");
        let types: Vec<Value> = sent_back(answer.content)
            .iter()
            .map(|block| block["type"].clone())
            .collect();
        assert_eq!(types, ["text", "tool_use", "text"]);
    }
}

/// The API would refuse these fields in a block of another kind.
#[tokio::test]
async fn deltas_of_the_wrong_kind_are_not_mixed_in() {
    let strays = |index| {
        [
            delta(index, json!({"type": "thinking_delta", "thinking": "x"})),
            delta(index, json!({"type": "signature_delta", "signature": "x"})),
            delta(index, json!({"type": "delta_of_tomorrow", "text": "x"})),
        ]
    };
    let mut events = vec![start(), call(0)];
    events.extend(strays(0));
    events.extend([
        input(0, "{}"),
        delta(0, json!({"type": "citations_delta", "citation": {}})),
    ]);
    events.push(block(1, json!({"type": "text", "text": "t"})));
    events.extend(strays(1));
    events.push(block(2, json!({"type": "redacted_thinking", "data": "d"})));
    events.extend(strays(2));
    // Thinking at the end of an answer isn't sent back.
    events.push(block(3, json!({"type": "text", "text": "u"})));
    events.extend(stop("tool_use"));
    assert_eq!(
        sent_back(read_events(&events).await.answer().content),
        [
            json!({"type": "tool_use", "id": "toolu_0", "name": "t", "input": {}}),
            json!({"type": "text", "text": "t"}),
            json!({"type": "redacted_thinking", "data": "d"}),
            json!({"type": "text", "text": "u"}),
        ]
    );
}

#[tokio::test]
async fn the_names_of_events_do_not_matter() {
    for name in ["event: message\n", "", "event: chunk\n"] {
        let events = whole_answer()
            .iter()
            .map(|event| format!("{name}data: {event}\n\n"))
            .collect::<String>();
        check_whole(read(vec![Bytes::from(events + "data: [DONE]\n\n")]).await);
    }
    let done_before_the_end =
        wire(&whole_answer()).replace("event: message_stop", "data: [DONE]\n\nevent: message_stop");
    check_whole(read(vec![Bytes::from(done_before_the_end)]).await);
}

#[tokio::test]
async fn an_error_without_a_type_ends_the_stream() {
    let error = r#"{"error":{"type":"overloaded_error","message":"busy"}}"#;
    let events = format!("{}data: {error}\n\ndata: [DONE]\n\n", wire(&[start()]));
    let error = read(vec![Bytes::from(events)]).await.result.expect_err("an error");
    assert_eq!((error.kind(), error.to_string().contains("busy")), ("overloaded", true));
}

/// They are a part of the output's tokens, not more of them.
#[tokio::test]
async fn thinking_tokens_are_not_counted_twice() {
    let events = [
        start(),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 15, "output_tokens_details": {"thinking_tokens": 12}}}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(read_events(&events).await.answer().usage.output_tokens, 15);
}

/// Neither many fields nor many deltas nor many blocks take more than linear time. A quadratic reading of these would take
/// minutes.
#[tokio::test]
async fn large_answers_are_read_in_linear_time() {
    let fields: String = (0..50_000).map(|n| format!(r#""k{n}":1,"#)).collect();
    let mut text = format!(
        "data: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{{fields}\"type\":\"tomorrow\",\"text\":\"\"}}}}\n\n"
    );
    text += &format!("data: {}\n\n", delta(0, json!({"type": "text_delta", "text": "x"}))).repeat(20_000);
    text += &format!("data: {}\n\n", block(1, json!({"type": "text", "text": "y"}))).repeat(20_000);
    text += &wire(&stop("end_turn"));
    let started = tokio::time::Instant::now();
    let answer = read(vec![Bytes::from(text)]).await.answer();
    assert_eq!(answer.content.len(), 20_001);
    assert!(
        started.elapsed() < std::time::Duration::from_secs(30),
        "{:?}",
        started.elapsed()
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

/// What arrives bounds the tokens of an answer only if nothing of it is hidden.
#[tokio::test]
async fn the_output_seen_is_counted_in_bytes_as_the_model_wrote_them() {
    let call = json!({"type": "tool_use", "id": "t", "name": "n", "input": {}});
    let call_bytes = call.to_string().len() as u64;
    let visible = [
        start(),
        block(0, json!({"type": "text", "text": "ab"})),
        delta(0, json!({"type": "text_delta", "text": "cde"})),
        block(1, call),
        delta(1, json!({"type": "input_json_delta", "partial_json": "{}"})),
    ];
    let hidden = [block(2, json!({"type": "thinking", "thinking": ""}))];
    for (events, expected) in [
        (&visible[..], OutputSeen::Bytes(2 + 3 + call_bytes + 2)),
        (&[&visible[..], &hidden].concat()[..], OutputSeen::PartlyHidden),
        // It stays hidden.
        (&[&hidden[..], &visible].concat()[..], OutputSeen::PartlyHidden),
    ] {
        let progress = Progress::new(|_| ());
        let pieces = stream::iter([Ok::<_, Infallible>(Bytes::from(wire(events)))]);
        let mut read = SseByteStream::new(pieces);
        let mut assembler = Assembler::new(None);
        while let Some(event) = read.next().await {
            assembler.event(&event.unwrap(), &progress).unwrap();
        }
        assert_eq!(progress.output_seen(), expected);
    }
}
