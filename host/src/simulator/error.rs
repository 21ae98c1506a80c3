//! The API's errors: what a status is called, and the body it comes with.

use serde_json::{Value, json};

/// An HTTP error as the API answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) error_code: Option<String>,
}

impl ApiError {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind_of(status).to_owned(),
            message: message.into(),
            error_code: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn body(&self, request_id: &str) -> Value {
        let mut error = json!({ "type": self.kind, "message": self.message });
        if let Some(code) = &self.error_code {
            error["details"] = json!({ "error_code": code });
        }
        json!({ "type": "error", "error": error, "request_id": request_id })
    }
}

/// The `error.type` that belongs to a status.
pub(super) fn kind_of(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// The status that an error type comes with where it is not inside a stream.
pub(super) fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    }
}

/// The usual words of an error type.
pub(super) fn message_of(kind: &str) -> &'static str {
    match kind {
        "authentication_error" => "invalid x-api-key",
        "billing_error" => "Your credit balance is too low to access the Anthropic API.",
        "permission_error" => "Your API key does not have permission to use the specified resource.",
        "not_found_error" => "Not Found",
        "conflict_error" => "The request conflicts with the current state of the resource.",
        "request_too_large" => "Request exceeds the maximum size",
        "rate_limit_error" => "This request would exceed your organization's rate limit.",
        "timeout_error" => "The request timed out.",
        "overloaded_error" => "Overloaded",
        "invalid_request_error" => "The request is invalid.",
        _ => "Internal server error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_and_its_status_name_each_other() {
        for status in [400, 401, 402, 403, 404, 409, 413, 429, 500, 504, 529] {
            assert_eq!(status_of(kind_of(status)), status);
        }
        assert_eq!(kind_of(503), "api_error");
        assert_eq!(kind_of(405), "invalid_request_error");
    }
}
