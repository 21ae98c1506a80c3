//! Prompt caching: the real binary, and a model whose prompt cache works as the real one.

use cofferdam::simulator::{Answer, ToolCall};
use cofferdam_tests::{Lab, tool_call};
use serde_json::{Value, json};

use crate::lab;

const CALCULATOR: &str = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";

/// Long enough to be cached: the default model caches 512 tokens and more.
fn system() -> String {
    format!(
        "[agent]\nsystem = \"{}\"\n",
        "You are a careful assistant. ".repeat(200)
    )
}

fn metric(report: &Value, name: &str) -> u64 {
    report["metrics"][name].as_u64().unwrap()
}

/// Written to and read from the cache.
fn cached(report: &Value) -> [u64; 2] {
    ["cache_creation_input_tokens", "cache_read_input_tokens"].map(|name| metric(report, name))
}

fn nanos(amount: &Value) -> i64 {
    let amount = amount.as_str().unwrap();
    let digits: i64 = amount.replace(['-', '.'], "").parse().unwrap();
    let sign = if amount.starts_with('-') { -1 } else { 1 };
    sign * digits * 1_000
}

async fn turn(lab: &Lab, prompt: &str) -> Value {
    let command = ["run", "--session", "talk", "--output", "json", prompt];
    lab.call(command).await.expect_code(0).json()
}

#[tokio::test]
async fn the_second_turn_of_a_conversation_reads_the_cache_and_the_report_shows_the_saving() {
    let lab = lab([Answer::text("One.").forever()]);
    lab.configure(&(CALCULATOR.to_owned() + &system()));
    let first = turn(&lab, "One.").await;
    let [written, read] = cached(&first);
    assert!(written > 1_000 && read == 0, "{first:#}");
    // Of Sonnet 5.5, a written token costs 2.50 $ a million instead of 2 $, and a read one 0.10 $.
    assert_eq!(
        nanos(&first["metrics"]["cache_savings_usd"]),
        -(written as i64 * 500 + 999) / 1_000 * 1_000
    );

    let second = turn(&lab, "Two.").await;
    let [more, read] = cached(&second);
    assert_eq!(read, written, "the whole prefix");
    assert!((1..200).contains(&more), "{second:#}");
    assert!(metric(&second, "input_tokens") < 100, "{second:#}");
    let saved = read as i64 * 1_900 - more as i64 * 500;
    assert_eq!(nanos(&second["metrics"]["cache_savings_usd"]), saved / 1_000 * 1_000);
    // What it cost and what it saved are what it would have cost.
    let uncached = (metric(&second, "input_tokens") + more + read) * 2_000 + metric(&second, "output_tokens") * 10_000;
    let cost = nanos(&second["metrics"]["estimated_cost_usd"]);
    assert!((cost + saved - uncached as i64).abs() <= 1_000, "{second:#}");
    let csv = lab.call(["budget", "export", "--csv"]).await.expect_code(0).stdout;
    assert!(csv.contains(&format!(",{read},")), "{csv}");
}

#[tokio::test]
async fn the_turns_of_one_run_read_the_cache_and_the_summary_says_what_it_saved() {
    let lab = lab([
        tool_call("calculate", json!({ "expression": "25 * 17" })),
        Answer::text("{{result:calculate}}"),
    ]);
    lab.configure(&(CALCULATOR.to_owned() + &system()));
    let ran = lab.call(["run", "--summary", "full", "Go."]).await.expect_code(0);
    let line = ran.stderr.lines().find(|line| line.starts_with("cache "));
    assert!(line.is_some_and(|line| line.contains("saved $0.00")), "{ran}");
    let mut requests = lab.simulator.requests().into_iter().map(|request| request.body);
    let (mut first, mut second) = (requests.next().unwrap(), requests.next().unwrap());
    assert_eq!(first["tools"], second["tools"]);
    assert_eq!(first["system"], second["system"]);
    for (body, markers) in [(&first, 3), (&second, 4)] {
        assert_eq!(body.to_string().matches("cache_control").count(), markers, "{body:#}");
    }
    let message = |body: &mut Value| body["messages"][0].take();
    assert_eq!(message(&mut first), message(&mut second), "marked in both");
}

/// A breakpoint is looked up for 20 blocks only.
#[tokio::test]
async fn a_turn_with_many_calls_does_not_lose_the_cache() {
    let calls = (0..30).map(|number| ToolCall::new("calculate", json!({ "expression": format!("{number} + 1") })));
    let lab = lab([Answer::tools(calls), Answer::text("Done.")]);
    lab.configure(&(CALCULATOR.to_owned() + &system()));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines();
    let mut usages = events
        .iter()
        .filter(|event| event["event"] == "model_response")
        .map(|event| &event["usage"]);
    let (first, second) = (usages.next().unwrap(), usages.next().unwrap());
    let written = first["cache_creation_5m_input_tokens"].as_u64().unwrap();
    assert!(written > 1_000, "{first}");
    assert_eq!(second["cache_read_input_tokens"], written);
}

#[tokio::test]
async fn caching_can_be_switched_off_and_kept_for_an_hour() {
    let lab = lab([Answer::text("One.").forever()]);
    lab.configure(&format!("prompt_cache = false\n{CALCULATOR}{}", system()));
    turn(&lab, "One.").await;
    let second = turn(&lab, "Two.").await;
    assert_eq!(
        (cached(&second), &second["metrics"]["cache_savings_usd"]),
        ([0, 0], &json!("0.000000"))
    );
    let sent = &lab.simulator.requests()[1].body;
    assert!(
        sent["system"].is_string() && !sent.to_string().contains("cache_control"),
        "{sent}"
    );
    let ran = lab.call(["run", "--summary", "full", "Go."]).await.expect_code(0);
    assert!(!ran.stderr.contains("\ncache "), "{ran}");

    lab.configure(&format!("prompt_cache_ttl = \"1h\"\n{CALCULATOR}{}", system()));
    let report = lab.report(0).await;
    let [written, _] = cached(&report);
    // At twice the price of input.
    assert_eq!(
        nanos(&report["metrics"]["cache_savings_usd"]),
        -(written as i64) * 2_000
    );
}
