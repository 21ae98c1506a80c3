//! A deferred tool is searched for, and counts from then on.

use super::*;

const SEARCH: &str = "tool_search_tool_bm25";

fn tool(name: &str) -> Value {
    json!({
        "name": name,
        "description": "Says how the sky looks. ".repeat(50),
        "input_schema": { "type": "object", "properties": {} },
        "defer_loading": true,
    })
}

/// A request whose tools are these and the one that searches them.
fn searching(names: &[&str]) -> Value {
    let tools = names.iter().map(|name| tool(name));
    let search = json!({ "type": "tool_search_tool_bm25_20251119", "name": SEARCH });
    let mut body = request();
    body["tools"] = tools.chain([search]).collect();
    body
}

fn kinds(message: &Value) -> Vec<&str> {
    let blocks = message["content"].as_array().unwrap().iter();
    blocks.map(|block| block["type"].as_str().unwrap()).collect()
}

/// The conversation goes on after the answer's calls.
fn answered(body: &mut Value, answer: &Value) {
    let calls = answer["content"].as_array().unwrap().iter();
    let calls = calls.filter(|block| block["type"] == "tool_use");
    let results: Vec<Value> = calls
        .map(|call| json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "ok" }))
        .collect();
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": answer["content"] }));
    messages.push(json!({ "role": "user", "content": results }));
}

#[tokio::test]
async fn a_deferred_tool_is_searched_for_once_and_counts_from_then_on() {
    let calls = |names: &[&str]| Answer::tools(names.iter().map(|name| ToolCall::new(*name, json!({}))));
    let simulator = start(
        Script::new()
            .answer(calls(&["get_weather", "get_weather"]))
            .answer(calls(&["get_weather", "send_mail"]))
            .answer(Answer::text("Done.")),
    );
    let mut body = searching(&["get_weather", "send_mail", "add"]);
    let prompt = |answer: &Value| answer["usage"]["input_tokens"].as_u64().unwrap();
    let definition = tool("get_weather").to_string().len() as u64 / 4;

    let unsearched = count(&simulator, &body).await;
    let first = call(&simulator, &body).await.json();
    let searched = ["server_tool_use", "tool_search_tool_result", "tool_use", "tool_use"];
    assert_eq!(kinds(&first), searched);
    assert_eq!(
        (&first["content"][0]["name"], &first["content"][0]["input"]),
        (&json!(SEARCH), &json!({ "query": "get weather" }))
    );
    assert_eq!(first["content"][1]["tool_use_id"], first["content"][0]["id"]);
    assert_eq!(
        first["content"][1]["content"]["tool_references"],
        json!([{ "type": "tool_reference", "tool_name": "get_weather" }])
    );
    // The prompt is read again after the search.
    assert_near(prompt(&first), 2 * unsearched + definition);

    answered(&mut body, &first);
    let counted = count(&simulator, &body).await;
    assert!((definition..definition + 400).contains(&counted), "{counted}");
    let second = call(&simulator, &body).await.json();
    assert_eq!(
        kinds(&second),
        ["tool_use", "server_tool_use", "tool_search_tool_result", "tool_use"]
    );
    assert_near(prompt(&second), 2 * counted + definition);

    answered(&mut body, &second);
    body["stream"] = json!(true);
    assert_eq!(call(&simulator, &body).await.status, 200, "what was found goes back");
    body["tools"].as_array_mut().unwrap().remove(0);
    let refused = call(&simulator, &body).await;
    assert_eq!(refused.status, 400);
    let words = "Tool reference 'get_weather' not found in available tools";
    assert_eq!(refused.json()["error"]["message"], words);
}

/// Tokens of the prompt before any search.
async fn count(simulator: &Simulator, body: &Value) -> u64 {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove("max_tokens");
    let mut client = Client::connect(&simulator.url()).await;
    let counted = client.post("/v1/messages/count_tokens", &body, &[]).await;
    counted.json()["input_tokens"].as_u64().unwrap()
}

#[track_caller]
fn assert_near(tokens: u64, expected: u64) {
    assert!(tokens.abs_diff(expected) <= 50, "{tokens}, not {expected}");
}

#[tokio::test]
async fn what_is_cached_is_read_from_the_cache_after_a_search() {
    let simulator = start(Script::new().answer(Answer::tools([ToolCall::new("get_weather", json!({}))])));
    let mut body = searching(&["get_weather"]);
    body["model"] = json!("claude-sonnet-5-5");
    body["system"] = json!("You are careful. ".repeat(400));
    body["cache_control"] = json!({ "type": "ephemeral" });
    let usage = call(&simulator, &body).await.json()["usage"].clone();
    let written = usage["cache_creation_input_tokens"].as_u64().unwrap();
    assert!(written > 1_600, "{usage:#}");
    assert_eq!(usage["cache_read_input_tokens"], written, "{usage:#}");
    assert!(usage["input_tokens"].as_u64().unwrap() < 500, "{usage:#}");
}

#[tokio::test]
async fn a_streamed_answer_searches_as_well_and_says_so_in_the_usage_at_its_end() {
    let simulator = start(Script::new().answer(Answer::tools([ToolCall::new("get_weather", json!({}))])));
    let mut body = searching(&["get_weather"]);
    body["stream"] = json!(true);
    let events = call(&simulator, &body).await.events();
    let started: Vec<_> = events
        .iter()
        .filter(|event| event["type"] == "content_block_start")
        .map(|event| event["content_block"]["type"].as_str().unwrap())
        .collect();
    assert_eq!(started, ["server_tool_use", "tool_search_tool_result", "tool_use"]);
    let usage = |at: &Value| at["usage"]["input_tokens"].as_u64().unwrap();
    let start = events.iter().find(|event| event["type"] == "message_start").unwrap();
    let end = events.iter().find(|event| event["type"] == "message_delta").unwrap();
    let definition = tool("get_weather").to_string().len() as u64 / 4;
    assert!(
        usage(end) + 1 >= 2 * usage(&start["message"]) + definition,
        "{start:#}\n{end:#}"
    );
}

#[tokio::test]
async fn without_a_tool_to_search_with_the_call_is_made_at_once() {
    let simulator = start(Script::new().answer(Answer::tools([ToolCall::new("get_weather", json!({}))])));
    let mut body = searching(&["get_weather"]);
    body["tools"][1] = json!({ "name": "own_search", "input_schema": { "type": "object" } });
    assert_eq!(kinds(&call(&simulator, &body).await.json()), ["tool_use"]);
}
