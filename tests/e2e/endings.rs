//! Every ending of a run with the real binary: its name, exit code and report.

use std::time::Duration;

use cofferdam::events::Ending;
use cofferdam::simulator::{Answer, ErrorAnswer, FaultKind, FaultPoint, MessageAnswer, ReceivedRequest, ToolCall};
use cofferdam_tests::{faulty, finish, tool_call};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab;

fn stopped_with(reason: &str) -> Answer {
    let message = MessageAnswer {
        text: "So far.".to_owned(),
        stop_reason: Some(reason.to_owned()),
        ..MessageAnswer::default()
    };
    Answer::message(message)
}

#[track_caller]
fn check(report: &Value, ending: Ending) {
    assert_eq!(report["outcome"], ending.name(), "{report:#}");
    for key in [
        "session_id",
        "tenant",
        "answer",
        "model",
        "iterations",
        "degraded",
        "metrics",
        "breakers",
        "budget",
    ] {
        assert!(!report[key].is_null(), "{key}: {report:#}");
    }
}

#[tokio::test]
async fn completed() {
    for reason in ["end_turn", "stop_sequence"] {
        let lab = lab([stopped_with(reason)]);
        let report = lab.report(0).await;
        check(&report, Ending::Completed);
        assert_eq!((&report["answer"], &report["error"]), (&json!("So far."), &Value::Null));
    }
}

#[tokio::test]
async fn truncated_and_the_truncated_call_is_not_made() {
    let message = MessageAnswer {
        text: "I will".to_owned(),
        tools: vec![ToolCall::truncated("echo", r#"{"a": "b"#)],
        stop_reason: Some("max_tokens".to_owned()),
        ..MessageAnswer::default()
    };
    let lab = lab([Answer::message(message)]);
    lab.configure(&faulty(""));
    let report = lab.report(1).await;
    check(&report, Ending::Truncated);
    assert_eq!(
        (&report["metrics"]["tool_calls"], &report["answer"]),
        (&json!(0), &json!("I will"))
    );
}

#[tokio::test]
async fn refused() {
    let lab = lab([stopped_with("refusal")]);
    check(&lab.report(1).await, Ending::Refused);
}

#[tokio::test]
async fn context_overflow_by_stop_reason() {
    let lab = lab([stopped_with("model_context_window_exceeded")]);
    check(&lab.report(1).await, Ending::ContextOverflow);
}

fn too_long() -> Answer {
    Answer::error_with(ErrorAnswer {
        status: 400,
        message: Some("prompt is too long: 210000 tokens > 200000 maximum".to_owned()),
        ..ErrorAnswer::default()
    })
}

#[tokio::test]
async fn context_overflow_with_nothing_left_to_trim() {
    let lab = lab([too_long()]);
    let report = lab.report(1).await;
    check(&report, Ending::ContextOverflow);
    assert_eq!(report["error"]["kind"], "context_overflow");
}

#[tokio::test]
async fn a_long_result_is_trimmed_and_the_run_goes_on() {
    let lab = lab([
        tool_call("big_output", json!({ "bytes": 10_000 })),
        too_long(),
        Answer::text("Fine."),
    ]);
    lab.configure(&faulty(""));
    check(&lab.report(0).await, Ending::Completed);
    let requests = lab.simulator.requests();
    let result = |index: usize| requests[index].body["messages"][2]["content"][0]["content"][0]["text"].clone();
    assert_eq!(result(1).as_str().unwrap().len(), 10_000);
    assert!(result(2).as_str().unwrap().contains("[trimmed: "), "{}", result(2));
}

/// A long result is paid for again in every later model request, and would displace other results.
#[tokio::test]
async fn a_flood_is_truncated_and_a_small_result_beside_it_stays() {
    let both = Answer::tools([
        ToolCall::new("echo", json!({ "text": "honest" })),
        ToolCall::new("big_output", json!({ "bytes": 900_000 })),
    ]);
    for (key, most) in [("", 65_536), ("[agent]\nmax_result_bytes = \"2KiB\"\n", 2_048)] {
        let lab = lab([both.clone(), Answer::text("Fine.")]);
        lab.configure(&format!("{key}{}", faulty("")));
        let report = lab.report(0).await;
        check(&report, Ending::Completed);
        assert_eq!(report["metrics"]["history_trims"], 0);
        let results = &lab.simulator.requests()[1].body["messages"][2]["content"];
        assert!(results[0].to_string().contains("honest"), "{}", results[0]);
        let [text, note] = [0, 1].map(|part| results[1]["content"][part]["text"].as_str().unwrap());
        assert_eq!(text.len(), most);
        assert_eq!(
            note,
            format!("[cut: {} of 900000 bytes; ask for less at a time]", 900_000 - most)
        );
    }
}

#[tokio::test]
async fn context_overflow_after_two_trims() {
    let lab = lab([
        tool_call("big_output", json!({ "bytes": 10_000 })),
        tool_call("big_output", json!({ "bytes": 20_000 })),
        too_long().forever(),
    ]);
    lab.configure(&faulty(""));
    let report = lab.report(1).await;
    check(&report, Ending::ContextOverflow);
    assert_eq!(report["metrics"]["history_trims"], 2);
    let results = |request: &ReceivedRequest| {
        [2, 4].map(|message| {
            let text = &request.body["messages"][message]["content"][0]["content"][0]["text"];
            text.as_str().map_or(0, str::len)
        })
    };
    let requests = lab.simulator.requests();
    let [_, _, whole, older, newest] = &requests[..] else {
        panic!("two calls, then three attempts: {} requests", requests.len())
    };
    // The older result is dropped first. Of the newest one, a part is kept.
    assert_eq!(results(whole), [10_000, 20_000]);
    let [first, second] = results(older);
    assert!(first < 100 && second == 20_000, "{first}, {second}");
    let [first, second] = results(newest);
    assert!(first < 100 && (1_000..1_200).contains(&second), "{first}, {second}");
}

#[tokio::test]
async fn model_failed() {
    for (answer, kind) in [
        (Answer::error(401), "authentication"),
        (Answer::error(400), "invalid_request"),
        (Answer::error(500).forever(), "server_error"),
        (stopped_with("sideways"), "unknown_stop_reason"),
        (stopped_with("tool_use"), "malformed_answer"),
        (stopped_with("pause_turn").forever(), "too_many_pauses"),
        (
            Answer::raw(200, "text/event-stream", "no events here").forever(),
            "stream_cut",
        ),
    ] {
        let lab = lab([answer]);
        let report = lab.report(1).await;
        check(&report, Ending::ModelFailed);
        assert_eq!(report["error"]["kind"], kind, "{report:#}");
    }
}

#[tokio::test]
async fn a_paused_answer_is_continued_five_times() {
    let lab = lab([stopped_with("pause_turn").times(5), Answer::text(" Done.")]);
    let report = lab.report(0).await;
    assert_eq!(report["answer"], "So far.So far.So far.So far.So far. Done.");
    // Only an answer with the vendor's own tools may be the last message. Any other is followed by the user.
    let messages = lab.simulator.requests()[5].body["messages"].clone();
    let roles: Vec<_> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["role"])
        .collect();
    assert_eq!(
        (roles[9], roles[10]),
        (&json!("assistant"), &json!("user")),
        "{messages:#}"
    );
    assert_eq!(messages[9]["content"], json!([{ "type": "text", "text": "So far." }]));
}

#[tokio::test]
async fn an_answer_that_the_vendors_tools_paused_is_sent_back_unchanged() {
    let content = json!([
        { "type": "text", "text": "Let me look." },
        { "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": { "query": "x" } },
    ]);
    let paused = json!({ "type": "message", "model": "m", "stop_reason": "pause_turn", "content": content,
        "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let lab = lab([
        Answer::raw(200, "application/json", paused.to_string()),
        Answer::text(" Done."),
    ]);
    lab.configure("stream = false\n");
    assert_eq!(lab.report(0).await["answer"], "Let me look. Done.");
    let messages = lab.simulator.requests()[1].body["messages"].clone();
    assert_eq!(
        messages.as_array().unwrap().len(),
        2,
        "no user text was added: {messages:#}"
    );
    let mut sent = messages[1]["content"].clone();
    // The end of what is cached.
    let marker = sent[0].as_object_mut().unwrap().remove("cache_control");
    assert_eq!((sent, marker), (content, Some(json!({ "type": "ephemeral" }))));
}

/// A run can end without an error of the API. Its report says what to change all the same.
#[tokio::test]
async fn every_ending_but_success_is_explained() {
    for (reason, key) in [
        ("max_tokens", "[model] max_tokens"),
        ("refusal", "word it differently"),
        ("model_context_window_exceeded", "larger context"),
    ] {
        let lab = lab([stopped_with(reason).forever()]);
        let report = lab.report(1).await;
        assert_eq!(report["error"]["kind"], report["outcome"]);
        assert!(report["error"]["hint"].as_str().unwrap().contains(key), "{report:#}");
        let ran = lab.call(["--quiet", "run", "Go."]).await.expect_code(1);
        assert!(ran.stderr.contains("error: ") && ran.stderr.contains(key), "{ran}");
    }
}

/// With the option, the variable or the key that was used.
#[tokio::test]
async fn events_and_report_have_the_same_hint() {
    let lab = lab([Answer::error(401), tool_call("nothing", json!({})).forever()]);
    for (arguments, code, named) in [
        (&[][..], 1, "`ANTHROPIC_API_KEY`"),
        (&["--max-iterations", "1"], 4, "`--max-iterations`"),
    ] {
        let arguments = [&["run", "--output", "stream-json", "Go."], arguments].concat();
        let lines = lab.call(arguments).await.expect_code(code).json_lines();
        let hint = |name: &str| {
            let line = lines.iter().rfind(|line| line["event"] == name).unwrap();
            line["error"]["hint"].as_str().unwrap().to_owned()
        };
        assert!(hint("report").contains(named), "{}", hint("report"));
        assert_eq!(hint("session_finished"), hint("report"));
    }
}

/// Without a summary, the error still says why there is no whole answer, and which key to raise.
#[tokio::test]
async fn a_quiet_run_says_which_limit_was_reached() {
    let echo = |number: u32| ToolCall::new("echo", json!({ "n": number }));
    for (answer, limit, code, said) in [
        (
            Answer::tools([echo(1)]),
            "[agent]\nmax_iterations = 1",
            4,
            "`[agent] max_iterations`",
        ),
        (
            Answer::tools([echo(1), echo(2)]),
            "[agent]\nmax_tool_calls = 1",
            4,
            "`[agent] max_tool_calls`",
        ),
        (
            Answer::tools([echo(1)]).forever(),
            "",
            4,
            "the same call of `echo` five times in a row",
        ),
        (
            Answer::fault(FaultKind::Stall, FaultPoint::Request),
            "[agent]\ndeadline = \"1s\"",
            4,
            "`[agent] deadline`",
        ),
        (
            Answer::text("Dear."),
            "[budget]\nsession_usd = 0.0001",
            3,
            "raise `[budget] session_usd`",
        ),
    ] {
        let lab = lab([answer]);
        lab.configure(&format!("{limit}\n{}", faulty("")));
        let ran = lab.call(["run", "--quiet", "Go."]).await.expect_code(code);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(said), "{ran}");
        assert_eq!(ran.stderr.matches("hint: ").count(), 1, "{ran}");
    }
}

#[tokio::test]
async fn a_refusal_is_explained_in_the_vendors_words() {
    let body = json!({ "type": "message", "model": "m", "stop_reason": "refusal", "content": [],
        "stop_details": { "type": "refusal", "category": "cyber", "explanation": "No \u{1b}[2Jway." },
        "usage": { "input_tokens": 1, "output_tokens": 1 } });
    let lab = lab([Answer::raw(200, "application/json", body.to_string())]);
    lab.configure("stream = false\n");
    let ran = lab.call(["run", "Go."]).await.expect_code(1);
    assert!(ran.stderr.contains("(category `cyber`): No "), "{ran}");
    assert!(!ran.stderr.contains("\u{1b}[2J"), "{ran}");
}

#[tokio::test]
async fn an_empty_answer_twice_in_a_row_is_no_success() {
    let empty = || Answer::text("");
    let failing = lab([empty(), empty()]);
    let report = failing.report(1).await;
    check(&report, Ending::ModelFailed);
    assert_eq!(
        (&report["error"]["kind"], failing.simulator.requests().len()),
        (&json!("empty_answer"), 2)
    );
    let recovering = lab([empty(), Answer::text("Here.")]);
    assert_eq!(recovering.report(0).await["answer"], "Here.");
}

#[tokio::test]
async fn a_request_that_stays_too_large_is_a_context_overflow() {
    let lab = lab([
        tool_call("big_output", json!({ "bytes": 10_000 })),
        Answer::error(413).forever(),
    ]);
    lab.configure(&faulty(""));
    let report = lab.report(1).await;
    check(&report, Ending::ContextOverflow);
    assert_eq!(report["error"]["kind"], "request_too_large");
}

#[tokio::test]
async fn max_iterations() {
    let calls = (0..4).map(|number| tool_call("echo", json!({ "n": number })));
    let lab = lab(calls);
    lab.configure(&format!("[agent]\nmax_iterations = 3\n{}", faulty("")));
    let report = lab.report(4).await;
    check(&report, Ending::MaxIterations);
    assert_eq!((&report["iterations"], lab.simulator.requests().len()), (&json!(3), 3));
    assert_eq!(
        report["metrics"]["tool_calls"], 2,
        "the model would never read the third result"
    );
}

#[tokio::test]
async fn max_tool_calls() {
    let three = Answer::tools((0..3).map(|number| ToolCall::new("echo", json!({ "n": number }))));
    let lab = lab([three]);
    lab.configure(&format!("[agent]\nmax_tool_calls = 2\n{}", faulty("")));
    let report = lab.report(4).await;
    check(&report, Ending::MaxToolCalls);
    assert_eq!(report["metrics"]["tool_calls"], 0, "a turn that goes over is not begun");
}

#[tokio::test]
async fn deadline_exceeded_in_the_model_and_in_a_tool() {
    let waiting = lab([Answer::text("late").delay(Duration::from_secs(60))]);
    waiting.configure("[agent]\ndeadline = \"1s\"\n");
    check(&waiting.report(4).await, Ending::DeadlineExceeded);

    let calling = lab([
        tool_call("sleep", json!({ "ms": 60_000 })),
        Answer::text("never asked for"),
    ]);
    calling.configure(&format!("[agent]\ndeadline = \"5s\"\n{}", faulty("timeout = \"30s\"")));
    let report = calling.report(4).await;
    check(&report, Ending::DeadlineExceeded);
    assert_eq!(
        report["metrics"]["tools"]["sleep"]["outcomes"],
        json!({ "cancelled": 1 }),
        "the tool is not to blame"
    );
    let breakers = report["breakers"].as_array().unwrap();
    assert!(
        breakers.iter().all(|breaker| breaker["failure_count"] == 0),
        "{report:#}"
    );
}

#[tokio::test]
async fn loop_detected_at_five_with_a_warning_to_the_model_at_three() {
    let lab = lab([tool_call("fail", json!({ "message": "no" })).forever()]);
    lab.configure(&faulty(""));
    let report = lab.report(4).await;
    check(&report, Ending::LoopDetected);
    let command = format!("`cofferdam session show {}`", report["session_id"].as_str().unwrap());
    assert!(
        report["error"]["hint"].as_str().unwrap().contains(&command),
        "{report:#}"
    );
    assert_eq!(report["metrics"]["tool_calls"], 5);
    let was_warned = |request: usize| {
        lab.simulator.requests()[request]
            .body
            .to_string()
            .contains("same call three times in a row")
    };
    assert_eq!((was_warned(2), was_warned(3)), (false, true));
}

#[tokio::test]
async fn budget_exceeded() {
    let lab = lab([Answer::text("too dear")]);
    lab.configure("[budget]\nsession_usd = 0.0001\n");
    let report = lab.report(3).await;
    check(&report, Ending::BudgetExceeded);
    assert_eq!(
        (&report["error"]["kind"], lab.simulator.requests().len()),
        (&json!("budget_exceeded"), 0)
    );
}

#[tokio::test]
async fn cancelled_by_ctrl_c() {
    let lab = lab([Answer::text("never ends").with_fault(FaultKind::Stall, FaultPoint::Events(3))]);
    let child = lab.command(["run", "--output", "json", "Go."]).spawn().unwrap();
    lab.wait_for_model_request().await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let ran = finish(child).await.expect_code(130);
    check(&ran.json(), Ending::Cancelled);
}

#[tokio::test]
async fn what_stays_of_a_run_that_ends_after_calls_is_said() {
    let lab = lab([
        tool_call("calculate", json!({ "expression": "1" })),
        Answer::text("So."),
    ]);
    let run = ["run", "--session", "trip", "--output", "json"];
    let ended = lab.call([&run[..], &["--max-iterations", "1", "Go."]].concat()).await;
    let ended = ended.expect_code(4);
    let says = "The prompt and the calls of tools stay in the session, without an answer. `cofferdam run --session trip 'go on' \
                --max-iterations <VALUE>` goes on";
    assert!(ended.stderr.contains(says), "{ended}");
    let more = lab.call([&run[..], &["go on"]].concat()).await.expect_code(0);
    assert!(!more.stderr.contains("without an answer"), "{more}");
    let sent = lab.simulator.requests()[1].body["messages"].to_string();
    assert!(sent.contains("Go.") && sent.contains("go on"), "{sent}");
}

#[tokio::test]
async fn what_is_cancelled_is_not_part_of_the_session() {
    for (arguments, says) in [
        (
            &["--attach", "notes.md"][..],
            Some("The prompt and what was attached are not part of the session"),
        ),
        (&["--ephemeral"], None),
        (&[], Some("The prompt is not part of the session")),
    ] {
        let lab = lab([Answer::text("never ends").with_fault(FaultKind::Stall, FaultPoint::Events(3))]);
        lab.write("notes.md", "A note.");
        let child = lab.command([&["run", "Go."], arguments].concat()).spawn().unwrap();
        lab.wait_for_model_request().await;
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let ran = finish(child).await.expect_code(130);
        match says {
            Some(says) => assert!(ran.stderr.contains(says), "{ran}"),
            None => assert!(!ran.stderr.contains("not part of the session"), "{ran}"),
        }
    }
}
