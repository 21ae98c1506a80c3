//! A session, and what a person can ask about it.

use std::fmt::Write as _;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::command::{COMMANDS, WORDS};
use crate::agent::{RunReport, Session};
use crate::cli::budget::limits::{self, BudgetLine};
use crate::cli::completions::model_names;
use crate::cli::lines::Completions;
use crate::cli::live::{LiveHost, print_error, print_report, print_summary, print_unsaved};
use crate::cli::summary::{self, Detail};
use crate::cli::watch::Files;
use crate::cli::{CliError, Context, Output, approver, attach, error, format, session};
use crate::events::Ending;
use crate::money::NanoUsd;
use crate::session::SessionError;
use crate::transcript::{Attachment, Role};

/// The longest description of a tool in a list, in characters.
const MAX_DESCRIPTION_CHARS: usize = 100;

const KEYS: &str = "Up and Down recall earlier lines, Ctrl-R searches them, Tab completes commands and paths. A line that begins with a blank isn't \
                    kept for the next time.
Alt-Enter, Ctrl-J, or a backslash before Enter begin a new line of the same prompt. `\\\\` before Enter sends one backslash. What is \
                    pasted is one prompt.
Ctrl-C clears the line, and Ctrl-Y brings it back. During an answer, Ctrl-C cancels it and keeps the conversation.
What you type during an answer waits in the next line.";

const ESCAPE: &str = "`//` sends a line that begins with `/`.";

pub struct Conversation<'a> {
    cx: &'a Context,
    live: LiveHost,
    session: Session,
    /// The last run of any session.
    last: Option<RunReport>,
    /// What the conversations before this one cost.
    cleared: NanoUsd,
    completions: Completions,
    /// The last prompt is unanswered, and nobody has decided whether to go on with it.
    is_left: bool,
    /// What the next prompt is sent with, until it has an answer.
    attachments: Vec<Attachment>,
    /// How many of them are part of a run that has not ended.
    left_attachments: usize,
    /// What the host was made of.
    files: Files,
}

impl<'a> Conversation<'a> {
    /// What is attached to a prompt of the session that has no answer stays so.
    pub fn start(cx: &'a Context, live: LiveHost, session: Session, files: Files) -> Self {
        let unanswered = session.unanswered().into_iter();
        let attachments: Vec<Attachment> = unanswered.flat_map(|(_, attached)| attached).cloned().collect();
        Self {
            cx,
            left_attachments: attachments.len(),
            session,
            live,
            last: None,
            cleared: NanoUsd::ZERO,
            completions: Completions::default().with_paths_after("/attach "),
            is_left: false,
            attachments,
            files,
        }
    }

    pub fn completions(&self) -> Completions {
        self.completions.clone()
    }

    /// Has Tab complete what can be typed now.
    pub fn complete(&self) {
        let words = WORDS.iter().map(|word| (*word).to_owned());
        let models = model_names(self.live.host().config());
        let models = models.iter().map(|model| format!("/model {model}"));
        let attached = self.attachments.iter().map(|file| format!("/detach {}", file.name));
        self.completions.set(words.chain(models).chain(attached));
    }

    /// That of the last run.
    pub fn exit_code(&self) -> Option<u8> {
        self.last.as_ref().map(|report| report.outcome.exit_code())
    }

    /// The last report, if it is of this session.
    fn report(&self) -> Option<&RunReport> {
        self.last
            .as_ref()
            .filter(|report| report.session_id == self.session.id())
    }

    /// Whether the last prompt was not answered to the end.
    fn is_unfinished(&self) -> bool {
        self.session.unfinished().is_some()
    }

    /// Whether another process has the session, which both had begun: nothing that happens here is a part of it.
    fn is_elsewhere(&self) -> bool {
        let unsaved = self.report().and_then(|report| report.unsaved.as_ref());
        unsaved.is_some_and(|error| error.kind == SessionError::IN_USE)
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
            self.offer();
            let way_back = if are_lines_edited { " Up brings it back." } else { "" };
            return self.note_dropped(&format!(
                "Your prompt was not sent, because of what that process has left.{way_back}"
            ));
        }
        // What is left is given up, unless it waits for a person, who may have decided.
        let is_given_up = std::mem::take(&mut self.is_left) && !self.session.waits_for_approval();
        if !is_given_up && self.is_unfinished() {
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
                        "Your prompt was not sent, because the one before it still waits for a decision: Enter asks again and sends \
                         yours after it, another prompt takes its place, and Ctrl-C at the question cancels both.",
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
                    " Enter tries again, and goes on with the session once the other process has ended; `/clear` begins another session."
                }
                (false, true) => {
                    " The next prompt goes on with the session once the other process has ended; `/clear` begins another session."
                }
                (true, false) => " Enter sends it again.",
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
        self.offer_waiting();
    }

    /// Sends a prompt with what is attached, which stays attached if there is no answer. Returns whether there is one.
    async fn send(&mut self, prompt: &str, cancel: CancellationToken) -> bool {
        self.left_attachments = 0;
        let attachments = self.attachments.clone();
        let report = self.live.run(&mut self.session, prompt, attachments, cancel).await;
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
        let is_kept = !self.is_unanswered();
        let is_open = self
            .session
            .messages()
            .last()
            .is_some_and(|last| last.role == Role::User);
        if is_kept && is_open && self.cx.global.output == Output::Text {
            self.cx.note(
                "Your prompt and what the tools returned stay in the conversation, without an answer. Another prompt, such as `go on`, \
                 goes on from there.",
            );
        }
    }

    /// What becomes of a run whose calls wait for a person.
    fn how_waiting(&self) -> String {
        let undecided = match self.live.asks_a_person() {
            true => "asked about again",
            false => "given up",
        };
        let both = format!("so both answers are paid for; what nobody has decided is {undecided}");
        let how = match self.session.drafted() {
            Some(_) => format!(
                "Enter goes on with that one, as far as its calls are decided, and sends this one after it, {both}. Another prompt takes \
                 the place of this one{}.",
                self.and_its_files()
            ),
            None => format!(
                "Enter goes on with it. Another prompt goes on with it first, as far as its calls are decided, and is sent after that, \
                 {both}."
            ),
        };
        format!("{how} `/clear` leaves it waiting.")
    }

    /// What another prompt gets of the last one.
    fn and_its_files(&self) -> String {
        let files: Vec<String> = self.attachments.iter().map(attach::describe).collect();
        match files.is_empty() {
            true => String::new(),
            false => format!(", and gets its files: {}", files.join(", ")),
        }
    }

    /// Says how to go on with calls that wait for a person, if somebody is there who can decide.
    fn offer_waiting(&mut self) {
        if self.session.waits_for_approval() && self.cx.stderr.is_terminal() {
            self.is_left = true;
            self.cx.note(&self.how_waiting());
        }
    }

    /// Says that a prompt got no answer, and what becomes of its files.
    fn note_dropped(&self, what: &str) {
        if self.cx.global.output == Output::Text {
            self.cx.note(&format!("{what}{}", self.still_attached()));
        }
    }

    /// A sentence about the files that go with the next prompt, if there are any.
    const fn still_attached(&self) -> &'static str {
        match self.attachments.is_empty() {
            true => "",
            false => " What was attached stays so.",
        }
    }

    /// Whether the last prompt has no answer, or not all of it.
    fn is_unanswered(&self) -> bool {
        self.is_unfinished() || self.session.unanswered().is_some()
    }

    /// Says what became of the last prompt, unless it was answered. To go on with it costs money, so nobody does it unasked. What was
    /// attached to it stays so for another prompt.
    pub fn offer(&mut self) {
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
            true => self.how_waiting(),
            false => {
                let given_up = match self.session.drafted().and(self.session.unfinished()) {
                    Some(_) => "both",
                    None => "it",
                };
                format!(
                    "Enter {how}. Another prompt gives {given_up} up{}.",
                    self.and_its_files()
                )
            }
        };
        self.cx.note(&format!("The last prompt {what}: {prompt}\n{how}"));
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
        } else if let Some((prompt, _)) = self.session.unanswered() {
            let prompt = prompt.to_owned();
            self.send(&prompt, cancel).await;
        }
        if self.is_unanswered() && !self.session.waits_for_approval() {
            self.offer();
        }
        self.offer_waiting();
    }

    fn report_on(&mut self, report: RunReport) {
        match self.cx.global.output {
            // The whole summary comes at the end, so that it doesn't drown the conversation.
            Output::Text => {
                if self.cx.detail() != Detail::None {
                    self.cx.stderr.line(&summary::brief(&report, self.report()));
                }
                print_error(self.cx, &report);
            }
            // Several reports follow each other, so each is on one line.
            Output::Json => self.cx.stdout.json_line(&report),
            Output::StreamJson => print_report(self.cx, &report),
        }
        if self.cx.global.output != Output::StreamJson {
            print_unsaved(self.cx, report.unsaved.as_ref());
        }
        self.last = Some(report);
    }

    /// The keys are those of the line editor.
    pub fn help(&self, are_lines_edited: bool) {
        let width = self.cx.stderr.width();
        let mut text = String::new();
        for (command, what) in COMMANDS {
            text += &format::wrapped(&format!("{command:<15}"), what, width);
        }
        text.push('\n');
        let keys = if are_lines_edited { KEYS } else { "" };
        for line in keys.lines().chain([ESCAPE]) {
            text += &format::wrapped("", line, width);
        }
        self.cx.stderr.write(&text);
    }

    pub async fn clear(&mut self) {
        let spent = self.report().map(|report| summary::brief(report, Some(report)));
        let is_empty = self.session.messages().is_empty() && self.session.unanswered().is_none();
        self.cleared = self.total();
        self.left_attachments = 0;
        self.is_left = false;
        let attached = self.still_attached();
        let is_kept = self.session.is_kept() && !self.is_elsewhere();
        let kept = is_kept.then(|| session::short(self.session.id()).to_owned());
        if spent.is_none() && is_empty {
            self.cx
                .stderr
                .line(&format!("There is no conversation to forget.{attached}"));
            return;
        }
        if !self.is_elsewhere() {
            print_unsaved(self.cx, self.session.save().await.as_ref());
        }
        self.session = self.live.session();
        let spent = spent.map_or_else(String::new, |spent| format!(" ({spent})"));
        self.cx.stderr.line(&match kept {
            None => format!("The conversation is forgotten{spent}. The next prompt begins a new one.{attached}"),
            Some(id) => format!(
                "The next prompt begins a new conversation. The old one is kept as {id}{spent}; `cofferdam session delete {id}` \
                 forgets it.{attached}"
            ),
        });
    }

    /// Sends files with the next prompt.
    pub fn attach(&mut self, files: &str) -> Result<(), CliError> {
        for path in attach::paths(files) {
            let Some(attachment) = attach::read(&path, &self.attachments)? else {
                self.cx.stderr.line(&attach::already(&path));
                continue;
            };
            let described = attach::describe(&attachment);
            self.cx.stderr.line(&format!("{described} goes with the next prompt."));
            self.attachments.push(attachment);
        }
        Ok(())
    }

    pub fn list_attachments(&self) {
        if self.attachments.is_empty() {
            self.cx
                .stderr
                .line("Nothing is attached. `/attach FILE` sends a file with the next prompt.");
        }
        for attachment in &self.attachments {
            let described = attach::describe(attachment);
            self.cx.stderr.line(&format!("{described} goes with the next prompt."));
        }
    }

    /// Sends files no more, or none. If one of them isn't attached, all stay.
    pub async fn detach(&mut self, files: Option<&str>) -> Result<(), CliError> {
        let mut positions: Vec<usize> = match files {
            None => (0..self.attachments.len()).collect(),
            Some(files) => self.attached(files)?,
        };
        positions.sort_unstable();
        positions.dedup();
        if positions.is_empty() {
            self.cx.stderr.line("Nothing is attached.");
        }
        let mut names = Vec::new();
        for position in positions.into_iter().rev() {
            let removed = self.attachments.remove(position);
            self.left_attachments -= usize::from(position < self.left_attachments);
            let described = attach::describe(&removed);
            self.cx.stderr.line(&format!("{described} isn't attached any more."));
            names.push(removed.name);
        }
        for attachment in self.attachments.iter().filter(|left| names.contains(&left.name)) {
            let described = attach::describe(attachment);
            self.cx.stderr.line(&format!(
                "Another file of this name still goes with the next prompt: {described}."
            ));
        }
        // What the session keeps of the last prompt.
        if let Some((_, before)) = self.session.unanswered() {
            let is_attached = |attachment: &&Attachment| self.attachments.contains(attachment);
            let kept: Vec<Attachment> = before.iter().copied().filter(is_attached).cloned().collect();
            if kept.len() < before.len() {
                print_unsaved(self.cx, self.session.keep_draft(None, &kept).await.as_ref());
            }
        }
        Ok(())
    }

    /// The positions of attachments that are named in a line, by one name or as a shell reads words.
    fn attached(&self, files: &str) -> Result<Vec<usize>, CliError> {
        let find = |name: &str| self.attachments.iter().rposition(|attachment| attachment.name == name);
        if let Some(position) = find(files) {
            return Ok(vec![position]);
        }
        let paths = attach::paths(files);
        let positions = paths.iter().map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            find(&name).ok_or_else(|| {
                CliError::usage(
                    format!("`{}` isn't attached", path.display()),
                    "`/attach` lists what is, and `/detach` without a name removes all of it",
                )
            })
        });
        positions.collect()
    }

    /// Names the components, and the configuration, that aren't any more what was loaded. The conversation goes on with that.
    pub fn note_changed_files(&mut self) {
        let again = match self.session.is_kept() {
            true => "`cofferdam chat --continue`",
            false => "a new chat",
        };
        for path in self.files.changed_by_now() {
            let name = format::one_line(&path.file_name().unwrap_or_default().to_string_lossy(), 64);
            self.cx.note(&format!(
                "{name} has changed since this chat began, and {again} uses it."
            ));
        }
    }

    pub fn show_model(&self) {
        let model = format::escape(&self.live.host().config().model.model).into_owned();
        self.cx
            .stderr
            .line(&format!("{model}\n`/model NAME` changes it; Tab lists the known ones."));
    }

    /// The conversation goes on with another model.
    pub async fn change_model(&mut self, name: &str) -> Result<(), CliError> {
        let host = self.live.host();
        if name == host.config().model.model {
            self.cx
                .stderr
                .line(&format!("The model is {} already.", format::escape(name)));
            return Ok(());
        }
        let changed = host.with_model(name).await?;
        changed.check_capabilities().await?;
        let is_priced = changed.price().is_some();
        let hint = host.prices().hint_for(name);
        if !is_priced && host.config().budget.limits(self.session.tenant()).has_limit() {
            let message =
                format!("the model `{name}` has no price, and a budget is in force; the model stays the same");
            return Err(CliError::usage(message, hint));
        }
        changed.take_over(&mut self.session);
        self.live.replace_host(changed);
        if !is_priced {
            let message = format!("the model `{name}` has no price, so its cost isn't counted");
            self.cx.stderr.line(&error::warning(&message, Some(&hint)));
        }
        let shown = format::escape(name);
        self.cx.stderr.line(&format!("The next prompts go to {shown}."));
        Ok(())
    }

    pub fn list_tools(&self) {
        let tools = self.live.host().tools();
        let mut text = String::new();
        for tool in tools.tools() {
            let description = format::one_line(&tool.description, MAX_DESCRIPTION_CHARS);
            let _ = writeln!(text, "{}  {description}", format::escape(&tool.name));
        }
        match text.trim_end() {
            "" => self.cx.stderr.line("There are no tools."),
            tools => self.cx.stderr.line(tools),
        }
    }

    pub async fn show_budget(&self) -> Result<(), CliError> {
        let host = self.live.host();
        let status = host
            .ledger()
            .status(
                self.session.tenant(),
                Some(self.session.id()),
                &host.config().budget,
                Timestamp::now(),
            )
            .await?;
        let lines = BudgetLine::of_run(&status);
        self.cx.stderr.write(&limits::table(&lines, self.cx.stderr.width()));
        Ok(())
    }

    /// What this conversation and those before it cost.
    fn total(&self) -> NanoUsd {
        let this = self.report().map(|report| report.metrics.estimated_cost_usd);
        self.cleared.saturating_add(this.unwrap_or_default())
    }

    /// Names the files that were never sent, for no session keeps them.
    fn note_unsent(&self) {
        let kept = match self.session.unanswered() {
            Some((_, attached)) if self.session.is_kept() && !self.is_elsewhere() => attached,
            _ => Vec::new(),
        };
        let lost = self.attachments.iter().filter(|attachment| !kept.contains(attachment));
        let lost: Vec<String> = lost.map(attach::describe).collect();
        if !lost.is_empty() {
            self.cx
                .note(&format!("Not answered, and not kept: {}.", lost.join(", ")));
        }
    }

    /// Prints the summary of the last session, and the cost of all. Tries a last time to write what could not be written before.
    pub async fn finish(self) {
        self.note_unsent();
        let total = self.total();
        // Of a session that another process has, nothing here is lost.
        let was_unsaved = !self.is_elsewhere() && self.report().is_some_and(|report| report.unsaved.is_some());
        let unsaved = match self.is_elsewhere() {
            true => None,
            false => self.session.save().await,
        };
        if let (Output::Text, Some(mut report)) = (self.cx.global.output, self.last) {
            // `metrics` covers the whole session. The report's own count covers only the last run.
            report.iterations = report.metrics.iterations;
            print_summary(self.cx, &report);
            if total > report.metrics.estimated_cost_usd && self.cx.detail() != Detail::None {
                self.cx
                    .stderr
                    .line(&format!("${total} in all, with the conversations before `/clear`"));
            }
        }
        match unsaved {
            Some(unsaved) => {
                let message = format!(
                    "the end of the session is lost unless the last try, at the exit, writes it; what isn't booked by then is charged \
                     as it was reserved: {}",
                    unsaved.message
                );
                self.cx.stderr.line(&error::warning(&message, unsaved.hint.as_deref()));
            }
            None if was_unsaved => self.cx.note("The session is written to its end now."),
            None => {}
        }
        self.live.shutdown().await;
    }
}
