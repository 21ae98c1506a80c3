//! Grants other than HTTP: variables, arguments, determinism; and the log, which every plugin has.

use cofferdam_tests::Lab;
use serde_json::{Value, json};

use crate::lab;

fn configured(keys: &str) -> Lab {
    let lab = lab([]);
    lab.configure(&format!("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n{keys}\n"));
    lab
}

async fn call(lab: &Lab, tool: &str, input: Value) -> Value {
    lab.call_tool(tool, &input).await.expect_code(0).json()
}

/// The JSON that a tool answered with.
async fn answer(lab: &Lab, tool: &str) -> Value {
    let result = call(lab, tool, json!({})).await;
    serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn guests_see_only_the_configured_variables_and_arguments() {
    let lab = configured("env = { LANG = \"C\", EMPTY = \"\" }\nargs = [\"tool\", \"--fast\"]");
    let seen = answer(&lab, "read_env").await;
    let expected = json!({ "env": { "LANG": "C", "EMPTY": "" }, "args": ["tool", "--fast"], "preopens": [] });
    assert_eq!(seen, expected);
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(
        inspected.contains("variable EMPTY, variable LANG, 2 arguments"),
        "{inspected}"
    );
}

#[tokio::test]
async fn a_deterministic_plugin_sees_the_same_in_every_call() {
    let lab = configured("deterministic = true");
    let [first, second] = [answer(&lab, "chance").await, answer(&lab, "chance").await];
    assert_eq!(first, second);
    // Clocks still advance; otherwise a loop that waits for one would never end.
    assert!(
        first["monotonic"][0].as_u64() < first["monotonic"][1].as_u64(),
        "{first}"
    );
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(inspected.contains("faulty: the same in every call"), "{inspected}");

    let lab = configured("");
    let [first, second] = [answer(&lab, "chance").await, answer(&lab, "chance").await];
    for source in ["wall", "random", "insecure", "seed"] {
        assert_ne!(first[source], second[source], "{source}");
    }
}

#[tokio::test]
async fn log_and_prints_share_a_destination_and_a_limit() {
    let lab = configured("limits = { log_bytes = \"1KiB\", host_calls = 100 }");
    let said = json!({ "context": "part", "message": "hello" });
    let result = call(&lab, "log", said).await;
    assert_eq!(
        result["log"],
        "trace part: hello\ndebug part: hello\ninfo part: hello\nwarn part: hello\nerror part: hello\ncritical part: hello\n"
    );
    assert_eq!(
        (&result["log_bytes_dropped"], &result["host_calls"]),
        (&json!(0), &json!(6))
    );
    let result = call(&lab, "log", json!({ "message": "x".repeat(300) })).await;
    assert_eq!(result["log"].as_str().unwrap().len(), 1024);
    assert!(result["log_bytes_dropped"].as_u64().unwrap() > 700, "{result:#}");
    let ran = lab.call_tool("log", &json!({ "times": 100 })).await.expect_code(1);
    assert_eq!(ran.json()["outcome"], "out_of_fuel", "{ran}");
}

#[tokio::test]
async fn output_of_a_failed_list_tools_is_reported() {
    let lab = configured("config = { list_tools = \"error\" }");
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    let reason = ran
        .stderr
        .lines()
        .find(|line| line.contains("`list-tools` failed"))
        .unwrap();
    assert!(
        reason.contains("out of order; it printed: looked for the list in vain"),
        "{ran}"
    );
}
