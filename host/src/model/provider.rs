//! The trait that a vendor implements: one attempt at one request, without retries or limits.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

use super::{BoxFuture, ModelError, ModelRequest, ModelResponse, Progress, ToolDefinition};
use crate::messages_api::CacheTtl;

/// A request ready to be sent. All attempts of a turn share its body.
#[derive(Clone, Debug)]
pub struct PreparedRequest<'a> {
    pub request: &'a ModelRequest<'a>,
    pub body: Bytes,
    /// Headers that not every request has.
    pub headers: HeaderMap,
    /// What of the body the model doesn't read.
    pub deferred: DeferredTools,
    /// Bytes of definitions that the model reads although it no longer has these tools, because a cached prompt has them.
    pub outdated_bytes: u64,
}

impl<'a> PreparedRequest<'a> {
    /// Without headers of its own, and with a body that the model reads as a whole.
    pub fn new(request: &'a ModelRequest<'a>, body: Bytes) -> Self {
        Self {
            request,
            body,
            headers: HeaderMap::new(),
            deferred: DeferredTools::default(),
            outdated_bytes: 0,
        }
    }
}

/// Definitions in a request's body that the model doesn't read, because it has to search for them first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeferredTools {
    /// Bytes of those that no search has found yet.
    pub bytes: u64,
    /// How many of these the searches of the answer may add to its prompt.
    pub findable_bytes: u64,
    /// How many searches these are. For each, the API reads the prompt once more.
    pub searches: u64,
}

/// One vendor's API. An implementation makes exactly one attempt per call. [`ModelStack`](super::ModelStack) adds retries,
/// time-outs, budget and breaker. Dropping the future must stop the attempt.
pub trait Provider: fmt::Debug + Send + Sync + 'static {
    /// The model's id, as requests name it.
    fn model(&self) -> &str;

    /// The URL of requests, for messages: without user part and query.
    fn endpoint(&self) -> String;

    /// Where requests go, for messages: the endpoint, and a proxy in front of it.
    fn route(&self) -> String {
        self.endpoint()
    }

    /// Serialises a request. Called once per turn, before any attempt. The prompt's tokens are estimated from the body's
    /// length, so return the body as sent.
    ///
    /// # Errors
    ///
    /// The request has no serialised form. Nothing was sent.
    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError>;

    /// Another form of a request, if the error may be a refusal of the form that it has. `None`, the default: there is none.
    ///
    /// # Errors
    ///
    /// Like [`Self::prepare`].
    fn prepare_otherwise<'a>(
        &self,
        _request: &PreparedRequest<'a>,
        _error: &ModelError,
    ) -> Result<Option<PreparedRequest<'a>>, ModelError> {
        Ok(None)
    }

    /// The API has answered what [`Self::prepare_otherwise`] returned for this error, so [`Self::prepare`] can choose that form.
    fn accepts_otherwise(&self, _error: &ModelError) {}

    /// The tools whose definitions a conversation must keep, so that its later requests can say what changed. `None`, the default: no
    /// request says it.
    fn kept_tools<'t>(&self, _tools: &'t [ToolDefinition]) -> Option<Vec<&'t ToolDefinition>> {
        None
    }

    /// Asks the API how many tokens the prompt has, which must cost nothing. `None`, the default: it can't say. The caller bounds the
    /// time.
    fn count_tokens<'a>(&'a self, _request: &'a PreparedRequest<'a>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(std::future::ready(None))
    }

    /// How long the API keeps what requests write to its prompt cache. `None`, the default: they write nothing that costs more than plain
    /// input.
    fn cache_writes(&self) -> Option<CacheTtl> {
        None
    }

    /// Makes one attempt. Reports the head of the answer, usage, output and the request id to `progress` as they arrive, because
    /// it outlives an attempt that is cut short. What is charged is what [`Progress::final_usage`] got, or else the usage of the
    /// response; without any, the reservation.
    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>>;
}
