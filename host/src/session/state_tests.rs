//! What facts add up to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use jiff::Timestamp;

use super::content::{StoredAttachment, StoredBlock, StoredContent, StoredTool};
use super::fact::{CallFate, Fact, TrimKind};
use super::state::{CallState, State, Verdict};
use crate::events::{Ending, Outcome};
use crate::transcript::{Attachment, Block, Role};

fn prompted(text: &str) -> Fact {
    Fact::Prompted {
        text: text.to_owned(),
        attachments: Vec::new(),
        schema: None,
    }
}

fn answered(stop_reason: &str, content: Vec<StoredBlock>) -> Fact {
    Fact::Answered {
        model: "m".to_owned(),
        stop_reason: stop_reason.to_owned(),
        content,
    }
}

fn text(text: &str) -> StoredBlock {
    StoredBlock::Text {
        text: text.to_owned(),
        extra: None,
    }
}

fn call(id: &str) -> StoredBlock {
    StoredBlock::ToolUse {
        id: id.to_owned(),
        name: "t".to_owned(),
        input: "{}".to_owned(),
        problem: None,
        extra: None,
    }
}

fn admitted(position: u32, repeatable: bool) -> Fact {
    Fact::CallAdmitted {
        position,
        id: "same".to_owned(),
        tool: "t".to_owned(),
        plugin: "p".to_owned(),
        digest: "d".to_owned(),
        repeatable,
        approval: None,
    }
}

fn ended(position: u32, result: &str) -> Fact {
    Fact::CallEnded(CallFate {
        position,
        id: "same".to_owned(),
        tool: "t".to_owned(),
        outcome: Outcome::Ok,
        content: vec![StoredContent::Text {
            text: result.to_owned(),
        }],
        is_error: false,
        degraded: result == "degraded",
        reason: None,
        approval: None,
        used: None,
    })
}

fn run_ended(outcome: Ending) -> Fact {
    Fact::run_ended(outcome, None)
}

fn state(facts: &[Fact]) -> State {
    State::fold(facts.iter().map(|fact| (Timestamp::UNIX_EPOCH, fact)))
}

/// Roles of the messages, with the number of their blocks.
fn shape(state: &State) -> Vec<(Role, usize)> {
    let messages = state.conversation.messages().iter();
    messages.map(|message| (message.role, message.content.len())).collect()
}

#[test]
fn a_turn_ends_when_each_call_has_its_result_in_the_order_of_the_calls() {
    let mut facts = vec![
        prompted("go"),
        answered("tool_use", vec![text("look"), call("a"), call("b")]),
        admitted(0, false),
        admitted(1, true),
        ended(1, "second"),
    ];
    let open = state(&facts);
    let run = open.run.as_ref().unwrap();
    assert_eq!((run.iterations, run.tool_calls, run.answer.as_str()), (1, 0, "look"));
    assert!(matches!(run.calls[0].state, CallState::Admitted { repeatable: false }));
    assert!(matches!(&run.calls[1].state, CallState::Ended(_)));
    assert_eq!(shape(&open), [(Role::User, 1), (Role::Assistant, 3)]);

    facts.push(ended(0, "degraded"));
    let open = state(&facts);
    let run = open.run.as_ref().unwrap();
    assert_eq!((run.tool_calls, run.degraded, run.calls.len()), (2, true, 0));
    let results = open.conversation.messages()[2].content.iter().map(|block| match block {
        Block::ToolResult(result) => result.tool_use_id.as_str(),
        block => panic!("{block:?}"),
    });
    assert_eq!(results.collect::<Vec<_>>(), ["a", "b"]);
}

fn drafted(text: Option<&str>, file: Option<&str>) -> Fact {
    let attachments = file.map(|file| StoredAttachment::from(&Attachment::of(file, file.as_bytes()).unwrap()));
    Fact::Drafted {
        text: text.map(str::to_owned),
        attachments: attachments.into_iter().collect(),
    }
}

#[test]
fn a_draft_is_the_last_prompt_until_another_one_is_sent() {
    let mut facts = vec![
        prompted("one"),
        answered("tool_use", vec![call("a")]),
        drafted(Some("two"), Some("a.txt")),
    ];
    assert_eq!(unanswered(&state(&facts)), Some(("two", vec!["a.txt"])));
    assert_eq!(state(&facts).run.unwrap().prompt, "one");
    facts.push(drafted(None, None));
    assert_eq!(unanswered(&state(&facts)), Some(("two", vec![])));
    // What becomes of the run before it changes nothing.
    facts.push(run_ended(Ending::Completed));
    assert_eq!(unanswered(&state(&facts)), Some(("two", vec![])));
    facts.extend([prompted("two"), answered("end_turn", vec![text("yes")])]);
    assert_eq!(unanswered(&state(&facts)), None);
}

#[test]
fn files_that_were_removed_are_not_those_of_the_last_prompt() {
    let file = || StoredAttachment::from(&Attachment::of("a.txt", b"a").unwrap());
    let mut facts = vec![Fact::Prompted {
        text: "one".to_owned(),
        attachments: vec![file()],
        schema: None,
    }];
    assert_eq!(unanswered(&state(&facts)), Some(("one", vec!["a.txt"])));
    facts.push(drafted(None, None));
    assert_eq!(unanswered(&state(&facts)), Some(("one", vec![])));
    let mut ended = facts.clone();
    ended.push(run_ended(Ending::Cancelled));
    assert_eq!(unanswered(&state(&ended)), Some(("one", vec![])));
    facts.extend([answered("end_turn", vec![text("yes")]), run_ended(Ending::Completed)]);
    assert_eq!(unanswered(&state(&facts)), None);
}

#[test]
fn a_draft_takes_no_time_of_the_run_before_it() {
    let facts = [
        (0, prompted("go")),
        (10, answered("tool_use", vec![call("a")])),
        (1_000, Fact::Reopened { changes: Vec::new() }),
        (1_001, drafted(None, None)),
        (5_000, ended(0, "x")),
        (5_005, answered("end_turn", vec![text("yes")])),
    ];
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let state = State::fold(facts.iter().map(|(seconds, fact)| (at(*seconds), fact)));
    assert_eq!(state.run.unwrap().spent, Duration::from_secs(15));
}

/// Servers send them: the second result must not become the first one's.
#[test]
fn calls_with_equal_ids_are_distinguished_by_position() {
    let open = state(&[
        prompted("go"),
        answered("tool_use", vec![call("x"), call("x")]),
        admitted(1, false),
    ]);
    let calls = &open.run.as_ref().unwrap().calls;
    assert!(matches!(calls[0].state, CallState::Waiting));
    assert!(matches!(calls[1].state, CallState::Admitted { .. }));
    let facts = [
        prompted("go"),
        answered("tool_use", vec![call("x"), call("x")]),
        ended(1, "second"),
        ended(0, "first"),
    ];
    let state = state(&facts);
    let texts = result_texts(&state);
    assert_eq!(texts, ["first", "second"]);
}

fn result_texts(state: &State) -> Vec<String> {
    let blocks = state
        .conversation
        .messages()
        .iter()
        .flat_map(|message| &message.content);
    let results = blocks.filter_map(|block| match block {
        Block::ToolResult(result) => Some(&result.content[0]),
        _ => None,
    });
    let texts = results.map(|content| match content {
        crate::transcript::Content::Text { text } => text.clone(),
        content => panic!("{content:?}"),
    });
    texts.collect()
}

/// What a run had learnt when it was cut short is not lost, and what may have happened isn't denied.
#[test]
fn the_end_of_a_run_keeps_what_is_known_of_its_calls() {
    let calls = ["a", "b", "c", "d"].map(call).to_vec();
    let facts = [
        prompted("go"),
        answered("tool_use", calls),
        admitted(0, false),
        admitted(1, false),
        admitted(3, true),
        ended(0, "known"),
        run_ended(Ending::Cancelled),
        prompted("again"),
    ];
    let texts = result_texts(&state(&facts));
    assert_eq!(texts.len(), 4);
    assert_eq!(texts[0], "known");
    assert!(texts[1].contains("isn't known whether it took effect"), "{}", texts[1]);
    assert!(texts[2].contains("was not made"), "{}", texts[2]);
    assert!(texts[3].contains("It can be made again"), "{}", texts[3]);
}

/// Whatever a run left behind, the next prompt makes a conversation that the API accepts.
#[test]
fn an_ended_run_leaves_a_conversation_that_can_go_on() {
    let calls = || answered("tool_use", vec![call("a")]);
    for (facts, expected) in [
        (vec![], vec![]),
        (vec![calls()], vec![(Role::User, 1), (Role::Assistant, 1)]),
        (
            vec![calls(), ended(0, "x")],
            vec![(Role::User, 1), (Role::Assistant, 1), (Role::User, 1)],
        ),
    ] {
        let mut all = vec![prompted("go")];
        all.extend(facts);
        all.push(run_ended(Ending::Cancelled));
        let state = state(&all);
        assert_eq!(shape(&state), expected);
        assert!(state.run.is_none() && state.last == Some(Ending::Cancelled));
    }
    let refused = [
        prompted("hi"),
        answered("end_turn", vec![text("hello")]),
        run_ended(Ending::Completed),
        prompted("something bad"),
        calls(),
        ended(0, "x"),
        answered("refusal", vec![text("no")]),
        run_ended(Ending::Refused),
    ];
    assert_eq!(shape(&state(&refused)), [(Role::User, 1), (Role::Assistant, 1)]);
}

#[test]
fn a_run_takes_no_time_while_nobody_drives_it() {
    let facts = [
        (0, prompted("go")),
        (10, answered("tool_use", vec![call("a")])),
        (1_000, Fact::Reopened { changes: Vec::new() }),
        (1_005, ended(0, "x")),
    ];
    let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
    let state = State::fold(facts.iter().map(|(seconds, fact)| (at(*seconds), fact)));
    assert_eq!(state.run.unwrap().spent, Duration::from_secs(15));
}

/// A later version writes kinds that this one doesn't know.
#[test]
fn unknown_facts_change_nothing() {
    let known = [prompted("go"), answered("end_turn", vec![text("hello")])];
    let with_unknown = [known[0].clone(), Fact::Unknown, known[1].clone(), Fact::Unknown];
    assert_eq!(shape(&state(&known)), shape(&state(&with_unknown)));
}

#[test]
fn the_fifth_equal_call_is_noticed_and_the_third_is_warned_of() {
    let mut facts = vec![prompted("go")];
    for turn in 1..=5 {
        facts.push(answered("tool_use", vec![call(&turn.to_string())]));
        facts.push(ended(0, "same"));
        let repeated = state(&facts).run.unwrap().repeated;
        assert_eq!(repeated.is_some(), turn == 5, "{turn}");
    }
    let state = state(&facts);
    let pieces = state
        .conversation
        .messages()
        .iter()
        .flat_map(|message| &message.content);
    let pieces = pieces.filter_map(|block| match block {
        Block::ToolResult(result) => Some(result.content.len()),
        _ => None,
    });
    assert_eq!(pieces.collect::<Vec<_>>(), [1, 1, 2, 1, 1]);
}

/// What earlier versions have written still means the same. The last run of each file was cut off in the middle of two calls.
#[test]
fn journals_of_earlier_versions_are_read() {
    const JOURNALS: [&str; 1] = [include_str!("../../../tests/compatibility/journal-1.jsonl")];
    for journal in JOURNALS {
        let lines = journal.lines().skip(1);
        let facts = lines.map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let fact: Fact = serde_json::from_value(line["fact"].clone()).unwrap();
            assert_ne!(fact, Fact::Unknown, "{line}");
            (line["at"].as_str().unwrap().parse().unwrap(), fact)
        });
        let facts: Vec<(Timestamp, Fact)> = facts.collect();
        let state = State::fold(facts.iter().map(|(at, fact)| (*at, fact)));
        let results = result_texts(&state);
        assert_eq!(results.len(), 2, "{results:?}");
        assert!(results.contains(&"42".to_owned()), "{results:?}");
        assert_eq!(state.conversation.messages().len(), 10);
        let run = state.run.unwrap();
        assert_eq!((run.prompt.as_str(), run.iterations), ("What is the weather?", 1));
        let states = run.calls.iter().map(|call| (call.name.as_str(), &call.state));
        assert!(
            matches!(
                states.collect::<Vec<_>>()[..],
                [
                    ("get_weather", CallState::Admitted { repeatable: true }),
                    ("calculate", CallState::Ended(_))
                ]
            ),
            "{:?}",
            run.calls
        );
    }
}

fn opened(tools: Option<&[&str]>) -> Fact {
    let tool = |name: &&str| StoredTool {
        name: (*name).to_owned(),
        description: "d".to_owned(),
        input_schema: "{}".to_owned(),
        always_load: false,
    };
    Fact::Opened {
        model: "m".to_owned(),
        system_sha256: "s".to_owned(),
        tools: Vec::new(),
        definitions: tools.map(|tools| tools.iter().map(tool).collect()),
    }
}

/// How many messages came before tools, and their names.
fn known_tools(facts: &[Fact]) -> Vec<(usize, Vec<String>)> {
    let known = state(facts).known_tools.into_iter();
    let names = |tools: Vec<StoredTool>| tools.into_iter().map(|tool| tool.name).collect();
    known.map(|known| (known.messages, names(known.tools))).collect()
}

#[test]
fn tools_are_known_from_the_message_on_before_which_they_changed() {
    let turn = || {
        [
            prompted("go"),
            answered("end_turn", vec![text("so")]),
            run_ended(Ending::Completed),
        ]
    };
    let known = |messages: usize, names: &[&str]| (messages, names.iter().map(|name| (*name).to_owned()).collect());
    let mut facts = vec![opened(Some(&["x"])), opened(Some(&["a"]))];
    facts.extend(turn());
    // The same again, and those of a process that didn't need to know.
    facts.extend([opened(Some(&["a"])), opened(None)]);
    assert_eq!(known_tools(&facts), [known(0, &["a"])]);
    facts.push(opened(Some(&["a", "b"])));
    facts.extend(turn());
    facts.push(Fact::Trimmed {
        what: TrimKind::Results,
        files: Vec::new(),
    });
    assert_eq!(known_tools(&facts), [known(0, &["a"]), known(2, &["a", "b"])]);
    // In the middle of a turn that leaves the conversation.
    facts.extend([
        prompted("no"),
        answered("tool_use", vec![call("1")]),
        admitted(0, false),
        ended(0, "r"),
    ]);
    facts.push(opened(Some(&[])));
    assert_eq!(known_tools(&facts)[2], known(7, &[]));
    facts.push(run_ended(Ending::Refused));
    assert_eq!(known_tools(&facts)[2], known(4, &[]));
}

#[test]
fn tools_start_over_once_most_of_what_is_carried_is_outdated() {
    let kib = |name: &str, says: &str, kib: usize| StoredTool {
        name: name.to_owned(),
        description: says.repeat(kib * 1024),
        input_schema: "{}".to_owned(),
        always_load: false,
    };
    let mut facts = Vec::new();
    let mut carried = |tools: Vec<StoredTool>| {
        facts.push(Fact::Opened {
            model: "m".to_owned(),
            system_sha256: "s".to_owned(),
            tools: Vec::new(),
            definitions: Some(tools),
        });
        facts.extend([
            prompted("go"),
            answered("end_turn", vec![text("so")]),
            run_ended(Ending::Completed),
        ]);
        state(&facts).known_tools.len()
    };
    // The tools that are left outweigh the others, or little is outdated.
    assert_eq!(carried(vec![kib("a", "a", 6), kib("b", "b", 5)]), 1);
    assert_eq!(carried(vec![kib("a", "a", 6)]), 2);
    assert_eq!(
        carried(vec![kib("a", "a", 6), kib("b", "b", 5)]),
        3,
        "it is there still"
    );
    assert_eq!(carried(vec![kib("b", "b", 5)]), 1);
    assert_eq!(carried(vec![kib("c", "c", 1)]), 1);
    assert_eq!(carried(vec![kib("c", "d", 1)]), 2);
    assert_eq!(carried(vec![]), 3);
    // Two hosts with other tools that alternate.
    let most = (0..40).map(|round| carried(vec![kib("a", if round % 2 == 0 { "e" } else { "f" }, 3)]));
    assert_eq!(most.max(), Some(4));
}

fn requested(position: u32, approval: &str) -> Fact {
    Fact::ApprovalRequested {
        approval: approval.to_owned(),
        position,
        id: "same".to_owned(),
        tool: "t".to_owned(),
        plugin: "p".to_owned(),
        digest: "d".to_owned(),
        input_sha256: "i".to_owned(),
        grants: Vec::new(),
        expires_at: Timestamp::UNIX_EPOCH,
    }
}

fn decided(position: u32, approval: &str, approved: bool, for_session: bool) -> Fact {
    Fact::ApprovalDecided {
        approval: approval.to_owned(),
        position,
        approved,
        for_session,
        reason: None,
    }
}

fn unused(state: &State) -> Vec<(u32, &str, Verdict)> {
    let unused = state.unused_approvals();
    unused
        .map(|(position, asked)| (position, asked.id.as_str(), asked.verdict.clone()))
        .collect()
}

#[test]
fn an_approval_is_used_by_one_call() {
    let mut facts = vec![prompted("go"), answered("tool_use", vec![call("a"), call("b")])];
    facts.extend([requested(0, "x"), requested(1, "y")]);
    assert_eq!(
        unused(&state(&facts)),
        [(0, "x", Verdict::Pending), (1, "y", Verdict::Pending)]
    );
    facts.push(decided(0, "x", true, false));
    // Of an approval that was replaced.
    facts.push(decided(1, "x", true, false));
    facts.push(decided(1, "y", false, false));
    assert_eq!(unused(&state(&facts)), [(0, "x", Verdict::Approved)]);
    facts.push(admitted(0, false));
    assert_eq!(unused(&state(&facts)), []);
    assert!(!state(&facts).is_always_approved("t", "d"));
}

#[test]
fn a_tool_can_be_approved_for_the_session_until_it_changes() {
    let mut facts = vec![prompted("go"), answered("tool_use", vec![call("a")]), requested(0, "x")];
    facts.push(decided(0, "x", true, true));
    let state = state(&facts);
    assert!(state.is_always_approved("t", "d"));
    assert!(!state.is_always_approved("t", "other") && !state.is_always_approved("other", "d"));
}

#[test]
fn waiting_for_a_person_is_no_time_of_the_run() {
    let facts = [
        (0, prompted("go")),
        (2, answered("tool_use", vec![call("a"), call("b")])),
        (3, requested(0, "x")),
        (3, requested(1, "y")),
        (1000, decided(0, "x", true, false)),
        (
            2000,
            Fact::ApprovalExpired {
                approval: "y".to_owned(),
                position: 1,
            },
        ),
        (2005, admitted(0, false)),
    ];
    let facts = facts
        .iter()
        .map(|(second, fact)| (Timestamp::from_second(*second).unwrap(), fact));
    assert_eq!(State::fold(facts).run.unwrap().spent, Duration::from_secs(8));
}

/// It is made as if it had not been admitted; the other one may have happened.
#[test]
fn a_call_that_was_not_begun_waits_again() {
    let not_begun = Fact::CallNotBegun {
        position: 1,
        id: "same".to_owned(),
    };
    let facts = [
        prompted("go"),
        answered("tool_use", vec![call("a"), call("b")]),
        admitted(0, false),
        admitted(1, false),
        not_begun,
    ];
    let run = state(&facts).run.unwrap();
    assert!(matches!(run.calls[0].state, CallState::Admitted { .. }));
    assert!(matches!(run.calls[1].state, CallState::Waiting));
}

/// What is unanswered: the prompt, and the names of what is attached to it.
fn unanswered(state: &State) -> Option<(&str, Vec<&str>)> {
    let (prompt, attached) = state.unanswered()?;
    Some((
        prompt,
        attached
            .into_iter()
            .map(|attachment| attachment.name.as_str())
            .collect(),
    ))
}

#[test]
fn a_prompt_stays_unanswered_until_an_answer_or_another_prompt() {
    let with_file = |prompt: &str| Fact::Prompted {
        text: prompt.to_owned(),
        attachments: Attachment::of("a.txt", b"A")
            .iter()
            .map(StoredAttachment::from)
            .collect(),
        schema: None,
    };
    let left = Some(("go", vec!["a.txt"]));
    for outcome in [
        Ending::Cancelled,
        Ending::ModelFailed,
        Ending::BudgetExceeded,
        Ending::Refused,
    ] {
        let facts = [with_file("go"), run_ended(outcome)];
        assert_eq!(unanswered(&state(&facts[..1])), left);
        assert_eq!(unanswered(&state(&facts)), left, "{outcome:?}");
        let [begun, over] = facts;
        assert_eq!(
            unanswered(&state(&[begun, over, prompted("on")])),
            Some(("on", Vec::new()))
        );
    }
    // The same beside the results of calls that an earlier run left open.
    let waits = answered("tool_use", vec![call("a")]);
    let cut = [prompted("before"), waits, run_ended(Ending::Cancelled)];
    let facts: Vec<Fact> = cut
        .into_iter()
        .chain([with_file("go"), run_ended(Ending::Cancelled)])
        .collect();
    for (count, expected) in [(2, None), (3, None), (4, left.clone()), (5, left)] {
        assert_eq!(unanswered(&state(&facts[..count])), expected, "{count}");
    }
    // A part of an answer is one.
    let part = answered("max_tokens", vec![text("A part")]);
    let facts = [with_file("go"), part, run_ended(Ending::Truncated)];
    assert_eq!(unanswered(&state(&facts[..2])), None);
    assert_eq!(unanswered(&state(&facts)), None);
    // What the host asked to correct is no prompt.
    let correction = Fact::Corrected {
        text: "Again.".to_owned(),
    };
    let facts = [
        with_file("go"),
        answered("end_turn", vec![text("{")]),
        correction,
        run_ended(Ending::Cancelled),
    ];
    assert_eq!(unanswered(&state(&facts)), None);
}
