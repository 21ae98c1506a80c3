//! Concurrency limits: permits of a tool and of the host, and parallel calls of a turn.

use cofferdam::simulator::{Answer, ToolCall};
use cofferdam_tests::{Lab, WatGuest, faulty};
use serde_json::{Value, json};

use crate::lab;

/// A lab whose model calls these tools in one turn.
fn calling<const N: usize>(calls: [(&str, Value); N]) -> Lab {
    let calls = calls.map(|(name, input)| ToolCall::new(name, input));
    lab([Answer::tools(calls), Answer::text("So.")])
}

/// The events of a run about the start and the end of calls.
async fn calls(lab: &Lab) -> Vec<Value> {
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines().into_iter();
    events
        .filter(|event| event["event"].as_str().unwrap().starts_with("tool_call_"))
        .collect()
}

/// The maximum number of concurrent calls.
fn max_concurrent(events: &[Value]) -> usize {
    let mut running = 0;
    let running = events.iter().map(|event| {
        match event["event"] == "tool_call_started" {
            true => running += 1,
            false => running -= 1,
        }
        running
    });
    running.max().unwrap_or(0)
}

#[tokio::test]
async fn parallel_tool_calls_limits_the_calls_of_a_turn() {
    for (allowed, most) in [(1, 1), (2, 2), (8, 4)] {
        let lab = calling([500, 501, 502, 503].map(|ms| ("sleep", json!({ "ms": ms }))));
        lab.configure(&format!("[agent]\nparallel_tool_calls = {allowed}\n{}", faulty("")));
        let events = calls(&lab).await;
        assert_eq!((events.len(), max_concurrent(&events)), (8, most), "{events:#?}");
    }
}

/// Two tools with free permits of their own compete for the host's.
#[tokio::test]
async fn host_concurrency_limits_all_calls() {
    for (permits, refused) in [(1, 1), (2, 0)] {
        let lab = calling([("sleep", json!({ "ms": 1500 })), ("never_ready", json!({}))]);
        lab.configure(&format!(
            "[limits]\nhost_concurrency = {permits}\nqueue_timeout = \"100ms\"\n{}",
            faulty("timeout = \"1500ms\"")
        ));
        let events = calls(&lab).await;
        // The first call has the permit.
        let overloaded: Vec<&Value> = events.iter().filter(|event| event["outcome"] == "overloaded").collect();
        assert_eq!(overloaded.len(), refused, "{events:#?}");
        for event in overloaded {
            assert_eq!(event["detail"], "all 1 permits of `host` are in use");
        }
    }
}

/// A call that spent most of its time in the queue didn't fail itself: it had no time to run.
#[tokio::test]
async fn time_lost_in_the_queue_is_attributed_to_the_host() {
    let lab = calling([2000, 2001].map(|ms| ("sleep", json!({ "ms": ms }))));
    lab.configure(&faulty("concurrency = 1\ntimeout = \"3s\""));
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["sleep"]["outcomes"],
        json!({ "ok": 1, "overloaded": 1 }),
        "{report:#}"
    );
    let breakers = report["breakers"].as_array().unwrap();
    assert!(
        breakers.iter().all(|breaker| breaker["failure_count"] == 0),
        "{report:#}"
    );
}

/// Memory that other calls hold isn't the fault of the call that gets none.
#[tokio::test]
async fn a_call_without_host_memory_left_is_overloaded() {
    let guest = WatGuest::named("large")
        .items("(memory $large 160)")
        .call("(loop $again (br $again)) unreachable");
    let lab = lab([
        Answer::tools([0, 1].map(|_| ToolCall::new("large", json!({})))),
        Answer::text("So."),
    ]);
    lab.write("large.wasm", guest.build());
    lab.configure(
        "[limits]\nhost_memory = \"32MiB\"\n[plugins.large]\ncomponent = \"large.wasm\"\nlimits = { timeout = \"1s\" }\n",
    );
    let report = lab.report(0).await;
    let outcomes = &report["metrics"]["tools"]["large"]["outcomes"];
    assert_eq!(outcomes, &json!({ "overloaded": 1, "timeout": 1 }), "{report:#}");
}

/// Exceeding the plugin's own share is its fault.
#[tokio::test]
async fn a_call_beyond_its_plugins_share_is_out_of_memory() {
    let lab = calling([("eat_memory", json!({}))]);
    lab.configure(&format!("[limits]\nhost_memory = \"32MiB\"\n{}", faulty("")));
    let report = lab.report(0).await;
    let tool = &report["metrics"]["tools"]["eat_memory"];
    assert_eq!(tool["outcomes"], json!({ "out_of_memory": 1 }), "{report:#}");
    let peak = tool["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak > 8 << 20 && peak <= 16 << 20, "{peak}");
}

/// Memory that the host allocates for a guest counts as well.
#[tokio::test]
async fn request_parts_are_charged_as_host_memory() {
    // Everything behind a handle is charged, not a flat amount per handle.
    for (kind, host_memory, outcome) in [
        ("fields", "40MiB", "out_of_memory"),
        ("fields", "1GiB", "ok"),
        ("everything", "256MiB", "out_of_memory"),
        ("trailers", "350MiB", "out_of_memory"),
        ("trailers", "1GiB", "ok"),
        ("everything", "1GiB", "ok"),
    ] {
        let lab = calling([("hoard", json!({ "kind": kind, "count": 900 }))]);
        lab.configure(&format!("[limits]\nhost_memory = \"{host_memory}\"\n{}", faulty("")));
        let report = lab.report(0).await;
        let outcomes = &report["metrics"]["tools"]["hoard"]["outcomes"];
        assert_eq!(outcomes, &json!({ outcome: 1 }), "{report:#}");
    }
}

/// `list-tools` takes a permit like a call. Plugins take turns, and none is left out for lack of a permit.
#[tokio::test]
async fn plugins_load_with_a_single_permit() {
    let lab = lab([]);
    // Long enough for others to run in between.
    let busy = "(loop $again
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $i) (i32.const 1000000))))";
    let mut plugins = "[limits]\nhost_concurrency = 1\n".to_owned();
    for number in 0..6 {
        let guest = WatGuest::named(&format!("t{number}")).list(busy);
        lab.write(&format!("g{number}.wasm"), guest.build());
        plugins += &format!("[plugins.p{number}]\ncomponent = \"g{number}.wasm\"\nrequired = true\n");
    }
    lab.configure(&plugins);
    lab.call(["tool", "list"]).await.expect_code(0);
}

/// As one call ends the next begins, even while the first one of the turn still runs.
#[tokio::test]
async fn a_slow_first_call_does_not_hold_up_the_others() {
    let sleep = |ms: u64| ("sleep", json!({ "ms": ms }));
    let lab = calling([sleep(2000), sleep(1), sleep(2), sleep(3), sleep(4)]);
    lab.configure(&format!("[agent]\nparallel_tool_calls = 2\n{}", faulty("")));
    let events = calls(&lab).await;
    assert_eq!((events.len(), max_concurrent(&events)), (10, 2), "{events:#?}");
    let slow = events.iter().find(|event| event["input"]["ms"] == 2000).unwrap();
    assert_eq!(
        events[9]["call_id"], slow["call_id"],
        "the slow call ends last: {events:#?}"
    );
    let requests = lab.simulator.requests();
    let ids = |message: usize, key: &str| -> Vec<Value> {
        let blocks = requests[1].body["messages"][message]["content"].as_array().unwrap();
        blocks.iter().map(|block| block[key].clone()).collect()
    };
    assert_eq!(
        ids(1, "id"),
        ids(2, "tool_use_id"),
        "results keep the order of the calls"
    );
}

/// What waits for a dying tool isn't run: the breaker is asked again once a call has its permits. Each call yields often until
/// it has used its fuel, so all others are in the queue by then.
#[tokio::test]
async fn queued_calls_are_refused_once_the_breaker_opens() {
    let lab = calling::<40>(std::array::from_fn(|number| ("dying", json!({ "number": number }))));
    let guest = WatGuest::named("dying").call("(loop $again (br $again)) unreachable");
    lab.write("dying.wasm", guest.build());
    lab.configure(
        "[agent]\nparallel_tool_calls = 40\n[plugins.dying]\ncomponent = \"dying.wasm\"\n\
         limits = { concurrency = 1, fuel = 50_000_000 }\n",
    );
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["dying"]["outcomes"],
        json!({ "out_of_fuel": 5, "breaker_open": 35 }),
        "{report:#}"
    );
}

/// A call that the breaker refuses anyway doesn't wait for a permit first.
#[tokio::test]
async fn an_open_breaker_refuses_before_the_queue() {
    let call = |name: &str, input: Value| ToolCall::new(name, input);
    let lab = lab([
        Answer::tools([call("fail", json!({ "message": "no" }))]),
        Answer::tools([
            call("sleep", json!({ "ms": 1500 })),
            call("fail", json!({ "message": "no" })),
        ]),
        Answer::text("So."),
    ]);
    lab.configure(&format!(
        "[limits]\nhost_concurrency = 1\n{}[plugins.faulty.breaker]\nfailure_threshold = 1\n",
        faulty("")
    ));
    let events = calls(&lab).await;
    let ended = |outcome: &str| events.iter().position(|event| event["outcome"] == outcome);
    let (refused, slept) = (ended("breaker_open"), ended("ok"));
    assert!(refused.is_some() && refused < slept, "{events:#?}");
}
