#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::super::acceptance;
use super::*;
use crate::model::{ToolDefinition, ToolDefinitions};

fn request<'a>(messages: &'a [Message], tools: &'a ToolDefinitions) -> ModelRequest<'a> {
    ModelRequest {
        system: "",
        messages,
        tools,
        max_tokens: 16,
        temperature: None,
        schema: None,
        tools_since: &[],
    }
}

fn options() -> RequestOptions {
    RequestOptions::of(&ModelSettings::default())
}

fn text(request: &ModelRequest<'_>) -> String {
    String::from_utf8(
        body(
            "m",
            request,
            RequestOptions {
                cache: None,
                ..options()
            },
        )
        .unwrap()
        .json,
    )
    .unwrap()
}

#[test]
fn a_request_contains_only_what_was_set() {
    let messages = [Message::user("hi")];
    let none = ToolDefinitions::default();
    let plain = request(&messages, &none);
    assert_eq!(
        text(&plain),
        r#"{"model":"m","max_tokens":16,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
    );
    let tools = ToolDefinitions::from_iter([ToolDefinition {
        name: "t".into(),
        description: "d".into(),
        input_schema: r#"{"type":"object","b":1.0}"#.into(),
        always_load: false,
    }]);
    let full = ModelRequest {
        system: "be brief",
        temperature: Some(0.5),
        ..request(&messages, &tools)
    };
    let read: Value = serde_json::from_str(&text(&full)).unwrap();
    assert_eq!(read["system"], "be brief");
    assert_eq!(read["temperature"], 0.5);
    assert_eq!(
        read["tools"],
        json!([{"name": "t", "description": "d", "input_schema": {"type": "object", "b": 1.0}}])
    );
    assert!(text(&full).contains(r#""input_schema":{"type":"object","b":1.0}}"#));
    assert_eq!(text(&full), text(&full));
}

fn cached(request: &ModelRequest<'_>, ttl: CacheTtl) -> String {
    String::from_utf8(
        body(
            "m",
            request,
            RequestOptions {
                cache: Some(ttl),
                ..options()
            },
        )
        .unwrap()
        .json,
    )
    .unwrap()
}

const MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;

#[test]
fn tools_system_prompt_and_conversation_end_with_a_breakpoint() {
    let messages = [Message::user("hi")];
    let tools = ["a", "b"].map(|name| ToolDefinition {
        name: name.into(),
        description: "d".into(),
        input_schema: r#"{"type":"object"}"#.into(),
        always_load: false,
    });
    let (tools, none) = (ToolDefinitions::from_iter(tools), ToolDefinitions::default());
    let full = ModelRequest {
        system: "be brief",
        ..request(&messages, &tools)
    };
    let tool = |name: &str, marker: &str| {
        format!(r#"{{"name":"{name}","description":"d","input_schema":{{"type":"object"}}{marker}}}"#)
    };
    for (ttl, marker) in [
        (CacheTtl::FiveMinutes, MARKER),
        (CacheTtl::OneHour, r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#),
    ] {
        let expected = format!(
            r#"{{"model":"m","max_tokens":16,"stream":true,"tools":[{},{}],"system":[{{"type":"text","text":"be brief"{marker}}}],"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"{marker}}}]}}]}}"#,
            tool("a", ""),
            tool("b", marker),
        );
        assert_eq!(cached(&full, ttl), expected);
    }
    assert_eq!(
        cached(&request(&messages, &none), CacheTtl::FiveMinutes),
        format!(
            r#"{{"model":"m","max_tokens":16,"stream":true,"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"{MARKER}}}]}}]}}"#
        ),
        "nothing is added for what isn't there"
    );
}

#[test]
fn effort_and_thinking_are_sent_as_the_api_names_them() {
    let messages = [Message::user("hi")];
    let none = ToolDefinitions::default();
    for (thinking, expected) in [
        (Thinking::Adaptive, json!({ "type": "adaptive" })),
        (Thinking::BetweenTools, json!({ "type": "between_tools" })),
        (Thinking::Off, json!({ "type": "disabled" })),
        (
            Thinking::Budget { budget_tokens: 2_048 },
            json!({ "type": "enabled", "budget_tokens": 2_048 }),
        ),
    ] {
        assert_eq!(expected["type"], thinking.kind());
        for effort in Effort::ALL {
            let options = RequestOptions {
                effort: Some(effort),
                thinking: Some(thinking),
                ..options()
            };
            let sent = body("m", &request(&messages, &none), options).unwrap().json;
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(sent["thinking"], expected);
            assert_eq!(sent["output_config"], json!({ "effort": effort.as_str() }));
        }
    }
}

/// A turn of the model with this many calls, and their results.
fn turn(calls: usize, number: usize) -> [Message; 2] {
    let id = |call: usize| format!("call_{number}_{call}");
    let thinking = Opaque::new(PROVIDER, r#"{"type":"thinking","thinking":"hm","signature":"s"}"#);
    let uses = (0..calls).map(|call| {
        Block::ToolUse(ToolUse {
            id: id(call),
            name: "t".to_owned(),
            input: crate::transcript::ToolInput::read(r#"{"z": 1.0, "a": 1e3}"#),
            extra: None,
        })
    });
    let results = (0..calls).map(|call| {
        Block::ToolResult(ToolResult {
            tool_use_id: id(call),
            content: vec![Content::text("12 °C \"quoted\"")],
            is_error: call % 2 == 1,
        })
    });
    let message = |role, content| Message { role, content };
    [
        message(
            Role::Assistant,
            [Block::Opaque(thinking)].into_iter().chain(uses).collect(),
        ),
        message(Role::User, results.collect()),
    ]
}

/// What the API compares: a request with its markers removed begins with the bytes of the one before it, and has a breakpoint
/// where that one had its last, however long the turn between them was. It is the same with tools that the model searches for.
#[test]
fn a_growing_conversation_keeps_its_prefix_byte_for_byte() {
    for tool_search in [ToolSearch::Never, ToolSearch::Always] {
        let tools = ["t", "u", "v"].map(|name| ToolDefinition {
            name: name.into(),
            description: "d".into(),
            input_schema: r#"{"type":"object","b":1.0}"#.into(),
            always_load: name == "t",
        });
        let tools = ToolDefinitions::from_iter(tools);
        let options = RequestOptions {
            cache: Some(CacheTtl::FiveMinutes),
            tool_search,
            ..options()
        };
        let mut messages = vec![Message::user("go")];
        let mut before: Option<String> = None;
        for (number, calls) in [1, 3, 40, 1, 200].into_iter().enumerate() {
            let request = ModelRequest {
                system: "be brief",
                ..request(&messages, &tools)
            };
            let sent = String::from_utf8(body("m", &request, options).unwrap().json).unwrap();
            assert!(sent.matches("cache_control").count() <= 4, "{sent}");
            let (violations, sent_json) = (acceptance::violations, serde_json::from_str(&sent).unwrap());
            assert_eq!(violations(&sent_json, "2026-10-21"), <Vec<String>>::new());
            let searches = number.min(1) * usize::from(tool_search == ToolSearch::Always);
            assert_eq!(sent.matches("srvtoolu_1").count(), 2 * searches, "{sent}");
            // Up to the end of the last block, where the last breakpoint is.
            let prefix = |sent: &str| sent.rsplit_once(MARKER).unwrap().0.replace(MARKER, "");
            if let Some(before) = before {
                let prefix = prefix(&before);
                assert!(sent.replace(MARKER, "").starts_with(&prefix), "{before}\n{sent}");
                let mut ends = sent.match_indices(MARKER).map(|(at, _)| sent[..at].replace(MARKER, ""));
                assert!(ends.any(|end| end == prefix), "{before}\n{sent}");
            }
            before = Some(sent);
            let [mut answer, results] = turn(calls, number);
            if number == 0 {
                answer.content.splice(1..1, search("srvtoolu_1", &["u"]));
            }
            messages.extend([answer, results]);
        }
    }
}

/// A search of the model's, and what it found.
fn search(id: &str, found: &[&str]) -> [Block; 2] {
    let found = found
        .iter()
        .map(|name| json!({ "type": "tool_reference", "tool_name": name }));
    [
        json!({ "type": "server_tool_use", "id": id, "name": "tool_search_tool_bm25", "input": { "query": "u" } }),
        json!({
            "type": "tool_search_tool_result",
            "tool_use_id": id,
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": found.collect::<Vec<_>>(),
            },
        }),
    ]
    .map(|block| Block::Opaque(Opaque::new(PROVIDER, block.to_string())))
}

/// The host can have lost tools since, or be asking a server that can't search.
#[test]
fn what_was_found_is_sent_as_long_as_the_request_can_have_it() {
    let tool = |name: &str| ToolDefinition {
        name: name.into(),
        description: "d".into(),
        input_schema: r#"{"type":"object"}"#.into(),
        always_load: false,
    };
    let found = [
        Message::user("go"),
        Message {
            role: Role::Assistant,
            content: search("srvtoolu_1", &["a", "b"])
                .into_iter()
                .chain([Block::text("so")])
                .collect(),
        },
        Message::user("go on"),
    ];
    for (tool_search, has, expected) in [
        (ToolSearch::Always, &["a", "b"][..], Some(&["a", "b"][..])),
        (ToolSearch::Always, &["b", "c"], Some(&["b"])),
        (ToolSearch::Always, &["c"], Some(&[])),
        (ToolSearch::Always, &[], None),
        // They have become few.
        (ToolSearch::Auto, &["a", "b"], Some(&["a", "b"])),
        (ToolSearch::Auto, &[], None),
        (ToolSearch::Never, &["a", "b"], None),
    ] {
        let tools = ToolDefinitions::from_iter(has.iter().map(|name| tool(name)));
        let options = RequestOptions {
            tool_search,
            ..options()
        };
        let sent = body("m", &request(&found, &tools), options).unwrap().json;
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        assert_eq!(acceptance::violations(&sent, "2026-10-21"), <Vec<String>>::new());
        let answer = &sent["messages"][1]["content"];
        let sent = answer[1]["content"]["tool_references"].as_array();
        let sent = sent.map(|sent| {
            sent.iter()
                .map(|found| found["tool_name"].as_str().unwrap())
                .collect::<Vec<_>>()
        });
        assert_eq!(sent.as_deref(), expected, "{answer}");
        assert_eq!(answer.as_array().unwrap().len(), if expected.is_some() { 3 } else { 1 });
    }
    let tools = ToolDefinitions::from_iter([tool("a")]);
    let options = RequestOptions {
        tool_search: ToolSearch::Auto,
        ..options()
    };
    let sent = body("m", &request(&found[..1], &tools), options).unwrap().json;
    assert!(
        !String::from_utf8(sent).unwrap().contains("defer_loading"),
        "nothing was searched"
    );
}

#[test]
fn a_breakpoint_is_on_a_block_of_our_own() {
    let search = [
        r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}"#,
        r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}"#,
    ];
    let paused = |text: Option<&str>| {
        let text = text.map(Block::text);
        let search = search.map(|json| Block::Opaque(Opaque::new(PROVIDER, json)));
        Message {
            role: Role::Assistant,
            content: text.into_iter().chain(search).collect(),
        }
    };
    let none = ToolDefinitions::default();
    for (text, ends) in [(Some("so"), vec!["go", "so"]), (None, vec!["go"])] {
        let messages = [Message::user("go"), paused(text)];
        let sent = cached(&request(&messages, &none), CacheTtl::FiveMinutes);
        let expected = ends.iter().map(|end| format!(r#""text":"{end}"{MARKER}"#));
        assert!(expected.clone().all(|end| sent.contains(&end)), "{sent}");
        assert_eq!(sent.matches("cache_control").count(), ends.len(), "{sent}");
    }
}

#[test]
fn every_kind_of_block_is_serialised() {
    let opaque = |provider, json: &str| Opaque::new(provider, json);
    let assistant = vec![
        Block::Opaque(opaque(
            PROVIDER,
            r#"{"type": "thinking",  "signature": "s", "thinking": ""}"#,
        )),
        Block::Opaque(opaque("another", r#"{"reasoning": 1}"#)),
        Block::Text {
            text: "so".to_owned(),
            extra: Some(opaque(PROVIDER, r#"{"citations":null}"#)),
        },
        Block::Text {
            text: "it".to_owned(),
            extra: Some(opaque("another", r#"{"refusal":null}"#)),
        },
        Block::ToolUse(ToolUse {
            id: "a".to_owned(),
            name: "t".to_owned(),
            input: crate::transcript::ToolInput::read(r#"{"x": 1.0, "a": 1e3}"#),
            extra: Some(opaque(PROVIDER, r#"{"caller":{"type":"direct"}}"#)),
        }),
    ];
    let image = Image {
        media_type: "image/png".to_owned(),
        base64: "AAAA".to_owned(),
    };
    let result = || {
        Block::ToolResult(ToolResult {
            tool_use_id: "a".to_owned(),
            content: vec![Content::text("no"), Content::Image(image.clone())],
            is_error: false,
        })
    };
    let message = |role, content| Message { role, content };
    let messages = [
        Message::user("go"),
        message(Role::Assistant, assistant),
        message(Role::User, vec![result()]),
        message(Role::Assistant, vec![Block::Opaque(opaque("another", "{}"))]),
    ];
    let none = ToolDefinitions::default();
    let content = r#"[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]"#;
    let expected = [
        r#"{"role":"user","content":[{"type":"text","text":"go"}]}"#,
        r#"{"role":"assistant","content":[{"type": "thinking",  "signature": "s", "thinking": ""}"#,
        r#"{"type":"text","text":"so","citations":null}"#,
        r#"{"type":"text","text":"it"}"#,
        r#"{"type":"tool_use","id":"a","name":"t","input":{"x": 1.0, "a": 1e3},"caller":{"type":"direct"}}]}"#,
        &format!(r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":{content}}}]}}]}}"#),
    ];
    let sent = text(&request(&messages, &none));
    let (_, sent) = sent.split_once(r#""messages":["#).unwrap();
    assert_eq!(sent, expected.join(","));
}
