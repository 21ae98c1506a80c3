//! A conversation with an agent.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::agent::Agent;
use super::answer_format::AnswerFormat;
use super::approval::{Approver, given_up};
use super::differences::{changes_since, setting};
use super::explain::explain;
use super::journal::Journal;
use super::known_tools::kept_tools;
use super::missing_tools::{missing_tools, refusal};
use super::report::RunReport;
use super::run::{Ended, Run, failed};
use crate::events::{Ending, ErrorInfo, EventKind};
use crate::fault::{self, Point};
use crate::ledger::BudgetStatus;
use crate::money::NanoUsd;
use crate::session::{CallState, Fact, OpenApproval, SessionError, State, StoredAttachment};
use crate::store::{StoreError, Taken};
use crate::telemetry::{Emitter, Subscription};
use crate::tools::AnswerSchema;
use crate::transcript::{Attachment, AttachmentContent, Block, MAX_ATTACHMENT_BYTES, is_blank};

/// How to stop one run, and who reads its text.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Ends the run with [`Ending::Cancelled`].
    pub cancel: CancellationToken,
    /// Whether somebody may read the answer as it streams: a person, or a program that passes the deltas on. Then an attempt
    /// that has already shown text isn't retried, so that no text comes twice. Default `true`; say `false` if only the report
    /// counts.
    pub streams_to_user: bool,
    /// Who is asked about calls that a person must approve. Default: nobody. Then the run ends with [`Ending::AwaitingApproval`], or, if
    /// the session isn't kept, the call is denied.
    pub approver: Option<Arc<dyn Approver>>,
    /// What the answer must be. A run that goes on keeps that of its prompt. Default: any text.
    pub schema: Option<Arc<AnswerSchema>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            cancel: CancellationToken::new(),
            streams_to_user: true,
            approver: None,
            schema: None,
        }
    }
}

/// A conversation with an agent: one run per prompt. If the host keeps sessions, another process can go on with it.
#[derive(Debug)]
pub struct Session {
    agent: Agent,
    tenant: String,
    id: String,
    emitter: Emitter,
    state: State,
    journal: Journal,
    /// What differed when it was taken over.
    changes: Vec<String>,
    /// Whether it was taken over and nothing has happened since.
    is_reopened: bool,
}

impl Session {
    pub(super) fn new(agent: Agent, tenant: &str) -> Self {
        Self::named(agent, tenant, uuid::Uuid::now_v7().to_string())
    }

    pub(super) fn named(agent: Agent, tenant: &str, id: String) -> Self {
        let journal = match &agent.parts().store {
            Some(store) => Journal::new(store, &id, tenant),
            None => Journal::none(),
        };
        Self::with(agent, tenant, id, State::default(), journal)
    }

    fn with(agent: Agent, tenant: &str, id: String, state: State, journal: Journal) -> Self {
        let emitter = Emitter::new(agent.events(), &id, tenant, agent.parts().alerts.clone());
        Self {
            agent,
            tenant: tenant.to_owned(),
            id,
            emitter,
            state,
            journal,
            changes: Vec::new(),
            is_reopened: false,
        }
    }

    pub(super) async fn reopen(agent: Agent, tenant: &str, id: &str) -> Result<Self, StoreError> {
        let Some(store) = agent.parts().store.clone() else {
            return Err(SessionError::Unknown { id: id.to_owned() }.into());
        };
        let info = store.find_session(id, Some(tenant)).await?;
        if info.id != id {
            return Err(SessionError::Unknown { id: id.to_owned() }.into());
        }
        let Taken { lease, seq, state } = store.take_session(id).await?;
        let journal = Journal::leased(&store, tenant, lease, seq);
        let mut session = Self::with(agent, tenant, info.id, state, journal);
        session.changes = changes_since(&session.state, &session.agent);
        session.is_reopened = true;
        Ok(session)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Whether it is kept, so that another process can go on with it.
    pub fn is_kept(&self) -> bool {
        self.journal.is_kept()
    }

    /// Whether somebody has said something in it before.
    pub fn is_continued(&self) -> bool {
        self.is_reopened
    }

    /// What differed when the session was taken over: the model, the system prompt, tools. A line each.
    pub fn changes(&self) -> &[String] {
        &self.changes
    }

    /// The prompt of a run that has not ended: its process did, or it waits for a person. [`Self::resume`] goes on with it.
    pub fn unfinished(&self) -> Option<&str> {
        self.state.run.as_ref().map(|run| run.prompt.as_str())
    }

    /// The last prompt and what is attached to it, if it has no answer: either its run has not ended, or it has, and the conversation goes
    /// on without the prompt, or it is [drafted](Self::drafted).
    pub fn unanswered(&self) -> Option<(&str, Vec<&Attachment>)> {
        self.state.unanswered()
    }

    /// The last prompt, if it was kept with [`Self::keep_draft`] and not sent yet.
    pub fn drafted(&self) -> Option<&str> {
        self.state.drafted()
    }

    /// Whether the model has answered in the run that has not ended, for example with calls: then its prompt and what came of it stay in
    /// the conversation, whatever becomes of the run.
    pub fn has_answers(&self) -> bool {
        self.state.run.is_some() && !self.state.conversation.ends_with_prompt()
    }

    /// Whether the last run ended between the calls that the model asked for and its answer. Its prompt is part of the conversation.
    pub fn ends_with_calls(&self) -> bool {
        let is_call = |block: &Block| matches!(block, Block::ToolUse(_) | Block::ToolResult(_));
        let last = self.messages().last();
        let is_over = self.unfinished().is_none() && self.unanswered().is_none();
        is_over && last.is_some_and(|last| last.content.iter().any(is_call))
    }

    /// Whether the run that has not ended waits for a person, who may have decided elsewhere.
    pub fn waits_for_approval(&self) -> bool {
        self.state.unused_approvals().next().is_some()
    }

    /// Why [`Self::resume`] refuses to go on: the tool of a call that waits for a person, or that a person approved, isn't there. `None` if
    /// it can go on.
    pub async fn missing_tool(&self) -> Option<ErrorInfo> {
        let missing = missing_tools(&self.state, self.agent.tools(), &self.journal.decisions()).await;
        missing.first().map(|(_, asked)| refusal(asked, &self.id))
    }

    /// Gives the calls up whose tools aren't there, whatever was decided about them: the model reads that, and the run can go on. Returns
    /// the names of the tools.
    pub async fn give_up_missing_tools(&mut self) -> Vec<String> {
        let missing = missing_tools(&self.state, self.agent.tools(), &self.journal.decisions()).await;
        if !missing.is_empty() {
            self.reopened();
        }
        let tools = missing.iter().map(|(_, asked)| asked.tool.clone()).collect();
        self.give_up_calls(missing);
        tools
    }

    /// The tools of calls that an earlier process began and that may not be made again: they may have had their effect.
    pub fn uncertain_calls(&self) -> impl Iterator<Item = &str> {
        let calls = self.state.run.iter().flat_map(|run| &run.calls);
        let uncertain = calls.filter(|call| matches!(call.state, CallState::Admitted { repeatable: false }));
        uncertain.map(|call| call.name.as_str())
    }

    /// The reservation of an attempt at the model that an earlier process made and that brought no answer. The ledger says whether it was
    /// charged in full: because the process died, or because nobody knows what the vendor did.
    pub fn cut_attempt(&self) -> Option<&str> {
        self.state.unanswered_attempt.as_deref().filter(|_| self.is_reopened)
    }

    /// The messages so far.
    pub fn messages(&self) -> &[crate::transcript::Message] {
        self.state.conversation.messages()
    }

    /// Answers the next prompts with another agent, which reads the conversation until now. Both must have come from the same host:
    /// the session keeps its events.
    pub fn continue_with(&mut self, agent: &Agent) {
        self.agent = agent.clone();
        if self.state.model.is_some() {
            self.opened();
        }
    }

    /// The events that this object's runs emit from now on, for one reader: to show an answer as it comes, for example. See
    /// [`RunOptions::streams_to_user`].
    pub fn subscribe(&self) -> Subscription {
        self.emitter.subscribe()
    }

    /// Answers one prompt. Never fails: the report contains any error.
    ///
    /// A run before it that has not ended is given up, unless a call of it waits for approval or was approved: then nothing is sent or
    /// written, and the report has the error `session_unfinished`. [`Self::resume`] goes on with such a run, and [`Self::give_up`] ends it.
    pub async fn run(&mut self, prompt: &str, options: RunOptions) -> RunReport {
        self.run_with(prompt, Vec::new(), options).await
    }

    /// The same for a prompt with files, of at most [`MAX_ATTACHMENT_BYTES`] together.
    pub async fn run_with(&mut self, prompt: &str, attachments: Vec<Attachment>, options: RunOptions) -> RunReport {
        let schema = options.schema.as_ref().map(|schema| schema.text().to_string());
        self.send(prompt, attachments, schema, options).await
    }

    /// Sends the [unanswered](Self::unanswered) prompt of a run that has ended once more, with what is attached to it and for an answer of
    /// the same schema. `None` if there is none.
    pub async fn send_again(&mut self, options: RunOptions) -> Option<RunReport> {
        if self.unfinished().is_some() {
            return None;
        }
        let (prompt, attachments) = self.unanswered()?;
        let (prompt, attachments) = (prompt.to_owned(), attachments.into_iter().cloned().collect());
        let schema = self.state.unanswered_schema().map(str::to_owned);
        Some(self.send(&prompt, attachments, schema, options).await)
    }

    async fn send(
        &mut self,
        prompt: &str,
        attachments: Vec<Attachment>,
        schema: Option<String>,
        options: RunOptions,
    ) -> RunReport {
        if self.waits_for_approval() {
            let error = SessionError::Unfinished { id: self.id.clone() };
            return self.waits(info_of(&error.into())).await;
        }
        self.reopened();
        // An earlier run may have been dropped.
        self.end_run(Ending::Cancelled, None);
        // The API refuses a blank text, in this request and in every later one that contains it.
        let size = |attachment: &Attachment| match &attachment.content {
            AttachmentContent::Text(text) => text.len() as u64,
            _ => attachment.data().len() as u64 / 4 * 3,
        };
        let bytes: u64 = attachments.iter().map(size).sum();
        let refused = match () {
            () if is_blank(prompt) => Some(("blank_prompt", "the prompt is blank")),
            () if bytes > MAX_ATTACHMENT_BYTES => Some((
                "attachments_too_large",
                "the attachments are larger than 8 MiB together",
            )),
            () => None,
        };
        if refused.is_none() {
            if self.state.model.is_none() {
                self.opened();
            }
            self.record(&Fact::Prompted {
                text: prompt.to_owned(),
                attachments: attachments.iter().map(StoredAttachment::from).collect(),
                schema,
            });
        }
        self.drive(prompt, refused, options, false).await
    }

    /// Goes on with a run whose process ended before it, or that waited for a person. `None` if there is none.
    ///
    /// Calls that have ended are not made again. A call that was begun is made again only if it can be made twice; otherwise the model
    /// reads that it may have happened. The run's limits go on where they stood.
    ///
    /// Without the tool of a call that waits for a person, or that a person approved, nothing is sent or written: the report has the error
    /// of [`Self::missing_tool`].
    pub async fn resume(&mut self, options: RunOptions) -> Option<RunReport> {
        let prompt = self.unfinished()?.to_owned();
        if let Some(error) = self.missing_tool().await {
            return Some(self.waits(error).await);
        }
        // What was tried when an earlier run was dropped.
        self.state.conversation.restore();
        match self.is_reopened {
            true => self.reopened(),
            // Nobody drove the run until now.
            false => self.record(&Fact::Reopened { changes: Vec::new() }),
        }
        Some(self.drive(&prompt, None, options, true).await)
    }

    /// Tries again to write what could not be written: `None` if nothing is missing now. What is missing is tried with everything else
    /// that is written, also once the session is dropped, and is lost with the process.
    pub async fn save(&self) -> Option<ErrorInfo> {
        unwritten(self.journal.commit().await)
    }

    /// Ends a run that has not ended, without going on with it. Calls of it that wait for approval, or were approved, aren't made. It is durable some time
    /// soon, or once [`Self::save`] returns.
    pub fn give_up(&mut self) {
        if self.unfinished().is_some() {
            self.reopened();
            self.end_run(Ending::Cancelled, None);
            self.journal.flush();
        }
    }

    /// Writes what is left and lets others take the session over, as dropping it does, and returns once that is done. Returns why it can't
    /// be written, as [`Self::save`] does.
    pub async fn close(self) -> Option<ErrorInfo> {
        unwritten(self.journal.close().await)
    }

    /// Keeps a prompt that can't be sent before the run that has not ended, for this process or another: it is [`Self::unanswered`] until
    /// the next prompt is sent. `None` leaves the last prompt as it is, and changes what is attached to it for the next one. Returns why it
    /// can't be written.
    pub async fn keep_draft(&mut self, prompt: Option<&str>, attachments: &[Attachment]) -> Option<ErrorInfo> {
        self.reopened();
        self.record(&Fact::Drafted {
            text: prompt.map(str::to_owned),
            attachments: attachments.iter().map(StoredAttachment::from).collect(),
        });
        self.save().await
    }

    async fn drive(
        &mut self,
        prompt: &str,
        refused: Option<(&str, &str)>,
        options: RunOptions,
        is_resumed: bool,
    ) -> RunReport {
        let started = Instant::now();
        let cost_before = self.emitter.spent();
        // That of an earlier run.
        drop(self.journal.take_partial_text());
        let agent = self.agent.clone();
        let parts = agent.parts();
        self.emitter.set_turn(0);
        self.emitter.emit(EventKind::SessionStarted {
            agent: parts.settings.name.clone(),
            model: parts.model.model().to_owned(),
            tools: parts.tools.tools().map(|tool| tool.name.clone()).collect(),
            prompt: prompt.to_owned(),
            structured: self.state.run.as_ref().is_some_and(|run| run.schema.is_some()),
        });
        let mut guard = FinishGuard {
            emitter: &self.emitter,
            started,
            is_finished: false,
        };
        let answers = self.state.run.as_ref().map_or(0, |run| run.iterations);
        let spent = self.state.run.as_ref().map_or(Duration::ZERO, |run| run.spent);
        let mut run = Run {
            agent: &agent,
            emitter: &self.emitter,
            state: &mut self.state,
            journal: &self.journal,
            options: &options,
            deadline: started + parts.settings.deadline.saturating_sub(spent),
            turn: 0,
            admitted: Vec::new(),
            left_out: Vec::new(),
            format: AnswerFormat::default(),
        };
        let Ended { ending, error } = match refused {
            Some((kind, message)) => failed(kind, message.to_owned()),
            None => run.drive().await,
        };
        let (iterations, structured) = (run.turn, run.format.answer.take());
        let is_stuck = is_resumed && ending == Ending::BudgetExceeded && run.has_no_new_answer(answers);
        let can_go_on = is_stuck || ending == Ending::AwaitingApproval;
        let left_out = std::mem::take(&mut run.left_out);
        drop(run);
        let error = error.or_else(|| explain(ending, &parts.settings, parts.max_tokens, self.id()));
        // Without the fence that a model put around it.
        let (answer, degraded) = match &self.state.run {
            Some(run) => (structured.unwrap_or_else(|| run.answer.clone()), run.degraded),
            None => (String::new(), false),
        };
        guard.finish(ending, error.clone(), answer.clone());
        drop(guard);
        match can_go_on {
            // Once there is money again, or once a person has decided.
            true => {
                self.state.conversation.restore();
                if ending == Ending::AwaitingApproval {
                    self.journal.waits_for_approval();
                }
            }
            false => self.end_run(ending, error.as_ref()),
        }
        fault::passes(Point::RunEnds);
        // The budget is read with the commit.
        let (unsaved, budget) = futures_util::join!(self.save(), self.budget());
        fault::passes(Point::RunEnded);
        let report = self.base_report(budget);
        RunReport {
            unsaved,
            outcome: ending,
            error,
            answer,
            partial_text: self.journal.take_partial_text(),
            iterations,
            degraded,
            cost_usd: report.metrics.estimated_cost_usd.saturating_sub(cost_before),
            left_out,
            ..report
        }
    }

    /// Takes a fact into account and writes it down with the next commit.
    fn record(&mut self, fact: &Fact) {
        self.state.apply(fact);
        self.journal.record(fact);
    }

    /// Writes down that the session was taken over, once something happens in it.
    fn reopened(&mut self) {
        if std::mem::take(&mut self.is_reopened) {
            let changes = self.changes.clone();
            // Definitions also change with the configuration.
            let has_other_tools = kept_tools(&self.agent).is_some_and(|kept| {
                let known = self.state.known_tools.last();
                known.is_none_or(|known| known.tools != kept)
            });
            let has_changed = !changes.is_empty() || has_other_tools;
            self.record(&Fact::Reopened { changes });
            if has_changed {
                self.opened();
            }
        }
    }

    /// Ends the run, if there is one.
    fn end_run(&mut self, outcome: Ending, error: Option<&ErrorInfo>) {
        // What was tried and given up.
        self.state.conversation.restore();
        let unused = self.state.unused_approvals();
        let unused = unused.map(|(position, asked)| (position, asked.clone())).collect();
        self.give_up_calls(unused);
        if self.state.run.is_some() {
            self.record(&Fact::run_ended(outcome, error));
        }
    }

    /// Gives approvals up that no call will use.
    fn give_up_calls(&mut self, approvals: Vec<(u32, OpenApproval)>) {
        for (position, asked) in approvals {
            self.emitter.emit(given_up(&asked));
            self.record(&Fact::ApprovalExpired {
                approval: asked.id,
                position,
            });
        }
    }

    /// Writes down with what the next runs are made.
    fn opened(&mut self) {
        self.record(&setting(&self.agent));
    }

    async fn budget(&self) -> Vec<BudgetStatus> {
        let parts = self.agent.parts();
        parts
            .ledger
            .status(&self.tenant, Some(&self.id), &parts.budget, jiff::Timestamp::now())
            .await
            .unwrap_or_else(|error| {
                tracing::warn!(%error, "can't read the ledger for the report");
                Vec::new()
            })
    }

    /// The report's session-wide fields, with placeholders for the run's own.
    /// The report of a run that goes on waiting, because of this.
    async fn waits(&self, error: ErrorInfo) -> RunReport {
        RunReport {
            outcome: Ending::AwaitingApproval,
            error: Some(error),
            ..self.base_report(self.budget().await)
        }
    }

    fn base_report(&self, budget: Vec<BudgetStatus>) -> RunReport {
        let parts = self.agent.parts();
        let breakers = self.agent.breakers(&self.tenant);
        let metrics = self.emitter.metrics();
        RunReport {
            session_id: self.id.clone(),
            tenant: self.tenant.clone(),
            outcome: Ending::Completed,
            answer: String::new(),
            partial_text: None,
            model: parts.model.model().to_owned(),
            iterations: 0,
            degraded: false,
            cost_usd: NanoUsd::ZERO,
            metrics,
            breakers,
            budget,
            error: None,
            left_out: Vec::new(),
            unsaved: None,
        }
    }
}

/// Emits `SessionFinished` for a run even if its future panics or is dropped, which cancels it.
struct FinishGuard<'a> {
    emitter: &'a Emitter,
    started: Instant,
    is_finished: bool,
}

impl FinishGuard<'_> {
    fn finish(&mut self, outcome: Ending, error: Option<ErrorInfo>, answer: String) {
        self.is_finished = true;
        self.emitter.emit(EventKind::SessionFinished {
            outcome,
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            error,
            answer,
        });
    }
}

/// What couldn't be written, for a report.
fn unwritten(written: Result<(), StoreError>) -> Option<ErrorInfo> {
    written.err().as_ref().map(info_of)
}

fn info_of(error: &StoreError) -> ErrorInfo {
    ErrorInfo {
        kind: error.kind().to_owned(),
        message: error.to_string(),
        hint: error.hint(),
        request_id: None,
    }
}

impl Drop for FinishGuard<'_> {
    fn drop(&mut self) {
        if self.is_finished {
            return;
        }
        match std::thread::panicking() {
            true => {
                let Ended { ending, error } = failed("panic", "the host panicked during the run".to_owned());
                self.finish(ending, error, String::new());
            }
            false => self.finish(Ending::Cancelled, None, String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let _ = |session: &mut Session| is_send(&session.run("", RunOptions::default()));
    }
}
