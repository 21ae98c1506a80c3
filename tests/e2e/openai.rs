//! `[model] provider = "openai"`: the real binary and a server of the Chat Completions API, over real sockets.

use cofferdam::simulator::{
    Answer, ErrorAnswer, FaultKind, FaultPoint, MessageAnswer, ReceivedRequest, StreamOptions, ToolCall, UsageAnswer,
    UsageFigures,
};
use cofferdam_tests::{Lab, finish};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab;

const CALCULATOR: &str = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";

const EVENT_STREAM: &str = "text/event-stream";

/// A lab whose model is a server of this API. The default model has a price.
fn openai(answers: impl IntoIterator<Item = Answer>, more: &str) -> Lab {
    let lab = lab(answers);
    lab.configure(&format!("provider = \"openai\"\n{more}"));
    lab
}

async fn report(answers: Vec<Answer>, more: &str, code: i32) -> (Value, Vec<ReceivedRequest>) {
    let lab = openai(answers, more);
    let report = lab.report(code).await;
    (report, lab.simulator.requests())
}

fn multiply(a: u32, b: u32) -> ToolCall {
    ToolCall::new("calculate", json!({ "expression": format!("{a} * {b}") }))
}

/// A streamed answer, as its server wrote it.
fn streamed(chunks: &[Value]) -> Answer {
    let events: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    Answer::raw(200, EVENT_STREAM, events)
}

#[tokio::test]
async fn a_run_with_parallel_tools_streamed_and_not() {
    for stream in [true, false] {
        let both = MessageAnswer {
            thinking: Some("hm".to_owned()),
            text: "Let me see.".to_owned(),
            tools: vec![multiply(25, 17), multiply(2, 3)],
            ..MessageAnswer::default()
        };
        let answers = vec![Answer::message(both), Answer::text("It is {{last_tool_results}}.")];
        let (report, requests) = report(answers, &format!("stream = {stream}\n{CALCULATOR}"), 0).await;
        assert_eq!(report["answer"], "It is 425\n6.");
        assert_eq!(report["metrics"]["tool_calls"], 2);
        assert!(
            report["metrics"]["estimated_cost_usd"].as_str().unwrap() > "0.000000",
            "{report:#}"
        );
        assert!(
            requests.iter().all(|request| request.path == "/v1/chat/completions"),
            "{requests:#?}"
        );
        let first = &requests[0].body;
        assert_eq!((&first["stream"], &first["max_tokens"]), (&json!(stream), &json!(4096)));
        assert_eq!(first["tools"][0]["function"]["name"], "calculate");
        let messages = requests[1].body["messages"].as_array().unwrap();
        let roles: Vec<&str> = messages
            .iter()
            .map(|message| message["role"].as_str().unwrap())
            .collect();
        assert_eq!(roles, ["user", "assistant", "tool", "tool"]);
        assert_eq!(messages[1]["content"], "Let me see.");
        // Some vendors refuse an answer with calls without it.
        assert_eq!(messages[1]["reasoning_content"], "hm");
        for (result, content) in [(2, "425"), (3, "6")] {
            assert_eq!(messages[result]["content"], content);
            assert_eq!(
                messages[result]["tool_call_id"],
                messages[1]["tool_calls"][result - 2]["id"]
            );
        }
    }
}

#[tokio::test]
async fn a_base_url_is_read_as_servers_document_it() {
    let lab = lab([Answer::text("Here.").forever()]);
    for below in ["", "/", "/v1", "/v1/", "/v1/chat/completions"] {
        let url = lab.simulator.url() + below;
        lab.write(
            "cofferdam.toml",
            format!("[model]\nprovider = \"openai\"\nbase_url = \"{url}\"\n"),
        );
        assert_eq!(lab.report(0).await["answer"], "Here.", "{url}");
    }
}

/// The default variable holds the key of another vendor.
#[tokio::test]
async fn only_a_key_that_is_named_is_sent() {
    for (more, sent) in [
        ("", None),
        // A file that was written for the vendor's own API still has it.
        ("api_key_env = \"ANTHROPIC_API_KEY\"\n", None),
        ("api_key_env = \"CHAT_API_KEY\"\n", Some("[redacted]")),
    ] {
        let (_, requests) = report(vec![Answer::text("Here.")], more, 0).await;
        assert_eq!(requests[0].header("authorization"), sent);
        assert_eq!(
            (requests[0].header("x-api-key"), requests[0].header("anthropic-version")),
            (None, None)
        );
    }
    let lab = openai([Answer::text("Here.")], "api_key_env = \"NO_SUCH_KEY\"\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(2);
    assert!(
        ran.stderr.contains("NO_SUCH_KEY") && lab.simulator.requests().is_empty(),
        "{ran}"
    );
    let doctor = lab.call(["doctor"]).await;
    assert!(doctor.stdout.contains("NO_SUCH_KEY"), "{doctor}");
    lab.configure("provider = \"openai\"\n");
    let doctor = lab.call(["doctor"]).await;
    assert!(doctor.stdout.contains("without a key"), "{doctor}");
}

#[tokio::test]
async fn the_key_is_masked_where_a_server_echoes_it() {
    let echo = Answer::error_with(ErrorAnswer {
        status: 401,
        message: Some(format!("Incorrect API key provided: {}", cofferdam_tests::KEY)),
        ..ErrorAnswer::default()
    });
    let (report, requests) = report(vec![echo], "api_key_env = \"CHAT_API_KEY\"\n", 1).await;
    assert_eq!(
        (&report["error"]["kind"], requests.len()),
        (&json!("authentication"), 1)
    );
    let message = report["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("invalid_api_key") && message.contains("[redacted]"),
        "{message}"
    );
    assert!(
        report["error"]["request_id"].is_string(),
        "from x-request-id: {report:#}"
    );
}

#[tokio::test]
async fn statuses_mean_what_they_mean_elsewhere() {
    for status in [408, 409, 500, 502, 503, 504] {
        let (report, requests) = report(vec![Answer::error(status), Answer::text("Here.")], "", 0).await;
        assert_eq!((&report["answer"], requests.len()), (&json!("Here."), 2), "{status}");
    }
    for (status, kind) in [
        (400, "invalid_request"),
        (402, "spend_limit"),
        (403, "permission"),
        (404, "not_found"),
    ] {
        let (report, requests) = report(vec![Answer::error(status).forever()], "", 1).await;
        assert_eq!(
            (&report["error"]["kind"], requests.len()),
            (&json!(kind), 1),
            "{status}"
        );
    }
    let busy = Answer::error(429).header("retry-after", "1");
    let (waited, _) = report(vec![busy, Answer::text("Here.")], "", 0).await;
    assert!(waited["metrics"]["duration_ms"].as_u64().unwrap() >= 1000, "{waited:#}");
    let body = json!({ "error": { "message": "Your quota is used up.", "type": "insufficient_quota", "code": "insufficient_quota" } });
    let broke = Answer::raw(429, "application/json", body.to_string());
    let (report, requests) = report(vec![broke.forever()], "", 1).await;
    assert_eq!((&report["error"]["kind"], requests.len()), (&json!("spend_limit"), 1));
}

/// The prompt leaves the conversation, so that the next one isn't refused with it.
#[tokio::test]
async fn a_filtered_prompt_is_refused_and_left_out() {
    let filtered = Answer::error_with(ErrorAnswer {
        status: 400,
        error_code: Some("content_filter".to_owned()),
        message: Some("The prompt was filtered.".to_owned()),
        ..ErrorAnswer::default()
    });
    let lab = openai([filtered, Answer::text("Here.")], "");
    let run = async |prompt, code| {
        let ran = lab.call(["run", "--session", "s", "--output", "json", prompt]).await;
        ran.expect_code(code).json()
    };
    let refused = run("Something bad.", 1).await;
    assert_eq!(
        (&refused["outcome"], &refused["metrics"]["estimated_cost_usd"]),
        (&json!("refused"), &json!("0.000000"))
    );
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("content_filter") && message.contains("The prompt was filtered."),
        "{message}"
    );
    assert_eq!(run("Something good.", 0).await["answer"], "Here.");
    let last = lab.simulator.requests()[1].body.to_string();
    assert!(last.contains("good") && !last.contains("bad"), "{last}");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_said_to_be() {
    let body = json!({ "error": { "message": "This model's maximum context length is 8192 tokens.", "type": "BadRequestError", "code": 400 } });
    let long = Answer::raw(400, "application/json", body.to_string());
    let (report, _) = report(vec![long.forever()], "", 1).await;
    assert_eq!(report["outcome"], "context_overflow");
}

#[tokio::test]
async fn faults_in_a_stream_are_retried_before_any_output_was_shown() {
    for fault in [
        FaultKind::Reset,
        FaultKind::Close,
        FaultKind::Cut,
        FaultKind::overloaded(),
    ] {
        let broken = Answer::text("Half an answer that").with_fault(fault.clone(), FaultPoint::Events(2));
        let (report, requests) = report(vec![broken, Answer::text("A whole one.")], "", 0).await;
        assert_eq!(
            (&report["answer"], requests.len()),
            (&json!("A whole one."), 2),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_without_its_mark_is_whole_after_a_finish_reason() {
    for omit in [&["message_stop"][..], &["message_delta"]] {
        let omit = omit.iter().map(|kind| (*kind).to_owned()).collect();
        let answer = Answer::text("All of it.").streamed(StreamOptions {
            omit,
            ..StreamOptions::default()
        });
        let (report, requests) = report(vec![answer], "", 0).await;
        assert_eq!((&report["answer"], requests.len()), (&json!("All of it."), 1));
    }
    let neither = StreamOptions {
        omit: vec!["message_stop".to_owned(), "message_delta".to_owned()],
        ..StreamOptions::default()
    };
    let answers = vec![Answer::text("Half").streamed(neither), Answer::text("Whole.")];
    let (report, requests) = report(answers, "", 0).await;
    assert_eq!((&report["answer"], requests.len()), (&json!("Whole."), 2));
}

/// What Ollama and gateways send, in their own bytes.
#[tokio::test]
async fn unusual_streams_are_read() {
    let ollama = streamed(&[
        json!({ "id": "chatcmpl-1", "model": "llama3.2", "choices": [{ "index": 0, "delta": { "role": "assistant", "content": "",
            "tool_calls": [{ "id": "call_x", "type": "function", "function": { "name": "calculate", "arguments": "{\"expression\":\"6 * 7\"}" } }] },
            "finish_reason": "stop" }] }),
    ]);
    // LiteLLM: another id for every chunk, one index for all calls, arguments that aren't a string.
    let call = |id: &str, arguments: Value| {
        json!({ "id": id, "choices": [{ "delta": { "tool_calls": [{ "index": 0, "id": id,
            "function": { "name": "calculate", "arguments": arguments } }] } }] })
    };
    let litellm = streamed(&[
        call("a", json!({ "expression": "1 + 1" })),
        call("b", json!("{\"expression\": \"2 + 2\"}")),
        json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }], "usage": { "prompt_tokens": 9, "completion_tokens": 5 } }),
    ]);
    // A gateway that doesn't stream what it was asked to stream.
    let whole = Answer::raw(
        200,
        "text/plain",
        json!({ "choices": [{ "message": { "content": "Done." }, "finish_reason": "stop" }] }).to_string(),
    );
    let (report, requests) = report(vec![ollama, litellm, whole], CALCULATOR, 0).await;
    assert_eq!((&report["answer"], requests.len()), (&json!("Done."), 3));
    let messages = requests[2].body["messages"].as_array().unwrap();
    let results: Vec<&str> = messages
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| message["content"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["42", "2", "4"]);
}

#[tokio::test]
async fn usage_is_booked_and_missing_usage_costs_the_reservation() {
    let figures = UsageFigures {
        input_tokens: Some(700),
        output_tokens: Some(52),
        ..UsageFigures::default()
    };
    let answer = |usage| {
        Answer::message(MessageAnswer {
            text: "Paid.".to_owned(),
            usage,
            ..MessageAnswer::default()
        })
    };
    let (exact, _) = report(vec![answer(UsageAnswer::Given(figures))], "", 0).await;
    assert_eq!(exact["metrics"]["estimated_cost_usd"], "0.001920");
    let (full, _) = report(vec![answer(UsageAnswer::Omitted)], "", 0).await;
    assert_eq!(full["metrics"]["charged_in_full"], 1, "{full:#}");
    assert!(
        full["metrics"]["estimated_cost_usd"].as_str().unwrap() > "0.04",
        "{full:#}"
    );
}

/// A budget is in force by default, so a model of one's own needs a row.
#[tokio::test]
async fn a_local_model_can_be_free() {
    let lab = openai([Answer::text("Here.").forever()], "model = \"llama3.2\"\n");
    let refused = lab.report(1).await;
    assert_eq!(refused["error"]["kind"], "unknown_price");
    lab.configure("provider = \"openai\"\nmodel = \"llama3.2\"\n[budget]\nprices = \"prices.toml\"\n");
    lab.write("prices.toml", "\"llama3.2\" = [{ free = true }]\n");
    let report = lab.report(0).await;
    assert_eq!(
        (&report["answer"], &report["metrics"]["estimated_cost_usd"]),
        (&json!("Here."), &json!("0.000000"))
    );
    assert_eq!(lab.simulator.requests()[0].body["model"], "llama3.2");
}

/// The conversation is neutral: what only one vendor understands stays with it.
#[tokio::test]
async fn a_session_goes_on_with_another_vendor() {
    let thinking = MessageAnswer {
        thinking: Some("hm".to_owned()),
        tools: vec![multiply(25, 17)],
        ..MessageAnswer::default()
    };
    let lab = openai(
        [
            Answer::message(thinking),
            Answer::text("It is 425."),
            Answer::text("Twice."),
            Answer::text("Thrice."),
        ],
        CALCULATOR,
    );
    let run = async |prompt| {
        lab.call(["run", "--session", "s", "--output", "json", prompt])
            .await
            .expect_code(0)
            .json()
    };
    assert_eq!(run("Go.").await["answer"], "It is 425.");
    lab.configure(CALCULATOR);
    assert_eq!(run("More.").await["answer"], "Twice.");
    lab.configure(&format!("provider = \"openai\"\n{CALCULATOR}"));
    assert_eq!(run("Even more.").await["answer"], "Thrice.");
    let requests = lab.simulator.requests();
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/v1/chat/completions",
            "/v1/chat/completions",
            "/v1/messages",
            "/v1/chat/completions"
        ]
    );
    assert!(
        !requests[2].body.to_string().contains("reasoning"),
        "{:#}",
        requests[2].body
    );
    let last = requests[3].body["messages"].as_array().unwrap();
    let roles: Vec<&str> = last.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(
        roles,
        ["user", "assistant", "tool", "assistant", "user", "assistant", "user"]
    );
}

#[tokio::test]
async fn ctrl_c_in_mid_stream_cancels() {
    let stalled = Answer::text("Half an answer").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = openai([stalled], "");
    let child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
    lab.wait_for_model_request().await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let report = finish(child).await.expect_code(130).json();
    assert_eq!(report["outcome"], "cancelled");
    // This API reports usage at the end alone, so nobody knows what the attempt cost.
    assert_eq!(report["metrics"]["charged_in_full"], 1, "{report:#}");
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let lab = lab([]);
    lab.write("cofferdam.toml", "[model]\nprovider = \"openai\"\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(2);
    assert!(
        ran.stderr.contains("\"openai\" needs the server's address in base_url"),
        "{ran}"
    );
    // What it shows can be loaded again.
    lab.configure("provider = \"openai\"\ntemperature = 0.5\nmax_tokens_field = \"max_completion_tokens\"\n");
    let shown = lab.call(["config", "show"]).await.expect_code(0).stdout;
    assert!(
        shown.contains("auth = \"bearer\"") && !shown.contains("ANTHROPIC_API_KEY"),
        "{shown}"
    );
    lab.write("cofferdam.toml", &shown);
    assert_eq!(
        lab.call(["config", "show"]).await.expect_code(0).stdout.lines().count(),
        shown.lines().count()
    );
}
