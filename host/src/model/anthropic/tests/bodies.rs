//! Bodies that aren't what their headers say, or end too early.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

const WHOLE: &str = r#"{"model":"claude-x","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":3}}"#;

/// An answer that ends with the connection.
fn open_ended(headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
    answer.extend_from_slice(body.as_ref());
    answer
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn the_first_bytes_decide_what_a_body_is() {
    let streamed = format!("{BEGINNING}{END}");
    for content_type in [
        "",
        "text/event-stream",
        "text/plain",
        "application/json",
        "application/octet-stream",
    ] {
        let headers = match content_type {
            "" => String::new(),
            name => format!("content-type: {name}\r\n"),
        };
        for beginning in ["", "\u{feff}", "\n\r\n ", ": comment\n\n"] {
            for stream in [true, false] {
                let answer = open_ended(&headers, format!("{beginning}{streamed}"));
                let change = |settings: &mut ModelSettings| settings.stream = stream;
                let (seen, _) = attempt_with(answer, AfterAnswer::Close, change).await;
                assert_eq!(seen.shown, "hello", "{content_type} {beginning:?}");
                assert!(matches!(seen.measured, Measured::Complete(_)));
                assert_eq!(seen.result.unwrap().text(), "hello");
                if beginning.starts_with(':') {
                    continue;
                }
                let answer = open_ended(&headers, format!("{beginning}{WHOLE}"));
                let (seen, _) = attempt_with(answer, AfterAnswer::Close, change).await;
                assert_eq!(seen.result.unwrap().text(), "hello", "{content_type} {beginning:?}");
            }
        }
    }
}

#[tokio::test]
async fn gzip_that_the_request_did_not_ask_for_is_decompressed() {
    for headers in [
        "",
        "content-encoding: gzip\r\n",
        "content-encoding: gzip\r\ncontent-type: text/event-stream\r\n",
    ] {
        for body in [WHOLE.to_owned(), format!("{BEGINNING}{END}")] {
            let seen = attempt(open_ended(headers, gzip(&body)), AfterAnswer::Close).await;
            assert!(matches!(seen.measured, Measured::Complete(_)), "{headers}");
            assert_eq!(seen.result.unwrap().text(), "hello", "{headers}");
        }
    }
    let body = gzip(r#"{"error":{"message":"slow down"}}"#);
    let mut answer = format!(
        "HTTP/1.1 429 Too Many Requests\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    assert_eq!(
        attempt(answer, AfterAnswer::Close).await.error().to_string(),
        "HTTP 429: slow down"
    );
}

#[tokio::test]
async fn a_compressed_body_has_the_same_limits() {
    let ping = format!("event: ping\ndata: {{\"x\":\"{}\"}}\n\n", "x".repeat(1024 * 1024));
    let bomb = gzip(&ping.repeat(40));
    assert!(bomb.len() < 256 * 1024);
    let error = attempt(open_ended("", bomb), AfterAnswer::Hold).await.error();
    assert!(error.to_string().contains("longer than 33554432 bytes"), "{error}");
}

#[tokio::test]
async fn another_compression_is_named_and_not_retried() {
    for name in ["br", "zstd"] {
        let headers = format!("content-encoding: {name}\r\ncontent-type: text/event-stream\r\n");
        let error = attempt(open_ended(&headers, b"\x0b\x02\x80\xff\xfe\x03"), AfterAnswer::Close)
            .await
            .error();
        assert_eq!(classify(&error), Verdict::Fatal);
        assert!(
            error.to_string().contains(&format!("`content-encoding: {name}`")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_page_is_quoted_and_not_retried() {
    for (body, says) in [
        ("<html><title>Sign in to the network</title>", "Sign in to the network"),
        ("\u{feff}<!DOCTYPE html><p>Accept the <b>terms</b>", "Accept the terms"),
        ("upstream connect error", "upstream connect error"),
    ] {
        let error = attempt(open_ended("content-type: text/html\r\n", body), AfterAnswer::Close)
            .await
            .error();
        assert_eq!((error.kind(), classify(&error)), ("malformed_answer", Verdict::Fatal));
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn an_empty_answer_is_retried_in_every_form() {
    for headers in [
        "content-length: 0\r\n",
        "content-length: 0\r\ncontent-type: application/json\r\n",
        "content-type: application/json\r\n",
        "content-type: text/event-stream\r\n",
        "transfer-encoding: chunked\r\ncontent-type: application/json\r\n",
    ] {
        let body = if headers.contains("chunked") { "0\r\n\r\n" } else { "" };
        let seen = attempt(open_ended(headers, body), AfterAnswer::Close).await;
        assert_eq!(seen.measured, Measured::NoUsage);
        let error = seen.error();
        assert_eq!(
            (error.kind(), classify(&error)),
            ("stream_cut", Verdict::Retry),
            "{headers}"
        );
    }
    let blank = attempt(
        open_ended("content-type: application/json\r\n", " \r\n"),
        AfterAnswer::Close,
    )
    .await;
    assert_eq!(blank.error().kind(), "stream_cut");
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_is_retried_as_a_stream_is() {
    for at in [1, WHOLE.len() / 2, WHOLE.len() - 1] {
        let error = attempt(open_ended("", &WHOLE[..at]), AfterAnswer::Close).await.error();
        assert_eq!((error.kind(), classify(&error)), ("stream_cut", Verdict::Retry), "{at}");
    }
}

#[tokio::test]
async fn at_a_clean_end_the_last_line_counts() {
    let whole = format!("{BEGINNING}{END}");
    let without_end = whole.trim_end();
    for end in ["", "\n", "\r\n", "\r"] {
        let seen = attempt(open_ended("", format!("{without_end}{end}")), AfterAnswer::Close).await;
        assert!(
            matches!(seen.measured, Measured::Complete(usage) if usage.output_tokens == 3),
            "{end:?}"
        );
        assert_eq!(seen.result.unwrap().text(), "hello", "{end:?}");
    }
    // In the middle of the last event, or of a character.
    for cut in [
        &without_end[..without_end.len() - 1],
        &without_end[..without_end.len() - 20],
    ] {
        let error = attempt(open_ended("", cut), AfterAnswer::Close).await.error();
        assert_eq!(
            (error.kind(), classify(&error)),
            ("stream_cut", Verdict::Retry),
            "{cut}"
        );
    }
    let mut cut = format!("{BEGINNING}data: ").into_bytes();
    cut.push(0xc3);
    assert_eq!(
        attempt(open_ended("", cut), AfterAnswer::Close).await.error().kind(),
        "stream_cut"
    );
}
