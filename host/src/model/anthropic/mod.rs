//! The Anthropic Messages API over HTTP: one attempt, streamed or not.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;
use sse_stream::SseByteStream;
use thiserror::Error;
use url::Url;

use self::stream::{Assembler, Step};
use super::http::body::{Body, BodyError};
use super::http::{headers, scrub};
use super::{
    BoxFuture, ModelError, ModelRequest, ModelResponse, ModelSettings, Progress, Provider, ProviderKind, is_loopback,
};
use crate::secret::Secret;

const API_VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const USER_AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// Finds dead peers under a stream that is quiet for good reasons.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// The simulator checks that there is a key, as the real API does, and takes any. It never gets a real one.
const SIMULATED_KEY: &str = "simulated";

/// Why there can be no client.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no API key is set")]
    MissingApiKey,
    #[error("the API key holds characters that no header can carry")]
    BadApiKey,
    #[error("the base URL `{0}` is not an http or https URL")]
    BadBaseUrl(String),
    #[error("the base URL `{0}` is not on this machine, where the simulator listens")]
    NotASimulator(String),
    #[error("the HTTP client cannot be built: {0}")]
    Http(String),
}

impl ClientError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::MissingApiKey => {
                Some("set the variable that `[model] api_key_env` names, or try `cofferdam demo`, which needs no key")
            }
            Self::BadApiKey => Some("set the variable that `[model] api_key_env` names to the key alone, on one line"),
            Self::BadBaseUrl(_) => Some("set `[model] base_url` to something like `https://api.anthropic.com`"),
            Self::NotASimulator(_) => Some(
                "set `[model] base_url` to the address that `cofferdam simulate` prints, or `Simulator::url` returns",
            ),
            Self::Http(_) => None,
        }
    }
}

/// A client of the Messages API at one base URL, for one model and one key. Connections are pooled and shared by clones of
/// the run; proxies of the environment are ignored and redirects are not followed, for both would carry the key elsewhere.
pub struct AnthropicClient {
    http: reqwest::Client,
    url: Url,
    endpoint: String,
    model: String,
    /// The real key, kept to be masked where it is echoed; requests have it in `headers`.
    api_key: Option<Secret>,
    headers: HeaderMap,
    stream: bool,
    idle_timeout: Duration,
}

impl AnthropicClient {
    /// `tls` is normally [`tls::client_config`](crate::tls::client_config).
    pub fn new(settings: &ModelSettings, tls: &ClientConfig) -> Result<Self, ClientError> {
        let api_key = match settings.provider {
            ProviderKind::Anthropic => {
                let key = settings.api_key.clone().filter(|key| !key.is_empty());
                Some(key.ok_or(ClientError::MissingApiKey)?)
            }
            ProviderKind::Simulated if is_loopback(&settings.base_url) => None,
            ProviderKind::Simulated => return Err(ClientError::NotASimulator(shown(&settings.base_url))),
        };
        let key = api_key.as_ref().map_or(SIMULATED_KEY, Secret::expose);
        let mut key_header = HeaderValue::from_str(key).map_err(|_| ClientError::BadApiKey)?;
        key_header.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static("x-api-key"), key_header),
            (HeaderName::from_static("anthropic-version"), API_VERSION),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // There is one retry layer, and it is not here.
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(TCP_KEEPALIVE)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| ClientError::Http(reason(error)))?;
        Ok(Self {
            http,
            url: messages_url(&settings.base_url)?,
            endpoint: shown(&settings.base_url),
            model: settings.model.clone(),
            api_key,
            headers,
            stream: settings.stream,
            idle_timeout: settings.idle_timeout,
        })
    }

    async fn send(&self, request: &ModelRequest, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        let body = wire::request_body(&self.model, request, self.stream).map_err(|error| ModelError::Malformed {
            reason: format!("the request cannot be serialised: {error}"),
            request_id: None,
        })?;
        let sending = self
            .http
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body)
            .send();
        // The headers of a stream come before the model thinks, those of a whole answer only after.
        let response = if self.stream {
            tokio::time::timeout(self.idle_timeout, sending)
                .await
                .map_err(|_| ModelError::Stalled {
                    idle: self.idle_timeout,
                    request_id: None,
                })?
        } else {
            sending.await
        }
        .map_err(|error| self.send_error(error))?;

        // It goes into events and reports, and a gateway may send back anything in it.
        let request_id = headers::request_id(response.headers()).map(|mut id| {
            scrub::clean(&mut id, self.api_key.as_ref());
            id
        });
        if let Some(id) = &request_id {
            progress.set_request_id(id);
        }
        if !response.status().is_success() {
            return Err(self.status_error(response, request_id).await);
        }
        if self.stream && headers::may_be_event_stream(response.headers()) {
            self.read_stream(response, request_id, progress).await
        } else {
            self.read_whole(response, request_id, progress).await
        }
    }

    async fn read_stream(
        &self,
        response: Response,
        request_id: Option<String>,
        progress: &Progress<'_>,
    ) -> Result<ModelResponse, ModelError> {
        let (pieces, mark) = Body::new(response, self.idle_timeout).pieces();
        let mut events = pin!(SseByteStream::new(pieces));
        let mut answer = Assembler::new(request_id.clone());
        while let Some(event) = events.next().await {
            mark.passed();
            let event = event.map_err(|error| stream_error(error, request_id.clone()))?;
            if let Step::Whole = answer.event(&event, progress)? {
                // The end of the body has mostly arrived with the last event; reading it lets the connection be used again.
                let _ = events.next().now_or_never();
                return answer.finish(progress);
            }
        }
        Err(ModelError::Cut {
            reason: "the stream ended before `message_stop`".to_owned(),
            request_id,
        })
    }

    async fn read_whole(
        &self,
        response: Response,
        request_id: Option<String>,
        progress: &Progress<'_>,
    ) -> Result<ModelResponse, ModelError> {
        let body = Body::new(response, self.idle_timeout)
            .whole()
            .await
            .map_err(|error| body_error(&error, request_id.clone()))?;
        let (usage, response) = wire::parse_response(&body, request_id);
        if usage.is_known() {
            progress.final_usage(usage.usage());
        } else {
            progress.usage_so_far(usage.usage());
        }
        response
    }

    /// A failure before any answer. Only one to connect proves that nothing was sent.
    fn send_error(&self, error: reqwest::Error) -> ModelError {
        let endpoint = self.endpoint.clone();
        if error.is_connect() || error.is_builder() {
            ModelError::Connect {
                endpoint,
                reason: reason(error),
            }
        } else {
            ModelError::Connection {
                endpoint,
                reason: reason(error),
            }
        }
    }

    async fn status_error(&self, response: Response, request_id: Option<String>) -> ModelError {
        let status = response.status();
        let retry_after = headers::retry_after(response.headers(), jiff::Timestamp::now());
        let should_retry = headers::should_retry(response.headers());
        let body = Body::new(response, self.idle_timeout).beginning().await;
        let parsed = serde_json::from_slice(&body).unwrap_or_default();
        let mut error = wire::parse_error(&parsed, Some(status.as_u16()), request_id);
        if error.message.is_empty() {
            // A gateway's page is not worth showing, its name for the status is.
            error.message = status.canonical_reason().unwrap_or_default().to_owned();
        }
        error.retry_after = retry_after;
        error.should_retry = should_retry;
        error.into()
    }
}

impl Provider for AnthropicClient {
    fn model(&self) -> &str {
        &self.model
    }

    fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn attempt<'a>(
        &'a self,
        request: &'a ModelRequest,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let result = self.send(request, progress).await;
            result.map_err(|error| scrub::scrub(error, self.api_key.as_ref()))
        })
    }
}

impl fmt::Debug for AnthropicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicClient")
            .field("endpoint", &self.endpoint)
            .field("model", &self.model)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

fn messages_url(base: &Url) -> Result<Url, ClientError> {
    let bad = || ClientError::BadBaseUrl(shown(base));
    if !matches!(base.scheme(), "http" | "https") {
        return Err(bad());
    }
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| bad())?
        .pop_if_empty()
        .extend(["v1", "messages"]);
    Ok(url)
}

/// A URL for messages: its user part and its query may hold secrets.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for URLs that cannot have a user part.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.as_str().trim_end_matches('/').to_owned()
}

/// An error with all its causes in one line, and without the URL, whose user part may be a secret.
pub(super) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        let text = error.to_string();
        if !reason.ends_with(&text) {
            reason.push_str(": ");
            reason.push_str(&text);
        }
        cause = error.source();
    }
    reason
}

fn stream_error(error: sse_stream::Error, request_id: Option<String>) -> ModelError {
    match error {
        sse_stream::Error::Body(source) => match source.downcast::<BodyError>() {
            Ok(error) => body_error(&error, request_id),
            Err(error) => ModelError::Cut {
                reason: error.to_string(),
                request_id,
            },
        },
        error => ModelError::Malformed {
            reason: format!("the stream cannot be read: {error}"),
            request_id,
        },
    }
}

fn body_error(error: &BodyError, request_id: Option<String>) -> ModelError {
    match error {
        BodyError::Stalled(idle) => ModelError::Stalled {
            idle: *idle,
            request_id,
        },
        BodyError::Broken(reason) => ModelError::Cut {
            reason: reason.clone(),
            request_id,
        },
        BodyError::TooLong(_) | BodyError::EventTooLong => ModelError::Malformed {
            reason: format!("the answer is too long: {error}"),
            request_id,
        },
    }
}
