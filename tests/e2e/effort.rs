//! Effort and thinking: asked for, checked against what the model takes, and sent.

use std::time::Duration;

use cofferdam::assembly::Host;
use cofferdam::config::Config;
use cofferdam::model::{Effort, ModelSettings};
use cofferdam::secret::Secret;
use cofferdam::simulator::Answer;
use cofferdam::store::Store;
use cofferdam_tests::{Behaviour, HttpServer, Lab};
use serde_json::{Value, json};

use crate::lab;

fn lab_with(settings: &str) -> Lab {
    let lab = lab([Answer::text("Done.").forever()]);
    lab.configure(settings);
    lab
}

/// The method and path of every request, in order.
fn asked(lab: &Lab) -> Vec<String> {
    let requests = lab.simulator.requests().into_iter();
    requests
        .map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

fn sent(lab: &Lab) -> Value {
    let requests = lab.simulator.requests();
    requests
        .iter()
        .find(|request| request.method == "POST")
        .unwrap()
        .body
        .clone()
}

#[tokio::test]
async fn what_is_set_is_sent_once_the_model_is_known_to_take_it() {
    let lab = lab_with("thinking = \"between_tools\"\neffort = \"low\"");
    lab.call(["run", "Go.", "--effort", "high"]).await.expect_code(0);
    assert_eq!(asked(&lab), ["GET /v1/models/claude-sonnet-5-5", "POST /v1/messages"]);
    let body = sent(&lab);
    assert_eq!(
        (&body["thinking"], &body["output_config"]),
        (&json!({ "type": "between_tools" }), &json!({ "effort": "high" }))
    );

    let lab = lab_with("model = \"claude-haiku-4-5\"\nthinking_budget = 2048");
    lab.report(0).await;
    assert_eq!(
        sent(&lab)["thinking"],
        json!({ "type": "enabled", "budget_tokens": 2_048 })
    );
}

#[tokio::test]
async fn nobody_is_asked_where_nothing_is_set() {
    let lab = lab_with("");
    lab.report(0).await;
    assert_eq!(asked(&lab), ["POST /v1/messages"]);
    let body = sent(&lab);
    assert!(
        body.get("thinking").is_none() && body.get("output_config").is_none(),
        "{body}"
    );
}

#[tokio::test]
async fn what_the_model_does_not_take_is_an_error_that_names_what_it_takes() {
    for (settings, says) in [
        (
            "model = \"claude-haiku-4-5\"\neffort = \"low\"",
            ["`[model] effort` = \"low\"", "takes no effort"],
        ),
        (
            "thinking = \"off\"",
            ["`[model] thinking` = \"off\"", "\"adaptive\", \"between_tools\""],
        ),
        (
            "thinking_budget = 2000",
            ["`[model] thinking_budget` = 2000", "\"adaptive\", \"between_tools\""],
        ),
        (
            "[[fallback_models]]\nmodel = \"claude-opus-5-5\"\nthinking = \"off\"",
            ["the model `claude-opus-5-5` doesn't take", "takes \"adaptive\""],
        ),
    ] {
        let lab = lab_with(settings);
        let ran = lab.call(["run", "--output", "json", "Go."]).await.expect_code(2);
        let error = &ran.json()["error"];
        assert_eq!(error["kind"], "configuration", "{ran}");
        let message = error["message"].as_str().unwrap();
        assert!(says.iter().all(|words| message.contains(words)), "{message}");
        assert!(
            asked(&lab).iter().all(|asked| asked.starts_with("GET ")),
            "nothing was sent or charged"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_say_is_warned_of_and_the_run_goes_on() {
    // It lists no models with a date.
    let lab = lab_with("model = \"claude-opus-5-20260801\"\neffort = \"high\"");
    let ran = lab.call(["run", "Go."]).await.expect_code(0);
    assert!(
        ran.stderr
            .contains("didn't say what the model `claude-opus-5-20260801` takes: it answered with HTTP 404"),
        "{ran}"
    );
    assert_eq!(sent(&lab)["output_config"], json!({ "effort": "high" }));
}

#[tokio::test]
async fn a_conversation_keeps_its_model_if_another_does_not_take_the_effort() {
    let lab = lab_with("effort = \"high\"");
    let input = "/model claude-haiku-4-5\nGo.\n/model claude-opus-5\nAgain.\n";
    let chat = ["chat", "--output", "json"];
    let ran = lab.call_with_input(chat, input).await.expect_code(0);
    assert!(ran.stderr.contains("takes no effort"), "{ran}");
    let requests = lab.simulator.requests();
    let models = requests
        .iter()
        .filter(|request| request.method == "POST")
        .map(|request| &request.body["model"]);
    assert_eq!(models.collect::<Vec<_>>(), ["claude-sonnet-5-5", "claude-opus-5"]);
}

#[tokio::test]
async fn the_chat_completions_api_has_effort_and_no_thinking() {
    let lab = lab_with("provider = \"openai\"\neffort = \"medium\"");
    lab.report(0).await;
    assert_eq!(asked(&lab), ["POST /v1/chat/completions"]);
    assert_eq!(sent(&lab)["reasoning_effort"], "medium");
    for key in ["thinking = \"adaptive\"", "thinking_budget = 2000"] {
        let lab = lab_with(&format!("provider = \"openai\"\n{key}"));
        let ran = lab.call(["run", "Go."]).await.expect_code(2);
        assert!(
            ran.stderr.contains("the Chat Completions API has no such setting"),
            "{ran}"
        );
    }
}

#[tokio::test]
async fn models_are_asked_at_once_what_they_take() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(HttpServer::start(Behaviour::Silence).await);
    }
    let mut models = servers.iter().map(|server| ModelSettings {
        base_url: server.url().parse().unwrap(),
        api_key: Some(Secret::new("test")),
        effort: Some(Effort::High),
        ..ModelSettings::default()
    });
    let config = Config {
        model: models.next().unwrap(),
        fallback_models: models.collect(),
        ..Config::default()
    };
    let host = Host::builder(config).store(Store::in_memory().unwrap());
    let host = host.build().await.unwrap();
    let all_are_asked = async {
        while servers.iter().any(|server| server.requests() == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        // Ten seconds later, because none of them answers.
        checked = host.check_capabilities() => panic!("{checked:?}"),
        () = all_are_asked => {}
    }
}
