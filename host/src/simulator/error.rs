//! The API's error responses.

use crate::messages_api::{ErrorBody, ErrorDetail, ErrorDetails, ErrorType};

/// An HTTP error in the API's format.
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
            kind: ErrorType::from_status(status).name().to_owned(),
            message: message.into(),
            error_code: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    pub(super) fn body(&self, request_id: &str) -> ErrorBody {
        let code = self.error_code.clone();
        ErrorBody {
            error: ErrorDetail {
                kind: self.kind.clone(),
                message: self.message.clone(),
                details: code.map(|code| ErrorDetails { error_code: Some(code) }),
            },
            request_id: Some(request_id.to_owned()),
        }
    }
}

/// The HTTP status of an error type, outside a stream.
pub(super) fn status_of(kind: &str) -> u16 {
    ErrorType::from_name(kind).unwrap_or(ErrorType::Api).status()
}

/// The usual message of an error type.
pub(super) fn message_of(kind: &str) -> &'static str {
    match ErrorType::from_name(kind) {
        Some(ErrorType::Authentication) => "invalid x-api-key",
        Some(ErrorType::Billing) => "Your credit balance is too low to access the Anthropic API.",
        Some(ErrorType::Permission) => "Your API key does not have permission to use the specified resource.",
        Some(ErrorType::NotFound) => "Not Found",
        Some(ErrorType::Conflict) => "The request conflicts with the current state of the resource.",
        Some(ErrorType::RequestTooLarge) => "Request exceeds the maximum size",
        Some(ErrorType::RateLimit) => "This request would exceed your organization's rate limit.",
        Some(ErrorType::Timeout) => "The request timed out.",
        Some(ErrorType::Overloaded) => "Overloaded",
        Some(ErrorType::InvalidRequest) => "The request is invalid.",
        Some(ErrorType::Api) | None => "Internal server error",
    }
}
