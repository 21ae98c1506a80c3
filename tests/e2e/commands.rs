//! Programs as tools, as an operator describes them: two in Rust for WASI 0.2, and one in C for WASI 0.1, which the host adapts.
//! None of them knows the contract.

use cofferdam::events::Outcome;
use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, Ran, WatGuest, tool_call};
use serde_json::{Value, json};

use crate::lab;

const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/probe.wasm"));
const TEXTDIFF: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/textdiff.wasm"));
/// A core module.
const COLUMN: &[u8] = include_bytes!("../guests/column.wasm");

/// A lab with the plugin `p`: `component`, `keys` of the plugin, and `command`, the section without its description.
fn described_with(answers: impl IntoIterator<Item = Answer>, component: &[u8], keys: &str, command: &str) -> Lab {
    let lab = lab(answers);
    lab.write("p.wasm", component);
    lab.configure(&format!(
        "[plugins.p]\ncomponent = \"p.wasm\"\n{keys}\n[plugins.p.command]\ndescription = \"Does it.\"\n{command}\n"
    ));
    lab
}

fn described(component: &[u8], keys: &str, command: &str) -> Lab {
    described_with([], component, keys, command)
}

/// The outcome of a call of `p`, its text, and what it printed.
async fn call(lab: &Lab, input: Value) -> (String, String, String) {
    let ran = lab.call_tool("p", &input).await;
    let result = ran.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let code = i32::from(result["outcome"] != "ok");
    ran.expect_code(code);
    (
        text(&result["outcome"]),
        text(&result["content"][0]["text"]),
        text(&result["log"]),
    )
}

#[track_caller]
fn says(ran: &Ran, words: &[&str]) {
    for words in words {
        assert!(ran.stderr.contains(words), "`{words}` is missing: {ran}");
    }
}

#[tokio::test]
async fn a_program_gets_its_arguments_by_name() {
    let lab = described(
        PROBE,
        "args = [\"granted\"]\n",
        r#"args = ["arguments", ["--city", "${city}"], "--n=${n}", "${list}", "$${x}"]
input_schema = '{"type":"object","properties":{"city":{"type":"string"},"n":{"type":"number"},"list":{"type":"array"}}}'"#,
    );
    let listed = lab.call(["tool", "list"]).await.expect_code(0);
    assert!(listed.stdout.contains("Does it."), "{listed}");
    // The first argument that the probe sees is the granted one, which isn't among the things that it does.
    let (outcome, text, _) = call(&lab, json!({})).await;
    assert_eq!((outcome.as_str(), text.contains("status")), ("failed", true), "{text}");
    let lab = described(
        PROBE,
        "",
        r#"args = ["arguments", ["--city", "${city}"], "--n=${n}", "${list}", "$${x}"]
input_schema = '{"type":"object","properties":{"city":{"type":"string"},"n":{"type":"number"},"list":{"type":"array"}}}'"#,
    );
    for (input, expected) in [
        (json!({}), vec!["p", "arguments", "${x}"]),
        (
            json!({ "city": "$(rm -rf /); `x` 'y' \"z\" *", "n": 1.5, "list": ["a b", 2] }),
            vec![
                "p",
                "arguments",
                "--city",
                "$(rm -rf /); `x` 'y' \"z\" *",
                "--n=1.5",
                "a b",
                "2",
                "${x}",
            ],
        ),
    ] {
        let (outcome, text, _) = call(&lab, input).await;
        assert_eq!(
            (outcome.as_str(), text.trim_end()),
            ("ok", format!("{expected:?}").as_str())
        );
    }
}

#[tokio::test]
async fn granted_arguments_come_first() {
    let lab = described(PROBE, "args = [\"arguments\", \"--fixed\"]\n", "args = [\"${city}\"]");
    let (_, text, _) = call(&lab, json!({ "city": "Bern" })).await;
    assert_eq!(text, "[\"p\", \"arguments\", \"--fixed\", \"Bern\"]\n");
}

#[tokio::test]
async fn a_value_that_begins_with_a_dash_is_no_option() {
    let input = json!({ "old": "-rf", "new": "x" });
    let lab = described(TEXTDIFF, "", "args = [\"${old}\", \"${new}\"]");
    let (outcome, text, _) = call(&lab, input.clone()).await;
    assert_eq!(
        (outcome.as_str(), text.contains("`old` begins with `-`")),
        ("invalid_input", true),
        "{text}"
    );
    // The operator reads which setting allows it; the model doesn't.
    let refused = lab.call_tool("p", &input).await.expect_code(1).json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("plugins.p.command.allow_leading_dash"), "{detail}");
    assert!(!text.contains("allow_leading_dash"), "{text}");
    let lab = described(
        TEXTDIFF,
        "",
        "args = [\"--\", \"${old}\", \"${new}\"]\nexit_codes = { 1 = \"ok\" }",
    );
    let (outcome, text, _) = call(&lab, input.clone()).await;
    assert_eq!((outcome.as_str(), text.contains("--rf")), ("ok", true), "{text}");
    let lab = described(
        TEXTDIFF,
        "",
        "args = [\"${old}\", \"${new}\"]\nallow_leading_dash = true",
    );
    let (outcome, text, _) = call(&lab, input).await;
    assert_eq!(
        (outcome.as_str(), text.contains("unknown option -rf")),
        ("failed", true),
        "{text}"
    );
}

#[tokio::test]
async fn standard_input_is_json_a_property_or_nothing() {
    let input = json!({ "text": "line\n" });
    let schema = r#"input_schema = '{"type":"object","properties":{"text":{"type":"string"}}}'"#;
    for (stdin, expected) in [
        ("", r#"{"text":"line\n"}"#),
        ("stdin = \"json\"", r#"{"text":"line\n"}"#),
        ("stdin = \"none\"", ""),
        ("stdin = \"${text}\"", "line\n"),
    ] {
        let lab = described(PROBE, "", &format!("args = [\"stdin\"]\n{schema}\n{stdin}"));
        let result = lab.call_tool("p", &input).await.expect_code(0).json();
        assert_eq!(
            result["content"][0]["text"].as_str().unwrap_or_default(),
            expected,
            "{stdin}: {result:#}"
        );
    }
}

#[tokio::test]
async fn a_program_for_wasi_0_1_is_adapted_and_keeps_its_exit_codes() {
    let command = r#"args = ["${number}"]
stdin = "${table}"
output = "json"
exit_codes = { 64 = "invalid_input", 65 = "invalid_input" }"#;
    let lab = described(COLUMN, "", command);
    let (outcome, text, _) = call(&lab, json!({ "number": "2", "table": "a,1.5\nb,2\nc,-4\n" })).await;
    assert_eq!(outcome, "ok", "{text}");
    let text: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(text, json!({ "count": 3, "sum": -0.5, "minimum": -4, "maximum": 2 }));
    for (input, outcome, expected) in [
        (
            json!({ "number": "2", "table": "a,1\nb,x\n" }),
            "invalid_input",
            "The command exited with status 65.\ncolumn: line 2: `x` isn't a number",
        ),
        (
            json!({ "number": "zero", "table": "" }),
            "invalid_input",
            "The command exited with status 64.\ncolumn: the number of a column is needed\nusage: column [-s SEPARATOR] NUMBER [FILE]",
        ),
    ] {
        let (found, text, log) = call(&lab, input).await;
        assert_eq!((found.as_str(), text.as_str()), (outcome, expected));
        assert!(expected.contains(log.trim()) && log.starts_with("column: "), "{log}");
    }
    let inspected = lab.inspect("p").await;
    for words in [
        "contract   none: it is a program, which exports _start\n",
        "plugin     p\n",
        "tool       p\n",
        "says       Does it.",
    ] {
        assert!(inspected.contains(words), "{inspected}");
    }
}

#[tokio::test]
async fn a_program_sees_the_files_and_variables_that_were_granted() {
    let command = r#"args = ["1", "${file}"]
stdin = "none"
exit_codes = { 66 = "unavailable" }"#;
    let lab = described(COLUMN, "files = [{ folder = \"in\", at = \"/in\" }]\n", command);
    std::fs::create_dir(lab.path("in")).unwrap();
    lab.write("in/table.csv", "1\n2\n");
    let (outcome, text, _) = call(&lab, json!({ "file": "/in/table.csv" })).await;
    assert_eq!((outcome.as_str(), text.contains("\"sum\":3,")), ("ok", true), "{text}");
    for file in ["/in/none.csv", "/in/../p.wasm", "/etc/passwd"] {
        let (outcome, text, _) = call(&lab, json!({ "file": file })).await;
        assert_eq!((outcome.as_str(), text.contains(file)), ("unavailable", true), "{text}");
    }
    for (keys, expected) in [
        ("", "[]\n"),
        ("env = { MODE = \"test\" }\n", "[(\"MODE\", \"test\")]\n"),
    ] {
        let lab = described(PROBE, keys, "args = [\"env\"]");
        assert_eq!(call(&lab, json!({})).await.1, expected);
    }
}

#[tokio::test]
async fn standard_output_and_standard_error_are_kept_apart() {
    let lab = described(PROBE, "", "args = [\"both\"]");
    let (outcome, text, log) = call(&lab, json!({})).await;
    assert_eq!(
        (outcome.as_str(), text.as_str(), log.as_str()),
        ("ok", "to stdout\n", "to stderr\n")
    );
    let lab = described(PROBE, "", "args = [\"bytes\"]");
    assert_eq!(call(&lab, json!({})).await.1, "a\u{fffd}\u{fffd}b");
}

#[tokio::test]
async fn the_end_of_standard_error_says_why_a_program_failed() {
    let lab = described(
        PROBE,
        "[plugins.p.limits]\nlog_bytes = \"1KiB\"\n",
        "args = [\"complain\", \"3000\"]",
    );
    let (outcome, text, log) = call(&lab, json!({})).await;
    assert_eq!(outcome, "failed");
    assert!(
        text.starts_with("The command exited with status 1.\n") && text.ends_with("\ncomplaint 2999"),
        "{text}"
    );
    assert!((4_000..=4_200).contains(&text.len()), "{}", text.len());
    assert!(log.starts_with("complaint 0\n") && log.len() == 1024, "{log}");
    let lab = described(PROBE, "", "args = [\"silent\"]");
    assert_eq!(call(&lab, json!({})).await.1, "The command exited with status 1.");
    // A program that says on standard output why it failed.
    let lab = described(TEXTDIFF, "", "args = [\"${a}\", \"${b}\"]");
    let (outcome, text, _) = call(&lab, json!({ "a": "1\n", "b": "2\n" })).await;
    assert_eq!((outcome.as_str(), text.contains("-1\n+2")), ("failed", true), "{text}");
}

#[tokio::test]
async fn output_beyond_the_limit_is_refused_while_it_is_printed() {
    let print = |kib: u64| format!("args = [\"print\", \"{}\"]", kib << 10);
    let limits = "[plugins.p.limits]\noutput_bytes = \"64KiB\"\n";
    let (outcome, text, _) = call(&described(PROBE, limits, &print(64)), json!({})).await;
    assert_eq!((outcome.as_str(), text.len()), ("ok", 64 << 10));
    // The program doesn't get to print its gigabyte.
    for kib in [65, 1 << 20] {
        let (outcome, text, _) = call(&described(PROBE, limits, &print(kib)), json!({})).await;
        assert_eq!(
            (outcome.as_str(), text.contains("output_bytes allows (64KiB)")),
            ("invalid_output", true),
            "{text}"
        );
    }
}

#[tokio::test]
async fn limits_and_crashes_are_those_of_any_tool() {
    let loops = "timeout = \"300ms\"\nfuel = 1_000_000_000_000_000";
    for (what, limits, outcome, printed) in [
        ("loop", loops, Outcome::Timeout, ""),
        ("loop", "fuel = 50_000_000", Outcome::OutOfFuel, ""),
        ("allocate", "memory = \"16MiB\"", Outcome::OutOfMemory, ""),
        ("panic", "", Outcome::Trapped, "panicked at"),
    ] {
        let limits = format!("[plugins.p.limits]\n{limits}\n");
        let lab = described(PROBE, &limits, &format!("args = [\"{what}\", \"why\"]"));
        let (found, text, log) = call(&lab, json!({})).await;
        assert_eq!(found, outcome.name(), "{what}: {text}");
        assert!(log.contains(printed), "{what}: {log}");
    }
}

/// The breaker's failures after a run in which the model calls `p` twice, and the results that it read.
async fn run_twice(command: &str) -> (u64, Vec<String>) {
    let input = json!({ "a": "1\n", "b": "2\n" });
    let answers = [
        tool_call("p", input.clone()),
        tool_call("p", input),
        Answer::text("Done."),
    ];
    let command = format!("args = [\"${{a}}\", \"${{b}}\"]\n{command}");
    let lab = described_with(answers, TEXTDIFF, "breaker = { failure_threshold = 5 }\n", &command);
    let report = lab.report(0).await;
    let breakers = report["breakers"].as_array().unwrap();
    let breaker = breakers.iter().find(|breaker| breaker["name"] == "tool:p");
    let failures = breaker.map_or(0, |breaker| breaker["failure_count"].as_u64().unwrap());
    let requests = lab.simulator.requests();
    let messages = requests.last().unwrap().body["messages"].as_array().unwrap().clone();
    let results = messages
        .iter()
        .filter_map(|message| message["content"][0]["content"][0]["text"].as_str());
    (failures, results.map(str::to_owned).collect())
}

#[tokio::test]
async fn an_exit_status_is_no_mark_against_the_tool_unless_the_operator_says_so() {
    for (command, failures, begins) in [
        ("", 0, "The command exited with status 1.\n--- old"),
        ("exit_codes = { 1 = \"invalid_input\" }", 0, "The command exited"),
        ("exit_codes = { 1 = \"failed\" }", 2, "The command exited"),
        ("exit_codes = { 1 = \"ok\" }", 0, "--- old\n+++ new\n@@"),
    ] {
        let (found, results) = run_twice(command).await;
        assert_eq!((found, results.len()), (failures, 2), "{command}: {results:?}");
        assert!(
            results.iter().all(|result| result.starts_with(begins)),
            "{command}: {results:?}"
        );
    }
}

#[tokio::test]
async fn an_adapted_program_is_pinned_by_its_own_digest() {
    let lab = described(COLUMN, "", "");
    let inspected = lab
        .call(["tool", "inspect", "p.wasm", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let digest = inspected["digest"].as_str().unwrap().to_owned();
    assert_eq!(inspected["size_bytes"], COLUMN.len());
    let command = "args = [\"1\", \"${file}\"]";
    let lab = described(COLUMN, &format!("digest = \"{digest}\"\n"), command);
    lab.call(["config", "check"]).await.expect_code(0);
    let lab = described(PROBE, &format!("digest = \"{digest}\"\n"), command);
    let ran = lab.call(["config", "check"]).await.expect_code(1);
    assert!(ran.to_string().contains("but the configuration pins"), "{ran}");
}

#[tokio::test]
async fn a_program_that_nobody_describes_is_left_out_with_the_lines_that_do() {
    let lab = lab([]);
    lab.write("two words.wasm", PROBE);
    let words = [
        "it is a program (it exports `wasi:cli/run`)",
        "[plugins.two_words.command]\n",
        "description = \"",
        "args = [[\"--city\", \"${city}\"]]",
    ];
    for arguments in [
        ["tool", "call", "two words.wasm"],
        ["tool", "list", "two words.wasm"],
        ["mcp", "--plugin", "two words.wasm"],
    ] {
        says(&lab.call(arguments).await.expect_code(2), &words);
    }
    lab.configure("[plugins.two_words]\ncomponent = \"two words.wasm\"\n");
    says(&lab.call(["tool", "list"]).await.expect_code(0), &words[..1]);
    let inspected = lab.inspect("two words.wasm").await;
    assert!(words.iter().all(|words| inspected.contains(words)), "{inspected}");
    let checked = lab
        .call(["config", "check", "--output", "json"])
        .await
        .expect_code(1)
        .json();
    assert_eq!(
        checked["problems"][0]["key"], "plugins.two_words.command",
        "{checked:#}"
    );
    // The lines, copied.
    let hint = checked["problems"][0]["hint"].as_str().unwrap();
    let (_, lines) = hint.split_once(":\n").unwrap();
    lab.configure(&lines.replace("…", "two words.wasm"));
    lab.call(["config", "check"]).await.expect_code(0);
}

#[tokio::test]
async fn a_description_of_what_is_no_program_is_a_mistake() {
    let lab = lab([]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\ncommand = { description = \"Adds.\" }\n");
    let checked = lab
        .call(["config", "check", "--output", "json"])
        .await
        .expect_code(1)
        .json();
    let problem = &checked["problems"][0];
    assert_eq!(problem["key"], "plugins.calculator.command", "{checked:#}");
    assert!(
        problem["message"]
            .as_str()
            .unwrap()
            .contains("exports no `wasi:cli/run` of WASI 0.2"),
        "{checked:#}"
    );
}

#[tokio::test]
async fn a_plugin_that_is_a_program_as_well_has_both_kinds_of_tools() {
    let both = WatGuest::named("own").program().build();
    let lab = described(&both, "", "args = [\"${a}\"]");
    let names = |ran: Ran| {
        ran.json()
            .as_array()
            .unwrap()
            .iter()
            .map(|tool| tool["name"].clone())
            .collect::<Vec<_>>()
    };
    let listed = names(lab.call(["tool", "list", "--output", "json"]).await.expect_code(0));
    assert_eq!(listed, ["p", "own"]);
    assert_eq!(call(&lab, json!({ "a": "x" })).await.0, "ok");
    let own = lab.call_tool("own", &json!({})).await.expect_code(0).json();
    assert_eq!(own["content"][0]["text"], "done");
    // Without a description, it is a plugin and nothing else.
    lab.configure("[plugins.p]\ncomponent = \"p.wasm\"\n");
    assert_eq!(
        names(lab.call(["tool", "list", "--output", "json"]).await.expect_code(0)),
        ["own"]
    );
    let lab = described(&both, "", "name = \"own\"");
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    says(
        &ran,
        &[
            "the component has a tool `own` of its own",
            "give the command another with `name`",
        ],
    );
}

#[tokio::test]
async fn a_person_sees_what_a_call_cost_and_printed() {
    let lab = described(
        PROBE,
        "[plugins.p.limits]\nlog_bytes = \"1KiB\"\n",
        "args = [\"complain\", \"200\"]",
    );
    let ran = lab.call(["tool", "call", "p"]).await.expect_code(1);
    says(
        &ran,
        &[
            "printed  complaint 0\n",
            "more than log_bytes keeps",
            "tool  p",
            ", fuel ",
            ", peak memory ",
        ],
    );
    assert!(ran.stdout.contains("complaint 199"), "{ran}");
    let lab = described(PROBE, "", "args = [\"panic\", \"because \\u001b[31m\"]");
    let ran = lab.call(["tool", "call", "p"]).await;
    assert_eq!(ran.code(), 1, "{ran}");
    says(&ran, &["printed  because \\u{1b}[31m\n"]);
}

/// The description stands in the configuration, so both the plugin's name and the file lead to it.
#[tokio::test]
async fn a_described_program_is_inspected_and_checked_by_name_and_by_file() {
    let command = "args = [\"1\"]\nstdin = \"${table}\"\nread_only = true\nidempotent = true";
    let lab = described(COLUMN, "limits = { memory = \"32MiB\" }\n", command);
    for target in ["p", "p.wasm"] {
        let checked = lab
            .call(["tool", "check", target, "--output", "json"])
            .await
            .expect_code(0);
        let report = checked.json();
        assert_eq!(
            (&report["plugin"], &report["tools"][0]["name"], &report["passed"]),
            (&json!("p"), &json!("p"), &json!(true)),
            "{checked}"
        );
        assert!(report["contract"].as_str().unwrap().contains("_start"), "{checked}");
        // An empty table has no numbers, which is the program's to say.
        let tool = &report["tools"][0];
        assert!(tool["outcomes"]["failed"].as_u64().unwrap() > 0, "{tool}");
        assert_eq!(tool["error_answer"]["outcome"], "failed", "{tool}");
        let inspected = lab.inspect(target).await;
        assert!(
            inspected.contains("plugin     p\n") && inspected.contains("tool       p\n"),
            "{inspected}"
        );
    }
    // What the plugin is granted stays out of it, but its settings apply.
    let lab = described(PROBE, "args = [\"no-such-thing\"]\n", "exit_codes = { 1 = \"ok\" }");
    let checked = lab
        .call(["tool", "check", "p", "--output", "json"])
        .await
        .expect_code(0);
    assert_eq!(checked.json()["tools"][0]["sample"]["outcome"], "ok", "{checked}");
}

#[tokio::test]
async fn a_file_that_several_plugins_describe_is_ambiguous() {
    let lab = lab([]);
    lab.write("p.wasm", PROBE);
    let plugin = |name: &str| {
        format!("[plugins.{name}]\ncomponent = \"p.wasm\"\n[plugins.{name}.command]\ndescription = \"Does it.\"\n")
    };
    lab.configure(&format!("{}{}", plugin("one"), plugin("two")));
    for command in ["check", "inspect"] {
        let ran = lab.call(["tool", command, "p.wasm"]).await.expect_code(2);
        says(&ran, &["several plugins describe p.wasm: one, two", "name one of them"]);
    }
    // The tool of a described program has the plugin's name, which is listed once.
    let ran = lab.call(["tool", "inspect", "nothing"]).await.expect_code(2);
    says(&ran, &["one of one, two; the configuration is "]);
}

/// A standalone call reads no configuration, so it says where the description is.
#[tokio::test]
async fn a_described_program_is_called_by_its_tool() {
    let lab = described(PROBE, "", "args = [\"arguments\"]");
    for arguments in [
        ["tool", "call", "p.wasm"],
        ["tool", "list", "p.wasm"],
        ["mcp", "--plugin", "p.wasm"],
    ] {
        let ran = lab.call(arguments).await.expect_code(2);
        says(&ran, &["plugin `p` of", "cofferdam.toml", "cofferdam tool call p"]);
    }
}

#[tokio::test]
async fn a_check_of_a_file_goes_on_without_a_configuration_that_is_not_valid() {
    let lab = lab([]);
    lab.write("cofferdam.toml", "[nonsense]\n");
    let ran = lab.call(["tool", "check", "builtin:calculator"]).await.expect_code(0);
    says(&ran, &["nonsense: unknown key", "goes on without the configuration"]);
    for arguments in [
        vec!["tool", "check", "calculator"],
        vec!["--config", "cofferdam.toml", "tool", "check", "builtin:calculator"],
    ] {
        lab.call(arguments).await.expect_code(2);
    }
}

#[tokio::test]
async fn an_undescribed_core_module_is_a_program_by_its_start() {
    let lab = lab([]);
    lab.write("column.wasm", COLUMN);
    let ran = lab.call(["tool", "call", "column.wasm"]).await.expect_code(2);
    says(
        &ran,
        &[
            "it is a program (it exports `_start`)",
            "    [plugins.column.command]\n",
        ],
    );
}

/// Bytes of the arguments that the adapter for WASI 0.1 passes on: the longest, and 8 for each.
const MAX_ADAPTED: usize = 56 * 1024;

/// The real adapter takes what the host lets through.
#[tokio::test]
async fn arguments_that_the_adapter_has_no_room_for_are_refused_before_the_call() {
    let command = r#"args = ["${texts}"]
stdin = "none"
input_schema = '{"type":"object","properties":{"texts":{"type":"array"}}}'"#;
    let lab = described(COLUMN, "", command);
    let long = |bytes: usize| json!({ "texts": ["x".repeat(bytes)] });
    let many = |texts: usize| json!({ "texts": vec![""; texts] });
    // The first argument is the name of the program.
    for (fits, too_long) in [
        (long(MAX_ADAPTED - 16), long(MAX_ADAPTED - 15)),
        (many(MAX_ADAPTED / 8 - 2), many(MAX_ADAPTED / 8)),
    ] {
        let (outcome, text, _) = call(&lab, fits).await;
        assert_eq!(
            (outcome.as_str(), text.contains("status 64")),
            ("failed", true),
            "{text:.200}"
        );
        let (outcome, text, _) = call(&lab, too_long).await;
        assert_eq!(
            (
                outcome.as_str(),
                text.contains("a program for WASI 0.1 can be passed 57344")
            ),
            ("invalid_input", true),
            "{text:.200}"
        );
    }
}

#[tokio::test]
async fn grants_that_the_adapter_has_no_room_for_leave_the_program_out() {
    for (key, value) in [
        ("args", format!("[\"{}\"]", "x".repeat(MAX_ADAPTED))),
        ("env", format!("{{ A = \"{}\" }}", "x".repeat(MAX_ADAPTED))),
    ] {
        let granted = format!("{key} = {value}\n");
        let lab = described(COLUMN, &granted, "args = [\"1\"]");
        let ran = lab.call(["config", "check"]).await.expect_code(1);
        assert!(
            ran.stdout.contains(&format!("plugins.p.{key}")) || ran.stderr.contains(&format!("plugins.p.{key}")),
            "{ran}"
        );
        // A program for WASI 0.2 has no such limit.
        let lab = described(PROBE, &granted, "args = [\"1\"]");
        lab.call(["config", "check"]).await.expect_code(0);
    }
}

/// A program for WASI 0.2 with the adapter already in it: it traps where a text doesn't fit.
const SELF_ADAPTED: &str = r#"(component
    (import "wasi:cli/environment@0.2.0" (instance $environment
        (export "get-arguments" (func (result (list string))))))
    (core module $buffer
        (memory (export "memory") 1)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32)
            (if (i32.gt_u (local.get 3) (i32.const 59000)) (then unreachable))
            (i32.const 64)))
    (core instance $buffer (instantiate $buffer))
    (core func $arguments (canon lower (func $environment "get-arguments")
        (memory $buffer "memory") (realloc (func $buffer "realloc"))))
    (core module $program
        (import "" "arguments" (func $arguments (param i32)))
        (func (export "run") (result i32) (call $arguments (i32.const 0)) (i32.const 0)))
    (core instance $program (instantiate $program
        (with "" (instance (export "arguments" (func $arguments))))))
    (func $run (result (result)) (canon lift (core func $program "run")))
    (instance $interface (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $interface)))"#;

#[tokio::test]
async fn a_check_says_how_to_bound_the_arguments_of_a_program() {
    let component = wat::parse_str(SELF_ADAPTED).unwrap();
    for (bound, fails) in [("", true), (", \"maxLength\": 1000", false)] {
        let schema = format!(
            "input_schema = '{{\"type\":\"object\",\"properties\":{{\"number\":{{\"type\":\"string\"{bound}}}}},\"required\":[\"number\"]}}'"
        );
        let lab = described(
            &component,
            "",
            &format!("args = [\"${{number}}\"]\nstdin = \"none\"\n{schema}"),
        );
        let checked = lab.call(["tool", "check", "p"]).await.expect_code(i32::from(fails));
        assert_eq!(
            checked.stdout.contains("`maxLength` in `input_schema`"),
            fails,
            "{checked}"
        );
    }
}
