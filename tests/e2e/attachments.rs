//! Files that come with a prompt: what the model gets, what is kept, and what is refused before anything is sent.

use std::ffi::CString;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cofferdam::simulator::{Answer, FaultKind, FaultPoint};
use cofferdam_tests::{Lab, Terminal, finish};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::lab;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\x09IDATa picture\0\0\0\0\0\0\0\0IEND\xaeB`\x82";
const PDF: &[u8] = b"%PDF-1.4\n/Type /Pages /Count 2";

fn lab_with_files(answers: impl IntoIterator<Item = Answer>) -> Lab {
    let lab = lab(answers);
    // A name says nothing about a type.
    lab.write("picture.txt", PNG);
    lab.write("paper", PDF);
    lab.write("notes.md", "# Notes\n");
    lab
}

const RUN: [&str; 8] = [
    "run",
    "--attach",
    "picture.txt",
    "--attach",
    "paper",
    "--attach",
    "notes.md",
    "Compare.",
];

fn content(body: &Value) -> &Value {
    &body["messages"][0]["content"]
}

#[tokio::test]
async fn each_type_is_sent_as_its_api_wants_it() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    lab.call(RUN).await.expect_code(0);
    let source = |media_type: &str, file: &[u8]| json!({ "type": "base64", "media_type": media_type, "data": STANDARD.encode(file) });
    let sent = &lab.simulator.requests()[0].body;
    let expected = json!([
        { "type": "image", "source": source("image/png", PNG) },
        { "type": "document", "source": source("application/pdf", PDF), "title": "paper" },
        { "type": "text", "text": "<file name=\"notes.md\">\n# Notes\n</file>" },
        { "type": "text", "text": "Compare.", "cache_control": { "type": "ephemeral" } },
    ]);
    assert_eq!(content(sent), &expected);

    lab.configure("provider = \"openai\"");
    lab.call(RUN).await.expect_code(0);
    let sent = &lab.simulator.requests()[1].body;
    let url = |media_type: &str, file: &[u8]| format!("data:{media_type};base64,{}", STANDARD.encode(file));
    let expected = json!([
        { "type": "image_url", "image_url": { "url": url("image/png", PNG) } },
        { "type": "file", "file": { "filename": "paper", "file_data": url("application/pdf", PDF) } },
        { "type": "text", "text": "<file name=\"notes.md\">\n# Notes\n</file>" },
        { "type": "text", "text": "Compare." },
    ]);
    assert_eq!(content(sent), &expected);
}

#[tokio::test]
async fn attachments_survive_a_resumed_run_and_are_shown_without_their_bytes() {
    let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let lab = lab_with_files([hangs, Answer::text("Done.").forever()]);
    // Large enough for a blob of its own.
    lab.write("picture.txt", [PNG, &[7; 10_000]].concat());
    let mut child = lab.command(RUN).spawn().unwrap();
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    let listed = lab
        .call(["session", "list", "--output", "json"])
        .await
        .expect_code(0)
        .json();
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    lab.call(["session", "resume", &id]).await.expect_code(0);
    lab.call(["run", "--session", &id, "And now?"]).await.expect_code(0);
    let requests = lab.simulator.requests();
    assert_eq!(requests.len(), 3);
    assert_eq!(content(&requests[0].body), content(&requests[1].body));
    let blocks = |body: &Value| content(body).as_array().unwrap()[..3].to_vec();
    assert_eq!(blocks(&requests[0].body), blocks(&requests[2].body));

    let bytes = STANDARD.encode([7; 300]);
    for format in ["text", "json"] {
        let shown = lab
            .call(["session", "show", &id, "--output", format])
            .await
            .expect_code(0)
            .stdout;
        assert!(!shown.contains(&bytes) && shown.contains("picture.txt"), "{shown}");
        if format == "text" {
            assert!(shown.contains("attached: picture.txt (image/png, 9.8 KiB)"), "{shown}");
            assert!(shown.contains("attached: paper (application/pdf,"), "{shown}");
        }
    }
    let exported = lab.call(["session", "export", &id]).await.expect_code(0).stdout;
    assert!(exported.contains(&bytes));
}

#[tokio::test]
async fn an_attachment_costs_what_it_is_and_not_its_base64() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    lab.configure("[budget]\nsession_usd = 0.20");
    // As text, a million bytes would reserve more than the budget has.
    lab.write("picture.txt", [PNG, &vec![7; 1_000_000]].concat());
    let report = lab
        .call(["run", "--output", "json", "--attach", "picture.txt", "Look."])
        .await
        .expect_code(0)
        .json();
    assert!(
        report["metrics"]["input_tokens"].as_u64().unwrap() < 3_000,
        "{report:#}"
    );
    lab.write("long.txt", "word ".repeat(200_000));
    let ran = lab
        .call(["run", "--output", "json", "--attach", "long.txt", "Read."])
        .await
        .expect_code(3);
    assert_eq!(ran.json()["outcome"], "budget_exceeded");
}

#[tokio::test]
async fn what_cannot_be_attached_is_refused_before_anything_is_sent() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    lab.write("empty.png", "");
    lab.write("program", b"\x7fELF\x02\x01\x01\0");
    lab.write("torn.png", &PNG[..20]);
    lab.write("my latin.txt", b"caf\xe9");
    lab.write("half", vec![b'a'; 5 << 20]);
    lab.write("other half", vec![b'b'; 5 << 20]);
    lab.write("huge.png", [PNG, &vec![7; 8 << 20]].concat());
    lab.write("large.png", [PNG, &vec![7; 7_900_000]].concat());
    let pipe = CString::new(lab.path("pipe").to_str().unwrap()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        pipe.as_c_str(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (files, says) in [
        (vec!["missing.png"], "can't read missing.png"),
        (vec!["."], "it isn't a file"),
        (vec!["pipe"], "it isn't a file"),
        (vec!["-"], "can't attach `-`: it isn't a file"),
        (vec!["/dev/zero"], "it isn't a file"),
        (vec!["empty.png"], "it is empty"),
        (vec!["program"], "no model reads a file of its type"),
        (vec!["torn.png"], "its end is missing"),
        (
            vec!["my latin.txt"],
            "it isn't text in UTF-8, but may be in WINDOWS-1252",
        ),
        (
            vec!["huge.png"],
            "it is too large; attachments can have 8.0 MiB together",
        ),
        (vec!["half", "other half"], "it is too large with the others"),
        (vec!["large.png"], "an image can have 7.5 MiB"),
    ] {
        let attach = files.into_iter().flat_map(|file| ["--attach", file]);
        let arguments: Vec<&str> = ["run", "--output", "json", "Go."].into_iter().chain(attach).collect();
        let ran = lab.call(arguments).await.expect_code(2);
        let error = ran.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{error}");
    }
    let ran = lab
        .call(["run", "--attach", "my latin.txt", "Go."])
        .await
        .expect_code(2);
    let command = "iconv -f WINDOWS-1252 -t UTF-8 'my latin.txt' > FILE";
    assert!(ran.stderr.contains(command), "{ran}");
    let ran = lab.call_with_input(["run", "--file", "-", "Go."], "Text.").await;
    let ran = ran.expect_code(2);
    assert!(
        ran.stderr.contains("what is piped into stdin is added to the prompt"),
        "{ran}"
    );
    assert!(lab.simulator.requests().is_empty());
    assert!(lab.call(["session", "list"]).await.stdout.is_empty());
}

#[tokio::test]
async fn a_conversation_sends_a_file_with_the_next_prompt() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    let input = "/attach picture.txt\nWhat is it?\nAnd?\n";
    let ran = lab.call_with_input(["chat"], input).await.expect_code(0);
    assert!(
        ran.stderr
            .contains("picture.txt (image/png, 41 B) goes with the next prompt."),
        "{ran}"
    );
    let requests = lab.simulator.requests();
    let images = |body: &Value| body.to_string().matches("\"image\"").count();
    assert_eq!((images(&requests[0].body), images(&requests[1].body)), (1, 1));
}

#[tokio::test]
async fn the_files_of_a_prompt_that_is_given_up_go_with_the_next_one() {
    for lines in ["Another.\nAnd?\n", "\nAnd?\n"] {
        let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
        let lab = lab_with_files([hangs, Answer::text("Done.").forever()]);
        let mut child = lab.command(RUN).spawn().unwrap();
        lab.wait_for_model_request().await;
        child.kill().await.unwrap();
        let chat = lab.call_with_input(["chat", "--continue"], lines).await.expect_code(0);
        assert!(
            chat.stderr
                .contains("gives it up, and gets its files: picture.txt (image/png, 41 B), paper ("),
            "{chat}"
        );
        let requests = lab.simulator.requests();
        let first = |index: usize| content(&requests[index].body).as_array().unwrap().len();
        assert_eq!([first(1), first(2)], [4, 4], "{lines}");
        let given_up = requests[1].body.to_string().contains("Compare.");
        assert_eq!(given_up, lines.starts_with('\n'), "{lines}");
        let last = requests[2].body["messages"].as_array().unwrap().last().unwrap();
        assert_eq!(last["content"].as_array().unwrap().len(), 1, "sent once: {last}");
    }
}

#[tokio::test]
async fn the_files_of_a_left_prompt_that_gets_no_answer_go_with_the_next_one() {
    let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let fails = Answer::error(529).times(3);
    let lab = lab_with_files([hangs, fails, Answer::text("Done.").forever()]);
    let mut child = lab.command(RUN).spawn().unwrap();
    lab.wait_for_model_request().await;
    child.kill().await.unwrap();
    let chat = ["chat", "--continue"];
    // The second line of a pipe isn't sent without an answer to the first.
    let failed = lab.call_with_input(chat, "\nNever.\n").await.expect_code(1);
    assert!(failed.stderr.contains("The conversation ends here"), "{failed}");
    let chat = lab.call_with_input(chat, "Another.\nAnd?\n").await.expect_code(0);
    let says = "The last prompt got no answer, and is not part of the conversation: Compare.\nEnter at an empty line sends it again. \
                Another prompt gives it up, and gets its files: picture.txt";
    assert!(chat.stderr.contains(says), "{chat}");
    let requests = lab.simulator.requests();
    assert_eq!(requests.len(), 6, "the left one, three refused, two more");
    let another = content(&requests[4].body).as_array().unwrap();
    assert_eq!(
        (another.len(), &another[3]["text"]),
        (4, &json!("Another.")),
        "{another:?}"
    );
    assert_eq!(requests[5].body["messages"][2]["content"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_file_is_named_as_in_a_shell_or_as_it_is() {
    let lab = lab_with_files([Answer::text("Done.")]);
    lab.write("my notes.md", "Mine.");
    lab.write("it's.md", "Its own.");
    let lines = [
        r#"/attach "my notes.md""#,
        r"/attach my\ notes.md",
        r#"/attach "my notes.md"#,
        "/attach my notes.md",
        "/attach it's.md",
        "/attach ~/notes.md 'my notes.md'",
    ];
    let ran = lab
        .call_with_input(["chat"], lines.join("\n") + "\nGo.\n")
        .await
        .expect_code(0);
    let shown = format!("\n{}", ran.stderr);
    let attached = |name: &str| shown.matches(&format!("{name} (text/")).count();
    assert_eq!(
        (attached("\nmy notes.md"), attached("\nit's.md"), attached("\nnotes.md")),
        (1, 1, 1),
        "{ran}"
    );
    assert_eq!(shown.matches("\nmy notes.md is attached already.").count(), 4, "{ran}");
}

#[tokio::test]
async fn what_is_attached_can_be_listed_and_removed() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    lab.write("my notes.md", "Mine.");
    std::fs::create_dir(lab.path("other")).unwrap();
    lab.write("other/notes.md", "Other notes.");
    let lines = [
        "/attach",
        "/detach",
        "/attach other/notes.md",
        "/attach notes.md picture.txt 'my notes.md'",
        "/attach",
        "/detach my notes.md",
        "/detach './notes.md'",
        "/detach notes.md",
        "Only the picture.",
        "/attach notes.md",
        "/detach",
        "Nothing.",
    ];
    let ran = lab
        .call_with_input(["chat"], lines.join("\n") + "\n")
        .await
        .expect_code(0);
    let shown = format!("\n{}", ran.stderr);
    for said in [
        "\nNothing is attached. `/attach",
        "\nNothing is attached.\n",
        "\nAnother file of this name still goes with the next prompt: notes.md (text/plain, 12 B).",
        "\nmy notes.md (text/plain, 5 B) isn't attached any more.",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    // When it was attached, and in the list.
    assert_eq!(shown.matches("\npicture.txt (").count(), 2, "{shown}");
    let requests = lab.simulator.requests();
    let attached = |index: usize| {
        let messages = requests[index].body["messages"].as_array().unwrap();
        messages.last().unwrap()["content"].as_array().unwrap().len() - 1
    };
    assert_eq!((attached(0), attached(1)), (1, 0));
}

#[tokio::test]
async fn a_budget_that_is_too_small_for_an_attachment_names_the_prompt() {
    let lab = lab_with_files([]);
    lab.configure("max_tokens = 100\n");
    lab.write("notes.md", "many words ".repeat(40_000));
    let ran = lab
        .call(["run", "--budget", "0.05", "--attach", "notes.md", "Go."])
        .await;
    let says =
        "raise `--budget`; or send less: the prompt, with its attachments and the conversation before it, can cost $";
    let ran = ran.expect_code(3);
    assert!(ran.stderr.contains(says), "{ran}");
    let system = "many words ".repeat(40_000);
    lab.configure(&format!("max_tokens = 100\n[agent]\nsystem = \"{system}\"\n"));
    let ran = lab.call(["run", "--budget", "0.05", "Go."]).await.expect_code(3);
    let says = "or send less: the prompt, which is mostly the system prompt and the definitions of tools, can cost $";
    assert!(ran.stderr.contains(says), "{ran}");
    lab.configure("max_tokens = 50000\n");
    let ran = lab.call(["run", "--budget", "0.05", "Go."]).await.expect_code(3);
    assert!(
        ran.stderr.contains("or lower `[model] max_tokens`: the longest answer"),
        "{ran}"
    );
}

/// Nobody has cancelled anything when a terminal is closed.
#[tokio::test]
async fn the_prompt_of_a_closed_terminal_is_left_to_go_on_with() {
    let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    let lab = lab_with_files([hangs, Answer::text("Done.").forever()]);
    let mut terminal = Terminal::open();
    let chat = terminal.start(lab.command(["chat"]));
    // The editor is there, and asks the terminal to mark what is pasted.
    let edits = "\u{1b}[?2004h";
    terminal.wait_for(edits).await;
    terminal.type_keys("/attach notes.md\r");
    terminal.wait_for("goes with the next prompt").await;
    terminal.wait_for(edits).await;
    terminal.type_keys("Summarise.\r");
    lab.wait_for_model_request().await;
    let id = i32::try_from(chat.id().unwrap()).unwrap();
    kill(Pid::from_raw(id), Signal::SIGHUP).unwrap();
    finish(chat).await;
    let lines = "Another.\n";
    let chat = lab.call_with_input(["chat", "--continue"], lines).await.expect_code(0);
    let offers = "The last prompt was not answered to the end: Summarise.";
    assert!(
        chat.stderr.contains(offers) && chat.stderr.contains("gets its files: notes.md"),
        "{chat}"
    );
    // The terminal that the charge was said on is gone.
    assert!(
        chat.stderr.contains("cut off before its answer") && chat.stderr.contains("budget reverse"),
        "{chat}"
    );
    let sent = content(&lab.simulator.requests()[1].body).clone();
    assert_eq!(sent.as_array().unwrap().len(), 2, "{sent}");
}

#[tokio::test]
async fn a_file_that_is_missing_ends_a_conversation_of_a_pipe_before_it_costs_anything() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    let ran = lab.call_with_input(["chat"], "/attach nofile\nSummarise it.\n").await;
    let ran = ran.expect_code(2);
    assert!(ran.stderr.contains("can't read"), "{ran}");
    assert!(ran.stderr.contains("The conversation ends here"), "{ran}");
    assert_eq!(lab.simulator.requests().len(), 0);
}

#[tokio::test]
async fn clear_begins_a_new_session_after_an_old_one_and_keeps_what_is_attached() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    let chat = ["chat", "--session", "trip"];
    lab.call_with_input(chat, "First.\n").await.expect_code(0);
    let ran = lab
        .call_with_input(chat, "/attach notes.md\n/clear\nSecond.\n")
        .await
        .expect_code(0);
    let says = "The old one is kept as trip; `cofferdam session delete trip` forgets it. What was attached stays so.";
    assert!(ran.stderr.contains(says), "{ran}");
    let requests = lab.simulator.requests();
    let messages = requests[1].body["messages"].as_array().unwrap();
    assert_eq!(
        (messages.len(), messages[0]["content"].as_array().unwrap().len()),
        (1, 2)
    );

    // With nothing to forget, the session stays the same.
    let ran = lab
        .call_with_input(["chat", "--session", "new"], "/clear\nFirst.\n")
        .await
        .expect_code(0);
    assert!(
        ran.stderr.contains("There is no conversation to forget.") && ran.stderr.contains("session new"),
        "{ran}"
    );
}

/// What asks the terminal to mark what is pasted: from then on a line is edited.
const PROMPT: &str = "\u{1b}[?2004h";
const CTRL_D: &str = "\u{4}";

/// `cofferdam chat` at its prompt, on a terminal.
struct Chat {
    terminal: Terminal,
    child: Child,
}

impl Chat {
    async fn start(lab: &Lab, arguments: &[&str], offers: &str) -> Self {
        let mut terminal = Terminal::of_width(300);
        let child = terminal.start(lab.command([&["chat"], arguments].concat()));
        terminal.wait_for(offers).await;
        terminal.wait_for(PROMPT).await;
        Self { terminal, child }
    }

    /// Types a line, and waits for each of these words and for the next prompt.
    async fn enter(&mut self, line: &str, says: &[&str]) {
        self.terminal.type_keys(&format!("{line}\r"));
        for words in says {
            self.terminal.wait_for(words).await;
        }
        self.terminal.wait_for(PROMPT).await;
    }

    async fn leave(self, code: i32) -> String {
        self.terminal.type_keys(CTRL_D);
        finish(self.child).await.expect_code(code);
        self.terminal.text()
    }
}

/// A conversation whose process was killed while the model was silent about a prompt with notes.
async fn killed(lab: &Lab) {
    let mut chat = Chat::start(lab, &[], "").await;
    chat.enter("/attach notes.md", &["goes with the next prompt"]).await;
    chat.terminal.type_keys("Summarise.\r");
    lab.wait_for_model_request().await;
    chat.child.kill().await.unwrap();
}

fn hanging() -> Lab {
    let hangs = Answer::fault(FaultKind::Stall, FaultPoint::Request);
    lab_with_files([hangs, Answer::text("Done.").forever()])
}

/// The last message of the newest request.
fn last_message(lab: &Lab) -> String {
    let requests = lab.simulator.requests();
    let messages = requests.last().unwrap().body["messages"].as_array().unwrap();
    messages.last().unwrap().to_string()
}

const STAYS: &str = "`. What was attached stays so.";

#[tokio::test]
async fn the_files_of_a_left_prompt_stay_after_the_budget_refused_to_go_on() {
    let lab = hanging();
    killed(&lab).await;
    let left = "The last prompt was not answered to the end: Summarise.";
    let gets = "Another prompt gives it up, and gets its files: notes.md";
    let mut chat = Chat::start(&lab, &["--continue", "--budget", "0.01"], gets).await;
    chat.enter(
        "",
        &["budget_exceeded", left, "Enter at an empty line goes on with it.", gets],
    )
    .await;
    chat.leave(3).await;
    // Another process offers the same.
    let mut chat = Chat::start(&lab, &["--continue", "--budget", "0.01"], left).await;
    chat.enter("", &["budget_exceeded", gets]).await;
    chat.enter("Third.", &["budget_exceeded", "Your prompt is not part", STAYS])
        .await;
    chat.leave(3).await;
    assert_eq!(lab.simulator.requests().len(), 1);

    let left = "The last prompt got no answer, and is not part of the conversation: Third.";
    let mut chat = Chat::start(&lab, &["--continue"], left).await;
    chat.enter("Fourth.", &["Done."]).await;
    let shown = chat.leave(0).await;
    assert!(
        shown.contains("Enter at an empty line sends it again.") && shown.contains(gets),
        "{shown}"
    );
    let sent = last_message(&lab);
    assert!(sent.contains("# Notes") && sent.contains("Fourth."), "{sent}");
    // Now it is answered.
    let shown = Chat::start(&lab, &["--continue"], "").await.leave(0).await;
    assert!(!shown.contains("The last prompt"), "{shown}");
}

/// From the next process on as well, whether the run of the prompt has ended or not.
#[tokio::test]
async fn what_was_removed_stays_away() {
    for has_ended in [false, true] {
        let lab = hanging();
        lab.write("other.md", "# Others\n");
        if has_ended {
            let mut chat = Chat::start(&lab, &["--budget", "0.00001"], "").await;
            chat.enter("/attach notes.md other.md", &["goes with the next prompt", "goes with"])
                .await;
            chat.enter("Summarise.", &["budget_exceeded", STAYS]).await;
            chat.enter(
                "/detach other.md",
                &["other.md (text/plain, 9 B) isn't attached any more."],
            )
            .await;
            chat.leave(3).await;
        } else {
            killed(&lab).await;
        }
        let mut chat = Chat::start(&lab, &["--continue"], "gets its files: notes.md").await;
        chat.enter("/detach", &["isn't attached any more."]).await;
        let shown = chat.leave(0).await;
        assert!(!shown.contains("other.md"), "{shown}");
        let mut chat = Chat::start(&lab, &["--continue"], "Another prompt gives it up.").await;
        chat.enter("/attach", &["Nothing is attached."]).await;
        chat.leave(0).await;
    }
}

#[tokio::test]
async fn an_unanswered_prompt_is_offered_again_by_the_next_conversation() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    let mut chat = Chat::start(&lab, &["--budget", "0.00001"], "").await;
    chat.enter("/attach notes.md", &["goes with the next prompt"]).await;
    chat.enter("Summarise.", &["budget_exceeded", STAYS]).await;
    let shown = chat.leave(3).await;
    assert!(!shown.contains("not kept"), "{shown}");
    let offers = "Another prompt gives it up, and gets its files: notes.md";
    let mut chat = Chat::start(&lab, &["--continue", "--budget", "1"], offers).await;
    chat.enter("", &["Done."]).await;
    chat.leave(0).await;
    let sent = last_message(&lab);
    assert!(sent.contains("# Notes") && sent.contains("Summarise."), "{sent}");
}

#[tokio::test]
async fn files_that_were_never_sent_are_named_at_the_end() {
    let lab = lab_with_files([]);
    let mut chat = Chat::start(&lab, &[], "").await;
    chat.enter("/attach notes.md", &["goes with the next prompt"]).await;
    let shown = chat.leave(0).await;
    assert!(
        shown.contains("Not answered, and not kept: notes.md (text/plain, 8 B)."),
        "{shown}"
    );
}

#[tokio::test]
async fn clear_keeps_the_files_that_were_offered() {
    let lab = hanging();
    killed(&lab).await;
    let mut chat = Chat::start(&lab, &["--continue"], "gets its files: notes.md").await;
    chat.enter("/clear", &["What was attached stays so."]).await;
    chat.enter("Next.", &["Done."]).await;
    chat.leave(0).await;
    let sent = last_message(&lab);
    assert!(sent.contains("# Notes") && !sent.contains("Summarise."), "{sent}");
}

#[tokio::test]
async fn a_file_is_attached_once() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    // Two of them would be too large together.
    lab.write("half", vec![b'a'; 5 << 20]);
    let mut chat = Chat::start(&lab, &[], "").await;
    let says = ["notes.md (text/plain", "notes.md is attached already."];
    chat.enter("/attach notes.md ./notes.md", &says).await;
    chat.enter("/attach half half", &["half (text/plain", "half is attached already."])
        .await;
    lab.write("notes.md", "# Other notes\n");
    chat.enter("/attach notes.md", &["goes with the next prompt."]).await;
    chat.leave(0).await;

    let twice = ["run", "--attach", "notes.md", "--attach", "notes.md", "Go."];
    let ran = lab.call(twice).await.expect_code(0);
    assert!(ran.stderr.contains("notes.md is attached already."), "{ran}");
    assert_eq!(last_message(&lab).matches("# Other notes").count(), 1);
}

/// Whatever the output: the prompt and its file can be sent again, and who sends another prompt reads what is left behind.
#[tokio::test]
async fn a_prompt_that_failed_can_be_sent_again_with_its_files() {
    for output in ["text", "json"] {
        let lab = lab_with_files([Answer::error(401), Answer::error(401), Answer::text("Done.").forever()]);
        let run = ["run", "--session", "trip", "--output", output];
        let failed = lab.call([&run[..], &["--attach", "notes.md", "First."]].concat()).await;
        let says = "The prompt and what was attached are not part of the session: there was no answer. \
                    `cofferdam session resume trip` sends it again, with notes.md (text/plain, 8 B).";
        assert!(failed.stderr.contains(says), "{failed}");
        failed.expect_code(1);

        let resume = ["session", "resume", "trip", "--output", output];
        let failed = lab.call(resume).await.expect_code(1);
        assert!(failed.stderr.contains(says), "{failed}");
        let resumed = lab.call(resume).await.expect_code(0);
        let says = "Sending the last prompt again, with notes.md (text/plain, 8 B): First.";
        assert!(
            resumed.stderr.contains(says) && !resumed.stderr.contains("not part of the session"),
            "{resumed}"
        );
        let sent = last_message(&lab);
        assert!(sent.contains("# Notes") && sent.contains("First."), "{sent}");
        let over = lab.call(resume).await.expect_code(2);
        assert!(format!("{over}").contains("nothing is left to do"), "{over}");

        // The budget refuses before anything is sent.
        let refused = lab.call([&run[..], &["--budget", "0.00001", "--attach", "notes.md", "paper"]].concat());
        refused.await.expect_code(3);
        let other = lab
            .call([&run[..], &["--quiet", "--attach", "paper", "Another."]].concat())
            .await;
        let says = "what was attached to it isn't sent with this one: notes.md (text/plain, 8 B)";
        assert!(other.stderr.contains(says), "{other}");
        other.expect_code(0);
        let sent = last_message(&lab);
        assert!(!sent.contains("# Notes") && sent.contains("Another."), "{sent}");
        let more = lab.call([&run[..], &["More."]].concat()).await.expect_code(0);
        assert!(!more.stderr.contains("isn't sent with this one"), "{more}");
    }
}

/// The answer to a prompt that is sent again matches its schema as well.
#[tokio::test]
async fn a_prompt_is_sent_again_with_its_schema() {
    let lab = lab_with_files([Answer::error(401), Answer::text("{\"n\": 1}")]);
    lab.write(
        "schema.json",
        r#"{"type": "object", "properties": {"n": {"type": "integer"}}}"#,
    );
    let run = ["run", "--session", "trip", "--schema", "schema.json", "Count."];
    lab.call(run).await.expect_code(1);
    lab.call(["session", "resume", "trip"]).await.expect_code(0);
    let requests = lab.simulator.requests();
    assert_eq!(requests[1].body["output_config"], requests[0].body["output_config"]);
    assert!(requests[1].body["output_config"].is_object(), "{}", requests[1].body);
}

/// A session whose first prompt had a long file, and what the next run may cost so that it can't send it.
async fn with_a_long_file(lab: &Lab) -> String {
    lab.configure("max_tokens = 100\n");
    lab.write("big.txt", "many words ".repeat(6_000));
    let first = lab
        .call([
            "run",
            "--session",
            "trip",
            "--output",
            "json",
            "--attach",
            "big.txt",
            "First.",
        ])
        .await;
    let report = first.expect_code(0).json();
    assert!(report.get("left_out").is_none(), "{report}");
    let spent = report["budget"][0]["spent_usd"].to_string();
    let spent: f64 = spent.trim_matches('"').parse().unwrap();
    format!("{:.6}", spent + 0.01)
}

/// What the budget of one run doesn't cover is sent again by the next one.
#[tokio::test]
async fn a_file_that_a_low_budget_leaves_out_comes_back() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    let budget = with_a_long_file(&lab).await;
    let run = ["run", "--session", "trip"];
    let has_file = || {
        lab.simulator
            .requests()
            .pop()
            .unwrap()
            .body
            .to_string()
            .contains("many words many")
    };
    for options in [&["--quiet"][..], &["--output", "json"]] {
        let low = lab
            .call([&run[..], &["--budget", &budget], options, &["Second."]].concat())
            .await;
        let low = low.expect_code(0);
        let says = "left out of requests of this run, because the budget doesn't cover them: big.txt (64.5 KiB)";
        assert!(low.stderr.contains(says), "{low}");
        if options.contains(&"json") {
            let left_out = json!([{ "name": "big.txt", "bytes": 66_000, "comes_back": true, "reason": "budget" }]);
            assert_eq!(low.json()["left_out"], left_out);
        }
        assert!(!has_file());
    }
    let third = lab.call([&run[..], &["Third."]].concat()).await.expect_code(0);
    assert!(has_file() && !third.stderr.contains("left out"), "{third}");
    let shown = lab.call(["session", "show", "trip"]).await.expect_code(0).stdout;
    let says = "left out of one request, because of the budget: big.txt (64.5 KiB)\n";
    assert_eq!(shown.matches(says).count(), 2, "{shown}");
}

/// The model's limit won't change.
#[tokio::test]
async fn a_file_that_the_model_does_not_accept_is_left_out_for_good() {
    let lab = lab_with_files([
        Answer::text("Done."),
        Answer::error(413),
        Answer::text("Done.").forever(),
    ]);
    with_a_long_file(&lab).await;
    let run = ["run", "--session", "trip", "--quiet"];
    let second = lab.call([&run[..], &["Second."]].concat()).await.expect_code(0);
    let says =
        "left out of the conversation for good, because the model's API doesn't accept the whole: big.txt (64.5 KiB)";
    assert!(
        second.stderr.contains(says) && second.stderr.contains("attach them again"),
        "{second}"
    );
    lab.call([&run[..], &["Third."]].concat()).await.expect_code(0);
    let sent = lab.simulator.requests().pop().unwrap().body.to_string();
    assert!(!sent.contains("many words many"), "{sent}");
    let shown = lab.call(["session", "show", "trip"]).await.expect_code(0).stdout;
    let says = "left out of the conversation from here on: big.txt (64.5 KiB)\n";
    assert_eq!(shown.matches(says).count(), 1, "{shown}");
}

/// The API accepts a hundred images and PDFs per request, and the host sends eighty.
#[tokio::test]
async fn files_that_newer_ones_leave_no_room_for_are_named_once() {
    let lab = lab_with_files([Answer::text("Done.").forever()]);
    lab.configure("max_tokens = 100\n");
    let run = async |numbers: std::ops::Range<u32>, output: &str| {
        let names: Vec<String> = numbers.map(|number| format!("{number}.pdf")).collect();
        for name in &names {
            lab.write(name, format!("%PDF-1.4\n/Type /Page {name}"));
        }
        let mut command = vec!["run", "--session", "trip", "--budget", "20", "--output", output, "Go."];
        command.extend(names.iter().flat_map(|name| ["--attach", name.as_str()]));
        lab.call(command).await.expect_code(0)
    };
    run(0..50, "text").await;
    let full = run(50..80, "text").await;
    assert!(!full.stderr.contains("left out"), "{full}");
    let ran = run(80..82, "json").await;
    let says = "left out of the conversation for good, because a request has room for 80 images and PDFs, and 20.0 MiB of them in \
                base64: 1.pdf (26 B), 0.pdf (26 B)";
    assert!(
        ran.stderr.contains(says) && ran.stderr.contains("attach them again"),
        "{ran}"
    );
    assert_eq!(ran.json()["left_out"][1]["name"], "0.pdf");
    assert_eq!(ran.json()["left_out"][1]["reason"], "crowded_out");
    let next = run(82..82, "text").await;
    assert!(!next.stderr.contains("left out"), "{next}");
    let shown = lab.call(["session", "show", "trip"]).await.expect_code(0).stdout;
    let says = "left out of the conversation from here on, because a request has room for 80 images and PDFs, and 20.0 MiB of them in \
                base64: 1.pdf (26 B), 0.pdf (26 B)\n";
    assert_eq!(shown.matches(says).count(), 1, "{shown}");
}

/// A run that fails afterwards can't be asked what it sent.
#[tokio::test]
async fn a_run_that_fails_names_the_files_that_it_left_out_for_good() {
    let lab = lab_with_files([Answer::text("Done."), Answer::error(413), Answer::error(401)]);
    with_a_long_file(&lab).await;
    let run = ["run", "--session", "trip", "--quiet", "Second."];
    let ran = lab.call(run).await.expect_code(1);
    let says = "left out of the conversation for good, because the model's API doesn't accept the whole: big.txt";
    assert!(ran.stderr.contains(says), "{ran}");
}
