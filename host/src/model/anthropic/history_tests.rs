#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::super::validators::{accepted, blocks};
use super::*;
use crate::model::{ModelRequest, ToolDefinitions};
use crate::simulator::signature_of;
use crate::transcript::{Content, Image, Message, ToolResult, ToolUse, repair};

/// The model that is asked.
const RULES: AnthropicRules<'_> = AnthropicRules {
    model: "m",
    searched: Some(&[]),
    others: 0,
};

fn opaque(json: Value) -> Block {
    Block::Opaque(Opaque::new(PROVIDER, json.to_string()))
}

fn call(id: &str) -> Block {
    Block::ToolUse(ToolUse {
        id: id.to_owned(),
        name: "t".to_owned(),
        input: json!({}).into(),
        extra: None,
    })
}

fn result(id: &str, text: &str) -> Block {
    Block::ToolResult(ToolResult {
        tool_use_id: id.to_owned(),
        content: vec![Content::text(text)],
        is_error: false,
    })
}

fn user(content: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        content,
    }
}

fn answer(content: Vec<Block>) -> Message {
    Message {
        role: Role::Assistant,
        content,
    }
}

fn text(text: &str) -> Block {
    Block::text(text)
}

fn thinking(words: &str) -> Block {
    opaque(json!({ "type": "thinking", "thinking": words, "signature": signature_of(words) }))
}

fn search(id: &str) -> Block {
    let id = format!("srvtoolu_{id}");
    opaque(json!({ "type": "server_tool_use", "id": id, "name": "web_search", "input": { "query": "q" } }))
}

fn found(id: &str) -> Block {
    let id = format!("srvtoolu_{id}");
    opaque(json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": [] }))
}

/// The request's blocks, checked by every validator.
fn sent(messages: &[Message]) -> Vec<(String, Value)> {
    let request = ModelRequest {
        system: "",
        messages,
        tools: &ToolDefinitions::default(),
        max_tokens: 16,
        temperature: None,
        schema: None,
        tools_since: &[],
    };
    blocks(&accepted(&super::super::request_body(&request).unwrap()))
}

fn ids(messages: &[Message]) -> Vec<String> {
    let ids = sent(messages).into_iter().filter_map(|(_, block)| {
        let id = block.get("id").or_else(|| block.get("tool_use_id"))?;
        Some(id.as_str().unwrap().to_owned())
    });
    ids.collect()
}

fn types(messages: &[Message]) -> Vec<String> {
    let blocks = sent(messages).into_iter();
    blocks
        .map(|(role, block)| format!("{} {}", &role[..1], block["type"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_valid_history_is_borrowed() {
    let history = [
        user(vec![text("go")]),
        answer(vec![
            thinking("hm"),
            Block::Text {
                text: "so".to_owned(),
                extra: Some(Opaque::new(PROVIDER, r#"{"citations":[{"type":"char_location"}]}"#)),
            },
            thinking(""),
            call("a"),
            call("b"),
        ]),
        user(vec![result("b", "2"), result("a", "1"), text("go on")]),
        answer(vec![search("s"), found("s"), text("done")]),
        user(vec![text("thanks")]),
    ];
    assert!(matches!(repair(&history, &RULES), Cow::Borrowed(_)));
    sent(&history);
}

#[test]
fn thinking_that_the_api_refuses_is_left_out() {
    let kinds = |block: Block| {
        types(&[
            user(vec![text("a")]),
            answer(vec![block, text("b")]),
            user(vec![text("c")]),
        ])
    };
    let kept = ["u text", "a thinking", "a text", "u text"];
    assert_eq!(kinds(thinking("x")), kept);
    for refused in [
        json!({ "type": "thinking", "thinking": "x", "signature": "" }),
        json!({ "type": "thinking", "thinking": "x" }),
        json!({ "type": "thinking", "thinking": "x", "signature": null }),
        json!({ "type": "redacted_thinking", "data": "" }),
        json!({ "type": "block_of_tomorrow" }),
        json!({ "type": "document", "source": {} }),
        json!({ "type": "tool_result", "tool_use_id": "a" }),
        json!({ "type": "text", "text": 7 }),
        json!({ "type": 7 }),
        json!(7),
    ] {
        assert_eq!(
            kinds(opaque(refused.clone())),
            ["u text", "a text", "u text"],
            "{refused}"
        );
    }
    let by = |author: &str, block: Block| match block {
        Block::Opaque(opaque) => Block::Opaque(Opaque {
            author: Some(author.into()),
            ..opaque
        }),
        other => other,
    };
    assert_eq!(kinds(by("m", thinking("x"))), kept);
    assert_eq!(
        kinds(by("another", thinking("x"))),
        ["u text", "a text", "u text"],
        "a model can't read the thinking of others"
    );
    let listing = || opaque(json!({ "type": "mcp_tool_listing", "mcp_server_name": "s", "tools": [] }));
    assert_eq!(
        kinds(by("another", listing())),
        ["u text", "a mcp_tool_listing", "a text", "u text"],
        "other blocks aren't bound to a model"
    );
    let with_more = json!({ "type": "thinking", "thinking": "x", "signature": signature_of("x"), "index": 0 });
    assert_eq!(kinds(opaque(with_more)), kept, "unknown fields are removed");
    // Cut off after the thinking, so nothing is left of the answer.
    let cut = [
        user(vec![text("a")]),
        answer(vec![thinking("x")]),
        user(vec![text("c")]),
    ];
    assert_eq!(types(&cut), ["u text", "u text"]);
}

#[test]
fn ids_that_were_used_before_are_replaced_in_call_and_result() {
    let history = [
        user(vec![text("go")]),
        answer(vec![call("a"), call("a")]),
        user(vec![result("a", "1"), result("a", "2")]),
        answer(vec![call("a"), call("cofferdam_2"), call("né"), call("")]),
        user(vec![
            result("", "6"),
            result("né", "5"),
            result("cofferdam_2", "4"),
            result("a", "3"),
        ]),
    ];
    let first = ["a", "cofferdam_2", "a", "cofferdam_2"];
    assert_eq!(ids(&history[..3]), first);
    let all = ids(&history);
    assert_eq!(all[..4], first, "the ids of a request stay the same in later ones");
    let second = ["cofferdam_3", "cofferdam_4", "cofferdam_5", "cofferdam_6"];
    let reversed: Vec<_> = second.iter().rev().copied().collect();
    assert_eq!(
        (&all[4..8], &all[8..]),
        (
            &second.map(str::to_owned)[..],
            &reversed.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>()[..]
        )
    );
    let texts: Vec<_> = sent(&history)
        .iter()
        .filter_map(|(_, block)| block["content"][0]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(texts, ["1", "2", "6", "5", "4", "3"], "each result stays with its call");
}

#[test]
fn names_are_replaced() {
    for (name, expected) in [
        ("", "unnamed".to_owned()),
        ("a.b c", "a_b_c".to_owned()),
        ("né", "n_".to_owned()),
        ("x".repeat(200).as_str(), "x".repeat(200)),
        ("x".repeat(300).as_str(), "x".repeat(200)),
        ("é".repeat(300).as_str(), "_".repeat(200)),
    ] {
        let repaired = RULES.tool_name(name);
        assert_eq!(repaired, expected);
        assert!(matches!(RULES.tool_name(&expected), Cow::Borrowed(_)));
    }
}

#[test]
fn every_call_gets_one_result_in_the_next_message_before_other_content() {
    let history = [
        user(vec![text("go")]),
        answer(vec![call("a"), call("b"), call("c")]),
        user(vec![
            text("first"),
            result("b", "2"),
            result("x", "orphan"),
            result("b", "again"),
        ]),
        user(vec![result("a", "1")]),
        answer(vec![call("d")]),
        answer(vec![text("done")]),
        user(vec![result("d", "late")]),
    ];
    assert_eq!(
        types(&history),
        [
            "u text",
            "a tool_use",
            "a tool_use",
            "a tool_use",
            "u tool_result",
            "u tool_result",
            "u tool_result",
            "u text",
            "a tool_use",
            "u tool_result",
            "a text",
            "u text",
        ]
    );
    let body = format!("{:?}", sent(&history));
    assert!(
        !body.contains("orphan") && !body.contains("again") && !body.contains("late"),
        "{body}"
    );
}

#[test]
fn a_history_begins_and_ends_with_the_user() {
    assert_eq!(types(&[]), ["u text"]);
    assert_eq!(types(&[answer(vec![text("a")])]), ["u text", "a text", "u text"]);
    assert_eq!(types(&[user(vec![text(" \u{feff}")]), answer(vec![])]), ["u text"]);
    let paused = [
        user(vec![text("a")]),
        answer(vec![search("s")]),
        answer(vec![found("s"), text("b")]),
    ];
    assert_eq!(
        types(&paused[..2]),
        ["u text", "a server_tool_use"],
        "the API continues it"
    );
    assert_eq!(
        types(&paused)[1..],
        ["a server_tool_use", "a web_search_tool_result", "a text"]
    );
    let left = [&paused[..2], &[user(vec![text("b")])]].concat();
    assert_eq!(types(&left), ["u text", "u text"], "never answered");
}

#[test]
fn an_error_is_explained_in_text() {
    let failed = |content| {
        let result = Block::ToolResult(ToolResult {
            tool_use_id: "a".to_owned(),
            content,
            is_error: true,
        });
        let history = [user(vec![text("go")]), answer(vec![call("a")]), user(vec![result])];
        sent(&history).pop().unwrap().1["content"][0]["text"].clone()
    };
    let image = Content::Image(Image {
        media_type: "image/png".to_owned(),
        base64: "AAAA".to_owned(),
    });
    assert_eq!(failed(vec![]), "(no output)");
    assert_eq!(failed(vec![Content::text(" \0")]), "(no output)");
    assert_eq!(failed(vec![image]), "[an image is left out]");
}

#[test]
fn fields_that_the_api_does_not_know_are_removed() {
    for (fields, expected) in [
        (
            json!({ "caller": { "type": "direct" } }),
            json!({ "caller": { "type": "direct" } }),
        ),
        (json!({ "caller": 7 }), json!({})),
        (
            json!({ "toolset_name": "browser", "index": 1 }),
            json!({ "toolset_name": "browser" }),
        ),
        (json!({ "id": "b", "input": 7 }), json!({})),
        (json!([]), json!({})),
    ] {
        let given = Opaque::new(PROVIDER, fields.to_string());
        let repaired = RULES
            .call_fields(&given)
            .map_or(json!({}), |kept| serde_json::from_str(&kept.json).unwrap());
        assert_eq!(repaired, expected, "{fields}");
    }
    let cited = Opaque::new(PROVIDER, r#"{"citations":[{"type":"char_location"}]}"#);
    assert!(RULES.text_fields(Role::Assistant, &cited).is_some());
    assert!(RULES.text_fields(Role::User, &cited).is_none());
}

/// What a model, a gateway, a tool or a user may send.
fn any_block() -> impl Strategy<Value = Block> {
    let id = || {
        prop::sample::select(vec![
            "a",
            "b",
            "c",
            "",
            "b d",
            "né",
            "srvtoolu_1",
            "mcptoolu_1",
            "cofferdam_1",
            "cofferdam_2",
        ])
    };
    let name = prop::sample::select(vec!["t", "", "a.b", "né"]).prop_map(str::to_owned);
    let name = prop_oneof![name, Just("x".repeat(300))];
    let input = prop::sample::select(vec![json!({}), json!({ "a": 1 }), json!([1]), json!(null)]);
    let fields = prop::sample::select(vec![
        "",
        "{}",
        "[]",
        "no json",
        r#"{"citations":null}"#,
        r#"{"citations":[{"type":"char_location"}]}"#,
        r#"{"citations":[7]}"#,
        r#"{"citations":[{"type":"x"}],"index":1}"#,
        r#"{"caller":{"type":"direct"}}"#,
        r#"{"caller":"me","id":"b"}"#,
        r#"{"text":"twice","type":"image"}"#,
    ]);
    let provider = prop::sample::select(vec![PROVIDER, PROVIDER, PROVIDER, "another"]);
    let extra = move || {
        (provider.clone(), fields.clone())
            .prop_map(|(provider, json)| (!json.is_empty()).then(|| Opaque::new(provider, json)))
    };
    let words = || prop::sample::select(vec!["", " \n", "\u{feff}", "\0", "hello", "a\0b", "\u{1f}"]);
    let image = prop::sample::select(vec!["image/png", "image/svg+xml"]).prop_map(|kind| {
        Content::Image(Image {
            media_type: kind.to_owned(),
            base64: "AAAA".to_owned(),
        })
    });
    let content = vec(prop_oneof![words().prop_map(Content::text), image], 0..3);
    let json = prop_oneof![
        (
            id(),
            prop::sample::select(vec!["server_tool_use", "mcp_tool_use", "tool_use"])
        )
            .prop_map(
                |(id, kind)| json!({ "type": kind, "id": id, "name": "web_search", "server_name": "s", "input": {} })
            ),
        (
            id(),
            prop::sample::select(vec![
                "web_search_tool_result",
                "mcp_tool_result",
                "code_execution_tool_result",
                "tool_result"
            ])
        )
            .prop_map(|(id, kind)| json!({ "type": kind, "tool_use_id": id, "content": [] })),
        words().prop_map(|words| json!({ "type": "thinking", "thinking": words, "signature": signature_of(words) })),
        words().prop_map(|words| json!({ "type": "thinking", "thinking": words, "signature": "" })),
        words().prop_map(|words| json!({ "type": "redacted_thinking", "data": words, "more": 1 })),
        prop::sample::select(
            KINDS
                .iter()
                .map(|kind| kind.name)
                .filter(|name| !["advisor_tool_result", "mcp_tool_listing"].contains(name))
                .collect::<Vec<_>>()
        )
        .prop_map(|kind| json!({ "type": kind, "source": {}, "content": "", "from": {}, "to": {}, "file_id": "f" })),
        Just(json!({ "type": "block_of_tomorrow", "id": "a" })),
        Just(json!({ "type": 7 })),
        Just(json!([])),
    ];
    prop_oneof![
        2 => (words(), extra()).prop_map(|(text, extra)| Block::Text { text: text.to_owned(), extra }),
        4 => (id(), name, input, extra()).prop_map(|(id, name, input, extra)| Block::ToolUse(ToolUse {
            id: id.to_owned(), name, input: input.into(), extra,
        })),
        4 => (id(), content, any::<bool>()).prop_map(|(id, content, is_error)| Block::ToolResult(ToolResult {
            tool_use_id: id.to_owned(), content, is_error,
        })),
        4 => json.prop_map(opaque),
        1 => Just(Block::Opaque(Opaque::new(PROVIDER, "{"))),
        1 => Just(Block::Opaque(Opaque::new("another", "{}"))),
    ]
}

fn any_history() -> impl Strategy<Value = Vec<Message>> {
    let role = prop_oneof![Just(Role::User), Just(Role::Assistant)];
    let message = (role, vec(any_block(), 0..5)).prop_map(|(role, content)| Message { role, content });
    vec(message, 0..10)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_history_is_accepted_once_repaired(history in any_history()) {
        let all = sent(&history);
        let repaired = repair(&history, &RULES);
        prop_assert!(matches!(repair(&repaired, &RULES), Cow::Borrowed(_)), "idempotent: {:#?}", repaired);
        // What was sent when the user had the last word is the beginning of every request after the next answer.
        let added = ["[Earlier messages are left out.]", "Continue."];
        for (end, next) in history.iter().enumerate().skip(1) {
            let shorter = sent(&history[..end]);
            let (role, last) = shorter.last().unwrap();
            let is_request = role == "user" && !added.contains(&last["text"].as_str().unwrap_or_default());
            let is_answered = next.role == Role::Assistant && sent(&history[..=end]).len() > shorter.len();
            if is_request && is_answered {
                prop_assert!(all.starts_with(&shorter), "after {end}: {:#?}\n{:#?}", shorter, all);
            }
        }
    }
}
