//! Errors of a model call. Variants are facts: `classify` decides what they mean for retries and the breaker, the agent loop
//! what they mean for the run.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::api_error::{ApiError, ApiErrorKind};
use crate::events::ErrorInfo;
use crate::ledger::{BudgetExceeded, LedgerError};
use crate::resilience::Wait;
use crate::session::SessionError;

const RATE_LIMIT_HINT: &str = "the account's rate limit is reached for many calls at once; try again later, run fewer at the same time, \
                               or raise it in the vendor's console";

/// Why there is no answer. No variant ever holds the API key or the user part of the base URL.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The API reported an error: an HTTP status outside 2xx, or an `error` event inside a stream.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The vendor's spend cap is reached. Never retried, whatever its status.
    #[error("the API account's own spend limit is reached: {0}")]
    SpendLimit(Box<ApiError>),
    /// The prompt doesn't fit into the model's context. The loop can trim the conversation and call again.
    #[error("the prompt is too long for the model: {0}")]
    ContextOverflow(Box<ApiError>),
    /// The connection failed, so nothing was sent or billed.
    #[error("can't connect to {endpoint}: {reason}")]
    Connect { endpoint: String, reason: String },
    /// There is a server, but the two can't talk until somebody changes the configuration. Nothing was billed.
    #[error("{0}")]
    Misconnected(Box<Misconnected>),
    /// The connection broke between sending the request and the start of an answer.
    #[error("the connection to {endpoint} broke before an answer came: {reason}")]
    Connection { endpoint: String, reason: String },
    /// The answer ended before its end mark.
    #[error("the answer was cut off: {reason}")]
    Cut { reason: String, request_id: Option<String> },
    /// No data arrived for `idle_timeout`.
    #[error("the answer stalled: no data for {idle:?}")]
    Stalled { idle: Duration, request_id: Option<String> },
    #[error("the model did not finish its answer within the {limit:?} of one attempt")]
    AttemptTimeout {
        limit: Duration,
        request_id: Option<String>,
    },
    /// The API's answer can't be parsed or used.
    #[error("the API sent a malformed answer: {reason}")]
    Malformed { reason: String, request_id: Option<String> },
    #[error("the breaker `{breaker}` is {}{}", open(*is_held, *retry_after), opened_by(last, last_failure))]
    BreakerOpen {
        breaker: String,
        /// An operator holds it open.
        is_held: bool,
        /// Zero while another call probes whether the endpoint has recovered.
        retry_after: Duration,
        /// The last failure that counted, of whichever call or process.
        last_failure: Option<Arc<str>>,
        last: Option<Box<ModelError>>,
    },
    /// By what the server announces, it would refuse the attempt.
    #[error("the rate limit of {endpoint} {}{}", reached(*wait), next_request(*retry_after))]
    RateLimitReached {
        endpoint: String,
        wait: Wait,
        /// About this long. Zero if nobody can tell, because other calls wait.
        retry_after: Duration,
    },
    /// The host's ledger refused the attempt.
    #[error(transparent)]
    Budget(BudgetExceeded),
    /// A budget is in force but the model has no price, so its cost can't be bounded.
    #[error("no price is known for the model `{model}`, and a budget is in force ({})", limits.join(", "))]
    UnknownPrice {
        model: String,
        /// The scopes that have a limit.
        limits: Vec<&'static str>,
        /// How to go on.
        hint: String,
    },
    #[error("the budget couldn't be checked: {0}")]
    Ledger(#[source] LedgerError),
    /// The session can't be written.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The run's deadline has passed, or would pass before the retry.
    #[error("the run's deadline {}{}", too_late(*in_attempt), after(last))]
    DeadlineExceeded {
        /// Whether it ended an attempt.
        in_attempt: bool,
        last: Option<Box<ModelError>>,
    },
    /// A [provider](super::Provider) of the program failed, in its own words, or it panicked.
    #[error("the provider of `{model}` failed: {reason}")]
    Provider {
        model: String,
        reason: String,
        /// Whether another attempt may help. It then counts for the breaker, too.
        is_temporary: bool,
    },
    #[error("cancelled")]
    Cancelled,
    /// A failure that a retry might have fixed, and why there is no retry.
    #[error("{why}: {last}")]
    GaveUp { why: GaveUp, last: Box<ModelError> },
    /// Neither the configured model has an answer, nor any of its fallbacks.
    #[error("{first}{}", and_fallbacks(fallbacks))]
    AllFailed {
        first: Box<ModelError>,
        /// Those that were asked, in order.
        fallbacks: Vec<FailedModel>,
    },
}

/// A fallback that was asked.
#[derive(Debug)]
pub struct FailedModel {
    pub model: String,
    pub error: ModelError,
}

/// A server that this client can't talk to, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("can't talk to {endpoint}: {reason}")]
pub struct Misconnected {
    pub kind: MisconnectedKind,
    pub endpoint: String,
    pub reason: String,
    pub hint: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MisconnectedKind {
    /// The server's certificate isn't acceptable.
    Certificate,
    /// The port doesn't speak TLS.
    NotTls,
    /// The answer isn't HTTP.
    NotHttp,
    /// The proxy refuses to connect.
    Proxy,
}

impl MisconnectedKind {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate_refused",
            Self::NotTls => "not_tls",
            Self::NotHttp => "not_http",
            Self::Proxy => "proxy_refused",
        }
    }
}

/// Why a transient failure isn't retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GaveUp {
    #[error("gave up after {0} attempts")]
    Attempts(u32),
    #[error("not retried because too many calls to this endpoint are already being retried")]
    RetryBudget,
    #[error("not retried because part of the answer was already shown")]
    TextShown,
}

const fn too_late(in_attempt: bool) -> &'static str {
    match in_attempt {
        true => "passed before the answer was complete",
        false => "leaves no time for another attempt",
    }
}

fn after(last: &Option<Box<ModelError>>) -> String {
    last.as_ref()
        .map(|error| format!("; before that, {error}"))
        .unwrap_or_default()
}

/// The call's own last failure, or the breaker's.
fn opened_by(last: &Option<Box<ModelError>>, last_failure: &Option<Arc<str>>) -> String {
    match (last, last_failure) {
        (None, Some(failure)) => format!("; the last failure: {failure}"),
        _ => after(last),
    }
}

fn and_fallbacks(fallbacks: &[FailedModel]) -> String {
    fallbacks
        .iter()
        .map(|FailedModel { model, error }| format!("; then the fallback `{model}` failed: {error}"))
        .collect()
}

/// The hint for a fallback: its settings stand in a table of their own.
pub fn fallback_hint(hint: &str) -> String {
    hint.replace("`[model] ", "`[[fallback_models]] ")
}

/// The first model's hint, and on a line of its own that of each fallback, if it differs.
fn hint_for_each(first: &ModelError, fallbacks: &[FailedModel]) -> Option<String> {
    let first = first.hint();
    let others = fallbacks.iter().filter_map(|FailedModel { model, error }| {
        let hint = fallback_hint(&error.hint()?);
        (first.as_ref() != Some(&hint)).then(|| format!("for `{model}`, {hint}"))
    });
    let lines: Vec<String> = first.iter().cloned().chain(others).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// How an open breaker is called. The time is rounded to 0.1 s.
fn open(is_held: bool, retry_after: Duration) -> String {
    match (is_held, retry_after.is_zero()) {
        (true, _) => "held open by an operator".to_owned(),
        (false, true) => "open".to_owned(),
        (false, false) => format!("open, next try in {:.1} s", retry_after.as_secs_f64()),
    }
}

/// What of a rate limit is reached.
fn reached(wait: Wait) -> String {
    match wait {
        Wait::For(kind) => format!("is reached for {}", kind.as_str()),
        // By its answer to another call.
        Wait::Refused => "is reached".to_owned(),
        Wait::InQueue => "is reached, and other calls wait already".to_owned(),
    }
}

/// The time is rounded to 0.1 s.
fn next_request(retry_after: Duration) -> String {
    match retry_after.is_zero() {
        true => String::new(),
        false => format!(", next request in about {:.1} s", retry_after.as_secs_f64()),
    }
}

impl From<LedgerError> for ModelError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Exceeded(exceeded) => Self::Budget(exceeded),
            error => Self::Ledger(error),
        }
    }
}

impl ModelError {
    /// A request that has no serialised form.
    pub(super) fn unserialisable(error: &serde_json::Error) -> Self {
        Self::Malformed {
            reason: format!("the request can't be serialised: {error}"),
            request_id: None,
        }
    }

    /// What an attempt waits for, without for how long.
    pub(super) fn obstacle(&self) -> String {
        match self {
            Self::RateLimitReached { endpoint, wait, .. } => {
                format!("the rate limit of {endpoint} {}", reached(*wait))
            }
            Self::BreakerOpen {
                breaker,
                last,
                last_failure,
                ..
            } => format!("the breaker `{breaker}` is open{}", opened_by(last, last_failure)),
            error => error.to_string(),
        }
    }

    /// A stable, machine-readable name.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Api(error) => error.kind.name(),
            Self::SpendLimit(_) => "spend_limit",
            Self::ContextOverflow(_) => "context_overflow",
            Self::Connect { .. } => "connect_failed",
            Self::Misconnected(error) => error.kind.name(),
            Self::Connection { .. } => "connection_lost",
            Self::Cut { .. } => "stream_cut",
            Self::Stalled { .. } => "stream_stalled",
            Self::AttemptTimeout { .. } => "attempt_timeout",
            Self::Malformed { .. } => "malformed_answer",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::RateLimitReached { .. } => "rate_limit_reached",
            Self::Budget(_) => "budget_exceeded",
            Self::UnknownPrice { .. } => "unknown_price",
            Self::Ledger(error) => error.kind(),
            Self::Session(error) => error.kind(),
            Self::Provider { .. } => "provider_failed",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Cancelled => ErrorInfo::CANCELLED,
            Self::GaveUp { last, .. } => last.kind(),
            Self::AllFailed { first, .. } => first.kind(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Api(error) => return error.hint(),
            Self::SpendLimit(_) => "raise the limit in the vendor's console, or wait until its window ends",
            Self::ContextOverflow(_) => "shorten the prompt, or choose a model with a larger context",
            Self::Connect { .. } => "check the network and `[model] base_url`, and the proxy if the message names one",
            Self::Misconnected(error) => return Some(error.hint.clone()),
            Self::Stalled { .. } => "if the model needs longer between two events, raise `[model] idle_timeout`",
            Self::AttemptTimeout { .. } => "raise `[model] attempt_timeout`, or lower `[model] max_tokens`",
            Self::Malformed { .. } => {
                "check that the server at `[model] base_url` speaks the API that `[model] provider` names"
            }
            Self::BreakerOpen { is_held: true, .. } => {
                "`cofferdam breakers close` with this name lets calls through again"
            }
            Self::BreakerOpen { .. } => {
                "calls of the endpoint failed, or were slow; try again later, or at once with `cofferdam breakers close` and this name"
            }
            Self::RateLimitReached { .. } => RATE_LIMIT_HINT,
            Self::Budget(exceeded) => return Some(exceeded.hint()),
            Self::UnknownPrice { hint, .. } => return Some(hint.clone()),
            Self::Ledger(error) => return error.hint(),
            Self::Session(error) => return Some(error.hint()),
            Self::DeadlineExceeded { .. } => "raise `[agent] deadline`",
            Self::GaveUp {
                why: GaveUp::RetryBudget,
                last,
            } if matches!(&**last, Self::Api(error) if error.kind == ApiErrorKind::RateLimited) => RATE_LIMIT_HINT,
            Self::GaveUp {
                why: GaveUp::RetryBudget,
                ..
            } => "the endpoint seems to be down for everyone; try again later",
            Self::GaveUp { last, .. } => return last.hint(),
            Self::AllFailed { first, fallbacks } => return hint_for_each(first, fallbacks),
            Self::Connection { .. } => {
                "try again later; if it happens every time, check that the scheme of `[model] base_url` fits its port, and \
                 check for proxies or gateways on the way"
            }
            Self::Cut { .. } => {
                "try again; if it happens every time, check whether a gateway at `[model] base_url` ends long answers"
            }
            // The program knows, or the caller has cancelled.
            Self::Provider { .. } | Self::Cancelled => return None,
        };
        Some(hint.to_owned())
    }

    /// The API's id of the request, for its support.
    pub fn request_id(&self) -> Option<&str> {
        match self {
            Self::Api(error) | Self::SpendLimit(error) | Self::ContextOverflow(error) => error.request_id.as_deref(),
            Self::Cut { request_id, .. }
            | Self::Stalled { request_id, .. }
            | Self::AttemptTimeout { request_id, .. }
            | Self::Malformed { request_id, .. } => request_id.as_deref(),
            Self::BreakerOpen { last, .. } | Self::DeadlineExceeded { last, .. } => last.as_ref()?.request_id(),
            Self::GaveUp { last, .. } => last.request_id(),
            Self::AllFailed { first, .. } => first.request_id(),
            _ => None,
        }
    }

    pub fn info(&self) -> ErrorInfo {
        ErrorInfo {
            kind: self.kind().to_owned(),
            message: self.to_string(),
            hint: self.hint(),
            request_id: self.request_id().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_and_a_cut_answer_have_hints() {
        let lost = ModelError::Connection {
            endpoint: "https://x".to_owned(),
            reason: "reset".to_owned(),
        };
        let cut = ModelError::Cut {
            reason: "reset".to_owned(),
            request_id: None,
        };
        for error in [lost, cut] {
            let error = ModelError::GaveUp {
                why: GaveUp::Attempts(3),
                last: Box::new(error),
            };
            assert!(
                error.hint().is_some_and(|hint| hint.contains("`[model] base_url`")),
                "{error}"
            );
        }
    }
}
