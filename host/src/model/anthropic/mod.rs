//! The Anthropic Messages API over HTTP: makes one attempt, streamed or not.

#[cfg(test)]
mod acceptance;
mod building;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod history;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
#[path = "validators_tests.rs"]
pub(crate) mod validators;

use std::fmt;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;

#[cfg(test)]
pub(crate) use self::request::body as request_body;
use self::stream::{Assembler, Step};
use super::http::{ClientError, Content, HttpClient, HttpSettings, ProxySetting, Refusal, Reply, display_url};
use super::{
    AuthHeader, BoxFuture, ModelError, ModelRequest, ModelResponse, ModelSettings, PreparedRequest, Progress, Provider,
    ProviderKind, is_loopback,
};
use crate::messages_api::{ErrorBody, MESSAGES, beginning, headers as names};
use crate::secret::Secret;

/// The provider name of [opaque](crate::transcript::Opaque) blocks that only this API understands.
const PROVIDER: &str = "anthropic";

/// Like the real API, the simulator requires a key, but it accepts any. It never gets the real one.
const SIMULATED_KEY: &str = "simulated";

/// Reads an answer that wasn't streamed.
#[cfg(test)]
pub(crate) fn parse_response(body: &[u8]) -> Result<ModelResponse, ModelError> {
    response::parse_response(body, None).1
}

/// A client of the Messages API at one base URL, for one model and one key.
pub struct AnthropicClient {
    http: HttpClient,
    model: String,
    stream: bool,
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
            ProviderKind::Simulated => return Err(ClientError::NotASimulator(display_url(&settings.base_url))),
        };
        if api_key.as_ref().is_some_and(|key| !key.is_visible_ascii()) {
            return Err(ClientError::BadApiKey);
        }
        let key = api_key.as_ref().map_or(SIMULATED_KEY, Secret::expose);
        let (key_name, key) = match settings.auth {
            AuthHeader::XApiKey => (names::API_KEY, key.to_owned()),
            AuthHeader::Bearer => (names::AUTHORIZATION, format!("{}{key}", names::BEARER)),
        };
        let mut key_header = HeaderValue::from_str(&key).map_err(|_| ClientError::BadApiKey)?;
        key_header.set_sensitive(true);
        let version = HeaderValue::from_static(settings.api_version.as_str());
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static(key_name), key_header),
            (HeaderName::from_static(names::VERSION), version),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let proxy = match settings.provider {
            ProviderKind::Anthropic => &settings.proxy,
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
            model: settings.model.clone(),
            stream: settings.stream,
        })
    }

    /// Where requests go: the base URL, and the proxy in front of it.
    pub fn route(&self) -> &str {
        self.http.route()
    }

    async fn send(&self, body: Bytes, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        let mut reply = self.http.post(body, self.stream, progress).await?;
        progress.head(reply.status());
        if let Some(id) = &reply.request_id {
            progress.set_request_id(id);
        }
        if !reply.is_success() {
            return Err(status_error(reply.refusal().await));
        }
        // A gateway may answer a streamed request with a whole message, or the other way round, with any content type.
        match reply.content().await? {
            Content::Events => read_stream(reply, progress).await,
            Content::Json => read_whole(reply, progress).await,
            Content::Empty => Err(ModelError::Cut {
                reason: "the answer is empty".to_owned(),
                request_id: reply.request_id,
            }),
            Content::Text => {
                let request_id = reply.request_id.clone();
                let text = beginning(&reply.beginning().await);
                Err(ModelError::Malformed {
                    reason: format!("it is neither JSON nor an event stream, and begins with: {text}"),
                    request_id,
                })
            }
        }
    }
}

async fn read_stream(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let cut = || ModelError::Cut {
        reason: "the stream ended before `message_stop`".to_owned(),
        request_id: request_id.clone(),
    };
    let mut answer = Assembler::new(request_id.clone());
    let mut events = pin!(reply.events());
    while let Some(received) = events.next().await {
        let received = received?;
        match answer.event(&received.event, progress) {
            Ok(Step::Continue) => {}
            Ok(Step::Complete) => {
                // The end of the body usually arrives with the last event. Reading it returns the connection to the pool.
                let _ = events.next().now_or_never();
                return answer.finish(progress);
            }
            // The body ended in the middle of this event.
            Err(ModelError::Malformed { .. }) if received.is_last => return Err(cut()),
            Err(error) => return Err(error),
        }
    }
    Err(cut())
}

async fn read_whole(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let body = reply.whole().await?;
    let (usage, response) = response::parse_response(&body, request_id.clone());
    if usage.is_known() {
        progress.final_usage(usage.usage());
        progress.billed_in_parts(usage.parts());
    } else {
        progress.usage_so_far(usage.usage());
    }
    match response {
        // As a stream that ends too early.
        Err(ModelError::Malformed { .. }) if is_cut_off(&body) => Err(ModelError::Cut {
            reason: "the answer ended in the middle".to_owned(),
            request_id,
        }),
        response => response,
    }
}

/// Whether the body is the beginning of a JSON text.
fn is_cut_off(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err_and(|error| error.is_eof())
}

fn status_error(refusal: Refusal) -> ModelError {
    let body = ErrorBody::read_bytes(&refusal.body);
    let mut error = response::api_error(body, Some(refusal.status), refusal.request_id);
    if error.message.is_empty() {
        refusal.reason.clone_into(&mut error.message);
    }
    error.retry_after = refusal.retry_after;
    error.should_retry = refusal.should_retry;
    error.into()
}

impl Provider for AnthropicClient {
    fn model(&self) -> &str {
        &self.model
    }

    fn endpoint(&self) -> String {
        self.http.endpoint().to_owned()
    }

    fn serialize(&self, request: &ModelRequest<'_>) -> Result<Bytes, ModelError> {
        let body = request::body(&self.model, request, self.stream);
        body.map(Bytes::from).map_err(|error| ModelError::Malformed {
            reason: format!("the request can't be serialised: {error}"),
            request_id: None,
        })
    }

    fn attempt<'a>(
        &'a self,
        request: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let result = self.send(request.body.clone(), progress).await;
            result.map_err(|error| self.http.scrub(error))
        })
    }
}

impl fmt::Debug for AnthropicClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnthropicClient")
            .field("endpoint", &self.http.endpoint())
            .field("model", &self.model)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
