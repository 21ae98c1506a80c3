//! Authorises and sends the requests of a guest; there is no other way out. Each request is checked against the grants before
//! anything is resolved or sent. Redirects are returned to the guest, not followed. Proxy environment variables are ignored.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use http::Request;
use url::Url;
use wasmtime_wasi_http::{Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks};

use super::budget::Budgets;
use super::destination::canonical_url;
use super::exchange::{Exchange, Sent};
use super::grant::HttpGrant;
use super::header_names::is_forbidden;
use super::held::BODY_BUFFER_BYTES;
use super::prepared::HttpSetup;
use super::refusals::{MAX_QUOTED_CHARS, note};
use super::upload::Upload;
use crate::sandbox::fairness::{MemoryShare, TurnAccount, TurnClock};
use crate::untrusted::display_untrusted;

/// Bytes that the host holds for one request: buffers of the connection and of TLS, both heads, chunks of the bodies, and what it
/// reads ahead of the request's body.
const HELD_FOR_AN_EXCHANGE: usize = 256 * 1024 + BODY_BUFFER_BYTES;

/// Bytes that the host holds for the head and the trailers of a response.
const HELD_FOR_A_HEAD: usize = 80 * 1024;

type Sending = Box<dyn Future<Output = Result<Sent, Error>> + Send>;

/// What a call did over HTTP, for the operator.
#[derive(Clone, Debug, Default)]
pub struct HttpUse {
    pub requests: u32,
    /// Bytes of the bodies of requests.
    pub sent: u64,
    /// Bytes of the bodies of responses.
    pub received: u64,
    /// Why requests were refused or had no answer, one sentence each. The first sixteen are kept.
    pub refused: Vec<String>,
}

/// The egress of one call.
pub(in crate::sandbox) struct Egress {
    setup: Arc<HttpSetup>,
    tenant: Arc<str>,
    account: TurnAccount,
    requests: u32,
    /// From the first request on: most calls send none.
    traffic: Option<Traffic>,
}

/// What the requests of a call share.
struct Traffic {
    budgets: Budgets,
    /// Memory for the heads of responses, which a guest can keep until the call ends.
    heads: MemoryShare,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Egress {
    pub(in crate::sandbox) fn new(setup: Arc<HttpSetup>, tenant: Arc<str>, account: TurnAccount) -> Self {
        Self {
            setup,
            tenant,
            account,
            requests: 0,
            traffic: None,
        }
    }

    pub(in crate::sandbox) fn take_use(&self) -> HttpUse {
        let refused = self.traffic.as_ref().map(|traffic| &traffic.refused);
        let take = |refused: &Arc<Mutex<Vec<String>>>| {
            std::mem::take(&mut *refused.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let budgets = self.traffic.as_ref().map(|traffic| &traffic.budgets);
        HttpUse {
            requests: self.requests,
            sent: budgets.map_or(0, |budgets| budgets.sent.used()),
            received: budgets.map_or(0, |budgets| budgets.received.used()),
            refused: refused.map(take).unwrap_or_default(),
        }
    }

    /// Authorises a request before anything is resolved or sent. Returns its canonical URL and the grant.
    fn authorise(&mut self, request: &Request<WasiBody>) -> Result<(Url, HttpGrant), String> {
        let limit = self.setup.limits.http_requests;
        if self.requests >= limit {
            return Err(format!("more than {limit} requests in one call (limit http_requests)"));
        }
        self.requests += 1;
        let url = canonical_url(request.uri())?;
        let method = request.method().as_str();
        if self.setup.network.upstream.is_some() {
            // It stands for every server, but methods that can't be granted are refused there as well.
            let grant = HttpGrant::parse(&url.origin().ascii_serialization(), &[method]);
            return grant
                .map(|grant| (url, grant))
                .map_err(|error| self.setup.masker.text(error.to_string()));
        }
        // The most specific grant applies, regardless of their order.
        let covering = self.setup.grants.iter().filter(|grant| grant.covers(method, &url));
        let grant = covering.max_by_key(|grant| grant.path_prefix.len());
        let grant = grant.ok_or_else(|| self.explain_refusal(method, &url))?;
        Ok((url, grant.clone()))
    }

    /// Explains a refusal to the operator. Omits the path and query, which can contain data of users or the model.
    fn explain_refusal(&self, method: &str, url: &Url) -> String {
        // The guest chose both, and they go into a log. Masks before it truncates: a truncated secret isn't recognised.
        let displayed = |text: String| display_untrusted(&self.setup.masker.text(text), MAX_QUOTED_CHARS);
        let origin = displayed(url.origin().ascii_serialization());
        let method = displayed(method.to_owned());
        let mut of_origin = self
            .setup
            .grants
            .iter()
            .filter(|grant| grant.covers_origin(url))
            .peekable();
        if of_origin.peek().is_none() {
            return format!("{method} {origin} is not granted");
        }
        match of_origin.any(|grant| grant.covers_but_for_signs(url)) {
            true => format!(
                "{method} {origin} is granted, but the path has signs that servers read in different ways; below a path prefix only \
                 visible ASCII, spaces and letters can be sent"
            ),
            false => format!("{method} {origin} is granted, but not with this method or below this path"),
        }
    }
}

/// Whether the network or the server failed. Every other error has its own reason, noted where it was found.
const fn is_no_answer(error: &Error) -> bool {
    matches!(
        error,
        Error::Hyper(_)
            | Error::Connect(_)
            | Error::Tls(_)
            | Error::DnsError { .. }
            | Error::DestinationNotFound
            | Error::ConnectionTimeout
            | Error::ConnectionReadTimeout
    )
}

impl WasiHttpHooks for Egress {
    // The host sets this header itself, from the canonical URL instead of the guest's authority.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        let authorised = self.authorise(&request);
        let Self { setup, tenant, .. } = self;
        let traffic = self.traffic.get_or_insert_with(|| Traffic {
            budgets: Budgets::of(&setup.limits),
            heads: setup.memory.share(tenant.clone()),
            refused: Arc::default(),
        });
        let (url, grant) = match authorised {
            Ok(authorised) => authorised,
            Err(reason) => {
                note(&traffic.refused, reason);
                return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
            }
        };
        let mut held = setup.memory.share(tenant.clone());
        // The guest can keep at most one head per handle.
        let head = match self.requests <= setup.limits.handles {
            true => HELD_FOR_A_HEAD,
            false => 0,
        };
        let taken = held.take(HELD_FOR_AN_EXCHANGE).and_then(|()| traffic.heads.take(head));
        if let Err(reason) = taken {
            note(&traffic.refused, reason.to_string());
            return Box::new(std::future::ready(Err(Error::ConnectionLimitReached)));
        }
        let request = request.map(|body| Upload::begin(body, traffic.budgets.sent.clone()));
        let exchange = Exchange {
            url,
            grant,
            masker: setup.masker.clone(),
            network: setup.network.clone(),
            tenant: tenant.clone(),
            account: self.account.clone(),
            options: options.unwrap_or_default(),
            budgets: traffic.budgets.clone(),
            refused: traffic.refused.clone(),
            held: Arc::new(held),
        };
        let (turns, account) = (setup.network.turns.clone(), self.account.clone());
        let (noted, masker) = (traffic.refused.clone(), setup.masker.clone());
        let asked = (request.method().clone(), exchange.url.origin());
        Box::new(async move {
            let sent = turns.run(&account, &TurnClock::new(), exchange.run(request)).await;
            if let Err(error) = &sent
                && is_no_answer(error)
            {
                let (method, origin) = asked;
                let text = masker.text(format!("{method} {}: {error}", origin.ascii_serialization()));
                note(&noted, display_untrusted(&text, 2 * MAX_QUOTED_CHARS));
            }
            sent
        })
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(is_forbidden)
    }

    // The defaults of these three log the error at `warn`, but it is the guest's to handle.
    fn p2_error_from_hyper(
        &mut self,
        error: &hyper::Error,
    ) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
        match error {
            error if error.is_timeout() => ErrorCode::ConnectionTimeout,
            error if error.is_incomplete_message() => ErrorCode::HttpResponseIncomplete,
            error if error.is_canceled() || error.is_closed() => ErrorCode::ConnectionTerminated,
            error if error.is_parse_too_large() => ErrorCode::HttpResponseHeaderSectionSize(None),
            _ => ErrorCode::HttpProtocolError,
        }
    }

    fn p2_error_from_connect(&mut self, _: &io::Error) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &io::Error) -> wasmtime_wasi_http::p2::bindings::http::types::ErrorCode {
        wasmtime_wasi_http::p2::bindings::http::types::ErrorCode::TlsProtocolError
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::sandbox::fairness::{GuestMemory, Turns};
    use crate::sandbox::http::{Masker, Network, lookups};
    use crate::sandbox::limits::Limits;

    #[tokio::test]
    async fn a_request_is_charged_until_it_ends() {
        let refused_with = async |bytes: u64| {
            let network = Network {
                tls: crate::tls::client_config().unwrap(),
                lookups: lookups(),
                turns: Turns::new(),
                upstream: None,
            };
            let account = network.turns.account(&"t".into());
            let setup = HttpSetup {
                grants: vec![HttpGrant::parse("http://127.0.0.1:9/", &["GET"]).unwrap()],
                limits: Limits::default(),
                masker: Masker::default(),
                network,
                memory: GuestMemory::new(Some(bytes)),
            };
            let mut egress = Egress::new(Arc::new(setup), "t".into(), account);
            let mut errors = Vec::new();
            for _ in 0..3 {
                let body = http_body_util::Empty::new()
                    .map_err(|never| match never {})
                    .boxed_unsync();
                let mut request = Request::new(body);
                *request.uri_mut() = "http://127.0.0.1:9/".parse().unwrap();
                let sending = Box::into_pin(egress.send_request(request, None, Box::new(std::future::ready(Ok(())))));
                errors.push(sending.await.map(|_| "sent").unwrap_err());
            }
            (errors, egress.take_use().refused)
        };
        // Memory for one request suffices for three in a row. Nothing listens on this port.
        let (errors, refused) = refused_with(1_600 << 10).await;
        assert!(
            errors.iter().all(|error| matches!(error, Error::Connect(_))),
            "{errors:?}"
        );
        let why = "GET http://127.0.0.1:9: connection error: ";
        assert!(
            refused.len() == 3 && refused.iter().all(|reason| reason.starts_with(why)),
            "{refused:?}"
        );
        let (errors, refused) = refused_with(1 << 19).await;
        assert!(
            errors
                .iter()
                .all(|error| matches!(error, Error::ConnectionLimitReached)),
            "{errors:?}"
        );
        assert_eq!(refused.len(), 3, "{refused:?}");
    }
}
