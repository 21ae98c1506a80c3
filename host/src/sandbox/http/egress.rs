//! The one way out of a guest: authorise, resolve once, check the address, connect to the checked address, send.
//! Redirects are answers like any other and are not followed; proxies of the environment are not consulted.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{HeaderName, HeaderValue, Request, Response, Uri, header};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttpHooks,
};

use super::address;
use super::bodies::{Budgets, Exceeded, MeteredBody, Upload};
use super::grant::HttpGrant;
use super::lookup::{MAX_ADDRESSES, look_up};
use super::mask::Masker;
use super::wire::Wire;
use crate::sandbox::blocking::BlockingWork;
use crate::sandbox::plugin::Grants;
use crate::sandbox::turns::{TurnClock, Turns};
use crate::shown::shown;

/// How long a connection may take where the guest does not ask for less. The deadline of the call holds beside it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address may stay silent before the next is tried beside it, and how many are tried at once.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
pub(in crate::sandbox) const MAX_ATTEMPTS: usize = 3;
/// Most response headers, by number and by bytes of the header section.
const MAX_RESPONSE_HEADERS: usize = 128;
const MAX_RESPONSE_HEADER_BYTES: usize = 64 * 1024;

/// Characters of a method or an origin that a message repeats.
const MAX_NAMED_CHARS: usize = 100;

/// Bytes of a request's body that are taken from the guest at once.
const BODY_CHUNK_BYTES: usize = 16 * 1024;

/// Headers by which servers let a request be told anew: as another method, or as one for another place.
const RETELLING_HEADERS: [&str; 5] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);
type Sending = Box<dyn Future<Output = Result<Sent, Error>> + Send>;

/// What a call did over HTTP, for the operator.
#[derive(Clone, Debug, Default)]
pub struct HttpUse {
    pub requests: u32,
    /// Why requests were refused, one sentence each; at most sixteen are kept.
    pub refused: Vec<String>,
}

/// What the calls of all guests reach the network with.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Network {
    pub(in crate::sandbox) tls: Arc<rustls::ClientConfig>,
    pub(in crate::sandbox) lookups: BlockingWork,
    /// What is done for a guest takes its tenant's turns, like what it does itself.
    pub(in crate::sandbox) turns: Turns,
}

impl Network {
    pub(in crate::sandbox) fn of_a_plugin(&self) -> Self {
        Self {
            lookups: self.lookups.of_a_plugin(),
            ..self.clone()
        }
    }
}

/// The egress of one call.
pub(in crate::sandbox) struct Egress {
    grants: Arc<Grants>,
    masker: Masker,
    network: Network,
    tenant: Arc<str>,
    requests: u32,
    budgets: Budgets,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Egress {
    pub(in crate::sandbox) fn new(grants: Arc<Grants>, masker: Masker, network: Network, tenant: Arc<str>) -> Self {
        let limits = &grants.limits;
        Self {
            masker,
            network,
            tenant,
            requests: 0,
            budgets: Budgets::of(limits),
            grants,
            refused: Arc::default(),
        }
    }

    pub(in crate::sandbox) fn take_use(&self) -> HttpUse {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        HttpUse {
            requests: self.requests,
            refused,
        }
    }

    /// Decides about a request before anything is resolved or sent. Returns its URL, canonical, and the grant.
    fn authorise(&mut self, request: &Request<WasiBody>) -> Result<(Url, HttpGrant), String> {
        let limit = self.grants.limits.http_requests;
        if self.requests >= limit {
            return Err(format!("more than {limit} requests in one call (limit http_requests)"));
        }
        self.requests += 1;
        let url = canonical_url(request.uri())?;
        let method = request.method().as_str();
        // The grant that says most about the place, in whatever order they are listed.
        let covering = self.grants.http.iter().filter(|grant| grant.covers(method, &url));
        let grant = covering.max_by_key(|grant| grant.path_prefix.len());
        let grant = grant.ok_or_else(|| self.explain_refusal(method, &url))?;
        Ok((url, grant.clone()))
    }

    /// For the operator. A path or query may hold what a user or the model said, so neither is repeated.
    fn explain_refusal(&self, method: &str, url: &Url) -> String {
        // Both are the guest's choice, and go into a log.
        let origin = shown(&url.origin().ascii_serialization(), MAX_NAMED_CHARS);
        let method = shown(method, MAX_NAMED_CHARS);
        match self.grants.http.iter().any(|grant| grant.covers_origin(url)) {
            true => format!("{method} {origin} is granted, but not with this method or below this path"),
            false => format!("{method} {origin} is not granted"),
        }
    }
}

impl WasiHttpHooks for Egress {
    // The header is made from the canonical host, not from what the guest wrote as its authority.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        let (url, grant) = match self.authorise(&request) {
            Ok(authorised) => authorised,
            Err(reason) => {
                note(&self.refused, reason);
                return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
            }
        };
        let exchange = Exchange {
            url,
            grant,
            masker: self.masker.clone(),
            network: self.network.clone(),
            tenant: self.tenant.clone(),
            options: options.unwrap_or_default(),
            budgets: self.budgets.clone(),
            refused: self.refused.clone(),
        };
        let (turns, tenant) = (self.network.turns.clone(), self.tenant.clone());
        Box::new(async move { turns.run(&tenant, &TurnClock::new(), exchange.run(request)).await })
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        Arc::new(|name: &HeaderName| {
            // To some servers both are the same sign.
            let alike = name.as_str().replace('_', "-");
            DEFAULT_FORBIDDEN_HEADERS.contains(name) || RETELLING_HEADERS.contains(&alike.as_str())
        })
    }

    // A request that is never sent keeps what was written to its body, two pieces of it, for one handle: with `handles`
    // this bounds what a guest can make the host hold.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK_BYTES
    }

    // The defaults of these three write the error to the log at `warn`; it is the guest's to handle.
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

/// One request that was authorised.
struct Exchange {
    url: Url,
    grant: HttpGrant,
    /// For the secrets of all grants, whichever host they were sent to before.
    masker: Masker,
    network: Network,
    tenant: Arc<str>,
    options: RequestOptions,
    budgets: Budgets,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Exchange {
    async fn run(self, mut request: Request<WasiBody>) -> Result<Sent, Error> {
        prepare(&mut request, &self.url)?;
        for header in &self.grant.headers {
            header
                .attach(request.headers_mut())
                .map_err(|_| Error::HttpRequestDenied)?;
        }
        if self.masker.is_needed() {
            let identity = HeaderValue::from_static("identity");
            request.headers_mut().insert(header::ACCEPT_ENCODING, identity);
        }
        let connect_timeout = self
            .options
            .connect_timeout
            .unwrap_or(CONNECT_TIMEOUT)
            .min(CONNECT_TIMEOUT);
        let lookup = async |name, port| look_up(&self.network.lookups, &self.tenant, name, port).await;
        let stream = tokio::time::timeout(connect_timeout, self.connect(lookup))
            .await
            .map_err(|_| Error::ConnectionTimeout)??;
        let exceeded = Exceeded::default();
        let stream = Wire::new(stream, self.budgets.wire.clone(), exceeded.clone());
        let budget = self.budgets.sent.clone();
        let request = request.map(|body| Upload::new(body, budget, exceeded.clone()).boxed_unsync());
        let (limits, refused) = (self.budgets.clone(), self.refused.clone());
        let sent = match self.url.scheme() {
            "https" => {
                let handshake = TlsConnector::from(self.network.tls.clone()).connect(server_name(&self.url)?, stream);
                let stream = tokio::time::timeout(connect_timeout, handshake)
                    .await
                    .map_err(|_| Error::ConnectionTimeout)?
                    .map_err(Error::Tls)?;
                self.exchange(request, TokioIo::new(stream), exceeded.clone()).await
            }
            _ => self.exchange(request, TokioIo::new(stream), exceeded.clone()).await,
        };
        // Of a connection that ended over a limit, hyper knows only that it did.
        sent.map_err(|error| exceeded.explain(error, &limits, &refused))
    }

    /// Resolves once, for `lookup` cannot be asked again, and connects to an address that was checked: a second answer of
    /// the name server changes nothing.
    async fn connect(
        &self,
        lookup: impl AsyncFnOnce(String, u16) -> io::Result<Vec<SocketAddr>>,
    ) -> Result<TcpStream, Error> {
        let port = self.url.port_or_known_default().ok_or(Error::HttpRequestUriInvalid)?;
        let addresses = match self.url.host().ok_or(Error::HttpRequestUriInvalid)? {
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
            Host::Domain(name) => lookup(name.to_owned(), port).await.map_err(|_| Error::DnsError {
                rcode: None,
                info_code: None,
            })?,
        };
        let mut addresses = self.permitted(addresses)?.into_iter().take(MAX_ADDRESSES);
        let mut attempts = FuturesUnordered::new();
        let mut last_error = Error::DestinationNotFound;
        loop {
            if attempts.is_empty() {
                attempts.push(TcpStream::connect(addresses.next().ok_or(last_error)?));
            }
            let next = tokio::time::timeout(ATTEMPT_PAUSE, attempts.next()).await;
            last_error = match next {
                Ok(Some(Ok(stream))) => return Ok(stream),
                Ok(Some(Err(error))) => Error::Connect(error),
                // What does not answer goes on beside the next.
                Ok(None) | Err(_) => Error::ConnectionTimeout,
            };
            if attempts.len() < MAX_ATTEMPTS {
                attempts.extend(addresses.next().map(TcpStream::connect));
            }
        }
    }

    /// The addresses that this guest may be connected to: public ones, and what the operator named.
    fn permitted(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        let resolved = addresses.len();
        addresses.retain(|address| {
            let ip = address.ip();
            self.grant.names_address(ip) || (address::is_public(ip) && !address::is_of_this_machine(ip))
        });
        if addresses.is_empty() && resolved > 0 {
            let host = self.url.host_str().unwrap_or_default();
            let host: String = host.chars().take(MAX_NAMED_CHARS).collect();
            note(
                &self.refused,
                format!("{host} resolves to an address that is not public"),
            );
            return Err(Error::DestinationIpProhibited);
        }
        Ok(addresses)
    }

    async fn exchange<S>(
        self,
        request: Request<WasiBody>,
        stream: TokioIo<S>,
        exceeded: Exceeded,
    ) -> Result<Sent, Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(MAX_RESPONSE_HEADERS)
            .max_buf_size(MAX_RESPONSE_HEADER_BYTES)
            .handshake(stream)
            .await?;
        let mut connection = Box::pin(connection);
        let mut response = Box::pin(async {
            match self.options.first_byte_timeout {
                Some(limit) => tokio::time::timeout(limit, sender.send_request(request))
                    .await
                    .map_err(|_| Error::ConnectionReadTimeout)?,
                None => sender.send_request(request).await,
            }
            .map_err(Error::from)
        });
        // The connection moves bytes only while it is polled, so it is driven beside the response, and afterwards by
        // the worker that the caller keeps for as long as the body is read.
        let mut connected = true;
        let answer = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(answer) = response.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                if !connected {
                    return Poll::Pending;
                }
                let ended = ready!(connection.as_mut().poll(cx));
                connected = false;
                if let Err(error) = ended {
                    return Poll::Ready(Err(error.into()));
                }
            }
        })
        .await?;
        drop(response);
        let answer = mask_head(&self.masker, answer)?;
        let body = |incoming| {
            let pause = self.options.between_bytes_timeout;
            let body = MeteredBody::new(incoming, self.budgets, exceeded, pause, self.refused);
            self.masker.body(body)
        };
        let (turns, tenant) = (self.network.turns, self.tenant);
        let worker = async move {
            if connected {
                // How it ends is told by the body; here it would go into the log, and is the server's choice.
                let _ = turns.run(&tenant, &TurnClock::new(), connection).await;
            }
            Ok(())
        };
        Ok((answer.map(|incoming| body(incoming).boxed_unsync()), Box::new(worker)))
    }
}

/// Masks the headers of an answer. Secrets could not be found in a body that is encoded although it was asked not to be.
fn mask_head<B>(masker: &Masker, mut answer: Response<B>) -> Result<Response<B>, Error> {
    if !masker.is_needed() {
        return Ok(answer);
    }
    masker.headers(answer.headers_mut());
    if let Some(coding) = other_than(&answer, &header::CONTENT_ENCODING, b"identity") {
        return Err(Error::HttpResponseContentCoding(Some(coding)));
    }
    if let Some(coding) = other_than(&answer, &header::TRANSFER_ENCODING, b"chunked") {
        return Err(Error::HttpResponseTransferCoding(Some(coding)));
    }
    Ok(answer)
}

/// The first value of a header that is not `plain`.
fn other_than<B>(answer: &Response<B>, name: &HeaderName, plain: &[u8]) -> Option<String> {
    let mut values = answer.headers().get_all(name).iter();
    let other = values.find(|value| !value.as_bytes().eq_ignore_ascii_case(plain))?;
    Some(String::from_utf8_lossy(other.as_bytes()).into_owned())
}

/// The request's URL as a browser would read it: one notation per address, no dot segments, lower-case host. What is
/// authorised is what is sent.
fn canonical_url(uri: &Uri) -> Result<Url, String> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("the request names a user in its authority".to_owned());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let text = format!("{}://{authority}{path}", uri.scheme_str().unwrap_or_default());
    match Url::parse(&text) {
        Ok(url) if url.has_host() => Ok(url),
        Ok(_) => Err("the request names no host".to_owned()),
        Err(error) => Err(format!("the request's URL is not valid: {error}")),
    }
}

/// Puts the canonical target into the request, in the form that is sent to an origin server.
fn prepare(request: &mut Request<WasiBody>, url: &Url) -> Result<(), Error> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    *request.uri_mut() = target.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let host = HeaderValue::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

fn server_name(url: &Url) -> Result<ServerName<'static>, Error> {
    let name = match url.host().ok_or(Error::HttpRequestUriInvalid)? {
        Host::Ipv4(address) => ServerName::from(IpAddr::V4(address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::V6(address)),
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?,
    };
    Ok(name)
}

pub(super) fn note(refused: &Mutex<Vec<String>>, reason: String) {
    const KEPT: usize = 16;
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.len() < KEPT {
        refused.push(reason);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::net::TcpListener;

    use super::*;
    use crate::sandbox::Limits;
    use crate::sandbox::http::lookup;

    /// A request to `url` that a grant of the same origin covers.
    fn exchange(url: &str) -> Exchange {
        Exchange {
            url: Url::parse(url).unwrap(),
            grant: HttpGrant::parse(url, &["GET"]).unwrap(),
            masker: Masker::default(),
            network: Network {
                tls: crate::tls::client_config().unwrap(),
                lookups: lookup::work(),
                turns: Turns::new(),
            },
            tenant: "t".into(),
            options: RequestOptions::default(),
            budgets: Budgets::of(&Limits::default()),
            refused: Arc::default(),
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn of_what_a_name_resolves_to_only_public_addresses_are_permitted() {
        let exchange = exchange("http://example.test/");
        let public = addresses(&["93.184.215.14:80", "[2606:4700::1111]:80"]);
        let mixed = [addresses(&["127.0.0.1:80", "169.254.169.254:80"]), public.clone()].concat();
        assert_eq!(exchange.permitted(mixed).unwrap(), public);
        assert!(exchange.permitted(Vec::new()).unwrap().is_empty());
        for private in [
            "127.0.0.1:80",
            "10.0.0.1:80",
            "169.254.169.254:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            let refused = exchange.permitted(addresses(&[private]));
            assert!(
                matches!(refused, Err(Error::DestinationIpProhibited)),
                "{private}: {refused:?}"
            );
        }
        assert!(exchange.refused.lock().unwrap()[0].contains("example.test resolves to an address that is not public"));
    }

    #[tokio::test]
    async fn a_granted_name_does_not_open_private_addresses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exchange = exchange(&format!("http://rebound.test:{}/", address.port()));
        let refused = exchange.connect(async |_, _| Ok(vec![address])).await;
        assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "{refused:?}");
        // Nobody knocked: the first to come is this test.
        let own = TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, own.local_addr().unwrap());
    }

    /// A name server that changes its mind finds nobody asking: the connection goes to what was resolved and checked.
    #[tokio::test]
    async fn the_connection_goes_to_the_address_that_was_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The system's resolver would say the same of the host, but knows nothing of this port.
        let exchange = exchange("http://localhost:9/");
        let asked = async |name: String, port| {
            assert_eq!((name.as_str(), port), ("localhost", 9));
            Ok([addresses(&["10.0.0.1:9"]), vec![address]].concat())
        };
        let stream = exchange.connect(asked).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    /// Connections to a full queue are neither made nor refused.
    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let silent = tokio::net::TcpSocket::new_v4().unwrap();
        silent.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let silent = silent.listen(1).unwrap();
        let silent_address = silent.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(silent_address)).await
        {
            queue.push(stream.unwrap());
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exchange = exchange("http://localhost:9/");
        let both = async |_, _| Ok(vec![silent_address, address]);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, exchange.connect(both)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_literal_address_is_not_looked_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exchange = exchange(&format!("http://{address}/"));
        let stream = exchange.connect(async |name, _| panic!("{name} was looked up")).await;
        assert_eq!(stream.unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_name_that_means_nothing_is_an_error_of_its_own() {
        let exchange = exchange("http://example.test/");
        let nothing = exchange.connect(async |_, _| Ok(Vec::new())).await;
        assert!(matches!(nothing, Err(Error::DestinationNotFound)), "{nothing:?}");
        let failed = exchange.connect(async |_, _| Err(io::ErrorKind::NotFound.into())).await;
        assert!(matches!(failed, Err(Error::DnsError { .. })), "{failed:?}");
    }
}
