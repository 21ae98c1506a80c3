#![allow(clippy::unwrap_used)]
use serde_json::{Value, json};

use super::*;
use crate::model::ToolDefinitions;
use crate::transcript::{Image, ToolInput, ToolUse};

/// The server and the model that are asked.
const AUTHOR: &str = "http://s m";

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

fn text(request: &ModelRequest<'_>, stream: bool) -> String {
    String::from_utf8(
        body(
            "m",
            AUTHOR,
            request,
            RequestOptions {
                stream,
                ..RequestOptions::default()
            },
        )
        .unwrap(),
    )
    .unwrap()
}

/// The messages as sent.
fn sent(messages: &[Message]) -> Vec<Value> {
    let tools = ToolDefinitions::default();
    let read: Value = serde_json::from_str(&text(&request(messages, &tools), true)).unwrap();
    read["messages"].as_array().unwrap().clone()
}

fn assistant(content: Vec<Block>) -> Message {
    Message {
        role: Role::Assistant,
        content,
    }
}

fn user(content: Vec<Block>) -> Message {
    Message {
        role: Role::User,
        content,
    }
}

fn call(id: &str, extra: Option<Opaque>) -> Block {
    Block::ToolUse(ToolUse {
        id: id.to_owned(),
        name: "t".to_owned(),
        input: ToolInput::read(r#"{"x": 1.0, "a": 1e3}"#),
        extra,
    })
}

fn result(id: &str, content: Vec<Content>, is_error: bool) -> Block {
    Block::ToolResult(ToolResult {
        tool_use_id: id.to_owned(),
        content,
        is_error,
    })
}

#[test]
fn a_request_contains_only_what_was_set() {
    let messages = [Message::user("hi")];
    let none = ToolDefinitions::default();
    let plain = request(&messages, &none);
    assert_eq!(
        text(&plain, false),
        r#"{"model":"m","max_tokens":16,"stream":false,"messages":[{"role":"user","content":"hi"}]}"#
    );
    assert!(text(&plain, true).contains(r#""stream":true,"stream_options":{"include_usage":true},"messages""#));
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
    assert_eq!(
        text(&full, false),
        concat!(
            r#"{"model":"m","max_tokens":16,"temperature":0.5,"stream":false,"#,
            r#""tools":[{"type":"function","function":{"name":"t","description":"d","parameters":{"type":"object","b":1.0}}}],"#,
            r#""messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}"#
        )
    );
    let options = RequestOptions {
        max_tokens_field: MaxTokensField::MaxCompletionTokens,
        effort: Some(Effort::XHigh),
        ..RequestOptions::default()
    };
    let newer = body("m", AUTHOR, &plain, options).unwrap();
    let newer = String::from_utf8(newer).unwrap();
    assert!(
        newer.contains(r#""max_completion_tokens":16,"stream":false,"reasoning_effort":"xhigh","#),
        "{newer}"
    );
}

#[test]
fn every_kind_of_block_has_its_message() {
    let signature = Opaque::new(PROVIDER, r#"{"extra_content":{"google":{"thought_signature":"s"}}}"#);
    let foreign = Opaque::new("anthropic", r#"{"caller":{"type":"direct"}}"#);
    let image = Content::Image(Image {
        media_type: "image/png".to_owned(),
        base64: "AAAA".to_owned(),
    });
    let messages = [
        Message::user("go"),
        assistant(vec![
            Block::Opaque(Opaque::new("anthropic", r#"{"type":"thinking"}"#)),
            Block::text("first"),
            Block::text("second"),
            call("a", Some(signature)),
            call("b", Some(foreign)),
        ]),
        user(vec![
            result("a", vec![Content::text("1"), image, Content::text("2")], false),
            result("b", vec![Content::text("no such thing")], true),
            Block::text("and now?"),
        ]),
        assistant(vec![call("c", None)]),
        user(vec![result("c", vec![Content::text("3")], false)]),
    ];
    let function = json!({"name": "t", "arguments": r#"{"x": 1.0, "a": 1e3}"#});
    assert_eq!(
        sent(&messages),
        [
            json!({"role": "user", "content": "go"}),
            json!({"role": "assistant", "content": "first\n\nsecond", "tool_calls": [
                {"id": "a", "type": "function", "function": function,
                    "extra_content": {"google": {"thought_signature": "s"}}},
                {"id": "b", "type": "function", "function": function},
            ]}),
            json!({"role": "tool", "tool_call_id": "a", "content": "1\n\n2"}),
            json!({"role": "tool", "tool_call_id": "b", "content": "Error: no such thing"}),
            json!({"role": "user", "content": [
                {"type": "text", "text": "The images in the result of the call a:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "and now?"},
            ]}),
            json!({"role": "assistant", "content": null, "tool_calls": [
                {"id": "c", "type": "function", "function": function}]}),
            json!({"role": "tool", "tool_call_id": "c", "content": "3"}),
        ]
    );
}

#[test]
fn ids_of_any_form_go_back_and_missing_ones_are_made_up() {
    for (ids, expected) in [
        (["7", "call with blanks/ü"], None),
        (["", ""], Some(["cofferdam_1", "cofferdam_2"])),
        (["same", "same"], Some(["same", "cofferdam_2"])),
        (["a\nb", "b"], Some(["cofferdam_1", "b"])),
    ] {
        let results = ids.map(|id| result(id, vec![Content::text("r")], false));
        let messages = [
            Message::user("go"),
            assistant(ids.map(|id| call(id, None)).to_vec()),
            user(results.to_vec()),
        ];
        let sent = sent(&messages);
        let expected = expected.unwrap_or(ids);
        let found = [&sent[1]["tool_calls"][0]["id"], &sent[1]["tool_calls"][1]["id"]];
        assert_eq!(found, expected.map(|id| json!(id)).each_ref(), "{ids:?}");
        assert_eq!([&sent[2]["tool_call_id"], &sent[3]["tool_call_id"]], found);
    }
}

/// OpenAI refuses ids of more than 40 bytes. vLLM makes longer ones, and some gateways put signatures into them.
#[test]
fn a_long_id_goes_back_only_to_where_it_came_from() {
    for id in [
        "chatcmpl-tool-0123456789abcdef0123456789abcdef".to_owned(),
        format!("call_1__thought__{}", "A".repeat(4_000)),
    ] {
        let mark = Opaque {
            author: Some(AUTHOR.into()),
            ..Opaque::new(PROVIDER, "{}")
        };
        let messages = [
            Message::user("go"),
            assistant(vec![call(&id, Some(mark))]),
            user(vec![result(&id, vec![Content::text("1")], false)]),
        ];
        for (author, expected) in [(AUTHOR, id.as_str()), ("http://other m", "cofferdam_1")] {
            let tools = ToolDefinitions::default();
            let options = RequestOptions {
                stream: true,
                ..RequestOptions::default()
            };
            let body = body("m", author, &request(&messages, &tools), options).unwrap();
            let sent: Value = serde_json::from_slice(&body).unwrap();
            let function = json!({"name": "t", "arguments": r#"{"x": 1.0, "a": 1e3}"#});
            assert_eq!(
                sent["messages"][1]["tool_calls"],
                json!([{"id": expected, "type": "function", "function": function}])
            );
            assert_eq!(sent["messages"][2]["tool_call_id"], expected);
        }
    }
}

#[test]
fn what_another_server_or_model_wrote_is_left_out() {
    let by = |author: &str, json: &str| Opaque {
        author: Some(author.into()),
        ..Opaque::new(PROVIDER, json)
    };
    let details = r#"{"reasoning_details":[{"type":"reasoning.encrypted","data":"x"}]}"#;
    let signed = r#"{"extra_content":{"signature":"s"}}"#;
    let turn = |author: &str| {
        [
            Message::user("go"),
            assistant(vec![
                Block::Opaque(by(author, details)),
                call("a", Some(by(author, signed))),
            ]),
            user(vec![result("a", vec![Content::text("1")], false)]),
        ]
    };
    let own = &sent(&turn(AUTHOR))[1];
    assert_eq!(own["reasoning_details"][0]["data"], "x");
    assert_eq!(own["tool_calls"][0]["extra_content"]["signature"], "s");
    let foreign = &sent(&turn("http://other m"))[1];
    assert_eq!(foreign["reasoning_details"], Value::Null);
    assert_eq!(foreign["tool_calls"][0]["extra_content"], Value::Null);
    assert_eq!(foreign["tool_calls"][0]["id"], "a");
}

#[test]
fn reasoning_goes_back_only_where_a_vendor_wants_it() {
    let reasoning = || Block::Opaque(Opaque::new(PROVIDER, r#"{"reasoning_content":"hm","reasoning":"hm"}"#));
    let messages = [
        Message::user("go"),
        assistant(vec![reasoning(), Block::text("done")]),
        Message::user("again"),
        assistant(vec![reasoning(), call("a", None)]),
        user(vec![result("a", vec![Content::text("1")], false)]),
        assistant(vec![reasoning()]),
        Message::user("well?"),
    ];
    let sent = sent(&messages);
    assert_eq!(sent[1], json!({"role": "assistant", "content": "done"}));
    assert_eq!(
        (&sent[3]["reasoning_content"], &sent[3]["reasoning"]),
        (&json!("hm"), &Value::Null)
    );
    assert_eq!(sent.len(), 6, "an answer of reasoning alone says nothing: {sent:#?}");
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let tools = ToolDefinitions::default();
    let messages = [
        Message::user("go"),
        assistant(vec![Block::text("calling"), call("a", None)]),
        user(vec![result("a", vec![Content::text("1")], false)]),
        assistant(vec![Block::text("done")]),
        Message::user("again"),
    ];
    let full = text(&request(&messages, &tools), true);
    for length in [1, 3] {
        let shorter = text(&request(&messages[..length], &tools), true);
        assert!(full.starts_with(shorter.trim_end_matches("]}")), "{shorter}");
    }
}

#[test]
fn what_no_server_accepts_is_repaired() {
    let odd = Block::ToolUse(ToolUse {
        id: "a".to_owned(),
        name: "no such tool!".repeat(9),
        input: ToolInput::invalid("half"),
        extra: None,
    });
    let messages = [Message::user("go"), assistant(vec![odd])];
    let sent = sent(&messages);
    let name = sent[1]["tool_calls"][0]["function"]["name"].as_str().unwrap();
    assert!(name.len() == 64 && name.starts_with("no_such_tool_no"), "{name}");
    assert_eq!(sent[1]["tool_calls"][0]["function"]["arguments"], "{}");
    assert_eq!(
        (&sent[2]["role"], &sent[2]["tool_call_id"]),
        (&json!("tool"), &json!("a"))
    );
    assert!(
        sent[2]["content"].as_str().unwrap().starts_with("Error: "),
        "{}",
        sent[2]
    );
}
