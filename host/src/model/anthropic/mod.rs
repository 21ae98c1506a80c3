//! The Anthropic Messages API over HTTP: makes one attempt, streamed or not.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;
mod request;
mod response;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::pin;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use rustls::ClientConfig;

#[cfg(test)]
pub(super) use self::request::body as request_body;
use self::stream::{Assembler, Step};
use super::http::{ClientError, HttpClient, HttpSettings, Refusal, Reply, display_url};
use super::{
    BoxFuture, ModelError, ModelRequest, ModelResponse, ModelSettings, PreparedRequest, Progress, Provider,
    ProviderKind, is_loopback,
};
use crate::messages_api::{MESSAGES, headers as names};
use crate::secret::Secret;

const API_VERSION: HeaderValue = HeaderValue::from_static(names::CURRENT_VERSION);

/// The provider name of [opaque](crate::transcript::Opaque) blocks that only this API understands.
const PROVIDER: &str = "anthropic";

/// Like the real API, the simulator requires a key, but it accepts any. It never gets the real one.
const SIMULATED_KEY: &str = "simulated";

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
        let mut key_header = HeaderValue::from_str(key).map_err(|_| ClientError::BadApiKey)?;
        key_header.set_sensitive(true);
        let headers = HeaderMap::from_iter([
            (HeaderName::from_static(names::API_KEY), key_header),
            (HeaderName::from_static(names::VERSION), API_VERSION),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        ]);
        let http = HttpSettings {
            base_url: &settings.base_url,
            path: &MESSAGES,
            headers,
            key: api_key,
            request_id_header: names::REQUEST_ID,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        };
        Ok(Self {
            http: HttpClient::new(http, tls)?,
            model: settings.model.clone(),
            stream: settings.stream,
        })
    }

    async fn send(&self, body: Bytes, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
        let reply = self.http.post(body, self.stream).await?;
        if let Some(id) = &reply.request_id {
            progress.set_request_id(id);
        }
        if !reply.is_success() {
            return Err(status_error(reply.refusal().await));
        }
        if self.stream && reply.may_be_event_stream() {
            read_stream(reply, progress).await
        } else {
            read_whole(reply, progress).await
        }
    }
}

async fn read_stream(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let mut answer = Assembler::new(request_id.clone());
    let mut events = pin!(reply.events());
    while let Some(event) = events.next().await {
        if let Step::Complete = answer.event(&event?, progress)? {
            // The end of the body usually arrives with the last event. Reading it returns the connection to the pool.
            let _ = events.next().now_or_never();
            return answer.finish(progress);
        }
    }
    Err(ModelError::Cut {
        reason: "the stream ended before `message_stop`".to_owned(),
        request_id,
    })
}

async fn read_whole(reply: Reply, progress: &Progress<'_>) -> Result<ModelResponse, ModelError> {
    let request_id = reply.request_id.clone();
    let (usage, response) = response::parse_response(&reply.whole().await?, request_id);
    if usage.is_known() {
        progress.final_usage(usage.usage());
    } else {
        progress.usage_so_far(usage.usage());
    }
    response
}

fn status_error(refusal: Refusal) -> ModelError {
    let parsed = serde_json::from_slice(&refusal.body).unwrap_or_default();
    let mut error = response::parse_error(&parsed, Some(refusal.status), refusal.request_id);
    if error.message.is_empty() {
        // A gateway's HTML page isn't worth showing, so show the status's reason phrase.
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
