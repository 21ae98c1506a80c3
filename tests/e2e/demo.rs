//! The demo shows everything it announces, in time, without a key and without a network.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::lab;

#[tokio::test]
async fn the_demo_shows_everything_it_announces() {
    let lab = lab([]);
    let mut command = lab.command(["demo"]);
    command.env_remove("ANTHROPIC_API_KEY");
    let started = Instant::now();
    let ran = cofferdam_tests::finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert!(
        ran.stdout.contains("425") && ran.stdout.contains("Boston") && ran.stdout.contains("[degraded]"),
        "{ran}"
    );
    for words in [
        "simulated",
        "529",
        "429",
        "retry",
        "fuel",
        "breaker",
        "tokens",
        "cost",
        "budget",
        "seen",
    ] {
        assert!(ran.stderr.contains(words), "{words}: {ran}");
    }
    assert!(!ran.stderr.contains("MISSING"), "{ran}");
}

#[tokio::test]
async fn the_report_is_one_json_document() {
    let lab = lab([]);
    let ran = lab.call(["demo", "--output", "json", "--quiet"]).await.expect_code(0);
    let report = ran.json();
    assert_eq!(
        (&report["outcome"], &report["degraded"]),
        (&json!("completed"), &json!(true))
    );
    let tools = &report["metrics"]["tools"];
    assert_eq!(
        tools["loop_forever"]["outcomes"],
        json!({ "out_of_fuel": 1 }),
        "{tools:#}"
    );
    let weather = report["breakers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|breaker| breaker["name"] == "tool:get_weather")
        .unwrap();
    assert_eq!(weather["state"], "open");
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn the_demo_of_a_crash_kills_and_resumes() {
    let lab = lab([]);
    let ran = lab.call(["demo", "--crash"]).await.expect_code(0);
    assert!(
        ran.stdout.contains("unfinished") && ran.stdout.contains("25 * 17 = 425."),
        "{ran}"
    );
    let shown = ran.stderr.matches("  seen ").count();
    assert!(shown == 3 && !ran.stderr.contains("MISSING"), "{ran}");
}
