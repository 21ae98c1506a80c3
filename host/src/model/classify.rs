//! What an error means for the retry layer and for the breaker. Pure functions, tested as tables.

use std::time::Duration;

use super::ModelError;
use super::api_error::ApiErrorKind;

/// The longest `retry-after` that a retry waits for. If the server requests more, the call fails at once, because every
/// earlier retry would fail too.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether another attempt may cure an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// After the host's own backoff.
    Retry,
    /// After the delay that the server requested.
    RetryAfter(Duration),
    Fatal,
}

/// Follows the API's error table and what its official clients do: `x-should-retry` overrides the status either way. A
/// retry never comes sooner than `retry-after` says, and where that is more than [`MAX_RETRY_AFTER`], there is none.
pub fn classify(error: &ModelError) -> Verdict {
    match error {
        ModelError::Api(error) => {
            if !error
                .should_retry
                .unwrap_or_else(|| is_transient(error.kind, error.status))
            {
                return Verdict::Fatal;
            }
            match error.retry_after {
                Some(delay) if delay > MAX_RETRY_AFTER => Verdict::Fatal,
                Some(delay) if !delay.is_zero() => Verdict::RetryAfter(delay),
                _ => Verdict::Retry,
            }
        }
        ModelError::Connect { .. }
        | ModelError::Connection { .. }
        | ModelError::Cut { .. }
        | ModelError::Stalled { .. }
        | ModelError::AttemptTimeout { .. }
        | ModelError::BreakerOpen { is_held: false, .. }
        | ModelError::RateLimitReached { .. }
        | ModelError::Provider { is_temporary: true, .. } => Verdict::Retry,
        // Nothing changes until an operator closes it.
        ModelError::BreakerOpen { is_held: true, .. } => Verdict::Fatal,
        // Nothing changes until somebody changes the configuration.
        ModelError::Misconnected(_)
        // A retry would be billed again, and its answer most likely be malformed again.
        | ModelError::Malformed { .. }
        | ModelError::SpendLimit(_)
        | ModelError::ContextOverflow(_)
        | ModelError::Budget(_)
        | ModelError::UnknownPrice { .. }
        | ModelError::Ledger(_)
        | ModelError::Session(_)
        | ModelError::DeadlineExceeded { .. }
        | ModelError::Provider { is_temporary: false, .. }
        | ModelError::Cancelled
        | ModelError::GaveUp { .. }
        | ModelError::AllFailed { .. } => Verdict::Fatal,
    }
}

fn is_transient(kind: ApiErrorKind, status: Option<u16>) -> bool {
    match kind {
        ApiErrorKind::RequestTimeout
        | ApiErrorKind::Conflict
        | ApiErrorKind::RateLimited
        | ApiErrorKind::ServerError
        | ApiErrorKind::GatewayTimeout
        | ApiErrorKind::Overloaded => true,
        // Inside a stream, an unknown error broke an answer that had started well. An unknown status is a refusal.
        ApiErrorKind::Unknown => status.is_none(),
        ApiErrorKind::InvalidRequest
        | ApiErrorKind::Authentication
        | ApiErrorKind::Billing
        | ApiErrorKind::Permission
        | ApiErrorKind::NotFound
        | ApiErrorKind::RequestTooLarge => false,
    }
}

/// Whether an error shows that the endpoint is unhealthy. A 4xx blames the request. That includes 429: a rate limiter
/// handles it, and a breaker that opened on it would block all callers for one busy minute.
pub fn counts_for_breaker(error: &ModelError) -> bool {
    match error {
        ModelError::Api(error) => match error.status {
            Some(status) => status >= 500,
            None => matches!(
                error.kind,
                ApiErrorKind::ServerError
                    | ApiErrorKind::GatewayTimeout
                    | ApiErrorKind::Overloaded
                    | ApiErrorKind::Unknown
            ),
        },
        ModelError::Connect { .. }
        | ModelError::Connection { .. }
        | ModelError::Cut { .. }
        | ModelError::Stalled { .. }
        | ModelError::AttemptTimeout { .. }
        | ModelError::Provider { is_temporary: true, .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::ApiError;
    use super::super::error::{Misconnected, MisconnectedKind};
    use super::*;

    fn api(status: Option<u16>, error_type: &str) -> ApiError {
        ApiError {
            kind: status.map_or_else(|| ApiErrorKind::from_type(error_type), ApiErrorKind::from_status),
            status,
            url: None,
            location: None,
            is_page: false,
            error_type: error_type.to_owned(),
            message: String::new(),
            error_code: None,
            request_id: None,
            retry_after: None,
            should_retry: None,
        }
    }

    fn provider(is_temporary: bool) -> ModelError {
        ModelError::Provider {
            model: String::new(),
            reason: String::new(),
            is_temporary,
        }
    }

    #[test]
    fn every_row_of_the_error_table() {
        use Verdict::{Fatal, Retry};
        for (status, error_type, kind, verdict, breaker) in [
            (400, "invalid_request_error", "invalid_request", Fatal, false),
            (401, "authentication_error", "authentication", Fatal, false),
            (402, "billing_error", "billing", Fatal, false),
            (403, "permission_error", "permission", Fatal, false),
            (404, "not_found_error", "not_found", Fatal, false),
            (408, "", "request_timeout", Retry, false),
            (409, "conflict_error", "conflict", Retry, false),
            (413, "request_too_large", "request_too_large", Fatal, false),
            (429, "rate_limit_error", "rate_limited", Retry, false),
            (500, "api_error", "server_error", Retry, true),
            (502, "", "server_error", Retry, true),
            (503, "", "server_error", Retry, true),
            (504, "timeout_error", "gateway_timeout", Retry, true),
            (529, "overloaded_error", "overloaded", Retry, true),
            (599, "", "server_error", Retry, true),
            (302, "", "api_error", Fatal, false),
            (418, "", "api_error", Fatal, false),
            // The status takes precedence over the type.
            (400, "overloaded_error", "invalid_request", Fatal, false),
            (529, "invalid_request_error", "overloaded", Retry, true),
        ] {
            let error = ModelError::from(api(Some(status), error_type));
            assert_eq!(error.kind(), kind, "{status} {error_type}");
            assert_eq!(classify(&error), verdict, "{status} {error_type}");
            assert_eq!(counts_for_breaker(&error), breaker, "{status} {error_type}");
        }
    }

    #[test]
    fn inside_a_stream_the_type_decides() {
        use Verdict::{Fatal, Retry};
        for (error_type, verdict, breaker) in [
            ("invalid_request_error", Fatal, false),
            ("authentication_error", Fatal, false),
            ("billing_error", Fatal, false),
            ("permission_error", Fatal, false),
            ("not_found_error", Fatal, false),
            ("request_too_large", Fatal, false),
            ("conflict_error", Retry, false),
            ("rate_limit_error", Retry, false),
            ("api_error", Retry, true),
            ("timeout_error", Retry, true),
            ("overloaded_error", Retry, true),
            ("an_error_of_tomorrow", Retry, true),
        ] {
            let error = ModelError::from(api(None, error_type));
            assert_eq!(classify(&error), verdict, "{error_type}");
            assert_eq!(counts_for_breaker(&error), breaker, "{error_type}");
        }
    }

    #[test]
    fn retry_after_is_honoured_up_to_a_minute() {
        for (retry_after, verdict) in [
            (Duration::ZERO, Verdict::Retry),
            (Duration::from_millis(1), Verdict::RetryAfter(Duration::from_millis(1))),
            (Duration::from_secs(60), Verdict::RetryAfter(Duration::from_secs(60))),
            (Duration::from_millis(60_001), Verdict::Fatal),
            (Duration::from_secs(14_400), Verdict::Fatal),
            (Duration::MAX, Verdict::Fatal),
        ] {
            let error = ModelError::from(ApiError {
                retry_after: Some(retry_after),
                ..api(Some(429), "")
            });
            assert_eq!(classify(&error), verdict, "{retry_after:?}");
        }
        // `x-should-retry` says whether, `retry-after` when.
        let later = ApiError {
            retry_after: Some(Duration::from_secs(14_400)),
            should_retry: Some(true),
            ..api(Some(503), "")
        };
        assert_eq!(classify(&ModelError::from(later)), Verdict::Fatal);
        let unwanted = ApiError {
            retry_after: Some(Duration::from_secs(1)),
            ..api(Some(400), "")
        };
        assert_eq!(classify(&ModelError::from(unwanted)), Verdict::Fatal);
    }

    #[test]
    fn should_retry_overrides_either_way() {
        let stop = ApiError {
            should_retry: Some(false),
            ..api(Some(529), "overloaded_error")
        };
        assert_eq!(classify(&stop.into()), Verdict::Fatal);
        let go = ApiError {
            should_retry: Some(true),
            ..api(Some(400), "invalid_request_error")
        };
        assert_eq!(classify(&go.into()), Verdict::Retry);
    }

    #[test]
    fn spend_caps_are_fatal_even_if_the_server_says_retry() {
        let monthly = ApiError {
            error_code: Some("enforced_spend_limit_reached".to_owned()),
            should_retry: Some(true),
            retry_after: Some(Duration::from_secs(1)),
            ..api(Some(429), "rate_limit_error")
        };
        let own = ApiError {
            message: "You have reached your specified API usage limits. You will regain access on 2026-12-01."
                .to_owned(),
            should_retry: Some(true),
            ..api(Some(400), "invalid_request_error")
        };
        for error in [monthly, own] {
            let error = ModelError::from(error);
            assert_eq!(error.kind(), "spend_limit");
            assert_eq!(classify(&error), Verdict::Fatal);
            assert!(!counts_for_breaker(&error));
        }
    }

    #[test]
    fn codes_separate_errors_that_share_a_status() {
        use Verdict::{Fatal, Retry};
        for (status, code, kind, verdict) in [
            (429, "enforced_spend_limit_reached", "spend_limit", Fatal),
            (429, "contract_spend_limit_reached", "spend_limit", Fatal),
            (429, "ramp_limit_exceeded", "rate_limited", Retry),
            (402, "linked_organization_spend_limit_reached", "spend_limit", Fatal),
            (402, "linked_organization_billing_unavailable", "billing", Fatal),
            (400, "organization_on_hold", "permission", Fatal),
            (400, "request_body_timeout", "request_timeout", Retry),
            (400, "image_dimensions_too_large", "invalid_request", Fatal),
            (413, "request_body_too_large_after_decoding", "request_too_large", Fatal),
            (503, "cmek_key_unreachable", "server_error", Retry),
            (529, "compaction_unavailable", "overloaded", Retry),
            (429, "insufficient_quota", "spend_limit", Fatal),
            (400, "context_length_exceeded", "context_overflow", Fatal),
            (429, "a_code_of_tomorrow", "rate_limited", Retry),
        ] {
            for message in [
                "",
                "Your spend limit is reached: the prompt is too long for the context window.",
            ] {
                let error = ModelError::from(ApiError {
                    message: message.to_owned(),
                    error_code: Some(code.to_owned()),
                    ..api(Some(status), "")
                });
                assert_eq!(error.kind(), kind, "{code} {message}");
                assert_eq!(classify(&error), verdict, "{code} {message}");
                assert_eq!(counts_for_breaker(&error), status >= 500, "{code}");
            }
        }
        let growing = ApiError {
            error_code: Some("ramp_limit_exceeded".to_owned()),
            retry_after: Some(Duration::from_secs(7)),
            ..api(Some(429), "rate_limit_error")
        };
        assert_eq!(classify(&growing.into()), Verdict::RetryAfter(Duration::from_secs(7)));
        // llama.cpp has no code, but a type of its own.
        assert_eq!(
            ModelError::from(api(Some(400), "exceed_context_size_error")).kind(),
            "context_overflow"
        );
    }

    #[test]
    fn words_separate_errors_without_a_code() {
        for (status, message, kind) in [
            (
                400,
                "Your credit balance is too low to access the Anthropic API.",
                "billing",
            ),
            (400, "messages.0: roles must alternate", "invalid_request"),
            (
                400,
                "context_management: Extra inputs are not permitted",
                "invalid_request",
            ),
            (
                400,
                "max_tokens: 999999 > 128000, which is the maximum allowed number of output tokens for the model",
                "invalid_request",
            ),
            (
                413,
                "Request too large for model on tokens per minute (TPM): Limit 6000",
                "request_too_large",
            ),
            (413, "the body has 40 MB", "request_too_large"),
            // With another status, the same words don't change the kind.
            (500, "context window", "server_error"),
            (429, "too many tokens", "rate_limited"),
        ] {
            let error = ModelError::from(ApiError {
                message: message.to_owned(),
                ..api(Some(status), "")
            });
            assert_eq!(error.kind(), kind, "{message}");
        }
    }

    #[test]
    fn context_overflow_is_recognised_in_the_words_of_many_servers() {
        for message in [
            "prompt is too long: 210000 tokens > 200000 maximum",
            "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
            "The sum of input tokens and max_tokens is larger than the model's context",
            "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens.",
            "Your input exceeds the context window of this model. Please adjust your input and try again.",
            "The decoder prompt (length 5000) is longer than the maximum model length of 4096",
            "You passed 4097 input tokens. However, the model's context length is only 4096 tokens",
            "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
            "the input length exceeds the context length",
            "The number of tokens to keep from the initial prompt is greater than the context length",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4097",
            "Input is too long for requested model.",
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
            "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
            "too many tokens: total number of tokens in the prompt cannot exceed 4081",
            "prompt token count of 130000 exceeds the limit of 128000",
            "Invalid request: Your request exceeded model token limit: 262144",
            "litellm.ContextWindowExceededError: the prompt exceeds the limit",
        ] {
            for status in [400, 413, 422] {
                let error = ModelError::from(ApiError {
                    message: message.to_owned(),
                    ..api(Some(status), "")
                });
                assert_eq!(error.kind(), "context_overflow", "{status} {message}");
                assert_eq!(classify(&error), Verdict::Fatal, "{message}");
            }
        }
    }

    #[test]
    fn errors_that_no_api_reported() {
        let reason = String::new;
        let idle = Duration::from_secs(1);
        for (error, verdict, breaker) in [
            (
                ModelError::Connect {
                    endpoint: reason(),
                    reason: reason(),
                },
                Verdict::Retry,
                true,
            ),
            (
                ModelError::Connection {
                    endpoint: reason(),
                    reason: reason(),
                },
                Verdict::Retry,
                true,
            ),
            (
                ModelError::Cut {
                    reason: reason(),
                    request_id: None,
                },
                Verdict::Retry,
                true,
            ),
            (ModelError::Stalled { idle, request_id: None }, Verdict::Retry, true),
            (
                ModelError::AttemptTimeout {
                    limit: idle,
                    request_id: None,
                },
                Verdict::Retry,
                true,
            ),
            (
                ModelError::BreakerOpen {
                    breaker: reason(),
                    is_held: false,
                    retry_after: idle,
                    last_failure: None,
                    last: None,
                },
                Verdict::Retry,
                false,
            ),
            (
                ModelError::BreakerOpen {
                    breaker: reason(),
                    is_held: true,
                    retry_after: idle,
                    last_failure: None,
                    last: None,
                },
                Verdict::Fatal,
                false,
            ),
            (
                ModelError::Malformed {
                    reason: reason(),
                    request_id: None,
                },
                Verdict::Fatal,
                false,
            ),
            (
                ModelError::UnknownPrice {
                    limits: Vec::new(),
                    model: reason(),
                    hint: reason(),
                },
                Verdict::Fatal,
                false,
            ),
            (
                ModelError::Misconnected(Box::new(Misconnected {
                    kind: MisconnectedKind::NotHttp,
                    endpoint: reason(),
                    reason: reason(),
                    hint: reason(),
                })),
                Verdict::Fatal,
                false,
            ),
            (
                ModelError::DeadlineExceeded {
                    in_attempt: true,
                    last: None,
                },
                Verdict::Fatal,
                false,
            ),
            (ModelError::Cancelled, Verdict::Fatal, false),
            (provider(true), Verdict::Retry, true),
            (provider(false), Verdict::Fatal, false),
        ] {
            assert_eq!(classify(&error), verdict, "{error:?}");
            assert_eq!(counts_for_breaker(&error), breaker, "{error:?}");
        }
    }
}
