//! The API's error responses.

use serde_json::{Map, Value, json};

use super::json::ObjectText;
use crate::messages_api::ErrorType;

/// Codes of `error.details.error_code` that a request to `/v1/messages` can meet, with their statuses. Source: the error
/// types of the vendor's SDKs.
const ERROR_CODES: [(u16, &[&str]); 8] = [
    (
        400,
        &[
            "available_tools_limit_exceeded",
            "claude_code_key_creator_not_member",
            "claude_code_version_too_old",
            "cmek_key_disabled",
            "cmek_key_network_blocked",
            "compaction_block_ambiguous",
            "compaction_block_misplaced",
            "compaction_content_mismatch",
            "compaction_incomplete_turn",
            "compaction_nothing_to_summarize",
            "compaction_signature_invalid",
            "compaction_too_many_tool_references",
            "compaction_tool_changes_mismatch",
            "file_not_downloadable",
            "image_dimensions_too_large",
            "organization_not_enrolled_in_beta",
            "organization_on_hold",
            "request_body_encoding_invalid",
            "request_body_encoding_unsupported",
            "request_body_timeout",
            "thread_already_continued",
            "thread_continue_in_flight",
            "thread_fingerprint_mismatch",
            "thread_unsupported_request",
            "tool_name_conflict",
            "tool_reference_unresolved",
            "unsupported_charset",
            "user_profile_not_found",
            "user_profile_required",
        ],
    ),
    (
        402,
        &[
            "linked_organization_billing_unavailable",
            "linked_organization_spend_limit_reached",
        ],
    ),
    (
        403,
        &[
            "api_key_scope_missing",
            "sandbox_egress_restricted",
            "user_profile_billing_not_authorized",
            "user_profile_not_billable",
        ],
    ),
    (404, &["file_expired", "thread_not_found"]),
    (413, &["request_body_too_large_after_decoding"]),
    (
        429,
        &[
            "contract_spend_limit_reached",
            "enforced_spend_limit_reached",
            "ramp_limit_exceeded",
        ],
    ),
    (
        503,
        &[
            "authorization_check_unavailable",
            "cmek_context_unavailable",
            "cmek_key_unreachable",
        ],
    ),
    (529, &["compaction_unavailable"]),
];

/// An HTTP error in the API's format.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ApiError {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) error_code: Option<String>,
    /// More fields of `error.details`.
    pub(super) details: Map<String, Value>,
    /// Whether the same request would fail again, whatever the status says.
    pub(super) is_final: bool,
}

impl ApiError {
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: ErrorType::from_status(status).name().to_owned(),
            message: message.into(),
            error_code: None,
            details: Map::new(),
            is_final: false,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// The JSON text of the body, which is also the data of an `error` event.
    pub(super) fn body(&self, request_id: &str) -> String {
        let mut error = json!({ "type": self.kind, "message": self.message });
        let mut details = self.details.clone();
        if let Some(code) = &self.error_code {
            details.insert("error_code".to_owned(), json!(code));
        }
        if !details.is_empty() {
            error["details"] = Value::Object(details);
        }
        ObjectText::of_type("error")
            .field("error", &error)
            .field("request_id", &request_id)
            .end()
    }

    /// The API's `x-should-retry` header. A 429 with an error code has none here: whether to retry is for the client to
    /// tell from the code.
    pub(super) fn should_retry(&self) -> Option<bool> {
        match self.status {
            _ if self.is_final => Some(false),
            400 | 404 => Some(false),
            429 if self.error_code.is_none() => Some(true),
            _ => None,
        }
    }
}

/// The HTTP status of an error type, outside a stream.
pub(super) fn status_of(kind: &str) -> u16 {
    ErrorType::from_name(kind).unwrap_or(ErrorType::Api).status()
}

/// The HTTP status of a known `error_code`.
pub(super) fn status_of_code(code: &str) -> Option<u16> {
    let found = ERROR_CODES.iter().find(|(_, codes)| codes.contains(&code));
    found.map(|(status, _)| *status)
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
