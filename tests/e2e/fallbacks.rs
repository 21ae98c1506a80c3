//! `[[fallback_models]]`: the real binary, and servers of two vendors' APIs, one of which fails.

use cofferdam::simulator::{Answer, MessageAnswer, Script, Simulator, SimulatorOptions, ToolCall};
use cofferdam_tests::{Lab, Terminal};
use serde_json::{Value, json};

use crate::lab;

const FIRST: &str = "claude-sonnet-5-5";
/// It has a price in the built-in table.
const SECOND: &str = "claude-haiku-5-5";

/// A lab whose model fails over to a server of the Chat Completions API.
fn two_vendors(first: Vec<Answer>, second: Vec<Answer>) -> (Lab, Simulator) {
    let script = second.into_iter().fold(Script::new(), Script::answer);
    let other = Simulator::start(script, SimulatorOptions::default()).unwrap();
    let lab = lab(first);
    lab.configure(&format!(
        "model = \"{FIRST}\"\n[[fallback_models]]\nprovider = \"openai\"\nbase_url = \"{}/v1\"\nmodel = \"{SECOND}\"\n\
         max_tokens = 100\n[plugins.calculator]\ncomponent = \"builtin:calculator\"\n",
        other.url()
    ));
    (lab, other)
}

fn multiply_after_thinking() -> Answer {
    Answer::message(MessageAnswer {
        thinking: Some("hm".to_owned()),
        tools: vec![ToolCall::new("calculate", json!({ "expression": "25 * 17" }))],
        ..MessageAnswer::default()
    })
}

fn types(message: &Value) -> Vec<&str> {
    let blocks = message["content"].as_array().unwrap().iter();
    blocks.map(|block| block["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_conversation_goes_on_with_another_vendor_and_comes_back() {
    let (lab, other) = two_vendors(
        vec![
            multiply_after_thinking(),
            Answer::error(529),
            Answer::error(529),
            Answer::error(529),
            Answer::text("You are welcome."),
        ],
        vec![Answer::text("It is {{last_tool_results}}.")],
    );
    let run = |prompt: &'static str| ["run", "--output", "json", "--session", "trip", prompt];
    let ran = lab.call(run("What is 25 * 17?")).await.expect_code(0);
    let report = ran.json();
    assert_eq!(report["answer"], "It is 425.");
    assert_eq!(report["metrics"]["answers"], json!({ FIRST: 1, SECOND: 1 }));
    assert_eq!(
        (&report["metrics"]["fallbacks"], &report["metrics"]["retries"]),
        (&json!(1), &json!(2))
    );
    assert!(ran.stderr.contains("model falls back"), "{ran}");

    let asked = &other.requests()[0];
    assert_eq!(
        (asked.header("x-api-key"), asked.header("authorization")),
        (None, None),
        "the key of another vendor"
    );
    assert_eq!(
        (&asked.body["max_tokens"], &asked.body["model"]),
        (&json!(100), &json!(SECOND))
    );
    let messages = asked.body["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages
        .iter()
        .map(|message| message["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["user", "assistant", "tool"]);
    assert_eq!(messages[2]["content"], "425");
    assert!(
        !asked.body.to_string().contains("\"hm\""),
        "the thinking of another model: {}",
        asked.body
    );

    let report = lab.call(run("Thanks.")).await.expect_code(0).json();
    assert_eq!(report["answer"], "You are welcome.");
    let requests = lab.simulator.requests();
    assert_eq!(requests.len(), 5);
    let messages = requests[4].body["messages"].as_array().unwrap();
    assert_eq!(
        types(&messages[1]),
        ["thinking", "tool_use"],
        "the model gets its own thinking back"
    );
    assert_eq!(
        messages[3]["content"][0]["text"], "It is 425.",
        "and reads what the other one said"
    );
    let spent = lab
        .call(["budget", "show", "--by", "model", "--output", "json"])
        .await
        .expect_code(0);
    assert!(spent.stdout.contains(FIRST) && spent.stdout.contains(SECOND), "{spent}");
}

#[tokio::test]
async fn a_terminal_says_who_answered_and_why() {
    let (lab, _other) = two_vendors(vec![Answer::error(401)], vec![Answer::text("Here.")]);
    let mut terminal = Terminal::of_width(200);
    let mut child = terminal.start(lab.command(["run", "Go."]));
    terminal
        .wait_for(&format!("{FIRST} has no answer, so {SECOND} is asked: "))
        .await;
    terminal.wait_for(&format!("answered by {SECOND} (1)")).await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_fallback_that_is_chosen_is_asked_where_it_is() {
    let (lab, other) = two_vendors(vec![], vec![Answer::text("Here.").forever()]);
    let ran = lab.call(["run", "--model", SECOND, "Go."]).await.expect_code(0);
    assert!(!ran.stderr.contains("falls back"), "{ran}");
    let chat = lab
        .call_with_input(["chat"], format!("/model {SECOND}\nGo.\n"))
        .await
        .expect_code(0);
    assert!(
        chat.stdout.contains("Here.") && !chat.stderr.contains("falls back"),
        "{chat}"
    );
    assert_eq!((lab.simulator.requests().len(), other.requests().len()), (0, 2));
}

/// Whatever was asked in between, and however the chat began.
#[tokio::test]
async fn the_configured_model_is_asked_where_it_is_again() {
    for (begin, main, fallback) in [(&["chat"][..], 2, 1), (&["chat", "--model", SECOND], 1, 1)] {
        let (lab, other) = two_vendors(
            vec![Answer::text("Main.").forever()],
            vec![Answer::text("Other.").forever()],
        );
        let lines = match begin {
            ["chat"] => format!("Go.\n/model {SECOND}\nGo.\n/model {FIRST}\nGo.\n"),
            _ => format!("Go.\n/model {FIRST}\nGo.\n"),
        };
        lab.call_with_input(begin.iter().copied(), lines).await.expect_code(0);
        assert_eq!(
            (lab.simulator.requests().len(), other.requests().len()),
            (main, fallback),
            "{begin:?}"
        );
    }
}

/// A chat that changes its model keeps following the orders.
#[tokio::test]
async fn a_model_that_is_held_out_of_service_stays_so_for_another_first_one() {
    let (lab, other) = two_vendors(vec![Answer::error(401).forever()], vec![Answer::text("Never.")]);
    let host = other.url().replace("http://", "");
    lab.call(["breakers", "open", &format!("model:{SECOND}@{host}")])
        .await
        .expect_code(0);
    let chat = lab
        .call_with_input(["chat"], "Go.\n/model claude-opus-5-5\nGo.\n")
        .await;
    assert!(chat.stderr.contains("held open by an operator"), "{chat}");
    assert_eq!((lab.simulator.requests().len(), other.requests().len()), (2, 0));
}

#[tokio::test]
async fn an_operator_takes_the_first_model_out_of_service() {
    let (lab, _other) = two_vendors(vec![], vec![Answer::text("Here.")]);
    let name = format!("model:{FIRST}");
    lab.call(["breakers", "open", &name]).await.expect_code(0);
    let report = lab.report(0).await;
    assert_eq!(report["metrics"]["answers"], json!({ SECOND: 1 }));
    assert!(lab.simulator.requests().is_empty());
    let breakers = report["breakers"].as_array().unwrap();
    let states: Vec<_> = breakers
        .iter()
        .filter(|breaker| breaker["name"].as_str().unwrap().starts_with("model:"))
        .map(|breaker| breaker["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["open", "closed"]);
}

#[tokio::test]
async fn all_models_fail_and_each_is_named() {
    let (lab, other) = two_vendors(vec![Answer::error(401)], vec![Answer::error(404)]);
    let report = lab.report(1).await;
    let message = report["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!(
            "; then the fallback `{SECOND}` failed: HTTP 404 from {}/v1/chat/completions, ",
            other.url()
        )),
        "{message}"
    );
    assert_eq!(
        (&report["outcome"], &report["error"]["kind"]),
        (&json!("model_failed"), &json!("authentication"))
    );
    assert_eq!(
        report["error"]["hint"],
        format!(
            "check the API key in the variable `ANTHROPIC_API_KEY`\n\
             for `{SECOND}`, check `[[fallback_models]] model` and `[[fallback_models]] base_url`"
        )
    );
    assert_eq!((lab.simulator.requests().len(), other.requests().len()), (1, 1));
    assert_eq!(report["metrics"]["estimated_cost_usd"], "0.000000");
}

/// It would otherwise show in the middle of an outage.
#[tokio::test]
async fn a_fallback_that_cannot_work_is_found_at_the_start() {
    let lab = lab([Answer::text("Here.")]);
    lab.configure("[[fallback_models]]\nmodel = \"claude-haiku-5-5\"\napi_key_env = \"NO_SUCH_KEY\"\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(2);
    assert!(
        ran.stderr.contains("NO_SUCH_KEY") && lab.simulator.requests().is_empty(),
        "{ran}"
    );
    // The one that is missing may not be that of the model that is asked first.
    for chosen in [&[][..], &["--model", "claude-haiku-5-5"]] {
        let ran = lab.call([&["run", "Go."], chosen].concat()).await.expect_code(2);
        let says = "there is no API key for `claude-haiku-5-5`: the environment variable NO_SUCH_KEY";
        assert!(ran.stderr.contains(says), "{ran}");
    }
    let doctor = lab.call(["doctor"]).await;
    assert!(
        doctor.stdout.contains("fallback model") && doctor.stdout.contains("NO_SUCH_KEY"),
        "{doctor}"
    );

    for (fallback, says) in [
        ("provider = \"openai\"\n", "fallback_models[0].provider"),
        (
            "provider = \"simulated\"\nbase_url = \"http://127.0.0.1:1\"\n",
            "simulated and real models",
        ),
        // The key of [model] goes to no other server unasked.
        (
            "base_url = \"http://10.0.0.5\"\n",
            "another server needs its own api_key_env",
        ),
        ("max_tokens = 0\n", "fallback_models[0].max_tokens"),
        ("modle = \"m\"\n", "fallback_models[0].modle"),
        ("fallback_models = []\n", "fallback_models[0].fallback_models"),
    ] {
        lab.configure(&format!("[[fallback_models]]\n{fallback}"));
        let ran = lab.call(["config", "check"]).await.expect_code(2);
        assert!(ran.stderr.contains(says), "{fallback}{ran}");
    }
    lab.configure(
        "[[fallback_models]]\nprovider = \"openai\"\nbase_url = \"http://10.0.0.5\"\napi_key_env = \"CHAT_API_KEY\"\n",
    );
    let ran = lab.call(["config", "check"]).await;
    assert!(
        ran.stderr
            .contains("fallback_models[0]: the API key goes to http://10.0.0.5/ unencrypted"),
        "{ran}"
    );
    lab.configure("[[fallback_models]]\nmodel = \"nobody-knows\"\n");
    let ran = lab.call(["config", "check"]).await;
    assert!(
        ran.stderr.contains("fallback_models[0].model") && ran.stderr.contains("no price"),
        "{ran}"
    );
}
