//! What becomes of a prompt, and of the last one that has no answer: it is the session's until it has one, or another prompt is sent.

use tokio_util::sync::CancellationToken;

use super::{Conversation, MAX_DESCRIPTION_CHARS};
use crate::agent::RunReport;
use crate::cli::live::print_unsaved;
use crate::cli::{Output, approver, error, format, session};
use crate::events::Ending;
use crate::session::SessionError;
use crate::transcript::Attachment;

impl Conversation<'_> {
    /// Whether the last prompt was not answered to the end.
    fn is_unfinished(&self) -> bool {
        self.session.unfinished().is_some()
    }

    /// Whether another process has the session, or had it, which both had begun: nothing that happens here is a part of it.
    pub(super) fn is_elsewhere(&self) -> bool {
        let unsaved = self.report().and_then(|report| report.unsaved.as_ref());
        unsaved.is_some_and(|error| [SessionError::IN_USE, SessionError::EXISTS].contains(&error.kind.as_str()))
    }

    /// Takes the session over from the process that had it first, if that one has ended. Otherwise the next run says who has it.
    async fn take_over(&mut self) -> bool {
        let id = self.session.id().to_owned();
        let Ok(session) = session::reopen(self.cx, &self.live, &id).await else {
            return false;
        };
        self.cx.note(&format!(
            "No other process has the session {id} any more, so this chat goes on with it: `cofferdam session show {id}` shows what was said."
        ));
        self.session = session;
        let left = self.session.unanswered().into_iter().flat_map(|(_, attached)| attached);
        let left: Vec<Attachment> = left.filter(|file| !self.attachments.contains(file)).cloned().collect();
        self.left_attachments = left.len();
        self.attachments.splice(..0, left);
        if let Some(last) = &mut self.last {
            last.unsaved = None;
        }
        true
    }

    pub async fn ask(&mut self, prompt: &str, are_lines_edited: bool, cancel: CancellationToken) {
        if self.is_elsewhere() && self.take_over().await && self.is_unanswered() {
            self.offer().await;
            let way_back = if are_lines_edited { " Up brings it back." } else { "" };
            return self.note_dropped(&format!(
                "Your prompt was not sent, because of what that process has left.{way_back}"
            ));
        }
        // What is left is given up, unless it waits for a person, who may have decided.
        let is_given_up = std::mem::take(&mut self.is_left) && !self.session.waits_for_approval();
        if !is_given_up && self.is_unfinished() {
            if self.session.missing_tool().await.is_some() {
                // It says what is missing.
                if let Some(report) = self.live.resume(&mut self.session, cancel).await {
                    self.report_on(report);
                }
                self.offer_waiting().await;
                let way_back = if are_lines_edited { " Up brings it back." } else { "" };
                return self.note_dropped(&format!("Your prompt was not sent.{way_back}"));
            }
            // It waits for a person, who may have decided. Where nobody can be asked, another prompt gives up what still waits.
            self.cx
                .note("Going on with the prompt before; this one is sent after it. Ctrl-C cancels both.");
            // Whatever ends the process until then.
            let unsaved = self.session.keep_draft(Some(prompt), &self.attachments).await;
            print_unsaved(self.cx, unsaved.as_ref());
            if let Some(report) = self.live.resume(&mut self.session, cancel.clone()).await {
                let is_open = report.outcome == Ending::AwaitingApproval;
                let may_decide = self.live.asks_a_person();
                if !is_open || may_decide {
                    self.report_on(report);
                }
                if is_open && may_decide {
                    self.is_left = true;
                    return self.note_dropped(
                        "Your prompt was not sent, because the one before it still waits for a decision: Enter at an empty line asks \
                         again and sends yours after it, another prompt takes its place, and Ctrl-C at the question cancels both.",
                    );
                }
            }
        }
        if !self.send(prompt, cancel).await {
            // Where nobody is asked, an empty line between two prompts means nothing.
            self.is_left = self.live.asks_a_person();
            let is_saved = self.report().is_some_and(|report| report.unsaved.is_none());
            let way_on = match (self.is_left, self.is_elsewhere()) {
                (true, true) => {
                    " Enter at an empty line tries again, and goes on with the session once the other process has ended; `/clear` begins \
                     another session."
                }
                (false, true) => {
                    " The next prompt goes on with the session once the other process has ended; `/clear` begins another session."
                }
                (true, false) => " Enter at an empty line sends it again.",
                (false, false) => "",
            };
            let way_back = match (are_lines_edited, self.session.is_kept() && is_saved) {
                (true, true) => " Up brings it back, and so does `cofferdam chat --continue`.",
                (true, false) => " Up brings it back.",
                (false, true) => " `cofferdam chat --continue` brings it back.",
                (false, false) => "",
            };
            self.note_dropped(&format!(
                "Your prompt is not part of the conversation: it got no answer.{way_on}{way_back}"
            ));
        }
        self.offer_waiting().await;
    }

    /// Sends a prompt with what is attached, which stays attached if there is no answer. Returns whether there is one.
    async fn send(&mut self, prompt: &str, cancel: CancellationToken) -> bool {
        self.left_attachments = 0;
        // What still waits where nobody can be asked.
        if self.session.waits_for_approval() {
            self.session.give_up();
        }
        let attachments = self.attachments.clone();
        let report = self.live.run(&mut self.session, prompt, attachments, cancel).await;
        self.report_on_prompt(report)
    }

    /// Sends the last prompt again, with what is attached by now, and for an answer of the same schema.
    async fn send_again(&mut self, cancel: CancellationToken) {
        let kept = self
            .session
            .unanswered()
            .map(|(_, files)| files.into_iter().cloned().collect());
        if kept.is_some_and(|kept: Vec<Attachment>| kept != self.attachments) {
            print_unsaved(self.cx, self.session.keep_draft(None, &self.attachments).await.as_ref());
        }
        self.left_attachments = 0;
        if let Some(report) = self.live.send_again(&mut self.session, cancel).await {
            self.report_on_prompt(report);
        }
    }

    /// Reports on a prompt, detaches what an answered one was sent with, and returns whether it has an answer.
    fn report_on_prompt(&mut self, report: RunReport) -> bool {
        self.report_on(report);
        let is_answered = self.session.unanswered().is_none();
        if is_answered {
            self.attachments.clear();
            self.note_open_turn();
        }
        is_answered
    }

    /// Says what is left of a run that ended between the calls of tools and the answer.
    fn note_open_turn(&self) {
        if self.session.ends_with_calls() && self.cx.global.output == Output::Text {
            self.cx.note(
                "Your prompt and the calls of tools stay in the conversation, without an answer. Another prompt, such as `go on`, goes on \
                 from there.",
            );
        }
    }

    /// What becomes of a run whose calls wait for a person.
    async fn how_waiting(&self) -> String {
        if self.session.missing_tool().await.is_some() {
            return "Nothing goes on here without the tool. `/clear` begins another conversation, and leaves the call as it is.".to_owned();
        }
        let undecided = match self.live.asks_a_person() {
            true => "asked about again",
            false => "given up",
        };
        let both = format!("so both answers are paid for; what nobody has decided is {undecided}");
        let how = match self.session.drafted() {
            Some(_) => format!(
                "Enter at an empty line goes on with that one, as far as its calls are decided, and sends this one after it, {both}. \
                 Another prompt takes the place of this one{}.",
                self.and_its_files()
            ),
            None => format!(
                "Enter at an empty line goes on with it. Another prompt goes on with it first, as far as its calls are decided, and is \
                 sent after that, {both}."
            ),
        };
        format!("{how} `/clear` leaves it waiting.")
    }

    /// Says how to go on with calls that wait for a person, if somebody is there who can decide.
    async fn offer_waiting(&mut self) {
        if self.session.waits_for_approval() && self.cx.stderr.is_terminal() {
            self.is_left = true;
            self.cx.note(&self.how_waiting().await);
        }
    }

    /// Says that a prompt got no answer, and what becomes of its files.
    fn note_dropped(&self, what: &str) {
        if self.cx.global.output == Output::Text {
            self.cx.note(&format!("{what}{}", self.still_attached()));
        }
    }

    /// Whether another process can go on with it.
    pub fn is_kept(&self) -> bool {
        self.session.is_kept() && !self.is_elsewhere()
    }

    /// Whether the last prompt has no answer, also where calls of tools came of it, and doesn't wait for a person's decision either.
    pub fn has_failed(&self) -> bool {
        (self.is_unanswered() || self.session.ends_with_calls()) && !self.session.waits_for_approval()
    }

    /// Whether the last prompt has no answer, or not all of it.
    fn is_unanswered(&self) -> bool {
        self.is_unfinished() || self.session.unanswered().is_some()
    }

    /// Says what became of the last prompt, unless it was answered. To go on with it costs money, so nobody does it unasked. What was
    /// attached to it stays so for another prompt.
    pub async fn offer(&mut self) {
        if !self.is_unanswered() {
            return self.note_open_turn();
        }
        self.is_left = true;
        let dropped = self.session.unanswered().map(|(prompt, _)| prompt);
        let (prompt, what, how) = match (self.session.drafted(), self.session.unfinished()) {
            (Some(prompt), Some(_)) => (
                prompt,
                "was not sent, because the one before it has not ended",
                "goes on with that one and sends this one after it",
            ),
            (Some(prompt), None) => (prompt, "was not sent", "sends it"),
            (None, Some(prompt)) => (prompt, "was not answered to the end", "goes on with it"),
            (None, None) => (
                dropped.unwrap_or_default(),
                "got no answer, and is not part of the conversation",
                "sends it again",
            ),
        };
        let prompt = format::one_line(prompt, MAX_DESCRIPTION_CHARS);
        let how = match self.session.waits_for_approval() {
            true => self.how_waiting().await,
            false => {
                let is_behind = self.session.drafted().and(self.session.unfinished()).is_some();
                let given_up = match (is_behind, self.session.has_answers()) {
                    (true, false) => "gives both up",
                    (false, false) => "gives it up",
                    // What came of its prompt is a part of the conversation.
                    (true, true) => {
                        "takes the place of this one, and ends the run before it, which stays in the conversation"
                    }
                    (false, true) => {
                        "ends its run, and the prompt with what came of it stays in the conversation, also in what is sent and paid for"
                    }
                };
                format!(
                    "Enter at an empty line {how}. Another prompt {given_up}{}.",
                    self.and_its_files()
                )
            }
        };
        let missing = self.session.missing_tool().await;
        let missing = missing.map(|it| error::warning(&it.message, it.hint.as_deref()) + "\n");
        self.cx.note(&format!(
            "The last prompt {what}: {prompt}\n{}{how}",
            missing.unwrap_or_default()
        ));
    }

    /// Whether a line goes on with what is left: an empty one, or an answer to the question about a call that waits, which is asked again
    /// then.
    pub fn goes_on(&self, line: &str) -> bool {
        let is_reply = self.session.waits_for_approval() && approver::is_reply(line);
        if self.is_left && is_reply {
            self.cx.note(
                "That reads like an answer to the question about the call, so it is asked again, and nothing was sent.",
            );
        }
        self.is_left && (is_reply || line.trim().is_empty())
    }

    /// Goes on with what was left. If it gets no answer, it stays left, with its files.
    pub async fn resume(&mut self, are_lines_edited: bool, cancel: CancellationToken) {
        self.is_left = false;
        let again = match self.is_elsewhere() {
            true => self.session.unanswered().map(|(prompt, _)| prompt),
            false => self.session.drafted(),
        };
        if let Some(prompt) = again.map(str::to_owned) {
            return self.ask(&prompt, are_lines_edited, cancel).await;
        }
        if self.is_unfinished() {
            if let Some(report) = self.live.resume(&mut self.session, cancel).await {
                self.report_on(report);
                self.note_open_turn();
            }
            if self.session.unanswered().is_none() {
                self.attachments.drain(..std::mem::take(&mut self.left_attachments));
            }
        } else {
            self.send_again(cancel).await;
        }
        if self.is_unanswered() && !self.session.waits_for_approval() {
            self.offer().await;
        }
        self.offer_waiting().await;
    }
}
