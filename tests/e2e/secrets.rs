//! A secret is put into a request as it leaves, and comes back to nobody.

use cofferdam::simulator::Answer;
use cofferdam_tests::{Behaviour, HttpServer, Lab, finish, tool_call};
use serde_json::{Value, json};

use crate::lab;

const SECRET: &str = "s3cr3t-of-the-operator";

/// A lab that grants `server`, with the secret attached, and sees everything that may be written down.
fn granted(answers: Vec<Answer>, server: &HttpServer) -> Lab {
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
        http = [{{ url = "{}/", headers = {{ Authorization = "Bearer ${{secret:KEY}}" }} }}]
        "#,
        server.url()
    ));
    lab
}

fn fetch(server: &HttpServer) -> Value {
    json!({ "url": format!("{}/x", server.url()), "headers": { "authorization": "Bearer of-the-guest", "accept-encoding": "br" } })
}

#[tokio::test]
async fn the_server_gets_the_secret_and_nobody_else_sees_it() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = granted(vec![tool_call("fetch", fetch(&server)), Answer::text("Fine.")], &server);
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);

    let heads = server.heads();
    let head = heads[0].to_ascii_lowercase();
    assert!(head.contains(&format!("authorization: bearer {SECRET}\r\n")), "{head}");
    assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    assert!(!head.contains("of-the-guest") && !head.contains("br\r\n"), "{head}");

    let told = lab.simulator.requests()[1].body.to_string();
    assert!(told.contains(&"*".repeat(SECRET.len())), "{told}");
    let logs: String = std::fs::read_dir(lab.path("logs"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    assert!(logs.contains("fetch"), "{logs}");
    let shown = lab.call(["config", "show"]).await.expect_code(0).stdout;
    assert!(shown.contains("key.txt") && shown.contains("${secret:KEY}"), "{shown}");
    let inspected = lab.inspect("builtin:faulty").await;
    assert!(inspected.contains("with authorization"), "{inspected}");
    for text in [&told, &logs, &ran.stdout, &ran.stderr, &shown, &inspected] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

#[tokio::test]
async fn an_answer_in_which_no_secret_could_be_found_is_refused() {
    let server = HttpServer::start(Behaviour::with_headers("content-encoding: gzip\r\n", b"not read")).await;
    let lab = granted(Vec::new(), &server);
    let ran = lab.call_tool("fetch", &fetch(&server)).await.expect_code(0);
    assert!(
        ran.json()["content"].to_string().contains("HttpResponseContentCoding"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_is_said_before_anything_starts() {
    let lab = lab([]);
    let configure = |secret: &str| {
        lab.configure(&format!(
            "[secrets]\nKEY = {secret}\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"https://x/\", headers = {{ A = \"${{secret:KEY}}\", B = \"${{secret:OTHER}}\", Host = \"x\" }} }}]\n"
        ));
    };
    lab.write("short", "1234567\n");
    for (secret, says) in [
        (
            "{ env = \"NOT_SET\" }",
            "secrets.KEY.env: the environment variable `NOT_SET` is not set",
        ),
        ("{ file = \"gone\" }", "`gone`: there is no such file"),
        ("{ file = \"short\" }", "the secret `KEY` has 7 bytes"),
        ("{ env = \"A\", file = \"b\" }", "must have either env or file"),
        ("{}", "must have either env or file"),
    ] {
        configure(secret);
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        for says in [
            says,
            "there is no secret `OTHER`",
            "the header host is the host's own business",
            "hint:",
        ] {
            assert!(ran.stderr.contains(says), "{says}: {ran}");
        }
        assert!(!ran.stderr.contains("1234567"), "{ran}");
    }
    configure("{ env = \"MY_KEY\" }");
    let mut command = lab.command(["config", "check"]);
    command.env("MY_KEY", "long enough");
    let ran = finish(command.spawn().unwrap()).await.expect_code(2);
    assert!(!ran.stderr.contains("MY_KEY") && ran.stderr.contains("OTHER"), "{ran}");
}

/// The most natural mistake: the secret itself, where it should be said where it comes from.
#[tokio::test]
async fn a_secret_in_the_wrong_place_is_not_repeated() {
    let lab = lab([]);
    for secret in [
        "\"rk-live-4eC39HqLyjWD\"",
        "{ env = \"hunter6hunter6\" }",
        "{ env = 7123456789 }",
        "[\"hunter6hunter6\"]",
    ] {
        lab.configure(&format!("[secrets]\nSTRIPE = {secret}\n"));
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        assert!(
            ran.stderr.contains("not shown") && ran.stderr.contains("hint:"),
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
async fn the_grant_that_says_most_about_a_place_decides() {
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
    // Without the white space around it.
    assert!(heads[1].contains(&format!("x-key: {SECRET}\r\n")), "{}", heads[1]);
}

#[tokio::test]
async fn what_a_configuration_cannot_mean_is_refused() {
    let lab = lab([]);
    for (keys, says) in [
        (
            "http = [{ url = \"https://x/\", headers = { Authorization = \"Bearer abc\" } }]",
            "put it into [secrets]",
        ),
        (
            "http = [{ url = \"https://x/\", headers = { X-B = \"1\", x-b = \"2\" } }]",
            "stands here twice",
        ),
        ("env = { \"A=B\" = \"x\" }", "no name of a variable"),
        ("env = { \"\" = \"x\" }", "no name of a variable"),
        ("env = { A = \"a\\u0000b\" }", "holds a NUL"),
        ("args = [\"a\\u0000b\"]", "holds a NUL"),
    ] {
        lab.configure(&format!("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n{keys}\n"));
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{says}: {ran}");
    }
}
