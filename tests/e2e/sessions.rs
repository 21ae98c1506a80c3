//! Sessions that survive the end of their process, with the real binary and real kills.

use cofferdam::simulator::{Answer, FaultKind, FaultPoint, ToolCall};
use cofferdam_tests::{Behaviour, HttpServer, Lab, Terminal, finish, tool_call};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Child;

use crate::{books, lab};

/// What asks the terminal to mark what is pasted: from then on a line is edited.
const PROMPT: &str = "\u{1b}[?2004h";
const UP: &str = "\u{1b}[A";
const CTRL_D: &str = "\u{4}";

async fn sessions(lab: &Lab) -> Vec<Value> {
    let listed = lab.call(["session", "list", "--output", "json"]).await.expect_code(0);
    listed.json().as_array().unwrap().clone()
}

async fn only_session(lab: &Lab) -> Value {
    let mut sessions = sessions(lab).await;
    assert_eq!(sessions.len(), 1, "{sessions:#?}");
    sessions.remove(0)
}

fn id(session: &Value) -> &str {
    session["id"].as_str().unwrap()
}

/// The kinds of a session's facts, in order.
async fn kinds(lab: &Lab, id: &str) -> Vec<String> {
    let shown = lab.call(["session", "show", id, "--output", "json"]).await;
    let facts = shown.expect_code(0).json();
    let facts = facts["facts"].as_array().unwrap().iter();
    facts
        .map(|fact| fact["fact"]["kind"].as_str().unwrap().to_owned())
        .collect()
}

async fn resume(lab: &Lab, id: &str, code: i32) -> Value {
    let resumed = lab.call(["session", "resume", id, "--output", "json"]).await;
    resumed.expect_code(code).json()
}

fn start(lab: &Lab) -> Child {
    lab.command(["run", "--output", "json", "Go."]).spawn().unwrap()
}

fn fetcher(methods: &str, url: &str) -> String {
    format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{url}/\", methods = [\"{methods}\"] }}]\n"
    )
}

/// The service gets one request, whatever becomes of the process that sent it.
#[tokio::test]
async fn a_call_that_may_have_had_an_effect_is_not_made_again() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let call = json!({ "url": server.url(), "method": "POST" });
    let lab = lab([tool_call("fetch", call), Answer::text("{{result:fetch}}")]);
    lab.configure(&fetcher("POST", &server.url()));
    let mut child = start(&lab);
    while server.requests() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();

    let session = only_session(&lab).await;
    assert_eq!((&session["outcome"], &session["in_use"]), (&json!(null), &json!(false)));
    let report = resume(&lab, id(&session), 0).await;
    let answer = report["answer"].as_str().unwrap();
    assert!(answer.contains("isn't known whether it took effect"), "{answer}");
    assert_eq!(server.requests(), 1);
    assert_eq!(only_session(&lab).await["outcome"], "completed");
    assert_eq!(
        kinds(&lab, id(&session)).await,
        [
            "opened",
            "prompted",
            "attempt_started",
            "attempt_ended",
            "answered",
            "call_admitted",
            "reopened",
            "call_ended",
            "attempt_started",
            "attempt_ended",
            "answered",
            "run_ended",
        ]
    );
}

/// It can have no effect, so nobody needs to know that it was made twice.
#[tokio::test]
async fn a_call_without_effects_is_made_again() {
    let lab = lab([tool_call("loop_forever", json!({})), Answer::text("done")]);
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n[plugins.faulty.limits]\ntimeout = \"20s\"\nfuel = 1000000000000\n");
    let mut child = start(&lab);
    let id = loop {
        if let [session] = &sessions(&lab).await[..]
            && kinds(&lab, id(session)).await.last().unwrap() == "call_admitted"
        {
            break id(session).to_owned();
        }
    };
    child.kill().await.unwrap();
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n[plugins.faulty.limits]\ntimeout = \"100ms\"\n");
    assert_eq!(resume(&lab, &id, 0).await["answer"], "done");
    let kinds = kinds(&lab, &id).await;
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!((count("call_admitted"), count("call_ended")), (2, 1), "{kinds:?}");
}

/// What was paid for the answer that never ended is counted, and the answer is asked for again.
#[tokio::test]
async fn a_run_killed_in_the_middle_of_an_answer_is_resumed() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab([stalled, Answer::text("At last."), Answer::text("Twice two.")]);
    let mut child = start(&lab);
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    let session = only_session(&lab).await;
    assert_eq!(session["title"], "Go.");

    // Another prompt can't follow one without an answer.
    let refused = lab
        .call(["run", "--session", id(&session), "--output", "json", "More."])
        .await;
    let refused = refused.expect_code(2).json();
    assert_eq!(refused["error"]["kind"], "session_unfinished", "{refused}");

    let report = resume(&lab, &id(&session)[..13], 0).await;
    assert_eq!(
        (&report["answer"], &report["session_id"]),
        (&json!("At last."), &session["id"])
    );
    let spent = report["budget"][0]["spent_usd"].as_str().unwrap();
    assert!(
        spent.parse::<f64>().unwrap() > 0.04,
        "the lost attempt is charged as reserved: {spent}"
    );

    let nothing = lab.call(["session", "resume", id(&session)]).await.expect_code(2);
    assert!(nothing.stderr.contains("its last run ended"), "{nothing}");

    let more = lab
        .call(["run", "--session", id(&session), "--output", "json", "More."])
        .await;
    assert_eq!(more.expect_code(0).json()["answer"], "Twice two.");
    let sent = lab.simulator.requests();
    let messages = sent.last().unwrap().body.to_string();
    assert!(
        messages.contains("Go.") && messages.contains("At last.") && messages.contains("More."),
        "{messages}"
    );
    assert!(!messages.contains("never"), "{messages}");
}

/// It waits for the permit of the other one when the run is cancelled. So the model reads that it was not made.
#[tokio::test]
async fn a_call_that_waited_in_the_queue_has_not_begun() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let calls = ["a", "b"].map(|path| {
        let input = json!({ "url": format!("{}/{path}", server.url()), "method": "POST" });
        ToolCall::new("fetch", input)
    });
    let lab = lab([Answer::tools(calls), Answer::text("Fine.")]);
    lab.configure(&format!(
        "{}[plugins.faulty.limits]\nconcurrency = 1\ntimeout = \"60s\"\n",
        fetcher("POST", &server.url())
    ));
    let child = lab.command(["run", "--session", "s", "Go."]).spawn().unwrap();
    while server.requests() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    finish(child).await.expect_code(130);
    let kinds = kinds(&lab, "s").await;
    let count = |kind: &str| kinds.iter().filter(|found| *found == kind).count();
    assert_eq!(
        (count("call_admitted"), count("call_not_begun"), count("call_ended")),
        (2, 1, 1),
        "{kinds:?}"
    );
    lab.call(["run", "--session", "s", "More."]).await.expect_code(0);
    let sent = lab.simulator.requests().pop().unwrap().body.to_string();
    assert_eq!(
        sent.matches("The call was not made: the run ended before it").count(),
        1,
        "{sent}"
    );
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_session_is_driven_by_one_process() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab([stalled.forever()]);
    let mut child = start(&lab);
    lab.wait_for_model_request().await;
    let session = only_session(&lab).await;
    assert_eq!(session["in_use"], true);
    for arguments in [
        &["run", "--session", id(&session), "More."][..],
        &["session", "resume", id(&session)],
    ] {
        let refused = lab.call(arguments.iter().copied()).await.expect_code(2);
        let said = format!("Z, by the process {}", child.id().unwrap());
        assert!(
            refused.stderr.contains("is in use since") && refused.stderr.contains(&said),
            "{refused}"
        );
    }
    let refused = lab.call(["session", "delete", id(&session)]).await.expect_code(1);
    assert!(refused.stderr.contains("is in use since"), "{refused}");
    child.kill().await.unwrap();
    lab.call(["session", "delete", id(&session)]).await.expect_code(0);
    assert!(sessions(&lab).await.is_empty());
}

#[tokio::test]
async fn a_session_that_is_over_is_not_resumed_and_its_changes_are_not_listed() {
    let lab = lab([Answer::text("Hello.").forever()]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    lab.call(["run", "--session", "s", "Go."]).await.expect_code(0);
    lab.configure("[plugins]\n");
    let refused = lab.call(["session", "resume", "s"]).await.expect_code(2);
    assert!(
        refused.stderr.contains("nothing is left to do in the session s"),
        "{refused}"
    );
    assert!(!refused.stderr.contains("is gone"), "{refused}");
    let goes_on = lab.call(["run", "--session", "s", "More."]).await.expect_code(0);
    assert!(goes_on.stderr.contains("is gone"), "{goes_on}");
}

#[tokio::test]
async fn sessions_that_are_not_to_be_kept_leave_nothing() {
    let lab = lab([Answer::text("Hello.").forever()]);
    lab.call(["run", "--ephemeral", "Go."]).await.expect_code(0);
    assert!(sessions(&lab).await.is_empty());
    let refused = lab
        .call(["run", "--ephemeral", "--session", "x", "Go."])
        .await
        .expect_code(2);
    assert!(refused.stderr.contains("cannot be used with"), "{refused}");
    lab.configure("[sessions]\nkeep = false\n");
    lab.call(["run", "Go."]).await.expect_code(0);
    assert!(sessions(&lab).await.is_empty());
    let refused = lab.call(["chat", "--continue"]).await.expect_code(2);
    assert!(refused.stderr.contains("[sessions] keep"), "{refused}");
}

/// The clock can't be set here, so what it showed before is written into the books.
#[tokio::test]
async fn an_old_session_is_deleted_once_its_age_is_no_error_of_the_clock() {
    let lab = lab([Answer::text("One."), Answer::text("Two."), Answer::text("Three.")]);
    let run_as = async |name: &str| lab.call(["run", "--session", name, "Go."]).await.expect_code(0);
    run_as("old").await;
    let books = books(&lab);
    let shows = |table: &str, column: &str, value: &str| {
        let changed = books.execute(&format!("UPDATE {table} SET {column} = {value}"), []);
        assert_eq!(changed.unwrap(), 1, "{table}");
    };
    shows("sessions", "changed_at", "'2020-01-31T12:00:00Z'");
    shows("clock", "seconds", "unixepoch('2020-01-31 12:00:00')");
    run_as("first-day").await;
    assert_eq!(
        sessions(&lab).await.len(),
        2,
        "as far as the program knows, this may be 2020"
    );

    let yesterday = "UPDATE clock SET seconds = unixepoch() - 86400 WHERE seconds > unixepoch() - 3600";
    assert_eq!(books.execute(yesterday, []).unwrap(), 1);
    run_as("second-day").await;
    let ids: Vec<String> = sessions(&lab)
        .await
        .iter()
        .map(|session| id(session).to_owned())
        .collect();
    assert_eq!(ids, ["second-day", "first-day"]);
}

#[tokio::test]
async fn sessions_are_deleted_by_id_and_by_tenant() {
    let lab = lab([Answer::text("Hello.").forever()]);
    for _ in 0..3 {
        lab.call(["run", "Go."]).await.expect_code(0);
    }
    let all = sessions(&lab).await;
    let unknown = lab
        .call(["session", "delete", id(&all[0]), "nothing"])
        .await
        .expect_code(1);
    assert!(unknown.stderr.contains("there is no session `nothing`"), "{unknown}");
    assert_eq!(sessions(&lab).await.len(), 2);
    // They began within a minute, and ids begin with the time.
    let ambiguous = lab.call(["session", "show", &id(&all[1])[..8]]).await.expect_code(2);
    assert!(ambiguous.stderr.contains("several sessions begin with"), "{ambiguous}");
    // An empty variable in a script names nothing.
    lab.call(["session", "delete", ""]).await.expect_code(1);
    assert_eq!(sessions(&lab).await.len(), 2);
    lab.call(["session", "delete", "--tenant", "other"])
        .await
        .expect_code(0);
    assert_eq!(sessions(&lab).await.len(), 2);
    lab.call(["session", "delete", "--tenant", "default"])
        .await
        .expect_code(0);
    assert!(sessions(&lab).await.is_empty());
    // What was spent stays.
    let export = lab.call(["budget", "export"]).await.expect_code(0);
    assert_eq!(export.stdout.lines().count(), 3, "{export}");
}

/// A big plugin would fill the screen.
#[tokio::test]
async fn many_new_tools_are_one_line() {
    let lab = lab([Answer::text("Hello.").forever()]);
    lab.call(["run", "Go."]).await.expect_code(0);
    let session = only_session(&lab).await;
    lab.configure("[plugins.faulty]\ncomponent = \"builtin:faulty\"\n");
    let ran = lab.call(["run", "--session", id(&session), "Go."]).await.expect_code(0);
    let lines = ran.stderr.lines().filter(|line| line.contains("since the session"));
    let lines: Vec<&str> = lines.collect();
    let [line] = lines[..] else { panic!("{ran}") };
    assert!(line.contains(" tools are new: `") && line.contains(" more"), "{line}");
}

#[tokio::test]
async fn what_differs_from_before_is_said() {
    let lab = lab([Answer::text("Hello.").forever()]);
    lab.call(["run", "Go."]).await.expect_code(0);
    let session = only_session(&lab).await;
    let same = lab.call(["run", "--session", id(&session), "Go."]).await.expect_code(0);
    assert!(!same.stderr.contains("since the session"), "{same}");
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let with_tool = lab.call(["run", "--session", id(&session), "Go."]).await.expect_code(0);
    assert!(with_tool.stderr.contains("the tool `calculate` is new"), "{with_tool}");
    lab.configure("");
    let other = [
        "run",
        "--session",
        id(&session),
        "--system",
        "Be brief.",
        "--model",
        "claude-haiku-4-5",
        "Go.",
    ];
    let other = lab.call(other).await.expect_code(0);
    for change in [
        "the system prompt changed",
        "the tool `calculate` is gone",
        "the model is now `claude-haiku-4-5`, before it was `claude-sonnet-5-5`",
    ] {
        assert!(other.stderr.contains(change), "{change}: {other}");
    }
}

#[tokio::test]
async fn a_chat_goes_on_where_it_was_killed() {
    let stalled = Answer::text("never").with_fault(FaultKind::Stall, FaultPoint::Events(3));
    let lab = lab([stalled, Answer::text("At last."), Answer::text("Twice two.")]);
    let mut child = lab
        .command(["chat"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"First question.\n")
        .await
        .unwrap();
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    // Nobody is charged for having looked.
    let looked = lab.call(["chat", "--continue"]).await.expect_code(0);
    assert!(
        looked.stderr.contains("Enter at an empty line goes on with it"),
        "{looked}"
    );
    assert_eq!(lab.simulator.requests().len(), 1);
    let chat = lab
        .call_with_input(["chat", "--continue"], "\nSecond question.\n")
        .await
        .expect_code(0);
    assert!(
        chat.stdout.contains("At last.") && chat.stdout.contains("Twice two."),
        "{chat}"
    );
    assert!(chat.stderr.contains("not answered to the end"), "{chat}");
    // What the attempt cost that nobody saw the end of.
    let export = lab.call(["budget", "export"]).await.expect_code(0);
    let row = export
        .json_lines()
        .into_iter()
        .find(|row| row["state"] == "charged")
        .unwrap();
    let charged = row["reserved_usd"].as_str().unwrap().trim_end_matches('0');
    let said = chat
        .stderr
        .lines()
        .find(|line| line.contains("cut off before its answer"));
    assert!(
        said.is_some_and(|line| line.contains(&format!("charged: ${charged}"))
            && line.contains(&row["reserved_at"].as_str().unwrap()[..10])),
        "{row} {chat}"
    );
    // The command that the line names.
    let words = said
        .unwrap()
        .split_once("`cofferdam ")
        .unwrap()
        .1
        .split('`')
        .next()
        .unwrap();
    let words = words.replace("AMOUNT", "0.000001").replace("TEXT", "bill");
    lab.call(words.split(' ')).await.expect_code(0);
    let session = only_session(&lab).await;
    assert_eq!(
        (&session["title"], &session["outcome"]),
        (&json!("First question."), &json!("completed"))
    );
    let shown = lab.call(["session", "show", id(&session)]).await.expect_code(0);
    for said in [
        "you: First question.",
        "model: At last.",
        "you: Second question.",
        "model: Twice two.",
    ] {
        assert!(shown.stdout.contains(said), "{said}: {shown}");
    }
}

/// People can read it, and the model doesn't.
#[tokio::test]
async fn what_had_arrived_of_an_answer_is_kept_beside_the_conversation() {
    let cut = Answer::text("Half an answer that").with_fault(FaultKind::Cut, FaultPoint::Events(4));
    let stalled = Answer::text("Half of another").with_fault(FaultKind::Stall, FaultPoint::Events(4));
    let lab = lab([cut.times(3), stalled, Answer::text("Whole.")]);
    let failed = lab
        .call(["run", "--session", "s", "--output", "json", "First."])
        .await
        .expect_code(1)
        .json();
    assert!(
        failed["partial_text"].as_str().unwrap().starts_with("Half an"),
        "{failed:#}"
    );
    assert_eq!(
        (&failed["answer"], &failed["error"]["kind"]),
        (&json!(""), &json!("stream_cut"))
    );

    let mut requests = lab.simulator.watch();
    let command = ["run", "--session", "s", "--output", "stream-json", "Second."];
    let mut child = lab.command(command).spawn().unwrap();
    requests.recv().await.unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut line = async || lines.next_line().await.unwrap().unwrap();
    while !line().await.contains("text_delta") {}
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGTERM).unwrap();
    let report: Value = loop {
        let line = line().await;
        if line.starts_with("{\"event\":\"report\"") {
            break serde_json::from_str(&line).unwrap();
        }
    };
    finish(child).await.expect_code(130);
    assert!(
        report["partial_text"].as_str().unwrap().starts_with("Half of"),
        "{report:#}"
    );

    let whole = lab.call(["run", "--session", "s", "--output", "json", "Third."]).await;
    let whole = whole.expect_code(0).json();
    assert!(whole.get("partial_text").is_none(), "{whole:#}");
    let sent = lab.simulator.requests().pop().unwrap().body;
    assert!(!sent.to_string().contains("Half"), "{sent:#}");
    let shown = lab.call(["session", "show", "s"]).await.expect_code(0).stdout;
    for said in [
        "model, cut off: Half an",
        "model, cut off: Half of",
        "the run ended: cancelled",
        "model: Whole.",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // Why the first run failed, as its report said.
    for (label, key) in [("error", "message"), ("request id", "request_id"), ("hint", "hint")] {
        let said = format!("  {label}: {}\n", failed["error"][key].as_str().unwrap());
        assert!(shown.contains(&said), "{said}: {shown}");
    }
}

#[tokio::test]
async fn a_session_can_have_a_name() {
    let lab = lab([Answer::text("Hello.").forever()]);
    let begun = lab.call(["run", "--session", "nightly", "Go."]).await.expect_code(0);
    assert!(begun.stderr.contains("`nightly` is new"), "{begun}");
    let more = lab.call(["run", "--session", "nightly", "More."]).await.expect_code(0);
    assert!(!more.stderr.contains("is new"), "{more}");
    assert_eq!(only_session(&lab).await["id"], "nightly");
    let wrong = lab.call(["run", "--session", "../x", "Go."]).await.expect_code(2);
    assert!(wrong.stderr.contains("isn't a valid id of a session"), "{wrong}");
}

/// Neither the API key nor what `[secrets]` attaches is anywhere in what is kept.
/// A name is new; what looks like a generated id was mistyped.
#[tokio::test]
async fn a_mistyped_id_begins_no_session() {
    let lab = lab([Answer::text("Hello.").forever()]);
    for command in [
        &["run", "--quiet", "--session", "01a22c37-d4f7", "Go."][..],
        &["chat", "--session", "01a22c37-d4f7"],
    ] {
        let refused = lab.call(command.iter().copied()).await.expect_code(2);
        assert!(
            refused.stderr.contains("there is no session `01a22c37-d4f7`") && refused.stderr.contains("choose a name"),
            "{refused}"
        );
    }
    assert!(sessions(&lab).await.is_empty() && lab.simulator.requests().is_empty());
    lab.call(["run", "--session", "20261130", "Go."]).await.expect_code(0);
}

/// What a run that is left has brought is sent, and paid for, with every later prompt.
#[tokio::test]
async fn a_chat_says_what_stays_of_a_run_that_was_killed_in_a_call() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let lab = lab([
        tool_call("fetch", json!({ "url": server.url(), "method": "POST" })),
        Answer::text("Fine."),
    ]);
    lab.configure(&fetcher("POST", &server.url()));
    let mut child = start(&lab);
    while server.requests() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    child.kill().await.unwrap();
    let chat = lab.call_with_input(["chat", "--continue"], "Forget it.\n").await;
    let chat = chat.expect_code(0);
    assert!(
        chat.stderr
            .contains("the prompt with what came of it stays in the conversation")
            && !chat.stderr.contains("gives it up"),
        "{chat}"
    );
    let sent = lab.simulator.requests().pop().unwrap().body["messages"].to_string();
    assert!(
        sent.contains("Go.") && sent.contains("isn't known whether it took effect"),
        "{sent}"
    );
}

#[tokio::test]
async fn secrets_are_not_kept() {
    const SECRET: &str = "s3cr3t-that-must-not-be-kept";
    let server = HttpServer::start(Behaviour::Echo).await;
    let call = json!({ "url": server.url(), "method": "GET" });
    let lab = lab([tool_call("fetch", call), Answer::text("{{result:fetch}}")]);
    lab.configure(&format!(
        "[secrets]\nTOKEN = {{ env = \"TOKEN\" }}\n[plugins.faulty]\ncomponent = \"builtin:faulty\"\n\
         http = [{{ url = \"{}/\", headers = {{ authorization = \"Bearer ${{secret:TOKEN}}\" }} }}]\n",
        server.url()
    ));
    let mut command = lab.command(["run", "--output", "json", "Go."]);
    let report = finish(command.env("TOKEN", SECRET).spawn().unwrap())
        .await
        .expect_code(0)
        .json();
    assert!(server.heads()[0].contains(SECRET), "the service did not get it");
    assert!(report["answer"].as_str().unwrap().contains("authorization"), "{report}");
    let session = only_session(&lab).await;
    let exported = lab.call(["session", "export", id(&session)]).await.expect_code(0);
    let lines = exported.json_lines();
    assert_eq!(lines[0]["session"]["id"], session["id"]);
    assert_eq!(lines.len() as u64, session["facts"].as_u64().unwrap() + 1);
    let mut files = 0;
    for entry in std::fs::read_dir(lab.path("data/cofferdam")).unwrap() {
        let Ok(bytes) = std::fs::read(entry.unwrap().path()) else {
            continue;
        };
        files += 1;
        for secret in [SECRET, cofferdam_tests::KEY] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} is kept");
        }
    }
    assert!(files > 0);
}

#[tokio::test]
async fn a_resumed_run_says_what_it_cost_and_what_the_session_cost() {
    let lab = lab([Answer::text("One."), Answer::text("Two.")]);
    let run = || lab.call(["run", "--session", "s", "Go."]);
    let first = run().await.expect_code(0);
    assert!(!first.stderr.contains("of the session's"), "{first}");
    let second = run().await.expect_code(0);
    let (_, costs) = second.stderr.split_once(" of the session's $").unwrap();
    let in_all: f64 = costs[..8].parse().unwrap();
    let spent = lab
        .call(["budget", "show", "--by", "session", "--output", "json"])
        .await;
    let spent = spent.expect_code(0).json();
    assert_eq!(spent[0]["spent_usd"], format!("{in_all:.6}"), "{second}");
}

/// Both find that there is no session of this name yet.
#[tokio::test]
async fn of_two_that_begin_a_session_the_second_reads_who_has_it() {
    let slow = || Answer::text("An answer.").delay(std::time::Duration::from_millis(1_500));
    let lab = lab([slow(), slow()]);
    // The prompt is read after the session was looked for.
    let start = || {
        let mut command = lab.command(["chat", "--session", "ticket"]);
        command.stdin(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut both = [start(), start()];
    for child in &mut both {
        let mut stderr = BufReader::new(child.stderr.as_mut().unwrap()).lines();
        while !stderr.next_line().await.unwrap().unwrap().contains("is new") {}
    }
    let first = both[0].id().unwrap();
    let mut requests = lab.simulator.watch();
    both[0].stdin.as_mut().unwrap().write_all(b"Go.\n").await.unwrap();
    requests.recv().await.unwrap();
    let [winner, mut loser] = both;
    loser.stdin.as_mut().unwrap().write_all(b"Go.\n").await.unwrap();
    drop(loser.stdin.take());
    let lost = finish(loser).await;
    assert!(lost.stderr.contains(&format!("by the process {first}")), "{lost}");
    // Nothing of it is in that session.
    assert!(lost.stderr.contains("`/clear` begins another session"), "{lost}");
    assert!(!lost.stderr.contains("brings it back"), "{lost}");
    drop(winner);
}

/// The chat that was second goes on with the session, whether the first one has ended its run or was killed in it.
#[tokio::test]
async fn a_chat_takes_the_session_over_that_another_one_began() {
    for is_killed in [false, true] {
        let first = match is_killed {
            true => Answer::fault(FaultKind::Stall, FaultPoint::Request),
            false => Answer::text("One."),
        };
        let lab = lab([first, Answer::text("Two.").forever()]);
        lab.write("note.txt", "A note.");
        let start = async || {
            let mut terminal = Terminal::of_width(300);
            let child = terminal.start(lab.command(["chat", "--session", "ticket"]));
            terminal.wait_for(PROMPT).await;
            (terminal, child)
        };
        let (mut winner, mut winning) = start().await;
        let (mut loser, losing) = start().await;
        let mut requests = lab.simulator.watch();
        winner.type_keys("Go.\r");
        requests.recv().await.unwrap();
        loser.type_keys("/attach note.txt\r");
        loser.wait_for("goes with the next prompt").await;
        loser.wait_for(PROMPT).await;
        for keys in ["Mine.\r", "\r"] {
            loser.type_keys(keys);
            loser.wait_for("is in use since").await;
            loser
                .wait_for("once the other process has ended; `/clear` begins")
                .await;
            loser.wait_for("What was attached stays so.").await;
            loser.wait_for(PROMPT).await;
        }
        if is_killed {
            winning.kill().await.unwrap();
        } else {
            winner.wait_for(PROMPT).await;
            winner.type_keys(CTRL_D);
            finish(winning).await.expect_code(0);
        }
        loser.type_keys("\r");
        loser.wait_for("so this chat goes on with it").await;
        if is_killed {
            loser.wait_for("The last prompt was not answered to the end: Go.").await;
            loser
                .wait_for("Your prompt was not sent, because of what that process has left.")
                .await;
            loser.wait_for(PROMPT).await;
            loser.type_keys("\r");
            loser.wait_for("Two.").await;
            loser.wait_for(PROMPT).await;
            loser.type_keys(UP);
            loser.wait_for("> Mine.").await;
            loser.type_keys("\r");
        }
        loser.wait_for("Two.").await;
        loser.wait_for(PROMPT).await;
        loser.type_keys(CTRL_D);
        finish(losing).await.expect_code(0);
        let shown = loser.text();
        let are_lost = ["is lost", "not kept", "ERROR"].map(|words| shown.contains(words));
        assert_eq!(are_lost, [false; 3], "{shown}");
        let sent = lab.simulator.requests().pop().unwrap().body["messages"].clone();
        let sent = sent.as_array().unwrap();
        assert_eq!(
            (sent.len(), sent[0]["content"].as_array().unwrap().len()),
            (3, 1),
            "{sent:#?}"
        );
        let last = sent[2]["content"].to_string();
        assert!(last.contains("A note.") && last.contains("Mine."), "{last}");
        let kinds = kinds(&lab, "ticket").await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "reopened").count(), 1, "{kinds:?}");
    }
}

#[tokio::test]
async fn continue_says_which_newer_session_it_leaves_out() {
    let lab = lab([Answer::text("An answer.").forever()]);
    lab.call(["run", "--session", "older", "Go."]).await.expect_code(0);
    let mut command = lab.command(["chat", "--session", "newer"]);
    let mut newer = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
    newer.stdin.as_mut().unwrap().write_all(b"Go.\n").await.unwrap();
    let mut stderr = BufReader::new(newer.stderr.as_mut().unwrap()).lines();
    while !stderr.next_line().await.unwrap().unwrap().contains("so far") {}
    let chat = lab
        .call_with_input(["chat", "--continue"], "More.\n")
        .await
        .expect_code(0);
    let says = "The session newer is newer, and in use by another process.\nGoing on with the session older:";
    assert!(chat.stderr.contains(says), "{chat}");
}

#[tokio::test]
async fn nothing_is_recalled_where_lines_are_not_edited() {
    let lab = lab([Answer::error(400)]);
    let ran = lab.call_with_input(["chat"], "Go.\n").await;
    assert!(ran.stderr.contains("is not part of the conversation"), "{ran}");
    assert!(!ran.stderr.contains("Up brings it back"), "{ran}");
}

/// What happens to a disk that is full: no file can be written, until it is emptied.
fn fill_the_disk(child: &Child, full: bool) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    let limit = Rlimit {
        current: full.then_some(0),
        maximum: None,
    };
    prlimit(Pid::from_raw(pid), Resource::Fsize, limit).unwrap();
}

/// The disk is full while the answer arrives, and at the end it is still full, or it isn't.
#[tokio::test]
async fn a_chat_says_what_it_could_not_write_and_tries_again() {
    for is_freed in [false, true] {
        let lab = lab([
            Answer::text("One."),
            Answer::text("Two.").delay(std::time::Duration::from_millis(500)),
        ]);
        let mut child = lab
            .command(["chat"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let mut wait_for = async |words: &str| {
            loop {
                let line = stderr.next_line().await.unwrap().unwrap_or_else(|| panic!("{said}"));
                said += &format!("{line}\n");
                if line.contains(words) {
                    return line;
                }
            }
        };
        let mut requests = lab.simulator.watch();
        stdin.write_all(b"First.\n").await.unwrap();
        let first = wait_for("so far").await;
        requests.recv().await.unwrap();
        stdin.write_all(b"Second.\n").await.unwrap();
        requests.recv().await.unwrap();
        fill_the_disk(&child, true);
        let second = wait_for("so far").await;
        let cost = |line: &str| -> f64 {
            line.split_once('$')
                .unwrap()
                .1
                .split(' ')
                .next()
                .unwrap()
                .parse()
                .unwrap()
        };
        assert!(cost(&second) > cost(&first) * 1.5, "{first} {second}");
        wait_for("warning: the session could not be written to its end: ").await;
        if is_freed {
            fill_the_disk(&child, false);
        }
        drop(stdin);
        wait_for(match is_freed {
            true => "The session is written to its end now.",
            false => {
                "warning: the end of the session is lost unless the last try, at the exit, writes it; what isn't booked by then is charged as it was reserved: "
            }
        })
        .await;
        assert_eq!(child.wait().await.unwrap().code(), Some(0));

        let export = lab.call(["budget", "export"]).await.expect_code(0);
        let states: Vec<_> = export.json_lines().iter().map(|row| row["state"].clone()).collect();
        assert_eq!(
            states,
            ["settled", if is_freed { "settled" } else { "charged" }],
            "{said}"
        );
        let session = only_session(&lab).await;
        let shown = lab.call(["session", "show", id(&session)]).await.expect_code(0);
        assert_eq!(shown.stdout.contains("model: Two."), is_freed, "{shown}");
    }
}
