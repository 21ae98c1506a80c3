//! An HTTP client for one URL: sends requests and reads the head of the answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use rustls::ClientConfig;
use sse_stream::{Sse, SseByteStream};
use thiserror::Error;
use tokio::time::Instant;
use url::Url;

use super::super::{ModelError, Progress, Upload};
use super::body::{Body, Content, LAST_LOOK};
use super::error::{body_error, chain, display_url, stream_error};
use super::failure::{Failure, makes_no_tunnel};
use super::proxy::{self, Proxy, ProxySetting};
use super::upload::{RequestBody, Sending};
use super::{headers, scrub};
use crate::secret::Secret;

const USER_AGENT: &str = concat!("cofferdam/", env!("CARGO_PKG_VERSION"));

/// The only protocol that the client offers in a TLS handshake (ALPN, RFC 7301).
const HTTP_1_1: &[u8] = b"http/1.1";

/// Detects dead peers while a stream is legitimately quiet.
const TCP_KEEPALIVE: Duration = Duration::from_secs(60);

/// Why the client can't be built.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    #[error("no API key is set")]
    MissingApiKey,
    #[error("the API key must be visible ASCII without spaces")]
    BadApiKey,
    #[error("the base URL `{0}` is not an http or https URL")]
    BadBaseUrl(String),
    #[error("the base URL `{0}` is not on this machine, where the simulator listens")]
    NotASimulator(String),
    #[error("`{source_name}` doesn't name a proxy: it {problem} (the value is not shown)")]
    BadProxy {
        /// The variable.
        source_name: &'static str,
        problem: &'static str,
    },
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
            Self::BadProxy { .. } => Some(
                "write a URL such as `http://proxy:3128` into the variable, or set `[model] proxy` to a proxy or \"none\"",
            ),
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
    pub(crate) proxy: &'a ProxySetting,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
}

/// A client for one URL. All runs share its connection pool. It speaks HTTP/1.1, because every server and gateway does, and
/// follows no redirects, because they could send the key elsewhere.
pub(crate) struct HttpClient {
    http: reqwest::Client,
    /// The base URL without the provider's path.
    root: Url,
    url: Url,
    headers: HeaderMap,
    endpoint: String,
    /// The endpoint, and the proxy in front of it.
    route: String,
    proxy: Option<Proxy>,
    key: Option<Secret>,
    request_id_header: &'static str,
    connect_timeout: Duration,
    idle_timeout: Duration,
}

/// An answer whose head has arrived.
pub(crate) struct Reply {
    pub(crate) request_id: Option<String>,
    status: StatusCode,
    /// Without user part and query.
    url: String,
    headers: HeaderMap,
    body: Body,
}

/// An answer with an error status.
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// That was asked, without user part and query.
    pub(crate) url: String,
    /// Where a redirect leads, without user part and query.
    pub(crate) location: Option<String>,
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
        let base_url = root(settings.base_url, settings.path);
        let url = full_url(&base_url, settings.path)?;
        let endpoint = display_url(&base_url);
        let proxy = proxy::choose(settings.proxy, &url, |name| std::env::var(name).ok()).map_err(
            |proxy::BadProxy { source, problem }| ClientError::BadProxy {
                source_name: source,
                problem,
            },
        )?;
        let mut tls = tls.clone();
        // So that a server that also has HTTP/2 doesn't choose it.
        tls.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // Only the proxy chosen above.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Only the stack's retry layer retries. A request that never left, because its connection was closed while it
            // waited, is sent on another one all the same.
            .retry(reqwest::retry::never())
            .http1_only()
            .connect_timeout(settings.connect_timeout)
            .tcp_keepalive(TCP_KEEPALIVE)
            .user_agent(USER_AGENT);
        let http = match &proxy {
            None => http,
            Some(proxy) => {
                http.proxy(reqwest::Proxy::all(proxy.url.as_url().clone()).map_err(|error| http_error(&error))?)
            }
        };
        let route = match &proxy {
            Some(proxy) => format!("{endpoint} through {proxy}"),
            None => endpoint.clone(),
        };
        Ok(Self {
            http: http.build().map_err(|error| http_error(&error))?,
            root: base_url,
            url,
            headers: settings.headers,
            endpoint,
            route,
            proxy,
            key: settings.key,
            request_id_header: settings.request_id_header,
            connect_timeout: settings.connect_timeout,
            idle_timeout: settings.idle_timeout,
        })
    }

    /// The base URL, for messages.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The base URL and the proxy in front of it, for messages.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Sends one request and waits for the head of the answer. The idle time-out bounds the time in which no part of the
    /// request is sent. With `streams` it also bounds the time from the last byte of the request to the head: a streaming
    /// server sends it before the model starts, any other only when the answer is complete.
    ///
    /// `headers` are sent besides the client's own. Reports to `progress` whether the request can be billed.
    pub(crate) async fn post(
        &self,
        body: Bytes,
        headers: &HeaderMap,
        streams: bool,
        progress: &Progress<'_>,
    ) -> Result<Reply, ModelError> {
        self.post_to(self.url.clone(), body, headers, streams, progress).await
    }

    /// Sends a request that costs nothing to a path below the client's own.
    pub(crate) async fn post_below(
        &self,
        segment: &str,
        body: Bytes,
        headers: &HeaderMap,
    ) -> Result<Reply, ModelError> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(segment);
        }
        self.post_to(url, body, headers, false, &Progress::new(|_| ())).await
    }

    async fn post_to(
        &self,
        url: Url,
        body: Bytes,
        headers: &HeaderMap,
        streams: bool,
        progress: &Progress<'_>,
    ) -> Result<Reply, ModelError> {
        let upload = Upload::default();
        progress.uploading(&upload);
        let sending = Sending::new(upload, body.len());
        let body = RequestBody::new(body, Arc::clone(&sending));
        let request = self
            .http
            .post(url)
            .headers(self.headers.clone())
            .headers(headers.clone())
            .body(reqwest::Body::wrap(body));
        match self.within_idle_timeout(request.send(), &sending, streams).await? {
            Ok(response) => Ok(self.reply(response)),
            Err(error) => Err(self.failure(error).await.explain(&sending.upload, progress)),
        }
    }

    /// Asks for something else below the base URL.
    pub(crate) async fn get(&self, path: &[&str]) -> Result<Reply, ModelError> {
        let url = full_url(&self.root, path).map_err(|error| ModelError::Connection {
            endpoint: self.endpoint.clone(),
            reason: error.to_string(),
        })?;
        let (upload, progress) = (Upload::default(), Progress::new(|_| ()));
        match self.http.get(url).headers(self.headers.clone()).send().await {
            Ok(response) => Ok(self.reply(response)),
            Err(error) => Err(self.failure(error).await.explain(&upload, &progress)),
        }
    }

    /// What is known of a request that got no answer.
    async fn failure(&self, error: reqwest::Error) -> Failure<'_> {
        let error = error.without_url();
        let refusal = match &self.proxy {
            Some(proxy) if makes_no_tunnel(&error) => proxy.url.refusal(&self.url, self.connect_timeout).await,
            _ => None,
        };
        Failure {
            error,
            route: &self.route,
            connect_timeout: self.connect_timeout,
            proxy: self.proxy.as_ref().map(|proxy| proxy.source),
            refusal,
        }
    }

    /// Waits for the head of the answer as long as the request makes progress.
    async fn within_idle_timeout<T>(
        &self,
        request: impl Future<Output = T>,
        sending: &Sending,
        streams: bool,
    ) -> Result<T, ModelError> {
        let mut request = std::pin::pin!(request);
        let limit = || match sending.upload.completed_at() {
            None => Some(sending.last_taken() + self.idle_timeout),
            Some(at) => streams.then(|| at + sending.drain_time() + self.idle_timeout),
        };
        loop {
            let Some(until) = limit() else {
                return Ok(request.await);
            };
            if let Ok(sent) = tokio::time::timeout_at(until, &mut request).await {
                return Ok(sent);
            }
            // Something may have been sent in the meantime.
            if limit().is_some_and(|until| until <= Instant::now()) {
                if let Ok(sent) = tokio::time::timeout(LAST_LOOK, &mut request).await {
                    return Ok(sent);
                }
                return Err(ModelError::Stalled {
                    idle: self.idle_timeout,
                    request_id: None,
                });
            }
        }
    }

    fn reply(&self, response: Response) -> Reply {
        // The id appears in events and reports, and a gateway may put anything into it.
        let request_id = headers::request_id(response.headers(), self.request_id_header).map(|mut id| {
            scrub::clean(&mut id, self.key.as_ref());
            id
        });
        let (status, headers) = (response.status(), response.headers().clone());
        let encoding = headers::encoding(&headers);
        Reply {
            request_id,
            status,
            url: display_url(response.url()),
            headers,
            body: Body::new(response, encoding, self.idle_timeout),
        }
    }

    /// Makes an error safe to show. Every error of an attempt passes through here last.
    pub(crate) fn scrub(&self, error: ModelError) -> ModelError {
        scrub::scrub(error, self.key.as_ref())
    }
}

impl Reply {
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Whether the server calls its answer a page for a browser.
    pub(crate) fn is_page(&self) -> bool {
        headers::is_page(&self.headers)
    }

    /// What the body is. Waits for its first bytes.
    pub(crate) async fn content(&mut self) -> Result<Content, ModelError> {
        let is_event_stream = headers::is_event_stream(&self.headers);
        let content = self.body.content(is_event_stream).await;
        content.map_err(|error| body_error(&error, self.request_id.clone()))
    }

    /// Reads an answer with an error status.
    pub(crate) async fn refusal(self) -> Refusal {
        let (status, headers) = (self.status, &self.headers);
        let location = headers::location(headers, &self.url).filter(|_| status.is_redirection());
        Refusal {
            status: status.as_u16(),
            location,
            url: self.url,
            reason: status.canonical_reason().unwrap_or_default(),
            request_id: self.request_id,
            retry_after: headers::retry_after(headers, jiff::Timestamp::now()),
            should_retry: headers::should_retry(headers),
            body: self.body.beginning().await,
        }
    }

    /// As much of the body as an error shows.
    pub(crate) async fn beginning(self) -> Vec<u8> {
        self.body.beginning().await
    }

    /// The whole body.
    pub(crate) async fn whole(self) -> Result<Vec<u8>, ModelError> {
        let whole = self.body.whole().await;
        whole.map_err(|error| body_error(&error, self.request_id))
    }

    /// The whole body of an answer that has no reason to be long.
    pub(crate) async fn whole_within(self, limit: usize) -> Result<Vec<u8>, ModelError> {
        let whole = self.body.whole_within(limit).await;
        whole.map_err(|error| body_error(&error, self.request_id))
    }

    /// The body as server-sent events. The last event may be incomplete; then [`Received::is_last`] is set.
    pub(crate) fn events(self) -> impl Stream<Item = Result<Received, ModelError>> {
        let (pieces, event_bytes) = self.body.pieces();
        let request_id = self.request_id;
        SseByteStream::new(pieces).map(move |event| {
            event_bytes.reset();
            let is_last = event_bytes.has_ended();
            match event {
                Ok(event) => Ok(Received { event, is_last }),
                // The body ended in the middle of a character.
                Err(sse_stream::Error::Utf8Parse(_)) if is_last => Err(ModelError::Cut {
                    reason: "the stream ended in the middle of an event".to_owned(),
                    request_id: request_id.clone(),
                }),
                Err(error) => Err(stream_error(error, request_id.clone())),
            }
        })
    }
}

/// An event of a stream.
pub(crate) struct Received {
    pub(crate) event: Sse,
    /// The body ended with this event, possibly in the middle of it.
    pub(crate) is_last: bool,
}

/// The base URL without the beginning of the provider's path: people copy it from examples that end in `/v1` or in the whole
/// path.
fn root(base: &Url, path: &[&str]) -> Url {
    let mut root = base.clone();
    let segments: Vec<&str> = base.path().split('/').filter(|segment| !segment.is_empty()).collect();
    let repeated = (1..=path.len())
        .rev()
        .find(|length| segments.ends_with(&path[..*length]));
    let kept = segments[..segments.len() - repeated.unwrap_or(0)].join("/");
    root.set_path(&kept);
    root
}

fn http_error(error: &reqwest::Error) -> ClientError {
    ClientError::Http(chain(error))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_path_is_not_repeated() {
        const PATH: [&str; 2] = ["v1", "messages"];
        for (base, url) in [
            ("https://x", "https://x/v1/messages"),
            ("https://x/", "https://x/v1/messages"),
            ("https://x/v1", "https://x/v1/messages"),
            ("https://x/v1/", "https://x/v1/messages"),
            ("https://x/v1//", "https://x/v1/messages"),
            ("https://x/v1/messages", "https://x/v1/messages"),
            ("https://x/v1/messages/", "https://x/v1/messages"),
            ("https://x/gateway/v1", "https://x/gateway/v1/messages"),
            ("https://x/anthropic", "https://x/anthropic/v1/messages"),
            ("https://x/messages", "https://x/messages/v1/messages"),
            ("https://x/v1/proxy", "https://x/v1/proxy/v1/messages"),
            ("https://x/api/v11", "https://x/api/v11/v1/messages"),
        ] {
            let base = root(&Url::parse(base).unwrap(), &PATH);
            assert_eq!(full_url(&base, &PATH).unwrap().as_str(), url);
        }
    }
}
