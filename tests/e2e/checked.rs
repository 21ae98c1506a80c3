//! What `tool check` sees of the effects that tools have, and of how they cope with surroundings that fail. Nothing real is within
//! their reach meanwhile.

use cofferdam_tests::{Behaviour, HttpServer, Lab};
use serde_json::{Value, json};

use crate::lab;

/// The report of a check that has to end with this code.
async fn check(lab: &Lab, component: &str, code: i32) -> Value {
    let arguments = ["--call-timeout", "700", "--output", "json"];
    let ran = lab
        .call(["tool", "check", component].into_iter().chain(arguments))
        .await;
    ran.expect_code(code).json()
}

/// The findings of a tool: code and text.
fn findings(report: &Value, tool: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    let of_tool = findings.filter(|finding| finding["tool"] == tool);
    of_tool
        .map(|finding| (text(&finding["code"]), text(&finding["text"])))
        .collect()
}

fn text_of(report: &Value, tool: &str, code: &str) -> String {
    let found = findings(report, tool);
    let of_code = found.iter().find(|(found, _)| found == code);
    of_code.unwrap_or_else(|| panic!("{code}: {report:#}")).1.clone()
}

/// What became of a tool's call for each answer of the server.
fn servers(report: &Value) -> Vec<(&str, &str)> {
    let servers = report["tools"][0]["servers"].as_array().unwrap().iter();
    servers
        .map(|case| (case["server"].as_str().unwrap(), case["outcome"].as_str().unwrap()))
        .collect()
}

/// The weather plugin, whose services are at this address.
fn weather(lab: &Lab, url: &str) {
    lab.configure(&format!(
        "[plugins.weather]\ncomponent = \"builtin:weather\"\nhttp = [{{ url = \"{url}/\" }}]\n\
         config = {{ geocoding_url = \"{url}\", forecast_url = \"{url}\" }}\n"
    ));
}

#[tokio::test]
async fn requests_are_answered_by_the_check_and_never_leave_it() {
    let server = HttpServer::start(Behaviour::body("real")).await;
    let lab = lab([]);
    weather(&lab, &server.url());
    let report = check(&lab, "weather", 0).await;
    assert_eq!(
        report["tools"][0]["requests"],
        json!([format!("GET {}/v1/search", server.url())])
    );
    assert_eq!(server.requests(), 0);
    assert_eq!(
        servers(&report),
        [
            ("200 with plain text", "failed"),
            ("500", "unavailable"),
            ("503 with `retry-after`", "unavailable"),
            ("404", "failed"),
            ("no answer", "timeout"),
            ("200 with broken JSON", "failed"),
            ("a body that is cut short", "unavailable"),
        ]
    );
    assert!(text_of(&report, "get_weather", "waits_for_server").contains("a time-out of their own"));
    let shown = lab.call(["tool", "check", "weather", "--call-timeout", "700"]).await;
    let shown = shown.expect_code(0).stdout;
    assert!(
        shown.contains("\nservers    200 with plain text: failed\n           500: unavailable\n"),
        "{shown}"
    );
}

/// The plugin gives up on a silent server before the host gives up on the plugin.
#[tokio::test]
async fn a_silent_weather_service_is_unavailable() {
    let lab = lab([]);
    weather(&lab, "https://weather.test");
    let ran = lab
        .call(["tool", "check", "weather", "--inputs", "1", "--output", "json"])
        .await;
    let report = ran.expect_code(0).json();
    assert!(servers(&report).contains(&("no answer", "unavailable")), "{report:#}");
    let codes = findings(&report, "get_weather");
    assert!(!codes.iter().any(|(code, _)| code == "waits_for_server"), "{report:#}");
}

/// A component that is named by its file has no settings, even if a plugin has the same component.
#[tokio::test]
async fn a_check_without_settings_names_the_plugin_that_has_them() {
    let lab = lab([]);
    weather(&lab, "https://weather.test");
    let report = check(&lab, "builtin:weather", 0).await;
    assert!(text_of(&report, "get_weather", "no_success").contains("succeeded"));
    let findings = report["findings"].as_array().unwrap();
    for code in ["no_success", "no_request"] {
        let finding = findings.iter().find(|finding| finding["code"] == code).unwrap();
        assert!(
            finding["hint"]
                .as_str()
                .unwrap()
                .contains("`cofferdam tool check weather`"),
            "{finding}"
        );
    }
}

/// The faulty plugin with these tools alone, each with these settings.
async fn faulty(lab: &Lab, tools: &[(&str, &str)]) {
    let plugin = "[plugins.faulty]\ncomponent = \"builtin:faulty\"\n";
    lab.configure(plugin);
    let listed = lab
        .call(["tool", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let listed = listed["tools"]
        .as_array()
        .unwrap_or_else(|| listed.as_array().unwrap())
        .iter();
    let mut text = plugin.to_owned();
    for name in listed.map(|tool| tool["name"].as_str().unwrap()) {
        let settings = tools.iter().find(|(tool, _)| *tool == name);
        let settings = settings.map_or("enabled = false", |(_, settings)| settings);
        text.push_str(&format!("[plugins.faulty.tools.{name}]\n{settings}\n"));
    }
    lab.configure(&text);
}

#[tokio::test]
async fn a_read_only_tool_that_changes_something_is_found_out() {
    let lab = lab([]);
    let read_only = "read_only = true";
    faulty(
        &lab,
        &[
            ("upload", read_only),
            ("keep", read_only),
            ("files", read_only),
            ("fetch", read_only),
        ],
    )
    .await;
    let report = check(&lab, "faulty", 1).await;
    let posted = text_of(&report, "upload", "read_only_post");
    assert!(posted.contains("POST https://example.com/"), "{posted}");
    let kept = text_of(&report, "keep", "not_read_only");
    assert!(kept.contains("changed the data that it keeps"), "{kept}");
    let wrote = text_of(&report, "files", "not_read_only");
    assert!(wrote.contains("a call created /example0"), "{wrote}");
    // What a server that is down sent is this tool's result.
    assert!(text_of(&report, "fetch", "ignores_outage").contains("(500, 503 with `retry-after`)"));
    let is_claim = |(code, _): &(String, String)| code.contains("read_only");
    assert!(!findings(&report, "fetch").iter().any(is_claim), "{report:#}");
}

/// `a_rust_project_is_built_checked_and_called` has tools whose second call has another effect.
#[tokio::test]
async fn a_tool_that_posts_the_same_twice_may_be_idempotent() {
    let lab = lab([]);
    faulty(&lab, &[("upload", "idempotent = true")]).await;
    let report = check(&lab, "faulty", 0).await;
    assert!(
        report["tools"][0]["requests"] == json!(["POST https://example.com/"]),
        "{report:#}"
    );
    let found = findings(&report, "upload");
    let is_claim = |code: &str| ["other_requests", "not_idempotent"].contains(&code);
    assert!(!found.iter().any(|(code, _)| is_claim(code)), "{report:#}");
    let repeated = text_of(&report, "upload", "repeated_request");
    assert!(repeated.contains("POST https://example.com/ again"), "{repeated}");
    let codes = found.iter().filter(|(code, _)| code == "repeated_request");
    assert_eq!(codes.count(), 1);
}

#[tokio::test]
async fn what_a_tool_printed_is_plain_text_where_nobody_sees_colours() {
    let lab = lab([]);
    faulty(&lab, &[("panic", "")]).await;
    let shown = lab.call(["tool", "check", "faulty"]).await.expect_code(1).stdout;
    assert!(shown.contains("\n printed  "), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
}
