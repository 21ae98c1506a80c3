#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::HeaderValue;
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
                { "type": "thinking", "thinking": "hm", "signature": super::super::answer::thinking_signature("hm") },
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

/// A good request with one place changed; `null` takes the field away.
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

#[test]
fn a_good_request_passes() {
    assert_eq!(body(&request(), Purpose::Run), Ok(()));
    let mut count = request();
    for field in ["max_tokens", "stream"] {
        count.as_object_mut().unwrap().remove(field);
    }
    assert_eq!(body(&count, Purpose::CountTokens), Ok(()));
}

#[test]
fn what_is_allowed_though_it_looks_odd() {
    for (pointer, value) in [
        ("/messages/3/content/0/content", Value::Null),
        ("/messages/-", json!({ "role": "assistant", "content": "prefilled" })),
        ("/messages/-", json!({ "role": "assistant", "content": [] })),
        (
            "/tools/-",
            json!({ "type": "web_search_20250305", "name": "web_search" }),
        ),
        ("/system", json!("")),
        ("/model", json!("any-name")),
        ("/thinking", json!({ "type": "enabled", "budget_tokens": 1024 })),
        ("/thinking", json!({ "type": "adaptive", "display": "omitted" })),
        ("/thinking", json!({ "type": "disabled" })),
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
        ("/tools", json!([{ "type": "mcp_toolset", "mcp_server_name": "m" }])),
        (
            "/messages/-",
            json!({ "role": "assistant", "content": [{ "type": "redacted_thinking", "data": "x" }] }),
        ),
        (
            "/messages/3/content/0/content/0/cache_control",
            json!({ "type": "ephemeral" }),
        ),
    ] {
        assert_eq!(
            body(&changed(pointer, value.clone()), Purpose::Run),
            Ok(()),
            "{pointer} {value}"
        );
    }
}

#[test]
fn every_rule_has_its_words() {
    let unanswered = "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: ";
    let text = |text: &str| json!({ "type": "text", "text": text });
    for (pointer, value, expected) in [
        ("/model", Value::Null, "model: Field required"),
        ("/model", json!(""), "model: String should have at least 1 character"),
        ("/max_tokens", Value::Null, "max_tokens: Field required"),
        (
            "/max_tokens",
            json!(0),
            "max_tokens: Input should be greater than or equal to 1",
        ),
        (
            "/max_tokens",
            json!(-3),
            "max_tokens: Input should be greater than or equal to 1",
        ),
        ("/max_tokens", json!(1.5), "max_tokens: Input should be a valid integer"),
        ("/max_tokens", json!("9"), "max_tokens: Input should be a valid integer"),
        ("/messages", Value::Null, "messages: Field required"),
        ("/messages", json!({}), "messages: Input should be a valid list"),
        ("/messages", json!([]), "messages: at least one message is required"),
        ("/stream", json!("yes"), "stream: Input should be a valid boolean"),
        ("/foo", json!(1), "foo: Extra inputs are not permitted"),
        (
            "/temperature",
            json!(0.5),
            "`temperature` is deprecated for this model.",
        ),
        ("/top_p", json!(0.5), "`top_p` is deprecated for this model."),
        (
            "/tool_choice",
            json!({ "type": "any" }),
            "tool_choice: forced tool use is not supported by this model",
        ),
        (
            "/tool_choice",
            json!({ "type": "some" }),
            "tool_choice: Input tag 'some'",
        ),
        (
            "/system/0/text",
            json!(" "),
            "system: text content blocks must be non-empty",
        ),
        (
            "/tool_choice",
            json!({ "type": "auto", "bogus": 1 }),
            "tool_choice.auto.bogus: Extra inputs are not permitted",
        ),
        (
            "/tool_choice",
            json!({ "type": "none", "disable_parallel_tool_use": true }),
            "tool_choice.none.disable_parallel_tool_use: Extra inputs",
        ),
        (
            "/tool_choice",
            json!({ "type": "auto", "disable_parallel_tool_use": 1 }),
            "tool_choice.auto.disable_parallel_tool_use: Input should be a valid boolean",
        ),
        (
            "/tool_choice",
            json!("auto"),
            "tool_choice: Input should be a valid dictionary",
        ),
        (
            "/tools",
            json!([]),
            "tool_choice may only be specified while providing tools.",
        ),
        // Options.
        (
            "/thinking",
            json!("yes"),
            "thinking: Input should be a valid dictionary",
        ),
        (
            "/thinking",
            json!({ "type": "some" }),
            "thinking: Input tag 'some' found",
        ),
        (
            "/thinking",
            json!({ "type": "enabled" }),
            "thinking.enabled.budget_tokens: Field required",
        ),
        (
            "/thinking",
            json!({ "type": "enabled", "budget_tokens": 1023 }),
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        (
            "/thinking",
            json!({ "type": "adaptive", "budget_tokens": 1024 }),
            "thinking.adaptive.budget_tokens: Extra inputs",
        ),
        (
            "/thinking",
            json!({ "type": "adaptive", "display": "none" }),
            "thinking.adaptive.display: Input should be 'summarized' or 'omitted'",
        ),
        (
            "/thinking",
            json!({ "type": "disabled", "display": "omitted" }),
            "thinking.disabled.display: Extra inputs",
        ),
        (
            "/stop_sequences",
            json!("END"),
            "stop_sequences: Input should be a valid list",
        ),
        (
            "/stop_sequences",
            json!(["a", 1]),
            "stop_sequences.1: Input should be a valid string",
        ),
        (
            "/stop_sequences",
            json!([null]),
            "stop_sequences.0: Input should be a valid string",
        ),
        (
            "/stop_sequences",
            json!([""]),
            "stop_sequences: each stop sequence must be non-empty",
        ),
        (
            "/stop_sequences",
            json!(["\n"]),
            "stop_sequences: each stop sequence must contain non-whitespace",
        ),
        ("/metadata", json!([]), "metadata: Input should be a valid dictionary"),
        (
            "/metadata",
            json!({ "user_id": 1 }),
            "metadata.user_id: Input should be a valid string",
        ),
        ("/metadata", json!({ "name": "x" }), "metadata.name: Extra inputs"),
        (
            "/service_tier",
            json!("batch"),
            "service_tier: Input should be 'auto' or 'standard_only'",
        ),
        // Cache marks.
        (
            "/cache_control",
            json!("x"),
            "cache_control: Input should be a valid dictionary",
        ),
        (
            "/cache_control",
            json!({ "type": "bogus" }),
            "cache_control: Input tag 'bogus' found using 'type' does not match any of the expected tags: 'ephemeral'",
        ),
        (
            "/system/0/cache_control",
            json!("x"),
            "system.0.cache_control: Input should be a valid dictionary",
        ),
        (
            "/tools/0/cache_control",
            json!({ "type": "ephemeral", "ttl": "2h" }),
            "tools.0.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
        ),
        (
            "/messages/2/content/1/cache_control",
            json!({ "type": "ephemeral", "scope": "global" }),
            "messages.2.content.1.text.cache_control.ephemeral.scope: Extra inputs",
        ),
        (
            "/messages/3/content/0/content/0/cache_control",
            json!({ "type": "bogus" }),
            "messages.3.content.0.tool_result.content.0.cache_control: Input tag 'bogus'",
        ),
        (
            "/messages/2/content/0/cache_control",
            json!({ "type": "ephemeral" }),
            "messages.2.content.0.thinking.cache_control: Extra inputs",
        ),
        // Tools.
        (
            "/tools/0/type",
            json!(7),
            "tools.0.type: Input should be a valid string",
        ),
        (
            "/tools/0",
            json!("calculate"),
            "tools.0: Input should be a valid dictionary",
        ),
        (
            "/tools/0/name",
            json!("no spaces"),
            "tools.0.custom.name: String should match pattern",
        ),
        (
            "/tools/0/name",
            json!("x".repeat(129)),
            "tools.0.custom.name: String should match pattern",
        ),
        ("/tools/0/name", Value::Null, "tools.0.custom.name: Field required"),
        (
            "/tools/-",
            request()["tools"][0].clone(),
            "tools: Tool names must be unique.",
        ),
        (
            "/tools/0/input_schema",
            Value::Null,
            "tools.0.custom.input_schema: Field required",
        ),
        (
            "/tools/0/input_schema/type",
            Value::Null,
            "tools.0.custom.input_schema.type: Field required",
        ),
        (
            "/tools/0/input_schema/type",
            json!("array"),
            "tools.0.custom.input_schema.type: Input should be 'object'",
        ),
        (
            "/tools/0/input_schema/oneOf",
            json!([]),
            "tools.0.custom.input_schema: input_schema does not support oneOf",
        ),
        (
            "/tools/0/input_schema/properties",
            json!({ "a b": {} }),
            "tools.0.custom.input_schema.properties: Property keys should match pattern",
        ),
        (
            "/tools/0/annotations",
            json!({}),
            "tools.0.custom.annotations: Extra inputs are not permitted",
        ),
        // Roles and contents.
        (
            "/messages/0/role",
            json!("assistant"),
            "messages: first message must use the \"user\" role",
        ),
        (
            "/messages/0/role",
            json!("system"),
            "messages: Unexpected role \"system\"",
        ),
        (
            "/messages/0/role",
            json!("tool"),
            "messages.0.role: Input should be 'user' or 'assistant'",
        ),
        ("/messages/0/role", Value::Null, "messages.0.role: Field required"),
        (
            "/messages/0/name",
            json!("me"),
            "messages.0.name: Extra inputs are not permitted",
        ),
        ("/messages/0/content", Value::Null, "messages.0.content: Field required"),
        (
            "/messages/0/content",
            json!(""),
            "messages.0: all messages must have non-empty content",
        ),
        (
            "/messages/0/content",
            json!([]),
            "messages.0: all messages must have non-empty content",
        ),
        (
            "/messages/2/content/1/text",
            json!(""),
            "messages: text content blocks must be non-empty",
        ),
        (
            "/messages/2/content/1/text",
            json!("\n"),
            "messages: text content blocks must contain non-whitespace text",
        ),
        (
            "/messages/2/content/1/id",
            json!("x"),
            "messages.2.content.1.text.id: Extra inputs are not permitted",
        ),
        (
            "/messages/2/content/1/type",
            json!("poem"),
            "messages.2.content.1: Input tag 'poem' found using 'type'",
        ),
        (
            "/messages/2/content/0/thinking",
            json!("ha"),
            "messages.2.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "redacted_thinking", "data": "x" }]),
            "messages.0: `redacted_thinking` blocks can only be in `assistant` messages",
        ),
        (
            "/messages/0/content",
            json!([request()["messages"][2]["content"][0]]),
            "messages.0: `thinking` blocks can only be in `assistant` messages",
        ),
        (
            "/messages/2/content/0",
            json!({ "type": "redacted_thinking" }),
            "messages.2.content.0.redacted_thinking.data: Field required",
        ),
        (
            "/messages/2/content/0",
            json!({ "type": "redacted_thinking", "data": "x", "signature": "x" }),
            "messages.2.content.0.redacted_thinking.signature: Extra inputs",
        ),
        (
            "/messages/2/content/1",
            json!("x"),
            "messages.2.content.1: Input should be a valid dictionary",
        ),
        (
            "/messages/2/content/1/text",
            json!(7),
            "messages.2.content.1.text.text: Input should be a valid string",
        ),
        // Calls and results.
        (
            "/messages/3/content/0/content/0/text",
            json!(" "),
            "messages: text content blocks must contain non-whitespace text",
        ),
        (
            "/messages/3/content/0/content/0/bogus",
            json!(1),
            "messages.3.content.0.tool_result.content.0.text.bogus: Extra inputs",
        ),
        (
            "/messages/3/content/0/content/0",
            json!("no"),
            "messages.3.content.0.tool_result.content.0: Input should be a valid dictionary",
        ),
        (
            "/messages/2/content/2/id",
            json!("a b"),
            "messages.2.content.2.tool_use.id: String should match pattern",
        ),
        (
            "/messages/2/content/2/input",
            json!("{}"),
            "messages.2.content.2.tool_use.input: Input should be a valid",
        ),
        (
            "/messages/2/content/2/extra",
            json!(1),
            "messages.2.content.2.tool_use.extra: Extra inputs are not permitted",
        ),
        (
            "/messages/2/content/3/id",
            json!("a"),
            "messages.2.content.3: `tool_use` ids must be unique",
        ),
        ("/messages/3/content/0", Value::Null, &format!("{unanswered}b.")),
        (
            "/messages/3/content",
            json!("never mind"),
            &format!("{unanswered}a, b."),
        ),
        ("/messages/3", Value::Null, &format!("{unanswered}a, b.")),
        (
            "/messages/3/content/0/tool_use_id",
            json!("z"),
            "messages.3.content.0: unexpected `tool_use_id` found",
        ),
        (
            "/messages/3/content/0/tool_use_id",
            json!("a"),
            "messages.3.content.1: each tool_use must have a single result",
        ),
        (
            "/messages/3/content/0/is_error",
            json!("no"),
            "messages.3.content.0.tool_result.is_error: Input should be",
        ),
        (
            "/messages/3/content/0/content/0/text",
            json!(""),
            "messages: text content blocks must be non-empty",
        ),
        (
            "/messages/3/content/0/content/0/type",
            json!("json"),
            "messages.3.content.0.tool_result.content.0: Input tag",
        ),
        (
            "/messages/3/content",
            json!([
                text("first"),
                { "type": "tool_result", "tool_use_id": "a" },
                { "type": "tool_result", "tool_use_id": "b" },
            ]),
            &format!("{unanswered}a."),
        ),
        (
            "/messages/1/content",
            json!([{ "type": "tool_use", "id": "q", "name": "calculate", "input": {} }]),
            "messages.1: `tool_use` blocks can only be in `assistant` messages",
        ),
        (
            "/messages/2/content/1",
            json!({ "type": "tool_result", "tool_use_id": "a" }),
            "messages.2: `tool_result` blocks can only be in `user` messages",
        ),
    ] {
        let problem = body(&changed(pointer, value.clone()), Purpose::Run).expect_err(&format!("{pointer} {value}"));
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
    let foreign = body(&request(), Purpose::CountTokens).unwrap_err();
    assert_eq!(foreign.message, "max_tokens: Extra inputs are not permitted");
}

#[test]
fn a_result_that_comes_a_message_late_is_no_answer() {
    let late = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "425" }] });
    let mut body_with = changed("/messages/3/content/1", Value::Null);
    body_with["messages"].as_array_mut().unwrap().push(late);
    assert!(
        body(&body_with, Purpose::Run)
            .unwrap_err()
            .message
            .contains("immediately after: a.")
    );
}

#[test]
fn at_most_four_cache_marks() {
    let mark = json!({ "type": "ephemeral" });
    let mut body_with = request();
    for pointer in ["/tools/0", "/messages/2/content/1", "/messages/3/content/2"] {
        body_with.pointer_mut(pointer).unwrap()["cache_control"] = mark.clone();
    }
    // A field of that name in a tool's input is no mark.
    body_with["messages"][2]["content"][2]["input"]["cache_control"] = mark.clone();
    assert_eq!(body(&body_with, Purpose::Run), Ok(()));
    for pointer in ["/messages/3/content/0", "/messages/3/content/0/content/0", ""] {
        let mut body_with = body_with.clone();
        body_with.pointer_mut(pointer).unwrap()["cache_control"] = mark.clone();
        let problem = body(&body_with, Purpose::Run).unwrap_err();
        assert_eq!(
            problem.message, "A maximum of 4 blocks with cache_control may be provided. Found 5.",
            "{pointer}"
        );
    }
}

#[test]
fn a_forced_tool_must_be_among_the_tools() {
    let mut forced = request();
    forced["model"] = json!("claude-haiku-4-5");
    let own = request()["tools"][0].clone();
    let search = json!({ "type": "web_search_20250305", "name": "web_search" });
    let server = json!({ "type": "mcp_toolset", "mcp_server_name": "m" });
    let unknown = Err("Tool 'web_search' not found in provided tools".to_owned());
    forced["tool_choice"] = json!({ "type": "tool", "name": "web_search" });
    for (tools, expected) in [
        (json!([own]), unknown),
        (json!([own, search]), Ok(())),
        (json!([own, server]), Ok(())),
    ] {
        forced["tools"] = tools;
        assert_eq!(body(&forced, Purpose::Run).map_err(|problem| problem.message), expected);
    }
    forced["tool_choice"] = json!({ "type": "tool" });
    assert_eq!(
        body(&forced, Purpose::Run).unwrap_err().message,
        "tool_choice.tool.name: Field required"
    );
}

#[test]
fn the_newest_models_are_known_by_name() {
    for (model, expected) in [
        ("claude-sonnet-5-5", true),
        ("claude-sonnet-5", true),
        ("claude-opus-4-7", true),
        ("claude-opus-5-20260801", true),
        ("claude-fable-5-1", true),
        ("claude-haiku-5-5", true),
        ("claude-opus-4-6", false),
        ("claude-opus-4-20250514", false),
        ("claude-sonnet-4-5-20250929", false),
        ("claude-haiku-4-5", false),
        ("claude-3-5-sonnet-20241022", false),
        ("claude-2.1", false),
        ("simulated", false),
    ] {
        assert_eq!(is_newest(model), expected, "{model}");
    }
    let mut older = changed("/model", json!("claude-haiku-4-5"));
    older["temperature"] = json!(1);
    assert_eq!(body(&older, Purpose::Run), Ok(()));
    older["temperature"] = json!(1.5);
    assert_eq!(
        body(&older, Purpose::Run).unwrap_err().message,
        "temperature: range: 0..1"
    );
}

#[test]
fn headers_are_required() {
    let good = || {
        HeaderMap::from_iter([
            (
                http::header::HeaderName::from_static("x-api-key"),
                HeaderValue::from_static("k"),
            ),
            (
                http::header::HeaderName::from_static("anthropic-version"),
                HeaderValue::from_static("2023-06-01"),
            ),
            (
                http::header::CONTENT_TYPE,
                HeaderValue::from_static("application/json; charset=utf-8"),
            ),
        ])
    };
    assert_eq!(headers(&good(), true), Ok(()));
    for (name, value, status, words) in [
        ("x-api-key", None, 401, "x-api-key header is required"),
        ("x-api-key", Some("  "), 401, "x-api-key header is required"),
        ("anthropic-version", None, 400, "anthropic-version: header is required"),
        (
            "anthropic-version",
            Some("2020-01-01"),
            400,
            "anthropic-version: \"2020-01-01\" is not a valid version",
        ),
        (
            "content-type",
            None,
            400,
            "content-type: header must be application/json",
        ),
        (
            "content-type",
            Some("text/plain"),
            400,
            "content-type: header must be application/json",
        ),
    ] {
        let mut map = good();
        match value {
            None => drop(map.remove(name)),
            Some(value) => drop(map.insert(name, HeaderValue::from_static(value))),
        }
        let problem = headers(&map, true).unwrap_err();
        assert_eq!((problem.status, problem.message.as_str()), (status, words), "{name}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    assert_eq!(
        parse(b"{\"a\": ").unwrap_err().message,
        "The request body is not valid JSON: EOF while parsing a value: line 1 column 6"
    );
    for text in [&b""[..], b"\xff", b"[1]", b"null", b"{\"a\":1}}"] {
        assert_eq!(parse(text).unwrap_err().status, 400);
    }
}

mod any_input {
    use proptest::prelude::*;

    use super::super::super::answer::{Asked, reply};
    use super::super::super::request::RequestView;
    use super::super::super::script::Answer;
    use super::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z_]{0,12}".prop_map(Value::from),
            prop_oneof![
                Just("text"),
                Just("tool_use"),
                Just("tool_result"),
                Just("user"),
                Just("a")
            ]
            .prop_map(Value::from),
        ];
        let key = prop_oneof![
            Just("type".to_owned()),
            Just("content".to_owned()),
            Just("role".to_owned()),
            Just("id".to_owned()),
            "[a-z]{0,4}",
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map(key.clone(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// Every place in a value, as pointers.
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        found.push(at.to_owned());
        match value {
            Value::Object(fields) => fields
                .iter()
                .for_each(|(key, value)| places(value, &format!("{at}/{key}"), found)),
            Value::Array(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn never_panics(replacement in any_json(), place in any::<prop::sample::Index>()) {
            let mut request = request();
            let mut found = Vec::new();
            places(&request, "", &mut found);
            *request.pointer_mut(place.get::<String>(&found)).unwrap() = replacement;
            let _ = body(&request, Purpose::Run);
            let _ = body(&request, Purpose::CountTokens);
            let view = RequestView::new(&request);
            let asked = Asked { view, bytes: 1, number: 1, request_id: "req" };
            let _ = reply(&Answer::text("{{last_user}} {{last_tool_results}} {{result:calculate}}"), &asked);
        }
    }
}

#[test]
fn tools_of_the_vendor_count_as_tools() {
    let search = json!({ "type": "web_search_20250305", "name": "web_search" });
    let with = |tools: Value| {
        let mut request = request();
        request["tools"] = tools;
        body(&request, Purpose::Run).map_err(|error| error.message)
    };
    let calculate = request()["tools"][0].clone();
    assert_eq!(with(json!([search, calculate])), Ok(()));
    let toolset = json!({ "type": "mcp_toolset", "mcp_server_name": "s" });
    assert_eq!(with(json!([toolset, calculate])), Ok(()));
    let named = json!({ "name": "web_search", "input_schema": { "type": "object" } });
    assert!(with(json!([search, calculate, named])).unwrap_err().contains("unique"));
    assert!(
        with(json!([{ "type": "bash_20250124" }, calculate]))
            .unwrap_err()
            .contains("name")
    );
    assert!(
        with(json!([{ "type": 7, "name": "x" }]))
            .unwrap_err()
            .contains("tools.0.type")
    );
}
