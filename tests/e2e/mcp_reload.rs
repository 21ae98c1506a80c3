//! The MCP server with `--watch`: what a reload changes, and what it leaves alone.

use cofferdam_tests::{Lab, McpClient, WatGuest, WatTool};
use serde_json::{Value, json};

use crate::lab;

const CALCULATOR: &str = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";
const WATCH: [&str; 2] = ["mcp", "--watch"];

fn outcome(answer: &Value) -> &str {
    answer["result"]["_meta"]["cofferdam/outcome"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

async fn names(client: &mut McpClient, id: u64) -> Vec<String> {
    client.request(id, "tools/list", json!({})).await;
    let answer = client.answer().await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Its tool `which` has this description.
fn component(description: &str) -> Vec<u8> {
    let tool = WatTool {
        description: description.to_owned(),
        ..WatTool::named("which")
    };
    WatGuest::new([tool]).build()
}

const CHANGED: &str = "notifications/tools/list_changed";

#[tokio::test]
async fn a_call_that_runs_is_not_affected_by_a_changed_list() {
    let lab = lab([]);
    let faulty = "[plugins.faulty]\ncomponent = \"builtin:faulty\"\n";
    lab.configure(faulty);
    let mut client = McpClient::start(&lab, &WATCH).await;
    client.call(1, "sleep", json!({ "ms": 8_000 })).await;
    // The plugin that runs is gone afterwards.
    lab.configure(CALCULATOR);
    client.notification(CHANGED).await;
    assert_eq!(names(&mut client, 2).await, ["calculate"]);
    client.call(3, "sleep", json!({ "ms": 1 })).await;
    assert_eq!(client.answer().await["error"]["code"], -32602);
    let answer = client.answer().await;
    assert_eq!((&answer["id"], outcome(&answer)), (&json!(1), "ok"), "{answer}");
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn what_cannot_be_loaded_changes_nothing_and_is_reported() {
    let lab = lab([]);
    lab.write("which.wasm", component("old"));
    let plugin = format!("{CALCULATOR}[plugins.which]\ncomponent = \"which.wasm\"\n");
    lab.configure(&plugin);
    let mut client = McpClient::start(&lab, &WATCH).await;
    let is = async |client: &mut McpClient, id: u64, expected: &str| {
        client.request(id, "tools/list", json!({})).await;
        let list = client.answer().await;
        let tools = list["result"]["tools"].as_array().unwrap();
        let which = tools.iter().find(|tool| tool["name"] == "which").unwrap();
        assert_eq!(which["description"], expected, "{list}");
        client.call(id, "which", json!({})).await;
        assert_eq!(outcome(&client.answer().await), "ok");
    };
    is(&mut client, 1, "old").await;

    lab.write("which.wasm", "half a component");
    client.wait_for_stderr("the tools stay as they were").await;
    client.wait_for_stderr("plugin `which`").await;
    is(&mut client, 2, "old").await;

    lab.configure("[plugins.which\n");
    client.wait_for_stderr("cofferdam.toml").await;
    is(&mut client, 3, "old").await;

    // Both are mended. No client was notified before, or this notification would be the second one.
    lab.configure(&plugin);
    lab.write("which.wasm", component("new"));
    client.notification(CHANGED).await;
    is(&mut client, 4, "new").await;
    let (rest, ran) = client.leave().await;
    assert!(rest.is_empty(), "{rest:?}");
    ran.expect_code(0);
}

/// While the file is gone, no other takes its place, with other tools and grants.
#[tokio::test]
async fn a_configuration_that_is_gone_for_a_moment_leaves_the_tools() {
    let lab = lab([]);
    lab.configure(CALCULATOR);
    let [file, aside] = ["cofferdam.toml", "aside.toml"].map(|name| lab.path(name));
    let mut client = McpClient::start(&lab, &WATCH).await;
    std::fs::rename(&file, &aside).unwrap();
    client.wait_for_stderr("the tools stay as they were").await;
    assert_eq!(names(&mut client, 1).await, ["calculate"]);
    std::fs::rename(&aside, &file).unwrap();
    lab.configure("[plugins.weather]\ncomponent = \"builtin:weather\"\n");
    client.notification(CHANGED).await;
    assert_eq!(names(&mut client, 2).await, ["get_weather"]);
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn a_configuration_that_appears_is_noticed() {
    let lab = lab([]);
    std::fs::remove_file(lab.path("cofferdam.toml")).unwrap();
    let mut client = McpClient::start(&lab, &WATCH).await;
    assert_eq!(names(&mut client, 1).await, ["calculate", "get_weather"]);
    lab.configure(CALCULATOR);
    client.notification(CHANGED).await;
    assert_eq!(names(&mut client, 2).await, ["calculate"]);
    client.leave().await.1.expect_code(0);
}

/// Calls a tool that crashes, and returns the outcome.
async fn crash(client: &mut McpClient, id: u64) -> String {
    client.call(id, "panic", json!({})).await;
    outcome(&client.answer().await).to_owned()
}

#[tokio::test]
async fn an_unchanged_plugin_keeps_its_breakers_and_a_changed_one_does_not() {
    let lab = lab([]);
    let faulty =
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nbreaker = { failure_threshold = 1, open_for = \"1h\" }\n";
    lab.configure(faulty);
    let mut client = McpClient::start(&lab, &WATCH).await;
    assert_eq!(crash(&mut client, 1).await, "trapped");
    assert_eq!(crash(&mut client, 2).await, "breaker_open");
    lab.configure(&format!("{faulty}{CALCULATOR}"));
    client.notification(CHANGED).await;
    assert_eq!(crash(&mut client, 3).await, "breaker_open");
    lab.configure(&format!("{faulty}env = {{ CHANGED = \"1\" }}\n"));
    client.notification(CHANGED).await;
    assert_eq!(crash(&mut client, 4).await, "trapped");
    client.leave().await.1.expect_code(0);
}

/// Calls that still run with the old tools count for the new ones, if nothing about the tool has changed.
#[tokio::test]
async fn an_unchanged_plugin_keeps_its_permits() {
    let lab: Lab = lab([]);
    let faulty = "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits = { concurrency = 1, timeout = \"5m\" }\n";
    lab.configure(&format!("{faulty}[limits]\nqueue_timeout = \"1ms\"\n"));
    let mut client = McpClient::start(&lab, &WATCH).await;
    client.call(1, "sleep", json!({ "ms": 200_000 })).await;
    lab.configure(&format!("{faulty}{CALCULATOR}[limits]\nqueue_timeout = \"1ms\"\n"));
    client.notification(CHANGED).await;
    client.call(2, "sleep", json!({ "ms": 1 })).await;
    let answer = client.answer().await;
    assert_eq!((&answer["id"], outcome(&answer)), (&json!(2), "overloaded"), "{answer}");
    client.leave().await.1.expect_code(0);
}
