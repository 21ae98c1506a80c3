//! Which calls of a turn wait for a person, and what was decided about them so far.

use super::approval::{Answered, Gated, Question, given_up, question};
use super::run::Run;
use crate::fault::{self, Point};
use crate::session::{Approval, ApprovalDecision, ApprovalState, Fact, OpenApproval, Verdict};
use crate::store::StoreError;
use crate::tools::AdmittedCall;

impl Run<'_> {
    /// Parts the calls that can be made or refused now from those that are for a person to decide. What was decided about a call
    /// holds, whatever the configuration asks for today. Where nobody will ever be asked, calls that need a person are refused.
    pub(super) async fn gate(
        &mut self,
        calls: impl IntoIterator<Item = (u32, AdmittedCall)>,
    ) -> Result<(Vec<(u32, AdmittedCall)>, Vec<Gated>), StoreError> {
        let (mut ready, mut gated) = (Vec::new(), Vec::new());
        for (position, mut call) in calls {
            let before = self.asked_about(position);
            let needs_approval = call.awaits_approval();
            if before.is_none() && !needs_approval {
                ready.push((position, call));
                continue;
            }
            let session = (self.emitter.session_id(), &**self.emitter.tenant());
            let tool = self.agent.tools().get(&call.call().name);
            let question = tool.and_then(|tool| question(&call, tool, position, session));
            if question.is_none()
                && let Some(before) = &before
                && let Some(denied) = self.denied(&call, before).await?
            {
                let mut denied = Gated::continued(call, denied, before);
                self.look_up(&mut denied).await?;
                gated.push(denied);
                continue;
            }
            match (question, before) {
                (Some(question), Some(before)) if question.is_about(&before) => {
                    let mut waiting = Gated::continued(call, question, &before);
                    self.look_up(&mut waiting).await?;
                    match waiting.is_open() && !needs_approval {
                        // The configuration changed, and nobody has said no.
                        true => {
                            self.give_up(position, &before);
                            ready.push(waiting.decided());
                        }
                        false => gated.push(waiting),
                    }
                }
                (question, before) => {
                    // Nobody has approved what would be called now.
                    if let Some(before) = before {
                        self.give_up(position, &before);
                    }
                    match question.filter(|_| needs_approval) {
                        Some(question) if self.is_always_approved(&question.approval) => {
                            call.approve();
                            ready.push((position, call));
                        }
                        Some(question) if self.can_be_asked() => {
                            let mut waiting = Gated::new(call, question);
                            let (fact, event) = waiting.requested();
                            self.record(&fact);
                            fault::passes(Point::ApprovalRequested);
                            waiting.event = Some(event);
                            gated.push(waiting);
                        }
                        _ => ready.push((position, call)),
                    }
                }
            }
        }
        // One of the decisions may be for the whole session.
        for waiting in gated.iter_mut().filter(|waiting| waiting.is_open()) {
            if self.is_always_approved(&waiting.question.approval) {
                let approves = ApprovalDecision {
                    approves: true,
                    ..ApprovalDecision::default()
                };
                let answered = Answered::decided(&waiting.question, approves, &self.journal.decisions()).await?;
                waiting.verdict = self.answered(answered);
            }
        }
        Ok((ready, gated))
    }

    fn can_be_asked(&self) -> bool {
        self.options.approver.is_some() || self.journal.is_kept()
    }

    fn is_always_approved(&self, approval: &Approval) -> bool {
        self.state.is_always_approved(&approval.tool, &approval.digest)
    }

    /// What a person was asked about the call before.
    fn asked_about(&self, position: u32) -> Option<OpenApproval> {
        let position = usize::try_from(position).ok()?;
        self.state.run.as_ref()?.calls.get(position)?.approval.clone()
    }

    /// What a person was asked about a call that can't be made any more, if they have denied it: that is what the model is to read.
    async fn denied(&self, call: &AdmittedCall, before: &OpenApproval) -> Result<Option<Question>, StoreError> {
        let kept = self.journal.decisions().find(&before.id).await?;
        let denied = kept.filter(|kept| kept.state == ApprovalState::Denied);
        Ok(denied.map(|approval| Question {
            approval,
            input: call.call().input.clone(),
        }))
    }

    /// Finds out what somebody has decided meanwhile.
    async fn look_up(&mut self, waiting: &mut Gated) -> Result<(), StoreError> {
        if waiting.is_open()
            && let Some(kept) = self.journal.decisions().find(&waiting.question.approval.id).await?
            && let Some(answered) = Answered::kept(&waiting.question, &kept)
        {
            waiting.verdict = self.answered(answered);
        }
        Ok(())
    }

    /// An approval that no call will use.
    fn give_up(&mut self, position: u32, before: &OpenApproval) {
        if matches!(before.verdict, Verdict::Pending | Verdict::Approved) {
            self.record(&Fact::ApprovalExpired {
                approval: before.id.clone(),
                position,
            });
            self.emitter.emit(given_up(before));
        }
    }

    /// Takes an answer into account. Returns what it comes to.
    pub(super) fn answered(&mut self, answered: Answered) -> Verdict {
        let Answered {
            position, fact, event, ..
        } = answered;
        self.record(&fact);
        fault::passes(Point::ApprovalDecided);
        self.emitter.emit(event);
        self.asked_about(position)
            .map_or(Verdict::Pending, |asked| asked.verdict)
    }

    /// The approval that lets a call begin.
    pub(super) fn approval_of(&self, position: u32) -> Option<String> {
        let asked = self.asked_about(position)?;
        (asked.verdict == Verdict::Approved).then_some(asked.id)
    }
}
