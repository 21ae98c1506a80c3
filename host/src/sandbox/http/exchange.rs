//! Runs one authorised request: resolves once, checks the address, connects to the checked address, sends, and passes the
//! response on within its limits.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use url::{Host, Url};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::address;
use super::bodies::MeteredBody;
use super::budget::{Budgets, Exceeded};
use super::destination::{prepare, server_name};
use super::echo::{self, Refused};
use super::grant::HttpGrant;
use super::lookup::{MAX_ADDRESSES, look_up};
use super::mask::Masker;
use super::prepared::Network;
use super::refusals::{MAX_QUOTED_CHARS, note};
use super::upload::{Upload, frame_body};
use super::wire::Wire;
use crate::sandbox::fairness::{MemoryShare, TurnAccount, TurnClock};

/// How long connecting can take, unless the guest requests less. The deadline of the call applies as well.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one address can stay silent before the next is tried in parallel, and how many are tried at once.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
pub(in crate::sandbox) const MAX_ATTEMPTS: usize = 3;
/// The most response headers, and the most bytes of the header section.
const MAX_RESPONSE_HEADERS: usize = 128;
const MAX_RESPONSE_HEADER_BYTES: usize = 64 * 1024;

/// The response, and the future that drives its connection.
pub(super) type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

/// One request that was authorised.
pub(super) struct Exchange {
    pub(super) url: Url,
    pub(super) grant: HttpGrant,
    /// Masks the secrets of all grants, because a secret can come back from another server than it was sent to.
    pub(super) masker: Masker,
    pub(super) network: Network,
    pub(super) tenant: Arc<str>,
    pub(super) account: TurnAccount,
    pub(super) options: RequestOptions,
    pub(super) budgets: Budgets,
    pub(super) refused: Arc<Mutex<Vec<String>>>,
    /// This exchange's share of guest memory, held as long as the connection or a body.
    pub(super) held: Arc<MemoryShare>,
}

impl Exchange {
    pub(super) async fn run(self, mut request: Request<Upload>) -> Result<Sent, Error> {
        prepare(&mut request, &self.url)?;
        if self.masker.is_needed() {
            echo::request_whole(&mut request).map_err(|refused| self.refuse(refused))?;
        }
        for header in &self.grant.headers {
            header
                .attach(request.headers_mut())
                .map_err(|_| Error::HttpRequestDenied)?;
        }
        let connect_timeout = self
            .options
            .connect_timeout
            .unwrap_or(CONNECT_TIMEOUT)
            .min(CONNECT_TIMEOUT);
        let lookup = async |name, port| look_up(&self.network.lookups, &self.tenant, name, port).await;
        let exceeded = request.body().exceeded.clone();
        let (limits, refused) = (self.budgets.clone(), self.refused.clone());
        let upstream = self.network.upstream.as_ref();
        let has_tls = self.url.scheme() == "https" && upstream.is_none();
        let method = request.method().clone();
        let connect = async {
            match upstream {
                Some(upstream) => Ok(Either::Right(upstream.open(&method, &self.url))),
                None => tokio::time::timeout(connect_timeout, self.connect(lookup))
                    .await
                    .map_err(|_| Error::ConnectionTimeout)?
                    .map(Either::Left),
            }
        };
        let read_ahead = async {
            request.body_mut().read_ahead().await;
            Ok(())
        };
        let (stream, ()) = tokio::try_join!(connect, read_ahead)?;
        frame_body(&mut request).map_err(|error| exceeded.explain(error, &limits, &refused))?;
        let stream = Wire::new(stream, self.budgets.wire.clone(), exceeded.clone());
        let sent = match has_tls {
            true => {
                let handshake = TlsConnector::from(self.network.tls.clone()).connect(server_name(&self.url)?, stream);
                let stream = tokio::time::timeout(connect_timeout, handshake)
                    .await
                    .map_err(|_| Error::ConnectionTimeout)?
                    .map_err(Error::Tls)?;
                self.exchange(request, TokioIo::new(stream), exceeded.clone()).await
            }
            false => self.exchange(request, TokioIo::new(stream), exceeded.clone()).await,
        };
        // If a limit ended the connection, hyper only reports that it ended.
        sent.map_err(|error| exceeded.explain(error, &limits, &refused))
    }

    /// Resolves once (`lookup` is `FnOnce`) and connects to the checked address, so that DNS rebinding has no effect.
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
                // A silent attempt goes on in parallel with the next.
                Ok(None) | Err(_) => Error::ConnectionTimeout,
            };
            if attempts.len() < MAX_ATTEMPTS {
                attempts.extend(addresses.next().map(TcpStream::connect));
            }
        }
    }

    /// The addresses that the guest can reach: public ones, and those that the operator named.
    fn permitted(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Error> {
        let resolved = addresses.len();
        addresses.retain(|address| {
            let ip = address.ip();
            self.grant.names_address(ip) || (address::is_public(ip) && !address::is_of_this_machine(ip))
        });
        if addresses.is_empty() && resolved > 0 {
            let host = self.url.host_str().unwrap_or_default();
            let host: String = host.chars().take(MAX_QUOTED_CHARS).collect();
            note(
                &self.refused,
                format!("{host} resolves to an address that is not public"),
            );
            return Err(Error::DestinationIpProhibited);
        }
        Ok(addresses)
    }

    /// Returns the guest's error, and notes the reason for the operator.
    fn refuse(&self, refused: Refused) -> Error {
        note(&self.refused, refused.reason);
        refused.error
    }

    async fn exchange<S>(self, request: Request<Upload>, stream: TokioIo<S>, exceeded: Exceeded) -> Result<Sent, Error>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_headers(MAX_RESPONSE_HEADERS)
            .max_buf_size(MAX_RESPONSE_HEADER_BYTES)
            .handshake(stream)
            .await?;
        let mut connection = Box::pin(connection);
        let mut receiving = Box::pin(async {
            match self.options.first_byte_timeout {
                Some(limit) => tokio::time::timeout(limit, sender.send_request(request))
                    .await
                    .map_err(|_| Error::ConnectionReadTimeout)?,
                None => sender.send_request(request).await,
            }
            .map_err(Error::from)
        });
        // The connection moves bytes only while it is polled. It is polled together with the response, and afterwards by the
        // worker, which the caller keeps as long as the body is read.
        let mut connected = true;
        let mut response = std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(response) = receiving.as_mut().poll(cx) {
                    return Poll::Ready(response);
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
        drop(receiving);
        if self.masker.is_needed() {
            self.masker.headers(response.headers_mut());
            echo::check_response(&response).map_err(|refused| self.refuse(refused))?;
        }
        let held = self.held.clone();
        let body = |incoming| {
            let pause = self.options.between_bytes_timeout;
            let body = MeteredBody::new(incoming, self.budgets, exceeded, pause, self.refused, self.held);
            self.masker.body(body)
        };
        let (turns, account) = (self.network.turns, self.account);
        let worker = async move {
            let _held = held;
            if connected {
                // The body reports how the connection ended. An error here would be logged, and a server could flood the log.
                let _ = turns.run(&account, &TurnClock::new(), connection).await;
            }
            Ok(())
        };
        Ok((response.map(|incoming| body(incoming).boxed_unsync()), Box::new(worker)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use tokio::net::TcpListener;

    use super::*;
    use crate::sandbox::Limits;
    use crate::sandbox::fairness::GuestMemory;
    use crate::sandbox::fairness::Turns;
    use crate::sandbox::http::lookup;

    /// A request to `url` with a grant that covers it.
    fn exchange(url: &str) -> Exchange {
        let turns = Turns::new();
        Exchange {
            url: Url::parse(url).unwrap(),
            grant: HttpGrant::parse(url, &["GET"]).unwrap(),
            masker: Masker::default(),
            network: Network {
                tls: crate::tls::client_config().unwrap(),
                lookups: lookup::work(),
                turns: turns.clone(),
                upstream: None,
            },
            tenant: "t".into(),
            account: turns.account(&"t".into()),
            options: RequestOptions::default(),
            budgets: Budgets::of(&Limits::default()),
            refused: Arc::default(),
            held: Arc::new(GuestMemory::new(None).share("t".into())),
        }
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_public_addresses_of_a_name_are_permitted() {
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
        // Nothing connected before: the first connection is this test's.
        let own = TcpStream::connect(address).await.unwrap();
        assert_eq!(listener.accept().await.unwrap().1, own.local_addr().unwrap());
    }

    /// A second answer of the name server has no effect: the host resolves once, and connects to what it checked.
    #[tokio::test]
    async fn the_connection_goes_to_the_address_that_was_checked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The system's resolver would return the same host, but can't know this port.
        let exchange = exchange("http://localhost:9/");
        let lookup = async |name: String, port| {
            assert_eq!((name.as_str(), port), ("localhost", 9));
            Ok([addresses(&["10.0.0.1:9"]), vec![address]].concat())
        };
        let stream = exchange.connect(lookup).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    }

    /// A listener that never answers: connections to a full backlog are neither accepted nor refused.
    struct Silent {
        listener: std::net::TcpListener,
        _queue: Vec<std::net::TcpStream>,
    }

    impl Silent {
        fn new() -> Self {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap().into_std().unwrap();
            let address = listener.local_addr().unwrap();
            let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
            let queue = std::iter::from_fn(|| connect().ok()).collect();
            Self {
                listener,
                _queue: queue,
            }
        }

        fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_for_the_next() {
        let silent = Silent::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let exchange = exchange("http://localhost:9/");
        let both = async |_, _| Ok(vec![silent.address(), address]);
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, exchange.connect(both)).await;
        assert_eq!(connected.unwrap().unwrap().peer_addr().unwrap(), address);
    }

    #[tokio::test(start_paused = true)]
    async fn connecting_times_out_however_long_the_guest_would_wait() {
        let silent = Silent::new();
        for (requested, expected) in [
            (None, CONNECT_TIMEOUT),
            (Some(Duration::from_secs(3_600)), CONNECT_TIMEOUT),
            (Some(Duration::from_secs(2)), Duration::from_secs(2)),
        ] {
            let mut exchange = exchange(&format!("http://{}/", silent.address()));
            exchange.options.connect_timeout = requested;
            let body = http_body_util::Empty::new().map_err(|never| match never {});
            let request = Request::new(Upload::begin(body.boxed_unsync(), exchange.budgets.sent.clone()));
            let begin = tokio::time::Instant::now();
            let failed = exchange.run(request).await.map(|_| "connected");
            assert!(matches!(failed, Err(Error::ConnectionTimeout)), "{failed:?}");
            let waited = begin.elapsed();
            assert!(
                waited >= expected && waited < expected + Duration::from_millis(10),
                "{waited:?}"
            );
        }
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
    async fn a_name_without_addresses_and_a_failed_lookup_are_different_errors() {
        let exchange = exchange("http://example.test/");
        let nothing = exchange.connect(async |_, _| Ok(Vec::new())).await;
        assert!(matches!(nothing, Err(Error::DestinationNotFound)), "{nothing:?}");
        let failed = exchange.connect(async |_, _| Err(io::ErrorKind::NotFound.into())).await;
        assert!(matches!(failed, Err(Error::DnsError { .. })), "{failed:?}");
    }
}
