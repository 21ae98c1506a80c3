#![allow(clippy::unwrap_used)]
use super::*;
use crate::simulator::dialect::Dialect;
use crate::simulator::prompt_cache::CachedTokens;
use crate::simulator::request::RequestView;
use crate::simulator::script::{ContentItem, ToolCall};

fn with_context<T>(request: &Value, read: impl FnOnce(&RequestContext<'_>) -> T) -> T {
    let view = as_messages(request);
    read(&RequestContext {
        view: RequestView::new(&view),
        dialect: Dialect::ChatCompletions,
        includes_usage: includes_usage(request),
        bytes: 40,
        cached: CachedTokens::default(),
        number: 1,
        request_id: "req",
    })
}

fn asked() -> Value {
    json!({ "model": "m", "stream": true, "stream_options": { "include_usage": true }, "messages": [
        { "role": "system", "content": "be brief" },
        { "role": "user", "content": "What is 1 + 1?" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "add", "arguments": "{}" } }] },
        { "role": "tool", "tool_call_id": "a", "content": "2" },
    ] })
}

fn answer() -> MessageAnswer {
    MessageAnswer {
        content: vec![
            ContentItem::thinking("hm"),
            ContentItem::text("It is {{result:add}}."),
            ContentItem::tool(ToolCall::new("t", json!({ "x": 1 }))),
        ],
        ..MessageAnswer::default()
    }
}

#[test]
fn an_answer_is_whole_or_in_chunks() {
    let (whole, events) = with_context(&asked(), |context| {
        let answer = answer();
        let completion = compose(&answer, context);
        let options = StreamOptions {
            chunk: 4,
            ..StreamOptions::default()
        };
        (completion.whole(), completion.events(&options, true))
    });
    let whole: Value = serde_json::from_str(&whole).unwrap();
    let message = &whole["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("It is 2."), &json!("hm"))
    );
    assert_eq!(
        message["tool_calls"][0]["function"],
        json!({ "name": "t", "arguments": "{\"x\":1}" })
    );
    assert_eq!(message["tool_calls"][0]["id"], "call_sim_000001_2");
    assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(whole["usage"]["prompt_tokens"], 10);
    // The role, one of thinking, two of text, three of the call, the reason, the usage and `[DONE]`.
    assert_eq!(events.len(), 10, "{events:#?}");
}

#[test]
fn errors_have_the_names_of_this_api() {
    for (status, kind, code) in [
        (401, "invalid_request_error", json!("invalid_api_key")),
        (429, "requests", json!("rate_limit_exceeded")),
        (500, "server_error", Value::Null),
        (400, "invalid_request_error", Value::Null),
    ] {
        let body: Value = serde_json::from_str(&error(&ApiError::new(status, "words"))).unwrap();
        assert_eq!(
            body,
            json!({ "error": { "message": "words", "type": kind, "param": null, "code": code } })
        );
    }
}

#[test]
fn what_openai_refuses_is_refused() {
    assert_eq!(check(&asked()).map_err(|error| error.message), Ok(()));
    let changed = |pointer: &str, value: Value| {
        let mut request = asked();
        *request.pointer_mut(pointer).unwrap() = value;
        request
    };
    let with = |name: &str, value: Value| {
        let mut request = asked();
        request[name] = value;
        request
    };
    for (request, words) in [
        (json!([]), "could not parse"),
        (with("thinking", json!({})), "Unknown parameter: 'thinking'"),
        (changed("/model", json!("")), "model parameter"),
        (changed("/messages", json!([])), "empty array"),
        (changed("/messages", json!({})), "array of objects"),
        (changed("/stream", json!(false)), "stream_options"),
        (with("max_tokens", json!(0)), "max_tokens"),
        (changed("/messages/1/role", json!("person")), "messages[1].role"),
        (changed("/messages/1/content", Value::Null), "messages[1].content"),
        (
            changed("/messages/1/content", json!([{ "type": "tool_result" }])),
            "messages[1].content",
        ),
        (changed("/messages/2/tool_calls", json!([])), "messages[2].content"),
        (
            changed("/messages/2/tool_calls/0/function/arguments", json!({})),
            "arguments",
        ),
        (
            changed("/messages/2/tool_calls/0/function/name", json!("a b")),
            "does not match pattern",
        ),
        (changed("/messages/2/tool_calls/0/id", json!("")), "tool_calls[0].id"),
        (
            changed("/messages/2/tool_calls/0/id", json!("x".repeat(41))),
            "maximum length 40, but got a string with length 41",
        ),
        (with("temperature", json!(2.5)), "from 0 to 2"),
        (with("tool_choice", json!("auto")), "only allowed when 'tools'"),
        (changed("/messages/3/tool_call_id", json!("b")), "must be a response"),
        (
            changed("/messages/3", json!({ "role": "user", "content": "?" })),
            "did not have response messages: a",
        ),
        (
            with(
                "tools",
                json!([{ "type": "function", "function": { "name": "x".repeat(65) } }]),
            ),
            "tools[0]",
        ),
        (with("tools", json!([{ "name": "x" }])), "Supported values"),
        (
            with(
                "tools",
                json!([{ "type": "function", "function": { "name": "x", "parameters": { "type": "string" } } }]),
            ),
            "schema",
        ),
    ] {
        let error = check(&request).unwrap_err();
        let said = format!("{} ({:?})", error.message, error.details.get("param"));
        assert!(error.status == 400 && said.contains(words), "{words}: {said}");
    }
}
