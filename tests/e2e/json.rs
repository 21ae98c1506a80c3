//! JSON crosses the host as text: from a component's schema to the API, from the model to the guest, and back to the API.

use cofferdam::events::Outcome;
use cofferdam::simulator::{Answer, ToolCall};
use cofferdam_tests::{WatGuest, WatTool, faulty, finish};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::lab;

const SCHEMA: &str = r#"{"type":"object","properties":{"reasoning":{"type":"string"},"confidence":{"type":"number","maximum":1.0},"answer":{"type":"integer"},"scores":{"type":"array","items":{"type":["integer","null"]}}}}"#;

/// A guest with one tool `t`, which answers with its input.
fn parrot() -> Vec<u8> {
    let tool = WatTool {
        // Pretty, as many toolchains write it.
        schema: SCHEMA.replace(',', " ,\n  "),
        ..WatTool::named("t")
    };
    // The result's text is the third and fourth parameter: the input.
    WatGuest::new([tool])
        .call(
            "(local.set $i (i32.load (i32.const 24)))
            (i32.store (i32.add (local.get $i) (i32.const 4)) (local.get 2))
            (i32.store (i32.add (local.get $i) (i32.const 8)) (local.get 3))",
        )
        .build()
}

const PARROT: &str = "[plugins.wat]\ncomponent = \"guest.wasm\"\nrequired = true\n";

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn delta(index: u32, delta: &str) -> String {
    event(&format!(
        r#"{{"type":"content_block_delta","index":{index},"delta":{delta}}}"#
    ))
}

fn start(index: u32, block: &str) -> String {
    event(&format!(
        r#"{{"type":"content_block_start","index":{index},"content_block":{block}}}"#
    ))
}

/// A stream with this content.
fn answer(content: &str, stop_reason: &str) -> String {
    let begin =
        event(r#"{"type":"message_start","message":{"model":"m","usage":{"input_tokens":9,"output_tokens":1}}}"#);
    let end = event(&format!(
        r#"{{"type":"message_delta","delta":{{"stop_reason":"{stop_reason}"}},"usage":{{"output_tokens":3}}}}"#
    ));
    format!("{begin}{content}{end}{}", event(r#"{"type":"message_stop"}"#))
}

/// Reads one request and returns its body.
async fn read_body(socket: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let mut piece = [0; 4096];
        let length = socket.read(&mut piece).await.unwrap();
        request.extend_from_slice(&piece[..length]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let size = head.to_ascii_lowercase();
            let size = size
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            if body.len() >= size.parse().unwrap() {
                return body.to_owned();
            }
        }
        assert_ne!(length, 0, "cut off: {text}");
    }
}

/// Gives these answers, one for each connection, and returns the requests' bodies.
async fn serve(listener: TcpListener, answers: Vec<String>) -> Vec<String> {
    let mut bodies = Vec::new();
    for answer in answers {
        let (mut socket, _) = listener.accept().await.unwrap();
        bodies.push(read_body(&mut socket).await);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        socket.write_all((head + &answer).as_bytes()).await.unwrap();
        socket.shutdown().await.unwrap();
    }
    bodies
}

#[tokio::test]
async fn order_digits_and_spelling_survive_the_whole_way() {
    let thinking = r#"{"type":"thinking","thinking":"","signature":"sig\/"}"#;
    let input = r#"{"reasoning": "\u00fc", "confidence":1.0,  "answer":12345678901234567890123, "scores":[1, null]}"#;
    let piece = json!({ "type": "input_json_delta", "partial_json": input }).to_string();
    let content = [
        start(0, &thinking.replace(r"sig\/", "")),
        delta(0, r#"{"type":"signature_delta","signature":"sig\/"}"#),
        start(
            1,
            r#"{"type":"tool_use","id":"toolu_1","name":"t","input":{},"caller":{"type":"direct","b":1,"a":2}}"#,
        ),
        delta(1, &piece),
    ];
    let answers = vec![
        answer(&content.concat(), "tool_use"),
        answer(&start(0, r#"{"type":"text","text":"Done."}"#), "end_turn"),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lab = lab([]);
    lab.write("guest.wasm", parrot());
    lab.configure(PARROT);
    let mut command = lab.command(["run", "--output", "json", "Go."]);
    let ran = finish(command.env("COFFERDAM_MODEL__BASE_URL", url).spawn().unwrap());
    let (bodies, ran) = tokio::join!(serve(listener, answers), ran);
    assert_eq!(ran.expect_code(0).json()["answer"], "Done.");

    let schema = format!(r#""input_schema":{SCHEMA}"#);
    assert!(bodies[0].contains(&schema), "{}", bodies[0]);
    // The guest's answer is what it received.
    let call = format!(
        r#"{{"type":"tool_use","id":"toolu_1","name":"t","input":{input},"caller":{{"type":"direct","b":1,"a":2}}}}"#
    );
    let received = json!({ "type": "text", "text": input });
    for sent in [&schema, thinking, &call, &received["text"].to_string()] {
        assert!(bodies[1].contains(sent), "{sent}\nis missing in\n{}", bodies[1]);
    }
}

async fn call_parrot(input: &str) -> String {
    let lab = lab([]);
    lab.write("guest.wasm", parrot());
    lab.configure(PARROT);
    lab.call(["tool", "call", "t", input]).await.expect_code(0).stdout
}

#[tokio::test]
async fn whole_numbers_reach_the_guest_as_integers_where_the_schema_says_so() {
    let received = call_parrot(r#"{"answer": 1e3, "confidence": 1.0, "scores": [2.0, null, 3], "other": 1.0}"#).await;
    assert_eq!(
        received.trim_end(),
        r#"{"answer": 1000, "confidence": 1.0, "scores": [2, null, 3], "other": 1.0}"#
    );
}

/// A number of five bytes becomes one of forty.
#[tokio::test]
async fn the_limit_on_the_input_also_holds_after_numbers_have_become_integers() {
    let lab = lab([]);
    lab.write("guest.wasm", parrot());
    lab.configure(&format!("{PARROT}[plugins.wat.limits]\ninput_bytes = \"1KiB\"\n"));
    let call = async |count: usize, code: i32| {
        let input = format!(r#"{{"scores":[{}]}}"#, vec!["1e39"; count].join(","));
        assert!(input.len() < 1024);
        lab.call(["tool", "call", "t", &input]).await.expect_code(code).stdout
    };
    assert!(call(10, 0).await.contains("1000000000000000000000000000000000000000"));
    let refused = call(100, 1).await;
    assert!(refused.contains("more than input_bytes allows (1KiB)"), "{refused}");
}

/// The model's mistake, not the end of the run.
#[tokio::test]
async fn an_input_that_is_no_object_is_answered_with_what_is_wrong() {
    for (input, says) in [
        ("{\"a\": \"\t\"}", "control character"),
        (r#"{"a": "\d"}"#, "invalid escape at line 1 column 9"),
        (r#"{"a": "\ud83d"}"#, "hex escape"),
        (r#"{"a": "#, "column 6"),
        ("{} {}", "trailing characters"),
        ("[1]", "it is an array"),
        (r#"{"a": 1, "a": 2}"#, "a second field `a`"),
    ] {
        let lab = lab([
            Answer::tools([
                ToolCall::truncated("echo", input),
                ToolCall::new("echo", json!({ "b": 1 })),
            ]),
            Answer::text("I see."),
        ]);
        lab.configure(&faulty(""));
        let report = lab.report(0).await;
        let stats = &report["metrics"]["tools"]["echo"];
        assert_eq!(
            stats["outcomes"],
            json!({ (Outcome::InvalidInput.name()): 1, (Outcome::Ok.name()): 1 }),
            "{input}: {report:#}"
        );
        let breakers = report["breakers"].as_array().unwrap();
        let echo = breakers.iter().find(|breaker| breaker["name"] == "tool:echo").unwrap();
        assert_eq!(echo["failure_count"], 0);
        let messages = &lab.simulator.requests()[1].body["messages"];
        let calls: Vec<&Value> = [0, 1].iter().map(|at| &messages[1]["content"][at]["input"]).collect();
        assert_eq!(calls, [&json!({}), &json!({ "b": 1 })]);
        let result = &messages[2]["content"][0];
        let text = result["content"][0]["text"].as_str().unwrap();
        assert!(text.contains(says) && result["is_error"] == true, "{input}: {text}");
        let quote = format!("It begins with: {}", input.replace('\t', "\\t"));
        assert!(text.ends_with(&quote), "{input}: {text}");
    }
}

/// A guest and a validator could read different ones of the two.
#[tokio::test]
async fn a_schema_with_a_name_twice_is_refused() {
    let tool = WatTool {
        schema: r#"{"type":"object","properties":{"a":{"type":"string"},"a":{"type":"integer"}}}"#.to_owned(),
        ..WatTool::named("t")
    };
    let lab = lab([]);
    lab.write("guest.wasm", WatGuest::new([tool]).build());
    lab.configure(PARROT);
    let ran = lab.call(["tool", "list"]).await.expect_code(2);
    assert!(ran.stderr.contains("a second field `a`"), "{ran}");
}
