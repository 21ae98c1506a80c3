//! What tool calls used, counted by the runs of several processes.

use cofferdam::simulator::{Answer, ToolCall};
use cofferdam_tests::{Behaviour, HttpServer, tool_call};
use serde_json::{Value, json};

use crate::lab;

fn row<'a>(rows: &'a Value, tool: &str) -> &'a Value {
    let mut rows = rows.as_array().unwrap().iter();
    rows.find(|row| row["tool"] == tool)
        .unwrap_or_else(|| panic!("no {tool}"))
}

#[tokio::test]
async fn calls_are_counted_by_tool() {
    let server = HttpServer::start(Behaviour::body("0123456789")).await;
    let lab = lab([
        Answer::tools([
            ToolCall::new("upload", json!({ "url": server.url(), "bytes": 1000 })),
            ToolCall::new("echo", json!({ "a": 1 })),
            ToolCall::new("no_such_tool", json!({})),
        ]),
        Answer::text("So."),
        // It is refused, so it used nothing.
        Answer::tools([
            ToolCall::new("fail", json!({ "message": "no" })),
            ToolCall::new("fail", json!({ "unknown": 1 })),
        ]),
        Answer::text("So."),
        tool_call("echo", json!({ "a": 2 })),
        Answer::text("So."),
    ]);
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"GET\", \"POST\"] }}]\n",
        server.url()
    ));
    for _ in 0..3 {
        lab.report(0).await;
    }
    let usage = lab.call(["usage", "--output", "json"]).await.expect_code(0).json();
    assert_eq!(
        usage.as_array().unwrap().len(),
        3,
        "what doesn't exist used nothing: {usage:#}"
    );
    let echo = row(&usage, "echo");
    assert_eq!((&echo["calls"], &echo["failed"]), (&json!(2), &json!(0)));
    assert!(
        echo["fuel"].as_u64().unwrap() > 1000 && echo["peak_memory_bytes"].as_u64().unwrap() > 1000,
        "{echo}"
    );
    assert_eq!(
        (&row(&usage, "fail")["failed"], &echo["bytes_sent"]),
        (&json!(1), &json!(0))
    );
    let upload = row(&usage, "upload");
    assert_eq!(
        (&upload["http_requests"], &upload["bytes_received"]),
        (&json!(1), &json!(10)),
        "{upload}"
    );
    assert!(upload["bytes_sent"].as_u64().unwrap() >= 1000, "{upload}");

    let sums = lab
        .call(["usage", "--by", "tenant", "--by", "plugin", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(sums[0]["calls"], 4, "{sums}");
    assert_eq!(
        (&sums[0]["tenant"], &sums[0]["plugin"]),
        (&json!("default"), &json!("faulty"))
    );
    let table = lab.call(["usage"]).await.expect_code(0).stdout;
    assert!(table.contains("echo") && table.contains("peak memory"), "{table}");

    // What was used stays, and other days and tenants have their own.
    lab.call(["session", "delete", "--tenant", "default"])
        .await
        .expect_code(0);
    let kept = lab.call(["usage", "--output", "json"]).await.expect_code(0).json();
    assert_eq!(kept, usage);
    for other in [
        ["--since", "2100-01-01"],
        ["--until", "2000-01-01"],
        ["--tenant", "other"],
    ] {
        let none = lab.call([&["usage", "--output", "json"][..], &other].concat()).await;
        assert_eq!(none.expect_code(0).json(), json!([]), "{other:?}");
    }
    let wrong = lab.call(["usage", "--since", "yesterday"]).await.expect_code(2);
    assert!(wrong.stderr.contains("2026-11-29"), "{wrong}");
}
