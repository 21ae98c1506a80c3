#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod any_input;
mod messages;
mod models;
mod options;
mod tool_changes;
mod tools;
mod versions;

use serde_json::json;

use super::*;

fn request() -> Value {
    json!({
        "model": "claude-sonnet-5-5",
        "max_tokens": 100,
        "stream": true,
        "system": [{ "type": "text", "text": "be brief", "cache_control": { "type": "ephemeral" } }],
        "tools": [{
            "name": "calculate", "description": "adds", "input_schema": { "type": "object", "properties": {} },
        }],
        "tool_choice": { "type": "auto" },
        "messages": [
            { "role": "user", "content": "hello" },
            { "role": "user", "content": "What is 25 * 17?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": super::super::message::thinking_signature("hm") },
                { "type": "text", "text": "let me see" },
                { "type": "tool_use", "id": "a", "name": "calculate", "input": { "expression": "25 * 17" } },
                { "type": "tool_use", "id": "b", "name": "calculate", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "b", "content": [{ "type": "text", "text": "no" }],
                  "is_error": true },
                { "type": "tool_result", "tool_use_id": "a", "content": "425" },
                { "type": "text", "text": "go on" },
            ] },
        ],
    })
}

/// Checks a request as the current version, without betas.
fn checked(body: &Value, purpose: Purpose) -> Checked {
    checked_as(body, purpose, Version::Current, "")
}

fn checked_as(request: &Value, purpose: Purpose, version: Version, betas: &str) -> Checked {
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("anthropic-beta"),
        http::HeaderValue::from_str(betas).unwrap(),
    )]);
    let script = ScriptFacts::default();
    body(request, &Rules::new(purpose, version, &headers, request, &script))
}

/// The message of the refusal, if it is refused.
fn refusal(request: &Value, version: Version, betas: &str) -> Option<String> {
    checked_as(request, Purpose::Run, version, betas)
        .err()
        .map(|problem| problem.message)
}

/// A valid request with one field changed. `null` removes the field.
fn changed(pointer: &str, value: Value) -> Value {
    let mut body = request();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match body.pointer_mut(parent).unwrap() {
        Value::Object(fields) if value.is_null() => drop(fields.remove(key)),
        Value::Object(fields) => drop(fields.insert(key.to_owned(), value)),
        Value::Array(items) if value.is_null() => drop(items.remove(key.parse().unwrap())),
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        other => panic!("{other}"),
    }
    body
}

/// Asserts that a valid request with one field changed is refused with this message.
fn assert_refused(pointer: &str, value: Value, expected: &str) {
    let problem = checked(&changed(pointer, value.clone()), Purpose::Run).expect_err(&format!("{pointer} {value}"));
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (400, "invalid_request_error"),
        "{pointer}"
    );
    assert!(
        problem.message.starts_with(expected),
        "{pointer} {value}: {}",
        problem.message
    );
}

#[test]
fn a_good_request_passes() {
    assert_eq!(checked(&request(), Purpose::Run), Ok(()));
    let mut count = request();
    for field in ["max_tokens", "stream"] {
        count.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(checked(&count, Purpose::CountTokens), Ok(()));
}

#[test]
fn unusual_but_valid_requests_pass() {
    for (pointer, value) in [
        ("/messages/3/content/0/content", Value::Null),
        ("/max_tokens", json!(0)),
        ("/max_tokens", json!(128_000)),
        (
            "/tools/-",
            json!({ "type": "web_search_20250305", "name": "web_search" }),
        ),
        ("/system", json!("")),
        ("/model", json!("any-name")),
        ("/thinking", json!({ "type": "adaptive", "display": "omitted" })),
        ("/thinking", json!({ "type": "between_tools" })),
        (
            "/output_config",
            json!({ "effort": "max", "format": { "type": "json_schema", "schema": {} } }),
        ),
        ("/speed", json!("fast")),
        ("/diagnostics", json!({ "previous_message_id": null })),
        ("/messages/-", json!({ "role": "system", "content": "be brief" })),
        (
            "/messages/-",
            json!({ "role": "system", "content": [{ "type": "text", "text": "be brief" }] }),
        ),
        ("/stop_sequences", json!(["END", " end"])),
        ("/metadata", json!({ "user_id": null })),
        ("/service_tier", json!("auto")),
        ("/cache_control", json!({ "type": "ephemeral", "ttl": "1h" })),
        (
            "/tool_choice",
            json!({ "type": "auto", "disable_parallel_tool_use": true }),
        ),
        ("/tools/0/type", json!("custom")),
        (
            "/tools",
            json!([{ "type": "web_search_20250305", "name": "web_search", "max_uses": 3 }]),
        ),
        (
            "/tools",
            json!([{ "type": "browser_toolset_20260801", "configs": {} }, { "type": "bash_20250124", "name": "bash" }]),
        ),
        (
            "/messages/2/content/0",
            json!({ "type": "redacted_thinking", "data": "x" }),
        ),
        ("/messages/2/content/2/toolset_name", json!("browser")),
        ("/messages/2/content/2/caller", json!({ "type": "direct" })),
        ("/messages/3/content/1/toolset_name", json!("browser")),
        (
            "/messages/3/content/0/content",
            json!([{ "type": "tool_reference", "tool_name": "calculate" }, { "type": "browser_state" }]),
        ),
        // A turn that was paused at a tool of the vendor's.
        (
            "/messages/-",
            json!({ "role": "assistant", "content": [
                { "type": "server_tool_use", "id": "s", "name": "web_search", "input": {} },
            ] }),
        ),
        (
            "/messages/3/content/0/content/0/cache_control",
            json!({ "type": "ephemeral" }),
        ),
    ] {
        assert_eq!(
            checked(&changed(pointer, value.clone()), Purpose::Run),
            Ok(()),
            "{pointer} {value}"
        );
    }
}

#[test]
fn a_body_that_is_not_a_json_object_is_refused() {
    assert_eq!(
        parse(b"{\"a\": ").unwrap_err().message,
        "The request body is not valid JSON: EOF while parsing a value: line 1 column 6"
    );
    for text in [&b""[..], b"\xff", b"[1]", b"null", b"{\"a\":1}}"] {
        assert_eq!(parse(text).unwrap_err().status, 400);
    }
}

#[test]
fn count_tokens_refuses_run_fields() {
    let foreign = checked(&request(), Purpose::CountTokens).unwrap_err();
    assert_eq!(foreign.message, "max_tokens: Extra inputs are not permitted");
}

#[test]
fn at_most_four_cache_breakpoints() {
    let mark = json!({ "type": "ephemeral" });
    let mut body_with = request();
    for pointer in ["/tools/0", "/messages/2/content/1", "/messages/3/content/2"] {
        body_with.pointer_mut(pointer).unwrap()["cache_control"] = mark.clone();
    }
    // A field of that name in a tool's input isn't a breakpoint.
    body_with["messages"][2]["content"][2]["input"]["cache_control"] = mark.clone();
    assert_eq!(checked(&body_with, Purpose::Run), Ok(()));
    for pointer in ["/messages/3/content/0", "/messages/3/content/0/content/0", ""] {
        let mut body_with = body_with.clone();
        body_with.pointer_mut(pointer).unwrap()["cache_control"] = mark.clone();
        let problem = checked(&body_with, Purpose::Run).unwrap_err();
        assert_eq!(
            problem.message, "A maximum of 4 blocks with cache_control may be provided. Found 5.",
            "{pointer}"
        );
    }
}
