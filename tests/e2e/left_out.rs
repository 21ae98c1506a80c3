//! What is wrong with a plugin or a tool leaves that one out. It is said at start, by `tool list` and `tool inspect`, and
//! makes `config check` exit with 1. Only a required plugin stops the host.

use std::collections::BTreeSet;

use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, Ran, WatGuest, WatTool};
use serde_json::{Value, json};

use crate::lab;

const CALCULATOR: &str = "[plugins.calculator]\ncomponent = \"builtin:calculator\"\n";

async fn refused<'a>(lab: &Lab, arguments: impl IntoIterator<Item = &'a str>, says: &[&str]) {
    let ran = lab.call(arguments).await.expect_code(2);
    for words in says {
        assert!(ran.stderr.contains(words), "`{words}` is missing: {ran}");
    }
}

fn plugin(component: &str, required: bool) -> String {
    format!("[plugins.bad]\ncomponent = \"{component}\"\nrequired = {required}\n")
}

/// The names in the first column of `tool list`.
fn listed(ran: &Ran) -> Vec<&str> {
    let rows = ran.stdout.lines().skip(1);
    rows.filter_map(|row| row.split_whitespace().next()).collect()
}

/// The keys of the problems that `config check` finds.
async fn keys(lab: &Lab, code: i32) -> BTreeSet<String> {
    let checked = lab
        .call(["config", "check", "--output", "json"])
        .await
        .expect_code(code)
        .json();
    assert_eq!(checked["valid"], code == 0, "{checked:#}");
    let problems = checked["problems"].as_array().unwrap();
    problems
        .iter()
        .map(|problem| problem["key"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn one_bad_tool_does_not_take_the_others_away() {
    let with = |name: &str, properties: &str| WatTool {
        schema: format!(r#"{{"type":"object",{properties}}}"#),
        ..WatTool::named(name)
    };
    let bad = [
        ("items", r#""properties":{"a":{"items":[{}]}}"#, "not usable"),
        ("ahead", r#""properties":{"a":{"pattern":"^(?=x)"}}"#, "not usable"),
        ("any_of", r#""anyOf":[{}]"#, "uses anyOf"),
        ("recursive", r##""properties":{"a":{"$ref":"#"}}"##, "refers to itself"),
        (
            "tool_search_tool_bm25",
            r#""properties":{}"#,
            "the API's own tools; give it another",
        ),
    ];
    let mut tools = vec![WatTool {
        description: "One.\r\nTwo.\rThree.".to_owned(),
        ..WatTool::named("good")
    }];
    tools.extend(bad.map(|(name, properties, _)| with(name, properties)));
    let lab = lab([Answer::text("Fine.")]);
    lab.write("guest.wasm", WatGuest::new(tools).build());
    lab.configure(&plugin("guest.wasm", false));
    let list = lab.call(["tool", "list"]).await.expect_code(0);
    assert_eq!(listed(&list), ["good"], "{list}");
    let inspected = lab.call(["tool", "inspect", "guest.wasm"]).await.expect_code(0);
    assert!(inspected.stdout.contains("tool       good\n"), "{inspected}");
    for (name, _, reason) in bad {
        let names = format!("the tool `{name}` is not usable");
        let line = list.stderr.lines().find(|line| line.contains(&names));
        assert!(line.unwrap_or_else(|| panic!("{list}")).contains(reason), "{list}");
        let line = inspected.stdout.lines().find(|line| line.contains(&names));
        assert!(
            line.unwrap_or_else(|| panic!("{inspected}")).contains(reason),
            "{inspected}"
        );
    }
    let expected = bad.map(|(name, ..)| format!("plugins.bad.tools.{name}"));
    assert_eq!(keys(&lab, 1).await, expected.into());
    lab.report(0).await;
    let request = &lab.simulator.requests()[0].body;
    assert_eq!(request["tools"][0]["description"], "One.\nTwo.\nThree.", "{request:#}");
    // It is the only tool that can be called, so it needs no name.
    let ran = lab.call(["tool", "call", "guest.wasm"]).await.expect_code(0);
    assert_eq!(ran.stdout, "done\n", "{ran}");
    // Left out by the operator, a tool is no problem any more, and no tool either.
    let left_out: String = ["good", "items", "ahead", "any_of"]
        .map(|name| format!("[plugins.bad.tools.{name}]\nenabled = false\n"))
        .concat();
    let renamed = "[plugins.bad.tools.tool_search_tool_bm25]\nname = \"own_search\"\n";
    lab.configure(&format!("{}{left_out}{renamed}", plugin("guest.wasm", false)));
    assert_eq!(keys(&lab, 1).await, ["plugins.bad.tools.recursive".to_owned()].into());
    let list = lab.call(["tool", "list"]).await.expect_code(0);
    assert!(
        listed(&list) == ["own_search"] && !list.stderr.contains("items"),
        "{list}"
    );
    let ran = lab.call_tool("good", &json!({})).await.expect_code(1);
    assert_eq!(ran.json()["outcome"], "unknown_tool", "{ran}");
}

#[tokio::test]
async fn a_component_with_another_digest_is_left_out() {
    let lab = lab([Answer::text("Fine without.")]);
    let digest = format!("digest = \"sha256:{}\"\n", "0".repeat(64));
    lab.configure(&format!("{CALCULATOR}{digest}"));
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    assert!(listed(&ran).is_empty() && ran.stderr.contains("digest"), "{ran}");
    assert_eq!(keys(&lab, 1).await, ["plugins.calculator.digest".to_owned()].into());
    lab.report(0).await;
    assert!(lab.simulator.requests()[0].body["tools"].is_null());
    lab.configure(&format!("{CALCULATOR}{digest}required = true\n"));
    refused(&lab, ["tool", "list"], &["digest", "\n    hint: "]).await;
    refused(&lab, ["run", "Go."], &["digest", "\n    hint: "]).await;
    assert_eq!(lab.simulator.requests().len(), 1);
}

#[tokio::test]
async fn names_go_to_built_ins_first_and_then_by_the_name_of_the_plugin() {
    let lab = lab([]);
    let guest = ["calculate", "Calculate", "cal-culate", "own"].map(WatTool::named);
    lab.write("guest.wasm", WatGuest::new(guest).build());
    lab.configure(&format!(
        "[plugins.a]\ncomponent = \"guest.wasm\"\n[plugins.b]\ncomponent = \"guest.wasm\"\n{CALCULATOR}"
    ));
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    let rows: Vec<Vec<&str>> = ran
        .stdout
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().take(2).collect())
        .collect();
    assert_eq!(rows, [["calculate", "calculator"], ["own", "a"]], "{ran}");
    for (plugin, tool, owner) in [
        ("a", "calculate", "calculate` of plugin `calculator"),
        ("b", "Calculate", "calculate` of plugin `calculator"),
        ("a", "cal-culate", "calculate` of plugin `calculator"),
        ("b", "own", "own` of plugin `a"),
    ] {
        let says = format!("plugin `{plugin}`: the tool `{tool}` lost to the tool `{owner}`");
        assert!(ran.stderr.contains(&says), "{says}: {ran}");
    }
    // A caller learns why a tool is missing.
    let ran = lab.call_tool("Calculate", &json!({})).await.expect_code(1);
    assert!(
        ran.json()["detail"].as_str().unwrap().contains("lost to the tool"),
        "{ran}"
    );
    // Renamed, it has its place. Two names of the file are compared in the same way.
    let rename =
        |name: &str| format!("[plugins.a]\ncomponent = \"guest.wasm\"\n[plugins.a.tools.own]\nname = \"{name}\"\n");
    lab.configure(&format!("{}{CALCULATOR}", rename("renamed")));
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    assert_eq!(listed(&ran), ["calculate", "renamed"], "{ran}");
    lab.configure(&format!(
        "{}[plugins.a.tools.calculate]\nname = \"Re_Named\"\n",
        rename("renamed")
    ));
    refused(&lab, ["tool", "list"], &["is taken by"]).await;
    // What a required plugin lacks stops the host.
    lab.configure(&format!(
        "{}required = true\n{CALCULATOR}",
        plugin("guest.wasm", false).replace("required = false\n", "")
    ));
    refused(&lab, ["tool", "list"], &["lost to the tool `calculate`", "hint: "]).await;
}

#[tokio::test]
async fn a_section_for_a_tool_that_does_not_exist_leaves_the_plugin_alone() {
    let lab = lab([]);
    let section = "[plugins.calculator.tools.calcualte]\nfallback = \"x\"\n";
    lab.configure(&format!("{CALCULATOR}{section}"));
    let ran = lab.call(["tool", "list"]).await.expect_code(0);
    assert_eq!(listed(&ran), ["calculate"], "{ran}");
    assert!(
        ran.stderr.contains("calcualte") && ran.stderr.contains("it has calculate"),
        "{ran}"
    );
    assert_eq!(
        keys(&lab, 1).await,
        ["plugins.calculator.tools.calcualte".to_owned()].into()
    );
    lab.configure(&format!("{CALCULATOR}required = true\n{section}"));
    refused(&lab, ["tool", "list"], &["calcualte", "it has calculate"]).await;
}

#[tokio::test]
async fn tools_with_invalid_declarations() {
    let schema = |schema: &str| WatTool {
        schema: schema.to_owned(),
        ..WatTool::named("x")
    };
    let described = |description: &str| WatTool {
        description: description.to_owned(),
        ..WatTool::named("x")
    };
    for (tool, says) in [
        (schema("{"), "not JSON"),
        (schema(r#"{"type":"string"}"#), "object"),
        (
            schema(r#"{"type":"object","properties":{"a":{"pattern":"("}}}"#),
            "not usable",
        ),
        (
            schema(r#"{"type":"object","$ref":"https://example.com/x"}"#),
            "only references within it",
        ),
        // Two references to itself: validation would double with every level of the input.
        (
            schema(
                r##"{"type":"object","properties":{"a":{"properties":{"a":{"allOf":[{"$ref":"#/properties/a"},{"$ref":"#/properties/a"}]}}}}}"##,
            ),
            "refers to itself",
        ),
        (
            schema(&format!(r#"{{"type":"object","title":"{}"}}"#, "x".repeat(70_000))),
            "65536",
        ),
        (WatTool::named(""), "a name is"),
        (WatTool::named("a b"), "a name is"),
        (WatTool::named("\u{1b}[31mred"), "a name is"),
        (WatTool::named(&"x".repeat(65)), "a name is"),
        (described("\u{1b}]0;title\u{7}"), "control characters"),
        (described(&"x".repeat(9000)), "8192"),
    ] {
        let lab = lab([]);
        lab.write("guest.wasm", WatGuest::new([tool]).build());
        lab.configure(&plugin("guest.wasm", true));
        let ran = lab.call(["tool", "list"]).await.expect_code(2);
        assert!(
            ran.stderr.contains(says) && !ran.stderr.contains('\u{1b}'),
            "{says}: {ran}"
        );
    }
}

/// Every model request carries, and pays for, all tools. Here no single tool is too long.
#[tokio::test]
async fn tool_declarations_of_a_plugin_are_bounded() {
    for (tools, code) in [(7, 0), (9, 2)] {
        let tools = (0..tools).map(|number| WatTool {
            description: "x".repeat(8_000),
            ..WatTool::named(&format!("t{number}"))
        });
        let lab = lab([]);
        lab.write("guest.wasm", WatGuest::new(tools).build());
        lab.configure(&plugin("guest.wasm", true));
        let ran = lab.call(["tool", "list"]).await.expect_code(code);
        assert_eq!(ran.stderr.contains("more than 65536 bytes"), code == 2, "{ran}");
    }
}

/// Refusing a schema takes time as well, so a component can't make the host refuse any number of them.
#[tokio::test]
async fn unusable_tools_of_a_plugin_are_bounded() {
    for (bad, reason, good) in [(30, "is not usable: a name is", true), (32, "it wasn't checked", false)] {
        let tools = (0..bad).map(|number| WatTool::named(&format!("bad name {number}")));
        let tools = tools.chain([WatTool::named("last one"), WatTool::named("good")]);
        let lab = lab([]);
        lab.write("guest.wasm", WatGuest::new(tools).build());
        lab.configure(&plugin("guest.wasm", false));
        let ran = lab.call(["tool", "list"]).await.expect_code(0);
        let last = ran.stderr.lines().find(|line| line.contains("`last one`"));
        assert!(last.unwrap_or_else(|| panic!("{ran}")).contains(reason), "{ran}");
        assert_eq!(listed(&ran), if good { vec!["good"] } else { vec![] }, "{ran}");
    }
}

/// Compiled patterns stay in memory as long as the host runs. Here no single tool has too many.
#[tokio::test]
async fn patterns_are_bounded_across_all_tools_of_a_plugin() {
    let properties = |first: usize| -> Vec<String> {
        (first..first + 30)
            .map(|number| format!(r#""p{number}":{{"pattern":"^x{number}$"}}"#))
            .collect()
    };
    for (tools, code) in [(8, 0), (9, 2)] {
        let tools = (0..tools).map(|number| WatTool {
            schema: format!(
                r#"{{"type":"object","properties":{{{}}}}}"#,
                properties(number * 30).join(",")
            ),
            ..WatTool::named(&format!("t{number}"))
        });
        let lab = lab([]);
        lab.write("guest.wasm", WatGuest::new(tools).build());
        lab.configure(&plugin("guest.wasm", true));
        let ran = lab.call(["tool", "list"]).await.expect_code(code);
        assert_eq!(ran.stderr.contains("256 patterns"), code == 2, "{ran}");
    }
}

/// A component that exports the tool interface and imports an instance of this name, which the text format quotes.
fn importing(name: &str) -> Vec<u8> {
    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        let mut section = vec![id];
        let mut rest = content.len();
        while rest > 127 {
            section.push(u8::try_from(rest & 127).unwrap() | 128);
            rest >>= 7;
        }
        section.push(u8::try_from(rest).unwrap());
        section.extend(content);
        section
    }
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let interface = text("cofferdam:tool/tools@0.1.0");
    let mut bytes = wat::parse_str(format!("(component (import {name} (instance (export \"f\" (func)))))")).unwrap();
    bytes.extend(section(4, &WatGuest::named("tool").build()));
    // The import is instance 0, the nested component's instance 1, and its interface 2.
    bytes.extend(section(5, &[1, 0, 0, 0]));
    bytes.extend(section(6, &[&[1, 5, 0, 1], &interface[..]].concat()));
    bytes.extend(section(11, &[&[1, 0], &interface[..], &[5, 2, 0]].concat()));
    bytes
}

#[tokio::test]
async fn an_imports_name_forges_no_line() {
    let lab = lab([]);
    lab.write("evil.wasm", importing(r#""url=<https://x.test/\nhint: all is well>""#));
    lab.configure(&plugin("evil.wasm", false));
    for (arguments, code) in [
        (&["tool", "inspect", "evil.wasm"][..], 0),
        (&["tool", "list", "-q"], 0),
        (&["tool", "call", "evil.wasm"], 2),
        (&["config", "check"], 1),
    ] {
        let ran = lab.call(arguments.iter().copied()).await.expect_code(code);
        let shown = format!("{}\n{}", ran.stdout, ran.stderr);
        assert!(shown.contains("hint: all is well"), "the import isn't named: {ran}");
        assert!(!shown.lines().any(|line| line.starts_with("hint: all")), "{ran}");
    }
}

/// A person sees them, and the model doesn't get them.
#[tokio::test]
async fn hidden_characters_are_shown_to_people_and_kept_from_the_model() {
    let lab = lab([Answer::text("Fine.")]);
    let tool = WatTool {
        description: "Adds.\u{200b}\u{e0049}\u{e0067}\u{202e}".to_owned(),
        schema: "{\"type\":\"object\",\"description\":\"a\u{200b}b\\u200bc\"}".to_owned(),
        ..WatTool::named("add")
    };
    lab.write("guest.wasm", WatGuest::new([tool]).build());
    lab.configure(&plugin("guest.wasm", true));
    for arguments in [["tool", "list"], ["tool", "inspect"]] {
        let target = (arguments[1] == "inspect").then_some("guest.wasm");
        let ran = lab.call(arguments.into_iter().chain(target)).await.expect_code(0);
        assert!(ran.stdout.contains(r"Adds.\u{200b}\u{e0049}\u{e0067}\u{202e}"), "{ran}");
    }
    lab.report(0).await;
    let tool = &lab.simulator.requests()[0].body["tools"][0];
    assert_eq!(
        (&tool["description"], &tool["input_schema"]["description"]),
        (&json!("Adds."), &json!("abc")),
        "{tool:#}"
    );
}

#[tokio::test]
async fn config_check_finds_what_run_would_leave_out_or_refuse() {
    let lab = lab([]);
    lab.write("core.wasm", wat::parse_str("(module)").unwrap());
    lab.write("logs", "a file where a folder should be");
    lab.configure(&format!(
        "[logging]\ndirectory = \"logs/below\"\n[budget]\nsession_usd = 0.01\n\
         {CALCULATOR}digest = \"sha256:{}\"\nrequired = true\n\
         [plugins.core]\ncomponent = \"core.wasm\"\n\
         [plugins.gone]\ncomponent = \"gone.wasm\"\n\
         [plugins.folder]\ncomponent = \"builtin:calculator\"\nfiles = [{{ folder = \"nowhere\", at = \"/x\" }}]\n\
         [secrets]\nKEY = {{ env = \"NOT_SET_HERE\" }}\n\
         [plugins.secret]\ncomponent = \"builtin:weather\"\n\
         http = [{{ url = \"https://x.test/\", headers = {{ A = \"${{secret:KEY}}\" }} }}]\n\
         [plugins.typo]\ncomponent = \"builtin:weather\"\n[plugins.typo.tools.nope]\nfallback = \"x\"\n",
        "0".repeat(64)
    ));
    let expected = [
        "budget.session_usd",
        "logging.directory",
        "plugins.calculator.digest",
        "plugins.core.component",
        "plugins.folder.files",
        "plugins.gone.component",
        "plugins.secret.http",
        "plugins.typo.tools.nope",
    ];
    assert_eq!(keys(&lab, 1).await, expected.map(str::to_owned).into());
    let ran = lab.call(["config", "check"]).await.expect_code(1);
    for key in expected {
        let mut lines = ran.stderr.lines();
        let found = lines.find(|line| line.starts_with(&format!("error: {key}: ")));
        assert!(found.is_some(), "{key}: {ran}");
        assert!(
            lines.next().is_some_and(|line| line.starts_with("hint: ")),
            "{key}: {ran}"
        );
    }
    // The file alone is fine but for the budget.
    lab.configure(&plugin("gone.wasm", true));
    lab.call(["config", "check", "--offline"]).await.expect_code(0);
    let ran = lab.call(["config", "check"]).await.expect_code(1);
    assert!(ran.stderr.contains("error: plugins.bad.component: "), "{ran}");
}

#[tokio::test]
async fn config_check_looks_at_the_plugins_of_a_file_that_is_not_valid() {
    let lab = lab([]);
    lab.configure(&format!(
        "[agent]\nmax_iterations = 0\n[logging]\nlevel = \"loud\"\n{CALCULATOR}digest = \"sha256:{}\"\n\
         [plugins.gone]\ncomponent = \"gone.wasm\"\n\
         [plugins.wrong]\ncomponent = \"nowhere.wasm\"\nfules = 1\n",
        "0".repeat(64)
    ));
    let expected = [
        "agent.max_iterations",
        "logging.level",
        "plugins.calculator.digest",
        "plugins.gone.component",
        "plugins.wrong.fules",
    ];
    assert_eq!(keys(&lab, 2).await, expected.map(str::to_owned).into());
    let ran = lab.call(["config", "check"]).await.expect_code(2);
    for key in expected {
        let is_of = |line: &&str| line.starts_with("error: ") && line.contains(&format!("{key}: "));
        assert_eq!(ran.stderr.lines().filter(is_of).count(), 1, "{key}: {ran}");
    }
    assert!(ran.stderr.contains("the configuration has 5 problems\nhint: "), "{ran}");
    let offline = lab.call(["config", "check", "--offline"]).await.expect_code(2);
    assert!(offline.stderr.contains("has 3 problems"), "{offline}");
}

#[tokio::test]
async fn config_check_knows_prices_and_grants_that_match_nothing() {
    let lab = lab([]);
    lab.configure("model = \"nameless\"\n[plugins]\n");
    assert_eq!(keys(&lab, 1).await, ["model.model".to_owned()].into());
    lab.configure(
        "model = \"nameless\"\n[plugins]\n[budget]\nsession_usd = \"unlimited\"\ndaily_usd = \"unlimited\"\n",
    );
    assert!(keys(&lab, 0).await.is_empty());
    for url in ["https://*.example.com/", "https://example.com/v1/*"] {
        lab.configure(&format!("{CALCULATOR}http = [{{ url = \"{url}\" }}]\n"));
        refused(
            &lab,
            ["config", "check"],
            &["plugins.calculator.http", "a grant names one host"],
        )
        .await;
        let ran = lab.call(["config", "check", "--output", "json"]).await.expect_code(2);
        let key = &ran.json()["problems"][0]["key"];
        assert_eq!(key, "plugins.calculator.http[0].url", "{ran}");
    }
}

#[tokio::test]
async fn a_file_without_plugins_says_so() {
    let lab = lab([Answer::text("Fine."), Answer::text("Fine.")]);
    let says = |ran: &Ran| ran.stderr.contains("no [plugins]") && ran.stderr.contains("builtin:calculator");
    for (arguments, code) in [
        (&["config", "check"][..], 0),
        (&["tool", "list"], 0),
        (&["run", "Go."], 0),
    ] {
        lab.configure("");
        let ran = lab.call(arguments.iter().copied()).await.expect_code(code);
        assert!(says(&ran), "{ran}");
        // Said on purpose.
        lab.configure("[plugins]\n");
        let ran = lab.call(arguments.iter().copied()).await.expect_code(code);
        assert!(!says(&ran), "{ran}");
    }
}

#[tokio::test]
async fn tools_are_found_by_file_and_by_name() {
    let lab = lab([]);
    lab.configure("[plugins.sums]\ncomponent = \"builtin:calculator\"\n");
    for name in ["builtin:calculator", "sums", "calculate"] {
        let inspected: Value = lab
            .call(["tool", "inspect", name, "--output", "json"])
            .await
            .expect_code(0)
            .json();
        assert_eq!(inspected["component"], "builtin:calculator", "{inspected:#}");
        assert_eq!(inspected["tools"][0]["name"], "calculate", "{inspected:#}");
        assert!(inspected["tools"][0]["input_schema"]["properties"]["expression"].is_object());
    }
    refused(
        &lab,
        ["tool", "inspect", "nothing"],
        &["no configured plugin or tool", "sums"],
    )
    .await;
    let ran = lab.call(["tool", "list", "builtin:calculator"]).await.expect_code(0);
    assert_eq!(listed(&ran), ["calculate"], "{ran}");
    let ran = lab
        .call(["tool", "call", "builtin:calculator", r#"{"expression":"6*7"}"#])
        .await
        .expect_code(0);
    assert_eq!(ran.stdout, "42\n", "{ran}");
    refused(
        &lab,
        ["tool", "call", "builtin:faulty"],
        &["echo", "builtin:faulty#TOOL"],
    )
    .await;
}
