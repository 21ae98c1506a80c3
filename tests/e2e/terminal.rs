//! What a person types and sees: the real binary on a pseudoterminal.

use std::fs::File;
use std::time::Duration;

use cofferdam::simulator::{Answer, FaultKind, FaultPoint, MessageAnswer, StreamOptions, UsageAnswer, UsageFigures};
use cofferdam_tests::{ANSWER_TIMEOUT, Behaviour, HttpServer, Lab, Ran, Terminal, finish, tool_call, without_status};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_WRLCK, SEEK_SET, flock};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::process::Child;

use crate::lab;

const UP: &str = "\u{1b}[A";
const DOWN: &str = "\u{1b}[B";
const LEFT: &str = "\u{1b}[D";
const CTRL_C: &str = "\u{3}";
const CTRL_D: &str = "\u{4}";
const CTRL_G: &str = "\u{7}";
const CTRL_R: &str = "\u{12}";
const CTRL_J: &str = "\n";
const CTRL_Z: &str = "\u{1a}";
const CTRL_BACKSLASH: &str = "\u{1c}";
const ALT_ENTER: &str = "\u{1b}\r";

/// What asks the terminal to mark what is pasted: from then on a line is edited.
const PROMPT: &str = "\u{1b}[?2004h";

/// `cofferdam chat` at its prompt.
struct Chat {
    terminal: Terminal,
    child: Child,
}

impl Chat {
    async fn start(lab: &Lab) -> Self {
        Self::start_on(lab, Terminal::open(), &[]).await
    }

    async fn start_on(lab: &Lab, mut terminal: Terminal, arguments: &[&str]) -> Self {
        let child = terminal.start(lab.command([&["chat"], arguments].concat()));
        terminal.wait_for(PROMPT).await;
        Self { terminal, child }
    }

    async fn wait_for(&mut self, words: &str) {
        self.terminal.wait_for(words).await;
    }

    /// Types a line, and waits for what is shown and for the next prompt.
    async fn enter(&mut self, line: &str, words: &str) {
        self.terminal.type_keys(&format!("{line}\r"));
        self.wait_for(words).await;
        self.wait_for(PROMPT).await;
    }

    /// Waits for the end, and checks that the terminal is as it was.
    async fn ended(self, code: i32) -> String {
        finish(self.child).await.expect_code(code);
        assert!(self.terminal.is_ordinary());
        self.terminal.text()
    }

    async fn leave(self) -> String {
        self.terminal.type_keys(CTRL_D);
        self.ended(0).await
    }
}

/// The last prompt of each request.
fn prompts(lab: &Lab) -> Vec<String> {
    let last = |body: &serde_json::Value| {
        let messages = body["messages"].as_array().unwrap();
        let content = messages.last().unwrap()["content"].as_array().unwrap();
        content.last().unwrap()["text"].as_str().unwrap().to_owned()
    };
    lab.simulator
        .requests()
        .iter()
        .map(|request| last(&request.body))
        .collect()
}

#[tokio::test]
async fn lines_can_be_edited_and_recalled() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    // A letter is deleted, another is put before the last one.
    chat.enter(&format!("say onw\u{7f}r{LEFT}e"), "An answer.").await;
    chat.terminal.type_keys(UP);
    chat.wait_for("> say oner").await;
    chat.enter("!", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["say oner", "say oner!"]);
}

#[tokio::test]
async fn in_a_prompt_that_is_taller_than_the_window_the_cursor_stands_at_its_words() {
    const HOME: &str = "\u{1b}[H";
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    let pasted: Vec<String> = (1..=40).map(|row| format!("row {row}")).collect();
    let pasted = pasted.join("\n");
    chat.terminal.type_keys(&format!("\u{1b}[200~{pasted}\u{1b}[201~"));
    // 24 rows are in the window.
    for (keys, times, row, last) in [
        ("", 0, "row 40", "row 40"),
        (UP, 23, "row 17", "row 40"),
        (UP, 1, "row 16", "row 39"),
        (UP, 15, "> row 1", "row 24"),
        (HOME, 1, "> row 1", "row 24"),
        ("TOP ", 1, "> TOP row 1", "row 24"),
        ("\u{1b}\r", 1, "row 1", "row 24"),
        ("\u{7f}", 1, "> TOP row 1", "row 24"),
        (DOWN, 2, "row 3", "row 26"),
        ("!", 1, "row 3!", "row 26"),
        (DOWN, 20, "row 23", "row 40"),
    ] {
        chat.terminal.type_keys(&keys.repeat(times));
        chat.terminal.wait_for_cursor(row, last).await;
    }
    // What is above the window isn't printed again.
    let shown = chat.terminal.text().len();
    chat.terminal.type_keys(&DOWN.repeat(17));
    chat.terminal.wait_for_cursor("row 40", "row 40").await;
    chat.terminal.type_keys("\u{7f}");
    chat.terminal.wait_for_cursor("row 0", "row 0").await;
    let shown = chat.terminal.text().split_off(shown);
    assert!(!shown.contains("row 5"), "{shown:?}");
    let shown = chat.terminal.text().len();
    chat.enter("", "An answer.").await;
    // All of it, once, is above the answer.
    let shown = chat.terminal.text().split_off(shown);
    assert_eq!(shown.matches("row 5\r").count(), 1, "{shown:?}");
    chat.leave().await;
    let sent = format!("TOP {pasted}")
        .replace("row 3\n", "row 3!\n")
        .replace("row 40", "row 0");
    assert_eq!(prompts(&lab), [sent]);
}

/// The line isn't torn, neither by what is said of it nor by a line of the log.
#[tokio::test]
async fn what_another_process_does_is_shown_once_the_line_is_sent() {
    for (arguments, logged) in [(&[][..], false), (&["--verbose"], true)] {
        let lab = lab([Answer::text("An answer.").forever()]);
        lab.configure("[logging]\ndirectory = \"logs\"\n");
        let mut chat = Chat::start_on(&lab, Terminal::open(), arguments).await;
        chat.enter("first", "An answer.").await;
        chat.terminal.type_keys("half");
        chat.wait_for("half").await;
        let shown = chat.terminal.text().len();
        lab.call(["breakers", "open", "model:claude-sonnet-5-5"])
            .await
            .expect_code(0);
        // So the chat knows of it.
        let is_known = || {
            let logs = std::fs::read_dir(lab.path("logs")).into_iter().flatten().flatten();
            let mut logs = logs.filter_map(|log| std::fs::read_to_string(log.path()).ok());
            logs.any(|log| log.contains("breaker_changed"))
        };
        let known = async {
            while !is_known() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(ANSWER_TIMEOUT, known).await.unwrap();
        // Where it is logged, the console's log has it by now.
        tokio::time::sleep(Duration::from_millis(300)).await;
        chat.terminal.type_keys(" typed");
        chat.wait_for(" typed").await;
        let shown = chat.terminal.text().split_off(shown);
        assert!(!shown.contains('\n'), "{shown:?}");
        chat.terminal.type_keys("\r");
        chat.wait_for("\r\n").await;
        if logged {
            chat.wait_for("breaker changed").await;
        } else {
            chat.wait_for("went from closed to open").await;
        }
        chat.wait_for("held open by an operator").await;
        chat.wait_for(PROMPT).await;
        chat.terminal.type_keys(CTRL_D);
        chat.ended(1).await;
        assert_eq!(prompts(&lab), ["first"]);
    }
}

#[tokio::test]
async fn lines_are_recalled_in_the_next_conversation() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    for line in ["first", " a secret", "two\u{1b}\rlines"] {
        chat.enter(line, "An answer.").await;
    }
    chat.leave().await;
    let file = lab.path("data/cofferdam/chat-history");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert_eq!(kept, "first\ntwo\\nlines\n");

    let mut chat = Chat::start(&lab).await;
    chat.terminal.type_keys(UP);
    chat.wait_for("lines").await;
    // The first goes to the line above.
    chat.terminal.type_keys(&format!("{UP}{UP}"));
    chat.wait_for("first").await;
    chat.enter("", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab)[3], "first");

    // Without a file that can be used there is a conversation as well.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let mut chat = Chat::start(&lab).await;
    assert!(
        chat.terminal
            .text()
            .contains("chat-history can't be used: it isn't a regular file.")
    );
    chat.enter("still here", "An answer.").await;
    chat.terminal.type_keys(UP);
    chat.wait_for("> still here").await;
    chat.terminal.type_keys(CTRL_C);
    chat.leave().await;
}

#[tokio::test]
async fn a_line_survives_being_stopped_and_continued() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut terminal = Terminal::open();
    // Without a shell that could continue it, the system stops no process.
    let command = lab.command(["chat"]);
    let mut shell = lab.command_of("bash", ["--norc", "--noprofile", "-i"]);
    shell.env("PS1", "shell> ").env("CHAT", command.as_std().get_program());
    let shell = terminal.start(shell);
    terminal.wait_for("shell> ").await;
    terminal.type_keys("\"$CHAT\" chat\r");
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("a draft");
    terminal.wait_for("a draft").await;
    for _ in 0..2 {
        terminal.type_keys(CTRL_Z);
        terminal.wait_for("Stopped").await;
        terminal.wait_for("shell> ").await;
        terminal.type_keys("fg\r");
        terminal.wait_for(PROMPT).await;
        terminal.wait_for("> a draft").await;
    }
    terminal.type_keys("!\r");
    terminal.wait_for("An answer.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    terminal.wait_for("shell> ").await;
    terminal.type_keys("exit\r");
    finish(shell).await.expect_code(0);
    assert_eq!(prompts(&lab), ["a draft!"]);
}

/// A shell with jobs, which shows `shell: `, and a chat in it that shows its prompt.
async fn chat_in_a_shell(lab: &Lab, term: &str, prompt: &str) -> (Terminal, Child) {
    let mut terminal = Terminal::open();
    let command = lab.command(["chat"]);
    let mut shell = lab.command_of("bash", ["--norc", "--noprofile", "-i"]);
    shell.env("PS1", "shell: ").env("TERM", term);
    shell.env("CHAT", command.as_std().get_program());
    let shell = terminal.start(shell);
    terminal.wait_for("shell: ").await;
    terminal.type_keys("\"$CHAT\" chat\r");
    terminal.wait_for("ends the conversation.").await;
    terminal.wait_for(prompt).await;
    (terminal, shell)
}

/// Also where the terminal edits lines itself. The shell would run what was typed before the process has stopped.
#[tokio::test]
async fn ctrl_z_during_an_answer_stops_a_chat_at_the_next_line() {
    for (term, prompt) in [("xterm", PROMPT), ("dumb", "> ")] {
        let lab = lab([Answer::text("An answer.").delay(Duration::from_millis(500)).forever()]);
        let (mut terminal, shell) = chat_in_a_shell(&lab, term, prompt).await;
        terminal.type_keys("Go.\r");
        lab.wait_for_model_request().await;
        terminal.type_keys(&format!("typed {CTRL_Z}ahead"));
        terminal.wait_for("An answer.").await;
        terminal.wait_for("Stopped").await;
        terminal.wait_for("shell: ").await;
        terminal.type_keys("fg\r");
        terminal.wait_for("> typed ").await;
        terminal.wait_for("ahead").await;
        terminal.type_keys("!\r");
        terminal.wait_for("An answer.").await;
        terminal.wait_for(prompt).await;
        terminal.type_keys(CTRL_D);
        terminal.wait_for("shell: ").await;
        terminal.type_keys("exit\r");
        finish(shell).await.expect_code(0);
        assert_eq!(prompts(&lab), ["Go.", "typed ahead!"]);
    }
}

/// A shell that is closed ends what it has stopped.
#[tokio::test]
async fn what_is_typed_ahead_is_kept_when_a_stopped_chat_is_ended() {
    for term in ["xterm", "dumb"] {
        let lab = lab([Answer::text("An answer.").delay(Duration::from_millis(500)).forever()]);
        let (mut terminal, shell) = chat_in_a_shell(&lab, term, "> ").await;
        terminal.type_keys("Go.\r");
        lab.wait_for_model_request().await;
        terminal.type_keys(&format!("typed\r{CTRL_Z}ahead"));
        terminal.wait_for("Stopped").await;
        terminal.wait_for("shell: ").await;
        terminal.type_keys("kill -HUP %1; kill -CONT %1; wait; echo ended\r");
        terminal.wait_for("\nended").await;
        terminal.type_keys("exit\r");
        finish(shell).await.expect_code(0);
        let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
        assert!(kept.ends_with("typed\\nahead\n"), "{term}: {kept}");
    }
}

/// At the prompt it is a key, and the editor would stop the process by a way of its own.
#[tokio::test]
async fn ctrl_space_stops_nothing() {
    let lab = lab([Answer::text("An answer.")]);
    let mut chat = Chat::start(&lab).await;
    chat.terminal.type_keys("one\u{0} two");
    chat.wait_for("two").await;
    chat.enter("", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["one two"]);
}

/// The shell had set the terminal up for itself when the chat began.
#[tokio::test]
async fn a_chat_that_began_in_the_background_sends_nothing_that_was_not_seen() {
    let lab = lab([Answer::text("An answer.").delay(Duration::from_millis(700)).forever()]);
    let mut terminal = Terminal::open();
    let command = lab.command(["chat"]);
    let mut shell = lab.command_of("bash", ["--norc", "--noprofile", "-i"]);
    shell.env("PS1", "shell> ").env("CHAT", command.as_std().get_program());
    let shell = terminal.start(shell);
    terminal.wait_for("shell> ").await;
    terminal.type_keys("\"$CHAT\" chat &\r");
    terminal.wait_for("shell> ").await;
    // The shell's line editor has the terminal.
    tokio::time::sleep(Duration::from_millis(700)).await;
    terminal.type_keys("fg\r");
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    lab.wait_for_model_request().await;
    terminal.type_keys("typed\rahead");
    terminal.wait_for("An answer.").await;
    terminal.wait_for("ahead").await;
    assert_eq!(lab.simulator.requests().len(), 1);
    terminal.type_keys("\r");
    terminal.wait_for("An answer.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(CTRL_D);
    terminal.wait_for("shell> ").await;
    terminal.type_keys("exit\r");
    finish(shell).await.expect_code(0);
    assert_eq!(prompts(&lab), ["Go.", "typed\nahead"]);
}

/// `chat` in a shell's pipeline, whose stdin is the terminal.
fn in_pipeline(lab: &Lab, pipeline: &str) -> (Terminal, Child) {
    let program = lab.command([""]).as_std().get_program().to_owned();
    let terminal = Terminal::of_width(200);
    let mut shell = lab.command_of("/bin/sh", ["-c", pipeline]);
    shell.env("COFFERDAM", program);
    let child = terminal.start(shell);
    (terminal, child)
}

#[tokio::test]
async fn lines_are_edited_where_the_answers_are_piped() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let (mut terminal, child) = in_pipeline(&lab, "\"$COFFERDAM\" chat | tee answers");
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(&format!("say onw\u{7f}r{LEFT}e\r"));
    terminal.wait_for("An answer.").await;
    terminal.wait_for(PROMPT).await;
    terminal.type_keys(UP);
    terminal.wait_for("> say oner").await;
    terminal.type_keys(&format!("{CTRL_C}{CTRL_D}"));
    finish(child).await.expect_code(0);
    assert!(terminal.is_ordinary());
    assert_eq!(prompts(&lab), ["say oner"]);
    assert_eq!(std::fs::read_to_string(lab.path("answers")).unwrap(), "An answer.\n");
}

#[tokio::test]
async fn lines_that_cannot_be_edited_are_said_so() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let (mut terminal, child) = in_pipeline(&lab, "\"$COFFERDAM\" chat 2>&1 | cat");
    terminal
        .wait_for("Lines can't be edited, because neither stdout nor stderr is a terminal.")
        .await;
    terminal.type_keys("Go.\n");
    terminal.wait_for("An answer.").await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
}

#[tokio::test]
async fn bytes_that_are_not_text_are_left_out_with_what_came_with_them() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    let refused = "what was typed or pasted isn't UTF-8, so it was left out";
    // A paste with its end mark, and a long one.
    for lines in [1, 500] {
        chat.terminal.type_keys("say ");
        chat.wait_for("say ").await;
        let mut pasted = b"\x1b[200~caf\xe9 au lait\r".to_vec();
        pasted.extend(b"one more line\r".repeat(lines));
        pasted.extend(b"\x1b[201~");
        chat.terminal.type_bytes(&pasted);
        chat.wait_for(refused).await;
        chat.wait_for("> say ").await;
        // What stood in the line before stays there.
        chat.enter("caf\u{e9}", "An answer.").await;
    }
    chat.terminal.type_bytes(b"ab\xff");
    chat.wait_for(refused).await;
    chat.wait_for("> ab").await;
    chat.enter("c", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["say caf\u{e9}", "say caf\u{e9}", "abc"]);
}

#[tokio::test]
async fn what_is_pasted_is_one_prompt() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.terminal
        .type_keys("\u{1b}[200~\r    one\r  two\r\nthree\r\u{1b}[201~");
    chat.wait_for("three").await;
    assert_eq!(lab.simulator.requests().len(), 0);
    chat.enter("", "An answer.").await;
    let long = "long ".repeat(1200);
    chat.terminal.type_keys(&format!("\u{1b}[200~{long}end\u{1b}[201~"));
    chat.wait_for("end").await;
    chat.enter("", "An answer.").await;
    // And without the marks of a paste.
    chat.enter(&format!("{long}end"), "An answer.").await;
    chat.leave().await;
    let long = format!("{long}end");
    assert_eq!(prompts(&lab), ["    one\n  two\nthree", &long, &long]);
}

/// The editor takes a control sequence for a key, and would lose what it takes for a part of one: letters, and the end of the paste.
#[tokio::test]
async fn no_letter_of_a_paste_is_lost_to_control_sequences() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    for (pasted, shown) in [
        // Where a sequence isn't a key, the editor leaves its end, which can't be distinguished from text.
        (
            "\u{1b}[31merror\u{1b}[0m: it \u{1b}[1;32mfails\u{1b}[K\there\u{7}",
            "here",
        ),
        ("after a lone escape: \u{1b}x\u{1b}yz, \u{1b}7 and \u{1b}-dash", "dash"),
        ("cut off \u{1b}[38;5", "cut off"),
        (
            "see \u{1b}]8;;https://example.org\u{1b}\\the page\u{1b}]8;;\u{7} now",
            "now",
        ),
        ("at the end \u{1b}", "at the end"),
        ("twice \u{1b}\u{1b}", "twice"),
    ] {
        chat.terminal
            .type_keys(&format!("\u{1b}[200~{pasted}\u{1b}[201~, typed"));
        chat.wait_for(shown).await;
        chat.wait_for("typed").await;
        // Without a pause, an Enter after a paste with a cut-off sequence could be part of it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        chat.enter("", "An answer.").await;
    }
    chat.leave().await;
    let expected = [
        "errorm: it fails\there, typed",
        "after a lone escape: xyz, 7 and -dash, typed",
        "cut off , typed",
        "see the page now, typed",
        "at the end , typed",
        "twice , typed",
    ];
    assert_eq!(prompts(&lab), expected);
}

#[tokio::test]
async fn a_prompt_can_have_several_lines() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter(&format!("one{ALT_ENTER}two{CTRL_J}three\\\rfour \\ five"), "An answer.")
        .await;
    // Two backslashes are one that isn't for Enter.
    chat.enter("one\\\rC:\\tools\\\\", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["one\ntwo\nthree\nfour \\ five", "one\nC:\\tools\\"]);
}

#[tokio::test]
async fn commands_send_nothing() {
    let lab = lab([Answer::text("An answer.").forever()]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let mut chat = Chat::start(&lab).await;
    chat.enter("/help", "/model [NAME]").await;
    chat.enter("/frobnicate", "`/frobnicate` isn't a command, so nothing was sent")
        .await;
    chat.enter("/budget", "host_day").await;
    chat.enter("/tools", "calculate  ").await;
    chat.enter("/clear", "There is no conversation to forget.").await;
    // Tab completes the command, and what follows it.
    chat.enter("/mo\t", "`/model NAME` changes it").await;
    chat.enter("/model claude-haiku-4\t", "The next prompts go to claude-haiku-4-5.")
        .await;
    lab.write("my notes.md", "Mine.");
    chat.enter("/attach my\t", "my notes.md (text/").await;
    chat.enter("/attach ~/my\t", "my notes.md is attached already.").await;
    chat.enter("/det\t my no\t", "isn't attached any more").await;
    chat.enter("/attach ~/my\t", "my notes.md (text/").await;
    chat.enter("/detach", "isn't attached any more").await;
    assert_eq!(lab.simulator.requests().len(), 0);
    chat.enter("//help me", "An answer.").await;
    chat.terminal.type_keys("exit\r");
    let shown = chat.ended(0).await;
    assert!(shown.contains("hint"), "{shown:?}");
    assert_eq!(prompts(&lab), ["/help me"]);
}

#[tokio::test]
async fn clear_begins_a_new_session() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("I am Ada.", "An answer.").await;
    chat.enter("/clear", "(completed: 1 iteration, $0.").await;
    chat.enter("Who am I?", "An answer.").await;
    chat.leave().await;
    let second = &lab.simulator.requests()[1].body["messages"];
    assert_eq!(second.as_array().unwrap().len(), 1, "{second:#}");
}

/// The summary at the end is that of the last conversation.
#[tokio::test]
async fn the_end_of_a_chat_says_what_all_conversations_cost() {
    let dollars = |text: &str| {
        let amounts = text.split('$').skip(1);
        let amounts = amounts.map(|rest| rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect());
        amounts
            .map(|amount: String| amount.parse().unwrap())
            .collect::<Vec<f64>>()
    };
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("I am Ada.", "An answer.").await;
    chat.enter("/clear", "The next prompt begins a new conversation").await;
    chat.enter("Who am I?", "An answer.").await;
    chat.terminal.type_keys(CTRL_D);
    chat.wait_for("in all, with the conversations before `/clear`").await;
    let amounts = dollars(&chat.ended(0).await);
    let [.., last, all] = amounts[..] else {
        panic!("{amounts:?}")
    };
    assert!((all - 2.0 * last).abs() < 0.000_002 && last > 0.0, "{amounts:?}");
    // One conversation has one figure.
    let mut chat = Chat::start(&lab).await;
    chat.enter("I am Ada.", "An answer.").await;
    assert!(!chat.leave().await.contains("in all"));
}

/// The conversation before keeps the file, and offers it.
#[tokio::test]
async fn a_file_that_is_kept_is_not_called_lost_after_clear() {
    let lab = lab([Answer::error(401)]);
    lab.write("note.txt", "A note.");
    let mut chat = Chat::start(&lab).await;
    chat.enter("/attach note.txt", "goes with the next prompt").await;
    chat.enter("Go.", "got no answer").await;
    chat.enter("/clear", "The next prompt begins a new conversation").await;
    chat.terminal.type_keys(CTRL_D);
    let shown = chat.ended(1).await;
    assert!(!shown.contains("not kept"), "{shown}");
}

#[tokio::test]
async fn the_model_can_be_changed() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("I am Ada.", "An answer.").await;
    chat.enter("/model claude-haiku-4-5", "The next prompts go to claude-haiku-4-5.")
        .await;
    chat.enter("/model", "claude-haiku-4-5").await;
    chat.enter("Who am I?", "An answer.").await;
    // Nobody knows what it costs, and the budget has a limit.
    chat.enter("/model nobody-knows", "the model `nobody-knows` has no price")
        .await;
    chat.enter("And now?", "An answer.").await;
    chat.leave().await;
    let requests = lab.simulator.requests();
    let models: Vec<&str> = requests
        .iter()
        .map(|request| request.body["model"].as_str().unwrap())
        .collect();
    assert_eq!(models[1..], ["claude-haiku-4-5", "claude-haiku-4-5"]);
    assert_ne!(models[0], models[1]);
    let second = &requests[1].body["messages"];
    assert_eq!(second.as_array().unwrap().len(), 3, "{second:#}");
}

#[tokio::test]
async fn an_unpriced_model_is_used_without_a_limit() {
    let lab = lab([Answer::text("An answer.").forever()]);
    lab.configure("[budget]\nsession_usd = \"unlimited\"\nhost_day_usd = \"unlimited\"\n");
    let mut chat = Chat::start(&lab).await;
    chat.enter("/model nobody-knows", "has no price, so its cost isn't counted")
        .await;
    chat.enter("Go.", "An answer.").await;
    chat.leave().await;
    assert_eq!(lab.simulator.requests()[0].body["model"], "nobody-knows");
}

#[tokio::test]
async fn ctrl_c_at_an_empty_line_says_how_to_leave() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for("Ctrl-C once more ends the conversation").await;
    chat.wait_for(PROMPT).await;
    // After a line in between it is the first one again.
    chat.enter("Go.", "An answer.").await;
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for("Ctrl-C once more ends the conversation").await;
    chat.wait_for(PROMPT).await;
    chat.terminal.type_keys(CTRL_C);
    chat.ended(130).await;
}

#[tokio::test]
async fn ctrl_c_clears_what_is_typed() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.terminal.type_keys(&format!("half a line{CTRL_C}"));
    chat.enter("another", "An answer.").await;
    chat.terminal.type_keys(&format!("brought{CTRL_C}{UP} back\r"));
    chat.wait_for("An answer.").await;
    chat.wait_for(PROMPT).await;
    let shown = chat.leave().await;
    assert!(!shown.contains("once more"), "{shown:?}");
    assert_eq!(prompts(&lab), ["another", "brought back"]);
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "half a line\nanother\nbrought\nbrought back\n");
}

/// Whatever else is recalled meanwhile.
#[tokio::test]
async fn what_is_typed_and_not_sent_can_be_recalled() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("first", "An answer.").await;
    chat.enter("second", "An answer.").await;
    // Ctrl-C at a recalled line doesn't leave the next one among earlier lines.
    chat.terminal.type_keys(&format!("{UP}{CTRL_C}"));
    chat.wait_for(PROMPT).await;
    chat.enter(&format!("a draft{UP}{UP}{DOWN}{DOWN}{DOWN}!"), "An answer.")
        .await;
    // So does what was changed in a recalled line.
    chat.enter(&format!("{UP}{UP}, changed{UP}{DOWN}, again"), "An answer.")
        .await;
    // And what was left for another line.
    chat.enter(&format!("another draft{UP}{UP}, left{UP}"), "An answer.")
        .await;
    chat.enter(&format!("{UP}{UP}"), "An answer.").await;
    chat.enter(&format!("{UP}{UP}{UP}{UP}"), "An answer.").await;
    chat.leave().await;
    assert_eq!(
        prompts(&lab)[2..],
        [
            "a draft!",
            "second, changed, again",
            "second",
            "another draft",
            "a draft!, left"
        ]
    );
}

/// Whatever ends the search, and whatever is sent then.
#[tokio::test]
async fn a_draft_outlives_a_search_of_earlier_lines() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("first", "An answer.").await;
    chat.enter("second", "An answer.").await;
    let search = async |chat: &mut Chat, draft: &str| {
        chat.terminal.type_keys(&format!("{draft}{CTRL_R}irs"));
        chat.wait_for("`irs': first").await;
    };
    search(&mut chat, "draft one").await;
    chat.terminal.type_keys(CTRL_G);
    chat.wait_for("> draft one").await;
    chat.enter("!", "An answer.").await;
    search(&mut chat, "draft two").await;
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for(PROMPT).await;
    chat.enter(&format!("{UP}!"), "An answer.").await;
    // Enter sends what was found, and so it does after it was edited.
    for (draft, rest) in [("draft three", ""), ("draft four", "\u{5}!")] {
        search(&mut chat, draft).await;
        chat.enter(rest, "An answer.").await;
        chat.enter(&format!("{UP}{UP}"), "An answer.").await;
    }
    chat.leave().await;
    assert_eq!(
        prompts(&lab)[2..],
        [
            "draft one!",
            "draft two!",
            "first",
            "draft three",
            "first!",
            "draft four"
        ]
    );
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    let drafts = kept.lines().filter(|line| line.starts_with("draft"));
    // None of them twice, but for those that were sent as well.
    assert_eq!(
        drafts.collect::<Vec<_>>(),
        [
            "draft one!",
            "draft two",
            "draft two!",
            "draft three",
            "draft three",
            "draft four",
            "draft four"
        ]
    );
}

/// The shell would read, and run, what was typed before the process is stopped.
#[tokio::test]
async fn what_is_typed_ahead_is_not_left_to_the_shell() {
    let slowly = StreamOptions {
        chunk: 8,
        chunk_delay: Duration::from_millis(20),
        ..StreamOptions::default()
    };
    let lab = lab([Answer::text("word ".repeat(60)).streamed(slowly).forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.terminal.type_keys("first\r");
    chat.wait_for("word").await;
    chat.terminal.type_keys(&format!("second\r{CTRL_Z}{CTRL_BACKSLASH}"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let process = format!("/proc/{}/stat", chat.child.id().unwrap());
    let state = std::fs::read_to_string(process).unwrap();
    assert!(!state.contains(") T "), "it is stopped: {state}");
    // There it is seen, and not sent.
    chat.wait_for("> second").await;
    assert_eq!(prompts(&lab), ["first"]);
    chat.child.kill().await.unwrap();
}

#[tokio::test]
async fn ctrl_c_cancels_a_run_and_keeps_the_conversation() {
    let lab = lab([
        Answer::text("An answer."),
        Answer::fault(FaultKind::Stall, FaultPoint::Request),
        Answer::text("Another answer."),
    ]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("First.", "An answer.").await;
    let mut requests = lab.simulator.watch();
    chat.terminal.type_keys("Second.\r");
    requests.recv().await.unwrap();
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for("cancelling").await;
    chat.wait_for(PROMPT).await;
    // The prompt can be recalled.
    chat.terminal.type_keys(UP);
    chat.wait_for("> Second.").await;
    chat.enter("", "Another answer.").await;
    chat.leave().await;
    let third = &lab.simulator.requests()[2].body["messages"];
    assert_eq!(third.as_array().unwrap().len(), 3, "{third:#}");
}

fn send(signal: Signal, child: &Child) {
    let process = nix::unistd::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap());
    nix::sys::signal::kill(process, signal).unwrap();
}

/// In a pipe as well, where the next line would be paid for.
#[tokio::test]
async fn sigterm_and_sighup_during_an_answer_end_the_conversation() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP] {
        let lab = lab([
            Answer::fault(FaultKind::Stall, FaultPoint::Request),
            Answer::text("Never."),
        ]);
        let chat = Chat::start(&lab).await;
        let mut requests = lab.simulator.watch();
        chat.terminal.type_keys("Go.\r");
        requests.recv().await.unwrap();
        send(signal, &chat.child);
        chat.ended(130).await;
        assert_eq!(lab.simulator.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_line_that_is_half_typed_when_the_terminal_is_closed_can_be_recalled() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("whole", "An answer.").await;
    chat.terminal.type_keys("half a line");
    chat.wait_for("half a line").await;
    send(Signal::SIGTERM, &chat.child);
    // It stays on the screen.
    let shown = chat.ended(130).await;
    assert!(!shown.contains("half a line\r\u{1b}[K"), "{shown:?}");
    // What was sent isn't half typed.
    let chat = Chat::start(&lab).await;
    send(Signal::SIGHUP, &chat.child);
    chat.ended(130).await;
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "whole\nhalf a line\n");
}

/// No next line will read it, and the shell must not.
#[tokio::test]
async fn what_is_typed_ahead_when_the_process_is_ended_can_be_recalled() {
    let lab = lab([Answer::fault(FaultKind::Stall, FaultPoint::Request)]);
    let chat = Chat::start(&lab).await;
    let mut requests = lab.simulator.watch();
    chat.terminal.type_keys("Go.\r");
    requests.recv().await.unwrap();
    chat.terminal.type_keys("for the\rnext line");
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(Signal::SIGTERM, &chat.child);
    chat.ended(130).await;
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "Go.\nfor the\\nnext line\n");
}

/// The system drops what a terminal holds when it is closed, so it is too late to read it then.
#[tokio::test]
async fn what_is_typed_during_an_answer_is_kept_when_the_terminal_is_closed() {
    for term in ["xterm", "dumb"] {
        let lab = lab([Answer::fault(FaultKind::Stall, FaultPoint::Request)]);
        let mut terminal = Terminal::open();
        let mut command = lab.command(["chat"]);
        command.env("TERM", term);
        let child = terminal.start(command);
        terminal.wait_for("> ").await;
        let mut requests = lab.simulator.watch();
        terminal.type_keys("Go.\r");
        requests.recv().await.unwrap();
        terminal.type_keys("for the\rnext line");
        terminal.read_by_the_program().await;
        send(Signal::SIGHUP, &child);
        finish(child).await.expect_code(130);
        let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
        assert!(kept.ends_with("for the\\nnext line\n"), "{term}: {kept}");
    }
}

/// The reader ends after the first bytes, as after Ctrl-C, which ends all that a shell runs together.
#[tokio::test]
async fn what_is_typed_during_an_answer_is_kept_when_nobody_reads_the_answers_any_more() {
    let lab = lab([stalled("Half a paragraph.")]);
    let mut terminal = Terminal::open();
    let mut shell = lab.command_of("/bin/sh", ["-c", "\"$COFFERDAM\" chat | head -c 4"]);
    shell.env("COFFERDAM", lab.command([""]).as_std().get_program());
    let child = terminal.start(shell);
    terminal.wait_for(PROMPT).await;
    terminal.type_keys("Go.\r");
    terminal.wait_for("Half").await;
    terminal.type_keys("echo typed\rahead");
    terminal.read_by_the_program().await;
    terminal.type_keys(&format!("{CTRL_C} and more"));
    terminal.wait_for("The answers can't be written any more").await;
    finish(child).await;
    assert!(terminal.is_ordinary());
    // The shell would run what is left.
    terminal.read_by_the_program().await;
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "Go.\necho typed\\nahead and more\n");
}

/// A shell and the system both send SIGHUP when a terminal is closed, so the second one doesn't end the process before the
/// attempt is settled.
#[tokio::test]
async fn a_closed_terminal_cancels_the_run_and_settles_it() {
    let lab = lab([stalled("Half a paragraph, and then nothing more.")]);
    lab.configure("[plugins]\n");
    let mut terminal = Terminal::of_width(200);
    let child = terminal.start(lab.command(["run", "--plain", "Go."]));
    terminal.wait_for("Half a paragraph").await;
    let held = hold_ledger(&lab);
    send(Signal::SIGHUP, &child);
    terminal.wait_for("cancelling").await;
    send(Signal::SIGHUP, &child);
    drop(held);
    finish(child).await.expect_code(130);
    terminal.wait_for("output estimated, with a margin").await;
    let listed = lab.call(["session", "list", "--output", "json"]).await.expect_code(0);
    assert_eq!(listed.json()[0]["outcome"], "cancelled", "{listed}");
}

#[tokio::test]
async fn nohup_outlives_the_terminal() {
    let lab = lab([Answer::text("An answer.").delay(Duration::from_millis(500))]);
    let program = lab.command([""]).as_std().get_program().to_owned();
    let line = format!("trap '' HUP; exec '{}' run Go.", program.display());
    let child = lab.command_of("/bin/sh", ["-c", &line]).spawn().unwrap();
    lab.wait_for_model_request().await;
    send(Signal::SIGHUP, &child);
    assert_eq!(finish(child).await.expect_code(0).stdout, "An answer.\n");
}

/// Somebody else has the ledger, so the end of the run waits.
#[tokio::test]
async fn a_second_ctrl_c_ends_the_process_and_restores_the_terminal() {
    let lab = lab([Answer::fault(FaultKind::Stall, FaultPoint::Request)]);
    let mut chat = Chat::start(&lab).await;
    let mut requests = lab.simulator.watch();
    chat.terminal.type_keys("Go.\r");
    requests.recv().await.unwrap();
    assert!(!chat.terminal.is_ordinary());
    let _held = hold_ledger(&lab);
    chat.terminal.type_keys(&format!("typed ahead\r{CTRL_C}"));
    chat.wait_for("press Ctrl-C again to stop at once").await;
    chat.terminal.type_keys(CTRL_C);
    chat.ended(130).await;
    // The shell doesn't run it, and the next conversation can recall it.
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "Go.\ntyped ahead\n");
}

/// An answer that stalls after its beginning.
fn stalled(text: &str) -> Answer {
    let answer = MessageAnswer {
        text: text.to_owned(),
        usage: UsageAnswer::Given(UsageFigures {
            input_tokens: Some(700),
            output_tokens: Some(4_000),
            ..UsageFigures::default()
        }),
        ..MessageAnswer::default()
    };
    Answer::message(answer).with_fault(FaultKind::Stall, FaultPoint::Events(4))
}

/// A paragraph that hasn't ended isn't rendered yet, and must be on the screen before the process is gone.
#[tokio::test]
async fn a_second_ctrl_c_loses_no_text() {
    let lab = lab([stalled("Half a paragraph, and then nothing more.")]);
    lab.configure("[plugins]\n");
    let mut chat = Chat::start_on(&lab, Terminal::of_width(200), &["--verbose"]).await;
    chat.terminal.type_keys("Go.\r");
    // What has arrived of the paragraph, and then that nothing more does.
    chat.wait_for("Half").await;
    chat.wait_for("waiting for the model, 2 s").await;
    let _held = hold_ledger(&lab);
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for("press Ctrl-C again to stop at once").await;
    chat.wait_for("Half").await;
    // It didn't wait for the ledger.
    let shown = chat.terminal.text();
    assert!(!shown.contains("could not close a reservation yet"), "{shown:?}");
    chat.terminal.type_keys(CTRL_C);
    chat.ended(130).await;
}

#[tokio::test]
async fn a_cancelled_turn_is_called_cancelled_and_its_cost_is_explained() {
    for arguments in [&[][..], &["--plain"]] {
        let lab = lab([
            stalled("Half a paragraph, and then nothing more."),
            Answer::text("An answer."),
        ]);
        lab.configure("[plugins]\n");
        let mut chat = Chat::start_on(&lab, Terminal::of_width(200), arguments).await;
        let mut requests = lab.simulator.watch();
        chat.terminal.type_keys("Go.\r");
        requests.recv().await.unwrap();
        chat.wait_for("Half").await;
        chat.terminal.type_keys(CTRL_C);
        chat.wait_for("cancelled: 1 iteration, $0.").await;
        chat.wait_for("(1 attempt cut short: output estimated, with a margin)")
            .await;
        chat.wait_for(PROMPT).await;
        chat.enter("Again.", "An answer.").await;
        chat.terminal.type_keys(CTRL_D);
        chat.wait_for("completed: 2 iterations, 1 model attempt cancelled,")
            .await;
        let shown = chat.ended(0).await;
        assert!(!shown.contains("failed") && !shown.contains("WARN"), "{shown:?}");
    }
}

/// Takes the lock of writers, which SQLite places on this byte of the index of its write-ahead log.
fn hold_ledger(lab: &Lab) -> File {
    let index = lab.path("data/cofferdam/ledger.sqlite3-shm");
    let index = File::options().read(true).write(true).open(index).unwrap();
    let lock = flock {
        l_type: F_WRLCK as _,
        l_whence: SEEK_SET as _,
        l_start: 120,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&index, FcntlArg::F_SETLK(&lock)).unwrap();
    index
}

/// It isn't shown in the middle of an answer, nothing is cut off, and no Enter sends it by mistake.
#[tokio::test]
async fn what_is_typed_during_an_answer_waits_in_the_next_line() {
    let lab = lab([
        Answer::fault(FaultKind::Stall, FaultPoint::Request),
        Answer::text("An answer."),
    ]);
    let mut chat = Chat::start(&lab).await;
    let mut requests = lab.simulator.watch();
    chat.terminal.type_keys("Go.\r");
    requests.recv().await.unwrap();
    chat.terminal.type_keys("typed\rahead");
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for("cancelling").await;
    chat.wait_for("ahead").await;
    assert_eq!(lab.simulator.requests().len(), 1);
    chat.enter("", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab)[1], "typed\nahead");
}

/// The next line isn't empty then, so Enter alone would send another prompt.
#[tokio::test]
async fn a_cancelled_prompt_can_be_sent_again_after_what_was_typed_ahead() {
    let lab = lab([
        Answer::fault(FaultKind::Stall, FaultPoint::Request),
        Answer::text("An answer."),
    ]);
    let mut chat = Chat::start(&lab).await;
    let mut requests = lab.simulator.watch();
    chat.terminal.type_keys("Go.\r");
    requests.recv().await.unwrap();
    chat.terminal.type_keys(&format!("typed ahead{CTRL_C}"));
    chat.wait_for("Enter at an empty line sends it again. Up brings it back")
        .await;
    chat.wait_for("typed ahead").await;
    chat.terminal.type_keys(UP);
    chat.wait_for("> Go.").await;
    chat.terminal.type_keys(DOWN);
    chat.wait_for("> typed ahead").await;
    chat.terminal.type_keys(CTRL_C);
    chat.wait_for(PROMPT).await;
    chat.enter("", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["Go.", "Go."]);
}

#[tokio::test]
async fn a_prompt_that_could_not_be_sent_can_be_recalled() {
    let lab = lab([Answer::error(401).times(2), Answer::text("An answer.")]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("A long prompt.", "error").await;
    chat.enter("", "Enter at an empty line sends it again.").await;
    chat.terminal.type_keys(UP);
    chat.wait_for("> A long prompt.").await;
    chat.enter("", "An answer.").await;
    chat.leave().await;
    assert_eq!(prompts(&lab), ["A long prompt."; 3]);
}

#[tokio::test]
async fn a_pipe_has_the_commands_as_well() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let lines = "/help\nfirst\n/clear\nsecond\nquit\nthird\n";
    let Ran { stdout, stderr, .. } = lab.call_with_input(["chat"], lines).await.expect_code(0);
    assert_eq!(stdout, "An answer.\nAn answer.\n");
    for said in ["/model [NAME]", "The next prompt begins a new conversation"] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    assert!(!stderr.contains('>') && !stderr.contains("Ctrl-Y"), "{stderr}");
    assert_eq!(prompts(&lab), ["first", "second"]);
}

const MARKDOWN: &str = "A **bold** word.\n\n- an item with a text that has no room on a line of forty columns\n\n```\ncode **stays**\n```\n";

#[tokio::test]
async fn answers_are_rendered_on_a_terminal() {
    let lab = lab([Answer::text(MARKDOWN).forever()]);
    let mut chat = Chat::start_on(&lab, Terminal::of_width(40), &[]).await;
    chat.enter("Go.", "code **stays**").await;
    let shown = without_status(&chat.leave().await);
    for rendered in [
        "A \u{1b}[1mbold\u{1b}[0m word.\r\n\r\n",
        "• an item with a text that has no room\r\n  on a line of forty columns\r\n",
        "\u{1b}[36mcode **stays**\u{1b}[0m\r\n",
    ] {
        assert!(shown.contains(rendered), "{rendered:?}: {shown:?}");
    }
}

#[tokio::test]
async fn plain_text_has_no_colours_no_progress_and_no_markdown() {
    let lab = lab([Answer::text(MARKDOWN).forever()]);
    lab.configure("[plugins]\n");
    let mut terminal = Terminal::of_width(40);
    let child = terminal.start(lab.command(["run", "--plain", "Go."]));
    finish(child).await.expect_code(0);
    terminal.wait_for("session 0").await;
    let shown = terminal.text();
    assert!(shown.starts_with(&MARKDOWN.replace('\n', "\r\n")), "{shown:?}");
    assert!(!shown.contains('\u{1b}') && !shown.contains("model "), "{shown:?}");
    // A pipe gets the same bytes, without the option.
    let ran = lab.call(["run", "Go."]).await.expect_code(0);
    assert_eq!(ran.stdout, MARKDOWN);
}

#[tokio::test]
async fn a_narrow_terminal_can_show_the_whole_summary() {
    let lab = lab([
        tool_call("calculate", json!({ "expression": "1+1" })),
        Answer::text("Two."),
    ]);
    lab.configure("[plugins.calculator]\ncomponent = \"builtin:calculator\"\n");
    let mut terminal = Terminal::of_width(40);
    let child = terminal.start(lab.command(["run", "--summary", "full", "Go."]));
    terminal.wait_for("remaining").await;
    finish(child).await.expect_code(0);
    let shown = terminal.text();
    for line in ["tool         calculate\r\n", "outcomes     ok 1\r\n", "limit      $"] {
        assert!(shown.contains(line), "{line:?}: {shown:?}");
    }
}

#[tokio::test]
async fn help_fits_a_narrow_terminal() {
    let lab = lab([]);
    for words in [&[][..], &["run"], &["tool", "call"], &["mcp"]] {
        let mut terminal = Terminal::of_width(40);
        let child = terminal.start(lab.command([words, &["--help"]].concat()));
        finish(child).await.expect_code(0);
        terminal.wait_for("Print help").await;
        let text = terminal.text();
        // Without the styles.
        let pieces = text.split("\u{1b}[").enumerate();
        let shown: String = pieces
            .map(|(index, piece)| {
                if index == 0 {
                    piece
                } else {
                    piece.split_once('m').unwrap().1
                }
            })
            .collect();
        // One word has no place to break, and the tests' program has a longer name.
        let lines = shown.lines().filter(|line| line.split_whitespace().count() > 1);
        let lines = lines.filter(|line| !line.contains("-under-test"));
        let widest = lines.max_by_key(|line| line.trim_end().chars().count()).unwrap();
        assert!(widest.trim_end().chars().count() <= 40, "{words:?}: {widest:?}");
    }
    let mut chat = Chat::start_on(&lab, Terminal::of_width(40), &[]).await;
    chat.enter("/help", "sends a line that begins").await;
    let shown = chat.leave().await;
    let help = &shown[shown.find("/help  ").unwrap()..shown.find("sends a line").unwrap()];
    let widest = help.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 40, "{help:?}");
}

/// Such a terminal edits its lines itself, and drops what is beyond 4,095 bytes of one.
#[tokio::test]
async fn a_line_that_the_terminal_cuts_is_never_sent() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let start = |words: &[&str]| {
        let terminal = Terminal::open();
        let mut command = lab.command(words.iter().copied());
        command.env("TERM", "dumb");
        let child = terminal.start(command);
        (terminal, child)
    };
    let (mut terminal, child) = start(&["chat"]);
    terminal.wait_for("> ").await;
    terminal.type_keys(&format!("{}\n", "x".repeat(5_000)));
    terminal
        .wait_for("the terminal cut a line off after 4,095 bytes, so nothing was sent")
        .await;
    terminal.wait_for("> ").await;
    terminal.type_keys(&format!("{}\n", "y".repeat(4_000)));
    terminal.wait_for("An answer.").await;
    terminal.wait_for("> ").await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    assert_eq!(prompts(&lab), ["y".repeat(4_000)]);

    let (mut terminal, child) = start(&["run", "-"]);
    terminal.wait_for("reading the prompt from the terminal").await;
    terminal.type_keys(&format!("{}\n{CTRL_D}", "x".repeat(5_000)));
    terminal.wait_for("the terminal cut a line off").await;
    finish(child).await.expect_code(2);
    assert_eq!(lab.simulator.requests().len(), 1);
}

/// Such a terminal doesn't mark what is pasted.
#[tokio::test]
async fn a_dumb_terminal_gets_no_escapes_and_a_paste_is_one_prompt() {
    let answer = Answer::text(MARKDOWN).delay(Duration::from_millis(2_500));
    let lab = lab([answer, Answer::text("An answer.").forever()]);
    let mut terminal = Terminal::open();
    let mut command = lab.command(["chat"]);
    command.env("TERM", "dumb");
    let child = terminal.start(command);
    terminal.wait_for("> ").await;
    terminal.type_keys("one\n\nthree\n");
    terminal
        .wait_for("3 lines arrived together and are sent as one prompt")
        .await;
    terminal.wait_for("code **stays**").await;
    terminal.wait_for("> ").await;
    terminal.type_keys("four\n");
    terminal.wait_for("An answer.").await;
    terminal.wait_for("> ").await;
    terminal.type_keys(&format!("five\n{CTRL_D}"));
    finish(child).await.expect_code(0);
    assert_eq!(prompts(&lab), ["one\n\nthree", "four", "five"]);
    assert!(!terminal.text().contains('\u{1b}'), "{:?}", terminal.text());
}

/// Without a line editor as with one.
#[tokio::test]
async fn a_dumb_terminal_loses_nothing_to_ctrl_c_during_an_answer() {
    let stalled = || Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let lab = lab([stalled(), stalled(), stalled(), Answer::text("An answer.")]);
    let mut terminal = Terminal::open();
    let mut command = lab.command(["chat"]);
    command.env("TERM", "dumb");
    let child = terminal.start(command);
    let mut requests = lab.simulator.watch();
    terminal.wait_for("> ").await;
    terminal.type_keys("Go.\n");
    // Half a line, and a whole one, which isn't sent before it was seen.
    for (typed, shown) in [("half a li", "> half a li"), ("one\ntwo\n", "> one\r\ntwo\r\n")] {
        requests.recv().await.unwrap();
        terminal.type_keys(&format!("{typed}{CTRL_C}"));
        terminal.wait_for("cancelling").await;
        terminal.wait_for(shown).await;
        terminal.type_keys("ne\n");
    }
    // Ctrl-C at the line gives it up.
    requests.recv().await.unwrap();
    terminal.type_keys(&format!("given up{CTRL_C}"));
    terminal.wait_for("> given up").await;
    terminal.type_keys(CTRL_C);
    terminal.wait_for("once more").await;
    terminal.wait_for("> ").await;
    terminal.type_keys("last\n");
    terminal.wait_for("An answer.").await;
    terminal.wait_for("> ").await;
    terminal.type_keys(CTRL_D);
    finish(child).await.expect_code(0);
    assert!(terminal.is_ordinary());
    assert_eq!(prompts(&lab), ["Go.", "half a line", "one\ntwo\nne", "last"]);
    let kept = std::fs::read_to_string(lab.path("data/cofferdam/chat-history")).unwrap();
    assert_eq!(kept, "given up\n");
}

/// Ctrl-D that is typed during an answer ends the conversation after it.
#[tokio::test]
async fn the_end_of_the_input_can_be_typed_ahead() {
    for term in ["xterm", "dumb"] {
        let lab = lab([Answer::text("An answer.").delay(Duration::from_millis(300))]);
        let mut terminal = Terminal::open();
        let mut command = lab.command(["chat"]);
        command.env("TERM", term);
        let child = terminal.start(command);
        terminal.wait_for("> ").await;
        terminal.type_keys("Go.\r");
        lab.wait_for_model_request().await;
        terminal.type_keys(CTRL_D);
        finish(child).await.expect_code(0);
        assert!(terminal.text().contains("An answer."));
    }
}

#[tokio::test]
async fn a_tool_that_runs_for_long_is_seen_to_run() {
    let server = HttpServer::start(Behaviour::Silence).await;
    let input = json!({ "url": server.url() });
    let lab = lab([tool_call("fetch", input.clone()), Answer::text("Done.")]);
    lab.configure(&format!(
        "[plugins.faulty]\ncomponent = \"builtin:faulty\"\nhttp = [{{ url = \"{}/\" }}]\n[plugins.faulty.limits]\ntimeout = \"2500ms\"\n",
        server.url()
    ));
    let input = input.to_string();
    for words in [&["run", "Go."][..], &["tool", "call", "fetch", &input]] {
        let mut terminal = Terminal::open();
        let child = terminal.start(lab.command(words.iter().copied()));
        terminal.wait_for("\r\u{1b}[Krunning fetch, 1 s").await;
        terminal.wait_for("\r\u{1b}[Krunning fetch, 2 s").await;
        // It doesn't stay.
        terminal.wait_for("\r\u{1b}[K").await;
        finish(child).await;
    }
    let ran = lab.call(["tool", "call", "fetch", &input]).await.expect_code(1);
    assert!(!ran.stderr.contains("running"), "{ran}");
}

#[tokio::test]
async fn a_silent_model_is_waited_for_visibly() {
    let slow = || Answer::text("An answer.").delay(Duration::from_millis(2_500));
    let lab = lab([slow(), slow(), slow()]);
    lab.configure("[plugins]\n");
    let mut terminal = Terminal::open();
    let child = terminal.start(lab.command(["run", "Go."]));
    terminal.wait_for("\r\u{1b}[Kwaiting for the model, 2 s").await;
    terminal.wait_for("\r\u{1b}[KAn answer.").await;
    finish(child).await.expect_code(0);
    for quiet in ["--quiet", "--plain"] {
        let mut terminal = Terminal::open();
        let child = terminal.start(lab.command(["run", quiet, "Go."]));
        terminal.wait_for("An answer.").await;
        finish(child).await.expect_code(0);
        assert!(!terminal.text().contains("waiting"), "{:?}", terminal.text());
    }
}

/// It isn't sent again with the next one, which may look as if the model had forgotten it.
#[tokio::test]
async fn a_prompt_without_an_answer_is_said_to_be_left_out() {
    let lab = lab([Answer::error(401), Answer::text("An answer.")]);
    let ran = lab
        .call_with_input(["chat"], "first\n/detach\nsecond\n")
        .await
        .expect_code(0);
    assert_eq!(ran.stderr.matches("not part of the conversation").count(), 1, "{ran}");
    let sent = lab.simulator.requests();
    assert_eq!(sent[1].body["messages"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_component_that_was_rebuilt_is_named_once() {
    let lab = lab([Answer::text("An answer.").forever()]);
    let component = cofferdam::tools::builtin("calculator").unwrap();
    lab.write("letters.wasm", component);
    lab.configure("[plugins.letters]\ncomponent = \"letters.wasm\"\n");
    let mut chat = Chat::start(&lab).await;
    chat.enter("one", "An answer.").await;
    lab.write("letters.wasm", component);
    let says = "letters.wasm has changed since this chat began, and `cofferdam chat --continue` uses it.";
    chat.enter("two", says).await;
    chat.enter("three", "An answer.").await;
    let shown = chat.leave().await;
    assert_eq!(shown.matches("has changed since").count(), 1, "{shown}");
}

/// The first answer is paid for, and the results are in the conversation, so that nothing needs to be asked twice.
#[tokio::test]
async fn a_run_that_fails_after_its_tools_says_how_to_go_on() {
    let calls = tool_call("calculate", json!({ "expression": "1 + 1" }));
    let lab = lab([calls, Answer::error(401), Answer::text("It is two.")]);
    let mut chat = Chat::start(&lab).await;
    chat.enter("Add.", "stay in the conversation, without an answer").await;
    chat.terminal.type_keys(CTRL_D);
    let before = chat.ended(1).await;
    // In the next process as well.
    let mut terminal = Terminal::of_width(200);
    let child = terminal.start(lab.command(["chat", "--continue"]));
    terminal.wait_for("stay in the conversation, without an answer").await;
    terminal.wait_for(PROMPT).await;
    let mut chat = Chat { terminal, child };
    chat.enter("go on", "It is two.").await;
    let shown = before + &chat.leave().await;
    assert!(!shown.contains("is not part of the conversation"), "{shown}");
    let messages = lab.simulator.requests()[2].body["messages"].to_string();
    let has_all = ["Add.", "tool_result", "go on"]
        .iter()
        .all(|part| messages.contains(part));
    assert!(has_all, "{messages}");
}
