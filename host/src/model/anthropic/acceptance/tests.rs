#![allow(clippy::unwrap_used)]
use serde_json::json;

use super::*;

const OLD: &str = "2023-06-01";
const NEW: &str = "2026-10-21";
/// The beginning of a PNG of 8,001 by 1 pixels, up to its sides.
const WIDE: &str = "iVBORw0KGgoAAAANSUhEUgAAH0EAAAAB";

fn request(model: &str, more: &Value) -> Value {
    let mut request = json!({
        "model": model,
        "max_tokens": 2048,
        "stream": true,
        "messages": [{ "role": "user", "content": "hi" }],
    });
    for (name, value) in more.as_object().unwrap() {
        request[name] = value.clone();
    }
    request
}

fn user(content: &Value) -> Value {
    json!({ "role": "user", "content": content })
}

fn assistant(content: &Value) -> Value {
    json!({ "role": "assistant", "content": content })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn call(id: &str) -> Value {
    json!({ "type": "tool_use", "id": id, "name": "t", "input": {} })
}

fn result(id: &str) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": "ok" })
}

fn image(media_type: &str, data: &str) -> Value {
    json!({ "type": "image", "source": { "type": "base64", "media_type": media_type, "data": data } })
}

fn messages(messages: &[Value]) -> Value {
    json!({ "messages": messages })
}

/// A conversation that holds one block of the assistant, and goes on.
fn said(block: &Value) -> Value {
    messages(&[
        user(&json!("hi")),
        assistant(&json!([block, text("so")])),
        user(&json!("go on")),
    ])
}

/// A conversation in which one call was answered by `block`.
fn answered(block: &Value) -> Value {
    messages(&[
        user(&json!("hi")),
        assistant(&json!([call("a")])),
        user(&json!([block])),
    ])
}

fn tool(more: &Value) -> Value {
    let mut tool = json!({ "name": "t", "input_schema": { "type": "object" } });
    for (name, value) in more.as_object().unwrap() {
        tool[name] = value.clone();
    }
    tool
}

fn bm25() -> Value {
    json!({ "type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25" })
}

/// The result of a search that found a tool.
fn searched(tool: &str) -> Value {
    json!({
        "type": "tool_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": {
            "type": "tool_search_tool_search_result",
            "tool_references": [{ "type": "tool_reference", "tool_name": tool }],
        },
    })
}

#[test]
fn good_requests_are_accepted() {
    let thinking = |text: &str| json!({ "type": "thinking", "thinking": text, "signature": "c2ln" });
    let cached = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    let cases = [
        ("claude-sonnet-5-5", json!({})),
        ("claude-sonnet-5-5", json!({ "max_tokens": 0 })),
        (
            "claude-sonnet-5-5",
            json!({ "system": "be brief", "stop_sequences": ["END"] }),
        ),
        (
            "claude-sonnet-5-5",
            json!({ "system": [cached], "tools": [tool(&json!({ "description": "d", "strict": true }))] }),
        ),
        (
            "claude-sonnet-5-5",
            json!({ "thinking": { "type": "between_tools" }, "output_config": { "effort": "high" } }),
        ),
        (
            "claude-fable-5-2",
            json!({ "thinking": { "type": "adaptive", "display": "summarized" }, "output_config": { "effort": "max" } }),
        ),
        (
            "claude-haiku-4-5-20251001",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        ),
        (
            "claude-opus-5",
            json!({ "tool_choice": { "type": "tool", "name": "t" }, "tools": [tool(&json!({}))] }),
        ),
        (
            "claude-opus-5-5",
            json!({ "speed": "fast", "tool_choice": { "type": "auto", "disable_parallel_tool_use": true } }),
        ),
        (
            "claude-opus-4-5",
            messages(&[user(&json!("hi")), assistant(&json!("It is"))]),
        ),
        (
            "claude-sonnet-5-5",
            json!({ "tools": [tool(&json!({ "defer_loading": true })), bm25()] }),
        ),
        // Two messages of one role are joined.
        ("claude-opus-5", messages(&[user(&json!("hi")), user(&json!("there"))])),
        (
            "claude-opus-5",
            messages(&[
                user(&json!("hi")),
                json!({ "role": "system", "content": "now in French" }),
                user(&json!("go")),
            ]),
        ),
        ("claude-opus-5", said(&thinking("hm"))),
        ("claude-opus-5", said(&thinking(""))),
        (
            "claude-opus-5",
            said(&json!({ "type": "text", "text": "x", "citations": [{ "type": "char_location" }] })),
        ),
        (
            "claude-opus-5",
            answered(
                &json!({ "type": "tool_result", "tool_use_id": "a", "content": [text("no"), image("image/png", "AAAA")] }),
            ),
        ),
        (
            "claude-opus-5",
            answered(&json!({ "type": "tool_result", "tool_use_id": "a" })),
        ),
        (
            "claude-opus-5",
            answered(&json!({ "type": "tool_result", "tool_use_id": "a", "content": "", "is_error": true })),
        ),
        (
            "claude-opus-5",
            messages(&[
                user(&json!("hi")),
                assistant(&json!([thinking("hm"), text("so"), call("a"), call("b")])),
                user(&json!([result("b"), result("a"), text("and?")])),
                assistant(&json!([call("c")])),
                user(&json!([result("c")])),
            ]),
        ),
        // A turn that the API paused ends with its own call, or with the result of it.
        (
            "claude-opus-5",
            messages(&[
                user(&json!("hi")),
                assistant(&json!([
                    { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "query": "x" } },
                    { "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [] },
                ])),
            ]),
        ),
    ];
    for (model, more) in cases {
        for version in [OLD, NEW] {
            let request = request(model, &more);
            assert_eq!(violations(&request, version), Vec::<String>::new(), "{request:#}");
        }
    }
    // Only the older version takes these.
    for (model, more) in [
        ("claude-sonnet-4-6", json!({ "temperature": 0.5 })),
        ("claude-opus-5-5", json!({ "temperature": 1 })),
        ("claude-opus-5-5", said(&json!({ "type": "document", "source": {} }))),
    ] {
        let request = request(model, &more);
        assert_eq!(violations(&request, OLD), Vec::<String>::new(), "{request:#}");
        assert_eq!(violations(&request, NEW).len(), 1, "{request:#}");
    }
}

#[test]
fn each_rule_refuses_what_breaks_it() {
    let opus = "claude-opus-5";
    let marked = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
    let hour = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral", "ttl": "1h" } });
    let search = |id: &str| json!({ "type": "web_search_tool_result", "tool_use_id": id, "content": [] });
    let cases = [
        (opus, json!({ "reasoning": 1 }), "reasoning: Extra inputs"),
        (
            opus,
            json!({ "context_management": {} }),
            "context_management: Extra inputs",
        ),
        (opus, json!({ "speed": "fast" }), "speed: Extra inputs"),
        (opus, json!({ "model": 5 }), "model: must be a string"),
        (opus, json!({ "max_tokens": -1 }), "max_tokens: -1 is not"),
        (opus, json!({ "max_tokens": 1.5 }), "max_tokens: 1.5 is not"),
        (opus, json!({ "max_tokens": 128_001 }), "max_tokens: 128001 > 128000"),
        (
            "claude-haiku-4-5",
            json!({ "max_tokens": 64_001 }),
            "max_tokens: 64001 > 64000",
        ),
        (opus, json!({ "stream": "yes" }), "stream: "),
        (opus, json!({ "stop_sequences": ["a", " "] }), "stop_sequences.1: "),
        (
            opus,
            json!({ "metadata": { "user": "x" } }),
            "metadata.user: Extra inputs",
        ),
        (opus, json!({ "service_tier": "gold" }), "service_tier: "),
        // Sampling
        (opus, json!({ "temperature": 0.5 }), "temperature: "),
        (opus, json!({ "top_p": 0.5 }), "top_p: "),
        (opus, json!({ "top_k": 5 }), "top_k: "),
        // Thinking and effort
        (
            opus,
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
            "thinking.type: \"thinking.type.enabled\"",
        ),
        (
            "claude-fable-5",
            json!({ "thinking": { "type": "disabled" } }),
            "thinking.type: \"thinking.type.disabled\"",
        ),
        (
            "claude-sonnet-5-5",
            json!({ "thinking": { "type": "disabled" } }),
            "thinking.type: \"thinking.type.disabled\"",
        ),
        (
            "claude-opus-5-5",
            json!({ "thinking": { "type": "between_tools" } }),
            "thinking.type: \"thinking.type.between_tools\"",
        ),
        (
            "claude-sonnet-4-5",
            json!({ "thinking": { "type": "adaptive" } }),
            "thinking.type: \"thinking.type.adaptive\"",
        ),
        (
            "claude-sonnet-4-5",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 1023 } }),
            "thinking.budget_tokens: ",
        ),
        (
            "claude-sonnet-4-5",
            json!({ "thinking": { "type": "enabled", "budget_tokens": 2048 } }),
            "thinking.budget_tokens: ",
        ),
        (
            opus,
            json!({ "thinking": { "type": "adaptive", "block_binding": {} } }),
            "thinking.block_binding: Extra inputs",
        ),
        (
            opus,
            json!({ "thinking": { "type": "disabled" }, "output_config": { "effort": "max" } }),
            "thinking.type: `disabled`",
        ),
        (
            "claude-sonnet-5-5",
            json!({ "thinking": { "type": "between_tools" }, "output_config": { "effort": "xhigh" } }),
            "thinking.type: `between_tools`",
        ),
        (
            "claude-haiku-4-5",
            json!({ "output_config": { "effort": "low" } }),
            "output_config.effort: is not supported",
        ),
        (
            opus,
            json!({ "output_config": { "effort": "most" } }),
            "output_config.effort: must be one of",
        ),
        (
            opus,
            json!({ "output_config": { "format": { "type": "json" } } }),
            "output_config.format: ",
        ),
        // Tools
        (
            opus,
            json!({ "tool_choice": { "type": "tool", "name": "u" }, "tools": [tool(&json!({}))] }),
            "tool_choice.name: ",
        ),
        (
            "claude-sonnet-5-5",
            json!({ "tool_choice": { "type": "any" } }),
            "tool_choice: type \"tool\" and \"any\"",
        ),
        (
            opus,
            json!({ "tool_choice": { "type": "maybe" } }),
            "tool_choice.type: ",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "name": "a b" }))] }),
            "tools.0.name: String should match",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "name": "n".repeat(129) }))] }),
            "tools.0.name: String should match",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({})), tool(&json!({}))] }),
            "tools.1.name: Tool names must be unique",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "output_schema": {} }))] }),
            "tools.0.output_schema: Extra inputs",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "type": "shell_1" }))] }),
            "tools.0.type: ",
        ),
        (
            opus,
            json!({ "tools": [{ "name": "t" }] }),
            "tools.0.input_schema: Field required",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "input_schema": { "type": "string" } }))] }),
            "tools.0.input_schema.type: ",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "input_schema": { "type": "object", "anyOf": [] } }))] }),
            "tools.0.input_schema.anyOf: ",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "defer_loading": true }))] }),
            "tools: all are deferred",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "defer_loading": true, "cache_control": { "type": "ephemeral" } })), bm25()] }),
            "tools.0: a deferred tool",
        ),
        (
            opus,
            json!({ "tools": [tool(&json!({ "defer_loading": 1 }))] }),
            "tools.0.defer_loading: must be a boolean",
        ),
        (
            opus,
            {
                let search = json!({ "type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": {} });
                let mut request = messages(&[
                    user(&json!("hi")),
                    assistant(&json!([search, searched("gone"), text("so")])),
                    user(&json!("go on")),
                ]);
                request["tools"] = json!([tool(&json!({ "defer_loading": true })), bm25()]);
                request
            },
            "messages: Tool reference 'gone'",
        ),
        // The system prompt and caching
        (opus, json!({ "system": "" }), "system: text content blocks"),
        (opus, json!({ "system": [text("")] }), "system.0: text content blocks"),
        (
            opus,
            json!({ "system": [image("image/png", "AAAA")] }),
            "system.0: `image` is not permitted",
        ),
        (
            opus,
            json!({ "system": [marked, marked, marked, marked, marked] }),
            "cache_control: 5 markers",
        ),
        (
            opus,
            json!({ "system": [marked, marked, marked, marked], "cache_control": { "type": "ephemeral" } }),
            "cache_control: 5 markers",
        ),
        (
            opus,
            json!({ "system": [marked], "messages": [user(&json!([hour]))] }),
            "messages.0.content.0.cache_control: a `1h` marker",
        ),
        (
            opus,
            json!({ "cache_control": { "type": "ephemeral", "ttl": "2h" } }),
            "cache_control: must be",
        ),
        // The sequence of messages
        (opus, messages(&[]), "messages: at least one message"),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                json!({ "role": "tool", "content": "x" }),
                user(&json!("hi")),
            ]),
            "messages.1: the role `tool`",
        ),
        (
            opus,
            messages(&[assistant(&json!("hi")), user(&json!("hi"))]),
            "messages.0: first message",
        ),
        (
            "claude-sonnet-5",
            messages(&[
                user(&json!("hi")),
                json!({ "role": "system", "content": "x" }),
                user(&json!("hi")),
            ]),
            "messages.1: the role `system`",
        ),
        (
            opus,
            messages(&[user(&json!("hi")), assistant(&json!("It is"))]),
            "messages.1: This model does not support assistant message prefill",
        ),
        (
            "claude-opus-4-5",
            messages(&[
                user(&json!("hi")),
                assistant(&json!([{ "type": "redacted_thinking", "data": "x" }])),
            ]),
            "messages.1: The final block",
        ),
        (
            opus,
            json!({ "messages": [{ "role": "user", "content": "hi", "name": "x" }] }),
            "messages.0.name: Extra inputs",
        ),
        (
            opus,
            messages(&[user(&json!([]))]),
            "messages.0.content: all messages must have non-empty content",
        ),
        (
            opus,
            messages(&[user(&json!(""))]),
            "messages.0.content: text content blocks",
        ),
        (
            opus,
            messages(&[user(&json!([text("\n ")]))]),
            "messages.0.content.0: text content blocks",
        ),
        (opus, said(&text("\n\n")), "messages.1.content.0: text content blocks"),
        // Calls and results
        (
            opus,
            messages(&[user(&json!("hi")), assistant(&json!([call("a")])), user(&json!("so"))]),
            "messages.1: `tool_use` ids were found without",
        ),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                assistant(&json!([call("a"), call("b")])),
                user(&json!([result("a")])),
            ]),
            "messages.1: `tool_use` ids were found without",
        ),
        (
            opus,
            messages(&[user(&json!([result("a")]))]),
            "messages.0.content.0: unexpected `tool_use_id`",
        ),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                assistant(&json!([call("a")])),
                user(&json!([result("a"), result("a")])),
            ]),
            "messages.2.content.1: each tool_use must have a single result",
        ),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                assistant(&json!([call("a")])),
                user(&json!([text("so"), result("a")])),
            ]),
            "messages.2.content.1: `tool_result` blocks must come before",
        ),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                assistant(&json!([call("a"), call("a")])),
                user(&json!([result("a")])),
            ]),
            "messages.1: `tool_use` ids must be unique: a",
        ),
        (
            opus,
            messages(&[
                user(&json!("hi")),
                assistant(&json!([call("a")])),
                user(&json!([result("a")])),
                assistant(&json!([call("a")])),
                user(&json!([result("a")])),
            ]),
            "messages.3: `tool_use` ids must be unique: a",
        ),
        (
            opus,
            answered(&json!({ "type": "tool_result", "tool_use_id": "a", "content": [text("")] })),
            "messages.2.content.0.content.0: text content blocks must be non-empty",
        ),
        (
            opus,
            answered(
                &json!({ "type": "tool_result", "tool_use_id": "a", "is_error": true, "content": [image("image/png", "AAAA")] }),
            ),
            "messages.2.content.0.content.0: all content must be type `text`",
        ),
        (
            opus,
            answered(&json!({ "type": "tool_result", "tool_use_id": "a", "content": [{ "type": "audio" }] })),
            "messages.2.content.0.content.0: `audio` is not permitted",
        ),
        (
            opus,
            answered(&json!({ "type": "tool_result", "tool_use_id": "a", "content": { "x": 1 } })),
            "messages.2.content.0.content: must be a list",
        ),
        (
            opus,
            answered(&json!({ "type": "tool_result", "tool_use_id": "a", "is_error": "no" })),
            "messages.2.content.0.is_error: ",
        ),
        (
            opus,
            said(&search("srvtoolu_9")),
            "messages.1.content.0: no call for the `web_search_tool_result`",
        ),
        // Blocks
        (
            opus,
            said(&json!({ "type": "thinking", "thinking": "hm", "signature": "" })),
            "messages.1.content.0: Invalid `signature`",
        ),
        (
            opus,
            said(&json!({ "type": "thinking", "thinking": "hm" })),
            "messages.1.content.0.signature: Field required",
        ),
        (
            opus,
            said(&json!({ "type": "thinking", "thinking": "hm", "signature": "x", "text": "y" })),
            "messages.1.content.0.text: Extra inputs",
        ),
        (
            opus,
            messages(&[user(
                &json!([{ "type": "thinking", "thinking": "hm", "signature": "x" }]),
            )]),
            "messages.0.content.0: `thinking` is not permitted in a `user`",
        ),
        (
            opus,
            said(&json!({ "type": "hologram" })),
            "messages.1.content.0: `hologram` is not permitted",
        ),
        (
            opus,
            said(&json!({ "text": "x" })),
            "messages.1.content.0.type: Field required",
        ),
        (
            opus,
            messages(&[user(&json!([image("image/tiff", "AAAA")]))]),
            "messages.0.content.0.source.media_type: must be one of",
        ),
        (
            opus,
            messages(&[user(&json!([image("image/png", "A")]))]),
            "messages.0.content.0.source.data: invalid base64",
        ),
        (
            opus,
            messages(&[user(&json!([image("image/png", "")]))]),
            "messages.0.content.0.source.data: image cannot be empty",
        ),
        (
            opus,
            messages(&[user(&json!([image("image/png", WIDE)]))]),
            "messages.0.content.0.source: a side exceeds 8000 pixels",
        ),
        (
            opus,
            messages(&[user(&json!([image("image/png", &"AAAA".repeat(2_621_441))]))]),
            "messages.0.content.0.source.data: image exceeds 10 MB",
        ),
    ];
    for (model, more, expected) in cases {
        let request = request(model, &more);
        for version in [OLD, NEW] {
            let found = violations(&request, version);
            assert!(
                matches!(&found[..], [one] if one.starts_with(expected)),
                "{version}, {expected}: {found:#?}"
            );
        }
    }
    for (id, name, input, expected) in [
        (
            "a.b",
            "t",
            json!({}),
            "messages.1.content.0.id: String should match pattern",
        ),
        (
            "",
            "t",
            json!({}),
            "messages.1.content.0.id: String should match pattern",
        ),
        ("a", "", json!({}), "messages.1.content.0.name: String should have"),
        (
            "a",
            &"n".repeat(201),
            json!({}),
            "messages.1.content.0.name: String should have",
        ),
        (
            "a",
            "t",
            json!([1]),
            "messages.1.content.0.input: Input should be a valid dictionary",
        ),
    ] {
        let call = json!({ "type": "tool_use", "id": id, "name": name, "input": input });
        let more = messages(&[
            user(&json!("hi")),
            assistant(&json!([call])),
            user(&json!([result(id)])),
        ]);
        let found = violations(&request(opus, &more), NEW);
        assert!(
            matches!(&found[..], [one] if one.starts_with(expected)),
            "{expected}: {found:#?}"
        );
    }
}

#[test]
fn the_newest_version_refuses_more() {
    let cited = json!({ "type": "text", "text": "x", "citations": [{ "type": "char_location" }] });
    let search = json!({ "type": "search_result", "source": "s", "title": "t", "content": [cited], "citations": { "enabled": true } });
    let cases = [
        (json!({ "temperature": 1 }), "temperature: Extra inputs"),
        (json!({ "top_p": 1.0 }), "top_p: Extra inputs"),
        (json!({ "top_k": 1 }), "top_k: Extra inputs"),
        (
            messages(&[user(&json!([cited]))]),
            "messages.0.content.0.citations: Extra inputs",
        ),
        (
            messages(&[user(&json!([search]))]),
            "messages.0.content.0.content.0.citations: Extra inputs",
        ),
        (
            said(&json!({ "type": "document", "source": {} })),
            "messages.1.content.0: `document` is not permitted",
        ),
    ];
    for (more, expected) in cases {
        let request = request("claude-sonnet-4-6", &more);
        assert_eq!(violations(&request, OLD), Vec::<String>::new(), "{expected}");
        let found = violations(&request, NEW);
        assert!(
            matches!(&found[..], [one] if one.starts_with(expected)),
            "{expected}: {found:#?}"
        );
    }
    // An empty or absent list of citations is none.
    for citations in [json!([]), json!(null)] {
        let block = json!({ "type": "text", "text": "x", "citations": citations });
        assert_eq!(
            violations(&request("claude-opus-5", &messages(&[user(&json!([block]))])), NEW),
            Vec::<String>::new()
        );
    }
}

#[test]
fn every_violation_is_listed() {
    let request = json!({ "messages": [user(&json!([text(""), result("a")]))] });
    let found = violations(&request, NEW);
    for expected in [
        "model: ",
        "max_tokens: ",
        "messages.0.content.0: ",
        "messages.0.content.1: ",
    ] {
        assert!(
            found.iter().any(|one| one.starts_with(expected)),
            "{expected}: {found:#?}"
        );
    }
    assert_eq!(violations(&json!([]), NEW), ["request: must be an object"]);
    assert_eq!(violations(&request, "2024-01-01").len(), 1);
}
