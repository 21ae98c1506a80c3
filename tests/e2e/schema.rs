//! `run --schema`: answers that must match a JSON Schema.

use cofferdam::simulator::{Answer, ErrorAnswer, FaultKind, FaultPoint};
use cofferdam_tests::{Lab, Terminal, finish};
use serde_json::{Value, json};

use crate::lab;

const SCHEMA: &str = r#"{
  "type": "object",
  "properties": { "city": { "type": "string" }, "celsius": { "type": "integer" } },
  "required": ["city", "celsius"],
  "additionalProperties": false
}"#;

/// What asks the terminal to mark what is pasted: from then on a line is edited.
const PROMPT: &str = "\u{1b}[?2004h";

const GOOD: &str = r#"{"city":"Boston","celsius":12}"#;
const BAD: &str = r#"{"city":"Boston","celsius":"mild"}"#;

fn lab_with_schema(answers: impl IntoIterator<Item = Answer>) -> Lab {
    let lab = lab(answers);
    lab.write("weather.json", SCHEMA);
    lab
}

async fn report(lab: &Lab, code: i32) -> Value {
    let run = [
        "run",
        "--schema",
        "weather.json",
        "--output",
        "json",
        "How is it in Boston?",
    ];
    lab.call(run).await.expect_code(code).json()
}

fn last_text(lab: &Lab) -> String {
    let requests = lab.simulator.requests();
    let messages = requests.last().unwrap().body["messages"].as_array().unwrap();
    messages.last().unwrap()["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn the_api_is_asked_for_the_format_and_the_answer_is_its_json() {
    let lab = lab_with_schema([Answer::text(GOOD), Answer::text(format!("```json\n{GOOD}\n```"))]);
    let ran = lab
        .call(["run", "--schema", "weather.json", "How is it in Boston?"])
        .await
        .expect_code(0);
    assert_eq!(ran.stdout, format!("{GOOD}\n"));
    let format = lab.simulator.requests()[0].body["output_config"]["format"].clone();
    assert_eq!(format["type"], "json_schema");
    assert_eq!(format["schema"], serde_json::from_str::<Value>(SCHEMA).unwrap());
    assert_eq!(report(&lab, 0).await["answer"], GOOD, "without the fence");
}

#[tokio::test]
async fn a_server_of_the_other_api_is_asked_in_its_words() {
    let lab = lab_with_schema([Answer::text(GOOD)]);
    lab.configure("provider = \"openai\"\n");
    assert_eq!(report(&lab, 0).await["answer"], GOOD);
    let format = lab.simulator.requests()[0].body["response_format"].clone();
    assert_eq!(format["json_schema"]["schema"]["required"], json!(["city", "celsius"]));
}

#[tokio::test]
async fn an_answer_that_does_not_match_is_corrected() {
    let lab = lab_with_schema([Answer::text(BAD), Answer::text(GOOD)]);
    let report = report(&lab, 0).await;
    assert_eq!((&report["answer"], &report["iterations"]), (&json!(GOOD), &json!(2)));
    let said = last_text(&lab);
    assert!(said.contains("/celsius") && said.contains("\"required\""), "{said}");
    let id = report["session_id"].as_str().unwrap();
    let shown = lab.call(["session", "show", id]).await.expect_code(0);
    assert!(shown.stdout.contains("host: Your answer doesn't match"), "{shown}");
}

#[tokio::test]
async fn corrections_are_bounded() {
    let lab = lab_with_schema([Answer::text(BAD).forever()]);
    let report = report(&lab, 1).await;
    assert_eq!(
        (&report["error"]["kind"], &report["iterations"]),
        (&json!("invalid_answer"), &json!(3))
    );
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("/celsius"), "{message}");
    let id = report["session_id"].as_str().unwrap();
    let hint = report["error"]["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("`cofferdam session show {id}`")), "{hint}");
    // In `text`, nothing that doesn't match is printed as an answer.
    let ran = lab
        .call(["run", "--schema", "weather.json", "Go."])
        .await
        .expect_code(1);
    assert_eq!(ran.stdout, "");
    let says = format!("The last answer, which wasn't taken:\n{BAD}\n");
    assert_eq!(ran.stderr.matches(&says).count(), 1, "{ran}");
}

/// A fallback may know less of its API than the configured model.
#[tokio::test]
async fn a_fallback_that_refuses_the_field_is_asked_without_it() {
    let refused = Answer::error_with(ErrorAnswer {
        status: 400,
        message: Some("output_config: Extra inputs are not permitted".to_owned()),
        ..ErrorAnswer::default()
    });
    let lab = lab_with_schema([Answer::error(401), refused, Answer::error(401), Answer::text(GOOD)]);
    lab.configure("[[fallback_models]]\nmodel = \"claude-haiku-5-5\"\n");
    assert_eq!(report(&lab, 0).await["answer"], GOOD);
}

/// As gateways do that know only a part of the API.
#[tokio::test]
async fn where_the_field_is_refused_the_system_prompt_has_the_format() {
    let refused = Answer::error_with(ErrorAnswer {
        status: 400,
        message: Some("output_config: Extra inputs are not permitted".to_owned()),
        ..ErrorAnswer::default()
    });
    let lab = lab_with_schema([refused, Answer::text(BAD), Answer::text(GOOD)]);
    assert_eq!(report(&lab, 0).await["answer"], GOOD);
    let requests = lab.simulator.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests[1..] {
        assert_eq!(request.body["output_config"], Value::Null);
        let system = request.body["system"].to_string();
        assert!(system.contains("celsius"), "{system}");
    }
}

#[tokio::test]
async fn a_run_that_goes_on_keeps_its_schema() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab_with_schema([stalled, Answer::text(BAD), Answer::text(GOOD)]);
    let mut child = lab
        .command(["run", "--schema", "weather.json", "--session", "trip", "Go."])
        .spawn()
        .unwrap();
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    let resumed = lab.call(["session", "resume", "trip"]).await.expect_code(0);
    assert_eq!(resumed.stdout, format!("{GOOD}\n"), "and nothing that doesn't match");
    let formats = lab.simulator.requests();
    assert!(
        formats
            .iter()
            .all(|request| request.body["output_config"]["format"].is_object())
    );
}

/// With a file that was attached since.
#[tokio::test]
async fn enter_in_a_chat_sends_the_last_prompt_again_with_its_schema() {
    let lab = lab_with_schema([Answer::error(401), Answer::text(BAD), Answer::text(GOOD)]);
    lab.write("note.txt", "A note.");
    lab.call(["run", "--schema", "weather.json", "How is it in Boston?"])
        .await
        .expect_code(1);
    let mut terminal = Terminal::of_width(200);
    let child = terminal.start(lab.command(["chat", "--continue"]));
    terminal.wait_for("Enter at an empty line sends it again").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("/attach note.txt\r");
    terminal.wait_for("goes with the next prompt").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("\r");
    terminal.wait_for("\"Boston\"").await;
    terminal.wait_for(PROMPT).await;
    // Nothing is left.
    terminal.type_keys("\r");
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("\u{4}");
    finish(child).await.expect_code(0);
    let requests = lab.simulator.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert!(
            request.body["output_config"]["format"].is_object(),
            "{:#}",
            request.body
        );
    }
    let sent = requests[1].body["messages"].to_string();
    assert!(
        sent.contains("How is it in Boston?") && sent.contains("A note."),
        "{sent}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_schema_is_refused_before_anything_is_sent() {
    let lab = lab_with_schema([Answer::text(GOOD)]);
    for (text, says) in [
        ("{", "the schema is not JSON"),
        ("{\"type\": \"string\"}", "the root of the schema doesn't say"),
    ] {
        lab.write("weather.json", text);
        let ran = lab
            .call(["run", "--schema", "weather.json", "Go."])
            .await
            .expect_code(2);
        assert!(ran.stderr.contains(says), "{ran}");
    }
    let ran = lab
        .call(["run", "--schema", "nowhere.json", "Go."])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("nowhere.json"), "{ran}");
    assert!(lab.simulator.requests().is_empty());
}
