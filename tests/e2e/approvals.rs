//! Calls that a person must approve, with the real binary, real services and real kills.

use std::time::Duration;

use cofferdam::simulator::{Answer, ToolCall};
use cofferdam::tools::builtin;
use cofferdam_tests::{Behaviour, HttpServer, Lab, McpClient, Ran, Terminal, finish, tool_call};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::{books, lab};

/// What asks the terminal to mark what is pasted: from then on a line is edited.
const PROMPT: &str = "\u{1b}[?2004h";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";

fn post(server: &HttpServer) -> Value {
    json!({ "url": server.url(), "method": "POST" })
}

/// A model that makes one call of `fetch`, and answers with its result.
fn fetching(server: &HttpServer) -> Lab {
    let lab = lab([tool_call("fetch", post(server)), Answer::text("{{result:fetch}}")]);
    lab.configure(&gated(server));
    lab
}

/// The tool `fetch`, which the operator calls destructive.
fn gated(server: &HttpServer) -> String {
    gated_component("builtin:faulty", server)
}

fn gated_component(component: &str, server: &HttpServer) -> String {
    format!(
        "[plugins.faulty]\ncomponent = \"{component}\"\nhttp = [{{ url = \"{}/\", methods = [\"POST\"] }}]\n\
         [plugins.faulty.tools.fetch]\ndestructive = true\n",
        server.url()
    )
}

async fn approvals(lab: &Lab, all: bool) -> Vec<Value> {
    let all = if all { &["--all"][..] } else { &[] };
    let listed = lab
        .call([&["approval", "list", "--output", "json"], all].concat())
        .await;
    listed.expect_code(0).json().as_array().unwrap().clone()
}

/// The one that waits.
async fn waiting(lab: &Lab) -> Value {
    let mut approvals = approvals(lab, false).await;
    assert_eq!(approvals.len(), 1, "{approvals:#?}");
    approvals.remove(0)
}

/// A run whose only gated call waits.
async fn run_until_asked(lab: &Lab) -> Value {
    lab.report(4).await;
    waiting(lab).await
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap()
}

async fn decide(lab: &Lab, approval: &Value, how: &[&str]) -> Ran {
    let (word, options) = how.split_first().unwrap();
    let command = [&["approval", word, text(approval, "id"), "--output", "json"], options].concat();
    lab.call(command).await
}

async fn resume(lab: &Lab, approval: &Value, code: i32) -> Value {
    let resumed = lab.call(["session", "resume", text(approval, "session"), "--output", "json"]);
    resumed.await.expect_code(code).json()
}

async fn kinds(lab: &Lab, session: &str) -> Vec<String> {
    let shown = lab.call(["session", "show", session, "--output", "json"]).await;
    let facts = shown.expect_code(0).json();
    let facts = facts["facts"].as_array().unwrap().iter();
    facts.map(|fact| text(&fact["fact"], "kind").to_owned()).collect()
}

#[tokio::test]
async fn a_destructive_call_waits_for_a_person_and_is_made_once() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let report = lab.report(4).await;
    assert_eq!(report["outcome"], "awaiting_approval");
    assert_eq!(report["error"]["kind"], "awaiting_approval");
    assert_eq!(server.requests(), 0);

    let approval = waiting(&lab).await;
    assert_eq!(
        (text(&approval, "tool"), text(&approval, "state")),
        ("fetch", "pending")
    );
    let hint = text(&report["error"], "hint");
    assert!(
        hint.contains(text(&approval, "id")) && hint.contains(text(&approval, "session")),
        "{hint}"
    );
    let sessions = lab
        .call(["session", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(sessions[0]["outcome"], "awaiting_approval");
    let short = &text(&approval, "id")[..8];
    let shown = lab.call(["approval", "show", short]).await.expect_code(0).stdout;
    assert!(
        shown.contains("\"method\": \"POST\"") && shown.contains("HTTP POST"),
        "{shown}"
    );

    // Still nobody has decided.
    assert_eq!(resume(&lab, &approval, 4).await["outcome"], "awaiting_approval");
    assert_eq!(server.requests(), 0);

    let approved = lab.call(["approval", "approve", short]).await.expect_code(0);
    assert!(approved.stderr.contains("session resume"), "{approved}");
    // Somebody still has to go on with it.
    assert_eq!(text(&waiting(&lab).await, "state"), "approved");
    let again = decide(&lab, &approval, &["approve"]).await.expect_code(0).json();
    assert_eq!(again["state"], "approved");
    let denied = decide(&lab, &approval, &["deny"]).await.expect_code(2).json();
    assert_eq!(denied["error"]["kind"], "approval_decided", "{denied}");
    let way_on = format!(
        "`cofferdam approval show {}` says what came of it",
        text(&approval, "id")
    );
    assert!(text(&denied["error"], "hint").contains(&way_on), "{denied}");

    let report = resume(&lab, &approval, 0).await;
    assert_eq!(report["outcome"], "completed");
    assert_eq!(server.requests(), 1);
    let all = approvals(&lab, true).await;
    assert_eq!((all.len(), text(&all[0], "state")), (1, "done"));
    assert_eq!(
        kinds(&lab, text(&approval, "session")).await[4..],
        [
            "answered",
            "approval_requested",
            "reopened",
            "reopened",
            "approval_decided",
            "call_admitted",
            "call_ended",
            "attempt_started",
            "attempt_ended",
            "answered",
            "run_ended",
        ]
    );
}

#[tokio::test]
async fn the_model_reads_why_a_call_was_denied() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    let denied = decide(&lab, &approval, &["deny", "--reason", "Not on a Sunday."])
        .await
        .expect_code(0);
    assert_eq!(denied.json()["reason"], "Not on a Sunday.");
    let report = resume(&lab, &approval, 0).await;
    assert!(
        text(&report, "answer").contains("denied the call: Not on a Sunday."),
        "{report}"
    );
    assert_eq!(report["metrics"]["tools"]["fetch"]["outcomes"], json!({ "denied": 1 }));
    assert_eq!(server.requests(), 0);
}

/// Sixteen processes approve at once. The call is made once.
#[tokio::test]
async fn processes_can_approve_the_same_call_at_once() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    let deciding = (0..16).map(|_| decide(&lab, &approval, &["approve"]));
    for decided in futures_util::future::join_all(deciding).await {
        assert_eq!(decided.expect_code(0).json()["state"], "approved");
    }
    let resuming = (0..4).map(|_| lab.call(["session", "resume", text(&approval, "session")]));
    let codes = futures_util::future::join_all(resuming).await;
    let codes: Vec<i32> = codes.iter().map(Ran::code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn after_a_day_nobody_can_decide() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    let books = books(&lab);
    let seconds = "SELECT round((julianday(expires_at) - julianday(requested_at)) * 86400) FROM approvals";
    let seconds: f64 = books.query_row(seconds, [], |row| row.get(0)).unwrap();
    assert!((86_399.0..=86_401.0).contains(&seconds), "{seconds}");
    books
        .execute("UPDATE approvals SET expires_at = requested_at", [])
        .unwrap();
    drop(books);
    assert_eq!(approvals(&lab, false).await, [] as [Value; 0]);
    assert_eq!(approvals(&lab, true).await[0]["state"], "expired");
    let late = decide(&lab, &approval, &["approve"]).await.expect_code(2).json();
    assert_eq!(late["error"]["kind"], "approval_expired", "{late}");
    let report = resume(&lab, &approval, 0).await;
    assert!(text(&report, "answer").contains("nobody did in time"), "{report}");
    assert_eq!(server.requests(), 0);
}

/// What was approved is one component. Another one is asked about again.
#[tokio::test]
async fn an_approval_is_for_one_component() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([tool_call("fetch", post(&server)), Answer::text("{{result:fetch}}")]);
    let component = builtin("faulty").unwrap();
    lab.write("fetch.wasm", component);
    lab.configure(&gated_component("fetch.wasm", &server));
    let old = run_until_asked(&lab).await;
    decide(&lab, &old, &["approve", "--always"]).await.expect_code(0);
    // A custom section without content, named `x`.
    lab.write("fetch.wasm", [component, &[0, 2, 1, b'x']].concat());

    assert_eq!(resume(&lab, &old, 4).await["outcome"], "awaiting_approval");
    assert_eq!(server.requests(), 0);
    let new = waiting(&lab).await;
    assert_ne!((&new["id"], &new["digest"]), (&old["id"], &old["digest"]));
    let states = approvals(&lab, true).await;
    let old = states.iter().find(|approval| approval["id"] == old["id"]).unwrap();
    assert_eq!(old["state"], "expired");
    decide(&lab, &new, &["approve"]).await.expect_code(0);
    assert_eq!(resume(&lab, &new, 0).await["outcome"], "completed");
    assert_eq!(server.requests(), 1);
}

/// A run whose plugin is of its command line, and whose call was approved.
async fn approved_of_a_command_line(lab: &Lab) {
    let options = ["--plugin", "builtin:notes", "--keyvalue", "--set", "token=hunter2"];
    let command = [&["run", "--session", "trip", "--output", "json", "Go."], &options[..]].concat();
    let report = lab.call(command).await.expect_code(4).json();
    let hint = text(&report["error"], "hint");
    let resume = "`cofferdam session resume trip --plugin builtin:notes --keyvalue --set token=<VALUE>`";
    assert!(hint.contains(resume) && !hint.contains("hunter2"), "{hint}");
    let approval = waiting(lab).await;
    let approved = lab.call(["approval", "approve", text(&approval, "id")]).await;
    let says = "with the `--plugin` of `notes` and the grants of the run that asked";
    assert!(approved.stderr.contains(says), "{approved}");
}

fn deleting() -> Lab {
    lab([
        tool_call("notes_delete", json!({ "id": 1 })),
        Answer::text("{{result:notes_delete}}"),
    ])
}

/// Without the tool of an approved call nothing is sent or written, through no door.
#[tokio::test]
async fn a_decision_outlives_a_resume_without_the_tool() {
    let lab = deleting();
    approved_of_a_command_line(&lab).await;
    let before = kinds(&lab, "trip").await;
    for output in ["json", "text"] {
        let refused = lab.call(["session", "resume", "trip", "--output", output]).await;
        let refused = refused.expect_code(4);
        let says = format!("{}{}", refused.stdout, refused.stderr);
        for named in [
            "tool_missing",
            "`notes_delete` was approved",
            "plugin `notes`",
            "--give-up",
        ] {
            assert!(
                says.contains(named) || (output, named) == ("text", "tool_missing"),
                "{says}"
            );
        }
    }
    let refused = lab.call(["run", "--session", "trip", "More."]).await.expect_code(2);
    assert!(refused.stderr.contains("session resume trip"), "{refused}");
    let chat = lab.call_with_input(["chat", "--session", "trip"], "More.\n").await;
    let chat = chat.expect_code(4).stderr;
    assert!(
        chat.contains("`notes_delete` was approved") && chat.contains("Your prompt was not sent."),
        "{chat}"
    );
    let mut terminal = Terminal::of_width(300);
    let child = terminal.start(lab.command(["chat", "--session", "trip"]));
    for keys in ["", "\r", "More.\r"] {
        terminal.type_keys(keys);
        terminal.wait_for("`notes_delete` was approved").await;
        terminal.wait_for("Nothing goes on here without the tool.").await;
        terminal.wait_for(PROMPT).await;
    }
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(4);

    assert_eq!(kinds(&lab, "trip").await, before);
    assert_eq!(lab.simulator.requests().len(), 1);
    assert_eq!(approvals(&lab, true).await[0]["state"], "approved");
    let options = ["--plugin", "builtin:notes", "--keyvalue", "--set", "token=hunter2"];
    let command = [&["session", "resume", "trip", "--give-up"], &options[..]].concat();
    lab.call(command).await.expect_code(0);
    assert_eq!(approvals(&lab, true).await[0]["state"], "done");
}

/// A component that can't be read for a moment.
#[tokio::test]
async fn a_decision_outlives_a_missing_component() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([tool_call("fetch", post(&server)), Answer::text("{{result:fetch}}")]);
    lab.write("fetch.wasm", builtin("faulty").unwrap());
    lab.configure(&gated_component("fetch.wasm", &server));
    let approval = run_until_asked(&lab).await;
    std::fs::rename(lab.path("fetch.wasm"), lab.path("away")).unwrap();
    // Pending, then approved.
    for says in ["waits for a person", "was approved"] {
        let refused = resume(&lab, &approval, 4).await;
        assert_eq!(refused["error"]["kind"], "tool_missing");
        assert!(text(&refused["error"], "message").contains(says), "{refused}");
        decide(&lab, &approval, &["approve"]).await.expect_code(0);
    }
    std::fs::rename(lab.path("away"), lab.path("fetch.wasm")).unwrap();
    assert_eq!(resume(&lab, &approval, 0).await["outcome"], "completed");
    assert_eq!(server.requests(), 1);
}

/// Who decides so can go on without the tool.
#[tokio::test]
async fn a_call_without_its_tool_can_be_given_up() {
    for (how, reads, state) in [
        (
            &["deny", "--reason", "Not now."][..],
            "denied the call: Not now.",
            "denied",
        ),
        (&["approve"], "There is no tool `fetch`", "expired"),
    ] {
        let server = HttpServer::start(Behaviour::Echo).await;
        let lab = fetching(&server);
        let approval = run_until_asked(&lab).await;
        decide(&lab, &approval, how).await.expect_code(0);
        lab.configure("[plugins]\n");
        let mut command = vec!["session", "resume", text(&approval, "session"), "--output", "json"];
        if state == "expired" {
            lab.call(command.clone()).await.expect_code(4);
            command.push("--give-up");
        }
        let report = lab.call(command).await.expect_code(0).json();
        assert!(text(&report, "answer").contains(reads), "{report}");
        assert_eq!(approvals(&lab, true).await[0]["state"], state);
        assert_eq!(server.requests(), 0);
    }
}

#[tokio::test]
async fn the_other_calls_of_a_turn_are_made_meanwhile() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let gated_call = || ToolCall::new("fetch", post(&server));
    let lab = lab([
        Answer::tools([gated_call(), ToolCall::new("echo", json!({ "n": 1 })), gated_call()]),
        Answer::text("So."),
    ]);
    lab.configure(&gated(&server));
    let report = lab.report(4).await;
    assert_eq!(report["metrics"]["tools"]["echo"]["outcomes"], json!({ "ok": 1 }));
    let both = approvals(&lab, false).await;
    assert_eq!(both.len(), 2);
    let first = both.iter().find(|approval| approval["position"] == 0).unwrap();
    decide(&lab, first, &["approve"]).await.expect_code(0);
    // The approved one is made, though another waits.
    assert_eq!(resume(&lab, first, 4).await["outcome"], "awaiting_approval");
    assert_eq!(server.requests(), 1);
    let last = waiting(&lab).await;
    decide(&lab, &last, &["deny"]).await.expect_code(0);
    let report = resume(&lab, &last, 0).await;
    assert_eq!((&report["answer"], server.requests()), (&json!("So."), 1));
    assert!(
        report["metrics"]["tools"].get("echo").is_none(),
        "it is not made again: {report}"
    );
    let requests = lab.simulator.requests();
    let results = requests[1].body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
    let errors: Vec<bool> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["is_error"] == true)
        .collect();
    assert_eq!(errors, [false, false, true], "{results}");
}

/// The process ends after it has written the decision down and before the call is.
#[tokio::test]
async fn a_decision_survives_a_kill_before_the_call() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    let session = text(&approval, "session");
    decide(&lab, &approval, &["approve"]).await.expect_code(0);
    resume(&lab, &approval, 0).await;
    assert_eq!(server.requests(), 1);
    // Every commit is whole, so this is what a kill between the two leaves.
    let books = books(&lab);
    let decided: u32 = books
        .query_row("SELECT seq FROM facts WHERE kind = 'approval_decided'", [], |row| {
            row.get(0)
        })
        .unwrap();
    books.execute("DELETE FROM facts WHERE seq > ?1", [decided]).unwrap();
    books
        .execute("UPDATE sessions SET facts = ?1, outcome = NULL", [decided])
        .unwrap();
    books.execute("UPDATE approvals SET state = 'approved'", []).unwrap();
    drop(books);
    let report = lab.call(["session", "resume", session, "--output", "json"]).await;
    // The scripted model has no further answer, so the run fails after the call.
    assert_eq!(
        report.json()["metrics"]["tools"]["fetch"]["outcomes"],
        json!({ "ok": 1 })
    );
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn an_approved_call_that_was_killed_is_not_made_again() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    decide(&lab, &approval, &["approve"]).await.expect_code(0);
    let mut child = lab
        .command(["session", "resume", text(&approval, "session")])
        .spawn()
        .unwrap();
    while server.requests() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(approvals(&lab, true).await[0]["state"], "started");
    child.kill().await.unwrap();
    let report = resume(&lab, &approval, 0).await;
    let answer = text(&report, "answer");
    assert!(answer.contains("isn't known whether it took effect"), "{answer}");
    assert_eq!(server.requests(), 1);
    assert_eq!(approvals(&lab, true).await[0]["state"], "done");
    let shown = lab
        .call(["session", "show", text(&approval, "session")])
        .await
        .expect_code(0);
    assert!(
        shown.stdout.contains("fetch waits for a person") && shown.stdout.contains("a person approved"),
        "{shown}"
    );
}

/// What each setting makes of a tool that can write and of one that can't do anything.
#[tokio::test]
async fn the_configuration_says_which_calls_wait() {
    let server = HttpServer::start(Behaviour::Echo).await;
    for (approve, waiting) in [("never", 0), ("destructive", 0), ("writes", 1), ("always", 2)] {
        let lab = lab([
            Answer::tools([
                ToolCall::new("fetch", post(&server)),
                ToolCall::new("calculate", json!({ "expression": "1 + 1" })),
            ]),
            Answer::text("So."),
        ]);
        lab.configure(&format!(
            "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\", methods = [\"POST\"] }}]\n\
             [plugins.calculator]\ncomponent = \"builtin:calculator\"\n",
            server.url()
        ));
        let run = lab.call(["run", "--approve", approve, "--output", "json", "Go."]).await;
        let run = run.expect_code(if waiting == 0 { 0 } else { 4 });
        assert_eq!(
            run.json()["outcome"] == "awaiting_approval",
            waiting > 0,
            "{approve}: {run}"
        );
        assert_eq!(approvals(&lab, false).await.len(), waiting, "{approve}");
    }
    let lab = lab([Answer::text("So.")]);
    let wrong = lab.call(["run", "--approve", "sometimes", "Go."]).await.expect_code(2);
    assert!(
        wrong.stderr.contains("--approve") && wrong.stderr.contains("destructive"),
        "{wrong}"
    );
}

/// Nobody can ever decide, so the model reads it at once.
#[tokio::test]
async fn a_session_that_is_not_kept_denies() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let run = lab.call(["run", "--ephemeral", "--output", "json", "Go."]).await;
    let report = run.expect_code(0).json();
    assert!(text(&report, "answer").contains("nobody can be asked"), "{report}");
    assert_eq!((server.requests(), approvals(&lab, true).await.len()), (0, 0));
}

/// Another prompt gives the calls up that waited.
#[tokio::test]
async fn a_prompt_in_a_chat_gives_up_what_waits() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([tool_call("fetch", post(&server)), Answer::text("Fine.")]);
    lab.configure(&gated(&server));
    let chat = lab.call_with_input(["chat"], "Go.\nForget it.\n").await.expect_code(0);
    assert!(
        chat.stdout.contains("Fine.") && chat.stderr.contains("must approve"),
        "{chat}"
    );
    assert_eq!(approvals(&lab, true).await[0]["state"], "expired");
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn approvals_go_with_their_session() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    lab.call(["session", "delete", text(&approval, "session")])
        .await
        .expect_code(0);
    assert_eq!(approvals(&lab, true).await, [] as [Value; 0]);
    for command in ["approval", "session"] {
        let none = lab.call([command, "list", "--limit", "0"]).await.expect_code(2);
        assert!(none.stderr.contains("--limit"), "{none}");
    }
    let gone = decide(&lab, &approval, &["approve"]).await.expect_code(2).json();
    assert_eq!(gone["error"]["kind"], "approval_unknown");
}

const QUESTION: &str = "[a]lways in this session: ";
/// After this, somebody can have read the question.
const READ: Duration = Duration::from_millis(400);
const WAITS: &str = "It waits in the next line.";

fn run_at_terminal(lab: &Lab) -> (Terminal, tokio::process::Child) {
    let terminal = Terminal::open();
    let child = terminal.start(lab.command(["run", "Go."]));
    (terminal, child)
}

async fn read_question(terminal: &mut Terminal) {
    terminal.wait_for(QUESTION).await;
    tokio::time::sleep(READ).await;
}

/// Two calls in two turns, at a terminal.
fn twice(server: &HttpServer) -> Lab {
    let lab = lab([
        tool_call("fetch", post(server)),
        tool_call(
            "fetch",
            json!({ "url": format!("{}/2", server.url()), "method": "POST" }),
        ),
        Answer::text("{{result:fetch}}"),
    ]);
    lab.configure(&gated(server));
    lab
}

#[tokio::test]
async fn a_person_at_a_terminal_is_asked() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = twice(&server);
    let (mut terminal, child) = run_at_terminal(&lab);
    terminal.wait_for("wants to call `fetch` of the plugin `faulty`").await;
    terminal.wait_for("\"method\": \"POST\"").await;
    terminal.wait_for("HTTP POST").await;
    read_question(&mut terminal).await;
    terminal.type_keys("maybe\r");
    terminal.wait_for("Type one of these letters").await;
    read_question(&mut terminal).await;
    assert_eq!(server.requests(), 0);
    terminal.type_keys("y\r");
    read_question(&mut terminal).await;
    assert_eq!(server.requests(), 1);
    terminal.type_keys("n once is enough\r");
    terminal.wait_for("denied the call: once is enough").await;
    finish(child).await.expect_code(0);
    assert!(terminal.is_ordinary());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_tool_can_be_approved_for_the_whole_session() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = twice(&server);
    let (mut terminal, child) = run_at_terminal(&lab);
    read_question(&mut terminal).await;
    terminal.type_keys("a\r");
    terminal.wait_for("completed:").await;
    finish(child).await.expect_code(0);
    assert!(!terminal.rest().contains(QUESTION));
    assert_eq!(server.requests(), 2);
}

/// What was typed during the answer can't have been meant for the question.
async fn typed_before_the_question(arguments: &[&str], prompt: &str) {
    let server = HttpServer::start(Behaviour::Echo).await;
    let slow = tool_call("fetch", post(&server)).delay(Duration::from_millis(700));
    let lab = lab([slow, Answer::text("{{result:fetch}}")]);
    lab.configure(&gated(&server));
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(arguments.iter().copied()));
    if !prompt.is_empty() {
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(prompt);
    }
    lab.wait_for_model_request().await;
    terminal.type_keys("y\r\u{1b}[31my\r");
    if prompt.is_empty() {
        // No line of a run will have it.
        terminal.wait_for("no answer to it. It is ignored: y y\r\n").await;
    }
    terminal.wait_for(QUESTION).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.requests(), 0);
    terminal.type_keys(CTRL_D);
    terminal.wait_for("approval list").await;
    assert_eq!(approvals(&lab, false).await.len(), 1);
    if !prompt.is_empty() {
        // It waits in the line.
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(&format!("{CTRL_C}{CTRL_D}"));
    }
    finish(child).await.expect_code(4);
    assert!(terminal.is_ordinary());
}

#[tokio::test]
async fn what_was_typed_before_the_question_of_a_run_is_no_answer() {
    typed_before_the_question(&["run", "Go."], "").await;
}

#[tokio::test]
async fn what_was_typed_before_the_question_of_a_chat_is_no_answer() {
    typed_before_the_question(&["chat"], "Go.\r").await;
}

/// A call that needs an approval after a while, in a chat on such a terminal.
async fn typing_ahead(term: &str) -> (HttpServer, Lab, Terminal, tokio::process::Child) {
    typing_ahead_of(term, Answer::text("Done."), |lab| lab.command(["chat"])).await
}

async fn typing_ahead_of(
    term: &str,
    done: Answer,
    chat: impl FnOnce(&Lab) -> tokio::process::Command,
) -> (HttpServer, Lab, Terminal, tokio::process::Child) {
    let server = HttpServer::start(Behaviour::Echo).await;
    let slow = tool_call("fetch", post(&server)).delay(Duration::from_millis(700));
    let lab = lab([slow, done.forever()]);
    lab.configure(&gated(&server));
    let mut terminal = Terminal::of_width(200);
    let mut command = chat(&lab);
    command.env("TERM", term);
    let child = terminal.start(command);
    terminal.wait_for("> ").await;
    terminal.type_keys("Go.\r");
    lab.wait_for_model_request().await;
    (server, lab, terminal, child)
}

#[tokio::test]
async fn what_was_typed_before_a_question_waits_in_the_next_line() {
    for (term, typed, waits, sent) in [
        ("xterm", "tow\u{7f}\u{7f}wo\rlines", "lines", "two\nlines!"),
        ("dumb", "half a line", "> half a line", "half a line!"),
    ] {
        let (server, lab, mut terminal, child) = typing_ahead(term).await;
        terminal.type_keys(typed);
        terminal.wait_for(WAITS).await;
        read_question(&mut terminal).await;
        assert_eq!(server.requests(), 0);
        terminal.type_keys("y\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for(waits).await;
        assert_eq!((server.requests(), lab.simulator.requests().len()), (1, 2));
        terminal.type_keys("!\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for("> ").await;
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        assert!(terminal.is_ordinary());
        assert!(
            last_message(&lab).contains(&sent.replace('\n', "\\n")),
            "{}",
            last_message(&lab)
        );
    }
}

/// A mistyped answer isn't worth keeping, and a text is.
#[tokio::test]
async fn a_text_that_is_no_answer_waits_in_the_next_line() {
    for term in ["xterm", "dumb"] {
        let (server, lab, mut terminal, child) = typing_ahead(term).await;
        terminal.type_keys("half a li");
        terminal.wait_for(WAITS).await;
        read_question(&mut terminal).await;
        terminal.type_keys("yn\r");
        terminal.wait_for("\r\nType one of these letters and Enter.").await;
        read_question(&mut terminal).await;
        // What Ctrl-U removes, Ctrl-Y brings back.
        terminal.type_keys("Delete the other one.\u{15}\u{19}\r");
        terminal
            .wait_for("That is no answer, and waits in the next line. Type one of these letters")
            .await;
        read_question(&mut terminal).await;
        assert_eq!(server.requests(), 0);
        terminal.type_keys("y\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for("> half a li").await;
        terminal.wait_for("Delete the other one.").await;
        tokio::time::sleep(READ).await;
        assert_eq!((server.requests(), lab.simulator.requests().len()), (1, 2));
        terminal.type_keys("!\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for("> ").await;
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        let sent = last_message(&lab);
        assert!(sent.contains("half a li\\nDelete the other one.\\n!"), "{sent}");
    }
}

#[tokio::test]
async fn what_was_typed_before_a_question_can_be_recalled_after_sigterm() {
    let (_server, lab, mut terminal, child) = typing_ahead("xterm").await;
    terminal.type_keys("for the next line");
    terminal.wait_for(WAITS).await;
    read_question(&mut terminal).await;
    terminal.type_keys("n half typ");
    terminal.wait_for("half typ").await;
    kill(
        Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    finish(child).await.expect_code(130);
    assert!(terminal.is_ordinary());
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "Go.\nfor the next line\\nn half typ\n");
}

/// It ends a conversation in which nothing waits.
#[tokio::test]
async fn ctrl_d_that_is_typed_ahead_leaves_what_waits() {
    for term in ["xterm", "dumb"] {
        let slow = Answer::text("Done.").delay(Duration::from_millis(500));
        let (_server, lab, mut terminal, child) = typing_ahead_of(term, slow, |lab| lab.command(["chat"])).await;
        terminal.type_keys("half a line");
        terminal.wait_for(WAITS).await;
        read_question(&mut terminal).await;
        let mut requests = lab.simulator.watch();
        terminal.type_keys("y\r");
        requests.recv().await.unwrap();
        terminal.type_keys(CTRL_D);
        terminal.wait_for("Done.").await;
        terminal.wait_for("> half a line").await;
        terminal.type_keys("!\r");
        requests.recv().await.unwrap();
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        assert!(terminal.is_ordinary());
        assert!(last_message(&lab).contains("half a line!"), "{}", last_message(&lab));
    }
}

#[tokio::test]
async fn what_waits_when_nobody_reads_the_answers_any_more_can_be_recalled() {
    for (term, lines) in [("xterm", "Go.\nhalf a line\n"), ("dumb", "half a line\n")] {
        let unread = |lab: &Lab| {
            let mut shell = lab.command_of("/bin/sh", ["-c", "\"$COFFERDAM\" chat | true"]);
            shell.env("COFFERDAM", lab.command([""]).as_std().get_program());
            shell
        };
        let (_server, lab, mut terminal, child) = typing_ahead_of(term, Answer::text("Done."), unread).await;
        terminal.type_keys("half a line");
        terminal.wait_for(WAITS).await;
        read_question(&mut terminal).await;
        terminal.type_keys("y\r");
        terminal.wait_for("The answers can't be written any more").await;
        finish(child).await.expect_code(0);
        assert!(terminal.is_ordinary());
        let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
        assert_eq!(kept, lines);
    }
}

/// Another process decides while a reason is typed.
#[tokio::test]
async fn a_half_typed_answer_waits_in_the_next_line() {
    let (_server, lab, mut terminal, child) = typing_ahead("xterm").await;
    read_question(&mut terminal).await;
    terminal.type_keys("n it is still nee");
    terminal.wait_for("still nee").await;
    decide(&lab, &waiting(&lab).await, &["approve"]).await.expect_code(0);
    terminal.wait_for("Done.").await;
    terminal.wait_for("> n it is still nee").await;
    terminal.type_keys("ded\r");
    terminal.wait_for("Done.").await;
    terminal.wait_for("> ").await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    assert!(
        last_message(&lab).contains("n it is still needed"),
        "{}",
        last_message(&lab)
    );
}

/// A question is over before the next one appears, so the keys that answer one can reach the other.
#[tokio::test]
async fn the_answer_to_a_question_does_not_answer_the_next_one() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = twice(&server);
    let (mut terminal, child) = run_at_terminal(&lab);
    read_question(&mut terminal).await;
    terminal.type_keys("y\r");
    terminal.wait_for(QUESTION).await;
    terminal.type_keys("y\r");
    terminal.wait_for("It is ignored: y").await;
    read_question(&mut terminal).await;
    assert_eq!(server.requests(), 1);
    terminal.type_keys("n\r");
    finish(child).await.expect_code(0);
    assert_eq!(server.requests(), 1);
}

/// The calls of the turn that need no approval run meanwhile.
#[tokio::test]
async fn what_other_calls_say_waits_for_the_answer() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([
        Answer::tools([
            ToolCall::new("fetch", post(&server)),
            ToolCall::new("sleep", json!({ "ms": 1500 })),
        ]),
        Answer::text("Done."),
    ]);
    lab.configure(&gated(&server));
    let (mut terminal, child) = run_at_terminal(&lab);
    read_question(&mut terminal).await;
    terminal.type_keys("n not");
    terminal.wait_for("n not").await;
    let shown = terminal.text().len();
    tokio::time::sleep(Duration::from_secs(3)).await;
    terminal.type_keys(" now");
    terminal.wait_for(" now").await;
    assert_eq!(terminal.text().split_off(shown), " now");
    terminal.type_keys("\r");
    terminal.wait_for("sleep ok").await;
    finish(child).await.expect_code(0);
    let decided = approvals(&lab, true).await.remove(0);
    assert_eq!(text(&decided, "reason"), "not now");
}

/// Somebody who types as the question appears approves nothing.
#[tokio::test]
async fn what_was_begun_before_a_question_could_be_read_is_no_answer() {
    for (before, at_once) in [
        ("Please sa", "y y\r"),
        ("", "Please say y\r"),
        ("", "a list:\ry\r"),
        ("y", "\r"),
        ("", "y\r"),
    ] {
        let (server, lab, mut terminal, child) = typing_ahead("xterm").await;
        terminal.type_keys(before);
        terminal.wait_for(QUESTION).await;
        terminal.type_keys(at_once);
        terminal.wait_for(WAITS).await;
        read_question(&mut terminal).await;
        assert_eq!(server.requests(), 0);
        terminal.type_keys("y\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for(PROMPT).await;
        tokio::time::sleep(READ).await;
        terminal.type_keys("!\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        let typed = format!("{before}{at_once}!").replace('\r', "\\n");
        assert!(last_message(&lab).contains(&typed), "{typed}: {}", last_message(&lab));
    }
}

/// The line of an answer can be edited, and none is too long for the terminal.
#[tokio::test]
async fn the_model_reads_all_of_a_reason_and_no_key() {
    const LEFT: &str = "\u{1b}[D";
    let long = "x".repeat(4_500);
    let (full, more) = ("x".repeat(77), "\ry".repeat(23));
    for (term, typed, reason) in [
        (
            "xterm",
            format!("n too mnay{LEFT}{LEFT}\u{7f}a{LEFT}\u{1b}[3~an\u{1b}[F!\r"),
            "too manay!".to_owned(),
        ),
        (
            "xterm",
            "n \u{1b}[200~one\rtwo\u{1b}[201~\r".to_owned(),
            "one\ntwo".to_owned(),
        ),
        ("xterm", format!("n {long}{LEFT}y\r"), format!("{}yx", &long[1..])),
        // With the question, 77 letters fill a row. More rows follow than the window has.
        (
            "xterm",
            format!("n \u{1b}[200~{full}{more}\u{1b}[201~{}!\r", LEFT.repeat(more.len())),
            format!("{full}!{more}").replace('\r', "\n"),
        ),
        ("dumb", format!("n {long}.\u{7f}!\r"), format!("{long}!")),
        ("dumb", "n one\rtwo\r".to_owned(), "one\ntwo".to_owned()),
    ] {
        let server = HttpServer::start(Behaviour::Echo).await;
        let lab = fetching(&server);
        let mut terminal = Terminal::open();
        let mut command = lab.command(["run", "Go."]);
        command.env("TERM", term);
        let child = terminal.start(command);
        read_question(&mut terminal).await;
        terminal.type_keys(&typed);
        finish(child).await.expect_code(0);
        assert!(terminal.is_ordinary());
        let decided = approvals(&lab, true).await.remove(0);
        assert_eq!(text(&decided, "reason"), reason);
        assert_eq!(terminal.text().contains('\u{1b}'), term == "xterm");
    }
}

#[tokio::test]
async fn in_a_reason_that_is_taller_than_the_window_the_cursor_stands_at_its_words() {
    const LEFT: &str = "\u{1b}[D";
    const HOME: &str = "\u{1b}[H";
    const END: &str = "\u{1b}[F";
    const DELETE: &str = "\u{1b}[3~";
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let (mut terminal, child) = run_at_terminal(&lab);
    read_question(&mut terminal).await;
    let rows: Vec<String> = (10..50).map(|row| format!("row {row}")).collect();
    let pasted = rows.join("\n");
    terminal.type_keys(&format!("n \u{1b}[200~{pasted}\u{1b}[201~"));
    // 24 rows are in the window. The question takes all of a row, and a column of the next one.
    for (keys, times, row, last) in [
        ("", 0, "row 49", "row 49"),
        // To the beginning of a row, and over a line break.
        (LEFT, 6 + 22 * 7, "row 27", "row 49"),
        (LEFT, 1, "row 26", "row 49"),
        (LEFT, 7, "row 25", "row 48"),
        (HOME, 1, " n row 10", "row 33"),
        (DELETE, 2, " row 10", "row 33"),
        ("n because ", 1, " n because row 10", "row 33"),
        (END, 1, "row 49", "row 49"),
        ("\u{7f}", 1, "row 4", "row 4"),
    ] {
        terminal.type_keys(&keys.repeat(times));
        terminal.wait_for_cursor(row, last).await;
    }
    let shown = terminal.text().len();
    terminal.type_keys("\r");
    finish(child).await.expect_code(0);
    // All of it, once, is above what follows.
    let mut shown = terminal.text().split_off(shown);
    shown.truncate(shown.find("fetch denied").unwrap());
    assert_eq!(shown.matches("row 11\r").count(), 1, "{shown:?}");
    let decided = approvals(&lab, true).await.remove(0);
    assert_eq!(
        text(&decided, "reason"),
        format!("because {}", &pasted[..pasted.len() - 1])
    );
}

/// However the shell has left the terminal.
#[tokio::test]
async fn a_question_is_asked_again_when_the_shell_gives_the_terminal_back() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = twice(&server);
    let mut terminal = Terminal::open();
    let command = lab.command(["run"]);
    let mut shell = lab.command_of("bash", ["--norc", "--noprofile", "-i"]);
    shell.env("PS1", "shell> ").env("RUN", command.as_std().get_program());
    let shell = terminal.start(shell);
    terminal.wait_for("shell> ").await;
    terminal.type_keys("\"$RUN\" run Go. &\r");
    terminal.wait_for("wants to call `fetch`").await;
    tokio::time::sleep(READ).await;
    terminal.type_keys("fg\r");
    terminal.wait_for("wants to call `fetch`").await;
    read_question(&mut terminal).await;
    terminal.type_keys("y\r");
    read_question(&mut terminal).await;
    assert_eq!(server.requests(), 1);
    terminal.type_keys("n too\u{1a}");
    terminal.wait_for("Stopped").await;
    terminal.wait_for("shell> ").await;
    terminal.type_keys("fg\r");
    terminal.wait_for("wants to call `fetch`").await;
    read_question(&mut terminal).await;
    terminal.type_keys(" many\r");
    terminal.wait_for("denied the call: too many").await;
    terminal.wait_for("shell> ").await;
    terminal.type_keys("exit\r");
    finish(shell).await.expect_code(0);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn ctrl_c_at_the_question_cancels_the_run() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = twice(&server);
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(["chat"]));
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    read_question(&mut terminal).await;
    terminal.type_keys(CTRL_C);
    terminal.wait_for("cancelled").await;
    terminal.wait_for(PROMPT).await;
    // The line is for the next prompt, and not for the question.
    terminal.type_keys("/exit\r");
    finish(child).await.expect_code(130);
    assert!(terminal.is_ordinary());
    assert_eq!(server.requests(), 0);
    assert_eq!(approvals(&lab, true).await[0]["state"], "expired");
}

/// A client can't be asked. The one that may decide for itself is served with `--approve never`.
#[tokio::test]
async fn mcp_clients_are_refused_what_a_person_must_approve() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([]);
    lab.configure(&gated(&server));
    for (approve, outcome) in [(&[][..], "denied"), (&["--approve", "never"], "ok")] {
        let mut client = McpClient::start(&lab, &[&["mcp"], approve].concat()).await;
        client.call(1, "fetch", post(&server)).await;
        let answer = client.answer().await;
        let result = &answer["result"];
        assert_eq!(result["_meta"]["cofferdam/outcome"], outcome, "{answer}");
        let words = text(&result["content"][0], "text");
        assert_eq!(
            words.contains("a person must approve it"),
            outcome == "denied",
            "{answer}"
        );
        client.leave().await.1.expect_code(0);
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_writing_grant_that_nobody_is_asked_about_is_said() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([]);
    let ungated = gated(&server).replace("destructive = true", "destructive = false");
    for (configuration, is_named) in [(gated(&server), false), (ungated, true)] {
        lab.configure(&configuration);
        let checked = lab.call(["config", "check", "--output", "json"]).await;
        let checked = checked.expect_code(0).json();
        let mut found = checked["warnings"].as_array().unwrap().iter();
        let found = found
            .find(|warning| text(warning, "message").contains("no person is asked"))
            .unwrap();
        assert_eq!(text(found, "message").contains(" fetch,"), is_named, "{checked}");
    }
    for approve in ["never", "writes", "always"] {
        let mut command = lab.command(["config", "check", "--output", "json"]);
        let checked = finish(command.env("COFFERDAM_AGENT__APPROVE", approve).spawn().unwrap()).await;
        assert!(!checked.stdout.contains("no person is asked"), "{approve}: {checked}");
    }
}

/// `--always` decides about the other call of the same turn as well, as it does at a terminal.
#[tokio::test]
async fn a_decision_for_the_session_is_for_every_call_that_waits() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let call = || ToolCall::new("fetch", post(&server));
    let lab = lab([
        Answer::tools([call(), call()]),
        tool_call("fetch", post(&server)),
        Answer::text("So."),
    ]);
    lab.configure(&gated(&server));
    lab.report(4).await;
    let one = approvals(&lab, false).await.remove(0);
    decide(&lab, &one, &["approve"]).await.expect_code(0);
    let more = decide(&lab, &one, &["approve", "--always"]).await.expect_code(2).json();
    assert_eq!(more["error"]["kind"], "approval_decided");
    let open = approvals(&lab, false).await;
    let other = open.iter().find(|approval| approval["state"] == "pending").unwrap();
    decide(&lab, other, &["approve", "--always"]).await.expect_code(0);
    assert_eq!(resume(&lab, &one, 0).await["answer"], "So.");
    assert_eq!(server.requests(), 3);
    for approval in approvals(&lab, true).await {
        assert_eq!(approval["state"], "done", "{approval}");
    }
}

/// Neither another decision for the whole session nor the configuration makes a call that a person has denied.
#[tokio::test]
async fn a_denied_call_is_never_made() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let call = || ToolCall::new("fetch", post(&server));
    for options in [&[][..], &["--approve", "never"]] {
        let lab = lab([Answer::tools([call(), call()]), Answer::text("So.")]);
        lab.configure(&gated(&server));
        lab.report(4).await;
        let before = server.requests();
        let waiting = approvals(&lab, false).await;
        decide(&lab, &waiting[0], &["approve", "--always"]).await.expect_code(0);
        decide(&lab, &waiting[1], &["deny"]).await.expect_code(0);
        let session = text(&waiting[0], "session");
        let resumed = lab
            .call([&["session", "resume", session, "--output", "json"], options].concat())
            .await;
        let report = resumed.expect_code(0).json();
        assert_eq!(
            report["metrics"]["tools"]["fetch"]["outcomes"],
            json!({ "denied": 1, "ok": 1 })
        );
        assert_eq!(server.requests(), before + 1, "{options:?}");
    }
}

/// The process that asked is a conversation at its prompt, which does nothing by itself.
#[tokio::test]
async fn a_decision_says_who_goes_on() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let mut chat = lab.command(["chat"]);
    let mut chat = chat.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = chat.stdin.take().unwrap();
    stdin.write_all(b"Go.\n").await.unwrap();
    let is_asked = async || {
        let listed = lab.call(["session", "list", "--output", "json"]).await.expect_code(0);
        listed.json()[0]["outcome"] == "awaiting_approval"
    };
    while !is_asked().await {
        assert!(chat.try_wait().unwrap().is_none(), "chat has ended");
    }
    let approval = waiting(&lab).await;
    let decided = lab
        .call(["approval", "approve", text(&approval, "id")])
        .await
        .expect_code(0);
    assert!(
        decided.stderr.contains("a `chat` at its prompt with Enter"),
        "{decided}"
    );
    drop(stdin);
    chat.wait().await.unwrap();
}

/// What nobody has decided about is made if the configuration no longer asks for it, and can't be decided about afterwards.
#[tokio::test]
async fn a_call_that_needs_no_approval_any_longer_is_made() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let approval = run_until_asked(&lab).await;
    let command = ["session", "resume", text(&approval, "session"), "--approve", "never"];
    lab.call(command).await.expect_code(0);
    assert_eq!(server.requests(), 1);
    assert_eq!(approvals(&lab, true).await[0]["state"], "expired");
}

#[tokio::test]
async fn a_session_that_waits_for_one_of_two_is_listed_as_waiting() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let call = || ToolCall::new("fetch", post(&server));
    let lab = lab([Answer::tools([call(), call()]), Answer::text("So.")]);
    lab.configure(&gated(&server));
    lab.report(4).await;
    let one = approvals(&lab, false).await.remove(0);
    decide(&lab, &one, &["approve"]).await.expect_code(0);
    resume(&lab, &one, 4).await;
    let sessions = lab
        .call(["session", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    assert_eq!(sessions[0]["outcome"], "awaiting_approval");
}

/// Somebody else answers while the question is open at a terminal.
#[tokio::test]
async fn a_question_is_answered_from_elsewhere() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let (mut terminal, child) = run_at_terminal(&lab);
    terminal.wait_for(QUESTION).await;
    let approval = waiting(&lab).await;
    let denied = lab.call(["approval", "deny", text(&approval, "id"), "--reason", "Not now."]);
    let denied = denied.await.expect_code(0);
    assert!(denied.stderr.contains("the process that asked goes on"), "{denied}");
    terminal.wait_for("denied the call: Not now.").await;
    finish(child).await.expect_code(0);
    assert!(terminal.is_ordinary());
    assert_eq!(server.requests(), 0);
}

/// Nobody allows what they can't see.
#[tokio::test]
async fn a_long_input_must_be_looked_at() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let long: Vec<String> = (0..60).map(|line| format!("line {line}")).collect();
    let lab = lab([
        tool_call("echo", json!({ "lines": long, "z": "the end" })),
        Answer::text("{{result:echo}}"),
    ]);
    lab.configure(&format!(
        "{}[plugins.faulty.tools.echo]\ndestructive = true\n",
        gated(&server)
    ));
    let (mut terminal, child) = run_at_terminal(&lab);
    terminal.wait_for("[v]iew all of the input").await;
    assert!(!terminal.text().contains("the end"));
    tokio::time::sleep(READ).await;
    terminal.type_keys("y\r");
    terminal.wait_for("[v]iew all of the input").await;
    tokio::time::sleep(READ).await;
    terminal.type_keys("v\r");
    terminal.wait_for("the end").await;
    read_question(&mut terminal).await;
    terminal.type_keys("y\r");
    finish(child).await.expect_code(0);
}

/// Nobody can go on with it later.
#[tokio::test]
async fn ctrl_d_denies_in_a_session_that_is_not_kept() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(["run", "--ephemeral", "Go."]));
    read_question(&mut terminal).await;
    terminal.type_keys(CTRL_D);
    terminal.wait_for("A person denied the call.").await;
    finish(child).await.expect_code(0);
    assert_eq!(server.requests(), 0);
}

/// What was decided elsewhere while a chat waited isn't lost with its next prompt.
#[tokio::test]
async fn the_next_prompt_of_a_chat_goes_on_with_what_was_approved() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([
        tool_call("fetch", post(&server)),
        Answer::text("Fetched."),
        Answer::text("Second."),
    ]);
    lab.configure(&gated(&server));
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(["chat"]));
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    read_question(&mut terminal).await;
    terminal.type_keys(CTRL_D);
    terminal.wait_for("Another prompt goes on with it first").await;
    terminal.wait_for("both answers are paid for").await;
    terminal.wait_for(PROMPT).await;
    let approval = waiting(&lab).await;
    decide(&lab, &approval, &["approve"]).await.expect_code(0);
    terminal.type_keys("And then?\r");
    terminal.wait_for("this one is sent after it").await;
    terminal.wait_for("Fetched.").await;
    terminal.wait_for("Second.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    assert_eq!(server.requests(), 1);
}

/// The offer is the same for a run of this process and of one before it.
#[tokio::test]
async fn enter_goes_on_with_what_waits() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = fetching(&server);
    let mut terminal = Terminal::of_width(300);
    let child = terminal.start(lab.command(["chat"]));
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    read_question(&mut terminal).await;
    terminal.type_keys(CTRL_D);
    // An answer that comes too late is no prompt.
    for (keys, says) in [("\r", ""), ("n\r", "reads like an answer to the question")] {
        terminal.wait_for("Enter at an empty line goes on with it.").await;
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(keys);
        terminal.wait_for(says).await;
        read_question(&mut terminal).await;
        terminal.type_keys(CTRL_D);
    }
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(4);

    let mut terminal = Terminal::of_width(300);
    let child = terminal.start(lab.command(["chat", "--continue"]));
    terminal
        .wait_for("Another prompt goes on with it first, as far as its calls are decided")
        .await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("\r");
    read_question(&mut terminal).await;
    terminal.type_keys("y\r");
    terminal.wait_for("completed").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    assert_eq!(server.requests(), 1);
    assert_eq!(lab.simulator.requests().len(), 2);
}

/// What came of the prompt is a part of the conversation then.
#[tokio::test]
async fn ctrl_c_at_the_first_question_says_what_stays() {
    let server = HttpServer::start(Behaviour::Echo).await;
    for command in ["run", "chat"] {
        let lab = fetching(&server);
        let mut terminal = Terminal::of_width(300);
        let arguments = if command == "run" {
            vec!["run", "Go."]
        } else {
            vec!["chat"]
        };
        let child = terminal.start(lab.command(arguments));
        if command == "chat" {
            terminal.wait_for(PROMPT).await;
            terminal.type_keys("Go.\r");
        }
        read_question(&mut terminal).await;
        terminal.type_keys(CTRL_C);
        terminal.wait_for("without an answer.").await;
        if command == "chat" {
            terminal.wait_for(PROMPT).await;
            terminal.type_keys(CTRL_D);
        }
        finish(child).await;
    }
    assert_eq!(server.requests(), 0);
}

/// What a prompt of a chat left waiting, and a second prompt with a file, whose question is the first one's.
async fn asked_again(lab: &Lab) -> (Terminal, tokio::process::Child) {
    lab.write("note.txt", "A note.");
    let mut terminal = Terminal::of_width(300);
    let child = terminal.start(lab.command(["chat"]));
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    read_question(&mut terminal).await;
    terminal.type_keys(CTRL_D);
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("/attach note.txt\r");
    terminal.wait_for("goes with the next prompt").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Second.\r");
    terminal.wait_for(QUESTION).await;
    (terminal, child)
}

/// The last message of the newest request.
fn last_message(lab: &Lab) -> String {
    let requests = lab.simulator.requests();
    let messages = requests.last().unwrap().body["messages"].as_array().unwrap();
    messages.last().unwrap().to_string()
}

/// Ctrl-C at the question of the prompt before cancels both, and the second one is kept for the user.
#[tokio::test]
async fn ctrl_c_at_a_question_that_is_asked_again_keeps_the_prompt_and_its_file() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([tool_call("fetch", post(&server)), Answer::text("Done.").forever()]);
    lab.configure(&gated(&server));
    let (mut terminal, child) = asked_again(&lab).await;
    terminal.type_keys(CTRL_C);
    terminal.wait_for("Your prompt is not part of the conversation").await;
    terminal.wait_for("What was attached stays so.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Third.\r");
    terminal.wait_for("Done.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    let sent = last_message(&lab);
    assert!(sent.contains("A note.") && sent.contains("Third."), "{sent}");
    assert_eq!(server.requests(), 0);
}

/// The process ends at the question of the prompt before, by a closed terminal or a kill. The second prompt and its file are there again.
#[tokio::test]
async fn a_prompt_behind_a_question_outlives_its_process() {
    for (signal, keys, prompt) in [
        (Signal::SIGHUP, "\r", "Second."),
        (Signal::SIGKILL, "Third.\r", "Third."),
    ] {
        let server = HttpServer::start(Behaviour::Echo).await;
        let lab = lab([tool_call("fetch", post(&server)), Answer::text("Done.").forever()]);
        lab.configure(&gated(&server));
        let (_terminal, child) = asked_again(&lab).await;
        kill(Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()), signal).unwrap();
        finish(child).await;
        let mut terminal = Terminal::of_width(300);
        let child = terminal.start(lab.command(["chat", "--continue"]));
        terminal
            .wait_for("The last prompt was not sent, because the one before it has not ended: Second.")
            .await;
        terminal.wait_for("and gets its files: note.txt (").await;
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(keys);
        read_question(&mut terminal).await;
        terminal.type_keys("n\r");
        terminal.wait_for("Done.").await;
        terminal.wait_for("Done.").await;
        terminal.wait_for(PROMPT).await;
        // Enter sends nothing once both have their answers.
        terminal.type_keys("\r");
        terminal.wait_for(PROMPT).await;
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        assert_eq!(lab.simulator.requests().len(), 3);
        let sent = last_message(&lab);
        assert!(sent.contains("A note.") && sent.contains(prompt), "{sent}");
        let session = approvals(&lab, true).await[0]["session"].clone();
        let shown = lab.call(["session", "show", session.as_str().unwrap()]).await.stdout;
        assert!(
            shown.contains("you, not sent yet: Second.\n  attached: note.txt"),
            "{shown}"
        );
    }
}

/// What nobody has decided about stays open, whatever was typed meanwhile. Enter asks again and sends what was typed.
#[tokio::test]
async fn ctrl_d_at_a_question_that_is_asked_again_leaves_it_open() {
    let server = HttpServer::start(Behaviour::Echo).await;
    let lab = lab([tool_call("fetch", post(&server)), Answer::text("Done.").forever()]);
    lab.configure(&gated(&server));
    let (mut terminal, child) = asked_again(&lab).await;
    terminal.type_keys(CTRL_D);
    for keys in ["", "\r"] {
        terminal.type_keys(keys);
        if !keys.is_empty() {
            read_question(&mut terminal).await;
            terminal.type_keys(CTRL_D);
        }
        terminal.wait_for("Your prompt was not sent").await;
        terminal.wait_for("What was attached stays so.").await;
        terminal.wait_for(PROMPT).await;
        assert_eq!(lab.simulator.requests().len(), 1);
    }
    let approval = waiting(&lab).await;
    decide(&lab, &approval, &["approve"]).await.expect_code(0);
    terminal.type_keys("Third.\r");
    terminal.wait_for("Done.").await;
    terminal.wait_for("Done.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    let sent = last_message(&lab);
    assert!(sent.contains("A note.") && sent.contains("Third."), "{sent}");
    assert_eq!(server.requests(), 1);
}
