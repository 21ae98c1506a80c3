//! The server that tools are called against: it stands for every server, answers as it is asked to, and records what it was sent.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use crate::sandbox::{Digest, Upstream};
use crate::untrusted::Untrusted;

/// Bytes that a connection holds in each direction.
const BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of a request's body that are read. The limit `http_request_bytes` of the call bounds it as well.
const MAX_BODY_BYTES: usize = 16 << 20;
/// Methods that HTTP defines as free of effects (RFC 9110, section 9.2.1).
const SAFE: [Method; 4] = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE];

/// Methods that HTTP defines as free of further effects if they are repeated, beside the safe ones (RFC 9110, section 9.2.2).
const IDEMPOTENT: [Method; 2] = [Method::PUT, Method::DELETE];
/// How services name a key by which they recognise a request that is repeated: in the header `Idempotency-Key`, in
/// `idempotency_key` of the query or the body.
const KEY: &str = "idempotency";

/// How the server answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    #[default]
    Json,
    Text,
    InternalError,
    Unavailable,
    NotFound,
    Nothing,
    BrokenJson,
    CutShort,
}

impl Answer {
    /// Those that a tool has to cope with.
    pub(super) const FAULTS: [Self; 7] = [
        Self::Text,
        Self::InternalError,
        Self::Unavailable,
        Self::NotFound,
        Self::Nothing,
        Self::BrokenJson,
        Self::CutShort,
    ];

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::Json => "200 with `{}`",
            Self::Text => "200 with plain text",
            Self::InternalError => "500",
            Self::Unavailable => "503 with `retry-after`",
            Self::NotFound => "404",
            Self::Nothing => "no answer",
            Self::BrokenJson => "200 with broken JSON",
            Self::CutShort => "a body that is cut short",
        }
    }

    /// Whether the server, or the way to it, is down: the same call may succeed later.
    pub(super) fn is_outage(self) -> bool {
        matches!(self, Self::InternalError | Self::Unavailable | Self::Nothing)
    }

    /// `None` if there is no answer.
    fn response(self) -> Option<Response<BoxBody<Bytes, io::Error>>> {
        let (status, kind, body) = match self {
            Self::Nothing => return None,
            Self::Json => (StatusCode::OK, JSON, "{}"),
            Self::Text => (StatusCode::OK, TEXT, "plain text"),
            Self::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, JSON, r#"{"error":"internal error"}"#),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "try again later"),
            Self::NotFound => (StatusCode::NOT_FOUND, JSON, r#"{"error":"not found"}"#),
            Self::BrokenJson => (StatusCode::OK, JSON, r#"{"value": [1, "#),
            Self::CutShort => (StatusCode::OK, JSON, r#"{"value""#),
        };
        let bytes = Bytes::from_static(body.as_bytes());
        let body = match self {
            // At the error, the connection is closed. What was sent before has to leave first.
            Self::CutShort => {
                let end = async {
                    tokio::task::yield_now().await;
                    Err(io::ErrorKind::ConnectionReset.into())
                };
                let frames = futures_util::StreamExt::chain(stream::iter([Ok(Frame::data(bytes))]), stream::once(end));
                StreamBody::new(frames).boxed()
            }
            _ => Full::new(bytes).map_err(|never: Infallible| match never {}).boxed(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        match self {
            Self::Unavailable => _ = headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            Self::CutShort => _ = headers.insert(CONTENT_LENGTH, HeaderValue::from_static("1000")),
            _ => {}
        }
        Some(response)
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// A request that a tool sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    method: Method,
    url: Url,
    /// `None` while it wasn't received completely.
    content: Option<Content>,
}

/// What a request has beside its method and URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Content {
    /// Of the body and of the headers with a key.
    digest: Digest,
    has_key: bool,
}

impl Content {
    fn of(headers: &HeaderMap, body: &[u8]) -> Self {
        let keys = headers.iter().filter(|(name, _)| name.as_str().contains(KEY));
        let keys: Vec<&[u8]> = keys.map(|(_, value)| value.as_bytes()).collect();
        let names_key = |part: &[u8]| part.eq_ignore_ascii_case(KEY.as_bytes());
        Self {
            has_key: !keys.is_empty() || body.windows(KEY.len()).any(names_key),
            digest: Digest::of(&[keys.concat().as_slice(), body].concat()),
        }
    }
}

impl Sent {
    pub(super) fn is_safe(&self) -> bool {
        SAFE.contains(&self.method)
    }

    /// Whether the method only asks for a change, as PUT, PATCH and DELETE do. POST is also how services are asked questions.
    pub(super) fn is_change(&self) -> bool {
        !self.is_safe() && self.method != Method::POST
    }

    /// Whether the server may act a second time if it gets the request again: neither the method nor a key says that it doesn't.
    pub(super) fn may_act_again(&self) -> bool {
        let is_keyed = |content: &Content| content.has_key || self.url.as_str().to_ascii_lowercase().contains(KEY);
        !self.is_safe() && !IDEMPOTENT.contains(&self.method) && !self.content.as_ref().is_none_or(is_keyed)
    }

    /// The method and the URL without its query, which can be long.
    pub(super) fn line(&self) -> Untrusted {
        let mut url = self.url.clone();
        url.set_query(None);
        Untrusted::new(format!("{} {url}", self.method))
    }

    /// Whether both ask for the same. Bodies and keys are compared where both are known.
    fn is_like(&self, other: &Self) -> bool {
        let is_same_content = match (&self.content, &other.content) {
            (Some(content), Some(other)) => content == other,
            _ => true,
        };
        self.method == other.method && self.url == other.url && is_same_content
    }
}

/// The first request of `second` that could have another effect than those of `first`.
pub(super) fn other_effect<'a>(first: &[Sent], second: &'a [Sent]) -> Option<&'a Sent> {
    let mut unmatched: Vec<&Sent> = first.iter().filter(|sent| !sent.is_safe()).collect();
    let effects = second.iter().filter(|sent| !sent.is_safe());
    effects.into_iter().find(|sent| {
        let same = unmatched.iter().position(|other| other.is_like(sent));
        same.map(|position| unmatched.swap_remove(position)).is_none()
    })
}

/// The different requests that a tool sent, as a person reads them.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests(BTreeSet<String>);

impl Requests {
    /// More than that say nothing new.
    const MAX: usize = 16;

    pub(super) fn add(&mut self, sent: &[Sent]) {
        for line in sent.iter().map(|sent| sent.line().into_raw()) {
            if self.0.len() < Self::MAX {
                self.0.insert(line);
            }
        }
    }

    pub(super) fn into_list(self) -> Vec<Untrusted> {
        self.0.into_iter().map(Untrusted::new).collect()
    }
}

/// The server. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeUpstream(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    answer: Answer,
    sent: Vec<Sent>,
    /// Dropping one ends its connection.
    connections: Vec<AbortOnDropHandle<()>>,
    /// How often `sent` was taken: what a connection of an earlier call still receives isn't recorded.
    call: u64,
}

impl FakeUpstream {
    /// How it answers from now on.
    pub(super) fn set_answer(&self, answer: Answer) {
        self.state().answer = answer;
    }

    /// What was sent since the last time, in that order. Ends all connections.
    pub(super) fn take_sent(&self) -> Vec<Sent> {
        let mut state = self.state();
        state.call += 1;
        state.connections.clear();
        std::mem::take(&mut state.sent)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn respond(
        self,
        (call, number): (u64, usize),
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, io::Error>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = http_body_util::Limited::new(body, MAX_BODY_BYTES).collect().await;
        let content = body.ok().map(|body| Content::of(&head.headers, &body.to_bytes()));
        let response = {
            let mut state = self.state();
            if state.call == call
                && let Some(sent) = state.sent.get_mut(number)
            {
                sent.content = content;
            }
            state.answer.response()
        };
        match response {
            Some(response) => Ok(response),
            None => std::future::pending().await,
        }
    }
}

impl Upstream for FakeUpstream {
    fn open(&self, method: &Method, url: &Url) -> DuplexStream {
        let (guest, server) = tokio::io::duplex(BUFFER_BYTES);
        let mut state = self.state();
        let sent = (state.call, state.sent.len());
        state.sent.push(Sent {
            method: method.clone(),
            url: url.clone(),
            content: None,
        });
        let upstream = self.clone();
        let service = service_fn(move |request| upstream.clone().respond(sent, request));
        let serving = http1::Builder::new()
            .keep_alive(false)
            .serve_connection(TokioIo::new(server), service);
        state.connections.push(AbortOnDropHandle::new(tokio::spawn(async move {
            // A guest may leave before the answer ends.
            let _ = serving.await;
        })));
        guest
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    /// What the server answers to a request with this body.
    async fn ask(upstream: &FakeUpstream, method: Method, to: &str, body: &str) -> String {
        ask_with(upstream, method, to, "", body).await
    }

    /// The same for a request with more header lines.
    async fn ask_with(upstream: &FakeUpstream, method: Method, to: &str, headers: &str, body: &str) -> String {
        let mut stream = upstream.open(&method, &url(to));
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: x\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn every_answer_is_what_it_is_called() {
        let upstream = FakeUpstream::default();
        for (answer, head, rest) in [
            (Answer::Json, "HTTP/1.1 200 ", "{}"),
            (Answer::Text, "HTTP/1.1 200 ", "plain text"),
            (Answer::InternalError, "HTTP/1.1 500 ", "internal error"),
            (Answer::Unavailable, "HTTP/1.1 503 ", "retry-after: 1\r\n"),
            (Answer::NotFound, "HTTP/1.1 404 ", "not found"),
            (Answer::BrokenJson, "HTTP/1.1 200 ", "[1, "),
            (Answer::CutShort, "HTTP/1.1 200 ", "content-length: 1000\r\n"),
        ] {
            upstream.set_answer(answer);
            let answered = ask(&upstream, Method::GET, "https://a.test/", "").await;
            assert!(
                answered.starts_with(head) && answered.contains(rest),
                "{answer:?}: {answered}"
            );
        }
        assert_eq!(upstream.take_sent().len(), 7);
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_keeps_the_connection_until_the_call_has_ended() {
        let upstream = FakeUpstream::default();
        upstream.set_answer(Answer::Nothing);
        let asked = tokio::spawn({
            let upstream = upstream.clone();
            async move { ask(&upstream, Method::POST, "http://a.test/", "x").await }
        });
        // The body is the last thing that the server waits for.
        while upstream.state().sent.iter().all(|sent| sent.content.is_none()) {
            tokio::task::yield_now().await;
        }
        assert!(!asked.is_finished());
        assert_eq!(upstream.take_sent().len(), 1);
        assert_eq!(asked.await.unwrap(), "");
    }

    #[tokio::test]
    async fn effects_are_compared_by_method_url_and_body() {
        let upstream = FakeUpstream::default();
        let mut sent = Vec::new();
        for (method, to, body) in [
            (Method::GET, "https://a.test/?q=1", ""),
            (Method::PUT, "https://a.test/x", "1"),
            (Method::PUT, "https://a.test/x", "2"),
        ] {
            ask(&upstream, method, to, body).await;
            sent.push(upstream.take_sent());
        }
        let [read, put, other] = &sent[..] else { unreachable!() };
        assert!(other_effect(put, put).is_none() && other_effect(put, read).is_none());
        assert_eq!(other_effect(read, put).unwrap().line().raw(), "PUT https://a.test/x");
        assert!(other_effect(put, other).is_some(), "the bodies differ");
        let twice = [put.clone(), put.clone()].concat();
        assert!(other_effect(put, &twice).is_some() && other_effect(&twice, put).is_none());
        assert!(!read[0].is_change() && put[0].is_change());
        assert_eq!(read[0].line().raw(), "GET https://a.test/");
    }

    #[tokio::test]
    async fn a_server_may_act_again_on_a_post_without_a_key() {
        let upstream = FakeUpstream::default();
        let key = "idempotency-key: 1\r\n";
        for (method, to, headers, body, expected) in [
            (Method::POST, "https://a.test/", "", "{}", true),
            (Method::PATCH, "https://a.test/", "x-request-id: 1\r\n", "{}", true),
            (Method::POST, "https://a.test/", key, "{}", false),
            (Method::POST, "https://a.test/?Idempotency-Token=1", "", "{}", false),
            (Method::POST, "https://a.test/", "", r#"{"idempotencyKey":"1"}"#, false),
            (Method::PUT, "https://a.test/", "", "{}", false),
            (Method::DELETE, "https://a.test/", "", "", false),
            (Method::GET, "https://a.test/", "", "", false),
        ] {
            ask_with(&upstream, method.clone(), to, headers, body).await;
            let sent = upstream.take_sent();
            assert_eq!(sent[0].may_act_again(), expected, "{method} {to} {headers} {body}");
        }
        // Nothing is known of a request that wasn't received completely.
        drop(upstream.open(&Method::POST, &url("https://a.test/")));
        assert!(!upstream.take_sent()[0].may_act_again());
    }

    #[tokio::test]
    async fn another_key_is_another_effect() {
        let upstream = FakeUpstream::default();
        let mut sent = Vec::new();
        for headers in [
            "idempotency-key: 1\r\n",
            "idempotency-key: 2\r\n",
            "idempotency-key: 2\r\nx-trace: 3\r\n",
        ] {
            ask_with(&upstream, Method::POST, "https://a.test/", headers, "{}").await;
            sent.push(upstream.take_sent());
        }
        assert!(other_effect(&sent[0], &sent[1]).is_some() && other_effect(&sent[1], &sent[2]).is_none());
    }

    #[test]
    fn only_the_first_different_requests_are_listed() {
        let sent = |number: usize| Sent {
            method: Method::GET,
            url: url(&format!("https://a.test/{}", number % 30)),
            content: None,
        };
        let mut requests = Requests::default();
        requests.add(&(0..100).map(sent).collect::<Vec<_>>());
        assert_eq!(requests.into_list().len(), Requests::MAX);
    }
}
