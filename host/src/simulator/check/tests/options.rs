//! Models, the other fields, and headers.

use serde_json::json;

use super::*;

#[test]
fn every_broken_rule_has_its_message() {
    for (pointer, value, expected) in [
        ("/model", Value::Null, "model: Field required"),
        ("/model", json!(""), "model: String should have at least 1 character"),
        ("/max_tokens", Value::Null, "max_tokens: Field required"),
        (
            "/max_tokens",
            json!(-3),
            "max_tokens: Input should be greater than or equal to 0",
        ),
        (
            "/max_tokens",
            json!(128_001),
            "max_tokens: 128001 > 128000, which is the maximum allowed number of",
        ),
        ("/max_tokens", json!(1.5), "max_tokens: Input should be a valid integer"),
        ("/max_tokens", json!("9"), "max_tokens: Input should be a valid integer"),
        ("/stream", json!("yes"), "stream: Input should be a valid boolean"),
        ("/foo", json!(1), "foo: Extra inputs are not permitted"),
        ("/speed", json!("slow"), "speed: Input should be 'standard' or 'fast'"),
        (
            "/diagnostics",
            json!({ "previous_message_id": 1 }),
            "diagnostics.previous_message_id: Input should be a valid string",
        ),
        (
            "/output_config",
            json!({ "effort": "most" }),
            "output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
        (
            "/output_config",
            json!({ "task_budget": {} }),
            "output_config.task_budget: Extra inputs are not permitted",
        ),
        (
            "/output_config",
            json!({ "format": { "type": "json_schema" } }),
            "output_config.format.schema: Field required",
        ),
        (
            "/system/0/text",
            json!(" "),
            "system: text content blocks must be non-empty",
        ),
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
        // Cache breakpoints.
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
    ] {
        assert_refused(pointer, value, expected);
    }
}
