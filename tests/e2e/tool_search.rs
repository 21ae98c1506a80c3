//! Hosts with more tools than a model should read: `[model] tool_search`, the real binary, and a model that searches.

use std::fmt::Write as _;

use cofferdam::simulator::{Answer, ErrorAnswer, FaultKind, FaultPoint, Script, Simulator, SimulatorOptions, ToolCall};
use cofferdam_tests::{Lab, WatGuest, WatTool, check_documented, tool_call};
use serde_json::{Value, json};

use crate::lab;

const MANY: usize = 120;

/// A host on which one component is `count` tools: `calculate_0` and so on. The first one is always read.
fn calculators(count: usize) -> String {
    let mut plugins = String::new();
    for number in 0..count {
        let always_load = number == 0;
        writeln!(
            plugins,
            "[plugins.p{number}]\ncomponent = \"builtin:calculator\"\n\
             tools.calculate = {{ name = \"calculate_{number}\", always_load = {always_load} }}"
        )
        .unwrap();
    }
    plugins
}

fn multiply(tool: usize) -> Answer {
    tool_call(&format!("calculate_{tool}"), json!({ "expression": "25 * 17" }))
}

fn system() -> String {
    format!("[agent]\nsystem = \"{}\"\n", "You are careful. ".repeat(200))
}

fn bodies(lab: &Lab) -> Vec<Value> {
    lab.simulator
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect()
}

fn types(message: &Value) -> Vec<&str> {
    let blocks = message["content"].as_array().unwrap().iter();
    blocks.map(|block| block["type"].as_str().unwrap()).collect()
}

const SEARCHED: [&str; 3] = ["server_tool_use", "tool_search_tool_result", "tool_use"];

fn deferred(body: &Value) -> usize {
    let tools = body["tools"].as_array().unwrap().iter();
    tools.filter(|tool| tool["defer_loading"] == true).count()
}

async fn turn(lab: &Lab, prompt: &str) -> Value {
    let command = ["run", "--session", "talk", "--output", "json", prompt];
    lab.call(command).await.expect_code(0).json()
}

#[tokio::test]
async fn a_tool_among_many_is_found_once_for_the_whole_conversation() {
    let lab = lab([
        multiply(57),
        Answer::text("{{result:calculate_57}}"),
        multiply(57),
        Answer::text("Still {{last_tool_results}}."),
    ]);
    lab.configure(&format!(
        "provider = \"simulated\"\ntool_search = \"always\"\n{}",
        calculators(MANY)
    ));
    assert_eq!(turn(&lab, "Multiply.").await["answer"], "425");
    assert_eq!(turn(&lab, "Again.").await["answer"], "Still 425.");
    let bodies = bodies(&lab);
    assert!(bodies.iter().all(|body| deferred(body) == MANY - 1));
    let last = bodies[3]["messages"].as_array().unwrap();
    assert_eq!(types(&last[1]), SEARCHED, "{:#}", last[1]);
    let found = last[1]["content"][1]["content"]["tool_references"].as_array().unwrap();
    assert_eq!((found.len(), &found[0]["tool_name"]), (5, &json!("calculate_57")));
    assert_eq!(types(&last[5]), ["tool_use"], "no second search");
    // What is always read needs none.
    let loaded = lab_with_one_call(0).await;
    assert_eq!(types(&loaded["messages"][1]), ["tool_use"]);
}

/// The second request of a run that calls one of many tools.
async fn lab_with_one_call(tool: usize) -> Value {
    let lab = lab([multiply(tool), Answer::text("Done.")]);
    lab.configure(&format!("tool_search = \"always\"\n{}", calculators(MANY)));
    turn(&lab, "Go.").await;
    bodies(&lab).remove(1)
}

#[tokio::test]
async fn a_session_that_was_killed_after_a_search_goes_on_without_another_one() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab([
        multiply(57),
        stalled,
        multiply(57),
        Answer::text("{{result:calculate_57}}"),
    ]);
    lab.configure(&format!("tool_search = \"always\"\n{}", calculators(MANY)));
    let mut child = lab.command(["run", "--session", "talk", "Go."]).spawn().unwrap();
    while lab.simulator.requests().len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run is over");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();
    let resumed = lab.call(["session", "resume", "talk", "--output", "json"]).await;
    assert_eq!(resumed.expect_code(0).json()["answer"], "425");
    let bodies = bodies(&lab);
    assert_eq!(bodies[1]["messages"][1], bodies[2]["messages"][1], "as it was said");
    let last = bodies[3]["messages"].as_array().unwrap();
    assert_eq!(
        (types(&last[1]), types(&last[3])),
        (SEARCHED.to_vec(), vec!["tool_use"])
    );
}

/// A deferred tool is no part of the prompt's beginning. So tools can come and go in the middle of a conversation.
#[tokio::test]
async fn tools_that_come_and_go_cost_no_cached_prompt() {
    let lab = lab([
        multiply(57),
        Answer::text("One."),
        Answer::text("Two."),
        Answer::text("Three."),
    ]);
    let configure = |tools: String| lab.configure(&format!("tool_search = \"always\"\n{tools}{}", system()));
    let metric = |report: &Value, name: &str| report["metrics"][name].as_u64().unwrap();
    configure(calculators(MANY));
    let first = turn(&lab, "One.").await;
    let cached = metric(&first, "cache_creation_input_tokens");
    assert!(cached > 800, "{first:#}");
    // One more.
    configure(calculators(MANY + 1));
    let second = turn(&lab, "Two.").await;
    assert_eq!(metric(&second, "cache_read_input_tokens"), cached, "{second:#}");
    let more = metric(&second, "cache_creation_input_tokens");
    // Without one that was found: the API would refuse its name in the result of the search.
    let without = calculators(MANY + 1).replace("\"calculate_57\"", "\"compute\"");
    configure(without);
    let third = turn(&lab, "Three.").await;
    let read = metric(&third, "cache_read_input_tokens");
    assert!(read > 500 && read < cached + more, "all before the search: {third:#}");
    let found = &bodies(&lab)[3]["messages"][1]["content"][1]["content"]["tool_references"];
    assert_eq!(found.as_array().unwrap().len(), 4, "{found}");
}

#[tokio::test]
async fn another_vendor_gets_all_tools_and_no_search() {
    let other = Script::new().answer(Answer::text("It is {{last_tool_results}}."));
    let other = Simulator::start(other, SimulatorOptions::default()).unwrap();
    let lab = lab([
        multiply(57),
        Answer::error(529),
        Answer::error(529),
        Answer::error(529),
        Answer::text("You are welcome."),
    ]);
    let fallback = format!(
        "[[fallback_models]]\nprovider = \"openai\"\nbase_url = \"{}/v1\"\nmodel = \"claude-haiku-5-5\"\n",
        other.url()
    );
    lab.configure(&format!("tool_search = \"always\"\n{fallback}{}", calculators(MANY)));
    assert_eq!(turn(&lab, "Multiply.").await["answer"], "It is 425.");
    let asked = &other.requests()[0].body;
    assert_eq!(asked["tools"].as_array().unwrap().len(), MANY);
    let text = asked.to_string();
    assert!(!text.contains("defer_loading") && !text.contains("srvtoolu"), "{text}");
    // The first one still knows what it found.
    turn(&lab, "Thanks.").await;
    assert_eq!(types(&bodies(&lab)[4]["messages"][1]), SEARCHED);
}

#[tokio::test]
async fn what_cannot_search_is_refused_with_the_key_to_set() {
    let refused = Answer::error_with(ErrorAnswer {
        status: 400,
        message: Some("tools.0.custom.defer_loading: Extra inputs are not permitted".to_owned()),
        ..ErrorAnswer::default()
    });
    let lab = lab([refused.forever()]);
    lab.configure(&format!("tool_search = \"always\"\n{}", calculators(2)));
    let ran = lab.call(["run", "Go."]).await.expect_code(1);
    assert!(ran.stderr.contains("set `[model] tool_search = \"never\"`"), "{ran}");

    lab.configure("tool_search = \"always\"\nprovider = \"openai\"\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(2);
    let says = ["tool_search", "has no tool that searches for tools"];
    assert!(says.iter().all(|words| ran.stderr.contains(words)), "{ran}");
}

/// Without a cache, each search costs the whole prompt.
#[tokio::test]
async fn four_searches_of_an_answer_cost_no_more_than_is_reserved() {
    let calls =
        [40, 50, 60, 70].map(|tool| ToolCall::new(format!("calculate_{tool}"), json!({ "expression": "25 * 17" })));
    let lab = lab([Answer::tools(calls), Answer::text("Done.")]);
    let system = "You are careful. ".repeat(5_000);
    lab.configure(&format!(
        "tool_search = \"always\"\nprompt_cache = false\nmax_tokens = 100\n{}[agent]\nsystem = \"{system}\"\n[budget]\nsession_usd = 10\n",
        calculators(MANY)
    ));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines();
    let amounts = |kind: &str| -> Vec<f64> {
        let events = events.iter().filter(|event| event["event"] == kind);
        events
            .map(|event| event["amount_usd"].as_str().unwrap().parse().unwrap())
            .collect()
    };
    let (reserved, settled) = (amounts("budget_reserved"), amounts("budget_settled"));
    assert_eq!(types(&bodies(&lab)[1]["messages"][1]).len(), 4 * SEARCHED.len());
    assert!(settled[0] <= reserved[0], "{settled:?} {reserved:?}");
    assert!(
        settled[0] > 4.0 * settled[1],
        "the prompt was read five times: {settled:?}"
    );
}

/// Definitions as hosts of many services have them.
fn services(count: usize) -> Vec<WatTool> {
    const SERVICES: [&str; 20] = [
        "calendar",
        "mail",
        "drive",
        "wiki",
        "tickets",
        "chat",
        "billing",
        "payroll",
        "inventory",
        "shipping",
        "crm",
        "survey",
        "search",
        "metrics",
        "alerts",
        "builds",
        "deploys",
        "secrets",
        "storage",
        "backups",
    ];
    const ACTIONS: [&str; 25] = [
        "create", "get", "list", "update", "delete", "archive", "restore", "copy", "move", "rename", "share", "lock",
        "unlock", "export", "import", "count", "watch", "comment", "assign", "tag", "untag", "link", "unlink",
        "verify", "schedule",
    ];
    let pairs = ACTIONS
        .iter()
        .flat_map(|action| SERVICES.map(|service| (service, action)));
    let tools = pairs.map(|(service, action)| WatTool {
        name: format!("{service}_{action}_item"),
        description: format!(
            "Runs the action `{action}` on an item of the service `{service}`, on behalf of the current user. Use it only if the \
             user asked for it. Returns the item's new state, or why the service refused."
        ),
        schema: json!({
            "type": "object",
            "properties": {
                "id": { "type": "string", "description": format!("the item's id, as `{service}_list_item` returns it") },
                "fields": { "type": "object", "description": "fields of the item to set, by name" },
                "notify": { "type": "boolean", "description": "whether its watchers get a message" },
            },
            "required": ["id"],
        })
        .to_string(),
    });
    tools.take(count).collect()
}

/// What a run of two requests comes to, in which the model calls one tool.
#[derive(Debug)]
struct Run {
    /// Of the body of the first request.
    sent_bytes: usize,
    /// Those of the prompt of each request.
    tokens: Vec<u64>,
    /// What the first request reserved, in dollars.
    reserved: f64,
}

async fn run(tools: usize, tool_search: &str) -> Run {
    let lab = lab([
        tool_call("calendar_create_item", json!({ "id": "1" })),
        Answer::text("Done."),
    ]);
    let mut plugins = String::new();
    for (number, tools) in services(tools).chunks(100).enumerate() {
        lab.write(&format!("{number}.wasm"), WatGuest::new(tools.to_vec()).build());
        writeln!(plugins, "[plugins.p{number}]\ncomponent = \"{number}.wasm\"").unwrap();
    }
    lab.configure(&format!(
        "provider = \"simulated\"\ntool_search = \"{tool_search}\"\n{plugins}[budget]\nsession_usd = 10\n"
    ));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let events = ran.json_lines();
    let of_kind = |kind: &'static str| events.iter().filter(move |event| event["event"] == kind);
    let prompt = |usage: &Value| -> u64 {
        [
            "input_tokens",
            "cache_read_input_tokens",
            "cache_creation_5m_input_tokens",
        ]
        .iter()
        .filter_map(|name| usage[name].as_u64())
        .sum()
    };
    let amounts = |kind| of_kind(kind).map(|event| event["amount_usd"].as_str().unwrap().parse::<f64>().unwrap());
    let (reserved, settled): (Vec<f64>, Vec<f64>) = (
        amounts("budget_reserved").collect(),
        amounts("budget_settled").collect(),
    );
    assert!(reserved.len() == 2 && settled.len() == 2, "{reserved:?} {settled:?}");
    let mut pairs = reserved.iter().zip(&settled);
    assert!(
        pairs.all(|(reserved, settled)| settled <= reserved),
        "{reserved:?} {settled:?}"
    );
    Run {
        sent_bytes: lab.simulator.requests()[0].body_bytes,
        tokens: of_kind("model_response").map(|event| prompt(&event["usage"])).collect(),
        reserved: reserved[0],
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[tokio::test]
async fn the_documented_sizes_are_those_of_real_requests() {
    let mut table = "| tools | `tool_search` | bytes sent | tokens of the first prompt | tokens of the run's two prompts | reserved for the first |\n\
                     |---|---|---|---|---|---|\n"
        .to_owned();
    for tools in [10, 100, 500] {
        let mut runs = Vec::new();
        for setting in ["never", "always"] {
            let run = run(tools, setting).await;
            let all: u64 = run.tokens.iter().sum();
            writeln!(
                table,
                "| {tools} | `\"{setting}\"` | {} | {} | {} | ${:.2} |",
                grouped(run.sent_bytes as u64),
                grouped(run.tokens[0]),
                grouped(all),
                run.reserved,
            )
            .unwrap();
            runs.push((all, run));
        }
        let [(before, never), (after, always)] = &runs[..] else {
            unreachable!("two settings");
        };
        assert!(after < before, "{never:?}\n{always:?}");
        let saves_most = after * 5 < *before && always.reserved < never.reserved;
        assert!(tools < 100 || saves_most, "{never:?}\n{always:?}");
    }
    check_documented("models.md", "tool search", &table);
}

/// With `auto`, only what is above the threshold is searched.
#[tokio::test]
async fn tools_are_searched_by_themselves_once_there_are_many() {
    for (tools, expected) in [(30, 0), (100, 100)] {
        let lab = lab([Answer::text("Done.")]);
        lab.write("many.wasm", WatGuest::new(services(tools)).build());
        lab.configure("provider = \"simulated\"\n[plugins.many]\ncomponent = \"many.wasm\"\n");
        lab.report(0).await;
        assert_eq!(deferred(&bodies(&lab)[0]), expected, "{tools} tools");
        let listed = lab.call(["tool", "list"]).await.expect_code(0);
        let says = match expected {
            0 => "tokens; the model reads them with every request.",
            _ => "the model searches for 100 of them",
        };
        assert!(listed.stderr.contains(says), "{listed}");
    }
}
