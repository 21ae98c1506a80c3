//! Messages and their blocks.

use serde_json::json;

use super::*;

#[test]
fn every_broken_rule_has_its_message() {
    let unanswered = "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: ";
    let text = |text: &str| json!({ "type": "text", "text": text });
    for (pointer, value, expected) in [
        ("/messages", Value::Null, "messages: Field required"),
        ("/messages", json!({}), "messages: Input should be a valid list"),
        ("/messages", json!([]), "messages: at least one message is required"),
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
            "/messages/0/role",
            json!("assistant"),
            "messages: first message must use the \"user\" role",
        ),
        (
            "/messages/0/role",
            json!("system"),
            "messages.0: use the top-level 'system' parameter for the initial system prompt",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": "x", "clear_at": "never" }),
            "messages.4.clear_at: Extra inputs",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": [{ "type": "tool_addition", "tool": {} }] }),
            "messages.4.content.0: Input tag 'tool_addition'",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": [{ "type": "image", "source": {} }] }),
            "messages.4: `image` blocks can only be in `user` or `assistant` messages",
        ),
        (
            "/messages/-",
            json!({ "role": "assistant", "content": "prefilled" }),
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ),
        (
            "/messages/-",
            json!({ "role": "assistant", "content": [] }),
            "This model does not support assistant message prefill.",
        ),
        (
            "/messages/2/content/0/signature",
            json!(""),
            "messages.2.content.0: Invalid `signature` in `thinking` block",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "server_tool_use", "id": "s", "name": "x", "input": {} }]),
            "messages.0: `server_tool_use` blocks can only be in `assistant` messages",
        ),
        (
            "/messages/2/content/1",
            json!({ "type": "server_tool_use", "id": "s", "name": "x" }),
            "messages.2.content.1.server_tool_use.input: Field required",
        ),
        (
            "/messages/2/content/1",
            json!({ "type": "code_execution_tool_result", "tool_use_id": "s", "content": [], "citations": null }),
            "messages.2.content.1.code_execution_tool_result.citations: Extra inputs are not permitted",
        ),
        (
            "/messages/2/content/1",
            json!({ "type": "compaction", "content": "" }),
            "messages.2.content.1.compaction.content: String should have at least 1 character",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "image" }]),
            "messages.0.content.0.image.source: Field required",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "image", "source": { "type": "base64", "media_type": "image/bmp", "data": "x" } }]),
            "messages.0.content.0.image.source.base64.media_type: Input should be 'image/jpeg'",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "image", "source": {
                "type": "base64", "media_type": "image/png", "data": "x".repeat(10 * 1024 * 1024 + 1),
            } }]),
            "messages.0.content.0.image.source.base64: image exceeds 10 MB maximum: 10485761 bytes",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "document", "source": { "type": "ftp" } }]),
            "messages.0.content.0.document.source: Input tag 'ftp'",
        ),
        (
            "/messages/0/content",
            json!([{ "type": "search_result", "source": "s", "title": "t", "content": "c" }]),
            "messages.0.content.0.search_result.content: Input should be a valid list",
        ),
        (
            "/messages/0/role",
            json!("tool"),
            "messages.0.role: Input should be 'user', 'assistant' or 'system'",
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
        assert_refused(pointer, value, expected);
    }
}

#[test]
fn a_result_one_message_late_does_not_count() {
    let late = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "a", "content": "425" }] });
    let mut body_with = changed("/messages/3/content/1", Value::Null);
    body_with["messages"].as_array_mut().unwrap().push(late);
    assert!(
        checked(&body_with, Purpose::Run)
            .unwrap_err()
            .message
            .contains("immediately after: a.")
    );
}
