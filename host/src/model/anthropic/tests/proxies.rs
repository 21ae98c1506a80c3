//! Requests through a proxy on this machine.

use tokio::io::copy_bidirectional;

use super::secure::{SERVER, acceptor, trusting};
use super::*;
use crate::model::ProxyUrl;

const ANSWER: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 7\r\n\r\nreached";
const CREDENTIALS: &str = "u:hunter2@";
/// `u:hunter2`
const AUTHORIZATION: &str = "proxy-authorization: basic dtpodw50zxiy";

fn through(listener: &TcpListener, scheme: &str) -> ProxySetting {
    let address = listener.local_addr().unwrap();
    ProxySetting::Url(ProxyUrl::parse(&format!("{scheme}://{CREDENTIALS}{address}")).unwrap())
}

/// Reads the head of a request, in lower case.
async fn head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

/// Asks `base_url` through a proxy that does what `serve` says with its one connection.
async fn ask_through(base_url: &str, scheme: &str, serve: impl AsyncFnOnce(TcpStream)) -> ModelError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(base_url);
    settings.proxy = through(&listener, scheme);
    let client = AnthropicClient::new(&settings, &trusting()).unwrap();
    assert!(!format!("{client:?} {settings:?}").contains("hunter2"));
    let server = async { serve(listener.accept().await.unwrap().0).await };
    let (seen, ()) = tokio::join!(ask(&client), server);
    let error = seen.error();
    let shown = format!("{error} {error:?} {:?}", error.hint());
    assert!(!shown.contains("hunter2") && !shown.contains("dTpo"), "{shown}");
    error
}

#[tokio::test]
async fn https_passes_through_a_tunnel() {
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = target.local_addr().unwrap().port();
    let server = async {
        let (socket, _) = target.accept().await.unwrap();
        let mut stream = acceptor(SERVER).accept(socket).await.unwrap();
        let request = read_request(&mut stream).await.to_lowercase();
        assert!(request.starts_with("post /v1/messages http/1.1\r\n"), "{request}");
        assert!(
            request.contains(KEY) && !request.contains("proxy-authorization"),
            "{request}"
        );
        stream.write_all(ANSWER.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let base_url = format!("https://localhost:{port}");
    let asking = ask_through(&base_url, "http", async |mut socket| {
        let head = head(&mut socket).await;
        assert!(
            head.starts_with(&format!("connect localhost:{port} http/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains(AUTHORIZATION) && !head.contains(KEY), "{head}");
        socket
            .write_all(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")
            .await
            .unwrap();
        let mut upstream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let _ = copy_bidirectional(&mut socket, &mut upstream).await;
    });
    let ((), error) = tokio::join!(server, asking);
    assert_eq!(error.to_string(), "HTTP 429: reached");
}

#[tokio::test]
async fn http_is_forwarded_by_the_proxy_which_also_resolves_the_name() {
    let error = ask_through("http://model.invalid:81/gateway", "http", async |mut socket| {
        let request = read_request(&mut socket).await.to_lowercase();
        assert!(
            request.starts_with("post http://model.invalid:81/gateway/v1/messages http/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("\r\nhost: model.invalid:81\r\n") && request.contains(AUTHORIZATION),
            "{request}"
        );
        socket.write_all(ANSWER.as_bytes()).await.unwrap();
    })
    .await;
    assert_eq!(error.to_string(), "HTTP 429: reached");
}

#[tokio::test]
async fn a_socks_proxy_resolves_the_name() {
    let error = ask_through("http://model.invalid", "socks5h", async |mut socket| {
        let mut greeting = [0; 2];
        socket.read_exact(&mut greeting).await.unwrap();
        let mut methods = vec![0; usize::from(greeting[1])];
        socket.read_exact(&mut methods).await.unwrap();
        assert!(methods.contains(&2), "user name and password");
        socket.write_all(&[5, 2]).await.unwrap();
        let mut credentials = [0; 11];
        socket.read_exact(&mut credentials).await.unwrap();
        assert_eq!(&credentials, b"\x01\x01u\x07hunter2");
        socket.write_all(&[1, 0]).await.unwrap();
        let mut connect = [0; 5];
        socket.read_exact(&mut connect).await.unwrap();
        assert_eq!(connect, [5, 1, 0, 3, 13], "a name of 13 bytes");
        let mut address = [0; 15];
        socket.read_exact(&mut address).await.unwrap();
        assert_eq!(&address, b"model.invalid\x00\x50");
        socket.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(ANSWER.as_bytes()).await.unwrap();
    })
    .await;
    assert_eq!(error.to_string(), "HTTP 429: reached");
}

#[tokio::test]
async fn an_error_of_the_proxy_names_it() {
    for (status, kind, verdict, hint) in [
        (
            "407 Proxy Authentication Required",
            "proxy_refused",
            Verdict::Fatal,
            "the user name and the password for the proxy",
        ),
        // The HTTP library keeps no other status than 407.
        ("403 Forbidden", "connect_failed", Verdict::Retry, "the proxy"),
        ("502 Bad Gateway", "connect_failed", Verdict::Retry, "the proxy"),
    ] {
        let error = ask_through("https://model.invalid", "http", async |mut socket| {
            head(&mut socket).await;
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            socket.write_all(answer.as_bytes()).await.unwrap();
        })
        .await;
        assert_eq!((error.kind(), classify(&error)), (kind, verdict), "{status}");
        let shown = error.to_string();
        assert!(
            shown.contains("https://model.invalid through the proxy http://127.0.0.1:"),
            "{shown}"
        );
        assert!(shown.contains("`[model] proxy`"), "{shown}");
        assert!(error.hint().unwrap().contains(hint), "{error:?}");
    }
}

#[tokio::test]
async fn a_proxy_that_is_down_or_hangs_up_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings("https://model.invalid");
    settings.proxy = through(&listener, "http");
    drop(listener);
    let seen = ask(&client(&settings)).await;
    assert_eq!(seen.measured, Measured::NotStarted);
    let down = seen.error();
    let hangs_up = ask_through("https://model.invalid", "http", async |mut socket| {
        head(&mut socket).await;
    })
    .await;
    for error in [down, hangs_up] {
        assert_eq!(error.kind(), "connect_failed");
        assert!(
            error.to_string().contains("through the proxy http://127.0.0.1:"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_simulator_is_reached_without_a_proxy() {
    let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
        settings.provider = ProviderKind::Simulated;
        settings.proxy = ProxySetting::Url(ProxyUrl::parse("http://127.0.0.1:1").unwrap());
    })
    .await;
    assert!(request.starts_with("POST /v1/messages "), "{request}");
}
