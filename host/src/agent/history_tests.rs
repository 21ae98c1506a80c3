#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Conversations with a model that answers anything: every request that follows is one that the API accepts.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::events::Ending;
use crate::ledger::BudgetSettings;
use crate::model::validators::{accepted, blocks};
use crate::model::{self, BoxFuture, Model, ModelContext, ModelError, ModelRequest, ModelResponse};
use crate::resilience::Breaker;
use crate::sandbox::{CompilePlace, EngineSettings, Limits, Sandbox};
use crate::simulator::signature_of;
use crate::store::Store;
use crate::telemetry::{AlertSettings, EventBus};
use crate::tls;
use crate::tools::ToolSet;

/// Answers with the bodies of a script, and keeps every request.
#[derive(Debug, Default)]
struct Scripted {
    answers: Mutex<VecDeque<Value>>,
    /// The requests of each run.
    runs: Mutex<Vec<Vec<Value>>>,
}

impl Model for Scripted {
    fn model(&self) -> &str {
        "m"
    }

    fn respond<'a>(
        &'a self,
        request: &'a ModelRequest<'a>,
        _: &'a ModelContext<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            let body = accepted(&model::request_body(request).unwrap());
            self.runs.lock().unwrap().last_mut().unwrap().push(body);
            let answer = self
                .answers
                .lock()
                .unwrap()
                .pop_front()
                .unwrap_or_else(|| answer("end_turn", [text("done")]));
            model::parse_response(answer.to_string().as_bytes())
        })
    }

    fn breakers(&self) -> Vec<Arc<Breaker>> {
        Vec::new()
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    })
}

/// No tools, so that every call ends in an error result.
fn tools() -> Arc<ToolSet> {
    static TOOLS: OnceLock<Arc<ToolSet>> = OnceLock::new();
    let load = || {
        let limits = Limits::default();
        let tls = tls::client_config().unwrap();
        let sandbox = Sandbox::new(&EngineSettings::default(), [&limits], CompilePlace::ThisProcess, tls).unwrap();
        let tools = ToolSet::load(&sandbox, &[], 4, Duration::from_secs(1));
        Arc::new(runtime().block_on(tools).unwrap())
    };
    TOOLS.get_or_init(load).clone()
}

/// Runs the prompts in one session. Returns the endings with their errors' kinds, and the requests of each run.
#[allow(clippy::type_complexity)]
fn converse(prompts: &[&str], answers: Vec<Value>) -> (Vec<(Ending, Option<String>)>, Vec<Vec<Value>>) {
    let scripted = Arc::new(Scripted {
        answers: Mutex::new(answers.into()),
        ..Scripted::default()
    });
    let agent = Agent::new(AgentParts {
        settings: AgentSettings {
            max_iterations: 5,
            ..AgentSettings::default()
        },
        max_tokens: 16,
        temperature: None,
        model: scripted.clone(),
        tools: tools(),
        ledger: Store::in_memory().unwrap().ledger(),
        store: None,
        budget: BudgetSettings::default(),
        alerts: AlertSettings::default(),
        events: EventBus::new(),
    });
    let mut session = agent.session();
    let mut endings = Vec::new();
    for prompt in prompts {
        scripted.runs.lock().unwrap().push(Vec::new());
        let report = runtime().block_on(session.run(prompt, RunOptions::default()));
        endings.push((report.outcome, report.error.map(|error| error.kind)));
    }
    let runs = scripted.runs.lock().unwrap().clone();
    (endings, runs)
}

fn answer(stop_reason: &str, content: impl IntoIterator<Item = Value>) -> Value {
    let content: Vec<Value> = content.into_iter().collect();
    json!({ "type": "message", "model": "m", "stop_reason": stop_reason, "content": content,
        "usage": { "input_tokens": 1, "output_tokens": 1 } })
}

fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

fn call(id: &str) -> Value {
    json!({ "type": "tool_use", "id": id, "name": "t", "input": {} })
}

#[test]
fn a_refused_turn_leaves_the_history() {
    let answers = vec![
        answer("end_turn", [text("hello")]),
        answer("tool_use", [call("a")]),
        answer("refusal", [text("I can't")]),
        answer("end_turn", [text("gladly")]),
    ];
    let (endings, runs) = converse(&["hi", "something bad", "something good"], answers);
    assert_eq!(endings[1], (Ending::Refused, Some("refused".to_owned())));
    assert_eq!(endings[2], (Ending::Completed, None));
    let last = runs[2][0]["messages"].to_string();
    assert!(last.contains("hello") && last.contains("something good"), "{last}");
    assert!(
        !last.contains("bad") && !last.contains("can't") && !last.contains("tool_use"),
        "{last}"
    );
}

#[test]
fn an_empty_answer_is_asked_for_again_once() {
    let empty = || answer("end_turn", []);
    let call = || answer("tool_use", [call("a")]);
    let (endings, runs) = converse(&["a"], vec![call(), empty(), answer("end_turn", [text("x")])]);
    assert_eq!((&endings[0], runs[0].len()), (&(Ending::Completed, None), 3));
    let (endings, runs) = converse(&["a", "b"], vec![call(), empty(), empty()]);
    let failed = (Ending::ModelFailed, Some("empty_answer".to_owned()));
    assert_eq!((&endings[0], runs[0].len()), (&failed, 3));
    assert_eq!(endings[1], (Ending::Completed, None));
    assert!(!runs[1][0].to_string().contains("empty"), "{}", runs[1][0]);
    // Thinking alone is no answer either.
    let thinking = json!({ "type": "thinking", "thinking": "hm", "signature": signature_of("hm") });
    let (endings, _) = converse(
        &["a"],
        vec![answer("end_turn", [thinking.clone()]), answer("end_turn", [thinking])],
    );
    assert_eq!(endings[0], failed);
}

#[test]
fn calls_are_made_whatever_ended_a_whole_answer() {
    for reason in ["tool_use", "end_turn", "stop_sequence", "pause_turn"] {
        let (endings, runs) = converse(&["a"], vec![answer(reason, [call("a")])]);
        assert_eq!(
            (&endings[0], runs[0].len()),
            (&(Ending::Completed, None), 2),
            "{reason}"
        );
        assert!(runs[0][1].to_string().contains("tool_result"), "{reason}");
    }
    for reason in ["max_tokens", "refusal", "model_context_window_exceeded", "sideways"] {
        let (endings, runs) = converse(&["a"], vec![answer(reason, [call("a")])]);
        assert_eq!(
            (endings[0].0 == Ending::Completed, runs[0].len()),
            (false, 1),
            "{reason}"
        );
    }
}

#[test]
fn a_prompt_without_a_visible_character_is_not_sent() {
    for prompt in ["\u{200b}", "\u{feff} \n", "\0"] {
        let (endings, runs) = converse(&[prompt, "hi"], vec![]);
        assert_eq!(endings[0], (Ending::ModelFailed, Some("blank_prompt".to_owned())));
        assert_eq!((runs[0].len(), runs[1].len()), (0, 1));
    }
}

/// A block that a model or a gateway may send.
fn any_block() -> impl Strategy<Value = Value> {
    let id = || {
        prop::sample::select(vec![
            "a",
            "b",
            "c",
            "",
            "b d",
            "né",
            "cofferdam_1",
            "cofferdam_2",
            "srvtoolu_1",
            "mcptoolu_1",
        ])
    };
    let name = prop::sample::select(vec!["t", "", "a.b", "né"]).prop_map(str::to_owned);
    let name = prop_oneof![name, Just("x".repeat(300))];
    let input = prop::sample::select(vec![json!({}), json!({ "a": [1.0, null] })]);
    let extra = || {
        prop::sample::select(vec![
            json!({}),
            json!({ "citations": null, "caller": { "type": "direct" } }),
            json!({ "citations": "x", "caller": 1 }),
            json!({ "citations": [{ "type": "x" }], "index": 1, "cache_control": { "type": "forever" } }),
            json!({ "citations": [{ "type": "char_location" }] }),
        ])
    };
    let words = || prop::sample::select(vec!["", " \n", "\u{feff}", "\0", "hello", "a\0b", "\u{1f}"]);
    let with = |mut block: Value, extra: Value| {
        let fields = extra.as_object().unwrap().clone();
        block.as_object_mut().unwrap().extend(fields);
        block
    };
    let server_call = prop::sample::select(vec!["server_tool_use", "mcp_tool_use"]);
    let server_result = prop::sample::select(vec!["web_search_tool_result", "mcp_tool_result", "tool_result"]);
    let field = prop::sample::select(vec![
        "id",
        "text",
        "content",
        "data",
        "input",
        "source",
        "signature",
        "tool_use_id",
    ]);
    let kind = prop::sample::select(vec![
        json!("thinking"),
        json!("redacted_thinking"),
        json!("document"),
        json!("image"),
        json!("compaction"),
        json!("fallback"),
        json!("container_upload"),
        json!("text"),
        json!("search_result"),
        json!("block_of_tomorrow"),
        json!(7),
        json!(null),
        json!("web_fetch_tool_result"),
        json!("server_tool_use"),
        json!("tool_search_tool_result"),
    ]);
    let value = prop::sample::select(vec![
        json!(null),
        json!(""),
        json!("a"),
        json!(7),
        json!([]),
        json!({}),
        json!([[{}]]),
    ]);
    let anything = (kind, vec((field, value), 0..4)).prop_map(|(kind, fields)| {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
        // Only the API can sign, so no made-up signature is valid.
        let mut block: serde_json::Map<_, _> = fields.filter(|(name, _)| name != "signature").collect();
        block.insert("type".to_owned(), kind);
        Value::Object(block)
    });
    prop_oneof![
        3 => (words(), extra()).prop_map(move |(words, extra)| with(text(words), extra)),
        4 => (id(), name, input, extra()).prop_map(move |(id, name, input, extra)|
            with(json!({ "type": "tool_use", "id": id, "name": name, "input": input }), extra)),
        1 => (id(), server_call).prop_map(|(id, kind)|
            json!({ "type": kind, "id": id, "name": "web_search", "server_name": "s", "input": {} })),
        1 => (id(), server_result).prop_map(|(id, kind)| json!({ "type": kind, "tool_use_id": id, "content": [] })),
        1 => words().prop_map(|words| json!({ "type": "thinking", "thinking": words, "signature": signature_of(words) })),
        1 => words().prop_map(|words| json!({ "type": "thinking", "thinking": words, "signature": "" })),
        2 => anything,
    ]
}

fn any_answer() -> impl Strategy<Value = Value> {
    let reason = prop::sample::select(vec![
        "tool_use",
        "tool_use",
        "end_turn",
        "stop_sequence",
        "max_tokens",
        "pause_turn",
        "pause_turn",
        "refusal",
        "model_context_window_exceeded",
        "sideways",
    ]);
    (reason, vec(any_block(), 0..5)).prop_map(|(reason, content)| answer(reason, content))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_answers_leave_a_history_that_is_accepted(
        answers in vec(any_answer(), 0..14),
        prompts in vec(prop::sample::select(vec!["hi", "a\0b", "\u{200b}", " x "]), 1..5),
    ) {
        // The model checks every request.
        let (_, runs) = converse(&prompts, answers);
        for run in runs {
            for pair in run.windows(2) {
                let (mut sent, next) = (blocks(&pair[0]), blocks(&pair[1]));
                let is_paused = sent.last().unwrap().0 == "assistant";
                // A paused history that the API would take for a prefill is sent with a closing line, which the
                // transcript doesn't hold.
                if sent.last().unwrap().1["text"] == "Continue." {
                    sent.pop();
                }
                prop_assert!(is_paused || next.starts_with(&sent), "{:#?}\n{:#?}", sent, next);
            }
        }
    }
}
