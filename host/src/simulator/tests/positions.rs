//! Faults at the positions around and inside an answer: heads, ends, and between two requests.

use std::time::Duration;

use super::faults::{exchange, was_reset};
use super::*;

fn every(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn hello(kind: FaultKind, at: FaultPoint) -> Simulator {
    start(Script::new().answer(Answer::text("hello").with_fault(kind, at)))
}

/// Sends a request without waiting for its answer.
async fn ask(simulator: &Simulator, body: &Value) -> Client {
    let mut client = Client::connect(&simulator.url()).await;
    let body = body.to_string();
    client
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            body.as_bytes(),
        ))
        .await;
    client
}

#[tokio::test]
async fn a_head_can_break_off() {
    for (kind, reset) in [(FaultKind::Close, false), (FaultKind::Reset, true)] {
        for bytes in [0, 1, 12, 40] {
            let (text, ended) = exchange(&hello(kind.clone(), FaultPoint::HeadBytes(bytes)), &streamed()).await;
            assert_eq!(text.len(), bytes, "{kind:?}: {text:?}");
            assert!("HTTP/1.1 200 OK\r\n".starts_with(text.get(..bytes.min(17)).unwrap()));
            assert_eq!(was_reset(&ended), reset, "{kind:?}: {ended:?}");
        }
        // The head ends earlier.
        let (text, ended) = exchange(&hello(kind.clone(), FaultPoint::HeadBytes(9999)), &streamed()).await;
        assert!(text.ends_with("\r\n\r\n") && !text.contains("data:"), "{text}");
        assert_eq!(was_reset(&ended), reset, "{ended:?}");
    }
}

#[tokio::test]
async fn a_head_can_stall() {
    let simulator = hello(FaultKind::Stall, FaultPoint::HeadBytes(8));
    let mut client = ask(&simulator, &request()).await;
    assert_eq!(client.read_until(b"HTTP/1.1").await, b"HTTP/1.1");
    simulator.shutdown().await;
    assert_eq!(client.read_all().await.0, b"");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_comes_byte_by_byte() {
    let whole = call(&hello(FaultKind::Close, FaultPoint::AfterAnswer), &request())
        .await
        .body();
    let began = tokio::time::Instant::now();
    let simulator = hello(FaultKind::Drip { every: every(1000) }, FaultPoint::Request);
    let response = call(&simulator, &request()).await;
    assert_eq!(response.body(), whole);
    let (slow, head) = (began.elapsed().as_secs(), 150);
    assert!(slow > whole.len() as u64 + head, "{slow} s");

    let began = tokio::time::Instant::now();
    let simulator = hello(FaultKind::Drip { every: every(1000) }, FaultPoint::BeforeEnd(7));
    assert_eq!(call(&simulator, &request()).await.body(), whole);
    assert_eq!(began.elapsed().as_secs(), 7);

    let began = tokio::time::Instant::now();
    let simulator = hello(FaultKind::Drip { every: every(1000) }, FaultPoint::Events(3));
    assert_eq!(
        call(&simulator, &streamed()).await.events().last(),
        Some(&json!({ "type": "message_stop" }))
    );
    assert!(began.elapsed().as_secs() > 100);
}

#[tokio::test]
async fn a_kept_connection_can_close_after_an_answer() {
    for (kind, reset) in [(FaultKind::Close, false), (FaultKind::Reset, true)] {
        for body in [request(), streamed()] {
            let simulator = hello(kind.clone(), FaultPoint::AfterAnswer);
            let mut client = Client::connect(&simulator.url()).await;
            let response = client.post("/v1/messages", &body, &[]).await;
            assert_eq!(response.status, 200);
            assert_eq!(response.header("connection"), None, "the client may use it again");
            let (rest, ended) = client.read_all().await;
            assert_eq!((rest, was_reset(&ended)), (Vec::new(), reset), "{ended:?}");
        }
    }
}

#[tokio::test]
async fn a_whole_answer_is_shorter_than_its_length_says() {
    let (text, _) = exchange(&hello(FaultKind::Close, FaultPoint::Bytes(20)), &request()).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(body.len() == 20 && length > 100, "{text}");
    // A body that is cut ends properly.
    let cut = call(&hello(FaultKind::Cut, FaultPoint::BeforeEnd(1)), &request()).await;
    assert_eq!(cut.body().len(), length - 1);
}

#[tokio::test]
async fn the_last_event_can_miss_its_blank_line() {
    for (bytes, end) in [(1, "\"}\n"), (2, "\"}"), (3, "\"")] {
        let body = call(&hello(FaultKind::Cut, FaultPoint::BeforeEnd(bytes)), &streamed())
            .await
            .body();
        let text = String::from_utf8(body).unwrap();
        assert!(text.ends_with(&format!("message_stop{end}")), "{text}");
    }
}

#[tokio::test]
async fn text_of_the_script_takes_the_place_of_the_rest() {
    let done = FaultKind::Raw("data: [DONE]\n\n".to_owned());
    let body = call(&hello(done.clone(), FaultPoint::END), &streamed()).await.body();
    assert!(body.ends_with(b"{\"type\":\"message_stop\"}\n\ndata: [DONE]\n\n"));
    let body = call(&hello(done, FaultPoint::Events(1)), &streamed()).await.body();
    let text = String::from_utf8(body).unwrap();
    assert!(
        text.starts_with("event: message_start\n") && text.ends_with("}}\n\ndata: [DONE]\n\n"),
        "{text}"
    );

    for (kind, at, expected) in [
        (
            FaultKind::Raw("HTTP/1.0 200 Fine\r\n\r\nhi".to_owned()),
            FaultPoint::Request,
            "HTTP/1.0 200 Fine\r\n\r\nhi",
        ),
        (
            FaultKind::Garbage,
            FaultPoint::Request,
            "\u{fffd}\u{fffd}<html>upstream connect error\0{\"type\":",
        ),
    ] {
        let (text, ended) = exchange(&start(Script::new().answer(Answer::fault(kind, at))), &request()).await;
        assert!(text == expected && ended.is_ok(), "{text:?} {ended:?}");
    }
    let greeting = Answer::fault(FaultKind::Raw("220 mail ready\r\n".to_owned()), FaultPoint::Accept);
    let simulator = start(Script::new().answer(greeting));
    let mut client = Client::connect(&simulator.url()).await;
    assert_eq!(client.read_all().await.0, b"220 mail ready\r\n");
}

#[tokio::test]
async fn a_connection_can_stall_from_the_start() {
    let script = Script::new().answer(Answer::fault(FaultKind::Stall, FaultPoint::Accept));
    let simulator = start(script.answer(Answer::text("better")));
    let mut stalled = ask(&simulator, &request()).await;
    assert_eq!(call(&simulator, &request()).await.status, 200);
    assert_eq!(simulator.requests().len(), 1, "the first one was never read");
    simulator.shutdown().await;
    assert_eq!(stalled.read_all().await.0, b"");
}

#[tokio::test]
async fn pings_can_go_on_for_ever() {
    for pause in [every(0), every(1)] {
        let simulator = hello(FaultKind::Pings { every: pause }, FaultPoint::Events(2));
        let mut client = ask(&simulator, &streamed()).await;
        let mut seen = Vec::new();
        while seen.windows(12).filter(|window| *window == b"event: ping\n").count() < 100 {
            seen.extend(client.read_some().await);
        }
        assert!(!String::from_utf8_lossy(&seen).contains("message_stop"));
    }
}
