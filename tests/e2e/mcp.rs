//! The MCP server, spoken to line by line. `tests/mcp` has the official client against the same binary.

use cofferdam_tests::{ANSWER_TIMEOUT, McpClient, McpHttpServer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::lab;

const FAULTY: [&str; 4] = ["mcp", "--plugin", "builtin:faulty", "--quiet"];

fn outcome(answer: &Value) -> &str {
    answer["result"]["_meta"]["cofferdam/outcome"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

#[tokio::test]
async fn the_configured_tools_are_served_with_the_limits_of_the_configuration() {
    let lab = lab([]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits.fuel = 50_000_000\n");
    let mut client = McpClient::start(&lab, &["mcp", "--quiet"]).await;
    client.request(1, "tools/list", json!({})).await;
    let list = client.answer().await;
    let tools = list["result"]["tools"].as_array().unwrap();
    let calculate = tools.iter().find(|tool| tool["name"] == "calculate").unwrap();
    assert_eq!(calculate["inputSchema"]["type"], "object");
    assert_eq!(calculate["annotations"]["readOnlyHint"], true);

    client.call(2, "calculate", json!({ "expression": "25 * 17" })).await;
    let answer = client.answer().await;
    assert_eq!(answer["result"]["content"], json!([{ "type": "text", "text": "425" }]));
    assert_eq!(outcome(&answer), "ok");
    client.call(3, "loop_forever", json!({})).await;
    let answer = client.answer().await;
    assert_eq!(
        (outcome(&answer), &answer["result"]["isError"]),
        ("out_of_fuel", &json!(true))
    );
    client.call(4, "image", json!({})).await;
    assert_eq!(client.answer().await["result"]["content"][0]["type"], "image");
    client.call(5, "nothing_like_this", json!({})).await;
    assert_eq!(client.answer().await["error"]["code"], -32602);
    let (rest, ran) = client.leave().await;
    assert!(rest.is_empty());
    let ran = ran.expect_code(0);
    assert_eq!(ran.stderr, "");
}

/// The log goes to stderr, whatever its level.
#[tokio::test]
async fn stdout_has_nothing_but_the_protocol() {
    let lab = lab([]);
    let mut client = McpClient::start(&lab, &["mcp", "--plugin", "builtin:faulty", "--verbose"]).await;
    client.call(1, "log", json!({})).await;
    assert_eq!(outcome(&client.answer().await), "ok");
    let (rest, ran) = client.leave().await;
    assert!(rest.is_empty());
    let ran = ran.expect_code(0);
    assert!(ran.stderr.contains("tool finished"), "{ran}");
    lab.call(["mcp", "--output", "json"]).await.expect_code(2);
}

#[tokio::test]
async fn calls_are_answered_as_they_end_and_one_too_many_is_overloaded() {
    let lab = lab([]);
    let mut client = McpClient::start(&lab, &FAULTY).await;
    for id in 1..=64 {
        client.call(id, "sleep", json!({ "ms": 600_000 })).await;
    }
    client.call(65, "echo", json!({})).await;
    let answer = client.answer().await;
    assert_eq!((&answer["id"], outcome(&answer)), (&json!(65), "overloaded"));
    // A cancelled call isn't answered, and makes room for another one.
    client
        .send(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }))
        .await;
    let mut id = 66;
    let answer = loop {
        client.call(id, "echo", json!({})).await;
        let answer = client.answer().await;
        assert_eq!(answer["id"], json!(id));
        if outcome(&answer) != "overloaded" {
            break answer;
        }
        id += 1;
    };
    // Sixteen calls of one plugin run at a time, so this one waited in vain behind those that sleep.
    assert!(["ok", "overloaded"].contains(&outcome(&answer)), "{answer}");
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn what_is_no_message_is_answered_with_the_protocols_error() {
    let lab = lab([]);
    let mut client = McpClient::start(&lab, &FAULTY).await;
    let huge = "x".repeat(17 * 1024 * 1024);
    // JSON-RPC: the id of the request, or null where it can't be read.
    for (line, code, id) in [
        ("{garbage", -32700, Value::Null),
        ("[{\"jsonrpc\": \"2.0\", \"id\": 1}]", -32600, Value::Null),
        ("{\"jsonrpc\": \"2.0\", \"id\": 1}", -32600, json!(1)),
        (
            "{\"jsonrpc\": \"2.0\", \"id\": \"a\", \"method\": 5}",
            -32600,
            json!("a"),
        ),
        ("{\"jsonrpc\": \"2.0\", \"id\": [1]}", -32600, Value::Null),
        ("5", -32600, Value::Null),
        (huge.as_str(), -32600, Value::Null),
    ] {
        client.stdin.write_all(line.as_bytes()).await.unwrap();
        client.stdin.write_all(b"\n").await.unwrap();
        let answer = client.answer().await;
        assert_eq!(
            (&answer["error"]["code"], answer.get("id")),
            (&json!(code), Some(&id)),
            "{answer}"
        );
    }
    client.call(1, "echo", json!({})).await;
    assert_eq!(outcome(&client.answer().await), "ok");
    client.leave().await.1.expect_code(0);
}

/// What is wrong with a request is said, and nothing ends by it.
#[tokio::test]
async fn what_is_wrong_with_parameters_is_named() {
    let lab = lab([]);
    let mut client = McpClient::connect(&lab, &FAULTY);
    let without_info = json!({ "protocolVersion": "2025-06-18", "capabilities": {} });
    let refused = async |client: &mut McpClient, method: &str, params: Value, words: &str| {
        client.request(1, method, params).await;
        let answer = client.answer().await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
        // As clients go on that don't look.
        client
            .send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .await;
    };
    refused(&mut client, "initialize", without_info, "`clientInfo` is missing").await;
    refused(&mut client, "initialize", json!({}), "`protocolVersion` is missing").await;
    refused(&mut client, "tools/list", json!({}), "send `initialize` first").await;
    client.begin().await;
    for (params, words) in [
        (
            json!({ "name": "echo", "arguments": "{}" }),
            "`arguments` must be an object, not a string",
        ),
        (json!({ "name": 5 }), "`name` must be a string"),
        (json!({}), "`name` is missing"),
    ] {
        refused(&mut client, "tools/call", params, words).await;
    }
    refused(&mut client, "tools/list", json!({ "cursor": "2" }), "no cursor").await;
    client.request(2, "tools/other", json!({})).await;
    assert_eq!(client.answer().await["error"]["code"], -32601);
    client.call(3, "echo", json!({})).await;
    assert_eq!(outcome(&client.answer().await), "ok");
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn over_http_what_is_wrong_with_a_request_is_named() {
    let lab = lab([]);
    let server = McpHttpServer::start(&lab, &["--plugin", "builtin:faulty"]).await;
    let post = "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: */*\r\nmcp-protocol-version: 2025-06-18";
    let call =
        |params: Value| json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params }).to_string();
    for (body, status, words) in [
        ("{garbage".to_owned(), 400, r#""code":-32700"#),
        (String::new(), 400, r#""code":-32700"#),
        ("[]".to_owned(), 400, "batches aren't supported"),
        (r#"{"jsonrpc":"2.0","id":8}"#.to_owned(), 400, r#""id":8"#),
        (
            call(json!({ "name": "echo", "arguments": [] })),
            200,
            "`arguments` must be an object",
        ),
        (
            call(json!({ "name": "echo", "arguments": {} })),
            200,
            r#""cofferdam/outcome":"ok""#,
        ),
    ] {
        let answer = server.request(post, &body).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{body}: {answer}");
        assert!(answer.contains(words), "{body}: {answer}");
    }
    let text = post.replace("application/json", "text/plain");
    let answer = server.request(&text, &call(json!({ "name": "echo" }))).await;
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_call_whose_client_leaves_is_cancelled() {
    let lab = lab([]);
    let mut client = McpClient::start(&lab, &["mcp", "--plugin", "builtin:faulty", "--verbose"]).await;
    client.call(1, "sleep", json!({ "ms": 600_000 })).await;
    let (_, ran) = client.leave().await;
    let ran = ran.expect_code(0);
    assert!(ran.stderr.contains("cancelled"), "{ran}");
}

#[tokio::test]
async fn over_http_only_clients_with_leave_are_served() {
    let lab = lab([]);
    let server = McpHttpServer::start(
        &lab,
        &[
            "--plugin",
            "builtin:calculator",
            "--token-env",
            "TOKEN",
            "--allow-origin",
            "http://localhost:6274",
        ],
    )
    .await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "calculate", "arguments": { "expression": "25 * 17" } } });
    let post = "POST /mcp HTTP/1.1\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18";
    for (headers, status, words) in [
        ("host: localhost\r\nauthorization: Bearer t0ken", "200", "425"),
        (
            "host: localhost\r\nauthorization: Bearer t0ken\r\norigin: http://localhost:6274",
            "200",
            "access-control-allow-origin: http://localhost:6274",
        ),
        ("host: localhost", "401", "www-authenticate: Bearer"),
        ("host: localhost\r\nauthorization: Bearer token", "401", "Bearer TOKEN"),
        (
            "host: attacker.example\r\nauthorization: Bearer t0ken",
            "403",
            "--allow-host",
        ),
        (
            "host: localhost\r\nauthorization: Bearer t0ken\r\norigin: http://attacker.example",
            "403",
            "--allow-origin",
        ),
    ] {
        let answer = server.request(&format!("{post}\r\n{headers}"), &call.to_string()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {answer}");
        assert!(answer.contains(words), "{headers}: {answer}");
        let health = server.request(&format!("GET /healthz HTTP/1.1\r\n{headers}"), "").await;
        assert!(health.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {health}");
    }
    let too_large = format!("{post}\r\nhost: localhost\r\nauthorization: Bearer t0ken");
    let answer = server.request(&too_large, &" ".repeat(17 * 1024 * 1024)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.stop().await;
}

/// A client that breaks off its request cancels its call.
#[tokio::test]
async fn over_http_a_client_that_vanishes_cancels_its_call() {
    let lab = lab([]);
    lab.configure(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nlimits.concurrency = 1\nlimits.timeout = \"5m\"\n",
    );
    let server = McpHttpServer::start(&lab, &[]).await;
    let request = |tool: &str, input: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": input } });
        let body = body.to_string();
        format!(
            "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\nmcp-protocol-version: 2025-06-18\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut gone = TcpStream::connect(&server.address).await.unwrap();
    gone.write_all(request("sleep", json!({ "ms": 600_000 })).as_bytes())
        .await
        .unwrap();
    drop(gone);
    // It runs only once the call of the client that is gone has ended, for the tool has one place.
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream
        .write_all(request("sleep", json!({ "ms": 1 })).as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    tokio::time::timeout(ANSWER_TIMEOUT, stream.read_to_string(&mut answer))
        .await
        .expect("no answer")
        .unwrap();
    assert!(answer.contains("\"cofferdam/outcome\":\"ok\""), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_others_can_reach_needs_a_token() {
    let lab = lab([]);
    let ran = lab.call(["mcp", "--http", "0.0.0.0:0"]).await.expect_code(2);
    assert!(
        ran.stderr.contains("no token") && ran.stderr.contains("--token-env"),
        "{ran}"
    );
    let ran = lab
        .call(["mcp", "--http", "127.0.0.1:0", "--token-env", "UNSET"])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("UNSET is not set"), "{ran}");
    let ran = lab
        .call(["mcp", "--config", "x.toml", "--plugin", "builtin:calculator"])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("--plugin"), "{ran}");
    let ran = lab.call(["mcp", "--plugin", "missing.wasm"]).await.expect_code(2);
    assert!(ran.stderr.contains("missing.wasm"), "{ran}");
}

#[tokio::test]
async fn the_clients_configuration_is_printed() {
    let lab = lab([]);
    for (client, key) in [("claude", "mcpServers"), ("vscode", "servers")] {
        let ran = lab.call(["mcp", "config", "--client", client]).await.expect_code(0);
        let server = &ran.json()[key]["cofferdam"];
        let arguments = json!([
            "mcp",
            "--config",
            lab.folder.path().canonicalize().unwrap().join("cofferdam.toml")
        ]);
        assert_eq!(server["args"], arguments, "{ran}");
        assert!(server["command"].as_str().unwrap().starts_with('/'), "{ran}");
    }
}

/// A client would only say that its server doesn't start.
#[tokio::test]
async fn what_a_client_could_not_use_is_found_before_it_is_configured() {
    let lab = lab([]);
    lab.write("broken.wasm", "half a component");
    for (options, problem) in [
        (&["--plugin", "missing.wasm"][..], "missing.wasm"),
        (&["--plugin", "broken.wasm"], "this is not WebAssembly"),
        (&["--plugin", "builtin:calculator", "--dir", "missing"], "`--dir`"),
    ] {
        let ran = lab
            .call([&["mcp", "config", "--client", "claude"], options].concat())
            .await
            .expect_code(2);
        assert!(ran.stderr.contains(problem) && ran.stdout.is_empty(), "{ran}");
    }
    lab.configure("[plugins.broken]\ncomponent = \"broken.wasm\"\n");
    let ran = lab.call(["mcp", "config", "--client", "claude"]).await.expect_code(0);
    assert!(ran.stderr.contains("plugin `broken`"), "{ran}");
}
