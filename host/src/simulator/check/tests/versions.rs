//! What 2026-10-21 refuses and older versions don't, and what a beta allows.

use serde_json::json;

use super::*;

#[test]
fn the_current_version_refuses_what_older_ones_accept() {
    let cited = json!({ "type": "text", "text": "a", "citations": [{ "type": "char_location" }] });
    let result = |part: &Value| json!([{ "type": "search_result", "source": "s", "title": "t", "content": [part] }]);
    let document = json!({ "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "a" } });
    for (pointer, value, expected) in [
        ("/temperature", json!(1), "temperature: Extra inputs are not permitted"),
        ("/top_p", json!(1.0), "top_p: Extra inputs are not permitted"),
        (
            "/messages/2/content/1",
            document.clone(),
            "messages.2: `document` blocks can only be in `user` messages",
        ),
        (
            "/messages/0/content",
            json!([cited]),
            "messages.0.content.0.text.citations: Extra inputs are not permitted",
        ),
        (
            "/messages/0/content",
            result(&cited),
            "messages.0.content.0.search_result.content.0.citations: Extra inputs are not permitted",
        ),
    ] {
        let request = changed(pointer, value);
        assert_eq!(refusal(&request, Version::Older, ""), None, "{pointer}");
        assert_eq!(refusal(&request, Version::Current, "").as_deref(), Some(expected));
    }
    let mut cold = request();
    cold["model"] = json!("claude-haiku-4-5");
    cold["top_k"] = json!(5);
    assert_eq!(refusal(&cold, Version::Older, ""), None);
    assert!(refusal(&cold, Version::Current, "").is_some_and(|message| message.starts_with("top_k: ")));
}

#[test]
fn the_current_version_still_accepts_what_is_near_it() {
    let document = json!({ "type": "document", "source": { "type": "url", "url": "https://example.com/a.pdf" } });
    let cited = json!({ "type": "text", "text": "a", "citations": [{ "type": "char_location" }] });
    let fetched = json!({ "type": "web_fetch_result", "url": "u", "content": document });
    for (pointer, value) in [
        ("/messages/0/content", json!([document])),
        ("/messages/2/content/1", cited),
        (
            "/messages/0/content",
            json!([{ "type": "text", "text": "a", "citations": [] }, { "type": "text", "text": "a", "citations": null }]),
        ),
        (
            "/messages/2/content/1",
            json!({ "type": "web_fetch_tool_result", "tool_use_id": "w", "content": fetched }),
        ),
        (
            "/messages/0/content",
            json!([{ "type": "document", "source": { "type": "file", "file_id": "f" }, "citations": { "enabled": true } }]),
        ),
    ] {
        assert_eq!(
            refusal(&changed(pointer, value.clone()), Version::Current, ""),
            None,
            "{value}"
        );
    }
}

#[test]
fn some_fields_need_their_beta() {
    for (pointer, value, beta) in [
        (
            "/context_management",
            json!({ "edits": [] }),
            "context-management-2025-06-27",
        ),
        ("/context_management", json!({ "edits": [] }), "compact-2026-01-12"),
        ("/mcp_servers", json!([]), "mcp-client-2026-09-15"),
        ("/fallbacks", json!("default"), "server-side-fallback-2026-07-01"),
        ("/thread", json!({ "type": "create" }), "message-threads-2026-08-12"),
        (
            "/output_config",
            json!({ "task_budget": {} }),
            "task-budgets-2026-03-13",
        ),
        (
            "/thinking",
            json!({ "type": "adaptive", "block_binding": { "prefix_mismatch_behavior": "drop_block" } }),
            "thinking-binding-controls-2026-08-01",
        ),
        (
            "/thinking",
            json!({ "type": "adaptive", "display": "updates" }),
            "thinking-display-updates-2026-08-18",
        ),
        (
            "/tools",
            json!([{ "type": "mcp_toolset", "mcp_server_name": "m" }]),
            "mcp-client-2026-09-15",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": "x", "clear_at": "next_user_message" }),
            "mid-conversation-system-clear-at-2026-08-21",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": [
                { "type": "tool_removal", "tool": { "type": "tool_reference", "name": "calculate" } },
            ] }),
            "mid-conversation-tool-changes-2026-07-01",
        ),
        (
            "/messages/-",
            json!({ "role": "system", "content": [{ "type": "tool_addition", "tool": {
                "type": "tool_definition",
                "definition": { "name": "new", "input_schema": { "type": "object" } },
            } }] }),
            "inline-tools-2026-09-15",
        ),
    ] {
        let request = changed(pointer, value);
        let unrelated = refusal(&request, Version::Current, "unknown-2026-01-01");
        assert!(unrelated.is_some(), "{pointer} without {beta}");
        let both = format!("unknown-2026-01-01, {beta}");
        assert_eq!(
            refusal(&request, Version::Current, &both),
            None,
            "{pointer} with {beta}"
        );
    }
}
