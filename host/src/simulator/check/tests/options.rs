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
        ("/stream", json!("yes"), "stream: Input should be a valid boolean"),
        ("/foo", json!(1), "foo: Extra inputs are not permitted"),
        (
            "/temperature",
            json!(0.5),
            "`temperature` is deprecated for this model.",
        ),
        ("/top_p", json!(0.5), "`top_p` is deprecated for this model."),
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

#[test]
fn models_that_refuse_sampling_are_known_by_name() {
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
        assert_eq!(refuses_sampling(model), expected, "{model}");
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
