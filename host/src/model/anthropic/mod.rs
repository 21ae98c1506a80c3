//! The Anthropic Messages API over HTTP: makes one attempt, streamed or not.

#[cfg(test)]
mod acceptance;
mod building;
mod capabilities;
mod count;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod history;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;
mod tool_changes;
mod tool_search;
#[cfg(test)]
#[path = "validators_tests.rs"]
pub(crate) mod validators;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;

pub use self::capabilities::{CapabilityError, check_capabilities};
use self::request::RequestOptions;
use self::stream::Assembler;
pub use self::tool_search::searched_tools;
use super::exchange::exchange;
use super::http::{ClientError, HttpClient, HttpSettings, ProxySetting, display_url};
use super::settings::default_base_url;
use super::{
    BoxFuture, DeferredTools, ModelError, ModelRequest, ModelResponse, ModelSettings, PreparedRequest, Progress,
    Provider, ProviderKind, ToolDefinition, is_loopback,
};
use crate::messages_api::{CacheTtl, MESSAGES, headers as names};
use crate::secret::Secret;

/// The provider name of [opaque](crate::transcript::Opaque) blocks that only this API understands.
const PROVIDER: &str = "anthropic";

/// Like the real API, the simulator requires a key, but it accepts any. It never gets the real one.
const SIMULATED_KEY: &str = "simulated";

/// The body of a request for a streamed answer.
#[cfg(test)]
pub(crate) fn request_body(request: &ModelRequest<'_>) -> serde_json::Result<Vec<u8>> {
    request::body("m", request, RequestOptions::of(&ModelSettings::default())).map(|body| body.json)
}

/// Reads an answer that wasn't streamed.
#[cfg(test)]
pub(crate) fn parse_response(body: &[u8]) -> Result<ModelResponse, ModelError> {
    response::parse_response(body, None).1
}

/// Whether the server has all of the vendor's features, and none that only copies the API.
fn is_vendors_server(settings: &ModelSettings) -> bool {
    match settings.provider {
        ProviderKind::Anthropic => settings.base_url.origin() == default_base_url().origin(),
        ProviderKind::Simulated => true,
        ProviderKind::OpenAi => false,
    }
}

/// A client of the Messages API at one base URL, for one model and one key.
pub struct AnthropicClient {
    http: HttpClient,
    model: Arc<str>,
    options: RequestOptions,
    /// Whether the server has refused an announcement of changed tools, and accepted the list of those of now.
    lists_tools: AtomicBool,
}

impl AnthropicClient {
    /// `tls` is normally [`tls::client_config`](crate::tls::client_config).
    pub fn new(settings: &ModelSettings, tls: &ClientConfig) -> Result<Self, ClientError> {
        let api_key = match settings.provider {
            ProviderKind::Anthropic | ProviderKind::OpenAi => {
                let key = settings.api_key.clone().filter(|key| !key.is_empty());
                Some(key.ok_or(ClientError::MissingApiKey)?)
            }
            ProviderKind::Simulated if is_loopback(&settings.base_url) => None,
            ProviderKind::Simulated => return Err(ClientError::NotASimulator(display_url(&settings.base_url))),
        };
        let key = api_key.clone().unwrap_or_else(|| Secret::new(SIMULATED_KEY));
        let version = HeaderValue::from_static(settings.api_version.as_str());
        let headers = HeaderMap::from_iter([
            settings.auth.header(&key)?,
            (HeaderName::from_static(names::VERSION), version),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let proxy = match settings.provider {
            ProviderKind::Anthropic | ProviderKind::OpenAi => &settings.proxy,
            ProviderKind::Simulated => &ProxySetting::None,
        };
        let http = HttpSettings {
            base_url: &settings.base_url,
            path: &MESSAGES,
            headers,
            key: api_key,
            request_id_header: names::REQUEST_ID,
            proxy,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        Ok(Self {
            http: HttpClient::new(http, tls)?,
            model: settings.model.as_str().into(),
            options: RequestOptions::of(settings),
            lists_tools: AtomicBool::new(false),
        })
    }
}

impl AnthropicClient {
    fn prepare_with<'a>(
        &self,
        request: &'a ModelRequest<'a>,
        options: RequestOptions,
    ) -> Result<PreparedRequest<'a>, ModelError> {
        let body = request::body(&self.model, request, options).map_err(|error| ModelError::unserialisable(&error))?;
        let deferred = match tool_search::request_defers(options.tool_search, request) {
            true => tool_search::deferred(request),
            false => DeferredTools::default(),
        };
        let inline_tools = (
            HeaderName::from_static(names::BETA),
            HeaderValue::from_static(names::INLINE_TOOLS),
        );
        Ok(PreparedRequest {
            deferred,
            headers: HeaderMap::from_iter(body.has_changes.then_some(inline_tools)),
            outdated_bytes: body.outdated_bytes,
            ..PreparedRequest::new(request, body.json.into())
        })
    }

    /// The same request with a list of the tools of now.
    fn prepare_listing<'a>(&self, request: &PreparedRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        let listing = RequestOptions {
            tool_changes: false,
            ..self.options
        };
        self.prepare_with(request.request, listing)
    }

    async fn counted_tokens(&self, request: &PreparedRequest<'_>) -> Result<Option<u64>, ModelError> {
        let error = match count::prompt_tokens(&self.http, request).await {
            Err(error) if announces(request) && tool_changes::may_be_refusal(&error) => error,
            counted => return counted,
        };
        // Else a budget could refuse the estimate of a request that the server would refuse as well.
        count::prompt_tokens(&self.http, &self.prepare_listing(request)?).await?;
        self.accepts_otherwise(&error);
        Ok(None)
    }
}

/// Whether the request says which tools changed.
fn announces(request: &PreparedRequest<'_>) -> bool {
    request.headers.contains_key(names::BETA)
}

impl Provider for AnthropicClient {
    fn model(&self) -> &str {
        &self.model
    }

    fn endpoint(&self) -> String {
        self.http.endpoint().to_owned()
    }

    fn route(&self) -> String {
        self.http.route().to_owned()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        let mut options = self.options;
        options.tool_changes &= !self.lists_tools.load(Ordering::Relaxed);
        self.prepare_with(request, options)
    }

    fn kept_tools<'t>(&self, tools: &'t [ToolDefinition]) -> Option<Vec<&'t ToolDefinition>> {
        let defers = tool_search::defers(self.options.tool_search, tools);
        let loaded = tool_changes::loaded(tools, defers);
        self.options.tool_changes.then(|| loaded.collect())
    }

    fn prepare_otherwise<'a>(
        &self,
        request: &PreparedRequest<'a>,
        error: &ModelError,
    ) -> Result<Option<PreparedRequest<'a>>, ModelError> {
        // A count of its tokens, or another conversation, may have taught it.
        let is_refused = self.lists_tools.load(Ordering::Relaxed) || tool_changes::may_be_refusal(error);
        (announces(request) && is_refused)
            .then(|| self.prepare_listing(request))
            .transpose()
    }

    fn accepts_otherwise(&self, error: &ModelError) {
        if !self.lists_tools.swap(true, Ordering::Relaxed) {
            tracing::info!(model = %self.model, %error, "the server refuses changes of tools in a conversation, so requests list those of now");
        }
    }

    fn count_tokens<'a>(&'a self, request: &'a PreparedRequest<'a>) -> BoxFuture<'a, Option<u64>> {
        Box::pin(async {
            self.counted_tokens(request).await.unwrap_or_else(|error| {
                let error = self.http.scrub(error);
                tracing::debug!(%error, "could not have a prompt's tokens counted");
                None
            })
        })
    }

    fn cache_writes(&self) -> Option<CacheTtl> {
        self.options.cache
    }

    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let result = exchange::<Assembler>(&self.http, request, self.options.stream, progress).await;
            result
                // Thinking is bound to the model, whatever server it is asked through.
                .map(|response| response.signed(&self.model))
                .map_err(|error| self.http.scrub(error))
        })
    }
}

impl fmt::Debug for AnthropicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicClient")
            .field("endpoint", &self.http.endpoint())
            .field("model", &self.model)
            .field("stream", &self.options.stream)
            .finish_non_exhaustive()
    }
}
