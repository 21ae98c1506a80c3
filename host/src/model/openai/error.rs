//! Errors inside an answer that began with status 200, and those that are answers.

use serde_json::Value;

use crate::events::Usage;
use crate::messages_api::ErrorBody;
use crate::model::{ApiError, ApiErrorKind, ModelError, ModelResponse, RefusalDetails, StopReason};

/// Codes of a prompt that a filter refused: Azure; OpenAI.
const REFUSALS: [&str; 3] = ["content_filter", "content_policy_violation", "invalid_prompt"];

/// Where servers put a status into an error's body, as JSON pointers.
const STATUSES: [&str; 4] = ["/error/code", "/error/status", "/code", "/status"];

/// Reasons for the end of an answer that mean a failure of the server: OpenRouter and vLLM; vLLM; DeepSeek.
const FAILURES: [&str; 3] = ["error", "abort", "insufficient_system_resource"];

/// The refusal that an error status stands for. As an error it would leave the prompt in the conversation, whose later requests would
/// all be refused with it.
pub(super) fn refusal(error: &ModelError, model: &str) -> Option<ModelResponse> {
    let ModelError::Api(error) = error else { return None };
    let code = error.error_code.as_deref().filter(|code| REFUSALS.contains(code))?;
    let is_refused = error.status.is_some_and(|status| (400..500).contains(&status));
    is_refused.then(|| ModelResponse {
        model: model.to_owned(),
        content: Vec::new(),
        stop_reason: StopReason::Refusal,
        refusal: Some(RefusalDetails {
            category: Some(code.to_owned()),
            explanation: Some(error.message.clone()),
        }),
        usage: Usage::default(),
        request_id: error.request_id.clone(),
    })
}

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
        url: None,
        location: None,
        is_page: false,
        error_type: String::new(),
        message: format!("the server ended the answer with the finish_reason `{reason}`"),
        error_code: None,
        request_id,
        retry_after: None,
        should_retry: None,
    })
}
