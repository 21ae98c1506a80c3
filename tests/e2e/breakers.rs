//! Breakers that outlive their process, and operators who override them from another one.

use std::process::Stdio;
use std::time::Duration;

use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, faulty, finish, tool_call};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::lab;

const MODEL: &str = "model:claude-sonnet-5-5";

async fn breakers(lab: &Lab) -> Vec<Value> {
    let shown = lab.call(["breakers", "--output", "json"]).await.expect_code(0).json();
    shown.as_array().unwrap().clone()
}

/// The error of a call that the breaker of its tool refuses, and what the model reads of it.
#[tokio::test]
async fn a_refused_call_says_what_failed_before() {
    let lab = lab([
        tool_call("panic", json!({})),
        tool_call("panic", json!({})),
        Answer::text("Out."),
    ]);
    lab.configure(&format!(
        "{}[plugins.faulty.breaker]\nfailure_threshold = 1\n",
        faulty("")
    ));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines();
    let refused = events.iter().find(|event| event["outcome"] == "breaker_open").unwrap();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.starts_with("the last failure: trapped: "), "{refused:#}");
    assert!(!refused["output"].as_str().unwrap().contains("trapped"), "{refused:#}");
}

async fn order(lab: &Lab, order: &str, name: &str) {
    let ordered = lab.call(["breakers", order, name]).await.expect_code(0);
    assert!(ordered.stderr.contains(name), "{ordered}");
}

#[tokio::test]
async fn a_restart_does_not_forget_an_outage() {
    let lab = lab([Answer::error(500).forever()]);
    let configuration =
        |base: &str| format!("{base}[agent]\ndeadline = \"1s\"\n[breaker]\nfailure_threshold = 3\nopen_for = \"5m\"\n");
    lab.configure(&configuration(""));
    lab.report(1).await;
    assert_eq!(lab.simulator.requests().len(), 3);
    let opened = breakers(&lab).await;
    assert_eq!(
        (&opened[0]["name"], &opened[0]["state"]),
        (&json!(MODEL), &json!("open"))
    );
    assert_eq!(opened[0]["tenant"], Value::Null);
    assert!(
        opened[0]["about"].as_str().unwrap().starts_with(&lab.simulator.url()),
        "{opened:?}"
    );

    let failure = opened[0]["last_failure"].as_str().unwrap().to_owned();
    assert!(failure.contains(": HTTP 500"), "{opened:?}");

    // Another process, which would have made three attempts.
    let report = lab.call(["run", "--output", "json", "Go."]).await.json();
    let message = report["error"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("; the last failure: {failure}")),
        "{report:#}"
    );
    assert_eq!(lab.simulator.requests().len(), 3, "{report}");
    let model = report["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|breaker| breaker["name"] == MODEL);
    let left = model.unwrap()["time_until_retry_seconds"].as_f64().unwrap();
    assert!((200.0..=300.0).contains(&left), "{left}");

    assert_eq!(model.unwrap()["last_failure"], failure, "{report:#}");
    let shown = lab.call(["breakers", "show"]).await.expect_code(0);
    assert!(shown.stdout.contains(": HTTP 500"), "{shown}");
    let doctor = lab.call(["doctor"]).await.expect_code(0);
    assert!(doctor.stdout.contains(&format!("{MODEL} is open since")), "{doctor}");
    assert!(doctor.stdout.contains(": HTTP 500"), "{doctor}");

    order(&lab, "reset", MODEL).await;
    let closed = breakers(&lab).await;
    assert_eq!(
        (&closed[0]["state"], &closed[0]["last_failure"]),
        (&json!("closed"), &Value::Null)
    );
    lab.call(["run", "--output", "json", "Go."]).await;
    assert_eq!(lab.simulator.requests().len(), 6);
}

/// What failed was another server.
#[tokio::test]
async fn another_address_begins_with_a_closed_breaker() {
    let lab = lab([Answer::error(500).times(3), Answer::text("Fine.")]);
    let settings = "[breaker]\nfailure_threshold = 3\nopen_for = \"5m\"\n";
    lab.configure(settings);
    lab.report(1).await;
    let elsewhere = lab.simulator.url().replace("127.0.0.1", "localhost");
    let mut command = lab.command(["run", "Go."]);
    let run = finish(command.env("COFFERDAM_MODEL__BASE_URL", elsewhere).spawn().unwrap()).await;
    assert!(run.expect_code(0).stdout.contains("Fine."));
}

#[tokio::test]
async fn an_operator_takes_a_tool_out_of_service() {
    let lab = lab([
        tool_call("echo", json!({ "a": 1 })),
        Answer::text("Out."),
        tool_call("echo", json!({ "a": 2 })),
        Answer::text("In."),
    ]);
    lab.configure(&faulty(""));
    order(&lab, "open", "tool:echo").await;
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["echo"]["outcomes"],
        json!({ "breaker_open": 1 })
    );
    let shown = lab.call(["breakers"]).await.expect_code(0).stdout;
    assert!(shown.contains("tool:echo") && shown.contains("held open"), "{shown}");
    let requests = lab.simulator.requests();
    let read = requests[1].body["messages"].to_string();
    assert!(read.contains("out of service"), "{read}");
    order(&lab, "close", "tool:echo").await;
    let report = lab.report(0).await;
    assert_eq!(report["metrics"]["tools"]["echo"]["outcomes"], json!({ "ok": 1 }));
    let wrong = lab.call(["breakers", "open", "echo"]).await.expect_code(2);
    assert!(wrong.stderr.contains("`tool:NAME`"), "{wrong}");
}

/// The host that runs follows the order, and so does the next one.
#[tokio::test]
async fn a_running_host_follows_an_operator() {
    let lab = lab([
        tool_call("echo", json!({ "a": 1 })),
        Answer::text("first: {{result:echo}}"),
        tool_call("echo", json!({ "a": 2 })),
        Answer::text("second: {{result:echo}}"),
        tool_call("echo", json!({ "a": 3 })),
        Answer::text("third: {{result:echo}}"),
    ]);
    lab.configure(&faulty(""));
    let mut command = lab.command(["chat"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = async || {
        stdin.write_all(b"Go.\n").await.unwrap();
        loop {
            let line = answers.next_line().await.unwrap().unwrap();
            if line.contains(": ") {
                break line;
            }
        }
    };
    assert!(ask().await.contains("\"a\":1"));
    order(&lab, "open", "tool:echo").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = ask().await;
    assert!(second.contains("out of service"), "{second}");
    order(&lab, "close", "tool:echo").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ask().await.contains("\"a\":3"));
    drop(stdin);
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn a_window_that_can_never_decide_is_refused() {
    let lab = lab([]);
    lab.configure("[breaker]\nmode = \"window\"\nwindow = 5\nmin_calls = 6\nfailure_rate = 0\n");
    let checked = lab.call(["config", "check"]).await.expect_code(2);
    for words in [
        "breaker.min_calls",
        "at most the calls of the window (5)",
        "breaker.failure_rate",
    ] {
        assert!(checked.stderr.contains(words), "{words}: {checked}");
    }
}

/// `failure_threshold` isn't looked at: it would have opened it after one failure.
#[tokio::test]
async fn a_window_decides_after_its_minimum_of_calls() {
    let answers = (0..6).map(|number| tool_call("fail", json!({ "message": number.to_string() })));
    let lab = lab(answers.chain([Answer::text("So.")]));
    lab.configure(&format!(
        "{}[plugins.faulty.breaker]\nmode = \"window\"\nfailure_threshold = 1\nwindow = 4\nmin_calls = 4\n",
        faulty("")
    ));
    let report = lab.report(0).await;
    assert_eq!(
        report["metrics"]["tools"]["fail"]["outcomes"],
        json!({ "failed": 4, "breaker_open": 2 })
    );
}

/// Nothing will be tried until somebody closes it, so the run doesn't wait.
#[tokio::test]
async fn a_model_out_of_service_is_called_so() {
    let lab = lab([Answer::text("Hello.")]);
    order(&lab, "open", MODEL).await;
    let report = lab.report(1).await;
    let message = report["error"]["message"].as_str().unwrap();
    assert!(message.contains("held open by an operator"), "{report}");
    assert!(
        report["error"]["hint"].as_str().unwrap().contains("breakers close"),
        "{report}"
    );
    order(&lab, "close", MODEL).await;
    assert_eq!(lab.report(0).await["answer"], "Hello.");
}

/// A host that ends between two probes doesn't leave the next one probing for ever.
#[tokio::test]
async fn a_probe_that_succeeded_is_enough_for_the_next_host() {
    let lab = lab([Answer::error(500).times(3), Answer::text("Fine.").forever()]);
    lab.configure("[agent]\ndeadline = \"5s\"\n[breaker]\nfailure_threshold = 3\nopen_for = \"10ms\"\n");
    lab.report(1).await;
    for _ in 0..2 {
        assert_eq!(lab.report(0).await["answer"], "Fine.");
    }
    let report = lab.report(0).await;
    let breakers = report["breakers"].as_array().unwrap();
    let model = breakers.iter().find(|breaker| breaker["name"] == MODEL).unwrap();
    assert_eq!(model["state"], "closed", "{report}");
}
