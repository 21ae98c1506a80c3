#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! The client against a raw TCP server, which can produce every fault of a connection.

mod bodies;
mod connections;
mod errors;
mod proxies;
mod secure;

use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::super::{
    ApiVersion, AuthHeader, CacheTtl, Measured, ToolDefinitions, Verdict, classify, counts_for_breaker,
};
use super::*;
use crate::events::Usage;
use crate::tls;
use crate::transcript::Message;

const KEY: &str = "sk-ant-test-key";

/// What the server does with the connection after it has read the request.
enum AfterAnswer {
    Close,
    Reset,
    Hold,
}

/// Serves one connection: reads one request, writes `answer`, then does what `then` says. Returns the request's text.
async fn serve(listener: TcpListener, answer: Vec<u8>, then: AfterAnswer) -> String {
    let (mut socket, _) = listener.accept().await.unwrap();
    let request = read_request(&mut socket).await;
    socket.write_all(&answer).await.unwrap();
    match then {
        AfterAnswer::Close => socket.shutdown().await.unwrap(),
        AfterAnswer::Reset => {
            // The client must read the bytes that arrived before the reset discards them.
            tokio::task::yield_now().await;
            socket.set_zero_linger().unwrap();
        }
        AfterAnswer::Hold => std::future::pending().await,
    }
    request
}

async fn read_request(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let read = socket.read(&mut piece).await.unwrap();
        request.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return text;
            }
        }
        assert_ne!(read, 0, "the client hung up: {text}");
    }
}

fn settings(address: &str) -> ModelSettings {
    ModelSettings {
        model: "claude-x".to_owned(),
        api_key: Some(Secret::new(KEY)),
        base_url: Url::parse(address).unwrap(),
        idle_timeout: Duration::from_secs(30),
        ..ModelSettings::default()
    }
}

fn client(settings: &ModelSettings) -> AnthropicClient {
    AnthropicClient::new(settings, &tls::client_config().unwrap()).unwrap()
}

struct Seen {
    result: Result<ModelResponse, ModelError>,
    shown: String,
    measured: Measured,
    request_id: Option<String>,
}

impl Seen {
    fn error(self) -> ModelError {
        self.result.expect_err("an error")
    }
}

async fn ask(client: &AnthropicClient) -> Seen {
    ask_long(client, 0).await
}

/// Asks with at least `bytes` bytes.
async fn ask_long(client: &AnthropicClient, bytes: usize) -> Seen {
    let shown = Mutex::new(String::new());
    let progress = Progress::new(|text| shown.lock().unwrap().push_str(text));
    progress.begin();
    let request = ModelRequest {
        system: "",
        messages: &[Message::user(format!("hi{}", "!".repeat(bytes)))],
        tools: &ToolDefinitions::default(),
        max_tokens: 16,
        temperature: None,
        schema: None,
        tools_since: &[],
    };
    let prepared = client.prepare(&request).unwrap();
    let result = client.attempt(&prepared, &progress).await;
    let (measured, request_id) = (progress.measured(), progress.request_id());
    drop(progress);
    Seen {
        result,
        shown: shown.into_inner().unwrap(),
        measured,
        request_id,
    }
}

/// One attempt against one answer, with the settings changed first.
async fn attempt_with(
    answer: impl Into<Vec<u8>>,
    then: AfterAnswer,
    change: impl FnOnce(&mut ModelSettings),
) -> (Seen, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    change(&mut settings);
    let server = serve(listener, answer.into(), then);
    let client = client(&settings);
    let (server, asking) = (pin!(server), pin!(ask(&client)));
    match futures_util::future::select(server, asking).await {
        futures_util::future::Either::Left((request, asking)) => (asking.await, request),
        futures_util::future::Either::Right((seen, _)) => (seen, String::new()),
    }
}

async fn attempt(answer: impl Into<Vec<u8>>, then: AfterAnswer) -> Seen {
    attempt_with(answer, then, |_| ()).await.0
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// The head of a stream that ends with the connection.
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nrequest-id: req_1\r\n\r\n";

const BEGINNING: &str = "event: message_start\n\
    data: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-x\",\"usage\":{\"input_tokens\":9,\"output_tokens\":1}}}\n\n\
    data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n";

const END: &str = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":3}}\n\n\
    data: {\"type\":\"message_stop\"}\n\n";

#[tokio::test]
async fn a_stream_is_read_to_its_end_mark_and_not_beyond() {
    // The server holds the connection open, so waiting for its end would never return.
    let (seen, _) = attempt_with(format!("{STREAM}{BEGINNING}{END}"), AfterAnswer::Hold, |_| ()).await;
    let answer = seen.result.unwrap();
    assert_eq!((answer.text().as_str(), seen.shown.as_str()), ("hello", "hello"));
    assert_eq!(answer.request_id.as_deref(), Some("req_1"));
    let usage = Usage {
        input_tokens: 9,
        output_tokens: 3,
        ..Usage::default()
    };
    assert_eq!(seen.measured, Measured::Complete(usage));
}

#[tokio::test]
async fn the_request_has_the_apis_path_headers_and_body() {
    let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
        settings.base_url.set_path("/gateway/");
    })
    .await;
    assert!(
        request.starts_with("POST /gateway/v1/messages HTTP/1.1\r\n"),
        "{request}"
    );
    for header in [
        "x-api-key: sk-ant-test-key",
        "anthropic-version: 2026-10-21",
        "content-type: application/json",
        concat!("user-agent: cofferdam/", env!("CARGO_PKG_VERSION")),
    ] {
        assert!(
            request.contains(&format!("\r\n{header}\r\n")),
            "{header} is missing in {request}"
        );
    }
    assert!(request.ends_with(r#"{"model":"claude-x","max_tokens":16,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}"#));
}

#[tokio::test]
async fn the_prompt_is_cached_for_as_long_as_the_settings_say() {
    for (prompt_cache, ttl, expected) in [
        (false, CacheTtl::OneHour, r#"[{"type":"text","text":"hi"}]"#),
        (
            true,
            CacheTtl::OneHour,
            r#"[{"type":"text","text":"hi","cache_control":{"type":"ephemeral","ttl":"1h"}}]"#,
        ),
    ] {
        let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
            settings.prompt_cache = prompt_cache;
            settings.prompt_cache_ttl = ttl;
        })
        .await;
        assert!(request.ends_with(&format!("\"content\":{expected}}}]}}")), "{request}");
    }
}

#[tokio::test]
async fn the_header_with_the_key_and_the_version_can_be_chosen() {
    let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
        settings.auth = AuthHeader::Bearer;
        settings.api_version = ApiVersion::V2023_06_01;
    })
    .await;
    for header in ["authorization: Bearer sk-ant-test-key", "anthropic-version: 2023-06-01"] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{request}");
    }
    assert!(!request.contains("x-api-key"), "{request}");
}

#[tokio::test]
async fn the_path_is_not_repeated() {
    for path in ["/gateway/v1", "/gateway/v1/", "/gateway/v1/messages"] {
        let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
            settings.base_url.set_path(path);
        })
        .await;
        assert!(
            request.starts_with("POST /gateway/v1/messages HTTP/1.1\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn the_simulator_does_not_get_the_key() {
    let (_, request) = attempt_with(http("400 Bad Request", "", ""), AfterAnswer::Close, |settings| {
        settings.provider = ProviderKind::Simulated;
    })
    .await;
    assert!(request.contains("\r\nx-api-key: simulated\r\n"), "{request}");
    assert!(!request.contains(KEY), "{request}");
}

#[tokio::test]
async fn an_answer_that_is_not_a_stream_is_read_whole() {
    let body = r#"{"model":"claude-x","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":3}}"#;
    for stream in [false, true] {
        let answer = http(
            "200 OK",
            "content-type: application/json\r\nrequest-id: req_1\r\n",
            body,
        );
        let (seen, request) = attempt_with(answer, AfterAnswer::Close, |settings| settings.stream = stream).await;
        assert!(request.contains(&format!("\"stream\":{stream}")), "{request}");
        assert_eq!(seen.shown, "", "nothing was streamed");
        assert!(matches!(seen.measured, Measured::Complete(usage) if usage.output_tokens == 3));
        assert_eq!(seen.result.unwrap().text(), "hello");
    }
}

#[tokio::test]
async fn a_rate_limit_keeps_its_headers_and_body() {
    let body = r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_body"}"#;
    let headers = "retry-after: 2.5\r\nx-should-retry: true\r\nrequest-id: req_header\r\n";
    let seen = attempt(http("429 Too Many Requests", headers, body), AfterAnswer::Close).await;
    assert_eq!(seen.request_id.as_deref(), Some("req_header"));
    let error = seen.error();
    assert_eq!(
        error.to_string(),
        "HTTP 429, rate_limit_error: slow down (retry after 3 s)"
    );
    assert_eq!((error.kind(), error.request_id()), ("rate_limited", Some("req_header")));
    assert_eq!(classify(&error), Verdict::RetryAfter(Duration::from_millis(2_500)));
    let ModelError::Api(error) = error else {
        panic!("{error:?}")
    };
    assert_eq!((error.status, error.should_retry), (Some(429), Some(true)));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let echo = format!("location: https://portal/{KEY}?key={KEY}\r\n");
    for (location, said) in [
        ("location: http://127.0.0.1:1/\r\n", " to http://127.0.0.1:1"),
        (
            "location: https://u:p@portal/login?token=t\r\n",
            " to https://portal/login",
        ),
        ("location: https://[\r\n", ""),
        ("", ""),
        (&echo, " to https://portal/[redacted]"),
    ] {
        let seen = attempt(http("307 Temporary Redirect", location, ""), AfterAnswer::Close).await;
        assert_eq!(seen.error().to_string(), format!("HTTP 307{said}: Temporary Redirect"));
    }
    let seen = attempt(http("302 Found", "location: /login\r\n", ""), AfterAnswer::Close).await;
    let message = seen.error().to_string();
    assert!(
        message.starts_with("HTTP 302 to http://127.0.0.1:") && message.ends_with("/login: Found"),
        "{message}"
    );
}

#[tokio::test]
async fn a_key_that_is_echoed_is_masked() {
    let body = format!(r#"{{"error":{{"type":"authentication_error","message":"invalid key {KEY}"}}}}"#);
    let headers = format!("request-id: {KEY}\r\n");
    let seen = attempt(http("401 Unauthorized", &headers, &body), AfterAnswer::Close).await;
    assert_eq!(seen.request_id.as_deref(), Some("[redacted]"));
    let error = seen.error();
    assert_eq!(
        error.to_string(),
        "HTTP 401, authentication_error: invalid key [redacted]"
    );
    assert!(!format!("{error:?}").contains(KEY));
}

#[tokio::test]
async fn an_endless_error_body_does_not_hide_the_status() {
    let answer = format!("HTTP/1.1 529 Overloaded\r\n\r\n{}", "x".repeat(1024 * 1024));
    let error = attempt(answer, AfterAnswer::Hold).await.error();
    assert_eq!(error.kind(), "overloaded");
}

#[tokio::test]
async fn a_stream_that_ends_early_is_cut() {
    for (answer, then) in [
        (format!("{STREAM}{BEGINNING}"), AfterAnswer::Close),
        (format!("{STREAM}{BEGINNING}"), AfterAnswer::Reset),
        (STREAM.to_owned(), AfterAnswer::Close),
        // A chunked body that stops inside a chunk.
        (
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n{BEGINNING}"
            ),
            AfterAnswer::Close,
        ),
    ] {
        let seen = attempt(answer, then).await;
        assert!(!matches!(seen.measured, Measured::Complete(_)));
        let error = seen.error();
        assert_eq!(error.kind(), "stream_cut", "{error:?}");
        assert!(counts_for_breaker(&error));
    }
}

#[tokio::test]
async fn a_stalled_stream_times_out() {
    let (seen, _) = attempt_with(format!("{STREAM}{BEGINNING}"), AfterAnswer::Hold, |settings| {
        settings.idle_timeout = Duration::from_millis(50);
    })
    .await;
    assert_eq!(seen.shown, "hello");
    assert!(matches!(seen.measured, Measured::Partial(usage) if usage.input_tokens == 9));
    let error = seen.error();
    assert_eq!((error.kind(), error.request_id()), ("stream_stalled", Some("req_1")));
}

#[tokio::test]
async fn a_server_that_never_answers_times_out() {
    let (seen, _) = attempt_with("", AfterAnswer::Hold, |settings| {
        settings.idle_timeout = Duration::from_millis(50)
    })
    .await;
    assert_eq!(seen.error().kind(), "stream_stalled");
}

#[tokio::test]
async fn pings_and_comments_reset_the_idle_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    settings.idle_timeout = Duration::from_secs(2);
    let server = async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(STREAM.as_bytes()).await.unwrap();
        // The silences add up to more than the limit, but none exceeds it.
        for piece in [
            ": keep-alive\n\n",
            "event: ping\ndata: {\"type\":\"ping\"}\n\n",
            BEGINNING,
            ": x\n\n",
            END,
        ] {
            tokio::time::sleep(Duration::from_millis(500)).await;
            socket.write_all(piece.as_bytes()).await.unwrap();
        }
    };
    let client = client(&settings);
    let (seen, ()) = tokio::join!(ask(&client), server);
    assert_eq!(seen.result.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_connection_that_breaks_in_the_head_of_an_answer_may_have_been_billed() {
    let seen = attempt("HTTP/1.1 200 OK\r\n\u{1}: x\r\n\r\n", AfterAnswer::Close).await;
    assert_eq!(seen.measured, Measured::NoUsage);
    assert_eq!(seen.error().kind(), "connection_lost");
}

#[tokio::test]
async fn a_refused_connection_differs_from_a_lost_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = ask(&client(&settings(&format!(
        "http://user:pa55word@{address}/?token=pa55word"
    ))))
    .await
    .error();
    assert_eq!(error.kind(), "connect_failed");
    let shown = format!("{error} {error:?}");
    assert!(
        shown.contains(&format!("http://{address}")) && !shown.contains("pa55word"),
        "{shown}"
    );
}

#[tokio::test]
async fn an_error_after_200_has_its_type() {
    let error_event =
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n";
    let seen = attempt(format!("{STREAM}{BEGINNING}{error_event}"), AfterAnswer::Hold).await;
    assert_eq!(seen.shown, "hello");
    let error = seen.error();
    assert_eq!((error.kind(), error.request_id()), ("overloaded", Some("req_1")));
    assert_eq!(classify(&error), Verdict::Retry);
}

#[tokio::test]
async fn unparsable_bodies_are_malformed() {
    for answer in [
        http("200 OK", "content-type: application/json\r\n", "{\"content\": 7}"),
        http("200 OK", "content-type: application/json\r\n", "{\"content\": [}"),
        http(
            "200 OK",
            "content-type: text/event-stream\r\n",
            "event: message_start\ndata: {{{\n\nevent: ping\ndata: {}\n\n",
        ),
    ] {
        assert_eq!(
            attempt(answer, AfterAnswer::Close).await.error().kind(),
            "malformed_answer"
        );
    }
    let mut not_utf8 = STREAM.as_bytes().to_vec();
    not_utf8.extend_from_slice(b"data: \xff\xfe\n\n");
    assert_eq!(
        attempt(not_utf8, AfterAnswer::Hold).await.error().kind(),
        "malformed_answer"
    );
}

#[tokio::test]
async fn event_and_body_lengths_are_limited() {
    // One event that never ends.
    let endless = format!("{STREAM}data: {}", "x".repeat(5 * 1024 * 1024));
    let error = attempt(endless, AfterAnswer::Hold).await.error();
    assert!(error.to_string().contains("one event is longer"), "{error}");
    // Endless events.
    let ping = format!(
        "event: ping\ndata: {{\"type\":\"ping\",\"x\":\"{}\"}}\n\n",
        "x".repeat(1024 * 1024)
    );
    let error = attempt(format!("{STREAM}{}", ping.repeat(33)), AfterAnswer::Hold)
        .await
        .error();
    assert!(error.to_string().contains("longer than 33554432 bytes"), "{error}");
}

#[test]
fn a_client_needs_a_key_and_a_url() {
    let tls = tls::client_config().unwrap();
    let error = |change: fn(&mut ModelSettings)| {
        let mut settings = settings("http://127.0.0.1:1");
        change(&mut settings);
        AnthropicClient::new(&settings, &tls)
            .map(|client| format!("{client:?}"))
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        error(|settings| settings.api_key = None).unwrap_err(),
        "no API key is set"
    );
    assert_eq!(
        error(|settings| settings.api_key = Some(Secret::new(""))).unwrap_err(),
        "no API key is set"
    );
    assert!(
        error(|settings| settings.api_key = Some(Secret::new("a\nb")))
            .unwrap_err()
            .contains("API key")
    );
    assert!(
        error(|settings| settings.base_url = Url::parse("ftp://x/").unwrap())
            .unwrap_err()
            .contains("ftp://x")
    );
    let simulated = error(|settings| {
        settings.api_key = None;
        settings.provider = ProviderKind::Simulated;
    });
    assert!(simulated.is_ok());
    let elsewhere = error(|settings| {
        settings.provider = ProviderKind::Simulated;
        settings.base_url = ModelSettings::default().base_url;
    });
    assert!(elsewhere.unwrap_err().contains("https://api.anthropic.com"));
    assert!(!error(|_| ()).unwrap().contains(KEY));
}
