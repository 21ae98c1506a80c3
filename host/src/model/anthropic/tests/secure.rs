//! Servers whose certificate isn't acceptable, and ports that don't speak TLS.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::*;

macro_rules! certificate {
    ($name:literal) => {
        (
            include_bytes!(concat!("certificates/", $name, ".der")) as &[u8],
            include_bytes!(concat!("certificates/", $name, ".key")) as &[u8],
        )
    };
}

type Certificate = (&'static [u8], &'static [u8]);

pub(super) const SERVER: Certificate = certificate!("server");
const OTHER: Certificate = certificate!("other");
const EXPIRED: Certificate = certificate!("expired");
const AUTHORITY: Certificate = certificate!("ca");

pub(super) fn acceptor(certificate: Certificate) -> TlsAcceptor {
    acceptor_of(certificate, &[])
}

/// A server that has these protocols.
fn acceptor_of((certificate, key): Certificate, protocols: &[&[u8]]) -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate)], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

/// A client configuration that trusts the tests' authority alone.
pub(super) fn trusting() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(AUTHORITY.0)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Asks a server with this certificate at `https://HOST`, trusting the tests' authority or only the system's.
async fn ask_with(certificate: Certificate, host: &str, trusts: bool) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("https://{host}:{}", listener.local_addr().unwrap().port()));
    let system = tls::client_config().unwrap();
    let own = trusting();
    let client = AnthropicClient::new(&settings, if trusts { &own } else { &system }).unwrap();
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        // A client that refuses the certificate ends the handshake.
        let Ok(mut stream) = acceptor(certificate).accept(socket).await else {
            return;
        };
        read_request(&mut stream).await;
        let answer = http("429 Too Many Requests", "", "reached");
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    tokio::join!(server, ask(&client)).1
}

#[tokio::test]
async fn a_trusted_server_is_reached() {
    for host in ["127.0.0.1", "localhost"] {
        let error = ask_with(SERVER, host, true).await.error();
        assert_eq!(error.to_string(), "HTTP 429: reached");
    }
}

/// Every server and gateway has HTTP/1.1, and a server that also has HTTP/2 would choose that.
#[tokio::test]
async fn http_1_1_is_all_that_the_handshake_offers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("https://{}", listener.local_addr().unwrap()));
    let client = AnthropicClient::new(&settings, &trusting()).unwrap();
    let both = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = acceptor_of(SERVER, &[b"h2", b"http/1.1"]).accept(socket).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        let request = read_request(&mut stream).await;
        assert!(request.starts_with("POST /v1/messages HTTP/1.1\r\n"), "{request}");
        stream
            .write_all(http("429 Too Many Requests", "", "reached").as_bytes())
            .await
            .unwrap();
        stream.shutdown().await.unwrap();
    };
    let (seen, ()) = tokio::join!(ask(&client), both);
    assert_eq!(seen.error().to_string(), "HTTP 429: reached");

    let http_2_alone = async {
        let (socket, _) = listener.accept().await.unwrap();
        assert!(acceptor_of(SERVER, &[b"h2"]).accept(socket).await.is_err());
    };
    let (seen, ()) = tokio::join!(ask(&client), http_2_alone);
    assert_eq!(seen.measured, Measured::NotStarted);
    let error = seen.error();
    assert_eq!(
        (error.kind(), classify(&error)),
        ("not_http", Verdict::Fatal),
        "{error}"
    );
    assert!(error.to_string().contains("HTTP/1.1"), "{error}");
}

#[tokio::test]
async fn a_certificate_that_is_not_acceptable_is_explained_and_not_retried() {
    for (certificate, trusts, says, hint) in [
        (SERVER, false, "UnknownIssuer", "PEM"),
        (EXPIRED, true, "has expired", "clock"),
        (OTHER, true, "is for another host: it names", "`[model] base_url`"),
        (AUTHORITY, true, "CaUsedAsEndEntity", "CA:TRUE"),
    ] {
        let seen = ask_with(certificate, "127.0.0.1", trusts).await;
        assert_eq!(seen.measured, Measured::NotStarted);
        let error = seen.error();
        assert_eq!(
            (error.kind(), classify(&error)),
            ("certificate_refused", Verdict::Fatal),
            "{says}"
        );
        assert!(!counts_for_breaker(&error));
        let shown = error.to_string();
        assert!(shown.contains("its certificate") && shown.contains(says), "{shown}");
        let advice = error.hint().unwrap();
        assert!(advice.contains(hint) && advice.contains("`SSL_CERT_FILE`"), "{advice}");
        assert!(!shown.contains("Other("), "{shown}");
    }
}

#[tokio::test]
async fn https_on_a_port_without_tls_is_explained_and_not_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&settings(&format!("https://{}", listener.local_addr().unwrap())));
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 64]).await.unwrap();
        socket
            .write_all(http("400 Bad Request", "", "what?").as_bytes())
            .await
            .unwrap();
        // Until the client hangs up.
        while socket.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    };
    let (seen, ()) = tokio::join!(ask(&client), server);
    assert_eq!(seen.measured, Measured::NotStarted);
    let error = seen.error();
    assert_eq!((error.kind(), classify(&error)), ("not_tls", Verdict::Fatal));
    assert!(error.hint().unwrap().contains("http://"));
}

#[tokio::test]
async fn http_on_a_port_with_tls_costs_nothing_and_is_not_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&settings(&format!("http://{}", listener.local_addr().unwrap())));
    let server = async {
        let (socket, _) = listener.accept().await.unwrap();
        assert!(
            acceptor(SERVER).accept(socket).await.is_err(),
            "a handshake in plain HTTP"
        );
    };
    let (seen, ()) = tokio::join!(ask(&client), server);
    assert_eq!(seen.measured, Measured::NotStarted);
    let error = seen.error();
    assert_eq!((error.kind(), classify(&error)), ("not_http", Verdict::Fatal));
    assert!(error.hint().unwrap().contains("https://"), "{error:?}");
}
