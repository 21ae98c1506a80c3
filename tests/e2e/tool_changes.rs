//! Tools that change in the middle of a conversation: `[model] tool_changes`, the real binary, and a model that takes it.

use std::fmt::Write as _;

use cofferdam::simulator::{
    Answer, ErrorAnswer, FaultKind, FaultPoint, MessageAnswer, Script, Simulator, SimulatorOptions,
};
use cofferdam_tests::{Lab, WatGuest, WatTool, check_documented, tool_call};
use serde_json::{Value, json};

use crate::lab;

/// What the model can be given: a name, and what its description says.
type Tools<'a> = &'a [(&'a str, &'a str)];

const BEFORE: Tools<'static> = &[
    ("weather", "Says how it is."),
    ("tides", "Says how high."),
    ("stars", "Names them."),
];
/// One is new, one has another description, and one is gone.
const AFTER: Tools<'static> = &[
    ("weather", "Says how it will be."),
    ("tides", "Says how high."),
    ("birds", "Counts."),
];

fn configure(lab: &Lab, model: &str, tools: Tools<'_>, more: &str) {
    let tools = tools.iter().map(|(name, says)| WatTool {
        name: (*name).to_owned(),
        description: (*says).to_owned(),
        schema: json!({ "type": "object", "properties": { "place": { "type": "string" } } }).to_string(),
    });
    lab.write("tools.wasm", WatGuest::new(tools.collect::<Vec<_>>()).build());
    let system = "You are a careful assistant. ".repeat(200);
    lab.configure(&format!(
        "provider = \"simulated\"\n{model}\n{more}[agent]\nsystem = \"{system}\"\n[plugins.tools]\ncomponent = \"tools.wasm\"\n"
    ));
}

fn bodies(simulator: &Simulator) -> Vec<Value> {
    simulator.requests().into_iter().map(|request| request.body).collect()
}

async fn turn(lab: &Lab, prompt: &str) -> Value {
    let command = ["run", "--session", "talk", "--output", "json", prompt];
    lab.call(command).await.expect_code(0).json()
}

fn metric(report: &Value, name: &str) -> u64 {
    report["metrics"][name].as_u64().unwrap()
}

fn names(body: &Value) -> Vec<&str> {
    let tools = body["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap()).collect()
}

/// Without the marks of cached prefixes, which move.
fn unmarked(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(unmarked).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(name, _)| *name != "cache_control");
            fields.map(|(name, value)| (name.clone(), unmarked(value))).collect()
        }
        other => other.clone(),
    }
}

/// Everything up to the end of `before`'s messages, as the API compares it.
#[track_caller]
fn assert_continues(before: &Value, after: &Value) {
    let (before, after) = (unmarked(before), unmarked(after));
    for field in ["tools", "system"] {
        assert_eq!(before[field].to_string(), after[field].to_string(), "{field}");
    }
    let (had, has) = (
        before["messages"].as_array().unwrap(),
        after["messages"].as_array().unwrap(),
    );
    for (index, message) in had.iter().enumerate() {
        assert_eq!(
            message.to_string(),
            has[index].to_string(),
            "message {index} of {after:#}"
        );
    }
}

/// The blocks of the messages of the role `system`, with the positions of these.
fn changes(body: &Value) -> Vec<(usize, Vec<Value>)> {
    let messages = body["messages"].as_array().unwrap().iter().enumerate();
    let changes = messages.filter(|(_, message)| message["role"] == "system");
    changes
        .map(|(index, message)| (index, unmarked(&message["content"]).as_array().unwrap().clone()))
        .collect()
}

/// What a change says: the sign of its kind, and the tool.
fn said(body: &Value) -> Vec<(usize, Vec<String>)> {
    let text = |block: &Value| {
        let tool = &block["tool"];
        let sign = if block["type"] == "tool_removal" { "-" } else { "+" };
        match tool["type"].as_str().unwrap() {
            "tool_reference" => format!("{sign}{}", tool["name"].as_str().unwrap()),
            _ => format!("{sign}{} defined", tool["definition"]["name"].as_str().unwrap()),
        }
    };
    let changes = changes(body).into_iter();
    changes
        .map(|(index, blocks)| (index, blocks.iter().map(text).collect()))
        .collect()
}

const CHANGED: [&str; 3] = ["-stars", "+weather defined", "+birds defined"];

fn changed_at(index: usize) -> Vec<(usize, Vec<String>)> {
    vec![(index, CHANGED.map(str::to_owned).to_vec())]
}

#[tokio::test]
async fn a_conversation_reads_its_cached_prompt_after_its_tools_changed() {
    let lab = lab([Answer::text("Well.").forever()]);
    configure(&lab, "", BEFORE, "");
    let first = turn(&lab, "One.").await;
    let written = metric(&first, "cache_creation_input_tokens");
    assert!(written > 800, "{first:#}");
    configure(&lab, "", AFTER, "");
    let second = turn(&lab, "Two.").await;
    assert_eq!(metric(&second, "cache_read_input_tokens"), written, "{second:#}");
    // They stay as they are, and one is there again.
    turn(&lab, "Three.").await;
    configure(&lab, "", &[AFTER[0], AFTER[1], BEFORE[2]], "");
    let fourth = turn(&lab, "Four.").await;
    let all =
        |report: &Value| metric(report, "cache_creation_input_tokens") + metric(report, "cache_read_input_tokens");
    assert!(metric(&fourth, "cache_read_input_tokens") > all(&second), "{fourth:#}");

    let bodies = bodies(&lab.simulator);
    bodies.windows(2).for_each(|pair| assert_continues(&pair[0], &pair[1]));
    assert_eq!(names(&bodies[3]), ["weather", "tides", "stars"]);
    assert_eq!((said(&bodies[0]), said(&bodies[1])), (vec![], changed_at(3)));
    let again = (8, vec!["-birds".to_owned(), "+stars".to_owned()]);
    assert_eq!(
        (said(&bodies[2]), said(&bodies[3])),
        (changed_at(3), [changed_at(3), vec![again]].concat())
    );
    let defined = &changes(&bodies[1])[0].1[1]["tool"]["definition"];
    assert_eq!(defined["description"], "Says how it will be.");
    assert!(
        bodies
            .iter()
            .all(|body| body.to_string().matches("cache_control").count() <= 4)
    );
}

#[tokio::test]
async fn without_it_the_tools_of_now_are_listed_and_the_prompt_is_paid_again() {
    let lab = lab([Answer::text("Well.").forever()]);
    let never = "tool_changes = \"never\"";
    configure(&lab, never, BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, never, AFTER, "");
    let second = turn(&lab, "Two.").await;
    assert_eq!(metric(&second, "cache_read_input_tokens"), 0, "{second:#}");
    let sent = bodies(&lab.simulator).remove(1);
    assert_eq!((names(&sent), said(&sent)), (vec!["weather", "tides", "birds"], vec![]));
    let facts = lab.call(["session", "export", "talk"]).await.expect_code(0).stdout;
    assert!(
        !facts.contains("\"definitions\""),
        "nothing is kept that nobody needs: {facts}"
    );
    // What was not kept can't be said later. From then on it can.
    configure(&lab, "", AFTER, "");
    turn(&lab, "Three.").await;
    configure(&lab, "", BEFORE, "");
    turn(&lab, "Four.").await;
    let bodies = bodies(&lab.simulator);
    assert_continues(&bodies[1], &bodies[2]);
    assert_continues(&bodies[2], &bodies[3]);
    assert_eq!(said(&bodies[3]).len(), 1);
}

#[tokio::test]
async fn a_session_that_was_killed_goes_on_with_other_tools_from_the_cache() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab([Answer::text("One."), stalled, Answer::text("Well.").forever()]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    let mut child = lab.command(["run", "--session", "talk", "Two."]).spawn().unwrap();
    while lab.simulator.requests().len() < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run is over");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();
    configure(&lab, "", AFTER, "");
    let resume = ["session", "resume", "talk", "--output", "json"];
    let resumed = lab.call(resume).await.expect_code(0).json();
    assert!(metric(&resumed, "cache_read_input_tokens") > 800, "{resumed:#}");
    turn(&lab, "Three.").await;
    let bodies = bodies(&lab.simulator);
    bodies.windows(2).for_each(|pair| assert_continues(&pair[0], &pair[1]));
    assert_eq!((said(&bodies[2]), said(&bodies[3])), (changed_at(3), changed_at(3)));
}

#[tokio::test]
async fn another_vendor_lists_the_tools_of_now_and_the_first_one_goes_on_as_before() {
    let other = Script::new().answer(Answer::text("Well.").forever());
    let other = Simulator::start(other, SimulatorOptions::default()).unwrap();
    let lab = lab([
        Answer::text("One."),
        Answer::error(529),
        Answer::error(529),
        Answer::error(529),
        Answer::text("Three."),
    ]);
    let fallback = format!(
        "[[fallback_models]]\nprovider = \"simulated\"\nbase_url = \"{}\"\nmodel = \"claude-sonnet-5\"\n",
        other.url()
    );
    configure(&lab, "", BEFORE, &fallback);
    turn(&lab, "One.").await;
    configure(&lab, "", AFTER, &fallback);
    turn(&lab, "Two.").await;
    let third = turn(&lab, "Three.").await;
    assert!(metric(&third, "cache_read_input_tokens") > 800, "{third:#}");
    let asked = bodies(&other).remove(0);
    assert_eq!(
        (names(&asked), said(&asked)),
        (vec!["weather", "tides", "birds"], vec![])
    );
    let bodies = bodies(&lab.simulator);
    bodies.windows(2).for_each(|pair| assert_continues(&pair[0], &pair[1]));
    assert_eq!(said(&bodies[4]), changed_at(3));
}

/// The Chat Completions API has nothing of it.
#[tokio::test]
async fn an_openai_fallback_reads_the_same_conversation() {
    let other = Simulator::start(
        Script::new().answer(Answer::text("Well.").forever()),
        SimulatorOptions::default(),
    )
    .unwrap();
    let overloaded = Answer::error(529).forever();
    let lab = lab([Answer::text("One."), overloaded]);
    let settings = |tools: Tools<'_>| {
        configure(&lab, "", tools, "");
        let text = std::fs::read_to_string(lab.path("cofferdam.toml")).unwrap();
        let text = text.replace("provider = \"simulated\"", "tool_changes = \"always\"");
        let fallback = format!(
            "[[fallback_models]]\nprovider = \"openai\"\nbase_url = \"{}/v1\"\nmodel = \"claude-haiku-5-5\"\n",
            other.url()
        );
        lab.write("cofferdam.toml", format!("{text}{fallback}"));
    };
    settings(BEFORE);
    turn(&lab, "One.").await;
    settings(AFTER);
    turn(&lab, "Two.").await;
    let asked = bodies(&other).remove(0);
    let listed = asked["tools"].as_array().unwrap().iter();
    let listed: Vec<_> = listed.map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(listed, ["weather", "tides", "birds"]);
    assert!(!asked.to_string().contains("tool_addition"), "{asked}");
    assert_eq!(said(&bodies(&lab.simulator)[1]), changed_at(3));
}

#[tokio::test]
async fn a_model_that_refuses_it_is_asked_once_and_lists_its_tools_from_then_on() {
    let lab = lab([
        Answer::text("One."),
        tool_call("birds", json!({ "place": "here" })),
        Answer::text("Two.").forever(),
    ]);
    // It takes no messages of the role `system`.
    let strict = "model = \"claude-sonnet-5\"\ntool_changes = \"always\"";
    configure(&lab, strict, BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, strict, AFTER, "");
    assert_eq!(turn(&lab, "Two.").await["answer"], "Two.");
    let bodies = bodies(&lab.simulator);
    let said: Vec<_> = bodies.iter().map(said).collect();
    assert_eq!(said, [vec![], changed_at(3), vec![], vec![]], "once");
    assert_eq!(names(&bodies[2]), ["weather", "tides", "birds"]);
    assert_continues(&bodies[2], &bodies[3]);
    // By itself, it isn't tried.
    let auto = "model = \"claude-sonnet-5\"";
    configure(&lab, auto, BEFORE, "");
    lab.call(["run", "--session", "other", "Go."]).await.expect_code(0);
    let facts = lab.call(["session", "export", "other"]).await.expect_code(0).stdout;
    assert!(!facts.contains("\"definitions\""), "{facts}");
}

/// A gateway that doesn't know the role says so in its own words, or says nothing.
#[tokio::test]
async fn a_refusal_in_any_words_is_learnt_from_the_answer_to_the_list_of_now() {
    for refusal in [
        r#"{"error":"messages[2].role: unknown variant `system`, expected `user` or `assistant`"}"#,
        "Bad Request",
        "",
    ] {
        let lab = lab([
            Answer::text("One."),
            Answer::raw(400, "text/plain", refusal),
            tool_call("birds", json!({ "place": "here" })),
            Answer::text("Two."),
        ]);
        configure(&lab, "", BEFORE, "");
        turn(&lab, "One.").await;
        configure(&lab, "", AFTER, "");
        assert_eq!(turn(&lab, "Two.").await["answer"], "Two.", "{refusal}");
        let said: Vec<_> = bodies(&lab.simulator).iter().map(said).collect();
        assert_eq!(said, [vec![], changed_at(3), vec![], vec![]], "{refusal}");
    }
}

/// Else one bad request would have every later conversation of the process pay for its prompt again.
#[tokio::test]
async fn an_error_that_the_list_of_now_gets_as_well_is_no_refusal() {
    let bad = || Answer::raw(400, "text/plain", "Bad Request");
    let lab = lab([
        thinking_one(),
        bad(),
        bad(),
        tool_call("birds", json!({ "place": "here" })),
        Answer::text("Two."),
    ]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, "", AFTER, "");
    assert_eq!(turn(&lab, "Two.").await["answer"], "Two.");
    let bodies = bodies(&lab.simulator);
    // It was the thinking, as it turns out.
    assert_eq!(thinks(&bodies), [false, true, true, false, false]);
    let said: Vec<_> = bodies.iter().map(said).collect();
    assert_eq!(said, [vec![], changed_at(3), vec![], changed_at(3), changed_at(3)]);
}

fn thinking_one() -> Answer {
    Answer::message(MessageAnswer {
        thinking: Some("Hm.".to_owned()),
        text: "One.".to_owned(),
        ..MessageAnswer::default()
    })
}

fn thinks(bodies: &[Value]) -> Vec<bool> {
    bodies.iter().map(|body| body.to_string().contains("Hm.")).collect()
}

/// Its words name a beta, but another list of tools would only bind the next thinking to another prompt.
#[tokio::test]
async fn an_error_about_thinking_is_no_refusal() {
    let other_conversation = ErrorAnswer {
        status: 400,
        message: Some(
            "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. Remove the block, or \
             set `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\". That setting requires the \
             `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header."
                .to_owned(),
        ),
        ..ErrorAnswer::default()
    };
    let lab = lab([
        thinking_one(),
        Answer::error_with(other_conversation),
        tool_call("birds", json!({ "place": "here" })),
        Answer::text("Two."),
    ]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, "", AFTER, "");
    assert_eq!(turn(&lab, "Two.").await["answer"], "Two.");
    let bodies = bodies(&lab.simulator);
    assert_eq!(thinks(&bodies), [false, true, false, false]);
    let said: Vec<_> = bodies.iter().map(said).collect();
    assert_eq!(said, [vec![], changed_at(3), changed_at(3), changed_at(3)]);
}

#[tokio::test]
async fn another_description_of_the_same_component_is_reported() {
    let lab = lab([Answer::text("Well.").forever()]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    let overridden = "[plugins.tools.tools.weather]\ndescription = \"Says it all.\"\n";
    configure(&lab, "", BEFORE, overridden);
    let ran = lab.call(["run", "--session", "talk", "Two."]).await.expect_code(0);
    let says = "the tool `weather` has another definition";
    assert!(ran.stderr.contains(says), "{ran}");
    let sent = bodies(&lab.simulator).remove(1);
    assert_eq!(said(&sent), [(3, vec!["+weather defined".to_owned()])]);
}

#[tokio::test]
async fn a_prompt_is_short_again_once_most_of_its_definitions_are_outdated() {
    let lab = lab([Answer::text("Well.").forever()]);
    let long = "Says more. ".repeat(300);
    configure(
        &lab,
        "",
        &[("weather", &long), ("tides", &long), ("stars", "Names them.")],
        "",
    );
    turn(&lab, "One.").await;
    let few: Tools<'_> = &[("stars", "Names them.")];
    configure(&lab, "", few, "");
    let second = turn(&lab, "Two.").await;
    assert_eq!(metric(&second, "cache_read_input_tokens"), 0, "once: {second:#}");
    let third = turn(&lab, "Three.").await;
    assert!(metric(&third, "cache_read_input_tokens") > 800, "{third:#}");
    let bodies = bodies(&lab.simulator);
    assert_eq!((names(&bodies[1]), said(&bodies[1])), (vec!["stars"], vec![]));
    assert_continues(&bodies[1], &bodies[2]);
}

#[tokio::test]
async fn an_api_without_such_messages_is_refused_with_the_key() {
    let lab = lab([]);
    lab.configure("tool_changes = \"always\"\nprovider = \"openai\"\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(2);
    let says = ["tool_changes", "has no messages that change the tools"];
    assert!(says.iter().all(|words| ran.stderr.contains(words)), "{ran}");
}

/// The API counts what it would answer, so it has to be asked with the same beta.
#[tokio::test]
async fn a_prompt_with_changes_is_counted_where_the_budget_refuses_the_estimate() {
    let lab = lab([Answer::text("Well.").forever()]);
    let little = "[budget]\nsession_usd = 0.012\n";
    configure(&lab, "max_tokens = 16", BEFORE, little);
    turn(&lab, "One.").await;
    configure(&lab, "max_tokens = 16", AFTER, little);
    turn(&lab, "Two.").await;
    let (counts, answers): (Vec<Value>, Vec<Value>) = bodies(&lab.simulator)
        .into_iter()
        .partition(|body| body["max_tokens"].is_null());
    assert_eq!((counts.len(), answers.len()), (2, 2));
    assert_eq!((said(&counts[1]), said(&answers[1])), (changed_at(3), changed_at(3)));
}

/// The server refuses the question as it would refuse the request, and the budget would never let it be sent.
#[tokio::test]
async fn a_refusal_is_learnt_from_the_count_where_the_budget_refuses_the_estimate() {
    let lab = lab([Answer::text("Well.").forever()]);
    let little = "[budget]\nsession_usd = 0.012\n";
    let strict = "model = \"claude-sonnet-5\"\nmax_tokens = 16\ntool_changes = \"always\"";
    configure(&lab, strict, BEFORE, little);
    turn(&lab, "One.").await;
    configure(&lab, strict, AFTER, little);
    turn(&lab, "Two.").await;
    let (counts, answers): (Vec<Value>, Vec<Value>) = bodies(&lab.simulator)
        .into_iter()
        .partition(|body| body["max_tokens"].is_null());
    let counted: Vec<_> = counts.iter().map(said).collect();
    assert_eq!(counted, [vec![], changed_at(3), vec![], vec![]]);
    assert_eq!((answers.len(), said(&answers[1])), (2, vec![]));
}

#[tokio::test]
async fn a_tool_that_was_removed_can_not_be_called() {
    let lab = lab([
        Answer::text("One."),
        tool_call("stars", json!({ "place": "here" })),
        Answer::text("It says: {{last_tool_results}}"),
    ]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, "", AFTER, "");
    let second = turn(&lab, "Two.").await;
    let answer = second["answer"].as_str().unwrap();
    assert!(answer.contains("`stars`") && answer.contains("birds"), "{answer}");
    let bodies = bodies(&lab.simulator);
    bodies.windows(2).for_each(|pair| assert_continues(&pair[0], &pair[1]));
    assert_eq!(said(&bodies[2]), changed_at(3));
}

/// The prompt that the model refused leaves the conversation, and the change that came with it comes with the next one.
#[tokio::test]
async fn a_turn_that_leaves_the_conversation_takes_no_change_with_it() {
    let refused = MessageAnswer {
        stop_reason: Some("refusal".to_owned()),
        ..MessageAnswer::default()
    };
    let lab = lab([
        Answer::text("One."),
        Answer::message(refused),
        Answer::text("Three.").forever(),
    ]);
    configure(&lab, "", BEFORE, "");
    turn(&lab, "One.").await;
    configure(&lab, "", AFTER, "");
    let refused = lab.call(["run", "--session", "talk", "Two."]).await;
    assert_ne!(refused.code(), 0, "{refused}");
    turn(&lab, "Three.").await;
    let bodies = bodies(&lab.simulator);
    assert_continues(&bodies[0], &bodies[2]);
    assert_eq!(said(&bodies[2]), changed_at(3));
}

#[tokio::test]
async fn the_documented_savings_are_those_of_real_conversations() {
    let mut table = "| `tool_changes` | tokens read from the cache | tokens written to it | cost of the prompt |\n|---|---|---|---|\n".to_owned();
    for setting in ["never", "auto"] {
        let lab = lab([Answer::text("Well. ".repeat(200)).forever()]);
        let setting_line = format!("tool_changes = \"{setting}\"");
        let more = "[budget]\nsession_usd = 10\n";
        configure(&lab, &setting_line, BEFORE, more);
        for prompt in ["One.", "Two.", "Three.", "Four."] {
            turn(&lab, prompt).await;
        }
        configure(&lab, &setting_line, AFTER, more);
        let command = ["run", "--session", "talk", "--output", "stream-json", "Five."];
        let events = lab.call(command).await.expect_code(0).json_lines();
        let event = |kind: &str| events.iter().find(|event| event["event"] == kind).unwrap();
        let amount = |kind: &str| event(kind)["amount_usd"].as_str().unwrap().parse::<f64>().unwrap();
        assert!(amount("budget_settled") <= amount("budget_reserved"), "{events:#?}");
        let usage = &event("model_response")["usage"];
        let tokens = |name: &str| usage[name].as_u64().unwrap();
        let (read, written) = (
            tokens("cache_read_input_tokens"),
            tokens("cache_creation_5m_input_tokens"),
        );
        // Of Sonnet 5.5, a million tokens cost 2 $, written ones 2.50 $ and read ones 0.10 $.
        let cost = (read as f64 * 0.1 + written as f64 * 2.5 + tokens("input_tokens") as f64 * 2.0) / 1e6;
        writeln!(table, "| `\"{setting}\"` | {read} | {written} | ${cost:.6} |").unwrap();
        assert_eq!(read > 0, setting == "auto", "{usage}");
    }
    check_documented("models.md", "tool changes", &table);
}
