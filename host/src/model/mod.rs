//! Calls a model: the stack of layers around one HTTP attempt, a client per API, prices.
//!
//! A run uses [`ModelChain`]. A vendor implements [`Provider`]. Of tools, this module knows only the definitions.

mod announced_limits;
mod answer;
mod anthropic;
mod api_error;
mod attempt_log;
mod classify;
mod definitions;
mod error;
mod estimate;
mod exchange;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod http;
mod message;
mod openai;
mod prices;
mod progress;
mod provider;
mod settings;
mod stack;

#[cfg(test)]
pub(crate) use self::anthropic::{parse_response, request_body, validators};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::http::{ClientError, ProxySetting, ProxyUrl};
pub use anthropic::{AnthropicClient, CapabilityError, check_capabilities, searched_tools};
pub use api_error::{ApiError, ApiErrorKind};
pub use attempt_log::{AttemptEnd, AttemptLog, Unlogged};
pub use classify::{MAX_RETRY_AFTER, Verdict, classify, counts_for_breaker};
pub use definitions::{ToolDefinition, ToolDefinitions};
pub use error::{FailedModel, GaveUp, Misconnected, MisconnectedKind, ModelError, fallback_hint};
pub use estimate::{PromptTokens, definition_tokens, least_prompt_tokens};
pub use message::*;
pub use openai::OpenAiClient;
pub use prices::*;
use progress::OutputSeen;
pub use progress::{BilledPart, Measured, Progress, Upload};
pub use provider::{DeferredTools, PreparedRequest, Provider};
pub(crate) use settings::is_loopback;
pub use settings::{ApiVersion, AuthHeader, MaxTokensField, ModelSettings, ProviderKind, ToolChanges, ToolSearch};
pub use stack::{Fallback, ModelChain, ModelStack};

use rustls::ClientConfig;

pub use crate::messages_api::{CacheTtl, Effort, Thinking};
use crate::resilience::Breaker;
use crate::telemetry::Emitter;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The provider that the settings name.
///
/// # Errors
///
/// The settings can't work: the key is missing where one is needed, or it, the base URL or the proxy isn't usable.
pub fn provider_for(settings: &ModelSettings, tls: &ClientConfig) -> Result<Arc<dyn Provider>, ClientError> {
    Ok(match settings.provider {
        ProviderKind::Anthropic | ProviderKind::Simulated => Arc::new(AnthropicClient::new(settings, tls)?),
        ProviderKind::OpenAi => Arc::new(OpenAiClient::new(settings, tls)?),
    })
}

/// A model as the agent loop sees it. It returns an error only once its retries are exhausted or pointless.
pub trait Model: std::fmt::Debug + Send + Sync + 'static {
    /// The model's id, as requests name it.
    fn model(&self) -> &str;

    fn respond<'a>(
        &'a self,
        request: &'a ModelRequest<'a>,
        cx: &'a ModelContext<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>>;

    fn breakers(&self) -> Vec<Arc<Breaker>>;

    /// The tools whose definitions a conversation must keep, so that its later requests can say what changed. `None`, the default: no
    /// request says it.
    fn kept_tools<'t>(&self, _tools: &'t [ToolDefinition]) -> Option<Vec<&'t ToolDefinition>> {
        None
    }
}

/// What one call needs from its run.
#[derive(Debug)]
pub struct ModelContext<'a> {
    pub emitter: &'a Emitter,
    /// The run's deadline: no attempt and no delay outlives it.
    pub deadline: Instant,
    pub cancel: &'a CancellationToken,
    /// A person reads the deltas as they arrive, so an attempt that has shown text can't be retried.
    pub streams_to_user: bool,
    /// Where attempts are written down.
    pub log: &'a dyn AttemptLog,
}
