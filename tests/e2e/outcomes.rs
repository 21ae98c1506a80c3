//! Every outcome of a tool call, with a real cause: what the model reads, what the breaker counts, whether it is retried.
//!
//! The calls run in the real binary, so that the tests check the text sent to the model.

use std::process::Stdio;

use cofferdam::events::Outcome;
use cofferdam::simulator::{Answer, ToolCall};
use cofferdam_tests::{Behaviour, HttpServer, Lab, WatGuest, faulty, finish, tool_call};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::lab;

/// How the only call of a run ended.
struct CallResult {
    outcome: String,
    text: String,
    is_error: bool,
    stats: Value,
    breaker_failures: u64,
}

async fn run_call(lab: &Lab, tool: &str) -> CallResult {
    let report = lab.report(0).await;
    let requests = lab.simulator.requests();
    let result = &requests.last().unwrap().body["messages"][2]["content"][0];
    let stats = report["metrics"]["tools"][tool].clone();
    let outcomes = stats["outcomes"].as_object().unwrap();
    assert_eq!(outcomes.len(), 1, "{stats:#}");
    let breaker = report["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|breaker| breaker["name"] == format!("tool:{tool}"));
    CallResult {
        outcome: outcomes.keys().next().unwrap().clone(),
        text: result["content"][0]["text"].as_str().unwrap_or_default().to_owned(),
        is_error: result["is_error"].as_bool().unwrap_or(false),
        stats,
        breaker_failures: breaker.map_or(0, |breaker| breaker["failure_count"].as_u64().unwrap()),
    }
}

/// The events of a run, the report last.
async fn events(lab: &Lab) -> Vec<Value> {
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    ran.json_lines()
}

fn calling(tool: &str, input: Value) -> Lab {
    lab([tool_call(tool, input), Answer::text("I see.")])
}

/// Runs one call of the faulty plugin under these limits and checks its outcome.
async fn check(tool: &str, input: Value, limits: &str, outcome: Outcome, says: &str) -> CallResult {
    let lab = calling(tool, input);
    lab.configure(&faulty(limits));
    let call = run_call(&lab, tool).await;
    assert_eq!(call.outcome, outcome.name(), "{tool}: {}", call.text);
    assert!(call.text.contains(says), "{tool}: {}", call.text);
    assert_eq!(call.is_error, outcome != Outcome::Ok, "{tool}");
    call
}

#[tokio::test]
async fn ok() {
    let call = check("echo", json!({ "a": 1 }), "", Outcome::Ok, r#"{"a":1}"#).await;
    assert_eq!((&call.stats["successes"], call.breaker_failures), (&json!(1), 0));
    assert!(call.stats["fuel"].as_u64().unwrap() > 0 && call.stats["peak_memory_bytes"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn an_empty_result_is_ok() {
    check("empty_output", json!({}), "", Outcome::Ok, "returned nothing").await;
}

#[tokio::test]
async fn unknown_tool() {
    let lab = calling("no_such_tool", json!({}));
    lab.configure(&faulty(""));
    let call = run_call(&lab, "no_such_tool").await;
    assert_eq!((call.outcome.as_str(), call.is_error), ("unknown_tool", true));
    assert!(call.text.contains("loop_forever"), "{}", call.text);
}

/// The model chose the name. It is escaped, and once.
#[tokio::test]
async fn the_name_of_an_unknown_tool_is_escaped_once() {
    let lab = calling("no\nsuch\u{200b}tool", json!({}));
    lab.configure(&faulty(""));
    let call = run_call(&lab, r"no\nsuch\u{200b}tool").await;
    assert!(
        call.text.contains(r"There is no tool `no\nsuch\u{200b}tool`."),
        "{}",
        call.text
    );
}

#[tokio::test]
async fn invalid_input_names_every_violation() {
    let call = check(
        "exit",
        json!({ "code": 256, "also": 1 }),
        "",
        Outcome::InvalidInput,
        "/code",
    )
    .await;
    assert!(call.text.contains("also"), "{}", call.text);
    assert_eq!((call.breaker_failures, &call.stats["fuel"]), (0, &json!(0)));
}

#[tokio::test]
async fn invalid_input_reported_by_the_tool() {
    let call = check(
        "reject_input",
        json!({ "message": "not today" }),
        "",
        Outcome::InvalidInput,
        "not today",
    )
    .await;
    assert_eq!(call.breaker_failures, 0);
}

#[tokio::test]
async fn failed() {
    let call = check(
        "fail",
        json!({ "message": "the disk is gone" }),
        "",
        Outcome::Failed,
        "the disk is gone",
    )
    .await;
    assert_eq!(call.breaker_failures, 1);
}

#[tokio::test]
async fn unavailable_is_retried_only_for_idempotent_tools() {
    let limits = "timeout = \"5s\"";
    let input = json!({ "message": "try later", "retry_after_ms": 1 });
    let repeated = check("unavailable", input.clone(), limits, Outcome::Unavailable, "try later").await;
    assert_eq!(repeated.breaker_failures, 3, "each try counts");
    let once = check(
        "unavailable_once_only",
        input,
        limits,
        Outcome::Unavailable,
        "try later",
    )
    .await;
    assert_eq!(once.breaker_failures, 1);
}

#[tokio::test]
async fn unavailable_can_recover_before_the_retry() {
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(6);
    let until = soon.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let input = json!({ "retry_after_ms": 6100, "until_unix_ms": u64::try_from(until).unwrap() });
    let lab = calling("unavailable", input);
    lab.configure(&faulty(""));
    let events = events(&lab).await;
    let finished = events
        .iter()
        .find(|event| event["event"] == "tool_call_finished")
        .unwrap();
    assert_eq!(
        (&finished["outcome"], &finished["tries"], &finished["output"]),
        (&json!("ok"), &json!(2), &json!("available")),
        "{finished:#}"
    );
}

/// The retry gets the rest of the call's time. If it runs out, the tool's first error is still reported.
#[tokio::test]
async fn a_retry_without_time_does_not_hide_that_the_tool_was_unavailable() {
    let busy = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let server = HttpServer::start(Behaviour::AnswerOnce(busy.to_vec())).await;
    let lab = lab([]);
    lab.configure(&format!(
        "[plugins.weather]\ncomponent = \"builtin:weather\"\nhttp = [{{ url = \"{0}\" }}]\nconfig = {{ geocoding_url = \"{0}\", forecast_url = \"{0}\" }}\nlimits = {{ timeout = \"2s\" }}\n",
        server.url()
    ));
    let ran = lab.call_tool("get_weather", &json!({ "location": "Boston" })).await;
    let call = ran.expect_code(1).json();
    assert_eq!(
        (&call["outcome"], &call["tries"]),
        (&json!("unavailable"), &json!(2)),
        "{call:#}"
    );
    assert!(
        call["detail"].as_str().unwrap().contains("time ran out during a retry"),
        "{call:#}"
    );
}

#[tokio::test]
async fn an_excessive_retry_after_is_not_waited_for() {
    let input = json!({ "retry_after_ms": u64::MAX });
    let call = check("unavailable", input, "timeout = \"5s\"", Outcome::Unavailable, "").await;
    assert_eq!(call.breaker_failures, 1);
}

#[tokio::test]
async fn timeout_while_computing_and_while_waiting() {
    for (tool, input) in [
        ("loop_forever", json!({})),
        ("never_ready", json!({})),
        ("sleep", json!({ "ms": 60_000 })),
    ] {
        let limits = "timeout = \"300ms\"\nfuel = 1_000_000_000_000_000";
        let call = check(tool, input, limits, Outcome::Timeout, "timeout = 300ms").await;
        let took = call.stats["avg_duration_ms"].as_f64().unwrap();
        // Uninterrupted, they would take at least a minute.
        assert!((300.0..30_000.0).contains(&took), "{tool} was stopped after {took} ms");
        assert_eq!(call.breaker_failures, 1);
    }
}

#[tokio::test]
async fn out_of_fuel() {
    let call = check(
        "loop_forever",
        json!({}),
        "fuel = 50_000_000",
        Outcome::OutOfFuel,
        "fuel = 50000000",
    )
    .await;
    assert_eq!((&call.stats["fuel"], call.breaker_failures), (&json!(50_000_000), 1));
}

#[tokio::test]
async fn out_of_memory() {
    let call = check(
        "eat_memory",
        json!({}),
        "memory = \"16MiB\"",
        Outcome::OutOfMemory,
        "memory = 16MiB",
    )
    .await;
    let peak = call.stats["peak_memory_bytes"].as_u64().unwrap();
    assert!((8 << 20..=16 << 20).contains(&peak), "{peak}");
}

#[tokio::test]
async fn a_guest_can_survive_a_refused_memory_growth() {
    check(
        "eat_memory",
        json!({ "graceful": true }),
        "memory = \"16MiB\"",
        Outcome::Ok,
        "",
    )
    .await;
}

#[tokio::test]
async fn stack_overflow() {
    check("recurse", json!({}), "", Outcome::StackOverflow, "stack = 512KiB").await;
}

#[tokio::test]
async fn trapped_hides_internals_from_the_model() {
    for tool in ["panic", "unreachable", "exit"] {
        let call = check(tool, json!({}), "", Outcome::Trapped, "The tool crashed.").await;
        assert_eq!(call.text, "The tool crashed.");
        assert_eq!(call.breaker_failures, 1);
    }
    check("exit", json!({ "code": 0 }), "", Outcome::Trapped, "The tool crashed.").await;
}

#[tokio::test]
async fn invalid_output() {
    for (tool, input, says) in [("bad_json", json!({}), "not JSON"), ("bad_image", json!({}), "image")] {
        let call = check(tool, input, "", Outcome::InvalidOutput, says).await;
        assert_eq!(call.breaker_failures, 1);
    }
}

/// The text is for the model, so it doesn't matter that the host's parser couldn't build it.
#[tokio::test]
async fn json_of_any_depth_is_ok() {
    let call = check("deep_json", json!({ "depth": 10_000 }), "", Outcome::Ok, "[[[[").await;
    assert_eq!(call.breaker_failures, 0);
}

/// An instance needs a few gigabytes of address space, and the host has none left.
#[tokio::test]
async fn host_error_if_no_instance_can_be_created() {
    let lab = lab([
        Answer::text("Hello."),
        tool_call("x", json!({})),
        Answer::text("I see."),
    ]);
    // More tables than a pool slot has, so that memory is mapped for each call.
    let guest = WatGuest::named("x").items(&"(table 1 funcref)".repeat(64));
    lab.write("guest.wasm", guest.build());
    lab.configure("[plugins.wat]\ncomponent = \"guest.wasm\"\nrequired = true\n");
    let mut command = lab.command(["chat", "--output", "stream-json"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"Hello.\n").await.unwrap();
    lab.wait_for_model_request().await;

    let pid = child.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
    let limit = Rlimit {
        current: Some((kib << 10) + (1 << 30)),
        maximum: None,
    };
    prlimit(Pid::from_raw(i32::try_from(pid).unwrap()), Resource::As, limit).unwrap();
    stdin.write_all(b"Go.\n").await.unwrap();
    drop(stdin);

    let ran = finish(child).await.expect_code(0);
    let events = ran.json_lines();
    let finished = events
        .iter()
        .find(|event| event["event"] == "tool_call_finished")
        .unwrap();
    assert_eq!(finished["outcome"], Outcome::HostError.name(), "{finished:#}");
    // The model gets a number to quote; the operator gets the number and the reason.
    let output = finished["output"].as_str().unwrap();
    let id = output.strip_prefix("Internal error ").unwrap().trim_end_matches('.');
    let detail = finished["detail"].as_str().unwrap();
    assert!(detail.starts_with(id) && detail.len() > id.len() + 2, "{finished:#}");
}

#[tokio::test]
async fn breaker_open_after_the_threshold_without_a_call() {
    let fail = |number: u32| tool_call("fail", json!({ "message": number.to_string() }));
    let lab = lab([fail(1), fail(2), fail(3), Answer::text("I give up.")]);
    lab.configure(&format!(
        "{}[plugins.faulty.breaker]\nfailure_threshold = 2\n",
        faulty("")
    ));
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["fail"]["outcomes"],
        json!({ "failed": 2, "breaker_open": 1 })
    );
    let requests = lab.simulator.requests();
    let text = requests[3].body["messages"][6]["content"][0]["content"][0]["text"]
        .as_str()
        .unwrap();
    assert!(
        text.contains("temporarily unavailable") && text.contains("60 seconds"),
        "{text}"
    );
}

#[tokio::test]
async fn overloaded_if_all_permits_of_the_tool_are_in_use() {
    let two = Answer::tools((0..2).map(|number| ToolCall::new("sleep", json!({ "ms": 900 + number }))));
    let lab = lab([two, Answer::text("One of two.")]);
    let limits = faulty("concurrency = 1");
    lab.configure(&format!("[limits]\nqueue_timeout = \"100ms\"\n{limits}"));
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["sleep"]["outcomes"],
        json!({ "ok": 1, "overloaded": 1 })
    );
}

#[tokio::test]
async fn a_fallback_replaces_failures_and_is_marked() {
    let lab = calling("panic", json!({}));
    lab.configure(&format!(
        "{}[plugins.faulty.tools.panic]\nfallback = \"Ask me later.\"\n",
        faulty("")
    ));
    let report = lab.report(0).await;
    let requests = lab.simulator.requests();
    let result = &requests[1].body["messages"][2]["content"][0];
    assert_eq!(result["content"][0]["text"], "[degraded] Ask me later.");
    assert!(result["is_error"].is_null(), "a fallback is a normal result: {result}");
    let stats = &report["metrics"]["tools"]["panic"];
    assert_eq!(
        (&report["degraded"], &stats["degraded"], &stats["successes"]),
        (&json!(true), &json!(1), &json!(0))
    );
}

#[tokio::test]
async fn a_fallback_does_not_hide_a_mistake_of_the_model() {
    let lab = calling("exit", json!({ "code": "x" }));
    lab.configure(&format!(
        "{}[plugins.faulty.tools.exit]\nfallback = \"Ask me later.\"\n",
        faulty("")
    ));
    let call = run_call(&lab, "exit").await;
    assert!(call.is_error && call.text.contains("/code"), "{}", call.text);
}

#[tokio::test]
async fn calls_of_a_turn_run_concurrently_and_are_answered_in_order() {
    let calls = [
        ("sleep", json!({ "ms": 600 })),
        ("fail", json!({})),
        ("echo", json!({ "n": 1 })),
        ("sleep", json!({ "ms": 601 })),
    ];
    let lab = lab([
        Answer::tools(calls.map(|(name, input)| ToolCall::new(name, input))),
        Answer::text("All four."),
    ]);
    lab.configure(&faulty(""));
    let events = events(&lab).await;
    let requests = lab.simulator.requests();
    let uses = requests[1].body["messages"][1]["content"].as_array().unwrap();
    let results = requests[1].body["messages"][2]["content"].as_array().unwrap();
    let ids = |blocks: &[Value], key: &str| blocks.iter().map(|block| block[key].clone()).collect::<Vec<_>>();
    assert_eq!(ids(uses, "id"), ids(results, "tool_use_id"));
    let began = events.iter().rposition(|event| event["event"] == "tool_call_started");
    let slept = events
        .iter()
        .position(|event| event["event"] == "tool_call_finished" && event["tool"] == "sleep");
    assert!(
        began.unwrap() < slept.unwrap(),
        "all begin before one that sleeps is done: {events:#?}"
    );
}

#[tokio::test]
async fn no_state_survives_a_call() {
    let calls = || Answer::tools((0..4).map(|_| ToolCall::new("state", json!({}))));
    let lab = lab([calls(), calls(), Answer::text("So.")]);
    lab.configure(&faulty(""));
    lab.report(0).await;
    let requests = lab.simulator.requests();
    let messages = requests[2].body["messages"].as_array().unwrap();
    let results: Vec<&str> = [2, 4]
        .iter()
        .flat_map(|message| messages[*message]["content"].as_array().unwrap())
        .map(|result| result["content"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["1"; 8]);
}
