//! Errors inside an answer that began with status 200.

use serde_json::Value;

use crate::messages_api::ErrorBody;
use crate::model::{ApiError, ApiErrorKind, ModelError};

/// Where servers put a status into an error's body, as JSON pointers.
const STATUSES: [&str; 4] = ["/error/code", "/error/status", "/code", "/status"];

/// Reasons for the end of an answer that mean a failure of the server: OpenRouter and vLLM; vLLM; DeepSeek.
const FAILURES: [&str; 3] = ["error", "abort", "insufficient_system_resource"];

/// The status that an error's body names.
pub(super) fn status_in(body: &Value) -> Option<u16> {
    let mut statuses = STATUSES.iter().filter_map(|pointer| {
        let status = body.pointer(pointer)?;
        let text = || status.as_str()?.parse().ok();
        u16::try_from(status.as_u64().or_else(text)?).ok()
    });
    statuses.find(|status| (400..600).contains(status))
}

/// An error instead of the rest of an answer. The status in its body says more than the types, on which no two servers agree.
pub(super) fn in_answer(body: ErrorBody, status: Option<u16>, request_id: Option<String>) -> ModelError {
    let mut error = ApiError::read(body, None, request_id);
    let kind = status.map(|status| match ApiErrorKind::from_status(status) {
        // The same request would be refused again.
        ApiErrorKind::Unknown if status < 500 => ApiErrorKind::InvalidRequest,
        kind => kind,
    });
    match kind {
        Some(kind) => error.kind = kind,
        None if matches!(error.error_type.as_str(), "server_error" | "internal_error") => {
            error.kind = ApiErrorKind::ServerError;
        }
        None => {}
    }
    error.into()
}

/// Whether an answer that ends for this reason, given in lower case, has failed.
pub(super) fn is_failure(reason: &str) -> bool {
    FAILURES.contains(&reason)
}

/// An answer that ended for a reason which is a failure.
pub(super) fn failed(reason: &str, request_id: Option<String>) -> ModelError {
    ModelError::from(ApiError {
        kind: ApiErrorKind::ServerError,
        status: None,
        error_type: String::new(),
        message: format!("the server ended the answer with the finish_reason `{reason}`"),
        error_code: None,
        request_id,
        retry_after: None,
        should_retry: None,
    })
}
