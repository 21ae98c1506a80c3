//! Errors that the API itself reports, and their kinds by status and type.

use std::fmt;
use std::time::Duration;

use super::ModelError;
use crate::messages_api::ErrorType;

/// An error that the API reported, with its hints about retries.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub kind: ApiErrorKind,
    /// `None` for an error inside an answer that began with 200, such as the `error` event of a stream.
    pub status: Option<u16>,
    /// `error.type`, as sent; empty where the body had none.
    pub error_type: String,
    pub message: String,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
    /// The header `request-id`, else the body's `request_id`.
    pub request_id: Option<String>,
    /// The delay that the server requested, unbounded. [`classify`](super::classify) decides whether to honour it.
    pub retry_after: Option<Duration>,
    /// The header `x-should-retry`.
    pub should_retry: Option<bool>,
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "HTTP {status}")?,
            None => f.write_str("error inside the answer")?,
        }
        if !self.error_type.is_empty() {
            write!(f, ", {}", self.error_type)?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        if let Some(retry_after) = self.retry_after {
            write!(f, " (retry after {} s)", retry_after.as_secs_f64().ceil())?;
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

/// The rows of the API's error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiErrorKind {
    InvalidRequest,
    Authentication,
    Billing,
    Permission,
    NotFound,
    RequestTimeout,
    Conflict,
    RequestTooLarge,
    RateLimited,
    ServerError,
    GatewayTimeout,
    Overloaded,
    /// An undocumented status below 500, or an undocumented type.
    Unknown,
}

impl ApiErrorKind {
    pub const fn from_status(status: u16) -> Self {
        match status {
            400 => Self::InvalidRequest,
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 => Self::RequestTimeout,
            409 => Self::Conflict,
            413 => Self::RequestTooLarge,
            429 => Self::RateLimited,
            504 => Self::GatewayTimeout,
            529 => Self::Overloaded,
            500.. => Self::ServerError,
            _ => Self::Unknown,
        }
    }

    /// By `error.type`. Used only for errors inside a stream, which have no status.
    pub fn from_type(error_type: &str) -> Self {
        match ErrorType::from_name(error_type) {
            Some(ErrorType::InvalidRequest) => Self::InvalidRequest,
            Some(ErrorType::Authentication) => Self::Authentication,
            Some(ErrorType::Billing) => Self::Billing,
            Some(ErrorType::Permission) => Self::Permission,
            Some(ErrorType::NotFound) => Self::NotFound,
            Some(ErrorType::Conflict) => Self::Conflict,
            Some(ErrorType::RequestTooLarge) => Self::RequestTooLarge,
            Some(ErrorType::RateLimit) => Self::RateLimited,
            Some(ErrorType::Api) => Self::ServerError,
            Some(ErrorType::Timeout) => Self::GatewayTimeout,
            Some(ErrorType::Overloaded) => Self::Overloaded,
            None => Self::Unknown,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::Authentication => "authentication",
            Self::Billing => "billing",
            Self::Permission => "permission",
            Self::NotFound => "not_found",
            Self::RequestTimeout => "request_timeout",
            Self::Conflict => "conflict",
            Self::RequestTooLarge => "request_too_large",
            Self::RateLimited => "rate_limited",
            Self::ServerError => "server_error",
            Self::GatewayTimeout => "gateway_timeout",
            Self::Overloaded => "overloaded",
            Self::Unknown => "api_error",
        }
    }

    pub(super) const fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Authentication => "check the API key in the variable that `[model] api_key_env` names",
            Self::Billing => "check the account's billing in the vendor's console",
            Self::Permission => "the API key isn't allowed to use this model or feature",
            Self::NotFound => "check `[model] model` and `[model] base_url`",
            Self::RequestTooLarge => "the request is larger than the API accepts; shorten the prompt",
            Self::RateLimited => "the account's rate limit is reached; wait, or raise it in the vendor's console",
            Self::ServerError | Self::GatewayTimeout | Self::Overloaded => {
                "the API is having problems; try again later"
            }
            Self::InvalidRequest | Self::RequestTimeout | Self::Conflict | Self::Unknown => return None,
        })
    }
}

/// `error_code` of a monthly spend cap, which arrives as a 429 although waiting doesn't help.
const ENFORCED_SPEND_LIMIT: &str = "enforced_spend_limit_reached";

/// Phrases of an error for a spend limit set by the customer, which arrives as a 400 without an error code.
const SELF_SET_SPEND_LIMIT: [&str; 4] = [
    "specified api usage limit",
    "specified workspace api usage limit",
    "spend limit",
    "spending limit",
];

/// The phrase of an error for an empty account, which also arrives as a 400.
const OUT_OF_CREDIT: &str = "credit balance is too low";

/// Phrases of an error for a prompt that is too long, across versions of the API.
const CONTEXT_OVERFLOW: [&str; 4] = [
    "prompt is too long",
    "exceed context limit",
    "context window",
    "maximum context length",
];

impl From<ApiError> for ModelError {
    /// Separates errors that share a status with others: spend caps, an empty account, a prompt that is too long.
    fn from(mut error: ApiError) -> Self {
        let message = error.message.to_lowercase();
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
        if error.error_code.as_deref() == Some(ENFORCED_SPEND_LIMIT) {
            return Self::SpendLimit(Box::new(error));
        }
        if error.kind == ApiErrorKind::InvalidRequest {
            if says(&SELF_SET_SPEND_LIMIT) {
                return Self::SpendLimit(Box::new(error));
            }
            if says(&CONTEXT_OVERFLOW) {
                return Self::ContextOverflow(Box::new(error));
            }
            if says(&[OUT_OF_CREDIT]) {
                error.kind = ApiErrorKind::Billing;
            }
        }
        Self::Api(Box::new(error))
    }
}
