//! What a guest can reach over HTTP: only granted URLs, and private addresses only if they are granted explicitly.

use cofferdam_tests::{Behaviour, HttpServer, Lab};
use serde_json::{Value, json};

use crate::lab;

/// A lab whose faulty plugin has these `http` grants.
fn granted(grants: &str) -> Lab {
    let lab = lab([]);
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{grants}]\n"
    ));
    lab
}

async fn fetch(lab: &Lab, input: Value) -> Value {
    let result = lab.call_tool("fetch", &input).await.expect_code(0).json();
    let text = result["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{result:#}"));
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn granted_urls_are_reachable() {
    let server = HttpServer::start(Behaviour::body("hello")).await;
    let lab = granted(&format!("{{ url = \"{}/v1\", methods = [\"GET\"] }}", server.url()));
    let answer = fetch(&lab, json!({ "url": format!("{}/v1/x?q=1", server.url()) })).await;
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")));
}

#[tokio::test]
async fn other_urls_are_denied_without_a_connection() {
    let server = HttpServer::start(Behaviour::body("secret")).await;
    let port = server.port();
    let lab = granted(&format!("{{ url = \"{}/v1/\", methods = [\"GET\"] }}", server.url()));
    for (url, method) in [
        (format!("http://127.0.0.1:{port}/"), "GET"),
        (format!("http://127.0.0.1:{port}/v1/../admin"), "GET"),
        (format!("http://127.0.0.1:{port}/v1/%2e%2e/admin"), "GET"),
        (format!("http://127.0.0.1:{port}/v1/..%2fadmin"), "GET"),
        (format!("http://127.0.0.1:{port}/v1/"), "POST"),
        (format!("http://127.0.0.1:{port}/v1/"), "CONNECT"),
        (format!("https://127.0.0.1:{port}/v1/"), "GET"),
        (format!("http://localhost:{port}/v1/"), "GET"),
        (format!("http://127.0.0.2:{port}/v1/"), "GET"),
        (format!("http://[::ffff:127.0.0.1]:{port}/v1/"), "GET"),
        (format!("http://user:pass@127.0.0.1:{port}/v1/"), "GET"),
        (format!("http://127.0.0.1:{port}@evil.test/v1/"), "GET"),
        ("http://169.254.169.254/latest/meta-data/".to_owned(), "GET"),
    ] {
        let answer = fetch(&lab, json!({ "url": url, "method": method })).await;
        assert_eq!(answer, json!({ "error": "HttpRequestDenied" }), "{method} {url}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn other_notations_of_a_granted_address_are_equivalent() {
    let server = HttpServer::start(Behaviour::body("hello")).await;
    let port = server.port();
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"] {
        let answer = fetch(&lab, json!({ "url": format!("http://{host}:{port}/") })).await;
        assert_eq!(answer["status"], 200, "{host}: {answer}");
    }
}

#[tokio::test]
async fn redirects_are_returned_and_not_followed() {
    let target = HttpServer::start(Behaviour::body("secret")).await;
    let server = HttpServer::start(Behaviour::redirect(&target.url())).await;
    let lab = granted(&format!(
        "{{ url = \"{}/\" }}, {{ url = \"{}/\" }}",
        server.url(),
        target.url()
    ));
    let answer = fetch(&lab, json!({ "url": server.url() })).await;
    assert_eq!((&answer["status"], target.requests()), (&json!(302), 0));
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_consulted() {
    let proxy = HttpServer::start(Behaviour::body("from the proxy")).await;
    let server = HttpServer::start(Behaviour::body("from the server")).await;
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    let input = json!({ "url": server.url() }).to_string();
    let mut command = lab.command(["tool", "call", "fetch", &input]);
    for name in ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"] {
        command.env(name, proxy.url());
    }
    let ran = cofferdam_tests::finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(ran.stdout.contains("from the server") && proxy.requests() == 0, "{ran}");
}

#[tokio::test]
async fn forbidden_headers_are_refused() {
    let server = HttpServer::start(Behaviour::body("hello")).await;
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    for name in ["host", "connection", "transfer-encoding", "proxy-authorization"] {
        let input = json!({ "url": server.url(), "headers": { name: "x" } });
        let answer = fetch(&lab, input).await;
        assert_eq!(answer, json!({ "error": "HeaderError::Forbidden" }), "{name}");
    }
    assert_eq!(server.requests(), 0);
}

/// The request goes where it was authorised, whatever `host` the guest sets.
#[tokio::test]
async fn the_host_sets_the_host_header() {
    let server = HttpServer::start(Behaviour::body("hello")).await;
    let port = server.port();
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    let url = format!("http://0x7f000001:{port}/a/../b?c=d");
    assert_eq!(fetch(&lab, json!({ "url": url })).await["status"], 200);
    let heads = server.heads();
    let lines: Vec<String> = heads[0].lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(lines[0], "get /b?c=d http/1.1");
    let hosts: Vec<&String> = lines.iter().filter(|line| line.starts_with("host:")).collect();
    assert_eq!(hosts, [&format!("host: 127.0.0.1:{port}")], "{heads:?}");
}

#[tokio::test]
async fn a_request_to_a_silent_server_ends_at_the_deadline() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\" }}]\n[plugins.faulty.limits]\ntimeout = \"300ms\"\n",
        server.url()
    ));
    let input = json!({ "url": server.url() });
    let result = lab.call_tool("fetch", &input).await.expect_code(1).json();
    assert_eq!((&result["outcome"], server.requests()), (&json!("timeout"), 1));
}

#[tokio::test]
async fn an_endless_response_head_is_an_http_error() {
    // More than 128 small headers; few headers of more than 64 KiB.
    let many: String = (0..130).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(200_000));
    for headers in [many, large] {
        let server = HttpServer::start(Behaviour::with_headers(&headers, "hello")).await;
        let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
        let answer = fetch(&lab, json!({ "url": server.url() })).await;
        assert!(answer["error"].is_string(), "{answer}");
    }
    // hyper's own limit is 100.
    let enough: String = (0..120).map(|number| format!("x-{number}: y\r\n")).collect();
    let server = HttpServer::start(Behaviour::with_headers(&enough, "hello")).await;
    let lab = granted(&format!("{{ url = \"{}/\" }}", server.url()));
    let answer = fetch(&lab, json!({ "url": server.url() })).await;
    assert_eq!(answer["status"], 200, "{answer}");
}

#[tokio::test]
async fn sockets_and_the_environment_are_empty() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let lab = granted("");
    let input = json!({ "port": server.port() }).to_string();
    let ran = lab.call(["tool", "call", "sockets", &input]).await.expect_code(0);
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(
        (&seen["connected"], &seen["resolved"]),
        (&json!(false), &json!(false)),
        "{seen}"
    );
    assert_eq!(server.requests(), 0);
    let ran = lab.call(["tool", "call", "read_env", "{}"]).await.expect_code(0);
    let seen: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(seen, json!({ "env": {}, "args": [], "preopens": [] }));
}

async fn upload(lab: &Lab, input: Value) -> Value {
    let result = lab.call_tool("upload", &input).await.expect_code(0).json();
    let text = result["content"][0]["text"].as_str();
    serde_json::from_str(text.unwrap_or_else(|| panic!("{result:#}"))).unwrap()
}

/// The values of `content-length` and `transfer-encoding` in the head of a request.
fn framing(head: &str) -> [Option<String>; 2] {
    let head = head.to_ascii_lowercase();
    ["content-length: ", "transfer-encoding: "]
        .map(|name| head.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned))
}

#[tokio::test]
async fn a_body_can_be_written_before_the_request_is_sent() {
    let server = HttpServer::start(Behaviour::Swallow).await;
    let lab = granted(&format!("{{ url = \"{}/\", methods = [\"POST\"] }}", server.url()));
    for bytes in [5_000, 64 * 1024] {
        let answer = upload(
            &lab,
            json!({ "url": server.url(), "bytes": bytes, "before_handle": true }),
        )
        .await;
        assert_eq!(
            answer,
            json!({ "sent": bytes, "status": 200, "body": bytes.to_string() })
        );
    }
    // There is nobody to send the rest, so the guest gets an error. It doesn't wait for its time-out.
    let answer = upload(
        &lab,
        json!({ "url": server.url(), "bytes": 100_000, "before_handle": true }),
    )
    .await;
    let error = answer["error"].as_str().unwrap_or_else(|| panic!("{answer}"));
    assert!(
        error.contains("call `outgoing-handler.handle` before writing more") && error.contains("after 65536 bytes"),
        "{error}"
    );
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn the_length_of_a_body_is_sent_where_it_is_known() {
    let server = HttpServer::start(Behaviour::Swallow).await;
    let methods = r#"["GET", "POST", "PUT", "PATCH", "DELETE"]"#;
    let lab = granted(&format!("{{ url = \"{}/\", methods = {methods} }}", server.url()));
    for method in ["POST", "PUT", "PATCH"] {
        fetch(&lab, json!({ "url": server.url(), "method": method })).await;
    }
    for before in [true, false] {
        for bytes in [0, 5_000] {
            let answer = upload(
                &lab,
                json!({ "url": server.url(), "bytes": bytes, "before_handle": before }),
            )
            .await;
            assert_eq!(
                (&answer["sent"], &answer["body"]),
                (&json!(bytes), &json!(bytes.to_string()))
            );
        }
    }
    let sent = upload(&lab, json!({ "url": server.url(), "bytes": 100_000 })).await;
    assert_eq!((&sent["sent"], &sent["status"]), (&json!(100_000), &json!(200)));
    let framings: Vec<_> = server.heads().iter().map(|head| framing(head)).collect();
    let length = |bytes: &str| [Some(bytes.to_owned()), None];
    let chunked = [None, Some("chunked".to_owned())];
    let [zero, some] = [length("0"), length("5000")];
    let expected = [&zero, &zero, &zero, &zero, &some, &zero, &some, &chunked];
    assert_eq!(framings.iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_length_that_the_guest_announces_and_does_not_keep_is_an_error() {
    let server = HttpServer::start(Behaviour::Swallow).await;
    let lab = granted(&format!("{{ url = \"{}/\", methods = [\"POST\"] }}", server.url()));
    let ask = |bytes: u64, before: bool| json!({ "url": server.url(), "bytes": bytes, "announced": 5_000, "before_handle": before });
    for before in [true, false] {
        let answer = upload(&lab, ask(5_000, before)).await;
        assert_eq!(answer, json!({ "sent": 5_000, "status": 200, "body": "5000" }));
        for bytes in [4_000, 6_000] {
            let answer = upload(&lab, ask(bytes, before)).await;
            assert!(answer["error"].is_string(), "{answer}");
        }
    }
    assert_eq!(server.heads().len(), 2);
}
