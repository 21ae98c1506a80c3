//! What an error says, in the dialects of servers and gateways.

use super::*;

async fn refused(status: &str, headers: &str, body: &str) -> ModelError {
    let seen = attempt(http(status, headers, body), AfterAnswer::Close).await;
    assert_eq!(seen.measured, Measured::NoUsage);
    seen.error()
}

#[tokio::test]
async fn the_words_of_an_error_are_not_lost() {
    for (body, shown) in [
        (r#"{"detail":"Not enough credits"}"#, "HTTP 400: Not enough credits"),
        (
            r#"{"detail":[{"loc":["body","model"],"msg":"field required"}]}"#,
            "HTTP 400: body.model: field required",
        ),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","message":{"reason":"too many tools","limit":3}}}"#,
            "HTTP 400, invalid_request_error: too many tools",
        ),
        (r#"{"error":"model is loading"}"#, "HTTP 400: model is loading"),
        (r#"{"strange":{"x":["y"]}}"#, r#"HTTP 400: {"strange":{"x":["y"]}}"#),
        ("plain\ntext\u{1b}[31m", "HTTP 400: plain text [31m"),
        (
            "<html><head><title>Blocked by policy</title>",
            "HTTP 400: a page for browsers, not the API's answer: Blocked by policy",
        ),
        (
            "<html><h1>oops</h1>",
            "HTTP 400: a page for browsers, not the API's answer: oops",
        ),
        ("", "HTTP 400: Bad Request"),
        (
            "<html>",
            "HTTP 400: a page for browsers, not the API's answer: Bad Request",
        ),
    ] {
        assert_eq!(refused("400 Bad Request", "", body).await.to_string(), shown);
    }
    let echo = format!("your key {KEY} is\u{202e} wrong");
    let shown = refused("401 Unauthorized", "", &echo).await.to_string();
    assert_eq!(shown, "HTTP 401: your key [redacted] is wrong");
}

#[tokio::test]
async fn a_gateways_html_page_is_classified_by_status() {
    let error = refused("502 Bad Gateway", "", "<html><h1>oops</h1>").await;
    assert_eq!(error.to_string(), "HTTP 502: oops");
    assert_eq!(classify(&error), Verdict::Retry);
}

#[tokio::test]
async fn codes_tell_errors_apart() {
    for (status, code, kind, verdict) in [
        (
            "429 Too Many Requests",
            "contract_spend_limit_reached",
            "spend_limit",
            Verdict::Fatal,
        ),
        (
            "429 Too Many Requests",
            "ramp_limit_exceeded",
            "rate_limited",
            Verdict::RetryAfter(Duration::from_secs(2)),
        ),
    ] {
        let body = format!(
            r#"{{"type":"error","error":{{"type":"rate_limit_error","message":"limit","details":{{"error_code":"{code}"}}}}}}"#
        );
        let error = refused(status, "retry-after: 2\r\nx-should-retry: true\r\n", &body).await;
        assert_eq!((error.kind(), classify(&error)), (kind, verdict), "{code}");
        assert!(error.to_string().contains(code), "{error}");
    }
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_recognised() {
    for body in [
        r#"{"error":{"message":"input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"}}"#,
        r#"{"object":"error","message":"This model's maximum context length is 4096 tokens.","code":400}"#,
        r#"{"detail":"The prompt (5000 tokens) exceeds the context window"}"#,
        r#"{"error":{"code":400,"message":"too large","type":"exceed_context_size_error"}}"#,
        r#"{"error":{"message":"too large","code":"context_length_exceeded"}}"#,
    ] {
        assert_eq!(
            refused("400 Bad Request", "", body).await.kind(),
            "context_overflow",
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_long_retry_after_ends_the_call_and_is_named() {
    let body = r#"{"error":{"type":"rate_limit_error","message":"slow"}}"#;
    for header in [
        "retry-after: 14400",
        "retry-after-ms: 14400000",
        "x-should-retry: true\r\nretry-after: 14399.5",
    ] {
        let error = refused("429 Too Many Requests", &format!("{header}\r\n"), body).await;
        assert_eq!(classify(&error), Verdict::Fatal, "{header}");
        assert_eq!(
            error.to_string(),
            "HTTP 429, rate_limit_error: slow (the API asked to wait 4 h)"
        );
        assert!(error.hint().unwrap().contains("try again in 4 h"));
    }
    let forever = refused("503 Service Unavailable", "retry-after: 1e300\r\n", body).await;
    assert_eq!(classify(&forever), Verdict::Fatal);
}
