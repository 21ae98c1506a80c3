//! `tools` and `tool_choice`.

use serde_json::json;

use super::*;

#[test]
fn every_broken_rule_has_its_message() {
    for (pointer, value, expected) in [
        (
            "/tool_choice",
            json!({ "type": "any" }),
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ),
        (
            "/tool_choice",
            json!({ "type": "some" }),
            "tool_choice: Input tag 'some'",
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
        // Deferred tools.
        (
            "/tools/0/defer_loading",
            json!("yes"),
            "tools.0.defer_loading: Input should be a valid boolean",
        ),
        (
            "/tools/0/defer_loading",
            json!(true),
            "At least one tool must have defer_loading=false. All tools cannot be deferred.",
        ),
        // Options.
        (
            "/tools/0/cache_control",
            json!({ "type": "ephemeral", "ttl": "2h" }),
            "tools.0.cache_control.ephemeral.ttl: Input should be '5m' or '1h'",
        ),
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
    ] {
        assert_refused(pointer, value, expected);
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
        (json!([&own]), unknown),
        (json!([&own, search]), Ok(())),
        (json!([&own, server]), Ok(())),
    ] {
        forced["tools"] = tools;
        let checked = checked_as(&forced, Purpose::Run, Version::Current, "mcp-client-2026-09-15");
        assert_eq!(checked.map_err(|problem| problem.message), expected);
    }
    forced["tool_choice"] = json!({ "type": "tool" });
    forced["tools"] = json!([own]);
    assert_eq!(
        checked(&forced, Purpose::Run).unwrap_err().message,
        "tool_choice.tool.name: Field required"
    );
}

#[test]
fn a_deferred_tool_has_no_breakpoint() {
    let mut request = request();
    let mut tool = request["tools"][0].clone();
    let search = json!({ "type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25" });
    tool["defer_loading"] = json!(true);
    request["tools"] = json!([tool, search]);
    assert!(checked(&request, Purpose::Run).is_ok());
    request["tools"][1]["cache_control"] = json!({ "type": "ephemeral" });
    assert!(checked(&request, Purpose::Run).is_ok());
    request["tools"][0]["cache_control"] = json!({ "type": "ephemeral" });
    let refused = checked(&request, Purpose::Run).unwrap_err().message;
    assert!(refused.starts_with("Tool 'calculate' cannot have both"), "{refused}");
}

#[test]
fn vendor_tools_count_as_tools() {
    let search = json!({ "type": "web_search_20250305", "name": "web_search" });
    let with = |tools: Value| {
        let mut request = request();
        request["tools"] = tools;
        checked(&request, Purpose::Run).map_err(|error| error.message)
    };
    let calculate = request()["tools"][0].clone();
    assert_eq!(with(json!([search, calculate])), Ok(()));
    for (tool, expected) in [
        (
            json!({ "type": "mcp_toolset", "mcp_server_name": "s" }),
            "tools.0: Input tag 'mcp_toolset'",
        ),
        (
            json!({ "type": "abacus_20260101", "name": "x" }),
            "tools.0: Input tag 'abacus_20260101'",
        ),
        (
            json!({ "type": "bash_20250124", "name": "shell" }),
            "tools.0.bash_20250124.name: Input should be 'bash'",
        ),
        (
            json!({ "type": "browser_toolset_20260801", "name": "x" }),
            "tools.0.browser_toolset_20260801.name: Extra inputs",
        ),
        (
            json!({ "type": "web_fetch_20250910", "name": "web_fetch", "use_cache": true }),
            "tools.0.web_fetch_20250910.use_cache: Extra inputs",
        ),
    ] {
        let problem = with(json!([tool, calculate])).unwrap_err();
        assert!(problem.starts_with(expected), "{problem}");
    }
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
