//! Calls that wait for a person: what is asked, whom, and what comes of it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, Stream};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::decisions::Decisions;
use crate::events::{ApprovalDecided, Ending, ErrorInfo, EventKind};
use crate::model::BoxFuture;
use crate::panics;
use crate::session::{Approval, ApprovalDecision, ApprovalState, DECIDE_WITHIN, Fact, OpenApproval, Verdict};
use crate::sha256::sha256;
use crate::store::StoreError;
use crate::tools::{AdmittedCall, Tool};
use crate::transcript::ToolInput;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// What a person says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Approve,
    /// This call, and every later one of the tool in this session, as long as its component is the same.
    ApproveForSession,
    /// The model reads the reason.
    Deny(Option<String>),
    /// Nobody decides now: the run ends with [`Ending::AwaitingApproval`], and the session can be resumed once somebody has.
    Later,
}

impl Answer {
    fn decision(self) -> ApprovalDecision {
        ApprovalDecision {
            approves: matches!(self, Self::Approve | Self::ApproveForSession),
            for_session: self == Self::ApproveForSession,
            reason: match self {
                Self::Deny(reason) => reason,
                _ => None,
            },
        }
    }
}

/// Asks a person about a call. One question at a time; the call's run takes no time meanwhile. Dropped if the run is cancelled.
pub trait Approver: fmt::Debug + Send + Sync + 'static {
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Answer>;

    /// The answer counts for nothing: before it, somebody elsewhere decided otherwise, or the time was over.
    fn came_too_late(&self, question: &Question, answer: &Answer, holds: ApprovalDecided) {
        let _ = (question, answer, holds);
    }
}

/// A call that somebody must decide about.
#[derive(Clone, Debug)]
pub struct Question {
    /// As the store keeps it, if the session is kept.
    pub approval: Approval,
    /// What the tool would receive.
    pub input: ToolInput,
}

impl Question {
    /// Whether what a person was asked before is about this: the same component, with the same input and the same grants.
    pub(super) fn is_about(&self, before: &OpenApproval) -> bool {
        let Approval {
            tool,
            digest,
            input_sha256,
            grants,
            ..
        } = &self.approval;
        (tool, digest, input_sha256, grants) == (&before.tool, &before.digest, &before.input_sha256, &before.grants)
    }
}

/// The event of an approval that no call will use.
pub(super) fn given_up(asked: &OpenApproval) -> EventKind {
    EventKind::ApprovalDecided {
        approval: asked.id.clone(),
        call_id: asked.call_id.clone(),
        tool: asked.tool.clone(),
        decision: ApprovalDecided::GivenUp,
    }
}

/// A call that waits for a person.
pub(super) struct Gated {
    pub(super) position: u32,
    pub(super) call: AdmittedCall,
    pub(super) question: Question,
    pub(super) verdict: Verdict,
    /// `ApprovalRequested`, emitted after the commit, so that its readers find the approval in the store.
    pub(super) event: Option<EventKind>,
}

impl Gated {
    /// That nobody was asked about.
    pub(super) fn new(call: AdmittedCall, question: Question) -> Self {
        Self {
            position: question.approval.position,
            call,
            question,
            verdict: Verdict::Pending,
            event: None,
        }
    }

    /// That a person was asked about before.
    pub(super) fn continued(call: AdmittedCall, mut question: Question, before: &OpenApproval) -> Self {
        question.approval.id.clone_from(&before.id);
        question.approval.expires_at = before.expires_at;
        Self {
            verdict: before.verdict.clone(),
            ..Self::new(call, question)
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.verdict == Verdict::Pending
    }

    /// The call with what was decided about it, and its position.
    pub(super) fn decided(mut self) -> (u32, AdmittedCall) {
        match &self.verdict {
            Verdict::Pending => {}
            Verdict::Approved => self.call.approve(),
            Verdict::Denied { reason: None } => self.call.deny("A person denied the call."),
            Verdict::Denied { reason: Some(reason) } => {
                self.call.deny(format!("A person denied the call: {reason}"));
            }
            Verdict::Expired => self
                .call
                .deny("The call was not made: a person had to approve it, and nobody did in time."),
        }
        (self.position, self.call)
    }

    pub(super) fn requested(&self) -> (Fact, EventKind) {
        let Question { approval, input } = &self.question;
        let fact = Fact::ApprovalRequested {
            approval: approval.id.clone(),
            position: self.position,
            id: approval.call_id.clone(),
            tool: approval.tool.clone(),
            plugin: approval.plugin.clone(),
            digest: approval.digest.clone(),
            input_sha256: approval.input_sha256.clone(),
            grants: approval.grants.clone(),
            expires_at: approval.expires_at,
        };
        let event = EventKind::ApprovalRequested {
            approval: approval.id.clone(),
            call_id: approval.call_id.clone(),
            tool: approval.tool.clone(),
            plugin: approval.plugin.clone(),
            expires_at: approval.expires_at,
            input: input.shared_value(),
        };
        (fact, event)
    }
}

/// What would be asked about a call; `None` if it doesn't pass, so that there is nothing to decide.
pub(super) fn question(call: &AdmittedCall, tool: &Tool, position: u32, session: (&str, &str)) -> Option<Question> {
    let input = call.input()?.clone();
    let now = Timestamp::now();
    let (session, tenant) = session;
    Some(Question {
        approval: Approval {
            id: uuid::Uuid::new_v4().to_string(),
            tenant: tenant.to_owned(),
            session: session.to_owned(),
            position,
            call_id: call.call().id.clone(),
            tool: tool.name.clone(),
            plugin: tool.plugin.clone(),
            digest: tool.digest(),
            // As the tool receives it.
            input_sha256: sha256(input.text()),
            grants: tool.grants_in_words(),
            requested_at: now,
            expires_at: now.saturating_add(DECIDE_WITHIN).unwrap_or(Timestamp::MAX),
            state: ApprovalState::Pending,
            decided_at: None,
            for_session: false,
            reason: None,
        },
        input,
    })
}

/// What came of one question.
pub(super) struct Answered {
    pub(super) position: u32,
    pub(super) fact: Fact,
    pub(super) event: EventKind,
    /// As the event has it.
    decision: ApprovalDecided,
}

impl Answered {
    fn new(question: &Question, decision: &ApprovalDecision) -> Self {
        let approval = &question.approval;
        let fact = Fact::ApprovalDecided {
            approval: approval.id.clone(),
            position: approval.position,
            approved: decision.approves,
            for_session: decision.for_session,
            reason: decision.reason.clone(),
        };
        let decision = match (decision.approves, decision.for_session) {
            (true, true) => ApprovalDecided::ApprovedForSession,
            (true, false) => ApprovalDecided::Approved,
            (false, _) => ApprovalDecided::Denied,
        };
        Self::with(question, fact, decision)
    }

    /// Books a decision, unless somebody elsewhere was faster.
    ///
    /// # Errors
    ///
    /// The session is kept, and its store fails.
    pub(super) async fn decided(
        question: &Question,
        decision: ApprovalDecision,
        decisions: &Decisions,
    ) -> Result<Self, StoreError> {
        let kept = decisions.decide(&question.approval.id, decision.clone()).await?;
        Ok(kept
            .and_then(|kept| Self::kept(question, &kept))
            .unwrap_or_else(|| Self::new(question, &decision)))
    }

    /// What holds once nobody is asked any longer.
    async fn undecided(question: &Question, decisions: &Decisions) -> Result<Self, StoreError> {
        let kept = decisions.find(&question.approval.id).await?;
        Ok(kept
            .and_then(|kept| Self::kept(question, &kept))
            .unwrap_or_else(|| Self::expired(question)))
    }

    fn expired(question: &Question) -> Self {
        let fact = Fact::ApprovalExpired {
            approval: question.approval.id.clone(),
            position: question.approval.position,
        };
        Self::with(question, fact, ApprovalDecided::Expired)
    }

    /// What the store says of a question that was asked before; `None` if it is still open.
    pub(super) fn kept(question: &Question, kept: &Approval) -> Option<Self> {
        match kept.state {
            ApprovalState::Pending => None,
            ApprovalState::Expired => Some(Self::expired(question)),
            state => Some(Self::new(
                question,
                &ApprovalDecision {
                    approves: state != ApprovalState::Denied,
                    for_session: kept.for_session,
                    reason: kept.reason.clone(),
                },
            )),
        }
    }

    fn with(question: &Question, fact: Fact, decision: ApprovalDecided) -> Self {
        let approval = &question.approval;
        Self {
            position: approval.position,
            fact,
            event: EventKind::ApprovalDecided {
                approval: approval.id.clone(),
                call_id: approval.call_id.clone(),
                tool: approval.tool.clone(),
                decision,
            },
            decision,
        }
    }
}

/// Asks one question after the other, and yields each answer as it comes. Ends with the first question that nobody answers now.
pub(super) fn ask(
    questions: Vec<Question>,
    approver: Option<Arc<dyn Approver>>,
    decisions: Decisions,
    cancel: CancellationToken,
) -> impl Stream<Item = Answered> + Send {
    let always: Vec<(String, String)> = Vec::new();
    let state = (VecDeque::from(questions), always);
    stream::unfold(state, move |(mut questions, mut always)| {
        let (approver, decisions, cancel) = (approver.clone(), decisions.clone(), cancel.clone());
        async move {
            let approver = approver?;
            let question = questions.pop_front()?;
            let tool = (question.approval.tool.clone(), question.approval.digest.clone());
            let decided = if always.contains(&tool) {
                Answered::decided(&question, Answer::Approve.decision(), &decisions).await
            } else {
                let asked = answer(&question, &*approver, &decisions);
                match cancel.run_until_cancelled(asked).await?? {
                    Some(answer) => {
                        let decision = answer.clone().decision();
                        let decided = Answered::decided(&question, decision.clone(), &decisions).await;
                        if let Ok(decided) = &decided
                            && decided.fact != Answered::new(&question, &decision).fact
                        {
                            approver.came_too_late(&question, &answer, decided.decision);
                        }
                        decided
                    }
                    None => Answered::undecided(&question, &decisions).await,
                }
            };
            // What isn't written down counts nowhere else, so the question stays open.
            let answered = decided
                .inspect_err(|error| tracing::warn!(%error, "can't write a decision to the store"))
                .ok()?;
            if matches!(answered.fact, Fact::ApprovalDecided { for_session: true, .. }) {
                always.push(tool);
            }
            Some((answered, (questions, always)))
        }
    })
}

/// What a person says: a decision, or nothing because somebody elsewhere was faster or the time is over. `None` if nobody decides
/// now.
async fn answer(question: &Question, approver: &dyn Approver, decisions: &Decisions) -> Option<Option<Answer>> {
    let left = question.approval.expires_at.duration_since(Timestamp::now());
    let elsewhere = tokio::time::timeout(
        left.try_into().unwrap_or_default(),
        decisions.made(&question.approval.id),
    );
    tokio::select! {
        answer = contained(approver, question) => match answer {
            // A session that isn't kept can't go on later.
            Answer::Later if !decisions.are_kept() => Some(Some(Answer::Deny(None))),
            Answer::Later => None,
            answer => Some(Some(answer)),
        },
        _ = elsewhere => Some(None),
    }
}

/// Who panics has not decided.
async fn contained(approver: &dyn Approver, question: &Question) -> Answer {
    let asked = panics::catch_async(|| approver.ask(question)).await;
    asked.unwrap_or_else(|panic| {
        tracing::error!(panic, "the approver panicked, so the call waits");
        Answer::Later
    })
}

/// What a run's report says of calls that wait.
pub(super) fn awaiting(open: &[Gated], session: &str) -> ErrorInfo {
    let tools: Vec<String> = open
        .iter()
        .map(|gated| format!("`{}`", display_untrusted(&gated.question.approval.tool, NAME_CHARS)))
        .collect();
    let first = open.first().map_or("", |gated| gated.question.approval.id.as_str());
    ErrorInfo {
        kind: Ending::AwaitingApproval.name().to_owned(),
        message: format!("a person must approve: the call of {}", tools.join(", ")),
        hint: Some(format!(
            "`cofferdam approval list` shows what waits; `cofferdam approval approve {first}` (or `deny`), then \
             `cofferdam session resume {session}`, or the next prompt of a chat"
        )),
        request_id: None,
    }
}
