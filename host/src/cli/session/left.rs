//! What a run has left without an answer.

use super::short;
use crate::agent::{RunReport, Session};
use crate::cli::{Context, attach, error};
use crate::events::Ending;
use crate::transcript::Attachment;

/// Says what a run has left without an answer, and how to go on with it.
pub fn note_left(cx: &Context, session: &Session, report: &RunReport) {
    // The error of a run that waits for a person says how. What can't be written can't be resumed.
    if !session.is_kept() || report.unsaved.is_some() || report.outcome == Ending::AwaitingApproval {
        return;
    }
    let id = short(session.id());
    if cx.stdout.has_failed() && !report.answer.is_empty() {
        cx.note(&format!(
            "The answer that can't be written is kept: `cofferdam session show {id}` shows it."
        ));
    }
    let resume = format!("`cofferdam session resume {id}`");
    let what = match session.unanswered() {
        _ if session.unfinished().is_some() => format!("The run has not ended: {resume} goes on with it."),
        Some(_) if session.drafted().is_some() => format!("The prompt after it was not sent yet: {resume} sends it."),
        Some((_, files)) => {
            let (what, are) = match files.is_empty() {
                true => ("The prompt", "is"),
                false => ("The prompt and what was attached", "are"),
            };
            let with = with_files(&files);
            format!("{what} {are} not part of the session: there was no answer. {resume} sends it again{with}.")
        }
        None if session.ends_with_calls() => format!(
            "The prompt and the calls of tools stay in the session, without an answer. `cofferdam run --session {id} 'go on'` goes on from \
             there."
        ),
        None => return,
    };
    cx.note(&what);
}

/// Names the files of an unanswered prompt that another prompt leaves behind.
pub fn warn_of_files_left(cx: &Context, session: &Session, attached: &[Attachment]) {
    let (_, files) = session.unanswered().unwrap_or_default();
    let left: Vec<&Attachment> = files.into_iter().filter(|file| !attached.contains(file)).collect();
    if left.is_empty() {
        return;
    }
    let names: Vec<String> = left.into_iter().map(attach::describe).collect();
    let message = format!(
        "the last prompt got no answer, and what was attached to it isn't sent with this one: {}",
        names.join(", ")
    );
    let hint = format!(
        "attach it again with `--attach`; `cofferdam session resume {}` would have sent that prompt with it",
        short(session.id())
    );
    cx.stderr.line(&error::warning(&message, Some(&hint)));
}

/// The files of a prompt in words.
pub(super) fn with_files(files: &[&Attachment]) -> String {
    let names: Vec<String> = files.iter().copied().map(attach::describe).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(", with {}", names.join(", ")),
    }
}
