//! A failing model API over real sockets: what is retried, when, and what isn't.

use std::time::Duration;

use cofferdam::simulator::{Answer, ErrorAnswer, FaultKind, FaultPoint, MessageAnswer, StreamOptions, ToolCall};
use cofferdam_tests::{Behaviour, HttpServer, KEY, faulty, finish, tool_call};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::lab;

async fn report(answers: Vec<Answer>, more: &str, code: i32) -> (Value, usize) {
    let lab = lab(answers);
    lab.configure(more);
    let report = lab.report(code).await;
    (report, lab.simulator.requests().len())
}

#[tokio::test]
async fn transient_errors_are_retried() {
    for status in [408, 409, 429, 500, 502, 503, 504, 529] {
        let (report, requests) = report(vec![Answer::error(status), Answer::text("Here.")], "", 0).await;
        assert_eq!((&report["answer"], requests), (&json!("Here."), 2), "{status}");
        let metrics = &report["metrics"];
        assert_eq!(
            (
                &metrics["model_attempts"],
                &metrics["model_errors"],
                &metrics["retries"]
            ),
            (&json!(2), &json!(1), &json!(1))
        );
    }
}

#[tokio::test]
async fn fatal_errors_are_not() {
    for (status, kind) in [
        (400, "invalid_request"),
        (401, "authentication"),
        (402, "billing"),
        (403, "permission"),
        (404, "not_found"),
        (413, "request_too_large"),
    ] {
        let (report, requests) = report(vec![Answer::error(status).forever()], "", 1).await;
        assert_eq!((&report["error"]["kind"], requests), (&json!(kind), 1), "{status}");
        assert!(report["error"]["request_id"].is_string(), "{report:#}");
    }
}

/// A long result must not end a conversation, however the API words that the request is too long.
#[tokio::test]
async fn a_history_that_is_too_large_is_trimmed() {
    let lab = lab([
        tool_call("big_output", json!({ "bytes": 60_000 })),
        Answer::error(413),
        Answer::text("Shorter."),
    ]);
    lab.configure(&faulty(""));
    assert_eq!(lab.report(0).await["answer"], "Shorter.");
    let sizes: Vec<usize> = lab
        .simulator
        .requests()
        .iter()
        .map(|request| request.body_bytes)
        .collect();
    assert!(sizes[1] > 60_000 && sizes[2] < sizes[1] - 50_000, "{sizes:?}");
}

/// Images come from untrusted tools. An image that the API refuses would make every request with it fail.
#[tokio::test]
async fn an_image_that_the_api_refuses_is_removed() {
    let lab = lab([
        tool_call("image", json!({})),
        Answer::error(400),
        Answer::text("Not seen."),
    ]);
    lab.configure(&faulty(""));
    let report = lab.report(0).await;
    assert_eq!(report["answer"], "Not seen.");
    assert_eq!(report["metrics"]["history_trims"], 1);
    let bodies: Vec<String> = lab
        .simulator
        .requests()
        .iter()
        .map(|request| request.body.to_string())
        .collect();
    assert!(
        bodies[1].contains("base64") && !bodies[2].contains("base64"),
        "{bodies:?}"
    );
    assert!(bodies[2].contains("an image is left out"), "{}", bodies[2]);
}

/// A signature can become invalid: it is bound to a model and to all messages before it.
#[tokio::test]
async fn thinking_that_the_api_refuses_is_removed() {
    let thinking = MessageAnswer {
        thinking: Some("hm".to_owned()),
        tools: vec![ToolCall::new("echo", json!({}))],
        ..MessageAnswer::default()
    };
    let lab = lab([Answer::message(thinking), Answer::error(400), Answer::text("Fine.")]);
    lab.configure(&faulty(""));
    let report = lab.report(0).await;
    assert_eq!(report["metrics"]["history_trims"], 1);
    let kinds = |request: usize| {
        let content = lab.simulator.requests()[request].body["messages"][1]["content"].clone();
        let blocks = content.as_array().unwrap().iter();
        blocks
            .map(|block| block["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(1), ["thinking", "tool_use"]);
    assert_eq!(kinds(2), ["tool_use"]);
}

#[tokio::test]
async fn three_attempts_in_all() {
    let (report, requests) = report(vec![Answer::error(529).forever()], "", 1).await;
    assert_eq!((&report["error"]["kind"], requests), (&json!("overloaded"), 3));
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let busy = Answer::error(429).header("retry-after", "1");
    let (report, _) = report(vec![busy, Answer::text("Here.")], "", 0).await;
    let waited = report["metrics"]["duration_ms"].as_u64().unwrap();
    assert!(waited >= 1000, "{waited}");
}

#[tokio::test]
async fn x_should_retry_overrides_either_way() {
    let (_, requests) = report(
        vec![Answer::error(500).header("x-should-retry", "false").forever()],
        "",
        1,
    )
    .await;
    assert_eq!(requests, 1);
    let again = Answer::error(400).header("x-should-retry", "true");
    let (_, requests) = report(vec![again, Answer::text("Here.")], "", 0).await;
    assert_eq!(requests, 2);
}

#[tokio::test]
async fn the_vendors_spend_cap_is_terminal() {
    let cap = Answer::error_with(ErrorAnswer {
        status: 429,
        error_code: Some("enforced_spend_limit_reached".to_owned()),
        ..ErrorAnswer::default()
    });
    let (report, requests) = report(vec![cap.forever()], "", 1).await;
    assert_eq!((&report["error"]["kind"], requests), (&json!("spend_limit"), 1));
}

#[tokio::test]
async fn transport_faults_are_retried_before_any_output_was_shown() {
    for fault in [
        FaultKind::Reset,
        FaultKind::Close,
        FaultKind::Cut,
        FaultKind::Garbage,
        FaultKind::overloaded(),
    ] {
        for at in [FaultPoint::Request, FaultPoint::Events(4)] {
            let broken = match at {
                FaultPoint::Request => Answer::fault(fault.clone(), at),
                at => Answer::text("Half an answer that").with_fault(fault.clone(), at),
            };
            if at == FaultPoint::Request && !matches!(fault, FaultKind::Reset | FaultKind::Close) {
                continue; // The other faults need an answer to interrupt.
            }
            let (report, requests) = report(vec![broken, Answer::text("A whole one.")], "", 0).await;
            assert_eq!(
                (&report["answer"], requests),
                (&json!("A whole one."), 2),
                "{fault:?} {at:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_stalled_stream_times_out() {
    let stalled = Answer::text("Half an").with_fault(FaultKind::Stall, FaultPoint::Events(4));
    let (report, requests) = report(
        vec![stalled, Answer::text("Whole.").forever()],
        "idle_timeout = \"2s\"\n",
        0,
    )
    .await;
    assert_eq!(report["answer"], "Whole.");
    assert!(requests >= 2, "{requests}");
    let (report, _) = self::report(
        vec![
            Answer::text("Half an")
                .with_fault(FaultKind::Stall, FaultPoint::Events(4))
                .forever(),
        ],
        "idle_timeout = \"200ms\"\n",
        1,
    )
    .await;
    assert_eq!(report["error"]["kind"], "stream_stalled");
}

/// When a stopped process goes on, its time is over, and the answer lies in the socket.
#[tokio::test]
async fn an_answer_that_came_while_the_process_was_stopped_is_read() {
    let slowly = StreamOptions {
        chunk: 40,
        chunk_delay: Duration::from_millis(5),
        ..StreamOptions::default()
    };
    let text = "word ".repeat(200);
    let lab = lab([Answer::text(&text).streamed(slowly).forever()]);
    lab.configure("idle_timeout = \"300ms\"\n");
    for requests in 1..=8 {
        let running = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
        let process = Pid::from_raw(i32::try_from(running.id().unwrap()).unwrap());
        while lab.simulator.requests().len() < requests {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        kill(process, Signal::SIGSTOP).unwrap();
        tokio::time::sleep(Duration::from_millis(800)).await;
        kill(process, Signal::SIGCONT).unwrap();
        let report = finish(running).await.expect_code(0).json();
        assert_eq!(
            (&report["answer"], lab.simulator.requests().len()),
            (&json!(text), requests)
        );
    }
}

#[tokio::test]
async fn an_attempt_times_out_even_if_bytes_keep_coming() {
    let drip = StreamOptions {
        chunk: 1,
        chunk_delay: Duration::from_millis(50),
        ..StreamOptions::default()
    };
    let endless = Answer::text("x".repeat(2000)).streamed(drip).forever();
    let (report, _) = report(vec![endless], "attempt_timeout = \"400ms\"\n", 1).await;
    assert_eq!(report["error"]["kind"], "attempt_timeout");
}

#[tokio::test]
async fn output_already_shown_is_not_repeated() {
    let lab = lab([
        Answer::text("Half an answer that breaks off").with_fault(FaultKind::Close, FaultPoint::Events(5)),
        Answer::text("A whole one."),
    ]);
    let ran = lab.call(["run", "Go."]).await.expect_code(1);
    assert!(
        ran.stdout.starts_with("Half an") && !ran.stdout.contains("whole"),
        "{ran}"
    );
    assert_eq!(lab.simulator.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_an_error_and_costs_nothing() {
    let lab = lab([]);
    // Bound, so that no other process can take the port, but not listening.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    lab.write(
        "cofferdam.toml",
        format!("[model]\nbase_url = \"http://127.0.0.1:{port}\"\n[retry]\ninitial_delay = \"1ms\"\n"),
    );
    let report = lab.report(1).await;
    assert_eq!(report["error"]["kind"], "connect_failed");
    assert_eq!(
        report["budget"][0]["spent_usd"], "0.000000",
        "nothing was sent, so nothing is charged"
    );
}

/// The kernel completes connections until the accept queue is full. Then it ignores them, like an unreachable host.
#[tokio::test]
async fn connecting_to_an_unresponsive_host_times_out() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(500), tokio::net::TcpStream::connect(address)).await
    {
        queued.push(stream.unwrap());
        assert!(queued.len() < 1000, "the listener's queue has no end");
    }
    let lab = lab([]);
    lab.write(
        "cofferdam.toml",
        format!(
            "[model]\nbase_url = \"http://{address}\"\nconnect_timeout = \"300ms\"\nattempt_timeout = \"30s\"\n\
             idle_timeout = \"30s\"\n[retry]\nmax_attempts = 1\n"
        ),
    );
    let report = lab.report(1).await;
    assert_eq!(report["error"]["kind"], "connect_failed", "{report:#}");
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_for_this_machine() {
    let proxy = HttpServer::start(Behaviour::body("from the proxy")).await;
    let lab = lab([Answer::text("Straight.")]);
    let mut command = lab.command(["run", "Go."]);
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url());
    }
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert_eq!((ran.stdout.as_str(), proxy.requests()), ("Straight.\n", 0), "{ran}");
}

#[tokio::test]
async fn the_proxy_of_the_environment_gets_requests_to_other_machines() {
    let proxy = HttpServer::start(Behaviour::body(r#"{"error":"from the proxy"}"#)).await;
    let lab = lab([]);
    lab.write("cofferdam.toml", "[model]\nbase_url = \"http://model.invalid\"\n");
    let mut command = lab.command(["run", "Go.", "--output", "json"]);
    command
        .env("HTTP_PROXY", proxy.url())
        .env_remove("NO_PROXY")
        .env_remove("no_proxy");
    let ran = finish(command.spawn().unwrap()).await.expect_code(1);
    assert!(ran.stdout.contains("from the proxy"), "{ran}");
    assert!(proxy.requests() > 0, "{ran}");
}

/// What a proxy refuses it refuses the next time as well; what it can't do now it may do later.
#[tokio::test]
async fn a_proxy_that_makes_no_tunnel_says_why() {
    for (status, kind, attempts) in [(403, "proxy_refused", 1), (501, "connect_failed", 3)] {
        let head = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let proxy = HttpServer::start(Behaviour::Answer(head.into_bytes())).await;
        let lab = lab([]);
        lab.write(
            "cofferdam.toml",
            "[model]\nbase_url = \"https://model.invalid\"\n[retry]\ninitial_delay = \"10ms\"\n",
        );
        let mut command = lab.command(["run", "Go.", "--output", "json"]);
        command
            .env("HTTPS_PROXY", proxy.url())
            .env_remove("NO_PROXY")
            .env_remove("no_proxy");
        let report = finish(command.spawn().unwrap()).await.expect_code(1).json();
        let error = &report["error"];
        assert_eq!(error["kind"], kind, "{report:#}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("the proxy ") && message.contains(&format!("HTTP {status}")),
            "{message}"
        );
        assert!(message.contains("HTTPS_PROXY"), "{message}");
        assert_eq!(report["metrics"]["model_attempts"], attempts, "{report:#}");
    }
}

#[tokio::test]
async fn the_model_breaker_opens_and_the_run_reports_it() {
    let answers = vec![Answer::error(500).forever()];
    let (report, requests) = report(answers, "[breaker]\nfailure_threshold = 2\n", 1).await;
    assert_eq!(
        (requests, &report["error"]["kind"]),
        (2, &json!("breaker_open")),
        "{report:#}"
    );
    assert_eq!(report["breakers"][0]["state"], "open");
}

#[tokio::test]
async fn unknown_events_and_odd_chunks_change_nothing() {
    let odd = StreamOptions {
        chunk: 1,
        ping_every: 2,
        unknown_events: true,
        write_bytes: 3,
        ..StreamOptions::default()
    };
    let (report, _) = report(vec![Answer::text("Grüße, 世界 🎉!").streamed(odd)], "", 0).await;
    assert_eq!(report["answer"], "Grüße, 世界 🎉!");
}

#[tokio::test]
async fn without_streaming_the_answer_is_the_same() {
    let (report, _) = report(vec![Answer::error(529), Answer::text("Here.")], "stream = false\n", 0).await;
    assert_eq!(report["answer"], "Here.");
}

#[tokio::test]
async fn the_request_follows_the_api_and_only_its_header_contains_the_key() {
    let lab = lab([Answer::error(401)]);
    let mut command = lab.command(["run", "--verbose", "--output", "json", "Go."]);
    command
        .env("COFFERDAM_LOGGING__FILE", "trace")
        .env("COFFERDAM_LOGGING__DIRECTORY", "logs");
    let ran = finish(command.spawn().unwrap()).await.expect_code(1);
    let request = &lab.simulator.requests()[0];
    assert_eq!(request.header("anthropic-version"), Some("2026-10-21"));
    assert_eq!(
        (&request.body["model"], &request.body["stream"]),
        (&json!("claude-sonnet-5-5"), &json!(true))
    );
    assert!(request.body.get("temperature").is_none());
    for entry in std::fs::read_dir(lab.path("logs")).unwrap() {
        let log = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!log.is_empty() && !log.contains(KEY), "{log}");
    }
    assert!(ran.stderr.contains("authentication"), "{ran}");
}

#[tokio::test]
async fn tools_are_sent_byte_identical_every_time() {
    let answers = || {
        vec![
            tool_call("calculate", json!({ "expression": "1+1" })),
            Answer::text("2"),
        ]
    };
    let more = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.weather]\ncomponent = \"builtin:weather\"\n";
    let mut seen = Vec::new();
    for _ in 0..2 {
        let lab = lab(answers());
        lab.configure(more);
        lab.report(0).await;
        seen.extend(
            lab.simulator
                .requests()
                .iter()
                .map(|request| request.body["tools"].to_string()),
        );
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]) && seen.len() == 4 && seen[0].contains("get_weather"));
}
