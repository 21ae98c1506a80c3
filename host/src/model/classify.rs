//! What an error means for the retry layer and for the breaker. Pure functions, tested as tables.

use std::time::Duration;

use super::ModelError;
use super::api_error::ApiErrorKind;

/// The longest `retry-after` that is honoured. If the server requests more, the host uses its own backoff.
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

/// Follows the API's error table and what its official clients do: `x-should-retry` overrides the status either way,
/// and `retry-after` counts when it is above zero and at most a minute.
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
                Some(delay) if !delay.is_zero() && delay <= MAX_RETRY_AFTER => Verdict::RetryAfter(delay),
                _ => Verdict::Retry,
            }
        }
        ModelError::Connect { .. }
        | ModelError::Connection { .. }
        | ModelError::Cut { .. }
        | ModelError::Stalled { .. }
        | ModelError::AttemptTimeout { .. }
        | ModelError::BreakerOpen { .. } => Verdict::Retry,
        // A retry would be billed again, and its answer most likely be malformed again.
        ModelError::Malformed { .. }
        | ModelError::SpendLimit(_)
        | ModelError::ContextOverflow(_)
        | ModelError::Budget(_)
        | ModelError::UnknownPrice { .. }
        | ModelError::Ledger(_)
        | ModelError::DeadlineExceeded { .. }
        | ModelError::Cancelled
        | ModelError::GaveUp { .. } => Verdict::Fatal,
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
        | ModelError::AttemptTimeout { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::super::ApiError;
    use super::*;

    fn api(status: Option<u16>, error_type: &str) -> ApiError {
        ApiError {
            kind: status.map_or_else(|| ApiErrorKind::from_type(error_type), ApiErrorKind::from_status),
            status,
            error_type: error_type.to_owned(),
            message: String::new(),
            error_code: None,
            request_id: None,
            retry_after: None,
            should_retry: None,
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
            (Duration::from_millis(60_001), Verdict::Retry),
        ] {
            let error = ModelError::from(ApiError {
                retry_after: Some(retry_after),
                ..api(Some(429), "")
            });
            assert_eq!(classify(&error), verdict, "{retry_after:?}");
        }
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
    fn messages_separate_errors_that_share_a_status() {
        for (message, kind) in [
            ("prompt is too long: 210000 tokens > 200000 maximum", "context_overflow"),
            (
                "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
                "context_overflow",
            ),
            ("Your credit balance is too low to access the Anthropic API.", "billing"),
            ("messages.0: roles must alternate", "invalid_request"),
        ] {
            let error = ModelError::from(ApiError {
                message: message.to_owned(),
                ..api(Some(400), "")
            });
            assert_eq!(error.kind(), kind, "{message}");
            assert_eq!(classify(&error), Verdict::Fatal, "{message}");
        }
        // With another status, the same words don't change the kind.
        let error = ModelError::from(ApiError {
            message: "context window".to_owned(),
            ..api(Some(500), "")
        });
        assert_eq!(error.kind(), "server_error");
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
                    retry_after: idle,
                    last: None,
                },
                Verdict::Retry,
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
                    model: reason(),
                    add: reason(),
                },
                Verdict::Fatal,
                false,
            ),
            (ModelError::DeadlineExceeded { last: None }, Verdict::Fatal, false),
            (ModelError::Cancelled, Verdict::Fatal, false),
        ] {
            assert_eq!(classify(&error), verdict, "{error:?}");
            assert_eq!(counts_for_breaker(&error), breaker, "{error:?}");
        }
    }
}
