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
