//! Connections that are reused, break, stall, or lead to something that isn't HTTP.

use std::io;

use tokio::net::TcpSocket;

use super::*;

/// Longer than what the kernels of both sides buffer.
const LONG: usize = 24 * 1024 * 1024;

/// An answer that keeps the connection open.
fn whole() -> String {
    let body = r#"{"model":"claude-x","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","usage":{"input_tokens":9,"output_tokens":3}}"#;
    http("200 OK", "content-type: application/json\r\n", body)
}

/// Gives the library's task the time to return the connection to the pool.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Asks twice on one connection, which `second` gets with the second request.
async fn ask_again(second: impl AsyncFnOnce(TcpStream)) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    let client = client(&settings);
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_request(&mut socket).await;
        socket.write_all(whole().as_bytes()).await.unwrap();
        read_request(&mut socket).await;
        second(socket).await;
    };
    let asking = async {
        assert_eq!(ask(&client).await.result.unwrap().text(), "hello");
        settle().await;
        ask(&client).await
    };
    tokio::join!(server, asking).1
}

#[tokio::test]
async fn a_connection_serves_the_next_request() {
    let seen = ask_again(async |mut socket| socket.write_all(whole().as_bytes()).await.unwrap()).await;
    assert_eq!(seen.result.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_request_that_meets_the_close_of_a_waiting_connection_costs_nothing_and_is_retried() {
    for reset in [false, true] {
        let seen = ask_again(async |socket| {
            if reset {
                socket.set_zero_linger().unwrap();
            }
        })
        .await;
        assert_eq!(seen.measured, Measured::NotStarted, "nothing to bill");
        let error = seen.error();
        assert_eq!((error.kind(), classify(&error)), ("connection_lost", Verdict::Retry));
    }
}

/// For example one that expects TLS.
#[tokio::test]
async fn a_server_that_closes_at_once_costs_nothing() {
    for then in [AfterAnswer::Close, AfterAnswer::Reset] {
        let seen = attempt("", then).await;
        assert_eq!(seen.measured, Measured::NotStarted);
        let error = seen.error();
        assert_eq!((error.kind(), classify(&error)), ("connection_lost", Verdict::Retry));
        assert!(error.hint().unwrap().contains("scheme"));
    }
}

#[tokio::test]
async fn a_later_close_may_have_been_billed() {
    let seen = ask_again(async |_socket| tokio::time::sleep(Duration::from_millis(1_200)).await).await;
    assert_eq!(seen.measured, Measured::NoUsage);
    assert_eq!(seen.error().kind(), "connection_lost");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_it_waited_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    let client = client(&settings);
    let server = async {
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            socket.write_all(whole().as_bytes()).await.unwrap();
        }
    };
    let asking = async {
        ask(&client).await.result.unwrap();
        settle().await;
        ask(&client).await
    };
    assert_eq!(tokio::join!(server, asking).1.result.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_connection_that_breaks_during_the_request_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    let client = client(&settings);
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 1024]).await.unwrap();
        socket.set_zero_linger().unwrap();
    };
    let (seen, ()) = tokio::join!(ask_long(&client, LONG), server);
    assert_eq!(seen.measured, Measured::NotStarted);
    let error = seen.error();
    assert_eq!((error.kind(), classify(&error)), ("connection_lost", Verdict::Retry));
}

/// A listener whose connections accept little before the server reads.
fn narrow_listener() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(16 * 1024)?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    socket.listen(1)
}

#[tokio::test]
async fn a_slow_upload_is_no_stall() {
    // More than the kernel takes at once, so that both the upload and what it has buffered last longer than the limit.
    const BYTES: usize = 16 * 1024 * 1024;
    let listener = narrow_listener().unwrap();
    let mut settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
    settings.idle_timeout = Duration::from_millis(400);
    let client = client(&settings);
    let server = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        // Together several times the limit.
        let mut piece = vec![0; BYTES / 64];
        for _ in 0..64 {
            socket.read_exact(&mut piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        socket.read_u8().await.unwrap();
        socket.write_all(whole().as_bytes()).await.unwrap();
        // Until the client has its answer.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = server => unreachable!(),
        seen = ask_long(&client, BYTES) => assert_eq!(seen.result.unwrap().text(), "hello"),
    }
}

#[tokio::test]
async fn a_stalled_upload_ends_and_costs_nothing() {
    let listener = narrow_listener().unwrap();
    for stream in [true, false] {
        let mut settings = settings(&format!("http://{}", listener.local_addr().unwrap()));
        settings.idle_timeout = Duration::from_millis(200);
        settings.stream = stream;
        let client = client(&settings);
        let (accepted, seen) = tokio::join!(listener.accept(), ask_long(&client, LONG));
        drop(accepted);
        assert_eq!(seen.measured, Measured::NotStarted);
        let error = seen.error();
        assert_eq!((error.kind(), classify(&error)), ("stream_stalled", Verdict::Retry));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_costs_nothing_and_is_not_retried() {
    for answer in [
        // A TLS alert.
        &b"\x15\x03\x01\x00\x02\x02\x46"[..],
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        // HTTP/2.
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    ] {
        let seen = attempt(answer, AfterAnswer::Close).await;
        assert_eq!(seen.measured, Measured::NotStarted);
        let error = seen.error();
        assert_eq!((error.kind(), classify(&error)), ("not_http", Verdict::Fatal));
        let shown = error.to_string();
        assert!(shown.contains("doesn't speak HTTP"), "{shown}");
        assert!(error.hint().unwrap().contains("https://"), "{error:?}");
    }
}
