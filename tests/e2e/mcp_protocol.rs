//! What the MCP server owes to clients of every kind: revisions, order, progress, and that nothing of one that has left stays.

use std::path::PathBuf;

use cofferdam_tests::{ANSWER_TIMEOUT, Behaviour, HttpServer, McpClient, McpHttpServer, hello};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::lab;

fn outcome(answer: &Value) -> &str {
    answer["result"]["_meta"]["cofferdam/outcome"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

fn post(revision: &str, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: {revision}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn call(tool: &str, input: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": input } })
}

#[tokio::test]
async fn a_client_of_any_revision_learns_which_one_is_spoken() {
    let lab = lab([]);
    let known = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
    for asked in known.into_iter().chain(["1999-01-01", "2999-12-31", ""]) {
        let mut client = McpClient::start(&lab, &["mcp", "--plugin", "builtin:calculator", "--quiet"]).await;
        // A second handshake on the same connection is answered as the first one.
        client.request(1, "initialize", hello(asked)).await;
        let answer = client.answer().await;
        let spoken = answer["result"]["protocolVersion"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"));
        match known.contains(&asked) {
            true => assert_eq!(spoken, asked),
            false => assert!(known.contains(&spoken), "{asked}: {answer}"),
        }
        client.leave().await.1.expect_code(0);
    }
    let server = McpHttpServer::start(&lab, &["--plugin", "builtin:calculator"]).await;
    let request = |revision: &str| post(revision, &call("calculate", json!({ "expression": "25 * 17" })));
    for (revision, status) in [
        ("2025-11-25", "200"),
        ("2025-06-18", "200"),
        ("1999-01-01", "400"),
        ("garbage", "400"),
    ] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(request(revision).as_bytes()).await.unwrap();
        let mut status_line = String::new();
        BufReader::new(stream).read_line(&mut status_line).await.unwrap();
        assert!(
            status_line.starts_with(&format!("HTTP/1.1 {status}")),
            "{revision}: {status_line}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn over_http_what_is_no_message_is_refused() {
    let lab = lab([]);
    let server = McpHttpServer::start(&lab, &["--plugin", "builtin:calculator"]).await;
    let head = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18";
    for body in [
        "{garbage",
        "[]",
        "[{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}]",
        "{\"jsonrpc\": \"2.0\", \"id\": 1}",
        "",
    ] {
        let answer = server.request(head, body).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{body}: {answer}");
    }
    let ping = "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}";
    let answer = server.request(head, ping).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    server.stop().await;
}

/// The tool runs one call at a time, so requests reach the upstream in the order in which their calls start. Answers may overtake
/// each other.
#[tokio::test]
async fn calls_start_in_order_of_arrival() {
    let lab = lab([]);
    let upstream = HttpServer::start(Behaviour::body("ok")).await;
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits.concurrency = 1\nhttp = [{{ url = \"{}/\" }}]\n",
        upstream.url()
    ));
    let mut client = McpClient::start(&lab, &["mcp", "--quiet"]).await;
    let paths: Vec<String> = (1..=60).map(|number| format!("/{number}")).collect();
    for (id, path) in (1..).zip(&paths) {
        let url = format!("{}{path}", upstream.url());
        client.call(id, "fetch", json!({ "url": url })).await;
    }
    for _ in &paths {
        let answer = client.answer().await;
        assert_eq!(outcome(&answer), "ok", "{answer}");
    }
    let heads = upstream.heads();
    let requested = heads.iter().map(|head| head.split(' ').nth(1).unwrap());
    assert_eq!(requested.collect::<Vec<_>>(), paths);
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn a_call_that_takes_long_reports_progress_if_asked() {
    let lab = lab([]);
    let mut client = McpClient::start(&lab, &["mcp", "--plugin", "builtin:faulty", "--quiet"]).await;
    let params = json!({ "name": "sleep", "arguments": { "ms": 7_000 }, "_meta": { "progressToken": "t-1" } });
    client.request(1, "tools/call", params).await;
    client.call(2, "sleep", json!({ "ms": 6_000 })).await;
    let progress = client.notification("notifications/progress").await;
    assert_eq!(progress["params"]["progressToken"], "t-1", "{progress}");
    assert!(progress["params"]["progress"].as_f64().unwrap() >= 5.0, "{progress}");
    for id in [2, 1] {
        let answer = client.answer().await;
        assert_eq!((&answer["id"], outcome(&answer)), (&json!(id), "ok"), "{answer}");
    }
    client.leave().await.1.expect_code(0);
}

/// What the process holds: its open files and child processes.
fn held(process: u32) -> (usize, usize) {
    let folder = PathBuf::from(format!("/proc/{process}"));
    let files = std::fs::read_dir(folder.join("fd")).unwrap().count();
    let children = std::fs::read_dir(folder.join("task")).unwrap().map(|task| {
        let list = std::fs::read_to_string(task.unwrap().path().join("children"));
        list.map_or(0, |list| list.split_whitespace().count())
    });
    (files, children.sum())
}

/// Clients break off in every state: before the head is over, in the body, while their call runs, and while its answer streams.
#[tokio::test]
async fn over_http_clients_that_vanish_leave_nothing_behind() {
    let lab = lab([]);
    // A call that still ran would have the last one wait in vain.
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits = { concurrency = 4, timeout = \"5m\" }\n");
    let server = McpHttpServer::start(&lab, &[]).await;
    let process = server.child.id().unwrap();
    let short = post("2025-06-18", &call("sleep", json!({ "ms": 1 })));
    let short = short.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let served = async {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(short.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = served.await;
    assert!(answer.contains("\"cofferdam/outcome\":\"ok\""), "{answer}");
    let before = held(process);

    let long = post("2025-06-18", &call("sleep", json!({ "ms": 200_000 })));
    let mut gone = Vec::new();
    for request in [&long[..20], &long[..long.len() - 5], &long[..]] {
        for _ in 0..4 {
            let mut stream = TcpStream::connect(&server.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            gone.push(stream);
        }
    }
    drop(gone);
    // Its answer begins with a notification, so it is a stream.
    let mut with_progress = call("sleep", json!({ "ms": 200_000 }));
    with_progress["params"]["_meta"] = json!({ "progressToken": 1 });
    let mut streaming = TcpStream::connect(&server.address).await.unwrap();
    streaming
        .write_all(post("2025-06-18", &with_progress).as_bytes())
        .await
        .unwrap();
    let mut lines = BufReader::new(streaming).lines();
    let progress = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("notifications/progress") {
                return;
            }
        }
        panic!("it ended without progress");
    };
    tokio::time::timeout(ANSWER_TIMEOUT, progress)
        .await
        .expect("no progress");
    drop(lines);

    let released = async {
        while held(process) > before {
            tokio::task::yield_now().await;
        }
        // All permits of the tool are free again.
        let mut streams = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(&server.address).await.unwrap();
            stream.write_all(short.as_bytes()).await.unwrap();
            streams.push(stream);
        }
        for mut stream in streams {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("\"cofferdam/outcome\":\"ok\""), "{answer}");
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, released)
        .await
        .expect("something is left behind");
    server.stop().await;
}

/// The log is on, and nobody reads it.
#[tokio::test]
async fn a_client_that_ignores_stderr_is_served() {
    let lab = lab([]);
    let mut server = lab
        .command(["mcp", "--plugin", "builtin:calculator", "--verbose"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = server.stdin.take().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello("2025-06-18") });
    stdin.write_all(format!("{hello}\n").as_bytes()).await.unwrap();
    let served = async {
        lines.next_line().await.unwrap().unwrap();
        // Each call logs some hundred bytes. A pipe holds 64 KiB.
        for _ in 0..1_500 {
            let call = call("calculate", json!({ "expression": "1" }));
            stdin.write_all(format!("{call}\n").as_bytes()).await.unwrap();
            let answer: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
            assert_eq!(outcome(&answer), "ok");
        }
    };
    tokio::time::timeout(ANSWER_TIMEOUT, served)
        .await
        .expect("it waits for its log to be read");
    drop(stdin);
    cofferdam_tests::finish(server).await.expect_code(0);
}
