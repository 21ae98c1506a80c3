//! Typed tools: components that export ordinary functions, through the real binary.

use cofferdam::simulator::Answer;
use cofferdam_tests::{Lab, McpClient, Ran, WatGuest, WatTool, tool_call, typed_component, with_section};
use serde_json::{Value, json};

use crate::lab;

const PAIR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pair.wasm"));

const WIT: &str = "
    package test:guest@1.0.0;

    interface kinds {
        enum colour { red, dark-blue }
        flags perms { read, write-all }
        variant figure { dot, circle(f64), named(string) }
        record everything {
            a-bool: bool, small: s8, wide: u64, negative: s64, real: f32, letter: char, text: string, data: list<u8>,
            pair: tuple<u8, string>, maybe: option<u32>, twice: option<option<bool>>, colour: colour, perms: perms,
            figure: figure, outcome: result<u32, string>,
        }
        enum problem { not-found, invalid-input, unavailable, failed }
        echo: func(items: list<everything>) -> list<everything>;
        check: func(code: u32) -> result<u32, problem>;
        nothing: func();
        huge: func() -> list<bool>;
        crash: func();
    }

    interface things {
        resource thing { get: func() -> u32; }
        make: func() -> thing;
        fine: func() -> u32;
    }

    world guest {
        export add: func(a: s32, b: s32) -> s32;
        export echo-text: func(the-text: string) -> string;
        export echo-bytes: func(data: list<u8>) -> list<u8>;
        export kinds;
        export things;
    }";

fn guest() -> Vec<u8> {
    let echo = "(param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)";
    let functions = format!(
        r#"(func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
        (func (export "echo-text") {echo})
        (func (export "echo-bytes") {echo})
        (func (export "test:guest/kinds@1.0.0#echo") {echo})
        (func (export "test:guest/kinds@1.0.0#check") (param i32) (result i32)
            (i32.store8 (i32.const 16) (i32.lt_u (local.get 0) (i32.const 4)))
            (i32.store (i32.const 20) (local.get 0))
            (i32.const 16))
        (func (export "test:guest/kinds@1.0.0#nothing"))
        (func (export "test:guest/kinds@1.0.0#huge") (result i32)
            (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const 2000000)) (i32.const 16))
        (func (export "test:guest/kinds@1.0.0#crash") unreachable)
        (func (export "test:guest/things@1.0.0#[method]thing.get") (param i32) (result i32) (i32.const 1))
        (func (export "test:guest/things@1.0.0#make") (result i32) (i32.const 1))
        (func (export "test:guest/things@1.0.0#fine") (result i32) (i32.const 7))"#
    );
    typed_component(WIT, 40, &functions)
}

fn everything() -> Value {
    json!({
        "a_bool": true, "small": -128, "wide": "18446744073709551615", "negative": -5, "real": 0.1, "letter": "é",
        "text": "a\"b\n", "data": "QUJD", "pair": [7, "seven"], "maybe": null, "twice": { "some": null },
        "colour": "dark-blue", "perms": ["write-all"], "figure": { "tag": "circle", "value": 1.5 }, "outcome": { "err": "no" },
    })
}

/// Calls a tool of the guest, and returns its outcome and its text.
async fn called(lab: &Lab, tool: &str, input: Value) -> (String, String) {
    let ran = lab.call_tool(&format!("guest.wasm#{tool}"), &input).await.json();
    let text = ran["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    (ran["outcome"].as_str().unwrap().to_owned(), text)
}

fn tool<'a>(listed: &'a Value, name: &str) -> &'a Value {
    let tools = listed.as_array().unwrap();
    let found = tools.iter().find(|tool| tool["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is missing: {listed:#}"))
}

/// What `tool list` says of a file: the whole run, and the names of the tools in their order.
async fn listed_names(lab: &Lab, file: &str) -> (Ran, Vec<String>) {
    let listed = lab
        .call(["tool", "list", file, "--output", "json"])
        .await
        .expect_code(0);
    let tools = listed.json();
    let name = |tool: &Value| tool["name"].as_str().unwrap().to_owned();
    let names = tools.as_array().unwrap().iter().map(name).collect();
    (listed, names)
}

fn lab_with_guest(answers: impl IntoIterator<Item = Answer>) -> Lab {
    let lab = lab(answers);
    lab.write("guest.wasm", guest());
    lab
}

#[tokio::test]
async fn every_function_is_a_tool_but_those_that_cant_be() {
    let lab = lab_with_guest([]);
    let (listed, names) = listed_names(&lab, "guest.wasm").await;
    assert!(listed.stderr.contains("resource"), "{listed}");
    let listed = listed.json();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            "add",
            "echo_bytes",
            "echo_text",
            "kinds_check",
            "kinds_crash",
            "kinds_echo",
            "kinds_huge",
            "kinds_nothing",
            "things_fine"
        ]
    );
    let add = tool(&listed, "add");
    assert_eq!(add["description"], "add: func(a: s32, b: s32) -> s32");
    let number = json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX });
    assert_eq!(
        add["input_schema"],
        json!({ "type": "object", "properties": { "a": number, "b": number }, "required": ["a", "b"], "additionalProperties": false })
    );
    assert_eq!(add["output_schema"], number);
    assert_eq!(tool(&listed, "kinds_nothing")["output_schema"], Value::Null);
    assert_eq!(tool(&listed, "kinds_check")["output_schema"]["maximum"], u32::MAX);

    let inspected = lab.inspect("guest.wasm").await;
    assert!(inspected.contains("contract   typed functions"), "{inspected}");
    for (left_out, reason) in [("things_make", "resource"), ("things_[method]thing.get", "resource")] {
        let line = inspected
            .lines()
            .find(|line| line.contains("left out") && line.contains(left_out));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{left_out}: {inspected}"
        );
    }
    lab.configure("[plugins.guest]\ncomponent = \"guest.wasm\"\n");
    let checked = lab
        .call(["config", "check", "--output", "json"])
        .await
        .expect_code(1)
        .json();
    assert_eq!(checked["problems"].as_array().unwrap().len(), 2, "{checked:#}");
    // An operator who knows turns them off.
    lab.configure(
        "[plugins.guest]\ncomponent = \"guest.wasm\"\ntools.things_make.enabled = false\ntools.\"things_[method]thing.get\".enabled = false\n",
    );
    lab.call(["config", "check"]).await.expect_code(0);
}

#[tokio::test]
async fn values_of_every_kind_pass_unchanged() {
    let lab = lab_with_guest([]);
    let ok = |text: &str| ("ok".to_owned(), text.to_owned());
    assert_eq!(called(&lab, "add", json!({ "a": 2.0, "b": -5 })).await, ok("-3"));
    assert_eq!(
        called(&lab, "echo_text", json!({ "the_text": "é\"\n" })).await,
        ok("é\"\n")
    );
    assert_eq!(called(&lab, "echo_bytes", json!({ "data": "AP8=" })).await, ok("AP8="));
    assert_eq!(called(&lab, "kinds_nothing", json!({})).await, ok(""));
    assert_eq!(called(&lab, "things_fine", json!({})).await, ok("7"));
    let mut sparse = everything();
    let fields = sparse.as_object_mut().unwrap();
    fields.remove("maybe");
    fields.insert("wide".to_owned(), json!(u64::MAX));
    fields.insert("twice".to_owned(), json!({ "some": false }));
    let (outcome, text) = called(&lab, "kinds_echo", json!({ "items": [everything(), sparse] })).await;
    assert_eq!(outcome, "ok", "{text}");
    let mut second = everything();
    second["twice"] = json!({ "some": false });
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!([everything(), second])
    );
    assert!(
        text.starts_with(r#"[{"a_bool":true,"small":-128,"wide":"18446744073709551615","#),
        "{text}"
    );
}

#[tokio::test]
async fn what_doesnt_fit_is_refused_and_named() {
    let lab = lab_with_guest([]);
    let invalid = |mut change: Value, says: &'static str| {
        let mut item = everything();
        item.as_object_mut().unwrap().append(change.as_object_mut().unwrap());
        (item, says)
    };
    for (item, says) in [
        invalid(json!({ "small": 128 }), "/items/0/small"),
        invalid(json!({ "wide": "18446744073709551616" }), "/items/0/wide"),
        invalid(json!({ "data": "QUJ" }), "/items/0/data: isn't base64"),
        invalid(json!({ "colour": "green" }), "/items/0/colour"),
        invalid(json!({ "letter": "ab" }), "/items/0/letter"),
        invalid(json!({ "perms": ["read", "read"] }), "/items/0/perms"),
        invalid(json!({ "figure": { "tag": "dot", "value": 1 } }), "/items/0/figure"),
        invalid(json!({ "more": 1 }), "/items/0"),
    ] {
        let (outcome, text) = called(&lab, "kinds_echo", json!({ "items": [item] })).await;
        assert!(
            outcome == "invalid_input" && text.contains(says),
            "{says}: {outcome} {text}"
        );
    }
    let (outcome, text) = called(&lab, "kinds_huge", json!({})).await;
    assert!(
        outcome == "invalid_output" && text.contains("output_bytes allows (1MiB)"),
        "{outcome} {text}"
    );
    assert_eq!(called(&lab, "kinds_crash", json!({})).await.0, "trapped");
    // The text fits `input_bytes`, but as values it takes more than the memory of a call.
    lab.configure("[plugins.guest]\ncomponent = \"guest.wasm\"\nlimits.memory = \"3MiB\"\n");
    let item = everything();
    let many = json!({ "items": vec![item; 2_000] });
    let ran = lab
        .call_with_input(
            ["tool", "call", "kinds_echo", "-", "--output", "json"],
            many.to_string(),
        )
        .await;
    let ran = ran.json();
    assert_eq!(ran["outcome"], "invalid_input");
    let text = ran["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("limits.memory"), "{text}");
}

#[tokio::test]
async fn an_error_is_an_answer_unless_its_case_has_a_meaning() {
    let lab = lab_with_guest([]);
    for (code, outcome) in [
        (0, "failed"),
        (1, "invalid_input"),
        (2, "unavailable"),
        (3, "failed"),
        (4, "ok"),
    ] {
        assert_eq!(
            called(&lab, "kinds_check", json!({ "code": code })).await.0,
            outcome,
            "{code}"
        );
    }
    assert_eq!(
        called(&lab, "kinds_check", json!({ "code": 0 })).await.1,
        "\"not-found\""
    );
    for (code, setting, opens) in [(0, "", false), (3, "", true), (0, "errors_count = true\n", true)] {
        let lab = lab_with_guest([tool_call("kinds_check", json!({ "code": code })), Answer::text("Done.")]);
        lab.configure(&format!(
            "[plugins.guest]\ncomponent = \"guest.wasm\"\n{setting}breaker.failure_threshold = 1\n"
        ));
        let report = lab.report(0).await;
        let breakers = report["breakers"].as_array().unwrap();
        let breaker = breakers
            .iter()
            .find(|breaker| breaker["name"] == "tool:kinds_check")
            .unwrap();
        assert_eq!(breaker["state"] == "open", opens, "{code} {setting}: {breaker}");
    }
}

#[tokio::test]
async fn docs_and_the_operator_describe_tools() {
    let lab = lab([]);
    let docs = json!({ "version": 1, "functions": {
        "add": { "description": "Adds two\u{200b} numbers.", "params": { "a": "The first." }, "read_only": true },
    } });
    let documented = with_section(guest(), "cofferdam:docs", docs.to_string().as_bytes());
    lab.write("guest.wasm", with_section(documented, "package-docs", b"\x01{broken"));
    lab.configure(
        "[plugins.guest]\ncomponent = \"guest.wasm\"\n[plugins.guest.tools.echo_text]\nname = \"say\"\ndescription = \"Says it.\"\nidempotent = true\n[plugins.guest.tools.add]\nread_only = false\n",
    );
    let listed = lab
        .call(["tool", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let add = tool(&listed, "add");
    assert_eq!(add["description"], "Adds two numbers.");
    assert_eq!(add["input_schema"]["properties"]["a"]["description"], "The first.");
    assert_eq!(
        add["annotations"],
        json!({ "read_only": false, "idempotent": false, "destructive": false })
    );
    let say = tool(&listed, "say");
    assert_eq!(
        (&say["description"], &say["annotations"]["idempotent"]),
        (&json!("Says it."), &json!(true))
    );
    // People read the same.
    let shown = lab.call(["tool", "list"]).await.expect_code(0).stdout;
    assert!(shown.contains("Says it."), "{shown}");
}

#[tokio::test]
async fn mcp_clients_get_structured_results() {
    let lab = lab_with_guest([]);
    let mut client = McpClient::start(&lab, &["mcp", "--plugin", "guest.wasm", "--quiet"]).await;
    client.request(1, "tools/list", json!({})).await;
    let list = client.answer().await;
    let tools = &list["result"]["tools"];
    // This client's revision knows objects only.
    assert_eq!(tool(tools, "add")["outputSchema"], Value::Null);
    client.call(2, "kinds_check", json!({ "code": 5 })).await;
    let answer = client.answer().await;
    assert_eq!(answer["result"]["content"], json!([{ "type": "text", "text": "5" }]));
    assert_eq!(answer["result"]["structuredContent"], Value::Null);
    client.call(3, "echo_text", json!({ "the_text": "x" })).await;
    assert_eq!(
        client.answer().await["result"]["content"],
        json!([{ "type": "text", "text": "x" }])
    );
    client.leave().await.1.expect_code(0);
}

#[tokio::test]
async fn notes_stay_between_calls() {
    let lab = lab([
        tool_call(
            "notes_add",
            json!({ "title": "Milk", "text": "Two litres.", "tags": ["shopping"], "priority": "high" }),
        ),
        Answer::text("Noted."),
    ]);
    lab.configure("[plugins.notes]\ncomponent = \"builtin:notes\"\nkeyvalue = true\n");
    let report = lab.report(0).await;
    assert_eq!(report["metrics"]["tools"]["notes_add"]["successes"], 1, "{report:#}");
    let request = &lab.simulator.requests()[0].body;
    let add = tool(&request["tools"], "notes_add");
    assert!(
        add["description"].as_str().unwrap().starts_with("Keeps a note"),
        "{add}"
    );
    assert_eq!(add["input_schema"]["required"], json!(["title", "text"]));

    let found = lab
        .call_tool("notes_search", &json!({ "query": "MILK" }))
        .await
        .expect_code(0)
        .json();
    let notes: Value = serde_json::from_str(found["content"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&notes[0]["title"], &notes[0]["priority"]),
        (&json!("Milk"), &json!("high"))
    );
    let id = &notes[0]["id"];
    // The result is one object, which every revision of MCP knows.
    let mut client = McpClient::start(&lab, &["mcp", "--quiet"]).await;
    client.request(1, "tools/list", json!({})).await;
    let list = client.answer().await;
    assert_eq!(
        tool(&list["result"]["tools"], "notes_add")["outputSchema"]["type"],
        "object"
    );
    client
        .call(2, "notes_add", json!({ "title": "Tea", "text": "Green." }))
        .await;
    let answer = client.answer().await;
    let structured = &answer["result"]["structuredContent"];
    assert_eq!(
        (&structured["title"], &structured["priority"]),
        (&json!("Tea"), &json!("normal")),
        "{answer}"
    );
    client.leave().await.1.expect_code(0);

    let delete = json!({ "id": id });
    lab.call_tool("notes_delete", &delete).await.expect_code(0);
    let again: Ran = lab.call_tool("notes_delete", &delete).await.expect_code(1);
    let text = again.json()["content"][0]["text"].as_str().unwrap().to_owned();
    assert_eq!(
        serde_json::from_str::<Value>(&text).unwrap(),
        json!({ "tag": "not-found", "value": id })
    );
}

/// Interfaces whose functions take no arguments, with the functions themselves. `results` are types of results.
fn functions(declarations: &str, results: &[(&str, &str)], bodies: &str) -> Vec<u8> {
    let declared: String = results
        .iter()
        .map(|(name, result)| format!("{name}: func() -> {result};\n"))
        .collect();
    let wit = format!(
        "package test:guest@1.0.0;\ninterface api {{\n{declarations}\n{declared}}}\nworld guest {{ export api; }}"
    );
    typed_component(&wit, 40, bodies)
}

fn body(name: &str, body: &str) -> String {
    format!("(func (export \"test:guest/api@1.0.0#{name}\") (result i32) {body})\n")
}

#[tokio::test]
async fn values_that_take_more_memory_than_they_count_are_refused_early() {
    let flags: String = (0..32).map(|number| format!("f{number}, ")).collect();
    let declarations = format!("flags many {{ {flags} }} record one {{ a: u8 }}");
    // 500,000 values: flags that are all set, and records with one field. Their memory is 0xff, as far as it isn't zero.
    let list = |length: u32| {
        format!(
            "(memory.fill (i32.const 65536) (i32.const 255) (i32.const 2000000))
             (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (i32.const {length})) (i32.const 16)"
        )
    };
    let lab = lab([]);
    let guest = functions(
        &declarations,
        &[("all", "list<many>"), ("few", "list<many>"), ("records", "list<one>")],
        &[
            body("all", &list(500_000)),
            body("few", &list(100)),
            body("records", &list(2_000_000)),
        ]
        .concat(),
    );
    lab.write("guest.wasm", guest);
    let (outcome, text) = called(&lab, "api_few", json!({})).await;
    assert_eq!(outcome, "ok", "{text}");
    assert_eq!(text.matches("f31").count(), 100);
    for tool in ["api_all", "api_records"] {
        let (outcome, text) = called(&lab, tool, json!({})).await;
        assert!(
            outcome == "invalid_output" && text.contains("output_bytes allows (1MiB)"),
            "{tool}: {outcome} {text}"
        );
    }
}

/// A function whose name is taken goes by its path. Each key stands whole in the messages, and is one of the two alone.
#[tokio::test]
async fn functions_whose_names_clash_or_are_too_long_can_be_renamed() {
    let long = "a-name-that-goes-on-".repeat(5) + "and-ends-here";
    let wit = format!(
        "package test:guest; interface api {{ go: func() -> u32; }} world guest {{ export api; export api-go: func() -> u32; \
         export {long}: func() -> u32; }}"
    );
    let body = |name: &str, number: u8| format!("(func (export \"{name}\") (result i32) (i32.const {number}))");
    let bodies = body("test:guest/api#go", 1) + &body("api-go", 2) + &body(&long, 3);
    let lab = lab([]);
    lab.write("guest.wasm", typed_component(&wit, 1, &bodies));
    let guest = "[plugins.guest]\ncomponent = \"guest.wasm\"\n";
    lab.configure(guest);
    let checked = lab.call(["config", "check"]).await.expect_code(1);
    let long_key = long.replace('-', "_");
    let taken = ["test:guest/api#go", "api-go"].map(|path| format!("[plugins.guest.tools.\"{path}\"]"));
    // Which of the two is first is the component's business.
    let taken = taken
        .iter()
        .find(|key| checked.stdout.contains(*key) || checked.stderr.contains(*key));
    let (taken, long_section) = (
        taken.unwrap_or_else(|| panic!("{checked}")),
        format!("[plugins.guest.tools.{long_key}]"),
    );
    assert!(format!("{checked}").contains(&long_section), "{checked}");

    lab.configure(&format!(
        "{guest}{taken}\nname = \"other\"\n{long_section}\nname = \"long\"\n"
    ));
    lab.call(["config", "check"]).await.expect_code(0);
    let mut results = Vec::new();
    for tool in ["api_go", "other", "long"] {
        results.push(
            lab.call(["tool", "call", tool, "{}"])
                .await
                .expect_code(0)
                .stdout
                .trim()
                .to_owned(),
        );
    }
    results.sort_unstable();
    assert_eq!(results, ["1", "2", "3"]);

    lab.configure(&format!(
        "{guest}{taken}\nenabled = false\n{long_section}\nenabled = false\n"
    ));
    lab.call(["config", "check"]).await.expect_code(0);
    lab.call(["tool", "call", "api_go", "{}"]).await.expect_code(0);
}

/// Whichever comes first: the section that leaves the unusable one out doesn't take the other with it.
#[tokio::test]
async fn a_function_that_cant_be_a_tool_shares_its_section_with_no_other() {
    let wit = "package test:guest; interface things { resource thing; make: func() -> thing; }
        world guest { export things; export things-make: func() -> u32; }";
    let functions = r#"(func (export "test:guest/things#make") (result i32) (i32.const 1))
        (func (export "things-make") (result i32) (i32.const 5))"#;
    let lab = lab([]);
    lab.write("guest.wasm", typed_component(wit, 1, functions));
    let guest = "[plugins.guest]\ncomponent = \"guest.wasm\"\n";
    lab.configure(guest);
    let checked = lab
        .call(["config", "check", "--output", "json"])
        .await
        .expect_code(1)
        .json();
    let problems = checked["problems"].as_array().unwrap();
    let [problem] = &problems[..] else {
        panic!("{checked:#}")
    };
    let key = problem["key"].as_str().unwrap();
    lab.configure(&format!("{guest}[{key}]\nenabled = false\n"));
    lab.call(["config", "check"]).await.expect_code(0);
    let (_, names) = listed_names(&lab, "guest.wasm").await;
    let [name] = &names[..] else { panic!("{names:?}") };
    let called = lab.call(["tool", "call", name, "{}"]).await.expect_code(0);
    assert_eq!(called.stdout.trim(), "5");
}

/// As from any other door, a function of a component on the command line that can't be a tool is left out alone.
#[tokio::test]
async fn a_run_takes_what_is_left_of_a_component_on_the_command_line() {
    let lab = lab_with_guest([Answer::text("Done.")]);
    let ran = lab.call(["run", "--plugin", "guest.wasm", "Go."]).await.expect_code(0);
    assert!(
        ran.stderr.contains("things_make") && ran.stderr.contains("resource"),
        "{ran}"
    );
    let requests = lab.simulator.requests();
    let tools = requests[0].body["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "kinds_check"), "{tools:?}");

    // Nothing is left of this one.
    let wit = "package test:guest; interface things { resource thing; make: func() -> thing; } world guest { export things; }";
    let make = r#"(func (export "test:guest/things#make") (result i32) (i32.const 1))"#;
    lab.write("only.wasm", typed_component(wit, 1, make));
    let refused = lab.call(["run", "--plugin", "only.wasm", "Go."]).await.expect_code(2);
    assert!(refused.stderr.contains("things_make"), "{refused}");
    assert_eq!(lab.simulator.requests().len(), 1);
}

#[tokio::test]
async fn types_beyond_the_bounds_are_left_out_with_the_reason() {
    let nested = (0..15).fold("u8".to_owned(), |inner, _| format!("option<{inner}>"));
    let cases = |count: usize| -> String { (0..count).map(|number| format!("c{number}, ")).collect() };
    let long = "x".repeat(600);
    let names: String = (0..110).map(|number| format!("{long}{number}, ")).collect();
    let declarations = format!(
        "enum some {{ {} }} enum many {{ {} }} enum long {{ {names} }}",
        cases(999),
        cases(1_000)
    );
    let zero = "(i32.const 16)";
    let names = ["deep", "deeper", "some", "many", "long"];
    let bodies: String = names.iter().map(|name| body(&format!("get-{name}"), zero)).collect();
    let deeper = format!("option<{nested}>");
    let guest = functions(
        &declarations,
        &[
            ("get-deep", nested.as_str()),
            ("get-deeper", deeper.as_str()),
            ("get-some", "some"),
            ("get-many", "many"),
            ("get-long", "long"),
        ],
        &bodies,
    );
    let lab = lab([]);
    lab.write("guest.wasm", guest);
    let (listed, names) = listed_names(&lab, "guest.wasm").await;
    assert_eq!(names, ["api_get_deep", "api_get_some"], "{listed}");
    for reason in [
        "is nested more than 16 deep",
        "consists of more than 1000 types",
        "has more than 65536 bytes of names",
    ] {
        assert!(listed.stderr.contains(reason), "{reason}: {}", listed.stderr);
    }
}

#[tokio::test]
async fn output_schemas_beyond_the_bound_are_left_out_and_their_tools_work() {
    let cases: String = (0..900).map(|number| format!("case-with-a-name-{number}, ")).collect();
    let tools: Vec<String> = (0..4).map(|number| format!("tool{number}")).collect();
    let results: Vec<(&str, &str)> = tools.iter().map(|name| (name.as_str(), "some")).collect();
    let bodies: String = tools.iter().map(|name| body(name, "(i32.const 1)")).collect();
    let guest = functions(&format!("enum some {{ {cases} }}"), &results, &bodies);
    let lab = lab([]);
    lab.write("guest.wasm", guest);
    let listed = lab
        .call(["tool", "list", "guest.wasm", "--output", "json"])
        .await
        .expect_code(0);
    let listed_json = listed.json();
    let with_schema = |name: &str| !tool(&listed_json, name)["output_schema"].is_null();
    assert_eq!(
        ["api_tool0", "api_tool1", "api_tool2", "api_tool3"].map(with_schema),
        [true, true, true, false],
        "three schemas of 20 KB are within 64 KiB"
    );
    let (outcome, text) = called(&lab, "api_tool3", json!({})).await;
    assert_eq!((outcome.as_str(), text.as_str()), ("ok", "\"case-with-a-name-1\""));
}

/// componentize-qjs leaves the function among the exports that gave the component its script.
#[tokio::test]
async fn what_a_toolchain_needs_at_build_time_is_no_tool() {
    let lab = lab([]);
    let wit = "package test:guest@1.0.0; world guest {
        export init: func(shim: string, script: string, entry-path: option<string>, disable-gc: bool) -> result<_, string>;
        export add: func(a: s32, b: s32) -> s32;
    }";
    let functions = r#"(func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) unreachable)
        (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))"#;
    lab.write("js.wasm", typed_component(wit, 2, functions));
    let (_, names) = listed_names(&lab, "js.wasm").await;
    assert_eq!(names, ["add"]);
    let inspected = lab.inspect("js.wasm").await;
    assert!(
        inspected.contains("not a tool init: componentize-qjs runs the component's script by it"),
        "{inspected}"
    );
    let checked = lab
        .call(["tool", "check", "js.wasm", "--output", "json"])
        .await
        .expect_code(0);
    assert!(checked.stdout.contains("\"toolchain_export\""), "{checked}");
    // Required or not, nothing is wrong with the plugin.
    lab.configure("[plugins.js]\ncomponent = \"js.wasm\"\nrequired = true\n");
    lab.call(["config", "check"]).await.expect_code(0);
}

#[tokio::test]
async fn a_component_can_have_typed_and_dynamic_tools() {
    let lab = lab([]);
    lab.write("pair.wasm", PAIR);
    let listed = lab
        .call(["tool", "list", "pair.wasm", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "typed_add",
            "typed_sum",
            "typed_echo_bytes",
            "typed_echo_text",
            "add",
            "sum"
        ],
    );
    for tool in ["add", "typed_add"] {
        let ran = lab
            .call_tool(&format!("pair.wasm#{tool}"), &json!({ "a": 20, "b": 22 }))
            .await
            .json();
        assert_eq!(
            (&ran["outcome"], &ran["content"][0]["text"]),
            (&json!("ok"), &json!("42")),
            "{tool}"
        );
        let ran = lab
            .call_tool(&format!("pair.wasm#{tool}"), &json!({ "a": 1 }))
            .await
            .json();
        assert_eq!(ran["outcome"], "invalid_input", "{tool}");
    }
}

/// The file isn't part of the component, so the digest says nothing about it.
#[tokio::test]
async fn wit_beside_a_component_describes_its_functions_unless_a_digest_pins_it() {
    let lab = lab([]);
    let component = guest();
    lab.write("guest.wasm", &component);
    let description = async |tool: &str| {
        let listed = lab.call(["tool", "list", "--output", "json"]).await.expect_code(0);
        let tools = listed.json();
        let tool = tools
            .as_array()
            .unwrap()
            .iter()
            .find(|listed| listed["name"] == tool)
            .unwrap()
            .clone();
        (
            tool["description"].as_str().unwrap().to_owned(),
            tool["annotations"]["read_only"] == json!(true),
            listed.stderr,
        )
    };
    let plugin = "[plugins.guest]\ncomponent = \"guest.wasm\"\n";
    lab.configure(plugin);
    let (signature, ..) = description("add").await;
    assert!(signature.contains("add: func("), "{signature}");

    let documented = WIT
        .replace("export add:", "/// Adds two numbers.\n/// @read-only\nexport add:")
        .replace("check: func", "/// Checks a code.\ncheck: func");
    lab.write("guest.wit", &documented);
    let (text, read_only, _) = description("add").await;
    assert_eq!((text.as_str(), read_only), ("Adds two numbers.", true));
    assert_eq!(description("kinds_check").await.0, "Checks a code.");
    let inspected = lab.call(["tool", "inspect", "guest.wasm"]).await.expect_code(0).stdout;
    assert!(inspected.contains("says       Adds two numbers.\n"), "{inspected}");

    let digest = cofferdam::sandbox::Digest::of(&component);
    lab.configure(&format!("{plugin}digest = \"{digest}\"\n"));
    let (text, read_only, _) = description("add").await;
    assert_eq!((text.as_str(), read_only), (signature.as_str(), false));

    lab.configure(plugin);
    lab.write("guest.wit", documented.replace("interface kinds", "interfaze kinds"));
    let (text, _, stderr) = description("add").await;
    assert_eq!(text, signature);
    let ignored = "the WIT beside the component is ignored";
    assert!(stderr.contains(ignored) && stderr.contains("plugin=guest"), "{stderr}");
    let inspected = lab.call(["tool", "inspect", "guest.wasm"]).await.expect_code(0).stdout;
    assert_eq!(
        inspected.matches(&format!("\nwarning    {ignored}")).count(),
        1,
        "{inspected}"
    );
    let inspect = ["tool", "inspect", "guest", "--output", "json"];
    let inspected = lab.call(inspect).await.expect_code(0).json();
    assert!(
        inspected["warnings"][0].as_str().unwrap().starts_with(ignored),
        "{inspected:#}"
    );
    let checked = lab.call(["tool", "check", "guest.wasm", "--inputs", "1"]).await.stdout;
    let warning = format!("\nwarning: {ignored}");
    assert_eq!(checked.matches(&warning).count(), 1, "{checked}");
    assert!(checked.contains("[ignored_documentation]\n"), "{checked}");

    // Nothing is said of files that no function needs.
    lab.write("dynamic.wasm", WatGuest::new([WatTool::named("which")]).build());
    lab.write("dynamic.wit", [0xff]);
    lab.configure("[plugins.dynamic]\ncomponent = \"dynamic.wasm\"\n");
    let listed = lab.call(["tool", "list"]).await.expect_code(0);
    assert!(!listed.stderr.contains("WIT"), "{listed}");
    lab.configure(plugin);

    std::fs::remove_file(lab.path("guest.wit")).unwrap();
    std::fs::create_dir(lab.path("wit")).unwrap();
    lab.write("wit/world.wit", &documented);
    assert_eq!(description("add").await.0, "Adds two numbers.");
}
