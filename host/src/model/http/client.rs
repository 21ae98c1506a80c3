//! An HTTP client for one URL: sends requests and reads the head of the answer.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::Response;
use reqwest::header::HeaderMap;
use rustls::ClientConfig;
use sse_stream::{Sse, SseByteStream};
use thiserror::Error;
use url::Url;

use super::super::ModelError;
use super::body::Body;
use super::error::{body_error, display_url, reason, stream_error};
use super::{headers, scrub};
use crate::secret::Secret;

const USER_AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// Detects dead peers while a stream is legitimately quiet.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Why the client can't be built.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("no API key is set")]
    MissingApiKey,
    #[error("the API key must be visible ASCII without spaces")]
    BadApiKey,
    #[error("the base URL `{0}` is not an http or https URL")]
    BadBaseUrl(String),
    #[error("the base URL `{0}` is not on this machine, where the simulator listens")]
    NotASimulator(String),
    #[error("the HTTP client can't be built: {0}")]
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

/// A provider's settings for its client.
pub(crate) struct HttpSettings<'a> {
    /// Without the provider's path, which `path` adds.
    pub(crate) base_url: &'a Url,
    /// The segments of the path that requests go to.
    pub(crate) path: &'static [&'static str],
    /// Sent with every request. Includes the key.
    pub(crate) headers: HeaderMap,
    /// The real key, masked wherever a server echoes it.
    pub(crate) key: Option<Secret>,
    /// The response header that holds the API's id of a request.
    pub(crate) request_id_header: &'static str,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// A client for one URL. All runs share its connection pool. It ignores the environment's proxies and follows no redirects,
/// because both could send the key elsewhere.
pub(crate) struct HttpClient {
    http: reqwest::Client,
    url: Url,
    endpoint: String,
    headers: HeaderMap,
    key: Option<Secret>,
    request_id_header: &'static str,
    idle_timeout: Duration,
}

/// An answer whose head has arrived.
pub(crate) struct Reply {
    pub(crate) request_id: Option<String>,
    response: Response,
    idle_timeout: Duration,
}

/// An answer with an error status.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// The status's reason phrase, used if the body has no message.
    pub(crate) reason: &'static str,
    pub(crate) request_id: Option<String>,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) should_retry: Option<bool>,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
}

impl HttpClient {
    pub(crate) fn new(settings: HttpSettings<'_>, tls: &ClientConfig) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.clone())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Only the stack's retry layer retries.
            .retry(reqwest::retry::never())
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(TCP_KEEPALIVE)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| ClientError::Http(reason(error)))?;
        Ok(Self {
            http,
            url: full_url(settings.base_url, settings.path)?,
            endpoint: display_url(settings.base_url),
            headers: settings.headers,
            key: settings.key,
            request_id_header: settings.request_id_header,
            idle_timeout: settings.idle_timeout,
        })
    }

    /// The base URL, for messages.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends one request and waits for the head of the answer. With `streams` the head must arrive within the idle time-out: a
    /// streaming server sends it before the model starts, any other only when the answer is complete.
    pub(crate) async fn post(&self, body: Bytes, streams: bool) -> Result<Reply, ModelError> {
        let sending = self
            .http
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body)
            .send();
        let response = if streams {
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
        // The id appears in events and reports, and a gateway may put anything into it.
        let request_id = headers::request_id(response.headers(), self.request_id_header).map(|mut id| {
            scrub::clean(&mut id, self.key.as_ref());
            id
        });
        Ok(Reply {
            request_id,
            response,
            idle_timeout: self.idle_timeout,
        })
    }

    /// Makes an error safe to show. Every error of an attempt passes through here last.
    pub(crate) fn scrub(&self, error: ModelError) -> ModelError {
        scrub::scrub(error, self.key.as_ref())
    }

    /// A failure before any answer. Only a failure to connect proves that nothing was sent.
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
}

impl Reply {
    pub(crate) fn is_success(&self) -> bool {
        self.response.status().is_success()
    }

    pub(crate) fn may_be_event_stream(&self) -> bool {
        headers::may_be_event_stream(self.response.headers())
    }

    /// Reads an answer with an error status.
    pub(crate) async fn refusal(self) -> Refusal {
        let status = self.response.status();
        let retry_after = headers::retry_after(self.response.headers(), jiff::Timestamp::now());
        let should_retry = headers::should_retry(self.response.headers());
        Refusal {
            status: status.as_u16(),
            reason: status.canonical_reason().unwrap_or_default(),
            request_id: self.request_id,
            retry_after,
            should_retry,
            body: Body::new(self.response, self.idle_timeout).beginning().await,
        }
    }

    /// The whole body.
    pub(crate) async fn whole(self) -> Result<Vec<u8>, ModelError> {
        Body::new(self.response, self.idle_timeout)
            .whole()
            .await
            .map_err(|error| body_error(&error, self.request_id))
    }

    /// The body as server-sent events.
    pub(crate) fn events(self) -> impl Stream<Item = Result<Sse, ModelError>> {
        let (pieces, event_bytes) = Body::new(self.response, self.idle_timeout).pieces();
        let request_id = self.request_id;
        SseByteStream::new(pieces).map(move |event| {
            event_bytes.reset();
            event.map_err(|error| stream_error(error, request_id.clone()))
        })
    }
}

fn full_url(base: &Url, path: &[&str]) -> Result<Url, ClientError> {
    let bad = || ClientError::BadBaseUrl(display_url(base));
    if !matches!(base.scheme(), "http" | "https") {
        return Err(bad());
    }
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| bad())?.pop_if_empty().extend(path);
    Ok(url)
}
