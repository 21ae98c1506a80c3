//! Transport faults, byte by byte.

use std::io::ErrorKind;

use super::*;

fn broken(kind: FaultKind, at: FaultPoint) -> Simulator {
    let options = StreamOptions {
        chunk: 4,
        ..StreamOptions::default()
    };
    start(Script::new().answer(match at {
        FaultPoint::Accept | FaultPoint::Request => Answer::fault(kind, at),
        _ => Answer::text("hello world").streamed(options).with_fault(kind, at),
    }))
}

/// Sends a request and reads until the connection ends.
pub(super) async fn exchange(simulator: &Simulator, body: &Value) -> (String, io::Result<usize>) {
    let mut client = Client::connect(&simulator.url()).await;
    client
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            body.to_string().as_bytes(),
        ))
        .await;
    let (bytes, ended) = client.read_all().await;
    (String::from_utf8_lossy(&bytes).into_owned(), ended)
}

pub(super) fn was_reset(ended: &io::Result<usize>) -> bool {
    ended
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn a_connection_can_be_reset_at_accept() {
    let simulator = start(
        Script::new()
            .answer(Answer::fault(FaultKind::Reset, FaultPoint::Accept))
            .answer(Answer::fault(FaultKind::Close, FaultPoint::Accept))
            .answer(Answer::text("better")),
    );
    let mut client = Client::connect(&simulator.url()).await;
    let (bytes, ended) = client.read_all().await;
    assert!(bytes.is_empty() && was_reset(&ended), "{ended:?}");
    let mut client = Client::connect(&simulator.url()).await;
    assert!(matches!(client.read_all().await, (bytes, Ok(0)) if bytes.is_empty()));
    assert_eq!(call(&simulator, &request()).await.status, 200);
    assert_eq!(simulator.requests().len(), 1);
}

#[tokio::test]
async fn an_accept_fault_hits_an_open_connection_at_the_next_request() {
    let simulator = start(
        Script::new()
            .answer(Answer::text("fine"))
            .answer(Answer::fault(FaultKind::Reset, FaultPoint::Accept)),
    );
    let mut client = Client::connect(&simulator.url()).await;
    assert_eq!(client.post("/v1/messages", &request(), &[]).await.status, 200);
    client
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            request().to_string().as_bytes(),
        ))
        .await;
    let (bytes, ended) = client.read_all().await;
    assert!(bytes.is_empty() && was_reset(&ended), "{ended:?}");
    assert_eq!(simulator.requests()[1].status, None);
}

#[tokio::test]
async fn a_request_fault_comes_before_any_byte_of_the_answer() {
    let (text, ended) = exchange(&broken(FaultKind::Reset, FaultPoint::Request), &request()).await;
    assert!(text.is_empty() && was_reset(&ended), "{text} {ended:?}");
    let (text, ended) = exchange(&broken(FaultKind::Close, FaultPoint::Request), &request()).await;
    assert!(text.is_empty() && ended.is_ok(), "{text} {ended:?}");
}

#[tokio::test]
async fn a_fault_after_bytes() {
    for (kind, reset) in [(FaultKind::Reset, true), (FaultKind::Close, false)] {
        let (text, ended) = exchange(&broken(kind.clone(), FaultPoint::Bytes(20)), &streamed()).await;
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        // One chunk of twenty bytes, and no last chunk: the message is incomplete.
        assert!(rest.starts_with("14\r\n") && rest.len() == 4 + 20 + 2, "{rest:?}");
        assert_eq!(was_reset(&ended), reset, "{kind:?}: {ended:?}");
    }
}

#[tokio::test]
async fn a_cut_stream_is_complete_http() {
    let simulator = broken(FaultKind::Cut, FaultPoint::Events(4));
    let events = call(&simulator, &streamed()).await.events();
    let names: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["message_start", "content_block_start", "ping", "content_block_delta"]
    );

    let simulator = broken(FaultKind::Cut, FaultPoint::Bytes(30));
    assert_eq!(call(&simulator, &request()).await.body().len(), 30);
}

#[tokio::test]
async fn a_stalled_stream_stays_open_and_silent() {
    let simulator = broken(FaultKind::Stall, FaultPoint::Events(1));
    let mut client = Client::connect(&simulator.url()).await;
    client
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            streamed().to_string().as_bytes(),
        ))
        .await;
    let head = client.read_until(b"\n\n\r\n").await;
    assert!(String::from_utf8_lossy(&head).contains("message_start"));
    // The stream ends only with the simulator, and nothing more arrives until then.
    simulator.shutdown().await;
    let (rest, _) = client.read_all().await;
    assert_eq!(rest, b"");

    let simulator = broken(FaultKind::Stall, FaultPoint::Request);
    let mut client = Client::connect(&simulator.url()).await;
    client
        .write(&client::bytes(
            "POST",
            "/v1/messages",
            &header_lines(&[]),
            streamed().to_string().as_bytes(),
        ))
        .await;
    while simulator.requests().is_empty() {
        tokio::task::yield_now().await;
    }
    drop(simulator);
    assert_eq!(client.read_all().await.0, b"");
}

#[tokio::test]
async fn an_error_within_a_stream() {
    let simulator = broken(FaultKind::overloaded(), FaultPoint::Events(4));
    let response = call(&simulator, &streamed()).await;
    assert_eq!(response.status, 200);
    let events = response.events();
    let error = json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" },
        "request_id": "req_sim_000001" });
    assert_eq!(events.len(), 5);
    assert_eq!(events.last(), Some(&error));

    let response = call(&broken(FaultKind::overloaded(), FaultPoint::Events(4)), &request()).await;
    assert_eq!((response.status, response.json()), (529, error));
}

#[tokio::test]
async fn garbage_and_truncated_input() {
    let body = call(&broken(FaultKind::Garbage, FaultPoint::Bytes(0)), &streamed())
        .await
        .body();
    assert!(std::str::from_utf8(&body).is_err());

    let half = || {
        Script::new().answer(Answer::message(MessageAnswer {
            tools: vec![ToolCall::truncated("calculate", "{\"expr")],
            stop_reason: Some("max_tokens".into()),
            ..MessageAnswer::default()
        }))
    };
    let events = call(&start(half()), &streamed()).await.events();
    assert_eq!(events[3]["delta"]["partial_json"], "{\"expr");
    assert_eq!(
        call(&start(half()), &request()).await.json()["content"][0]["input"],
        json!({})
    );
}

/// When the fault strikes, the sockets are full and hyper buffers the rest, which must be written before the connection
/// ends. The capacity of the sockets depends on the system, so the test tries several sizes.
#[tokio::test]
async fn pending_bytes_are_written_before_the_connection_ends() {
    let piece = "x".repeat(200_000);
    let stream = StreamOptions {
        chunk: piece.len(),
        ..StreamOptions::default()
    };
    for pieces in 14..=28 {
        let tools = (0..pieces).map(|_| ToolCall::truncated("calculate", piece.clone()));
        let answer = Answer::tools(tools).streamed(stream.clone());
        let simulator =
            start(Script::new().answer(answer.with_fault(FaultKind::Close, FaultPoint::Events(usize::MAX))));
        let mut client = Client::connect(&simulator.url()).await;
        client
            .write(&client::bytes(
                "POST",
                "/v1/messages",
                &header_lines(&[]),
                streamed().to_string().as_bytes(),
            ))
            .await;
        while simulator.requests().is_empty() {
            tokio::task::yield_now().await;
        }
        // Let the server run and write what it can before the first byte is read.
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        let (received, ended) = client.read_all().await;
        assert!(ended.is_ok(), "{pieces}: {ended:?}");
        assert!(
            received
                .windows(12)
                .rev()
                .take(100)
                .any(|window| window == b"message_stop"),
            "{pieces} pieces"
        );
    }
}

#[tokio::test]
async fn a_stopped_simulator_accepts_no_connection() {
    let simulator = start(Script::new().answer(Answer::text("ok").forever()));
    let mut client = Client::connect(&simulator.url()).await;
    assert_eq!(client.post("/v1/messages", &request(), &[]).await.status, 200);
    let address = simulator.url();
    simulator.shutdown().await;
    assert_eq!(client.read_all().await.0, b"");
    assert!(
        tokio::net::TcpStream::connect(address.trim_start_matches("http://"))
            .await
            .is_err()
    );
}
