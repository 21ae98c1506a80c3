//! The commands, as a person uses them.

use cofferdam::simulator::{Answer, ErrorAnswer};
use cofferdam_tests::{Behaviour, HttpServer, faulty, finish};
use serde_json::{Value, json};

use crate::lab;

#[tokio::test]
async fn run_streams_the_answer_to_stdout_and_the_rest_to_stderr() {
    let lab = lab([Answer::text("The answer is 42.")]);
    let ran = lab.call(["run", "Go."]).await.expect_code(0);
    assert_eq!(ran.stdout, "The answer is 42.\n");
    assert!(
        ran.stderr.contains("completed") && ran.stderr.contains("tokens"),
        "{ran}"
    );
    let quiet = crate::lab([Answer::text("The answer is 42.")]);
    let ran = quiet.call(["run", "--quiet", "Go."]).await.expect_code(0);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("The answer is 42.\n", ""));
}

#[tokio::test]
async fn the_prompt_can_come_from_stdin() {
    for arguments in [vec!["run", "-"], vec!["run"]] {
        let lab = lab([Answer::text("Yes.")]);
        lab.call_with_input(arguments, "a long question").await.expect_code(0);
        let request = lab.simulator.requests()[0].body.to_string();
        assert!(request.contains("a long question"), "{request}");
    }
    lab([]).call_with_input(["run", "-"], "").await.expect_code(2);
}

#[tokio::test]
async fn stream_json_prints_one_event_per_line_and_the_report_last() {
    let lab = lab([
        cofferdam_tests::tool_call("echo", json!({ "a": 1 })),
        Answer::text("Done and done."),
    ]);
    lab.configure(&faulty(""));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let lines = ran.json_lines();
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!((names[0], names[names.len() - 1]), ("session_started", "report"));
    for name in [
        "turn_started",
        "model_attempt",
        "model_response",
        "text_delta",
        "tool_call_started",
        "tool_call_finished",
        "budget_reserved",
        "budget_settled",
        "session_finished",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let said: String = lines
        .iter()
        .filter(|line| line["event"] == "text_delta")
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        (said.as_str(), &lines[lines.len() - 1]["answer"]),
        ("Done and done.", &json!("Done and done."))
    );
    assert!(
        lines
            .iter()
            .all(|line| line["event"] == "report" || line["session_id"] == lines[0]["session_id"])
    );
}

#[tokio::test]
async fn the_report_has_the_documented_shape() {
    let lab = lab([
        cofferdam_tests::tool_call("calculate", json!({ "expression": "25 * 17" })),
        Answer::text("425"),
    ]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let report = lab.report(0).await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let sorted = |names: &[&str]| {
        let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let top = [
        "session_id",
        "tenant",
        "outcome",
        "answer",
        "model",
        "iterations",
        "degraded",
        "cost_usd",
        "metrics",
        "breakers",
        "budget",
        "error",
    ];
    assert_eq!(keys(&report), sorted(&top));
    let metrics = [
        "input_tokens",
        "output_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "tool_calls",
        "model_attempts",
        "model_errors",
        "model_cancelled",
        "tool_errors",
        "retries",
        "fallbacks",
        "answers",
        "charged_in_full",
        "charged_by_estimate",
        "history_trims",
        "estimated_cost_usd",
        "cache_savings_usd",
        "duration_ms",
        "model_duration_ms",
        "time_to_first_token_ms",
        "request_ids",
        "tools",
    ];
    assert_eq!(keys(&report["metrics"]), sorted(&metrics));
    let tool = [
        "calls",
        "successes",
        "failures",
        "degraded",
        "success_rate",
        "avg_duration_ms",
        "fuel",
        "peak_memory_bytes",
        "outcomes",
    ];
    assert_eq!(keys(&report["metrics"]["tools"]["calculate"]), sorted(&tool));
    let breaker = [
        "name",
        "state",
        "failure_count",
        "success_count",
        "failure_threshold",
        "success_threshold",
        "open_for_seconds",
        "opened_at",
        "opened_count",
        "time_until_retry_seconds",
        "rejected_count",
    ];
    assert_eq!(keys(&report["breakers"][0]), sorted(&breaker));
    assert_eq!(
        keys(&report["budget"][0]),
        sorted(&["scope", "limit_usd", "spent_usd", "reserved_usd", "remaining_usd"])
    );
}

/// Off a terminal, as on one: each failed attempt is a line, the error is said once, and the summary is short.
#[tokio::test]
async fn a_failed_run_says_everything_once() {
    let overloaded = || {
        Answer::error_with(ErrorAnswer {
            status: 529,
            message: Some("Overloaded.".to_owned()),
            ..ErrorAnswer::default()
        })
    };
    let lab = lab([overloaded().forever()]);
    lab.configure("[plugins]\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(1);
    let lines: Vec<&str> = ran.stderr.lines().filter(|line| !line.is_empty()).collect();
    let attempts = lines
        .iter()
        .filter(|line| line.contains("model attempt failed"))
        .count();
    let (rest, error) = lines[attempts..].split_at(2);
    assert_eq!(attempts, 3, "{ran}");
    assert!(
        rest[0].starts_with("model_failed: 1 iteration, 3 model attempts failed, "),
        "{ran}"
    );
    assert!(rest[1].starts_with("session "), "{ran}");
    assert!(error[0].starts_with("error: gave up after 3 attempts"), "{ran}");
    assert!(error.len() <= 4, "{ran}");
    assert!(error[error.len() - 1].contains("session resume"), "{ran}");
    // The other details.
    let ran = lab.call(["run", "--summary", "none", "Go."]).await.expect_code(1);
    assert!(
        !ran.stderr.contains("model_failed") && ran.stderr.contains("error: "),
        "{ran}"
    );
    for full in [&["run", "--summary", "full", "Go."][..], &["run", "--verbose", "Go."]] {
        let ran = lab.call(full.iter().copied()).await.expect_code(1);
        assert!(ran.stderr.contains("\noutcome     model_failed\n"), "{ran}");
        assert!(ran.stderr.contains("\nbudget "), "{ran}");
    }
}

#[tokio::test]
async fn chat_keeps_the_conversation() {
    let lab = lab([Answer::text("Hello Ada."), Answer::text("Ada.")]);
    let ran = lab
        .call_with_input(["chat"], "I am Ada.\nWho am I?\n")
        .await
        .expect_code(0);
    assert!(
        ran.stdout.contains("Hello Ada.") && ran.stdout.contains("\nAda."),
        "{ran}"
    );
    let second = &lab.simulator.requests()[1].body["messages"];
    assert_eq!(second.as_array().unwrap().len(), 3, "{second:#}");
}

/// What was written before the failure is known builds on the answer that never came. A program that reads reports decides itself.
#[tokio::test]
async fn prompts_of_a_pipe_are_not_sent_without_the_answer_before_them() {
    let answers = || [Answer::error(401), Answer::text("Noted.").forever()];
    let prompts = "Remember 42.\n\n/budget\nWhich number was it?\n";
    let failed = lab(answers());
    let ran = failed.call_with_input(["chat"], prompts).await.expect_code(1);
    assert_eq!(failed.simulator.requests().len(), 1);
    assert!(ran.stderr.contains("The conversation ends here"), "{ran}");
    // As it says.
    assert!(
        ran.stderr.contains("`cofferdam chat --continue` brings it back"),
        "{ran}"
    );
    let ran = failed
        .call_with_input(["chat", "--continue"], "\n")
        .await
        .expect_code(0);
    assert!(ran.stdout.contains("Noted."), "{ran}");

    // Also behind calls of tools.
    let failed = lab([
        cofferdam_tests::tool_call("calculate", json!({ "expression": "1" })),
        Answer::error(401),
    ]);
    failed.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let ran = failed.call_with_input(["chat"], prompts).await.expect_code(1);
    assert_eq!(failed.simulator.requests().len(), 2);
    assert!(ran.stderr.contains("The conversation ends here"), "{ran}");

    for (options, input) in [
        (&["--output", "json"][..], prompts),
        (&[], "Remember 42.\n/clear\nWhich number was it?\n"),
    ] {
        let goes_on = lab(answers());
        let chat = [&["chat"], options].concat();
        goes_on.call_with_input(chat, input).await.expect_code(0);
        assert_eq!(goes_on.simulator.requests().len(), 2);
    }
}

#[tokio::test]
async fn prompts_of_a_pipe_are_not_sent_after_a_command_that_failed() {
    let lab = lab([Answer::text("Noted.").forever()]);
    for (line, problem) in [
        ("/model nope", "has no price"),
        (
            "/modle claude-haiku-4-5",
            "`/modle` isn't a command, so nothing was sent",
        ),
        ("/clear all", "`/clear` takes nothing after it"),
        ("/detach nothing.png", "`nothing.png` isn't attached"),
    ] {
        let ran = lab
            .call_with_input(["chat"], format!("{line}\nGo.\n"))
            .await
            .expect_code(2);
        assert!(
            ran.stderr.contains(problem) && ran.stderr.contains("The conversation ends here"),
            "{ran}"
        );
        assert!(lab.simulator.requests().is_empty(), "{line}");
    }
    // A program that reads reports decides itself.
    let chat = ["chat", "--output", "json"];
    let ran = lab.call_with_input(chat, "/modle x\nGo.\n").await.expect_code(0);
    assert!(ran.stderr.contains("`/modle` isn't a command"), "{ran}");
    assert_eq!(lab.simulator.requests().len(), 1);
}

#[tokio::test]
async fn invalid_utf8_does_not_end_a_conversation() {
    let lab = lab([Answer::text("Hello."), Answer::text("Still here.")]);
    let ran = lab
        .call_with_input(["chat"], b"I am \xff\xfeAda.\nAre you there?\n")
        .await
        .expect_code(0);
    assert!(ran.stdout.contains("Still here."), "{ran}");
    let first = &lab.simulator.requests()[0].body["messages"][0]["content"][0]["text"];
    assert_eq!(first, "I am \u{fffd}\u{fffd}Ada.");
    lab.call_with_input(["run", "-"], b"I am \xff\xfeAda.")
        .await
        .expect_code(2);
}

#[tokio::test]
async fn tool_list_and_call() {
    let lab = lab([]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let ran = lab.call(["tool", "list", "--output", "json"]).await.expect_code(0);
    assert!(ran.json().to_string().contains("calculate"), "{ran}");
    let ran = lab
        .call(["tool", "call", "calculate", r#"{"expression":"2^100"}"#])
        .await
        .expect_code(0);
    assert_eq!(ran.stdout.trim(), "1267650600228229401496703205376");
    for expression in ["1/0", "import os", "9^9^9^9^9", &"(".repeat(10_000)] {
        let input = json!({ "expression": expression });
        let ran = lab.call_tool("calculate", &input).await.expect_code(1);
        assert_eq!(ran.json()["outcome"], "invalid_input", "{ran}");
    }
    let ran = lab.call(["tool", "call", "calculate", "not json"]).await.expect_code(2);
    assert!(ran.stderr.contains("cofferdam tool inspect calculate"), "{ran}");
    let ran = lab.call(["tool", "call", "nothing", "{}"]).await;
    assert!(ran.code() > 0 && format!("{ran}").contains("calculate"), "{ran}");
}

#[tokio::test]
async fn a_lone_component_needs_no_configuration() {
    let lab = lab([]);
    std::fs::remove_file(lab.path("cofferdam.toml")).unwrap();
    let server = HttpServer::start(Behaviour::body("hello")).await;
    let input = json!({ "url": server.url() }).to_string();
    let denied = lab
        .call(["tool", "call", "builtin:faulty#fetch", &input])
        .await
        .expect_code(0);
    assert!(denied.stdout.contains("HttpRequestDenied"), "{denied}");
    let allowed = lab
        .call([
            "tool",
            "call",
            "builtin:faulty#fetch",
            &input,
            "--allow-http",
            &server.url(),
        ])
        .await
        .expect_code(0);
    assert!(allowed.stdout.contains("hello"), "{allowed}");
}

#[tokio::test]
async fn inspect_shows_imports_and_grants() {
    let lab = lab([]);
    lab.configure(
        "[plugins.sky]\ncomponent = \"builtin:weather\"\nconfig = { units = \"secret-value\" }\n\
         http = [{ url = \"https://weather.example/v1\", methods = [\"GET\", \"HEAD\"] }]\n\
         [plugins.other]\ncomponent = \"builtin:calculator\"\nhttp = [{ url = \"https://other.example/\" }]\n",
    );
    let ran = lab.call(["tool", "inspect", "builtin:weather"]).await.expect_code(0);
    for words in [
        "wasi:http/outgoing-handler",
        "send HTTP requests",
        "sha256:",
        "cofferdam:tool/tools@0.1.0",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {ran}");
    }
    let row = |import: &str| {
        ran.stdout
            .lines()
            .find(|line| line.contains(import))
            .unwrap_or_else(|| panic!("{ran}"))
    };
    let http = row("wasi:http/outgoing-handler");
    assert!(http.contains("sky: GET|HEAD https://weather.example/v1"), "{ran}");
    assert!(row("wasi:config/store").contains("sky: key units"), "{ran}");
    // Neither the value of the key nor the grants of another component.
    assert!(
        !ran.stdout.contains("secret-value") && !ran.stdout.contains("other"),
        "{ran}"
    );

    lab.configure("[plugins.sky]\ncomponent = \"builtin:weather\"\n");
    let ran = lab.call(["tool", "inspect", "builtin:weather"]).await.expect_code(0);
    assert!(ran.stdout.contains("sky: nothing"), "{ran}");
    lab.configure("");
    let ran = lab.call(["tool", "inspect", "builtin:weather"]).await.expect_code(0);
    assert!(ran.stdout.contains("nothing is granted"), "{ran}");
}

#[tokio::test]
async fn the_weather_plugin_against_a_compatible_service() {
    use cofferdam::simulator::{WeatherMode, WeatherService};
    let weather = WeatherService::start("127.0.0.1:0".parse().unwrap(), WeatherMode::Healthy).unwrap();
    let lab = lab([]);
    let url = weather.url();
    lab.configure(&format!(
        "[plugins.weather]\ncomponent = \"builtin:weather\"\nhttp = [{{ url = \"{url}/\" }}]\nconfig = {{ geocoding_url = \"{url}\", forecast_url = \"{url}\" }}\n"
    ));
    let ask = async |location: &str| {
        let input = json!({ "location": location });
        lab.call_tool("get_weather", &input).await.json()
    };
    let boston = ask("Boston").await;
    assert!(
        boston["content"][0]["text"].as_str().unwrap().contains("°C"),
        "{boston:#}"
    );
    assert_eq!(ask("Atlantis-on-Sea").await["outcome"], "invalid_input");
    weather.set_mode(WeatherMode::Down(503));
    assert_eq!(ask("Boston").await["outcome"], "unavailable");
    weather.set_mode(WeatherMode::Garbage);
    assert_eq!(ask("Boston").await["outcome"], "failed");
}

#[tokio::test]
async fn simulate_serves_a_script() {
    let lab = lab([]);
    let script = lab.write("script.toml", "[[answer]]\ntext = \"From the script.\"\n");
    let mut child = lab.command(["simulate", script.to_str().unwrap()]).spawn().unwrap();
    let url = {
        use tokio::io::{AsyncBufReadExt, BufReader};
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("it says where it listens");
        line.split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap_or_else(|| panic!("{line}"))
            .to_owned()
    };
    lab.write(
        "cofferdam.toml",
        format!("[model]\nprovider = \"simulated\"\nbase_url = \"{url}\"\n"),
    );
    assert_eq!(lab.report(0).await["answer"], "From the script.");
    child.kill().await.unwrap();
    let bad = lab.write("bad.toml", "[[answer]]\ntxet = \"x\"\n");
    let ran = lab.call(["simulate", bad.to_str().unwrap()]).await.expect_code(2);
    assert!(ran.stderr.contains("txet"), "{ran}");
}

#[tokio::test]
async fn simulate_says_when_its_connections_are_in_use() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let lab = lab([]);
    let script = lab.write("script.toml", "[[answer]]\ntext = \"a\"\n");
    let arguments = ["simulate", script.to_str().unwrap(), "--max-connections", "1"];
    let mut child = lab.command(arguments).spawn().unwrap();
    let mut addresses = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = addresses.next_line().await.unwrap().unwrap();
    let _connection = tokio::net::TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("it says so before it ends");
        if line.contains("all 1 connections are in use") && line.contains("--max-connections") {
            break;
        }
    }
    child.kill().await.unwrap();
    let ran = lab
        .call(["simulate", script.to_str().unwrap(), "--max-connections", "0"])
        .await
        .expect_code(2);
    assert!(ran.stderr.contains("--max-connections"), "{ran}");
}

#[tokio::test]
async fn budget_commands() {
    let lab = lab([Answer::text("Paid.")]);
    lab.report(0).await;
    let ran = lab.call(["budget"]).await.expect_code(0);
    assert!(ran.stdout.contains("host_day"), "{ran}");
    let ran = lab.call(["budget", "export"]).await.expect_code(0);
    assert!(
        ran.stdout
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
            && !ran.stdout.is_empty(),
        "{ran}"
    );
    let ran = lab.call(["budget", "set", "session", "unlimited"]).await.expect_code(0);
    assert!(ran.stdout.contains("budget set (configured: $1.000000)"), "{ran}");
    assert!(!ran.stderr.contains("no run can start"), "{ran}");
    for (amount, is_too_little) in [("0.000001", true), ("5", false), ("unlimited", false)] {
        let ran = lab.call(["budget", "set", "session", amount]).await.expect_code(0);
        let warns = ran.stderr.contains("reserves at least $") && ran.stderr.contains("no run can start");
        assert_eq!(warns, is_too_little, "{ran}");
    }
    lab.write("cofferdam.toml", "[budget]\nhost_day_usd = 7\n");
    let mut command = lab.command(["budget", "--output", "json"]);
    command.env("COFFERDAM_BUDGET__SESSION_USD", "2");
    command.env("COFFERDAM_MODEL_MAX_TOKENS", "1");
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(
        ran.stderr.contains("COFFERDAM_MODEL_MAX_TOKENS has no effect")
            && ran.stderr.contains("COFFERDAM_MODEL__MAX_TOKENS"),
        "{ran}"
    );
    let shown = ran.json();
    assert_eq!(shown[0]["configured_usd"], "2.000000");
    let host = shown.as_array().unwrap().last().unwrap();
    assert_eq!(
        (&host["limit_usd"], &host["limit_from"]),
        (&json!("7.000000"), &json!("cofferdam.toml:2:16"))
    );
    lab.call(["budget", "set", "host_day", "-1"]).await.expect_code(2);
    let finer = lab.call(["budget", "set", "session", "0.0000001"]).await.expect_code(2);
    assert!(finer.stderr.contains("a limit has six decimals at most"), "{finer}");
    lab.call(["budget", "set", "galaxy", "1"]).await.expect_code(2);
}

#[tokio::test]
async fn prices_are_listed_with_their_sources() {
    let lab = lab([]);
    let ran = lab.call(["budget", "prices"]).await.expect_code(0);
    assert!(
        ran.stdout.contains("claude-fable-5-2") && ran.stdout.contains("2026-11-28"),
        "{ran}"
    );
    let listed = lab
        .call(["budget", "prices", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(listed["table"], "built-in");
    assert!(listed["prices"].as_array().unwrap().len() > 20, "{listed:#}");

    // The printed table is one that loads, and a table with mistakes is refused with line, model and key.
    let table = lab.call(["budget", "prices", "--toml"]).await.expect_code(0).stdout;
    lab.write(
        "prices.toml",
        format!("{table}\n\"mine\" = [{{ input = 1.5, output = 2 }}]\n"),
    );
    lab.write("cofferdam.toml", "[budget]\nprices = \"prices.toml\"\n");
    let ran = lab.call(["budget", "prices"]).await.expect_code(0);
    assert!(ran.stdout.contains("mine") && ran.stdout.contains("1.50"), "{ran}");
    lab.write(
        "prices.toml",
        "a = [{ input = 1, output = 1 }]\nb = [{ input = 1 }]\nc = [{ inptu = 1 }]\n",
    );
    let ran = lab.call(["budget", "prices"]).await.expect_code(2);
    assert!(ran.stderr.contains("line 3") && ran.stderr.contains("inptu"), "{ran}");
    lab.write("prices.toml", "a = [{ input = 1, output = 1 }]\nb = [{ input = 1 }]\n");
    for command in [&["budget", "prices"][..], &["run", "Go."]] {
        let ran = lab.call(command.iter().copied()).await.expect_code(2);
        assert!(ran.stderr.contains("line 2: `b`: `output` is missing"), "{ran}");
        assert!(ran.stderr.contains("hint: "), "{ran}");
    }
}

#[tokio::test]
async fn config_commands() {
    let lab = lab([]);
    lab.configure("[agent]\nname = \"tester\"\n");
    lab.call(["config", "check"]).await.expect_code(0);
    let shown = lab.call(["config", "show"]).await.expect_code(0);
    assert!(shown.stdout.contains("tester"), "{shown}");
    lab.write("shown.toml", &shown.stdout);
    lab.call(["--config", "shown.toml", "config", "check"])
        .await
        .expect_code(0);
    let schema = lab.call(["config", "schema"]).await.expect_code(0).json();
    assert!(schema["properties"]["limits"].is_object(), "{schema:#}");
    let mut command = lab.command(["config", "show"]);
    command.env("COFFERDAM_AGENT__NAME", "from-the-environment");
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(ran.stdout.contains("from-the-environment"), "{ran}");
}

/// In the wrong folder, the built-in tools would be a riddle.
#[tokio::test]
async fn a_missing_configuration_is_mentioned() {
    let lab = lab([]);
    let file = std::fs::canonicalize(lab.path("cofferdam.toml")).unwrap();
    let file = file.display().to_string();
    let unknown = ["tool", "call", "nothing", "{}"];
    for (arguments, code) in [(vec!["config", "check"], 0), (unknown.to_vec(), 1)] {
        let ran = lab.call(arguments).await.expect_code(code);
        assert!(ran.stderr.contains(&file), "{ran}");
        assert!(!ran.stderr.contains("no configuration found"), "{ran}");
    }
    let ran = lab.call(["config", "check", "--output", "json"]).await.expect_code(0);
    assert_eq!(ran.json()["file"], file.as_str(), "{ran}");
    // One that isn't valid, or isn't TOML, was read as well.
    let good = std::fs::read_to_string(&file).unwrap();
    for bad in ["modle = 1\n", "[model\n"] {
        std::fs::write(&file, bad).unwrap();
        let ran = lab.call(["config", "check", "--output", "json"]).await.expect_code(2);
        assert_eq!(ran.json()["file"], file.as_str(), "{ran}");
    }
    std::fs::write(&file, good).unwrap();

    std::fs::remove_file(&file).unwrap();
    for (arguments, code) in [
        (vec!["config", "check"], 0),
        (unknown.to_vec(), 1),
        (vec!["tool", "list"], 0),
        (vec!["tool", "inspect", "nothing"], 2),
        (vec!["tool", "check", "nothing"], 2),
        (vec!["config", "show"], 0),
        (vec!["mcp"], 0),
    ] {
        let ran = lab.call(arguments).await.expect_code(code);
        let words = format!("no configuration found; looked at {file} and ");
        assert!(ran.stderr.contains(&words), "{ran}");
        assert!(ran.stderr.contains("config/cofferdam/cofferdam.toml"), "{ran}");
    }
    // A component needs none.
    let ran = lab.call(["tool", "list", "builtin:calculator"]).await.expect_code(0);
    assert!(!ran.stderr.contains("configuration"), "{ran}");
    let ran = lab.call(["tool", "list", "--quiet"]).await.expect_code(0);
    assert_eq!(ran.stderr, "");
}

#[tokio::test]
async fn usage_errors_and_help() {
    let lab = lab([]);
    lab.call(["frobnicate"]).await.expect_code(2);
    lab.call(["run", "--output", "yaml", "x"]).await.expect_code(2);
    let help = lab.call(["--help"]).await.expect_code(0);
    for command in [
        "run",
        "chat",
        "demo",
        "simulate",
        "tool",
        "budget",
        "config",
        "completions",
    ] {
        assert!(help.stdout.contains(command), "{command}: {help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let ran = lab.call(["completions", shell]).await.expect_code(0);
        assert!(ran.stdout.contains("cofferdam"), "{ran}");
    }
}
