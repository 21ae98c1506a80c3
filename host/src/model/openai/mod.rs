//! OpenAI's Chat Completions API over HTTP, as the many servers offer it that follow it: Ollama, vLLM, llama.cpp, gateways.
//! Makes one attempt, streamed or not.

mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod history;
mod reasoning;
mod request;
mod stream;
mod usage;

use std::fmt;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use rustls::ClientConfig;

use self::request::RequestOptions;
use self::stream::Assembler;
use super::exchange::exchange;
use super::http::{ClientError, HttpClient, HttpSettings};
use super::{BoxFuture, ModelError, ModelRequest, ModelResponse, ModelSettings, PreparedRequest, Progress, Provider};
use crate::chat_api::{CHAT_COMPLETIONS, CHAT_COMPLETIONS_BELOW, REQUEST_ID};

/// The provider name of [opaque](crate::transcript::Opaque) blocks that only these servers understand.
const PROVIDER: &str = "openai";

/// A client of the Chat Completions API at one base URL, for one model and at most one key.
pub struct OpenAiClient {
    http: HttpClient,
    model: String,
    /// As [signed](crate::transcript::Opaque::author) answers name it. What one server encrypted, another can't read.
    author: Arc<str>,
    options: RequestOptions,
}

impl OpenAiClient {
    /// `tls` is normally [`tls::client_config`](crate::tls::client_config).
    ///
    /// Without a key, requests have none: servers on one's own machine need none.
    ///
    /// # Errors
    ///
    /// The key, the base URL or the proxy isn't usable.
    pub fn new(settings: &ModelSettings, tls: &ClientConfig) -> Result<Self, ClientError> {
        let api_key = settings.api_key.clone().filter(|key| !key.is_empty());
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        if let Some(key) = &api_key {
            headers.extend([settings.auth.header(key)?]);
        }
        // As everywhere with this API, a base URL with a path is complete up to `/chat/completions`.
        let has_path = !settings.base_url.path().trim_matches('/').is_empty();
        let http = HttpSettings {
            base_url: &settings.base_url,
            path: if has_path {
                &CHAT_COMPLETIONS_BELOW
            } else {
                &CHAT_COMPLETIONS
            },
            headers,
            key: api_key,
            request_id_header: REQUEST_ID,
            proxy: &settings.proxy,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        let http = HttpClient::new(http, tls)?;
        Ok(Self {
            author: format!("{} {}", http.endpoint(), settings.model).into(),
            http,
            model: settings.model.clone(),
            options: RequestOptions {
                stream: settings.stream,
                max_tokens_field: settings.max_tokens_field,
                effort: settings.effort,
            },
        })
    }
}

impl Provider for OpenAiClient {
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
        let body = request::body(&self.model, &self.author, request, self.options);
        let body = body.map_err(|error| ModelError::unserialisable(&error))?;
        Ok(PreparedRequest::new(request, body.into()))
    }

    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let result = exchange::<Assembler>(&self.http, request, self.options.stream, progress).await;
            let error = match result {
                Ok(response) => return Ok(response.signed(&self.author)),
                Err(error) => self.http.scrub(error),
            };
            let refusal = error::refusal(&error, &self.model).ok_or(error)?;
            progress.final_usage(refusal.usage);
            Ok(refusal)
        })
    }
}

impl fmt::Debug for OpenAiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiClient")
            .field("endpoint", &self.http.endpoint())
            .field("model", &self.model)
            .field("stream", &self.options.stream)
            .finish_non_exhaustive()
    }
}
