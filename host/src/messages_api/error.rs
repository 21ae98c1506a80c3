//! Errors: their types, HTTP statuses and body.

use serde::Serialize;
use serde_json::Value;

/// Every `error.type` that the API documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorType {
    InvalidRequest,
    Authentication,
    Billing,
    Permission,
    NotFound,
    Conflict,
    RequestTooLarge,
    RateLimit,
    Timeout,
    Overloaded,
    Api,
}

impl ErrorType {
    const ALL: [Self; 11] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Billing,
        Self::Permission,
        Self::NotFound,
        Self::Conflict,
        Self::RequestTooLarge,
        Self::RateLimit,
        Self::Timeout,
        Self::Overloaded,
        Self::Api,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Billing => "billing_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Conflict => "conflict_error",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimit => "rate_limit_error",
            Self::Timeout => "timeout_error",
            Self::Overloaded => "overloaded_error",
            Self::Api => "api_error",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The HTTP status of an error of this type, unless it occurs inside a stream.
    pub(crate) const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Authentication => 401,
            Self::Billing => 402,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::RequestTooLarge => 413,
            Self::RateLimit => 429,
            Self::Timeout => 504,
            Self::Overloaded => 529,
            Self::Api => 500,
        }
    }

    /// The type for a status.
    pub(crate) fn from_status(status: u16) -> Self {
        let exact = Self::ALL.into_iter().find(|kind| kind.status() == status);
        exact.unwrap_or(if status >= 500 { Self::Api } else { Self::InvalidRequest })
    }
}

/// The body of an error, which is also the data of an `error` event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "error")]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetail,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorDetail {
    /// One of [`ErrorType`], or another one from a gateway, a script or a newer API. Empty if the body has none.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<ErrorDetails>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ErrorDetails {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error_code: Option<String>,
}

impl ErrorBody {
    /// Whether a body is an error, regardless of its status.
    pub(crate) fn is_error(body: &Value) -> bool {
        body.get("type").is_some_and(|kind| kind == "error")
    }

    /// Reads leniently, because gateways send bodies such as `{"error": "a sentence"}`.
    pub(crate) fn read(body: &Value) -> Self {
        let error = body.get("error").unwrap_or(&Value::Null);
        let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let error_code = error.get("details").and_then(|details| text(details, "error_code"));
        Self {
            error: ErrorDetail {
                kind: text(error, "type").unwrap_or_default(),
                message: text(error, "message")
                    .or_else(|| error.as_str().map(str::to_owned))
                    .unwrap_or_default(),
                details: error_code.map(|code| ErrorDetails { error_code: Some(code) }),
            },
            request_id: text(body, "request_id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_map_to_statuses_and_back() {
        for kind in ErrorType::ALL {
            assert_eq!(ErrorType::from_status(kind.status()), kind);
            assert_eq!(ErrorType::from_name(kind.name()), Some(kind));
        }
        assert_eq!(ErrorType::from_status(503), ErrorType::Api);
        assert_eq!(ErrorType::from_status(405), ErrorType::InvalidRequest);
    }

    #[test]
    fn an_error_body_is_written_as_read() {
        let body = json!({ "type": "error", "request_id": "req_1", "error": {
            "type": "rate_limit_error", "message": "slow", "details": { "error_code": "x" } } });
        let read = ErrorBody::read(&body);
        assert_eq!(serde_json::to_value(&read).unwrap(), body);
        assert!(ErrorBody::is_error(&body));
        assert_eq!(
            ErrorBody::read(&json!({ "error": "a sentence" })).error.message,
            "a sentence"
        );
    }
}
