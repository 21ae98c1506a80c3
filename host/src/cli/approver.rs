//! Asks the person at the terminal about calls that need an approval.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error;
use super::format;
use super::lines::{Restored, TerminalMode};
use super::live::Printed;
use super::output::Sink;
use crate::agent::{Answer, Approver, Question};
use crate::model::BoxFuture;
use crate::session::Approval;

/// Lines and characters of an input that are shown. `approval show` prints all of it.
const MAX_LINES: usize = 30;
const MAX_CHARS: usize = 3000;

/// How often it is looked whether something was typed.
const LOOK_EVERY: Duration = Duration::from_millis(30);
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// The longest answer.
const MAX_ANSWER_BYTES: usize = 4096;

const CHOICES: &str = "Allow it? [y]es, [n]o (you can say why: `n too many`), [a]lways in this session: ";

/// The person at the terminal.
#[derive(Debug)]
pub struct TerminalApprover {
    stderr: Sink,
    printed: Printed,
}

impl TerminalApprover {
    pub const fn new(stderr: Sink, printed: Printed) -> Self {
        Self { stderr, printed }
    }

    async fn answer(&self, question: &Question) -> Answer {
        // What the model said comes first.
        self.printed.wait().await;
        self.stderr.end_line();
        self.stderr
            .line(&in_words(&question.approval, &question.input.value().clone()));
        // What was typed before can't have been meant for this question.
        let terminal = Asked::begin();
        loop {
            self.stderr.write(CHOICES);
            let answer = terminal.line().await;
            match answer.as_deref().map(parse) {
                Ok(Some(answer)) => return answer,
                Ok(None) => self
                    .stderr
                    .line("Answer with y, n or a. Ctrl-D leaves it open, Ctrl-C cancels the run."),
                Err(_) => {
                    self.stderr.end_line();
                    return Answer::Later;
                }
            }
        }
    }
}

impl Approver for TerminalApprover {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(self.answer(question))
    }
}

/// What a person needs for a decision.
fn in_words(approval: &Approval, input: &serde_json::Value) -> String {
    let grants = match approval.grants.is_empty() {
        true => "nothing outside of its sandbox".to_owned(),
        false => format::escape(&approval.grants.join("\n")).into_owned(),
    };
    format!(
        "{}\n  input   {}\n  reaches {}",
        error::warning(
            &format!(
                "the model wants to call `{}` of the plugin `{}`",
                format::escape(&approval.tool),
                format::escape(&approval.plugin)
            ),
            None
        ),
        indented(&shown(input)),
        indented(&grants)
    )
}

fn indented(text: &str) -> String {
    text.replace('\n', "\n          ")
}

/// The input, up to the bounds.
fn shown(input: &serde_json::Value) -> String {
    let pretty = serde_json::to_string_pretty(input).unwrap_or_default();
    let escaped = format::escape_json(&pretty);
    let mut shown: String = escaped.lines().take(MAX_LINES).collect::<Vec<_>>().join("\n");
    if let Some((end, _)) = shown.char_indices().nth(MAX_CHARS) {
        shown.truncate(end);
    }
    if shown.len() < escaped.len() {
        shown += &format!(
            "\n… and {} more; leave it open with Ctrl-D, and `cofferdam approval show` prints all",
            format::bytes((escaped.len() - shown.len()) as u64)
        );
    }
    shown
}

/// `None` if it is no answer.
fn parse(line: &str) -> Option<Answer> {
    let line = line.trim();
    let (word, reason) = line
        .split_once(|character: char| character.is_whitespace() || matches!(character, ',' | ':'))
        .unwrap_or((line, ""));
    let reason = reason.trim();
    match (word.to_lowercase().as_str(), reason) {
        ("y" | "yes", "") => Some(Answer::Approve),
        ("a" | "always", "") => Some(Answer::ApproveForSession),
        ("n" | "no", "") => Some(Answer::Deny(None)),
        ("n" | "no", reason) => Some(Answer::Deny(Some(reason.to_owned()))),
        _ => None,
    }
}

/// The terminal while a question is asked: it echoes, and gives a line at a time. What was typed before is forgotten.
struct Asked {
    /// Held while a line is read, so that nothing is read once the question is over: it would be for somebody else.
    is_asked: Arc<Mutex<bool>>,
    /// Declared last: the terminal is as it was after the last read.
    _mode: Restored,
}

impl Asked {
    fn begin() -> Self {
        Self {
            is_asked: Arc::new(Mutex::new(true)),
            _mode: TerminalMode::for_lines(),
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// The input is over, or the terminal is gone.
    async fn line(&self) -> io::Result<String> {
        let is_asked = Arc::clone(&self.is_asked);
        let line = tokio::task::spawn_blocking(move || read_line(&is_asked)).await;
        line.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        *self.is_asked.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

fn read_line(is_asked: &Mutex<bool>) -> io::Result<String> {
    let mut line = Vec::new();
    while let Some(bytes) = read_some(is_asked)? {
        line.extend(bytes);
        if line.ends_with(b"\n") || line.len() > MAX_ANSWER_BYTES {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// What has been typed; `None` at the end of the input, or of the question.
fn read_some(is_asked: &Mutex<bool>) -> io::Result<Option<Vec<u8>>> {
    let is_asked = is_asked.lock().unwrap_or_else(PoisonError::into_inner);
    if !*is_asked {
        return Ok(None);
    }
    let stdin = io::stdin();
    if poll(&mut [PollFd::new(&stdin, PollFlags::IN)], Some(&NO_TIME))? == 0 {
        return Ok(Some(Vec::new()));
    }
    let mut bytes = vec![0; MAX_ANSWER_BYTES];
    let count = rustix::io::read(&stdin, &mut bytes)?;
    bytes.truncate(count);
    Ok((count > 0).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_clear_words_are_an_answer() {
        let deny = |reason: &str| Some(Answer::Deny(Some(reason.to_owned())));
        for (line, answer) in [
            ("y\n", Some(Answer::Approve)),
            (" YES ", Some(Answer::Approve)),
            ("a", Some(Answer::ApproveForSession)),
            ("n", Some(Answer::Deny(None))),
            ("no, not on a Sunday\n", deny("not on a Sunday")),
            ("n: too many", deny("too many")),
            ("", None),
            ("yes please", None),
            ("nothing", None),
            ("yn", None),
        ] {
            assert_eq!(parse(line), answer, "{line}");
        }
    }

    #[test]
    fn a_long_input_is_cut() {
        let lines = shown(&json!((0..100).collect::<Vec<_>>()));
        assert!(
            lines.lines().count() == MAX_LINES + 1 && lines.contains("… and "),
            "{lines}"
        );
        let characters = shown(&json!({ "text": "x".repeat(10_000) }));
        assert!(
            characters.len() < MAX_CHARS + 200 && characters.contains(" KiB more"),
            "{}",
            characters.len()
        );
        assert_eq!(shown(&json!({})), "{}");
        assert!(!shown(&json!({ "a": "\u{9b}\u{202e}" })).contains(['\u{9b}', '\u{202e}']));
    }
}
