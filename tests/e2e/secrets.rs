//! The host adds secrets to outgoing requests and never lets them come back.

use cofferdam::simulator::Answer;
use cofferdam_tests::{Behaviour, HttpServer, Lab, Ran, finish, tool_call};
use serde_json::{Value, json};

use crate::lab;

const SECRET: &str = "s3cr3t-of-the-operator";

/// A lab that grants `server` with the secret attached, and logs everything that can be logged.
fn granted(answers: Vec<Answer>, server: &HttpServer) -> Lab {
    granted_with(answers, server, "")
}

/// The same with `more` lines in the plugin's section.
fn granted_with(answers: Vec<Answer>, server: &HttpServer, more: &str) -> Lab {
    let lab = lab(answers);
    lab.write("key.txt", format!("{SECRET}\n"));
    lab.configure(&format!(
        r#"
        [logging]
        directory = "logs"
        contents = true
        file = "trace"
        [secrets]
        KEY = {{ file = "key.txt" }}
        [plugins.faulty]
        component = "builtin:faulty"
        http = [{{ url = "{}/", methods = ["GET", "PUT"], headers = {{ Authorization = "Bearer ${{secret:KEY}}" }} }}]
        {more}
        "#,
        server.url()
    ));
    lab
}

/// Sends the request `input` with `fetch_raw`. Returns the tool's answer and the response body in it.
async fn fetch_raw_body(lab: &Lab, input: &Value) -> (Value, String) {
    let ran = lab.call_tool("fetch_raw", input).await.expect_code(0);
    let answer: Value = serde_json::from_str(ran.json()["content"][0]["text"].as_str().unwrap()).unwrap();
    let hex = answer["body"].as_str().unwrap_or_default().as_bytes().chunks(2);
    let body = hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let body = String::from_utf8_lossy(&body.collect::<Vec<_>>()).into_owned();
    (answer, body)
}

/// Whether the text contains four consecutive characters of the secret. The test's own texts contain none.
fn contains_part_of_secret(text: &str) -> bool {
    SECRET
        .as_bytes()
        .windows(4)
        .any(|part| text.as_bytes().windows(4).any(|four| four == part))
}

fn fetch(server: &HttpServer) -> Value {
    json!({ "url": format!("{}/x", server.url()), "headers": { "authorization": "Bearer of-the-guest", "accept-encoding": "br" } })
}

#[tokio::test]
async fn only_the_server_gets_the_secret() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = granted(vec![tool_call("fetch", fetch(&server)), Answer::text("Fine.")], &server);
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);

    let heads = server.heads();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: bearer {SECRET}\r\n")), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    assert!(!head.contains("of-the-guest") && !head.contains("br\r\n"), "{head}");

    let request = lab.simulator.requests()[1].body.to_string();
    assert!(request.contains(&"*".repeat(SECRET.len())), "{request}");
    let logs: String = std::fs::read_dir(lab.path("logs"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(logs.contains("fetch"), "{logs}");
    let shown = lab.call(["config", "show"]).await.expect_code(0).stdout;
    assert!(shown.contains("key.txt") && shown.contains("${secret:KEY}"), "{shown}");
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(inspected.contains("with Authorization"), "{inspected}");
    for text in [&request, &logs, &ran.stdout, &ran.stderr, &shown, &inspected] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_searched_is_refused() {
    let server = HttpServer::start(Behaviour::with_headers("content-encoding: gzip\r\n", b"not read")).await;
    let lab = granted(Vec::new(), &server);
    let ran = lab.call_tool("fetch", &fetch(&server)).await.expect_code(0);
    assert!(
        ran.json()["content"].to_string().contains("HttpResponseContentCoding"),
        "{ran}"
    );
}

/// Part of an echo can contain part of a secret, which masking doesn't recognise.
#[tokio::test]
async fn ranges_are_refused_with_a_secret() {
    let server = HttpServer::start(Behaviour::RangedEcho).await;
    let lab = granted(Vec::new(), &server);
    let ask = |method: &str, headers: Value| json!({ "url": server.url(), "method": method, "headers": headers });
    // As long as a `range` header, so that the secret has the same offset. The mask shows where.
    let (_, whole) = fetch_raw_body(&lab, &ask("GET", json!({ "xange": "bytes=0-100" }))).await;
    let begin = whole.find("***").unwrap();
    assert!((90..=180).contains(&begin), "{whole}");
    let middle = begin + SECRET.len() / 2;
    for range in [
        json!({ "range": format!("bytes=0-{middle:03}") }),
        json!({ "range": format!("bytes=-{}", whole.len() - middle) }),
        json!({ "Range": format!("bytes=-{}", whole.len() - middle), "If-Range": "\"x\"" }),
    ] {
        let (answer, body) = fetch_raw_body(&lab, &ask("GET", range.clone())).await;
        assert!(!contains_part_of_secret(&body), "{range}: {body}");
        assert!(body.contains(&"*".repeat(SECRET.len())), "{range}: {body}");
        assert_eq!(answer["status"], 200, "{range}: {answer}");
        // A server can ignore the range of a GET, but not that of a PUT.
        let (answer, _) = fetch_raw_body(&lab, &ask("PUT", range.clone())).await;
        assert!(answer.to_string().contains("HttpRequestDenied"), "{range}: {answer}");
    }
    let heads = server.heads();
    assert_eq!(heads.len(), 4, "{heads:?}");
    assert!(!heads.concat().to_ascii_lowercase().contains("range:"), "{heads:?}");
}

#[tokio::test]
async fn an_unrequested_partial_response_is_refused() {
    for head in [
        "206 Partial Content\r\ncontent-range: bytes 0-3/9",
        "206 Partial Content",
        "200 OK\r\ncontent-range: bytes 0-3/9",
        "416 Range Not Satisfiable\r\ncontent-range: bytes */9",
        "200 OK\r\ncontent-type: multipart/byteranges; boundary=x",
        "226 IM Used\r\nim: range",
    ] {
        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 4\r\n\r\n{}", &SECRET[..4]);
        let server = HttpServer::start(Behaviour::Answer(answer.into_bytes())).await;
        let lab = granted(Vec::new(), &server);
        let (answer, body) = fetch_raw_body(&lab, &json!({ "url": server.url() })).await;
        assert!(answer.to_string().contains("HttpProtocolError"), "{head}: {answer}");
        assert_eq!(body, "", "{head}");
    }
}

/// A plugin without a secret can request ranges.
#[tokio::test]
async fn ranges_are_allowed_without_a_secret() {
    let server = HttpServer::start(Behaviour::RangedEcho).await;
    let lab = lab([]);
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\" }}]\n",
        server.url()
    ));
    let input = json!({ "url": server.url(), "headers": { "range": "bytes=0-3" } });
    let (answer, body) = fetch_raw_body(&lab, &input).await;
    assert_eq!((&answer["status"], body.as_str()), (&json!(206), "GET "), "{answer}");
}

/// Held-back bytes may be the beginning of a secret. They are never released if the rest doesn't arrive.
#[tokio::test]
async fn an_echo_cut_by_the_guests_limit_is_held_back() {
    for (continues, input, limits, error) in [
        (false, json!({ "between_bytes_ms": 50 }), "", "connection read timeout"),
        (
            true,
            json!({}),
            "limits = { http_response_bytes = \"1KiB\" }",
            "HTTP response body size exceeds limit",
        ),
    ] {
        let server = HttpServer::start(Behaviour::CutEcho { continues }).await;
        let lab = granted_with(Vec::new(), &server, limits);
        let mut input = input;
        input["url"] = json!(server.url());
        let (answer, body) = fetch_raw_body(&lab, &input).await;
        assert!(answer["error"].to_string().contains(error), "{answer}");
        assert!(
            body.starts_with("GET / HTTP/1.1") && !contains_part_of_secret(&body),
            "{body}"
        );
    }
}

/// Editors add a byte order mark, and copied text contains zero-width spaces. Neither is sent, so neither hides an echo.
#[tokio::test]
async fn invisible_characters_around_a_secret_are_ignored() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = granted(Vec::new(), &server);
    let input = fetch(&server).to_string();
    let configuration = std::fs::read_to_string(lab.path("cofferdam.toml")).unwrap();
    for (before, after) in [
        ("\u{feff}", ""),
        ("\u{feff} ", "\u{200b}\r\n"),
        ("\u{2060}", "\u{a0}\u{feff}"),
    ] {
        let stored = format!("{before}{SECRET}{after}");
        for (source, variable) in [
            ("{ file = \"key.txt\" }", ""),
            ("{ env = \"MY_KEY\" }", stored.as_str()),
        ] {
            lab.write("key.txt", &stored);
            lab.write(
                "cofferdam.toml",
                configuration.replace("{ file = \"key.txt\" }", source),
            );
            let mut command = lab.command(["tool", "call", "fetch", &input, "--output", "json"]);
            command.env("MY_KEY", variable);
            let ran = finish(command.spawn().unwrap()).await.expect_code(0);
            assert!(!ran.stdout.contains(SECRET), "{ran}");
            assert!(ran.stdout.contains(&"*".repeat(SECRET.len())), "{ran}");
            let head = server.heads().pop().unwrap();
            assert!(
                head.contains(&format!("authorization: Bearer {SECRET}\r\n")),
                "{head:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_secret_that_a_header_cannot_carry_is_refused_by_name() {
    let lab = lab([]);
    lab.configure(
        "[secrets]\nKEY = { file = \"key.txt\" }\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nrequired = true\nhttp = [{ url = \"https://x/\", headers = { Authorization = \"Bearer ${secret:KEY}\" } }]\n",
    );
    for secret in [
        "s3cr3t\u{feff}of-the-operator",
        "schl\u{fc}ssel-of-the-operator",
        "Bearer s3cr3t-of-the",
        "s3cr3t\nof-the",
    ] {
        lab.write("key.txt", secret);
        let checked = lab.call(["config", "check"]).await;
        let listed = lab.call(["tool", "list"]).await.expect_code(2);
        for ran in [checked, listed] {
            assert!(ran.stderr.contains("the secret `KEY` must be visible ASCII"), "{ran}");
            assert!(!ran.stderr.contains("of-the"), "{ran}");
        }
    }
}

#[tokio::test]
async fn header_errors_are_reported_at_startup() {
    let lab = lab([]);
    let configure = |secret: &str| {
        lab.configure(&format!(
            "[secrets]\nKEY = {secret}\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"https://x/\", headers = {{ A = \"${{secret:KEY}}\", B = \"${{secret:OTHER}}\", Host = \"x\" }} }}]\n"
        ));
    };
    for (secret, says) in [
        ("{ env = \"A\", file = \"b\" }", "must have either env or file"),
        ("{}", "must have either env or file"),
    ] {
        configure(secret);
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        for says in [
            says,
            "there is no secret `OTHER`",
            "the host itself sets the header host",
            "hint:",
        ] {
            assert!(ran.stderr.contains(says), "{says}: {ran}");
        }
    }
    configure("{ env = \"MY_KEY\" }");
    let mut command = lab.command(["config", "check"]);
    command.env("MY_KEY", "long enough");
    let ran = finish(command.spawn().unwrap()).await.expect_code(2);
    assert!(!ran.stderr.contains("MY_KEY") && ran.stderr.contains("OTHER"), "{ran}");
}

/// Checking, showing and budget commands work without the secrets. Only a plugin that needs a missing one is left out.
#[tokio::test]
async fn without_a_secret_only_plugins_that_need_it_are_left_out() {
    let lab = lab([]);
    lab.write("short", "1234567\n");
    for (secret, says) in [
        ("{ env = \"NOT_SET\" }", "the environment variable `NOT_SET` is not set"),
        ("{ file = \"gone\" }", "the file in `file` does not exist"),
        (
            "{ env = \"npm_token\" }",
            "the environment variable named in `env` is not set",
        ),
        ("{ file = \".\" }", "the file in `file` isn't a regular file"),
        ("{ file = \"short\" }", "the secret `KEY` has 7 bytes"),
    ] {
        let configure = |required: bool| {
            lab.configure(&format!(
                "[secrets]\nKEY = {secret}\n[plugins.calculator]\ncomponent = \"builtin:calculator\"\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nrequired = {required}\nhttp = [{{ url = \"https://x/\", headers = {{ A = \"${{secret:KEY}}\" }} }}]\n"
            ));
        };
        configure(false);
        for command in [&["budget"][..], &["config", "show"], &["config", "check", "--offline"]] {
            let ran = lab.call(command.iter().copied()).await.expect_code(0);
            assert_eq!(ran.stderr.contains(says), command.contains(&"check"), "{ran}");
        }
        // The plugin would be left out.
        let ran = lab.call(["config", "check"]).await.expect_code(1);
        assert!(ran.stderr.contains(says), "{ran}");
        let ran = lab.call(["tool", "list"]).await.expect_code(0);
        assert!(
            ran.stdout.contains("calculate") && !ran.stdout.contains("faulty"),
            "{ran}"
        );
        assert!(ran.stderr.contains(says) && ran.stderr.contains("hint"), "{ran}");
        configure(true);
        let ran = lab.call(["tool", "list"]).await.expect_code(2);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("1234567"), "{ran}");
    }
}

#[tokio::test]
async fn a_secret_sent_unencrypted_causes_a_warning() {
    let lab = lab([]);
    lab.write("key.txt", SECRET);
    let warned = async |url: &str, header: &str| {
        lab.configure(&format!(
            "[secrets]\nKEY = {{ file = \"key.txt\" }}\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{url}\", headers = {{ A = \"{header}\" }} }}]\n"
        ));
        let checked = lab.call(["config", "check"]).await.expect_code(0);
        let listed = lab.call(["tool", "list"]).await.expect_code(0);
        let warns = |ran: &Ran| ran.stderr.contains("unencrypted");
        assert_eq!(warns(&checked), warns(&listed), "{checked}{listed}");
        warns(&checked)
    };
    assert!(warned("http://intranet.example/", "${secret:KEY}").await);
    assert!(!warned("http://intranet.example/", "plain").await);
    assert!(!warned("https://intranet.example/", "${secret:KEY}").await);
    assert!(!warned("http://127.0.0.1:8080/", "${secret:KEY}").await);
}

/// The most likely mistake: the secret itself in place of its source.
#[tokio::test]
async fn a_misplaced_secret_is_not_printed() {
    let lab = lab([]);
    for secret in [
        "\"rk-live-4eC39HqLyjWD\"",
        "{ env = \"hunter6hunter6\" }",
        "{ env = 7123456789 }",
        "[\"hunter6hunter6\"]",
    ] {
        lab.configure(&format!("[secrets]\nSTRIPE = {secret}\n"));
        let ran = lab.call(["config", "check"]).await;
        // A variable of that name may exist on another machine.
        let is_a_name = secret.contains("env = \"");
        assert_eq!(ran.status.code(), Some(if is_a_name { 0 } else { 2 }), "{ran}");
        assert!(
            ran.stderr.contains("not shown") && (is_a_name || ran.stderr.contains("hint:")),
            "{ran}"
        );
        for part in ["4eC39", "hunter6", "7123456789"] {
            assert!(!ran.stderr.contains(part), "{ran}");
        }
    }
    lab.configure("");
    let mut command = lab.command(["config", "check"]);
    command.env("COFFERDAM_SECRETS__STRIPE", "plainsecretvalue");
    let ran = finish(command.spawn().unwrap()).await.expect_code(2);
    assert!(!ran.stderr.contains("plainsecretvalue"), "{ran}");
}

#[tokio::test]
async fn the_most_specific_grant_decides() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([]);
    lab.write("key.txt", format!(" {SECRET} \n"));
    let url = server.url();
    lab.configure(&format!(
        r#"
        [secrets]
        KEY = {{ file = "key.txt" }}
        [plugins.faulty]
        component = "builtin:faulty"
        http = [
            {{ url = "{url}/" }},
            {{ url = "{url}/api", headers = {{ X-Key = "${{secret:KEY}}" }} }},
        ]
        "#
    ));
    for path in ["other", "api/x"] {
        let input = json!({ "url": format!("{url}/{path}") }).to_string();
        lab.call(["tool", "call", "fetch", &input]).await.expect_code(0);
    }
    let heads = server.heads();
    assert!(!heads[0].contains(SECRET), "{}", heads[0]);
    // The surrounding white space is removed.
    assert!(heads[1].contains(&format!("x-key: {SECRET}\r\n")), "{}", heads[1]);
}

#[tokio::test]
async fn contradictory_configurations_are_refused() {
    let lab = lab([]);
    for (keys, says) in [
        (
            "http = [{ url = \"https://x/\", headers = { Authorization = \"Bearer abc\" } }]",
            "put it into [secrets]",
        ),
        (
            "http = [{ url = \"https://x/\", headers = { X-B = \"1\", x-b = \"2\" } }]",
            "appears twice",
        ),
        ("env = { \"A=B\" = \"x\" }", "isn't a valid variable name"),
        ("env = { \"\" = \"x\" }", "isn't a valid variable name"),
        ("env = { A = \"a\\u0000b\" }", "contains a NUL"),
        ("args = [\"a\\u0000b\"]", "contains a NUL"),
    ] {
        lab.configure(&format!("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n{keys}\n"));
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{says}: {ran}");
    }
}
