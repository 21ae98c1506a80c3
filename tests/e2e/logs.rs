//! Logs of a real run: levels, fields, and contents only on request.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use cofferdam::simulator::{Answer, FaultKind, FaultPoint};
use cofferdam_tests::{Lab, faulty, finish, tool_call, without_status};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lab;

const MARKER: &str = "the moon is made of cheese";

async fn log_of(lab: &Lab) -> Vec<Value> {
    lab.call(["run", "--output", "json", MARKER]).await.expect_code(0);
    let files: Vec<_> = std::fs::read_dir(lab.path("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn lab_with_marker() -> Lab {
    lab([tool_call("echo", json!({ "said": MARKER })), Answer::text(MARKER)])
}

#[tokio::test]
async fn an_answer_and_the_log_share_a_file_line_by_line() {
    let lab = lab([Answer::text("One line\nand another")]);
    let file = std::fs::File::create(lab.path("out")).unwrap();
    let mut run = lab.command(["run", "Go."]);
    run.stdout(file.try_clone().unwrap()).stderr(file);
    assert_eq!(run.status().await.unwrap().code(), Some(0));
    let out = std::fs::read_to_string(lab.path("out")).unwrap();
    let lines: Vec<&str> = out.lines().collect();
    for line in ["One line", "and another"] {
        assert!(lines.contains(&line), "{out}");
    }
}

/// The line isn't whole, so it is held back until the process exits.
#[tokio::test]
async fn a_second_signal_loses_nothing_of_a_shared_file() {
    let lab = lab([Answer::text("One\nand half").with_fault(FaultKind::Stall, FaultPoint::Events(4))]);
    let file = std::fs::File::create(lab.path("out")).unwrap();
    let mut run = lab.command(["run", "Go."]);
    run.stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = run.spawn().unwrap();
    let out = || std::fs::read_to_string(lab.path("out")).unwrap();
    while !out().contains("One\n") {
        assert!(child.try_wait().unwrap().is_none(), "{}", out());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Both have arrived when it goes on, so it exits before the run has ended.
    let id = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        kill_process(id, signal).unwrap();
    }
    child.wait().await.unwrap();
    assert!(out().contains("and half"), "{}", out());
}

#[tokio::test]
async fn the_log_file_describes_the_run_without_contents() {
    let lab = lab_with_marker();
    lab.configure(&format!("{}[logging]\ndirectory = \"logs\"\n", faulty("")));
    let lines = log_of(&lab).await;
    let text = serde_json::to_string(&lines).unwrap();
    assert!(!text.contains(MARKER), "{text}");
    for event in [
        "session_started",
        "model_attempt",
        "model_response",
        "tool_call_finished",
        "budget_settled",
        "session_finished",
    ] {
        let line = lines
            .iter()
            .find(|line| line.to_string().contains(event))
            .unwrap_or_else(|| panic!("{event}: {text}"));
        assert!(line.to_string().contains("session"), "{line}");
    }
    let finished = lines
        .iter()
        .find(|line| line.to_string().contains("tool_call_finished"))
        .unwrap()
        .to_string();
    assert!(
        finished.contains("echo") && finished.contains("fuel") && finished.contains("default"),
        "{finished}"
    );
}

/// The name of an unknown tool is text of the model, so the log omits it.
#[tokio::test]
async fn the_log_omits_the_name_of_an_unknown_tool() {
    let lab = lab([tool_call(MARKER, json!({})), Answer::text("No such tool.")]);
    lab.configure(&format!("{}[logging]\ndirectory = \"logs\"\n", faulty("")));
    let text = serde_json::to_string(&log_of(&lab).await).unwrap();
    assert!(
        text.contains("unknown_tool") && text.contains("(unknown)") && !text.contains(MARKER),
        "{text}"
    );
}

#[tokio::test]
async fn contents_are_logged_on_request() {
    let lab = lab_with_marker();
    lab.configure(&format!(
        "{}[logging]\ndirectory = \"logs\"\ncontents = true\n",
        faulty("")
    ));
    assert!(serde_json::to_string(&log_of(&lab).await).unwrap().contains(MARKER));
}

#[tokio::test]
async fn each_output_has_its_own_level() {
    let lab = lab_with_marker();
    lab.configure(&format!(
        "{}[logging]\ndirectory = \"logs\"\nfile = \"warn\"\nconsole = \"debug\"\n",
        faulty("")
    ));
    let ran = lab.call(["run", "--output", "json", "Go."]).await.expect_code(0);
    assert!(ran.stderr.contains("tool finished"), "{ran}");
    for entry in std::fs::read_dir(lab.path("logs")).unwrap() {
        assert_eq!(std::fs::read_to_string(entry.unwrap().path()).unwrap(), "");
    }
}

/// A tool that outputs terminal escapes. They become part of the answer and, with contents enabled, of the log.
fn lab_with_escapes() -> Lab {
    let lab = lab([
        tool_call("escape_sequences", json!({})),
        Answer::text("{{result:escape_sequences}}"),
    ]);
    lab.configure(&format!(
        "{}[logging]\ncontents = true\nconsole = \"trace\"\n",
        faulty("")
    ));
    lab
}

/// Whether a character can control a terminal: escape, bell, carriage return, C1 controls, bidirectional overrides.
fn is_terminal_control(c: char) -> bool {
    (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
}

#[tokio::test]
async fn escapes_of_a_tool_do_not_reach_the_terminal() {
    for arguments in [
        "run Go.",
        "run --output json Go.",
        "run --output stream-json Go.",
        "tool call escape_sequences {}",
    ] {
        let lab = lab_with_escapes();
        // `script` (util-linux) runs a command on a terminal and copies its output.
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_cofferdam-under-test"));
        let mut command = lab.command_of("script", ["-qec", &line, "/dev/null"]);
        command.env("PATH", env!("PATH")).env("NO_COLOR", "1");
        let child = command.spawn().expect("this test needs `script`, of util-linux");
        let ran = finish(child).await.expect_code(0);
        // The terminal itself ends lines with CR LF.
        let shown = without_status(&ran.stdout.replace("\r\n", "\n"));
        let found: Vec<char> = shown.chars().filter(|c| is_terminal_control(*c)).collect();
        assert!(found.is_empty(), "{arguments}: {found:?} in {shown:?}");
        for escaped in ["31mred", "202e"] {
            assert!(
                shown.contains(escaped),
                "it is there, written out: {arguments}: {shown}"
            );
        }
    }
}

/// A pipe gets the unmodified bytes of the answer. The log is escaped wherever it goes, because people read it.
#[tokio::test]
async fn escapes_of_a_tool_never_reach_the_log() {
    let lab = lab_with_escapes();
    let ran = lab.call(["run", "Go."]).await.expect_code(0);
    let found: Vec<char> = ran.stderr.chars().filter(|c| is_terminal_control(*c)).collect();
    assert!(found.is_empty() && ran.stderr.contains("31mred"), "{found:?} in {ran}");
    assert!(
        ran.stdout.contains("\u{1b}[31mred") && ran.stdout.contains('\u{202e}'),
        "{ran}"
    );
}

#[tokio::test]
async fn alerts_go_to_the_log() {
    let lab = lab([
        Answer::error(529),
        Answer::error(529),
        tool_call("panic", json!({})),
        tool_call("echo", json!({})),
        Answer::text("So."),
    ]);
    lab.configure(&format!(
        "{}[alerts]\nsession_cost_usd = 0.0001\n[plugins.faulty.breaker]\nfailure_threshold = 1\n",
        faulty("")
    ));
    let ran = lab.call(["run", "--output", "stream-json", "Go."]).await.expect_code(0);
    let rules: Vec<String> = ran
        .json_lines()
        .into_iter()
        .filter(|event| event["event"] == "alert")
        .map(|event| event["rule"].as_str().unwrap().to_owned())
        .collect();
    for rule in ["error_rate", "breaker_opened", "session_cost"] {
        assert_eq!(
            rules.iter().filter(|found| *found == rule).count(),
            1,
            "{rule} of {rules:?}"
        );
        assert!(ran.stderr.contains(rule), "{ran}");
    }
}
