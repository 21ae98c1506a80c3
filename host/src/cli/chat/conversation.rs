//! A session, and what a person can ask about it.

mod files;
mod last_prompt;

use std::fmt::Write as _;

use jiff::Timestamp;

use super::command::{COMMANDS, WORDS};
use crate::agent::{RunReport, Session};
use crate::cli::budget::limits::{self, BudgetLine};
use crate::cli::completions::model_names;
use crate::cli::lines::Completions;
use crate::cli::live::{LiveHost, print_error, print_left_out, print_report, print_summary, print_unsaved};
use crate::cli::summary::{self, Detail};
use crate::cli::watch::Files;
use crate::cli::{CliError, Context, Output, error, format, session};
use crate::money::NanoUsd;
use crate::transcript::Attachment;

/// The longest description of a tool in a list, in characters.
const MAX_DESCRIPTION_CHARS: usize = 100;

const KEYS: &str = "Up and Down recall earlier lines, Ctrl-R searches them, Tab completes commands and paths. A line that begins with a blank isn't \
                    kept for the next time.
Alt-Enter, Ctrl-J, or a backslash before Enter begin a new line of the same prompt. `\\\\` before Enter sends one backslash. What is \
                    pasted is one prompt.
Ctrl-C clears the line, and Up brings it back. During an answer, Ctrl-C cancels it and keeps the conversation.
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
    /// What the conversations before this one keep.
    kept_attachments: Vec<Attachment>,
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
            kept_attachments: Vec::new(),
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
            print_left_out(self.cx, &report);
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
        self.cx.commands.leave_open(Vec::new());
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
            let unsaved = self.session.save().await;
            print_unsaved(self.cx, unsaved.as_ref());
            if is_kept && unsaved.is_none() {
                let kept = self.session.unanswered().into_iter().flat_map(|(_, attached)| attached);
                self.kept_attachments.extend(kept.cloned());
            }
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
        self.cx.commands.repeat_model(name);
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
