//! Errors: their types, HTTP statuses and body.

use serde::Serialize;
use serde_json::Value;

use super::error_dialects;
use crate::json_text::Json;

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
    /// Whether a body is an error, regardless of its status. Gateways leave out the `type`.
    pub(crate) fn is_error(body: Json<'_>) -> bool {
        let has = |name: &str| body.field(name).is_some_and(|value| !value.is_null());
        let says = |name: &str| {
            body.field(name)
                .and_then(Json::string)
                .is_some_and(|value| value == "error")
        };
        says("type") || says("object") || (has("error") && !has("content"))
    }

    /// Reads an error from a body in any known [dialect](error_dialects).
    pub(crate) fn read(body: &Value) -> Self {
        error_dialects::read(body)
    }

    /// Reads an error from a body as received, which may also be HTML or plain text.
    pub(crate) fn read_bytes(body: &[u8]) -> Self {
        error_dialects::read_bytes(body)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
    }

    #[test]
    fn an_error_is_one_without_its_type() {
        for (body, is_error) in [
            (json!({ "error": { "message": "busy" } }), true),
            (json!({ "error": "busy" }), true),
            (json!({ "object": "error", "message": "busy" }), true),
            (json!({ "error": null, "content": [] }), false),
            (json!({ "type": "message", "content": [], "error": {} }), false),
            (json!([]), false),
        ] {
            let text = body.to_string();
            assert_eq!(ErrorBody::is_error(Json::parse(&text).unwrap()), is_error, "{body}");
        }
    }
}
