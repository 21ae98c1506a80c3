//! The simulator over real sockets, tested with a small client that hides nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod faults;
mod positions;
mod shapes;
mod tool_search;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use client::{Client, call, header_lines, request};

fn start(script: Script) -> Simulator {
    Simulator::start(script, SimulatorOptions::default()).unwrap()
}

fn streamed() -> Value {
    let mut body = request();
    body["stream"] = json!(true);
    body
}

#[tokio::test]
async fn a_non_streaming_answer() {
    let simulator = start(Script::new().answer(Answer::message(MessageAnswer {
        thinking: Some("hm".into()),
        text: "I shall calculate.".into(),
        tools: vec![
            ToolCall::new("calculate", json!({ "expression": "25 * 17" })),
            ToolCall::new("get_weather", json!({})),
        ],
        usage: UsageAnswer::Given(UsageFigures {
            input_tokens: Some(350),
            output_tokens: Some(26),
            cache_creation_1h_input_tokens: 7,
            ..UsageFigures::default()
        }),
        ..MessageAnswer::default()
    })));
    let response = call(&simulator, &request()).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("request-id"), Some("req_sim_000001"));
    assert_eq!(
        response.json(),
        json!({
            "id": "msg_sim_000001", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5",
            "content": [
                { "type": "thinking", "thinking": "hm", "signature": message::thinking_signature("hm") },
                { "type": "text", "text": "I shall calculate." },
                { "type": "tool_use", "id": "toolu_sim_000001_2", "name": "calculate",
                  "input": { "expression": "25 * 17" } },
                { "type": "tool_use", "id": "toolu_sim_000001_3", "name": "get_weather", "input": {} },
            ],
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {
                "input_tokens": 350, "output_tokens": 26,
                "cache_creation_input_tokens": 7, "cache_read_input_tokens": 0,
                "cache_creation": { "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7 },
                "output_tokens_details": { "thinking_tokens": 1 },
                "service_tier": "standard",
            },
        })
    );
}

#[tokio::test]
async fn a_streamed_answer() {
    let simulator = start(
        Script::new().answer(
            Answer::message(MessageAnswer {
                text: "Grüße".into(),
                tools: vec![ToolCall::new("calculate", json!({ "x": 1 }))],
                ..MessageAnswer::default()
            })
            .streamed(StreamOptions {
                chunk: 3,
                ..StreamOptions::default()
            }),
        ),
    );
    let response = call(&simulator, &streamed()).await;
    assert_eq!(
        response.header("content-type"),
        Some("text/event-stream; charset=utf-8")
    );
    let events = response.events();
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    );
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[3]["delta"], json!({ "type": "text_delta", "text": "Grü" }));
    assert_eq!(events[4]["delta"]["text"], "ße");
    assert_eq!(events[6]["content_block"]["input"], json!({}));
    let input: String = (7..10)
        .map(|index| events[index]["delta"]["partial_json"].as_str().unwrap())
        .collect();
    assert_eq!(input, r#"{"x":1}"#);
    assert_eq!(events[11]["delta"]["stop_reason"], "tool_use");
    // Computed: one token for every four bytes.
    let sent = serde_json::to_vec(&streamed()).unwrap().len().div_ceil(4);
    assert_eq!(events[11]["usage"]["input_tokens"], sent);
    assert_eq!(events[11]["usage"]["output_tokens"], (7 + 9 + 7_usize).div_ceil(4));
}

#[tokio::test]
async fn stream_options_change_the_events() {
    let simulator = start(
        Script::new().answer(
            Answer::message(MessageAnswer {
                text: "äöü".into(),
                usage: UsageAnswer::Omitted,
                stop_reason: Some("new_reason".into()),
                model: Some("other".into()),
                ..MessageAnswer::default()
            })
            .streamed(StreamOptions {
                chunk: 1,
                ping_every: 2,
                unknown_events: true,
                write_bytes: 3,
                chunk_delay: Duration::from_millis(1),
                ..StreamOptions::default()
            }),
        ),
    );
    let response = call(&simulator, &streamed()).await;
    assert!(
        response.chunks.iter().all(|chunk| chunk.len() <= 3),
        "{:?}",
        response.chunks
    );
    let events = response.events();
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| **name == "ping").count(), 2);
    assert!(names.contains(&"future_event"));
    assert!(events.iter().any(|event| event["delta"]["type"] == "future_delta"));
    assert!(
        events
            .iter()
            .all(|event| event.get("usage").is_none() && event["message"].get("usage").is_none())
    );
    assert_eq!(events[0]["message"]["model"], "other");
    let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(end["delta"]["stop_reason"], "new_reason");
}

#[tokio::test]
async fn errors_have_the_shape_of_the_api() {
    let simulator = start(
        Script::new()
            .answer(Answer::error(529))
            .answer(
                Answer::error_with(ErrorAnswer {
                    status: 429,
                    kind: None,
                    message: Some("no more money".into()),
                    error_code: Some("enforced_spend_limit_reached".into()),
                    ..ErrorAnswer::default()
                })
                .header("retry-after", "7"),
            )
            .answer(Answer::raw(502, "text/html", "<html>bad gateway")),
    );
    let first = call(&simulator, &request()).await;
    assert_eq!(first.status, 529);
    let overloaded = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" },
        "request_id": "req_sim_000001" });
    assert_eq!(first.json(), overloaded);
    let second = call(&simulator, &request()).await;
    assert_eq!((second.status, second.header("retry-after")), (429, Some("7")));
    assert_eq!(second.json()["error"]["type"], "rate_limit_error");
    assert_eq!(
        second.json()["error"]["details"]["error_code"],
        "enforced_spend_limit_reached"
    );
    let third = call(&simulator, &request()).await;
    assert_eq!((third.status, third.header("content-type")), (502, Some("text/html")));
    assert_eq!(third.body(), b"<html>bad gateway");
}

#[tokio::test]
async fn an_exhausted_script_answers_500_or_repeats() {
    let simulator = start(Script::new().answer(Answer::text("once")));
    assert_eq!(call(&simulator, &request()).await.status, 200);
    let response = call(&simulator, &request()).await;
    assert_eq!(response.status, 500);
    // Clients would only find the same script again.
    assert_eq!(response.header("x-should-retry"), Some("false"));
    assert!(
        response.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("script is exhausted")
    );

    let simulator = start(Script::new().answer(Answer::text("again")).after(After::RepeatLast));
    for number in 1..=3 {
        let response = call(&simulator, &request()).await;
        assert_eq!(response.json()["content"][0]["text"], "again");
        assert_eq!(response.json()["id"], format!("msg_sim_{number:06}"));
    }
}

#[tokio::test]
async fn a_conversation_over_one_connection() {
    let simulator = start(
        Script::new()
            .answer(Answer::text("It is {{result:calculate}}.").when_tool_result("calculate"))
            .answer(Answer::tools([ToolCall::new(
                "calculate",
                json!({ "expression": "25 * 17" }),
            )])),
    );
    let mut client = Client::connect(&simulator.url()).await;
    let mut body = request();
    let first = client.post("/v1/messages", &body, &[]).await;
    let call = first.json()["content"][0].clone();
    body["messages"].as_array_mut().unwrap().extend([
        json!({ "role": "assistant", "content": [call] }),
        json!({ "role": "user", "content": [
            { "type": "tool_result", "tool_use_id": call["id"], "content": [{ "type": "text", "text": "425" }] },
        ] }),
    ]);
    let second = client.post("/v1/messages?beta=true", &body, &[]).await;
    assert_eq!(
        second.json()["content"],
        json!([{ "type": "text", "text": "It is 425." }])
    );
    let requests = simulator.requests();
    assert_eq!(
        requests.iter().map(|request| request.answer).collect::<Vec<_>>(),
        [Some(1), Some(0)]
    );
    assert_eq!(requests[1].path, "/v1/messages?beta=true");
    assert_eq!(requests[1].body, body);
}

#[tokio::test]
async fn a_generated_id_is_new_to_the_conversation() {
    let simulator = start(Script::new().answer(Answer::tools([ToolCall::new("calculate", json!({}))])));
    let mut body = request();
    body["messages"].as_array_mut().unwrap().extend([
        json!({ "role": "assistant", "content": [
            { "type": "tool_use", "id": "toolu_sim_000001_0", "name": "calculate", "input": {} },
        ] }),
        json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_sim_000001_0" }] }),
    ]);
    assert_eq!(
        call(&simulator, &body).await.json()["content"][0]["id"],
        "toolu_sim_000001_0_1"
    );
}

#[tokio::test]
async fn a_refused_request_spends_no_answer_and_stores_no_secret() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    let mut client = Client::connect(&simulator.url()).await;
    let good = request();
    for (method, path, headers, body, status) in [
        ("POST", "/v1/messages", &[("x-api-key", "")][..], good.to_string(), 401),
        (
            "POST",
            "/v1/messages",
            &[("anthropic-version", "")],
            good.to_string(),
            400,
        ),
        (
            "POST",
            "/v1/messages",
            &[("content-type", "text/plain")],
            good.to_string(),
            400,
        ),
        ("POST", "/v1/messages", &[], "{".to_owned(), 400),
        ("POST", "/v1/messages", &[], "{}".to_owned(), 400),
        ("GET", "/v1/messages", &[], String::new(), 405),
        ("POST", "/v1/nothing", &[], good.to_string(), 404),
        ("GET", "/v1/models/nobody", &[], String::new(), 404),
    ] {
        let response = client.send(method, path, &header_lines(headers), body.as_bytes()).await;
        assert_eq!(response.status, status, "{method} {path} {headers:?}");
        assert_eq!(response.json()["type"], "error");
        assert_eq!(response.json()["request_id"].as_str(), response.header("request-id"));
        let should_retry = matches!(status, 400 | 404).then_some("false");
        assert_eq!(response.header("x-should-retry"), should_retry, "{status}");
        assert_eq!(response.header("allow"), (status == 405).then_some("POST"));
    }
    assert_eq!(
        client
            .post("/v1/messages", &good, &[("authorization", "Bearer hush")])
            .await
            .status,
        200
    );
    let requests = simulator.requests();
    assert_eq!(requests.len(), 9);
    assert!(!format!("{requests:?}").contains("hush"), "{requests:?}");
    assert_eq!(requests[8].header("x-api-key"), Some("[redacted]"));
    assert_eq!(
        (requests[8].status, requests[8].answer, requests[0].answer),
        (Some(200), Some(0), None)
    );
}

#[tokio::test]
async fn requests_can_be_watched() {
    let simulator = start(Script::new().answer(Answer::error(529)));
    let mut watched = simulator.watch();
    call(&simulator, &request()).await;
    let seen = watched.recv().await.unwrap();
    assert_eq!(
        (seen.method.as_str(), seen.status, seen.answer),
        ("POST", Some(529), Some(0))
    );
    assert_eq!(seen.body, request());
    simulator.shutdown().await;
    assert_eq!(watched.recv().await, None);
}

#[tokio::test]
async fn a_large_body_is_stored_unless_the_request_is_refused() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    let mut body = request();
    body["messages"][0]["content"] = json!("x".repeat(2 * 1024 * 1024));
    assert_eq!(call(&simulator, &body).await.status, 200);
    body["max_tokens"] = json!(-1);
    assert_eq!(call(&simulator, &body).await.status, 400);
    let requests = simulator.requests();
    assert_eq!(requests[0].body["max_tokens"], 1000);
    assert_eq!(requests[1].body, Value::Null);
    assert_eq!(requests[1].body_bytes, body.to_string().len());
}

#[tokio::test]
async fn counting_and_models() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    let mut client = Client::connect(&simulator.url()).await;
    let count = json!({ "model": "m", "messages": [{ "role": "user", "content": "hello" }] });
    let response = client.post("/v1/messages/count_tokens", &count, &[]).await;
    assert_eq!(
        response.json(),
        json!({ "input_tokens": count.to_string().len().div_ceil(4) })
    );
    let head = client.send("HEAD", "/v1/models", &header_lines(&[]), b"").await;
    assert_eq!(
        (head.status, head.header("content-type")),
        (200, Some("application/json"))
    );
    let models = client.send("GET", "/v1/models", &header_lines(&[]), b"").await.json();
    assert_eq!(models["has_more"], false);
    assert!(
        models["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|model| model["id"] == "claude-sonnet-5-5")
    );
    let one = client
        .send("GET", "/v1/models/claude-opus-5-5", &header_lines(&[]), b"")
        .await
        .json();
    assert_eq!(one["type"], "model");
}

#[tokio::test]
async fn an_oversized_body_is_refused() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    let mut client = Client::connect(&simulator.url()).await;
    // The API accepts 32 MB. A much larger body is still drained, so that its sender gets to see the error.
    let large = vec![b'x'; 48 * 1024 * 1024];
    let response = client.send("POST", "/v1/messages", &header_lines(&[]), &large).await;
    assert_eq!(
        (response.status, response.json()["error"]["type"].as_str()),
        (413, Some("request_too_large"))
    );

    let most = vec![b' '; 32 * 1024 * 1024];
    let response = client.send("POST", "/v1/messages", &header_lines(&[]), &most).await;
    assert_eq!(response.status, 400, "as large as is allowed, but no JSON");
    let response = client
        .send("POST", "/v1/messages", &header_lines(&[]), &[&most[..], b" "].concat())
        .await;
    assert_eq!(response.status, 413);

    let long = "y".repeat(100 * 1024);
    let mut client = Client::connect(&simulator.url()).await;
    let response = client
        .send("POST", "/v1/messages", &header_lines(&[("x-long", &long)]), b"")
        .await;
    assert_eq!(response.status, 431);
    assert_bare(&response);
    assert_eq!(client.read_all().await.0, b"", "the connection ends");
    assert_eq!(simulator.requests().len(), 3, "what could not be read is no request");
}

/// An error of the HTTP server itself, sent before a request could be parsed.
fn assert_bare(response: &client::Response) {
    assert_eq!(response.header("request-id"), None);
    assert_eq!(response.header("content-type"), None);
    assert_eq!(response.body(), b"");
}

#[tokio::test]
async fn malformed_http_leaves_the_server_running() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    for garbage in [
        &b"\0\xff\xfe\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
    ] {
        let mut client = Client::connect(&simulator.url()).await;
        client.write(garbage).await;
        let response = client.response("GET").await;
        assert_eq!(response.status, 400, "{}", String::from_utf8_lossy(garbage));
        assert_bare(&response);
        assert_eq!(client.read_all().await.0, b"");
    }
    assert!(simulator.requests().is_empty());
    assert_eq!(call(&simulator, &request()).await.status, 200);
}

#[tokio::test]
async fn odd_requests_are_answered_like_any_other() {
    let simulator = start(Script::new().answer(Answer::text("ok")));
    for (line, status) in [
        ("CONNECT example.com:443 HTTP/1.1", 404),
        ("OPTIONS * HTTP/1.1", 404),
        ("GET http://example.com/v1/messages/x HTTP/1.1", 404),
        ("HEAD /v1/messages HTTP/1.1", 405),
        ("PUT /v1/messages HTTP/1.0", 405),
        (
            "POST /v1/messages?%ff HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade",
            401,
        ),
        ("POST /v1/messages HTTP/1.1\r\nexpect: 200-ok", 401),
        ("GET /v1/models HTTP/1.1\r\nx-api-key: \u{e4}", 401),
    ] {
        let mut client = Client::connect(&simulator.url()).await;
        client.write(format!("{line}\r\nhost: x\r\n\r\n").as_bytes()).await;
        let response = client.response(line.split(' ').next().unwrap()).await;
        assert_eq!(response.status, status, "{line}");
        assert!(response.header("request-id").is_some(), "{line}");
    }
    assert_eq!(call(&simulator, &request()).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_answer_can_be_delayed() {
    let simulator = start(Script::new().answer(Answer::text("late").delay(Duration::from_secs(50))));
    let began = tokio::time::Instant::now();
    assert_eq!(call(&simulator, &request()).await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(50));
}

#[tokio::test]
async fn an_invalid_max_connections_is_refused() {
    for max_connections in [0, usize::MAX] {
        let options = SimulatorOptions {
            max_connections,
            ..SimulatorOptions::default()
        };
        let refused = Simulator::start(Script::new().answer(Answer::text("ok")), options).unwrap_err();
        assert!(refused.to_string().contains("max_connections"), "{refused}");
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let options = SimulatorOptions {
        max_connections: 1,
        ..SimulatorOptions::default()
    };
    let simulator = Simulator::start(Script::new().answer(Answer::text("ok").forever()), options).unwrap();
    let mut first = Client::connect(&simulator.url()).await;
    assert_eq!(first.post("/v1/messages", &request(), &[]).await.status, 200);
    let mut second = Client::connect(&simulator.url()).await;
    second
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            request().to_string().as_bytes(),
        ))
        .await;
    assert_eq!(first.post("/v1/messages", &request(), &[]).await.status, 200);
    assert_eq!(simulator.requests().len(), 2, "the second connection must wait");
    drop(first);
    assert_eq!(second.response("POST").await.status, 200);
    assert_eq!(simulator.requests().len(), 3);
}

#[tokio::test]
async fn only_loopback_addresses_and_valid_scripts_are_accepted() {
    let script = || Script::new().answer(Answer::text("ok"));
    let open = SimulatorOptions {
        address: ([0, 0, 0, 0], 0).into(),
        ..SimulatorOptions::default()
    };
    let error = Simulator::start(script(), open).unwrap_err();
    assert_eq!(error.to_string(), "0.0.0.0:0 isn't a loopback address");
    assert!(WeatherService::start(([0, 0, 0, 0], 0).into(), WeatherMode::Healthy).is_err());
    let error = Simulator::start(script().answer(Answer::error(200)), SimulatorOptions::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "answer 2: `error.status` is 200, but must be from 400 to 599"
    );
}

#[tokio::test]
async fn a_script_built_in_code_follows_the_same_rules() {
    let nested = |levels: usize| (1..levels).fold(json!(1), |inner, _| json!({ "a": inner }));
    let long = || "x".repeat(1024 * 1024 + 1);
    let calls = |input: Value| Answer::tools([ToolCall::new("t", input)]);
    let refused = |answer: Answer| {
        let problem = Simulator::start(Script::new().answer(answer), SimulatorOptions::default());
        problem.map_err(|problem| problem.to_string())
    };
    assert!(refused(calls(nested(100))).is_ok());
    for (answer, words) in [
        (
            calls(nested(101)),
            "the `input` of tool call \"t\" is nested deeper than 100 levels",
        ),
        (
            calls(json!({ "a": vec![0; 600_000] })),
            "`input` has 1200007 bytes, but at most 1048576 are allowed",
        ),
        (
            Answer::text("a").header("x-a", long()),
            "`headers.\"x-a\"` has 1048577 bytes",
        ),
        (
            Answer::text("a").header(long(), "a"),
            "`headers` has an illegal name \"xxx",
        ),
        (
            Answer::text("a").header("x-a", "1").header("X-A", "2"),
            "`headers` sets \"X-A\" twice",
        ),
        (Answer::raw(200, long(), "a"), "`raw.content_type` has 1048577 bytes"),
        (
            Answer::error(500).when_tool_result(long()),
            "`when.has_tool_result` has 1048577 bytes",
        ),
        (
            Answer::text("a").with_fault(FaultKind::Reset, FaultPoint::Request),
            "an answer has no effect with `fault.at",
        ),
    ] {
        let problem = refused(answer).unwrap_err();
        assert!(
            problem.starts_with(&format!("answer 1: {words}")),
            "{words}: {problem:.300}"
        );
        assert!(problem.len() < 1024, "{words}: names are not repeated in full");
    }
}

#[tokio::test]
async fn the_weather_service_follows_its_mode() {
    let service = WeatherService::start(any_port(), WeatherMode::Healthy).unwrap();
    let mut client = Client::connect(&service.url()).await;
    let found = client
        .send("GET", "/v1/search?name=Boston&count=1", "", b"")
        .await
        .json();
    assert_eq!(found["results"][0]["country"], "United States");
    let forecast = "/v1/forecast?latitude=42.35843&longitude=-71.05977&current=temperature_2m";
    assert_eq!(
        client.send("GET", forecast, "", b"").await.json()["current"]["temperature_2m"],
        7.2
    );
    service.set_mode(WeatherMode::Down(503));
    let down = client.send("GET", forecast, "", b"").await;
    assert_eq!((down.status, down.json()["error"].clone()), (503, json!(true)));
    service.set_mode(WeatherMode::Garbage);
    let garbage = client.send("GET", forecast, "", b"").await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<Value>(&garbage.body()).is_err());
    assert_eq!(service.requests(), 4);
    service.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_weather_service_can_be_slow() {
    let service = WeatherService::start(any_port(), WeatherMode::Slow(Duration::from_secs(20))).unwrap();
    let began = tokio::time::Instant::now();
    let mut client = Client::connect(&service.url()).await;
    assert_eq!(client.send("GET", "/v1/search?name=Paris", "", b"").await.status, 200);
    assert!(began.elapsed() >= Duration::from_secs(20));
}
