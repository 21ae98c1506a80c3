//! Every limit of a call is hit at least once, through `cofferdam tool call`, and named in what the model would read.

use std::time::Duration;

use cofferdam_tests::{Behaviour, HttpServer, Lab, WatGuest, WatTool, faulty};
use serde_json::{Value, json};

use crate::lab;

/// `tool call` with the configured faulty plugin.
async fn call(lab: &Lab, tool: &str, input: &Value) -> Value {
    let ran = lab.call_tool(tool, input).await;
    assert!(ran.code() < 2, "{ran}");
    ran.json()
}

async fn check(limits: &str, tool: &str, input: Value, outcome: &str, says: &str) -> Value {
    let lab = lab([]);
    lab.configure(&faulty(limits));
    let result = call(&lab, tool, &input).await;
    assert_eq!(result["outcome"], outcome, "{result:#}");
    assert!(result["content"].to_string().contains(says), "{result:#}");
    result
}

#[tokio::test]
async fn host_calls() {
    check("host_calls = 1000", "spin_clock", json!({ "count": 500 }), "ok", "").await;
    let result = check(
        "host_calls = 1000",
        "spin_clock",
        json!({}),
        "out_of_fuel",
        "host_calls = 1000",
    )
    .await;
    let calls = result["host_calls"].as_u64().unwrap();
    assert_eq!(calls, 1000);
}

#[tokio::test]
async fn fuel_yields_do_not_count_as_host_calls() {
    let result = check("fuel = 100_000_000", "loop_forever", json!({}), "out_of_fuel", "fuel").await;
    assert!(result["host_calls"].as_u64().unwrap() < 100, "{result:#}");
}

#[tokio::test]
async fn handles() {
    check("handles = 100", "leak_handles", json!({ "count": 50 }), "ok", "").await;
    for kind in ["pollable", "fields"] {
        check(
            "handles = 100",
            "leak_handles",
            json!({ "kind": kind }),
            "out_of_memory",
            "handles = 100",
        )
        .await;
    }
}

#[tokio::test]
async fn input_bytes() {
    check(
        "input_bytes = \"1KiB\"",
        "echo",
        json!({ "a": "x".repeat(900) }),
        "ok",
        "xxx",
    )
    .await;
    check(
        "input_bytes = \"1KiB\"",
        "echo",
        json!({ "a": "x".repeat(1100) }),
        "invalid_input",
        "input_bytes",
    )
    .await;
}

#[tokio::test]
async fn output_bytes() {
    check(
        "output_bytes = \"10KiB\"",
        "big_output",
        json!({ "bytes": 10_240 }),
        "ok",
        "",
    )
    .await;
    check(
        "output_bytes = \"10KiB\"",
        "big_output",
        json!({ "bytes": 10_241 }),
        "invalid_output",
        "output_bytes",
    )
    .await;
    // Far more than the limit is not even copied out of the guest.
    check(
        "output_bytes = \"10KiB\"",
        "big_output",
        json!({ "bytes": 20_000_000 }),
        "invalid_output",
        "the result is larger than output_bytes allows (10KiB)",
    )
    .await;
    // What a guest hands over in a host call is bounded alike.
    let limits = "output_bytes = \"10KiB\"";
    check(limits, "long_key", json!({ "bytes": 70_000 }), "ok", "null").await;
    let says = "output_bytes = 10KiB";
    check(limits, "long_key", json!({ "bytes": 80_000 }), "out_of_memory", says).await;
}

#[tokio::test]
async fn the_text_of_an_error_is_output_too() {
    for tool in ["fail", "reject_input", "unavailable"] {
        let input = json!({ "message": "x".repeat(1025) });
        check(
            "output_bytes = \"1KiB\"",
            tool,
            input,
            "invalid_output",
            "error has 1025 bytes",
        )
        .await;
    }
}

#[tokio::test]
async fn one_host_call_may_carry_no_more_than_a_result() {
    let result = check("", "random", json!({ "bytes": 1_000_000 }), "trapped", "crashed").await;
    assert!(
        result["detail"].as_str().unwrap().contains("exceeds limit 65536"),
        "{result:#}"
    );
}

#[tokio::test]
async fn log_bytes() {
    for stream in ["stdout", "stderr"] {
        let input = json!({ "bytes": 100_000, "stream": stream });
        let result = check("log_bytes = \"1KiB\"", "flood_log", input, "ok", "").await;
        let dropped = result["log_bytes_dropped"].as_u64().unwrap();
        assert!(dropped >= 100_000 - 1024, "{dropped}");
    }
}

async fn with_server(
    limits: &str,
    tool: &str,
    behaviour: Behaviour,
    input: impl FnOnce(&str) -> Value,
) -> (Value, u32) {
    let server = HttpServer::start(behaviour).await;
    let lab = lab([]);
    let grant = format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"GET\", \"POST\"] }}]\n",
        server.url()
    );
    lab.configure(&format!("{grant}[plugins.faulty.limits]\n{limits}\n"));
    (call(&lab, tool, &input(&server.url())).await, server.requests())
}

#[tokio::test]
async fn http_requests() {
    let input = |url: &str| json!({ "url": url, "count": 5 });
    let (result, requests) = with_server("http_requests = 3", "many_http", Behaviour::body("hi"), input).await;
    assert_eq!(result["http_requests"], 3, "{result:#}");
    let text = result["content"][0]["text"].as_str().unwrap();
    assert_eq!(
        text, r#"[200,200,200,"HttpRequestDenied","HttpRequestDenied"]"#,
        "{result:#}"
    );
    assert_eq!(requests, 3);
    assert!(
        result["detail"].as_str().unwrap().contains("http_requests"),
        "{result:#}"
    );
}

#[tokio::test]
async fn http_response_bytes() {
    let fetch = |url: &str| json!({ "url": url });
    let body = |bytes: usize| Behaviour::body("x".repeat(bytes));
    let limits = "http_response_bytes = \"10KiB\"";
    let (result, _) = with_server(limits, "fetch", body(10_240), fetch).await;
    assert!(result["content"].to_string().contains("10240"), "{result:#}");
    let (result, _) = with_server(limits, "fetch", body(10_241), fetch).await;
    assert!(
        result["detail"].to_string().contains("limit http_response_bytes"),
        "{result:#}"
    );
    assert!(
        result["content"].to_string().contains("body size exceeds limit"),
        "{result:#}"
    );
}

#[tokio::test]
async fn http_request_bytes() {
    let limits = "http_request_bytes = \"100KiB\"";
    for (bytes, is_sent) in [(102_400, true), (102_401, false), (10_000_000, false)] {
        let upload = |url: &str| json!({ "url": url, "bytes": bytes });
        let (result, _) = with_server(limits, "upload", Behaviour::Swallow, upload).await;
        let answer: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        match is_sent {
            true => assert_eq!(
                (&answer["status"], &answer["sent"]),
                (&json!(200), &json!(bytes)),
                "{result:#}"
            ),
            false => {
                let error = answer["error"].as_str().unwrap();
                assert!(error.contains("HttpRequestBodySize(Some(102400))"), "{result:#}");
                // What the host takes and has not sent yet is little.
                assert!(answer["sent"].as_u64().unwrap() < 300_000, "{result:#}");
            }
        }
    }
}

/// What comes before the answer is no body, and is not free either.
#[tokio::test]
async fn heads_without_end() {
    let fetch = |url: &str| json!({ "url": url });
    let (result, _) = with_server("http_response_bytes = \"1MiB\"", "fetch", Behaviour::Heads, fetch).await;
    // It did not wait for its deadline.
    assert_eq!(result["outcome"], "ok", "{result:#}");
    assert!(
        result["content"].to_string().contains("HttpResponseBodySize"),
        "{result:#}"
    );
    assert!(
        result["detail"].to_string().contains("limit http_response_bytes"),
        "{result:#}"
    );
}

/// A plugin that is stopped by a clock: everything holds but the count.
#[tokio::test]
async fn metering() {
    let lab = lab([]);
    let configure = |metering: &str, limits: &str| {
        lab.configure(&format!(
            "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nmetering = \"{metering}\"\nlimits = {{ {limits} }}\n"
        ));
    };
    let work = json!({ "what": "fib", "size": 30 });
    configure("fuel", "fuel = 3_000_000");
    assert_eq!(call(&lab, "work", &work).await["outcome"], "out_of_fuel");
    configure("epoch", "fuel = 3_000_000, timeout = \"500ms\", memory = \"8MiB\"");
    let done = call(&lab, "work", &work).await;
    assert_eq!((&done["outcome"], &done["fuel"]), (&json!("ok"), &json!(0)), "{done:#}");
    let stopped = call(&lab, "loop_forever", &json!({})).await;
    assert_eq!(stopped["outcome"], "timeout", "{stopped:#}");
    let overshoot = stopped["duration_ms"].as_f64().unwrap() - 500.0;
    assert!((0.0..200.0).contains(&overshoot), "{overshoot} ms");
    assert_eq!(call(&lab, "eat_memory", &json!({})).await["outcome"], "out_of_memory");
    assert_eq!(call(&lab, "recurse", &json!({})).await["outcome"], "stack_overflow");
    let checked = lab.call(["config", "check"]).await.expect_code(0);
    assert!(checked.stderr.contains("limits.fuel has no effect"), "{checked}");
    configure("none", "");
    let refused = lab.call(["config", "check"]).await.expect_code(2);
    assert!(refused.stderr.contains("plugins.faulty.metering"), "{refused}");
}

/// A lab with a handwritten component as the plugin `wat`.
fn wat_lab(guest: &WatGuest, limits: &str) -> Lab {
    let lab = lab([]);
    lab.write("guest.wasm", guest.build());
    lab.configure(&format!(
        "[plugins.wat]\ncomponent = \"guest.wasm\"\nrequired = true\n[plugins.wat.limits]\n{limits}\n"
    ));
    lab
}

#[tokio::test]
async fn table_elements() {
    let guest = WatGuest::named("grow")
        .items("(table $table 10 funcref)")
        // Grows the table until it is refused, then crashes over it.
        .call("(loop $again (br_if $again (i32.ne (table.grow $table (ref.null func) (i32.const 10)) (i32.const -1)))) unreachable");
    let lab = wat_lab(&guest, "table_elements = 100");
    let result = call(&lab, "grow", &json!({})).await;
    assert_eq!(result["outcome"], "out_of_memory", "{result:#}");
    assert!(
        result["content"].to_string().contains("table_elements = 100"),
        "{result:#}"
    );
}

#[tokio::test]
async fn core_instances() {
    // A component that imports anything is made of several.
    let lab = lab([]);
    lab.configure(&format!("{}[plugins.calculator]\ncomponent = \"builtin:calculator\"\nrequired = true\nlimits = {{ core_instances = 1 }}\n", ""));
    let ran = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(ran.stderr.contains("more than core_instances allows (1)"), "{ran}");
}

/// Passive segments are copied for each instance, by the engine and into its own memory.
#[tokio::test]
async fn what_the_engine_keeps_for_an_instance_is_memory() {
    const SEGMENTS: usize = 40_000;
    let guest = WatGuest::named("full").items(&"(elem funcref)".repeat(SEGMENTS));
    let lab = wat_lab(&guest, "");
    let peak = call(&lab, "full", &json!({})).await["peak_memory_bytes"]
        .as_u64()
        .unwrap();
    assert!(peak > 32 * SEGMENTS as u64, "{peak}");
    // A call may have three eighths of this.
    lab.configure("[limits]\nhost_memory = \"4MiB\"\n[plugins.wat]\ncomponent = \"guest.wasm\"\nrequired = true\n");
    let refused = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(refused.stderr.contains("host_memory"), "{refused}");
    let lab = wat_lab(&guest, "memory = \"2MiB\"");
    let refused = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(refused.stderr.contains("more than memory allows"), "{refused}");
}

#[tokio::test]
async fn memory_that_is_too_large_from_the_start() {
    let lab = wat_lab(&WatGuest::named("tiny"), "memory = \"64KiB\"");
    let ran = lab.call(["tool", "call", "tiny", "{}"]).await.expect_code(2);
    assert!(ran.stderr.contains("memory"), "{ran}");
}

#[tokio::test]
async fn list_tools_runs_under_the_same_limits() {
    for (list, limits, says) in [
        ("(loop $again (br $again))", "timeout = \"200ms\"", "timeout"),
        ("(loop $again (br $again))", "fuel = 1_000_000", "fuel"),
        ("unreachable", "", "list-tools"),
    ] {
        let lab = wat_lab(&WatGuest::named("never").list(list), limits);
        let ran = lab.call(["tool", "list"]).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{ran}");
    }
}

#[tokio::test]
async fn component_bytes() {
    let lab = wat_lab(&WatGuest::named("tiny"), "component_bytes = 100");
    let ran = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(
        ran.stderr.contains("component_bytes") && ran.stderr.contains("hint:"),
        "{ran}"
    );
}

/// A component that nobody compiled before, so that the cache has none of it.
fn fresh_guest() -> WatGuest {
    let unique = format!("fresh_{}", std::process::id());
    // Thousands of functions with a long body each.
    let body = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (local.get 0)))".repeat(200);
    let functions: String = (0..2000).map(|_| format!("(func (param i32) {body})")).collect();
    let tool = WatTool {
        description: format!("{unique} {:?}", std::time::SystemTime::now()),
        ..WatTool::named("fresh")
    };
    WatGuest::new([tool]).items(&functions)
}

#[tokio::test]
async fn compile_timeout() {
    let lab = wat_lab(&fresh_guest(), "compile_timeout = \"100ms\"");
    let ran = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(ran.stderr.contains("compile_timeout"), "{ran}");
}

#[tokio::test]
async fn compile_memory() {
    let lab = wat_lab(&fresh_guest(), "compile_memory = \"64MiB\"");
    let ran = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(ran.stderr.contains("compile_memory"), "{ran}");
}

#[tokio::test]
async fn the_names_in_a_guest_decide_nothing_and_cost_nothing() {
    // One name holds the engine's words for a limit; the other doubles with every pair of letters when it is demangled.
    let bomb = format!("_Z1f1AIiiE{}", (0..24).map(|_| "S_S_").collect::<String>());
    let long = "x".repeat(50_000);
    for name in ["store handle limit exceeded", &bomb, &long] {
        let guest = WatGuest::named("named")
            .items(&format!("(func $\"{name}\" unreachable)"))
            .call(&format!("(call $\"{name}\")"));
        let lab = wat_lab(&guest, "timeout = \"2s\"");
        let result = call(&lab, "named", &json!({})).await;
        assert_eq!(result["outcome"], "trapped", "{result:#}");
        let detail = result["detail"].as_str().unwrap();
        assert!(detail.contains("unreachable") && detail.len() < 5_000, "{detail}");
    }
}

/// Segments that are written over each other fit the memory, and cost what they weigh all the same.
#[tokio::test]
async fn what_is_written_to_make_an_instance() {
    let segments = |number: usize| {
        let segment = format!(r#"(data (i32.const 0) "{}")"#, "x".repeat(60_000));
        WatGuest::named("made").items(&segment.repeat(number))
    };
    let fits = call(&wat_lab(&segments(3), "memory = \"512KiB\""), "made", &json!({})).await;
    assert_eq!(fits["outcome"], "ok", "{fits:#}");
    let ran = wat_lab(&segments(10), "memory = \"512KiB\"")
        .call(["tool", "list"])
        .await
        .expect_code(2);
    assert!(
        ran.stderr.contains("making one instance") && ran.stderr.contains("memory allows (512KiB)"),
        "{ran}"
    );
}

/// The most memory that the host ever took while a tool hoards, in bytes, and what the tool says it holds.
async fn memory_while_hoarding(kind: &str, count: u64) -> (u64, u64) {
    let lab = lab([]);
    lab.configure(&faulty(""));
    // The component is compiled beforehand.
    lab.call(["tool", "list"]).await.expect_code(0);
    let input = json!({ "kind": kind, "count": count, "hold_ms": 500 }).to_string();
    let child = lab
        .command(["tool", "call", "hoard", &input, "--output", "json"])
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let peak = tokio::spawn(async move {
        let mut peak = 0;
        // Until the process has gone. Nothing reports another process's peak, so this polls.
        while let Ok(status) = std::fs::read_to_string(&status) {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let Some(line) = line else { break };
            peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        peak
    });
    let result = cofferdam_tests::finish(child).await.json();
    assert_eq!(result["outcome"], "ok", "{result:#}");
    let held = result["content"][0]["text"].as_str().unwrap().parse().unwrap();
    (peak.await.unwrap(), held)
}

/// A guest that pays with one handle for each can make the host hold little for it: `handles` bounds the sum.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_the_host_holds_for_requests_that_are_never_sent() {
    let too_much = json!({ "kind": "fields", "headers": 5 });
    let result = check("", "hoard", too_much, "trapped", "crashed").await;
    assert!(
        result["detail"].to_string().contains("total size of fields"),
        "{result:#}"
    );
    for (kind, count) in [
        ("fields", 900),
        ("bodies", 300),
        ("methods", 900),
        ("authorities", 900),
        ("paths", 900),
    ] {
        let (idle, little) = memory_while_hoarding(kind, 1).await;
        // A body of 64 KiB, and one byte by which a guest learns that there is no more room.
        assert!(little <= 64 * 1024 + 1, "one of {kind} holds {little} bytes");
        let (peak, held) = memory_while_hoarding(kind, count).await;
        assert_eq!(held, little * count);
        let grown = peak.saturating_sub(idle);
        assert!(
            grown < held + (16 << 20),
            "the host took {grown} bytes to hold {held} of {kind}"
        );
    }
}

/// Checking the input is work for the call like any other: it may not go on past the call's time.
#[tokio::test]
async fn the_timeout_holds_while_the_input_is_checked() {
    let choices: Vec<String> = (0..900).map(|number| format!(r#"{{"const":"c{number}"}}"#)).collect();
    let tool = WatTool {
        schema: format!(
            r#"{{"type":"object","additionalProperties":{{"anyOf":[{}]}}}}"#,
            choices.join(",")
        ),
        ..WatTool::named("choose")
    };
    let guest = WatGuest::new([tool]);
    let input: serde_json::Map<String, Value> =
        (0..6_000).map(|number| (format!("k{number}"), json!("c899"))).collect();
    let input = Value::Object(input);
    let quick = call(&wat_lab(&guest, "timeout = \"10s\""), "choose", &input).await;
    assert_eq!(quick["outcome"], "ok", "{quick:#}");
    // Almost all of that was checking; a tenth of it is too little for that, on a machine that is much less busy as well.
    let tenth = (quick["duration_ms"].as_f64().unwrap() / 10.0).ceil();
    let slow = call(&wat_lab(&guest, &format!("timeout = \"{tenth}ms\"")), "choose", &input).await;
    assert_eq!(slow["outcome"], "overloaded", "{slow:#}");
    let detail = slow["detail"].as_str().unwrap();
    assert!(detail.contains("before the tool could run"), "{slow:#}");
}
