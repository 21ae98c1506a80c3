//! What failed is said wherever somebody looks for it, also where a fallback stands in its place.

use cofferdam::simulator::{Answer, FaultKind, FaultPoint};
use cofferdam_tests::{Lab, tool_call};
use serde_json::{Value, json};

use crate::lab;

/// Nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

/// The weather with a fallback, as `cofferdam init` writes it.
fn weather(lab: &Lab, settings: &str) {
    lab.configure(&format!(
        "[plugins.weather]\ncomponent = \"builtin:weather\"\n{settings}\n\
         [plugins.weather.tools.get_weather]\nfallback = \"Ask me later.\"\n\
         [logging]\ndirectory = \"logs\"\n"
    ));
}

fn unreachable() -> String {
    format!(
        "http = [{{ url = \"{NOBODY}\" }}]\nconfig = {{ geocoding_url = \"{NOBODY}\", forecast_url = \"{NOBODY}\" }}"
    )
}

fn log(lab: &Lab) -> String {
    let files = std::fs::read_dir(lab.path("logs")).unwrap();
    files
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect()
}

/// The text and the facts of the only session.
async fn session(lab: &Lab) -> (String, Value) {
    let listed = lab
        .call(["session", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let text = lab.call(["session", "show", &id]).await.expect_code(0).stdout;
    let facts = lab
        .call(["session", "show", &id, "--output", "json"])
        .await
        .expect_code(0);
    (text, facts.json())
}

#[tokio::test]
async fn a_fallback_hides_no_reason() {
    let boston = json!({ "location": "Boston" });
    let lab = lab([tool_call("get_weather", boston.clone()), Answer::text("Later, then.")]);
    weather(&lab, &unreachable());
    let (words, network) = (
        "the geocoding service can't be reached",
        "GET http://127.0.0.1:1: connection error",
    );

    let called = lab.call_tool("get_weather", &boston).await.expect_code(1).json();
    assert_eq!(called["content"][0]["text"], "[degraded] Ask me later.");
    assert!(
        called["replaced_output"].as_str().unwrap().starts_with(words),
        "{called:#}"
    );
    let detail = called["detail"].as_str().unwrap();
    assert!(
        detail.starts_with(network) && detail.matches("GET").count() == 1,
        "{called:#}"
    );
    let called = lab
        .call(["tool", "call", "get_weather", &boston.to_string()])
        .await
        .expect_code(1);
    assert_eq!(called.stdout, "[degraded] Ask me later.\n");
    assert!(called.stderr.contains(&format!("   error  {words}")), "{called}");
    assert!(called.stderr.contains(&format!("  detail  {network}")), "{called}");

    let ran = lab.call(["run", "-v", "Go."]).await.expect_code(0);
    assert!(ran.stderr.contains("   tool  get_weather unavailable"), "{ran}");
    for text in [words, network, " instead  [degraded] Ask me later."] {
        assert!(ran.stderr.contains(text), "{text}: {ran}");
    }
    // The host's words are for the log; the tool's are contents.
    let log = log(&lab);
    assert!(log.contains(network) && !log.contains(words), "{log}");

    let (text, facts) = session(&lab).await;
    assert!(
        text.contains(&format!("  reason: {words}")) && text.contains(network),
        "{text}"
    );
    let facts = facts["facts"].as_array().unwrap();
    let ended = facts.iter().find(|fact| fact["fact"]["kind"] == "call_ended").unwrap();
    assert!(ended["fact"]["reason"].as_str().unwrap().contains(network), "{ended:#}");
}

/// Every attempt, what it was charged, and the sum.
#[tokio::test]
async fn a_session_says_what_failed_and_what_it_cost() {
    let lab = lab([
        Answer::error(529),
        Answer::text("never").with_fault(FaultKind::Close, FaultPoint::Events(2)),
        Answer::text("At last."),
    ]);
    lab.call(["run", "Go."]).await.expect_code(0);
    let (text, shown) = session(&lab).await;
    assert_eq!(text.matches("a model request failed (overloaded").count(), 1, "{text}");
    assert_eq!(text.matches("): it cost nothing\n  error: ").count(), 1, "{text}");
    let charges = shown["charges"].as_array().unwrap();
    let usd = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let sum: f64 = charges.iter().map(|row| usd(&row["spent_usd"])).sum();
    assert_eq!(charges.len(), 3, "{shown:#}");
    assert!((usd(&shown["spent_usd"]) - sum).abs() < 0.000_002, "{shown:#}");
    let in_full = format!("budget reverse {} --reason", charges[1]["id"].as_str().unwrap());
    assert!(
        text.contains("a model request failed (stream_cut") && text.contains(&in_full),
        "{text}"
    );
    assert!(text.contains("the model answered: $"), "{text}");
    let total = text.lines().last().unwrap();
    assert!(
        total.starts_with("cost: $") && total.contains(" for 3 model requests, 2 failed; $"),
        "{text}"
    );
    assert!(total.ends_with(" charged in full: usage unknown"), "{text}");

    // What was taken back is said in place of the offer.
    let (id, amount) = (charges[1]["id"].as_str().unwrap(), charges[1]["spent_usd"].clone());
    let reverse = ["budget", "reverse", id, "--reason", "not on the bill"];
    lab.call(reverse).await.expect_code(0);
    let (text, shown) = session(&lab).await;
    let corrected = "charged in full: usage unknown; $";
    assert!(
        text.contains(corrected) && text.contains(" of it was taken back (not on the bill)"),
        "{text}"
    );
    assert!(!text.contains("budget reverse"), "{text}");
    assert!(text.trim_end().ends_with(" taken back"), "{text}");
    let charges = shown["charges"].as_array().unwrap();
    assert_eq!(charges.len(), 4, "{shown:#}");
    assert_eq!(charges[2]["reverses"], id);
    assert_eq!(charges[2]["reversed_usd"], amount);
    assert_eq!(charges[2]["reason"], "not on the bill");
}

#[tokio::test]
async fn a_trap_is_kept_with_its_cause() {
    let lab = lab([tool_call("panic", json!({})), Answer::text("It crashed.")]);
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n");
    lab.call(["run", "Go."]).await.expect_code(0);
    let (text, _) = session(&lab).await;
    assert!(
        text.contains("panic (trapped): The tool crashed.\n  reason: "),
        "{text}"
    );
    assert!(text.contains("unreachable"), "{text}");
}

#[tokio::test]
async fn a_weather_that_lacks_its_settings_is_noticed_before_it_is_asked() {
    let lab = lab([]);
    weather(&lab, "");
    let called = lab
        .call_tool("get_weather", &json!({ "location": "Boston" }))
        .await
        .expect_code(1)
        .json();
    let words = called["replaced_output"].as_str().unwrap();
    assert!(
        words.contains("not configured") && words.contains("geocoding_url"),
        "{called:#}"
    );
    let lacks = async |settings: &str| {
        weather(&lab, settings);
        let checked = lab
            .call(["config", "check", "--output", "json"])
            .await
            .expect_code(0)
            .json();
        let warnings = checked["warnings"].as_array().unwrap().clone();
        let of_weather = warnings.iter().filter(|warning| warning["key"] == "plugins.weather");
        of_weather
            .map(|warning| warning["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let nothing = lacks("").await;
    assert!(
        nothing.len() == 2 && nothing[0].contains("`config` has no `geocoding_url`"),
        "{nothing:?}"
    );
    let elsewhere =
        lacks(&unreachable().replace("{ url = \"http://127.0.0.1:1\"", "{ url = \"http://127.0.0.1:2\"")).await;
    assert!(
        elsewhere[0].contains("`http` doesn't grant GET to `geocoding_url`"),
        "{elsewhere:?}"
    );
    let below = unreachable().replace("{ url = \"http://127.0.0.1:1\"", "{ url = \"http://127.0.0.1:1/v1/\"");
    assert_eq!(lacks(&below).await, [""; 0]);
}
