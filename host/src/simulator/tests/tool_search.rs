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
    assert!((definition..definition + 200).contains(&prompt(&first)), "{first:#}");

    answered(&mut body, &first);
    let counted = Client::connect(&simulator.url())
        .await
        .post("/v1/messages/count_tokens", &counting(&body), &[])
        .await;
    let counted = counted.json()["input_tokens"].as_u64().unwrap();
    assert!((definition..definition + 400).contains(&counted), "{counted}");
    let second = call(&simulator, &body).await.json();
    assert_eq!(
        kinds(&second),
        ["tool_use", "server_tool_use", "tool_search_tool_result", "tool_use"]
    );
    assert!(
        (counted + definition..counted + definition + 100).contains(&prompt(&second)),
        "{second:#}"
    );

    answered(&mut body, &second);
    body["stream"] = json!(true);
    assert_eq!(call(&simulator, &body).await.status, 200, "what was found goes back");
    body["tools"].as_array_mut().unwrap().remove(0);
    let refused = call(&simulator, &body).await;
    assert_eq!(refused.status, 400);
    let words = "Tool reference 'get_weather' not found in available tools";
    assert_eq!(refused.json()["error"]["message"], words);
}

fn counting(body: &Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().remove("max_tokens");
    body
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
        usage(end) >= usage(&start["message"]) + definition,
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
