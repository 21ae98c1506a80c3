#![allow(clippy::unwrap_used, clippy::panic)]
//! The shapes that servers really send. The names of the rows say which.

use std::convert::Infallible;
use std::sync::Mutex;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use sse_stream::SseByteStream;

use super::*;
use crate::events::Usage;
use crate::model::{ApiErrorKind, Measured};

/// What became of a stream.
struct Read {
    result: Result<ModelResponse, ModelError>,
    shown: String,
    measured: Measured,
}

async fn read(wire: &str) -> Read {
    let shown = Mutex::new(String::new());
    let progress = Progress::new(|text| shown.lock().unwrap().push_str(text));
    progress.begin();
    let mut events = SseByteStream::new(stream::iter([Ok::<_, Infallible>(Bytes::from(wire.to_owned()))]));
    let mut answer = Assembler::new(Some("req_1".to_owned()));
    let mut failed = None;
    while let Some(event) = events.next().await {
        match answer.event(&event.unwrap(), &progress) {
            Ok(Step::Continue) => {}
            Ok(Step::Complete) => break,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let result = match (failed, answer.missing()) {
        (Some(error), _) => Err(error),
        (None, Some(missing)) => Err(ModelError::Cut {
            reason: missing.to_owned(),
            request_id: None,
        }),
        (None, None) => answer.finish(&progress),
    };
    let measured = progress.measured();
    drop(progress);
    Read {
        result,
        shown: shown.into_inner().unwrap(),
        measured,
    }
}

fn events(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect()
}

/// A chunk with this delta.
fn delta(delta: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

fn calls(calls: Value) -> Value {
    delta(json!({ "tool_calls": calls }))
}

fn finish(reason: &str) -> Value {
    json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

const DONE_EVENT: &str = "data: [DONE]\n\n";

/// The calls of an answer: id, name and input of each.
fn made(response: &ModelResponse) -> Vec<(String, String, String)> {
    let parts = |call: &ToolUse| (call.id.clone(), call.name.clone(), call.input.text().to_owned());
    response.tool_uses().map(parts).collect()
}

fn expected(calls: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let owned = |(id, name, input): &(&str, &str, &str)| ((*id).to_owned(), (*name).to_owned(), (*input).to_owned());
    calls.iter().map(owned).collect()
}

#[tokio::test]
async fn calls_are_distinguished_however_they_are_marked() {
    for (name, chunks, calls) in [
        (
            "OpenAI: pieces by index",
            vec![
                calls(json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "t", "arguments": ""}}])),
                calls(json!([{"index": 0, "function": {"arguments": "{\"x\":"}}])),
                calls(json!([{"index": 1, "id": "b", "type": "function", "function": {"name": "u", "arguments": ""}}])),
                calls(json!([{"index": 0, "function": {"arguments": " 1.0}"}}])),
                calls(json!([{"index": 1, "function": {"arguments": "{}"}}])),
            ],
            &[("a", "t", r#"{"x": 1.0}"#), ("b", "u", "{}")][..],
        ),
        (
            "before there were lists",
            vec![
                delta(json!({"function_call": {"name": "t", "arguments": ""}})),
                delta(json!({"function_call": {"arguments": "{\"x\":"}})),
                delta(json!({"function_call": {"arguments": "1}"}})),
            ],
            &[("", "t", r#"{"x":1}"#)],
        ),
        (
            "Ollama: whole calls, no index",
            vec![
                calls(
                    json!([{"id": "call_1", "type": "function", "function": {"name": "t", "arguments": "{\"x\":1}"}}]),
                ),
                calls(
                    json!([{"id": "call_2", "type": "function", "function": {"name": "t", "arguments": "{\"x\":2}"}}]),
                ),
            ],
            &[("call_1", "t", r#"{"x":1}"#), ("call_2", "t", r#"{"x":2}"#)],
        ),
        (
            "LiteLLM: every call has the index 0",
            vec![
                calls(json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": "{\"x\":1}"}}])),
                calls(json!([{"index": 0, "id": "b", "function": {"name": "t", "arguments": "{\"x\":"}}])),
                calls(json!([{"index": 0, "function": {"arguments": "2}"}}])),
            ],
            &[("a", "t", r#"{"x":1}"#), ("b", "t", r#"{"x":2}"#)],
        ),
        (
            "LiteLLM: arguments that aren't in a string",
            vec![calls(
                json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": {"x": 1}}}]),
            )],
            &[("a", "t", r#"{"x":1}"#)],
        ),
        (
            "neither index nor id: a name begins a call",
            vec![
                calls(json!([{"function": {"name": "t", "arguments": "{\"x\":"}}])),
                calls(json!([{"function": {"arguments": "1}"}}])),
                calls(json!([{"function": {"name": "t", "arguments": null}}])),
            ],
            &[("", "t", r#"{"x":1}"#), ("", "t", "{}")],
        ),
        (
            "several calls in one chunk, without index",
            vec![calls(json!([
                {"id": "a", "function": {"name": "t", "arguments": "{}"}},
                {"id": "b", "function": {"name": "u", "arguments": ""}}
            ]))],
            &[("a", "t", "{}"), ("b", "u", "{}")],
        ),
        (
            "id without index, again with every piece",
            vec![
                calls(json!([{"id": "a", "function": {"name": "t", "arguments": "{\"x\""}}])),
                calls(json!([{"id": "a", "function": {"name": "t", "arguments": ":1}"}}])),
            ],
            &[("a", "t", r#"{"x":1}"#)],
        ),
        (
            "the name again with every piece, an index and no id",
            vec![
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": "{\"x\""}}])),
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": ":1}"}}])),
                calls(json!([{"index": 0, "function": {"name": "u", "arguments": "{}"}}])),
            ],
            &[("", "t", r#"{"x":1}"#), ("", "u", "{}")],
        ),
        (
            "Gemini: whole calls of one tool, all with the index 0 and without ids",
            vec![
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": "{\"x\":1}"}}])),
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": {"x": 2}}}])),
            ],
            &[("", "t", r#"{"x":1}"#), ("", "t", r#"{"x":2}"#)],
        ),
        (
            "the name in every chunk",
            vec![
                calls(json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": "{\"x\":"}}])),
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": "1}"}}])),
                calls(json!([{"index": 0, "function": {"name": "t", "arguments": ""}}])),
            ],
            &[("a", "t", r#"{"x":1}"#)],
        ),
        (
            "an empty object, then the pieces",
            vec![
                calls(json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": {}}}])),
                calls(json!([{"index": 0, "function": {"arguments": "{\"x\":1}"}}])),
            ],
            &[("a", "t", r#"{"x":1}"#)],
        ),
        (
            "a number as id, index from 1",
            vec![calls(
                json!([{"index": 1, "id": 7, "function": {"name": "t", "arguments": "{}"}}]),
            )],
            &[("7", "t", "{}")],
        ),
    ] {
        for reason in ["tool_calls", "stop", "end_turn"] {
            let response = read(&(events(&chunks) + &events(&[finish(reason)]) + DONE_EVENT))
                .await
                .result;
            let response = response.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(made(&response), expected(calls), "{name}");
            assert_eq!(
                response.stop_reason,
                StopReason::ToolUse,
                "{name} {reason}: what arrived decides"
            );
        }
    }
}

#[tokio::test]
async fn the_end_of_a_stream_has_many_forms() {
    let hello = || delta(json!({"content": "Hello"}));
    let with_reason = |delta: Value| json!({"choices": [{"delta": delta, "finish_reason": "stop"}]});
    for (name, wire, is_whole) in [
        ("as documented", events(&[hello(), finish("stop")]) + DONE_EVENT, true),
        ("no [DONE]", events(&[hello(), finish("stop")]), true),
        (
            "vLLM: the reason with the last text",
            events(&[with_reason(json!({"content": "Hello"}))]) + DONE_EVENT,
            true,
        ),
        (
            "Gemini proxies: no reason at all",
            events(&[hello()]) + DONE_EVENT,
            true,
        ),
        (
            "old Ollama: an empty reason",
            events(&[hello(), finish("")]) + DONE_EVENT,
            true,
        ),
        (
            "LiteLLM: no field finish_reason",
            events(&[json!({"choices": [{"delta": {"content": "Hello"}}]}), finish("stop")]),
            true,
        ),
        (
            "comments, and chunks without choices",
            format!(
                ": OPENROUTER PROCESSING\n\n{}{}",
                events(&[
                    json!({"choices": []}),
                    hello(),
                    json!({"choices": null}),
                    finish("stop")
                ]),
                DONE_EVENT
            ),
            true,
        ),
        (
            "a whole message as an event",
            events(&[json!({"choices": [{"message": {"content": "Hello"}}]})]) + DONE_EVENT,
            true,
        ),
        ("neither", events(&[hello()]), false),
        (
            "no reason, and a call without its arguments",
            events(&[
                hello(),
                calls(json!([{"index": 0, "id": "a", "function": {"name": "t"}}])),
            ]) + DONE_EVENT,
            false,
        ),
        (
            "no reason, and a call whose arguments are cut off",
            events(&[
                hello(),
                calls(json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": "{\"x\":"}}])),
            ]) + DONE_EVENT,
            false,
        ),
        ("nothing but [DONE]", DONE_EVENT.to_owned(), false),
        ("nothing", String::new(), false),
    ] {
        let Read { result, shown, .. } = read(&wire).await;
        match result {
            Ok(response) => {
                assert!(is_whole, "{name}");
                assert_eq!((response.text().as_str(), shown.as_str()), ("Hello", "Hello"), "{name}");
                assert_eq!(response.stop_reason, StopReason::EndTurn, "{name}");
            }
            Err(error) => assert!(!is_whole && error.kind() == "stream_cut", "{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn every_finish_reason_has_its_stop_reason() {
    for (reason, expected) in [
        ("stop", StopReason::EndTurn),
        ("STOP", StopReason::EndTurn),
        ("end_turn", StopReason::EndTurn),
        ("eos", StopReason::EndTurn),
        ("stop_sequence", StopReason::StopSequence),
        ("length", StopReason::MaxTokens),
        ("max_tokens", StopReason::MaxTokens),
        ("content_filter", StopReason::Refusal),
        // The calls were lost on the way. An empty answer is asked for again.
        ("tool_calls", StopReason::EndTurn),
        ("function_call", StopReason::EndTurn),
        ("bored", StopReason::Unknown("bored".to_owned())),
    ] {
        let wire = events(&[delta(json!({"content": "x"})), finish(reason)]);
        assert_eq!(read(&wire).await.result.unwrap().stop_reason, expected, "{reason}");
    }
    for reason in ["error", "abort"] {
        let wire = events(&[delta(json!({"content": "x"})), finish(reason)]);
        let error = read(&wire).await.result.unwrap_err();
        assert_eq!(error.kind(), "server_error", "{reason}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_has_its_explanation() {
    let wire = events(&[
        delta(json!({"refusal": "I "})),
        delta(json!({"refusal": "won't"})),
        finish("stop"),
    ]);
    let response = read(&wire).await.result.unwrap();
    assert_eq!(response.stop_reason, StopReason::Refusal);
    assert_eq!(response.refusal.unwrap().explanation.as_deref(), Some("I won't"));
    let response = read(&events(&[delta(json!({"content": "x"})), finish("content_filter")]))
        .await
        .result
        .unwrap();
    assert_eq!(response.refusal.unwrap().category.as_deref(), Some("content_filter"));
}

#[tokio::test]
async fn usage_is_taken_from_wherever_it_comes() {
    let figures = json!({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}});
    let hello = || delta(json!({"content": "Hello"}));
    let mut on_finish = finish("stop");
    on_finish["usage"] = figures.clone();
    let mut with_timings = on_finish.clone();
    with_timings["timings"] = json!({"predicted_ms": 1.5});
    let repeated = json!({"choices": [{"delta": {"content": ""}, "finish_reason": "stop"}], "usage": figures});
    let in_choice = json!({"choices": [{"delta": {}, "finish_reason": "stop", "usage": figures}]});
    let null = json!({"choices": [], "usage": null});
    for (name, chunks) in [
        (
            "OpenAI: a last chunk without choices",
            vec![hello(), finish("stop"), json!({"choices": [], "usage": figures})],
        ),
        (
            "OpenRouter: with the reason once more",
            vec![hello(), finish("stop"), repeated],
        ),
        ("on the chunk with the reason", vec![hello(), on_finish.clone()]),
        ("llama.cpp: with timings", vec![hello(), with_timings]),
        ("Moonshot: within the choice", vec![hello(), in_choice]),
        ("null afterwards", vec![hello(), on_finish, null]),
    ] {
        let Read { result, measured, .. } = read(&(events(&chunks) + DONE_EVENT)).await;
        let usage = result.unwrap().usage;
        assert_eq!(
            (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens),
            (6, 4, 5),
            "{name}"
        );
        assert_eq!(measured, Measured::Complete(usage), "{name}");
    }
    let missing = read(&(events(&[hello(), finish("stop")]) + DONE_EVENT)).await;
    assert_eq!(missing.measured, Measured::NoUsage);

    // Without a reason for the end: all of it, unless more follows, or the stream ends without its end.
    let alone = || json!({"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}});
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 5,
        ..Usage::default()
    };
    let last = read(&(events(&[hello(), alone()]) + DONE_EVENT)).await;
    assert_eq!(last.measured, Measured::Complete(usage));
    let before_the_reason = read(&(events(&[hello(), alone(), finish("stop")]) + DONE_EVENT)).await;
    assert_eq!(before_the_reason.measured, Measured::Complete(usage));
    for early in [
        events(&[hello(), alone(), hello()]) + DONE_EVENT,
        events(&[
            hello(),
            alone(),
            json!({"choices": [{"delta": {"content": "more"}, "finish_reason": "stop"}]}),
        ]) + DONE_EVENT,
        events(&[alone(), hello()]) + DONE_EVENT,
        events(&[hello(), alone()]),
    ] {
        assert_eq!(read(&early).await.measured, Measured::Partial(usage), "{early}");
    }
}

#[tokio::test]
async fn reasoning_is_kept_and_not_shown() {
    for field in ["reasoning_content", "reasoning", "thinking"] {
        let wire = events(&[
            delta(json!({field: "h"})),
            delta(json!({field: "m", "content": "yes"})),
            finish("stop"),
        ]);
        let Read { result, shown, .. } = read(&wire).await;
        let content = result.unwrap().content;
        assert_eq!(shown, "yes", "{field}");
        assert_eq!(
            content[0],
            Block::Opaque(Opaque::new(PROVIDER, json!({field: "hm"}).to_string())),
            "{field}"
        );
        assert_eq!(content[1..], [Block::text("yes")], "{field}");
    }
    // vLLM has put whole answers there. Such an answer is empty, and the loop asks again.
    let wire = events(&[delta(json!({"reasoning": "it is 4"})), finish("stop")]);
    assert_eq!(read(&wire).await.result.unwrap().text(), "");
}

#[tokio::test]
async fn an_error_in_a_stream_fails_the_answer() {
    use ApiErrorKind as Kind;
    for (name, event, kind) in [
        (
            "OpenAI",
            json!({"error": {"message": "boom", "type": "server_error", "param": null, "code": null}}),
            Kind::ServerError,
        ),
        (
            "OpenRouter: beside the choices, with a number",
            json!({"id": "g", "choices": [{"delta": {"content": ""}, "finish_reason": "error"}], "error": {"code": 502, "message": "boom"}}),
            Kind::ServerError,
        ),
        (
            "OpenRouter: too many requests",
            json!({"error": {"code": 429, "message": "boom"}}),
            Kind::RateLimited,
        ),
        (
            "a choice's own",
            json!({"choices": [{"error": {"code": 429, "message": "boom"}}]}),
            Kind::RateLimited,
        ),
        (
            "vLLM, older: flat",
            json!({"object": "error", "message": "boom", "type": "BadRequestError", "code": 400}),
            Kind::InvalidRequest,
        ),
        (
            "vLLM: nested",
            json!({"error": {"message": "boom", "type": "BadRequestError", "param": null, "code": 400}}),
            Kind::InvalidRequest,
        ),
        ("Ollama: a sentence", json!({"error": "boom"}), Kind::Unknown),
        (
            "llama.cpp",
            json!({"error": {"code": 503, "message": "boom", "type": "unavailable_error"}}),
            Kind::ServerError,
        ),
    ] {
        let wire = events(&[delta(json!({"content": "Half"})), event]);
        let error = read(&wire).await.result.unwrap_err();
        let ModelError::Api(error) = error else {
            panic!("{name}: {error}")
        };
        assert_eq!(
            (error.kind, error.status, error.message.as_str()),
            (kind, None, "boom"),
            "{name}"
        );
        assert_eq!(error.request_id.as_deref(), Some("req_1"));
    }
    let overflow = events(&[json!({"error": {"message": "too long", "code": "context_length_exceeded"}})]);
    assert!(matches!(
        read(&overflow).await.result,
        Err(ModelError::ContextOverflow(_))
    ));
    for named in [
        "event: error\ndata: {\"message\":\"boom\"}\n\n",
        "event: error\ndata: boom\n\n",
    ] {
        let error = read(named).await.result.unwrap_err();
        assert!(error.to_string().contains("boom"), "{error}");
    }
}

#[tokio::test]
async fn what_no_loop_can_go_on_from_is_refused() {
    let nameless = events(&[
        calls(json!([{"index": 0, "id": "a", "function": {"arguments": "{}"}}])),
        finish("tool_calls"),
    ]);
    assert_eq!(read(&nameless).await.result.unwrap_err().kind(), "malformed_answer");
    let broken = events(&[delta(json!({"content": "x"}))]) + "data: {\"choices\": [\n\n";
    assert_eq!(read(&broken).await.result.unwrap_err().kind(), "malformed_answer");
    // A call that was cut off is never made, and one with broken arguments is answered.
    let half = calls(json!([{"index": 0, "id": "a", "function": {"name": "t", "arguments": "{\"x\": "}}]));
    let cut = read(&events(&[half.clone(), finish("length")])).await.result.unwrap();
    assert_eq!((cut.tool_uses().count(), cut.stop_reason), (0, StopReason::MaxTokens));
    let asked = read(&events(&[half, finish("tool_calls")])).await.result.unwrap();
    assert!(asked.tool_uses().next().unwrap().input.problem().is_some());
}

#[tokio::test]
async fn a_character_split_over_two_chunks_is_whole() {
    let half = |half: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{half}\"}}}}]}}\n\n");
    let wire = half(r"\ud83d") + &half(r"\udc4d") + &events(&[finish("stop")]);
    assert_eq!(read(&wire).await.result.unwrap().text(), "👍");
}

fn whole(body: &str) -> (Result<ModelResponse, ModelError>, Measured) {
    let progress = Progress::new(|_| ());
    progress.begin();
    let result = Assembler::whole(body.as_bytes(), Some("req_1".to_owned()), &progress);
    (result, progress.measured())
}

#[tokio::test]
async fn an_answer_that_was_not_streamed_is_read() {
    let answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-x-2026",
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null, "message": {
            "role": "assistant", "content": "Let me see.", "refusal": null, "reasoning_content": "hm",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "t", "arguments": "{\"x\": 1.0}"}},
                {"id": "b", "type": "function", "function": {"name": "u", "arguments": {"y": [1]}}, "extra_content": {"s": 1}},
            ]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        "system_fingerprint": "f",
    });
    let (response, measured) = whole(&answer.to_string());
    let response = response.unwrap();
    assert_eq!(
        (response.model.as_str(), response.text().as_str()),
        ("gpt-x-2026", "Let me see.")
    );
    assert_eq!(
        made(&response),
        expected(&[("a", "t", r#"{"x": 1.0}"#), ("b", "u", r#"{"y":[1]}"#)])
    );
    assert_eq!(response.stop_reason, StopReason::ToolUse);
    assert_eq!(response.content.len(), 4);
    let extra = response.tool_uses().nth(1).unwrap().extra.as_ref().unwrap();
    assert_eq!(&*extra.json, r#"{"extra_content":{"s":1}}"#);
    assert_eq!(measured, Measured::Complete(response.usage));
    assert_eq!(response.request_id.as_deref(), Some("req_1"));
    // Mistral's parts, and no reason.
    let parts = r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    assert_eq!(whole(parts).0.unwrap().text(), "ab");
}

#[tokio::test]
async fn an_error_with_status_200_is_one() {
    for (body, kind) in [
        (r#"{"error":{"code":503,"message":"busy"}}"#, "server_error"),
        (r#"{"object":"error","message":"busy","code":429}"#, "rate_limited"),
        (r#"{"error":"busy"}"#, "api_error"),
        ("{}", "malformed_answer"),
        (r#"{"choices":[]}"#, "malformed_answer"),
        ("<html>", "malformed_answer"),
    ] {
        assert_eq!(whole(body).0.unwrap_err().kind(), kind, "{body}");
    }
}

mod any_server {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::model::openai::history::OpenAiRules;
    use crate::model::openai::request;
    use crate::model::{ModelRequest, ToolDefinitions};
    use crate::transcript::{Message, Role, repair};

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(json!("")),
            Just(json!([])),
            Just(json!({})),
            (0_u8..3).prop_map(Value::from),
            "[ab\\\\\"{}]{0,3}".prop_map(Value::from),
        ]
    }

    fn any_call() -> impl Strategy<Value = Value> {
        (any_value(), any_value(), any_value(), any_value()).prop_map(|(index, id, name, arguments)| {
            json!({ "index": index, "id": id, "function": { "name": name, "arguments": arguments }, "extra": id })
        })
    }

    fn any_chunk() -> impl Strategy<Value = Value> {
        let calls = proptest::collection::vec(any_call(), 0..3);
        let reason = prop_oneof![
            any_value(),
            Just(json!("stop")),
            Just(json!("length")),
            Just(json!("tool_calls"))
        ];
        (calls, any_value(), any_value(), reason).prop_map(|(calls, content, reasoning, reason)| {
            let delta = json!({ "content": content, "tool_calls": calls, "reasoning_details": [reasoning],
                "reasoning_content": reasoning, "refusal": null });
            json!({ "choices": [{ "delta": delta, "finish_reason": reason }], "usage": { "prompt_tokens": content } })
        })
    }

    proptest! {
        /// Whatever a server sends, what is kept of it can be sent back.
        #[test]
        fn an_answer_that_is_read_can_be_sent_back(chunks in proptest::collection::vec(any_chunk(), 0..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(read(&(events(&chunks) + DONE_EVENT)));
            if let Ok(response) = read.result {
                let messages = [Message::user("?"), Message { role: Role::Assistant, content: response.content }];
                let rules = OpenAiRules { author: "" };
                let repaired = repair(&messages, &rules);
                prop_assert!(matches!(repair(&repaired, &rules), Cow::Borrowed(_)));
                let next = ModelRequest {
                    system: "",
                    messages: &messages,
                    tools: &ToolDefinitions::default(),
                    max_tokens: 1,
                    temperature: None,
                    schema: None,
                    tools_since: &[],
                };
                let body = request::body("m", "", &next, request::RequestOptions::default()).unwrap();
                let body: Value = serde_json::from_slice(&body).unwrap();
                let messages = body["messages"].as_array().unwrap();
                let ids = |message: &Value| message["tool_calls"].as_array().map_or(0, Vec::len);
                let results = messages.iter().filter(|message| message["role"] == "tool").count();
                prop_assert_eq!(messages.iter().map(ids).sum::<usize>(), results);
            }
        }
    }
}

/// What a first chunk says isn't what the answer came to.
#[tokio::test]
async fn figures_before_the_end_are_not_final() {
    let first =
        json!({"choices": [{"delta": {"content": "Hello"}}], "usage": {"prompt_tokens": 10, "completion_tokens": 0}});
    let Read { result, measured, .. } = read(&events(&[first, finish("stop")])).await;
    assert!(result.is_ok());
    assert!(!matches!(measured, Measured::Complete(_)), "{measured:?}");
}

#[tokio::test]
async fn an_answer_with_too_many_calls_is_refused() {
    let call =
        |index: usize| json!({"index": index, "id": format!("c{index}"), "function": {"name": "t", "arguments": "{}"}});
    let many: Vec<Value> = (0..=MAX_CALLS).map(call).collect();
    let error = read(&events(&[calls(json!(many))])).await.result.unwrap_err();
    assert_eq!(error.kind(), "malformed_answer");
}

/// Another server would refuse it, so the history has to tell whose it is.
#[tokio::test]
async fn a_call_with_a_long_id_is_marked() {
    for (id, mark) in [("call_1", None), (&*"x".repeat(41), Some("{}"))] {
        let call = json!([{"index": 0, "id": id, "function": {"name": "t", "arguments": "{}"}}]);
        let response = read(&events(&[calls(call), finish("tool_calls")]))
            .await
            .result
            .unwrap();
        let call = response.tool_uses().next().unwrap();
        let found = call.extra.as_ref().and_then(|extra| extra.json_for(PROVIDER));
        assert_eq!((call.id.as_str(), found), (id, mark));
    }
}

/// The second of two items of a whole answer is a call of its own, whatever it is called.
#[tokio::test]
async fn every_item_of_a_whole_answer_is_a_call() {
    let call = json!({"id": "a", "function": {"name": "t", "arguments": "{}"}});
    let body = json!({"choices": [{"message": {"tool_calls": [call, call]}, "finish_reason": "tool_calls"}]});
    let (response, _) = whole(&body.to_string());
    assert_eq!(made(&response.unwrap()).len(), 2);
}
