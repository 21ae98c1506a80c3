//! Errors that the API itself reports, and their kinds by status and type.

use std::fmt;
use std::time::Duration;

use super::ModelError;
use super::classify::MAX_RETRY_AFTER;
use crate::messages_api::{ErrorBody, ErrorType};

/// An error that the API reported, with its hints about retries.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub kind: ApiErrorKind,
    /// `None` for an error inside an answer that began with 200, such as the `error` event of a stream.
    pub status: Option<u16>,
    /// Where nothing takes such a request: the URL that was asked, without user part and query.
    pub url: Option<String>,
    /// Where a redirect leads, without user part and query. It isn't followed.
    pub location: Option<String>,
    /// Whether a page for browsers came with a 4xx: then something else than the API answered.
    pub is_page: bool,
    /// `error.type`, as sent; empty where the body had none.
    pub error_type: String,
    pub message: String,
    /// `error.details.error_code`, or a `code` where another server's dialect has one.
    pub error_code: Option<String>,
    /// The header `request-id`, else the body's `request_id`.
    pub request_id: Option<String>,
    /// The delay that the server requested, unbounded. [`classify`](super::classify) decides whether a retry waits for it.
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
        if let Some(url) = &self.url {
            write!(f, " from {url}")?;
        }
        if let Some(location) = &self.location {
            write!(f, " to {location}")?;
        }
        // OpenAI has some names in both places.
        let code = self.error_code.as_ref().filter(|code| **code != self.error_type);
        let names = [Some(&self.error_type), code];
        for name in names.into_iter().flatten().filter(|name| !name.is_empty()) {
            write!(f, ", {name}")?;
        }
        if self.is_page {
            f.write_str(": a page for browsers, not the API's answer")?;
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match self.retry_after {
            Some(delay) if delay > MAX_RETRY_AFTER => write!(f, " (the API asked to wait {})", in_words(delay))?,
            Some(delay) => write!(f, " (retry after {} s)", delay.as_secs_f64().ceil())?,
            None => {}
        }
        Ok(())
    }
}

impl std::error::Error for ApiError {}

impl ApiError {
    /// Reads an error. The status determines the kind, unless the error has a code or a type that tells it apart; without a
    /// status, `error.type` does. The header's id takes precedence over the body's.
    pub(super) fn read(body: ErrorBody, status: Option<u16>, request_id: Option<String>) -> Self {
        let ErrorBody {
            error,
            request_id: in_body,
        } = body;
        Self {
            kind: status.map_or_else(|| ApiErrorKind::from_type(&error.kind), ApiErrorKind::from_status),
            status,
            url: None,
            location: None,
            is_page: false,
            message: error.message,
            error_code: error.details.and_then(|details| details.error_code),
            request_id: request_id.or(in_body),
            error_type: error.kind,
            retry_after: None,
            should_retry: None,
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self.retry_after {
            Some(delay) if delay > MAX_RETRY_AFTER => Some(format!(
                "try again in {}; a retry waits for {} at most",
                in_words(delay),
                in_words(MAX_RETRY_AFTER)
            )),
            // The server says that waiting doesn't help.
            _ if self.should_retry == Some(false) && self.kind.is_temporary() => None,
            _ if self.is_page => Some(
                "something between this machine and the API answered, such as a proxy, a firewall or a network's portal: check the network and \
                 `[model] base_url`"
                    .to_owned(),
            ),
            _ if matches!(self.status, Some(300..400)) => Some(
                "requests are sent nowhere but to `[model] base_url`: set it to the address that answers them"
                    .to_owned(),
            ),
            _ if self.status == Some(405) => Some("check `[model] base_url`".to_owned()),
            _ => self.hint_for_what_is_refused().or(self.kind.hint()).map(str::to_owned),
        }
    }

    /// Whether the request is refused for what is in it. FastAPI's validation errors are 422.
    fn is_refusal(&self) -> bool {
        matches!(self.kind, ApiErrorKind::InvalidRequest | ApiErrorKind::RequestTooLarge) || self.status == Some(422)
    }

    /// Servers that know only a part of the API refuse what they don't know by its name.
    fn hint_for_what_is_refused(&self) -> Option<&'static str> {
        let message = self.message.to_lowercase();
        let mut rows = REFUSED.iter().filter(|_| self.is_refusal());
        rows.find(|(words, _)| says(&message, words)).map(|(_, hint)| *hint)
    }
}

/// What a refusal says, and which key leaves out what it is about.
const REFUSED: [(Wordings, &str); 5] = [
    (
        &[&["cache_control"]],
        "this server doesn't cache prompts: set `[model] prompt_cache = false`",
    ),
    (
        &[&["defer_loading"], &["tool_search"], &["tool_reference"]],
        "this server or model can't search for tools: set `[model] tool_search = \"never\"`",
    ),
    (
        // Not one that it is too large.
        &[
            &["max_completion_tokens", "unsupported"],
            &["max_completion_tokens", "not supported"],
            &["max_completion_tokens", "unrecognized"],
            &["max_completion_tokens", "unknown"],
            &["max_completion_tokens", "extra"],
        ],
        "this server takes the other name of the limit: `[model] max_tokens_field` is \"max_tokens\" or \"max_completion_tokens\"",
    ),
    (
        &[&["stream_options"]],
        "this server can't report usage while it streams: set `[model] stream = false`",
    ),
    // Ollama.
    (
        &[&["does not support tools"]],
        "choose a model that can call tools; a `[plugins]` table without plugins offers it none",
    ),
];

/// A long delay in its two largest units, rounded up to a second: `4 h`, `1 d 2 h`, `1 min 1 s`.
fn in_words(delay: Duration) -> String {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    if delay > YEAR {
        return "more than a year".to_owned();
    }
    let mut rest = delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0));
    let mut parts = Vec::new();
    for (seconds, unit) in [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")] {
        let count = rest / seconds;
        rest %= seconds;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
        if parts.len() == 2 || (parts.len() == 1 && count == 0) {
            break;
        }
    }
    parts.join(" ")
}

/// The rows of the API's error table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

    /// Whether trying again later usually helps.
    const fn is_temporary(self) -> bool {
        matches!(self, Self::ServerError | Self::GatewayTimeout | Self::Overloaded)
    }

    const fn hint(self) -> Option<&'static str> {
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

/// What an error's code says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A spend cap. Waiting doesn't help.
    SpendLimit,
    ContextOverflow,
    /// An error of this kind, whatever its status.
    Kind(ApiErrorKind),
}

/// Errors that their code tells apart from others of the same status. A code that isn't here means no more than the status.
///
/// Sources: the enums of the vendor's SDK 2.14, OpenAI's table of error codes, and the types of llama.cpp's server.
const CODES: [(&str, Meaning); 24] = {
    use ApiErrorKind as Kind;
    [
        // 429: the caps that an organisation or a contract sets.
        ("enforced_spend_limit_reached", Meaning::SpendLimit),
        ("contract_spend_limit_reached", Meaning::SpendLimit),
        // 429: the traffic grows too fast.
        ("ramp_limit_exceeded", Meaning::Kind(Kind::RateLimited)),
        // 402
        ("linked_organization_spend_limit_reached", Meaning::SpendLimit),
        ("linked_organization_billing_unavailable", Meaning::Kind(Kind::Billing)),
        // 400: the upload was too slow.
        ("request_body_timeout", Meaning::Kind(Kind::RequestTimeout)),
        // 400: an earlier request of the same thread hasn't ended.
        ("thread_continue_in_flight", Meaning::Kind(Kind::Conflict)),
        ("organization_on_hold", Meaning::Kind(Kind::Permission)),
        ("organization_not_enrolled_in_beta", Meaning::Kind(Kind::Permission)),
        ("thread_not_found", Meaning::Kind(Kind::NotFound)),
        ("file_expired", Meaning::Kind(Kind::NotFound)),
        (
            "request_body_too_large_after_decoding",
            Meaning::Kind(Kind::RequestTooLarge),
        ),
        // 503 and 529
        ("cmek_key_unreachable", Meaning::Kind(Kind::ServerError)),
        ("cmek_context_unavailable", Meaning::Kind(Kind::ServerError)),
        ("authorization_check_unavailable", Meaning::Kind(Kind::ServerError)),
        ("compaction_unavailable", Meaning::Kind(Kind::Overloaded)),
        // OpenAI and the servers that follow it.
        ("context_length_exceeded", Meaning::ContextOverflow),
        ("insufficient_quota", Meaning::SpendLimit),
        ("billing_hard_limit_reached", Meaning::SpendLimit),
        ("billing_not_active", Meaning::Kind(Kind::Billing)),
        ("rate_limit_exceeded", Meaning::Kind(Kind::RateLimited)),
        ("invalid_api_key", Meaning::Kind(Kind::Authentication)),
        ("model_not_found", Meaning::Kind(Kind::NotFound)),
        // llama.cpp, as the error's type.
        ("exceed_context_size_error", Meaning::ContextOverflow),
    ]
};

/// Wordings of errors that have no code: all fragments of a row are in the message, in lower case.
type Wordings = &'static [&'static [&'static str]];

/// Whether a message, in lower case, has one of the wordings.
fn says(message: &str, wordings: Wordings) -> bool {
    let mut rows = wordings.iter();
    rows.any(|row| row.iter().all(|fragment| message.contains(fragment)))
}

/// A spend limit that the customer has set, which arrives as a 400.
const SELF_SET_SPEND_LIMIT: Wordings = &[
    &["specified api usage limit"],
    &["specified workspace api usage limit"],
    &["spend limit"],
    &["spending limit"],
];

/// An empty account, which arrives as a 400 too.
const OUT_OF_CREDIT: Wordings = &[&["credit balance is too low"]];

/// A prompt that doesn't fit into the model's context, in the words of the API and of other servers.
const CONTEXT_OVERFLOW: Wordings = &[
    // The Messages API, across its versions, and gateways in front of it.
    &["prompt is too long"],
    &["prompt too long"],
    &["exceed context limit"],
    &["context window"],
    &["context limit", "exceed"],
    &["context limit", "max_tokens"],
    &["input", "max_tokens", "context"],
    // OpenAI, and many servers in its words: vLLM, OpenRouter, DeepSeek, Azure.
    &["maximum context length"],
    &["max context length"],
    &["context length", "exceed"],
    &["context_length"],
    &["reduce the length of the messages"],
    &["reduce the length of the input"],
    // vLLM
    &["longer than the maximum model length"],
    &["model's context length is only"],
    &["exceeds the model's max"],
    &["max_model_len"],
    // llama.cpp, LM Studio, Ollama
    &["context size", "exceed"],
    &["context size", "larger"],
    &["greater than the context length"],
    &["context the overflows"],
    &["exceeds the context"],
    // Text Generation Inference, Together
    &["inputs", "tokens", "max_new_tokens", "must be <="],
    &["inputs", "must have less than", "tokens"],
    // Bedrock, Google, Mistral, xAI, Cohere, Copilot, Moonshot, MiniMax
    &["input is too long"],
    &["input token count", "exceeds"],
    &["input tokens", "exceed"],
    &["too large for model with"],
    &["maximum prompt length"],
    &["too many tokens"],
    &["too many input tokens"],
    &["prompt token count", "exceeds"],
    &["prompt exceeds"],
    &["exceeded model token limit"],
    &["exceeds the maximum number of tokens"],
];

/// Wordings of limits that a shorter prompt doesn't satisfy, although they share words with the ones above.
const NO_CONTEXT_OVERFLOW: Wordings = &[
    &["per minute"],
    &["rate limit"],
    &["maximum allowed number of output tokens"],
];

impl From<ApiError> for ModelError {
    /// Separates errors that share a status with others: spend caps, an empty account, a prompt that is too long. Where the
    /// error has a code, the code alone decides, because the vendor may change the words.
    fn from(mut error: ApiError) -> Self {
        let named = |name: &str| {
            CODES
                .iter()
                .find(|(code, _)| *code == name)
                .map(|(_, meaning)| *meaning)
        };
        let code = error.error_code.as_deref();
        let meaning = code.and_then(named).or_else(|| named(&error.error_type));
        let meaning = meaning.or_else(|| code.is_none().then(|| by_words(&error)).flatten());
        match meaning {
            Some(Meaning::SpendLimit) => return Self::SpendLimit(Box::new(error)),
            Some(Meaning::ContextOverflow) => return Self::ContextOverflow(Box::new(error)),
            Some(Meaning::Kind(kind)) => error.kind = kind,
            None => {}
        }
        Self::Api(Box::new(error))
    }
}

/// What the message of an error without a code says.
fn by_words(error: &ApiError) -> Option<Meaning> {
    if !error.is_refusal() {
        return None;
    }
    let message = error.message.to_lowercase();
    let says = |wordings: Wordings| says(&message, wordings);
    if says(SELF_SET_SPEND_LIMIT) {
        Some(Meaning::SpendLimit)
    } else if says(OUT_OF_CREDIT) {
        Some(Meaning::Kind(ApiErrorKind::Billing))
    } else if says(CONTEXT_OVERFLOW) && !says(NO_CONTEXT_OVERFLOW) {
        Some(Meaning::ContextOverflow)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_error_body_is_read_leniently() {
        let read = |body: &Value, status, id| ApiError::read(ErrorBody::read(body), status, id);
        let error = read(
            &json!({"type": "error", "request_id": "req_body", "error": {"type": "rate_limit_error", "message": "slow",
                "details": {"error_code": "enforced_spend_limit_reached"}}}),
            Some(429),
            None,
        );
        assert_eq!(error.error_type, "rate_limit_error");
        assert_eq!(error.message, "slow");
        assert_eq!(error.error_code.as_deref(), Some("enforced_spend_limit_reached"));
        assert_eq!(error.request_id.as_deref(), Some("req_body"));
        let header_first = read(
            &json!({"request_id": "req_body"}),
            Some(500),
            Some("req_header".to_owned()),
        );
        assert_eq!(header_first.request_id.as_deref(), Some("req_header"));
        assert_eq!(read(&json!({"error": "no"}), Some(500), None).message, "no");
        assert_eq!(read(&Value::Null, None, None).kind, ApiErrorKind::Unknown);
    }

    #[test]
    fn an_error_that_no_retry_helps_against_does_not_say_to_try_again() {
        let hint = |should_retry| {
            let error = ApiError {
                kind: ApiErrorKind::ServerError,
                status: Some(500),
                url: None,
                location: None,
                is_page: false,
                error_type: "api_error".to_owned(),
                message: "the script is exhausted".to_owned(),
                error_code: None,
                request_id: None,
                retry_after: None,
                should_retry,
            };
            error.hint()
        };
        assert_eq!(hint(Some(false)), None);
        for should_retry in [None, Some(true)] {
            assert!(hint(should_retry).is_some_and(|hint| hint.contains("try again")));
        }
    }

    #[test]
    fn what_a_server_refuses_is_named_with_its_key() {
        let hint = |message: &str| {
            let error = ApiError {
                kind: ApiErrorKind::InvalidRequest,
                status: Some(400),
                url: None,
                location: None,
                is_page: false,
                error_type: "invalid_request_error".to_owned(),
                message: message.to_owned(),
                error_code: None,
                request_id: None,
                retry_after: None,
                should_retry: None,
            };
            error.hint()
        };
        for (message, key) in [
            (
                "messages.0.content.0.text.cache_control: Extra inputs are not permitted",
                "`[model] prompt_cache = false`",
            ),
            (
                "tools.0.custom.defer_loading: Extra inputs are not permitted",
                "`[model] tool_search = \"never\"`",
            ),
            (
                "tools.1: Input tag 'tool_search_tool_bm25_20251119' found using 'type' does not match any of the expected tags",
                "`[model] tool_search = \"never\"`",
            ),
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "`[model] max_tokens_field`",
            ),
            (
                "Unrecognized request argument supplied: stream_options",
                "`[model] stream = false`",
            ),
            (
                "body.stream_options: Extra inputs are not permitted",
                "`[model] stream = false`",
            ),
            (
                "registry.ollama.ai/library/gemma:2b does not support tools",
                "`[plugins]`",
            ),
        ] {
            let hint = hint(message);
            assert!(
                hint.as_ref().is_some_and(|hint| hint.contains(key)),
                "{message}: {hint:?}"
            );
        }
        for message in [
            "messages.0: Extra inputs are not permitted",
            "max_completion_tokens is too large: 99999. This model supports at most 16384 completion tokens.",
        ] {
            assert_eq!(hint(message), None, "{message}");
        }
    }

    #[test]
    fn delays_are_named_in_two_units() {
        for (delay, words) in [
            (Duration::from_secs(14_400), "4 h"),
            (Duration::from_secs(61), "1 min 1 s"),
            (Duration::from_millis(60_001), "1 min 1 s"),
            (Duration::from_secs(120), "2 min"),
            (Duration::from_secs(3_601), "1 h"),
            (Duration::from_secs(86_400 + 7_300), "1 d 2 h"),
            (Duration::MAX, "more than a year"),
        ] {
            assert_eq!(in_words(delay), words);
        }
    }
}
