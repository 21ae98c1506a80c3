//! Streams and answers of unusual shape that HTTP carries intact.

use super::*;

fn message(message: MessageAnswer) -> Script {
    Script::new().answer(Answer::message(message))
}

fn stream(stream: StreamOptions) -> Simulator {
    start(Script::new().answer(Answer::text("hello").streamed(stream)))
}

async fn text_of(simulator: &Simulator) -> String {
    String::from_utf8(call(simulator, &streamed()).await.body()).unwrap()
}

#[tokio::test]
async fn events_and_deltas_can_be_left_out() {
    for kind in [
        "message_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "text_delta",
    ] {
        let text = text_of(&stream(StreamOptions::default().omitting(kind))).await;
        assert!(!text.contains(&format!("\"{kind}\"")), "{kind}: {text}");
        assert!(text.contains("content_block_start"), "{kind}: {text}");
    }
}

#[tokio::test]
async fn events_can_have_other_names_and_line_endings() {
    let named = |event_names| StreamOptions {
        event_names,
        ..StreamOptions::default()
    };
    let text = text_of(&stream(named(EventNames::Message))).await;
    assert_eq!(
        text.matches("event: message\n").count(),
        text.matches("event: ").count(),
        "{text}"
    );
    let text = text_of(&stream(named(EventNames::None))).await;
    assert!(
        !text.contains("event:") && text.starts_with("data: {\"type\":\"message_start\""),
        "{text}"
    );
    for (line_ending, end) in [(LineEnding::Crlf, "\r\n"), (LineEnding::Cr, "\r")] {
        let odd = stream(StreamOptions {
            line_ending,
            ..StreamOptions::default()
        });
        let text = text_of(&odd).await;
        assert!(text.ends_with(&format!(
            "event: message_stop{end}data: {{\"type\":\"message_stop\"}}{end}{end}"
        )));
        assert_eq!(text.contains('\n'), line_ending == LineEnding::Crlf);
    }
}

#[tokio::test(start_paused = true)]
async fn texts_and_pauses_go_between_the_events() {
    let mut options = StreamOptions::default()
        .inserting(usize::MAX, "data: [DONE]\n\n")
        .inserting(0, ": comment\n\n")
        .inserting(2, "data: ");
    options.insert.push(Insertion {
        after_events: 2,
        text: "x".repeat(3),
        times: 100_000,
        wait: Duration::from_secs(90),
    });
    options = options.inserting(2, "\n\n");
    let began = tokio::time::Instant::now();
    let text = text_of(&stream(options)).await;
    assert!(began.elapsed().as_secs() >= 90);
    assert!(text.starts_with(": comment\n\nevent: message_start\n"));
    assert!(text.ends_with("}\n\ndata: [DONE]\n\n"));
    assert!(text.contains(&format!("}}}}\n\ndata: {}\n\nevent: ping\n", "x".repeat(300_000))));
}

#[tokio::test]
async fn blocks_come_in_any_order_kind_and_shape() {
    let script = || {
        message(MessageAnswer {
            content: vec![
                ContentItem::unsigned_thinking("cut"),
                ContentItem::text("{{last_user}}").with_field("citations", json!([1])),
                ContentItem::tool(ToolCall {
                    id: Some("same".into()),
                    ..ToolCall::new("a", json!({ "x": 1 }))
                })
                .with_field("toolset_name", json!("browser")),
                ContentItem::tool(ToolCall {
                    id: Some("same".into()),
                    ..ToolCall::truncated("b", "{\"z\": 1, \"a\": 2}")
                })
                .at_index(2)
                .with_delta("text_delta"),
                ContentItem::block(json!({ "type": "server_tool_use", "id": "s", "name": "n", "input": { "q": 1 } })),
                ContentItem::block(json!({ "type": "tomorrow", "x": [1] })),
            ],
            stop_reason: Some("end_turn".into()),
            ..MessageAnswer::default()
        })
    };
    let whole = call(&start(script()), &request()).await;
    let text = String::from_utf8(whole.body()).unwrap();
    assert!(text.contains(r#""input":{"z": 1, "a": 2}"#), "unchanged: {text}");
    let content = whole.json()["content"].clone();
    assert_eq!(
        content[0],
        json!({ "type": "thinking", "thinking": "cut", "signature": "" })
    );
    assert_eq!(content[1], json!({ "type": "text", "text": "hello", "citations": [1] }));
    assert_eq!(
        (&content[2]["id"], &content[2]["toolset_name"]),
        (&json!("same"), &json!("browser"))
    );
    assert_eq!(content[5], json!({ "type": "tomorrow", "x": [1] }));
    assert_eq!(whole.json()["stop_reason"], "end_turn");

    let events = call(&start(script()), &streamed()).await.events();
    let starts: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "content_block_start")
        .collect();
    let indices: Vec<_> = starts.iter().map(|event| event["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 2, 4, 5]);
    assert!(!events.iter().any(|event| event["delta"]["type"] == "signature_delta"));
    assert!(
        events
            .iter()
            .any(|event| event["index"] == 2 && event["delta"]["type"] == "text_delta")
    );
    assert_eq!(starts[4]["content_block"]["input"], json!({}));
    let input = events
        .iter()
        .find(|event| event["index"] == 4 && event["delta"].is_object())
        .unwrap();
    assert_eq!(input["delta"]["partial_json"], "{\"q\":1}");
    assert_eq!(starts[5]["content_block"], json!({ "type": "tomorrow", "x": [1] }));
}

#[tokio::test]
async fn a_refusal_has_details_and_a_message_more_fields() {
    let script = || {
        message(MessageAnswer {
            stop_reason: Some("refusal".into()),
            stop_details: Some(json!({ "type": "refusal", "category": "cyber", "explanation": null })),
            extra: json!({ "container": { "id": "c" }, "id": "own" })
                .as_object()
                .unwrap()
                .clone(),
            ..MessageAnswer::default()
        })
    };
    let whole = call(&start(script()), &request()).await.json();
    assert_eq!((&whole["id"], &whole["container"]["id"]), (&json!("own"), &json!("c")));
    assert_eq!(
        (&whole["content"], &whole["stop_details"]["category"]),
        (&json!([]), &json!("cyber"))
    );
    let events = call(&start(script()), &streamed()).await.events();
    assert_eq!(events[0]["message"]["id"], "own");
    assert_eq!(events[0]["message"].get("stop_details"), None);
    assert_eq!(events[1]["delta"]["stop_details"]["category"], "cyber");
}

#[tokio::test]
async fn usage_can_be_anything() {
    let json = |text: Value| UsageAnswer::Json(text);
    let given = |input, output| {
        UsageAnswer::Given(UsageFigures {
            input_tokens: Some(input),
            output_tokens: Some(output),
            ..UsageFigures::default()
        })
    };
    let computed = streamed().to_string().len().div_ceil(4);
    for (start_usage, usage, at_start, at_end) in [
        (Some(given(25, 3)), given(0, 15), json!(25), json!(0)),
        (Some(UsageAnswer::Omitted), given(7, 15), Value::Null, json!(7)),
        (Some(given(25, 1)), UsageAnswer::Omitted, json!(25), Value::Null),
        (None, json(json!({ "input_tokens": -1 })), json!(computed), json!(-1)),
        (
            Some(json(json!({ "input_tokens": "many" }))),
            given(1, 1),
            json!("many"),
            json!(1),
        ),
    ] {
        let script = message(MessageAnswer {
            text: "x".into(),
            usage_start: start_usage,
            usage,
            ..MessageAnswer::default()
        });
        let events = call(&start(script), &streamed()).await.events();
        let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
        let first = &events[0]["message"]["usage"]["input_tokens"];
        assert_eq!((first, &end["usage"]["input_tokens"]), (&at_start, &at_end));
    }
}

#[tokio::test]
async fn an_answer_can_be_gzipped_unasked() {
    for body in [request(), streamed()] {
        let plain = call(&start(Script::new().answer(Answer::text("hello"))), &body).await;
        let response = call(&start(Script::new().answer(Answer::text("hello").gzipped())), &body).await;
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!(unzipped(&response.body()), plain.body());
    }
}

/// The content of gzip that has only stored blocks.
fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes.strip_prefix(b"\x1f\x8b\x08\0\0\0\0\0\0\xff").unwrap();
    let mut out = Vec::new();
    loop {
        let length = usize::from(u16::from_le_bytes([rest[1], rest[2]]));
        out.extend_from_slice(&rest[5..5 + length]);
        let is_last = rest[0] == 1;
        rest = &rest[5 + length..];
        if is_last {
            assert_eq!(rest.len(), 8);
            return out;
        }
    }
}

#[tokio::test]
async fn a_body_can_be_huge() {
    let mut answer = Answer::raw(200, "application/json", "");
    answer.kind = AnswerKind::Raw(RawAnswer {
        status: 200,
        content_type: "application/json".into(),
        body: "0123456789".into(),
        times: 3_000_000,
    });
    let response = call(&start(Script::new().answer(answer)), &request()).await;
    assert_eq!(response.header("content-length"), Some("30000000"));
    let body = response.body();
    assert!(body.len() == 30_000_000 && body.chunks(10).all(|chunk| chunk == b"0123456789"));
}

#[tokio::test]
async fn errors_carry_details_and_headers_can_be_left_out() {
    let limit = |code: &str| {
        Answer::error_with(ErrorAnswer {
            status: 429,
            error_code: Some(code.into()),
            details: json!({ "paths": ["a"] }).as_object().unwrap().clone(),
            ..ErrorAnswer::default()
        })
    };
    let simulator = start(
        Script::new()
            .answer(limit("ramp_limit_exceeded").header("retry-after", "7"))
            .answer(Answer::error(429))
            .answer(
                Answer::error(429)
                    .without_header("x-should-retry")
                    .without_header("request-id"),
            )
            .answer(Answer::error(404).header("x-should-retry", "true"))
            .answer(Answer::error(529)),
    );
    let first = call(&simulator, &request()).await;
    assert_eq!(
        first.json()["error"]["details"],
        json!({ "error_code": "ramp_limit_exceeded", "paths": ["a"] })
    );
    assert_eq!(first.header("x-should-retry"), None, "the code decides");
    for (should_retry, id) in [(Some("true"), true), (None, false), (Some("true"), true), (None, true)] {
        let response = call(&simulator, &request()).await;
        assert_eq!(response.header("x-should-retry"), should_retry);
        assert_eq!(response.header("request-id").is_some(), id);
    }
}

#[tokio::test]
async fn a_redirect_and_a_plain_text_stream() {
    let simulator = start(
        Script::new()
            .answer(Answer::raw(307, "text/html", "").header("location", "/v1/elsewhere"))
            .answer(Answer::text("hello").header("content-type", "text/plain")),
    );
    let redirect = call(&simulator, &request()).await;
    assert_eq!(
        (redirect.status, redirect.header("location")),
        (307, Some("/v1/elsewhere"))
    );
    let response = call(&simulator, &streamed()).await;
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.events().last(), Some(&json!({ "type": "message_stop" })));
}
