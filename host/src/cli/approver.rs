//! Asks the person at the terminal about calls that need an approval.

use unicode_width::UnicodeWidthChar;

use super::error;
use super::format;
use super::lines::{Asked, TypedAhead};
use super::live::Printed;
use super::output::Sink;
use crate::agent::{Answer, Approver, Question};
use crate::events::ApprovalDecided;
use crate::model::BoxFuture;
use crate::session::Approval;

/// The lines of an input that are printed with the question.
const MAX_LINES: usize = 30;
/// The width of a terminal that doesn't say how wide it is.
const COLUMNS: usize = 80;

const LABEL: usize = 10;

const CHOICES: &str = "Allow it? [y]es, [n]o (you can say why: `n too many`), [a]lways in this session: ";
/// Where a part of the input isn't printed, nobody can know what they would allow.
const CHOICES_OF_A_PART: &str = "[v]iew all of the input, or say [n]o (you can say why: `n too many`): ";

/// The person at the terminal.
#[derive(Debug)]
pub struct TerminalApprover {
    stderr: Sink,
    printed: Printed,
    typed_ahead: TypedAhead,
}

impl TerminalApprover {
    pub const fn new(stderr: Sink, printed: Printed, typed_ahead: TypedAhead) -> Self {
        Self {
            stderr,
            printed,
            typed_ahead,
        }
    }

    async fn answer(&self, question: &Question) -> Answer {
        // Somebody elsewhere may answer.
        let _line = EndLine(&self.stderr);
        // What the model said comes first.
        self.printed.wait().await;
        self.stderr.end_line();
        let input = self.lines_of(question);
        let mut is_whole = input.len() <= MAX_LINES;
        let mut words = in_words(&question.approval, &input, self.columns());
        self.stderr.foreign_line(&words);
        let asked = Asked::begin(self.stderr.clone(), self.typed_ahead.clone());
        loop {
            let choices = if is_whole { CHOICES } else { CHOICES_OF_A_PART };
            let Ok(line) = asked.line(&words, choices).await else {
                return Answer::Later;
            };
            match parse(&line) {
                Some(Reply::View) => {
                    is_whole = true;
                    let whole = input.join("\n");
                    self.stderr.foreign_line(&whole);
                    words = format!("{words}\n{whole}");
                }
                Some(Reply::Answer(answer)) if is_whole || matches!(answer, Answer::Deny(_)) => return answer,
                reply => {
                    let waits = reply.is_none() && asked.refuse(&line);
                    let what = if waits {
                        "That is no answer, and waits in the next line. "
                    } else {
                        ""
                    };
                    self.stderr.line(&format!(
                        "{what}Type one of these letters and Enter. Ctrl-D leaves it open, Ctrl-C cancels the run."
                    ));
                }
            }
        }
    }

    fn columns(&self) -> usize {
        self.stderr.width().unwrap_or(COLUMNS)
    }

    /// The whole input, in lines of the terminal.
    fn lines_of(&self, question: &Question) -> Vec<String> {
        let pretty = serde_json::to_string_pretty(question.input.value()).unwrap_or_default();
        wrapped(&format::escape_json(&pretty), self.columns())
    }
}

/// Ends the line of a question that is over.
struct EndLine<'a>(&'a Sink);

impl Drop for EndLine<'_> {
    fn drop(&mut self) {
        self.0.end_line();
    }
}

impl Approver for TerminalApprover {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer> {
        Box::pin(self.answer(question))
    }

    fn came_too_late(&self, _: &Question, answer: &Answer, holds: ApprovalDecided) {
        self.stderr.line(&too_late(&self.typed_ahead, answer, holds));
    }
}

/// What is said of an answer that came too late. Its reason waits in the next line, if there is one.
fn too_late(typed_ahead: &TypedAhead, answer: &Answer, holds: ApprovalDecided) -> String {
    let what = match holds {
        ApprovalDecided::Approved | ApprovalDecided::ApprovedForSession => {
            "Your answer came too late: somebody else has approved the call."
        }
        ApprovalDecided::Denied => "Your answer came too late: somebody else has denied the call.",
        ApprovalDecided::Expired | ApprovalDecided::GivenUp => {
            "Your answer came too late: the time to decide about the call is over."
        }
    };
    match answer {
        Answer::Deny(Some(reason)) if typed_ahead.is_awaited() => {
            typed_ahead.push_line(&format!("n {reason}\n"));
            format!("{what} What you typed waits in the next line.")
        }
        _ => what.to_owned(),
    }
}

/// What a person needs for a decision.
fn in_words(approval: &Approval, input: &[String], columns: usize) -> String {
    let heading = format!(
        "the model wants to call `{}` of the plugin `{}`",
        format::escape(&approval.tool),
        format::escape(&approval.plugin)
    );
    let mut words = error::warning(&heading, None);
    let reach = wrapped(&format::escape(&approval.reach()), columns);
    let more = input.len().saturating_sub(MAX_LINES);
    let more = (more > 0).then(|| format!("… and {}", format::counted(more as u64, "more line")));
    let input = input.iter().take(MAX_LINES).cloned().chain(more);
    for (label, lines) in [("input", input.collect()), ("reaches", reach)] {
        let labels = std::iter::once(label).chain(std::iter::repeat(""));
        for (label, line) in labels.zip(lines) {
            // Every line is indented, so that none looks like a label.
            words += &format!("\n  {label:<8}{line}");
        }
    }
    words
}

/// The text in lines that fit the terminal behind a label. The terminal would begin the rest of a longer one at its left edge.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let room = columns.saturating_sub(LABEL + 1).max(20);
    let mut lines = Vec::new();
    for line in text.lines() {
        let (mut part, mut width) = (String::new(), 0);
        for character in line.chars() {
            let next = character.width().unwrap_or(0);
            if width + next > room {
                lines.push(std::mem::take(&mut part));
                width = 0;
            }
            part.push(character);
            width += next;
        }
        lines.push(part);
    }
    lines
}

enum Reply {
    Answer(Answer),
    /// Print all of the input.
    View,
}

/// Whether the line can only be meant as an answer to a question.
pub fn is_reply(line: &str) -> bool {
    !line.trim().contains(char::is_whitespace) && parse(line).is_some()
}

/// `None` if it is no answer.
fn parse(line: &str) -> Option<Reply> {
    let line = line.trim();
    let (word, reason) = line
        .split_once(|character: char| character.is_whitespace() || matches!(character, ',' | ':'))
        .unwrap_or((line, ""));
    let reason = reason.trim();
    Some(Reply::Answer(match (word.to_lowercase().as_str(), reason) {
        ("y" | "yes", "") => Answer::Approve,
        ("a" | "always", "") => Answer::ApproveForSession,
        ("n" | "no", "") => Answer::Deny(None),
        ("n" | "no", reason) => Answer::Deny(Some(reason.to_owned())),
        ("v" | "view", "") => return Some(Reply::View),
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use unicode_width::UnicodeWidthStr;

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
            let parsed = parse(line).map(|reply| match reply {
                Reply::Answer(answer) => answer,
                Reply::View => unreachable!("nobody asked for it"),
            });
            assert_eq!(parsed, answer, "{line}");
        }
        assert!(matches!(parse("v\n"), Some(Reply::View)));
        assert!(is_reply(" n ") && is_reply("yes") && is_reply("v"));
        assert!(!is_reply("no, do it tomorrow") && !is_reply("next") && !is_reply(""));
    }

    #[test]
    fn a_reason_that_came_too_late_waits_in_the_next_line() {
        let typed_ahead = TypedAhead::default();
        let late = Answer::Deny(Some("too many".to_owned()));
        let said = too_late(&typed_ahead, &late, ApprovalDecided::Approved);
        assert_eq!(said, "Your answer came too late: somebody else has approved the call.");
        assert_eq!(typed_ahead.take().text, "", "of a run, there is no next line");
        typed_ahead.await_lines();
        let said = too_late(&typed_ahead, &Answer::Approve, ApprovalDecided::Denied);
        assert_eq!(said, "Your answer came too late: somebody else has denied the call.");
        assert_eq!(typed_ahead.take().text, "");
        let said = too_late(&typed_ahead, &late, ApprovalDecided::Approved);
        assert!(said.ends_with("waits in the next line."), "{said}");
        assert_eq!(typed_ahead.take().text, "n too many\n");
    }

    #[test]
    fn no_line_of_an_input_reaches_the_edge() {
        let text = format!("{{ \"text\": \"{}  reaches  nothing\" }}\nlast", "字".repeat(40));
        let lines = wrapped(&text, 40);
        assert_eq!(lines.concat(), text.replace('\n', ""), "nothing is lost");
        assert!(
            lines.iter().all(|line| UnicodeWidthStr::width(line.as_str()) <= 29),
            "{lines:#?}"
        );
        assert_eq!(lines.last().unwrap(), "last");
    }
}
