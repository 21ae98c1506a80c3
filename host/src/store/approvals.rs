//! The approvals that a store keeps.

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::futures::Notified;

use super::{Applied, ApprovalFilter, Change, Store, StoreError};
use crate::ledger::LedgerError;
use crate::session::{Approval, ApprovalDecision, ApprovalError};

/// The shortest beginning of an id that names an approval.
const MIN_PREFIX_CHARS: usize = 8;

impl Store {
    /// The approvals that the filter accepts, the newest first. Those that nobody decided about in time are
    /// [expired](crate::session::ApprovalState::Expired).
    ///
    /// # Errors
    ///
    /// If the database fails.
    pub async fn approvals(&self, filter: ApprovalFilter) -> Result<Vec<Approval>, StoreError> {
        self.report(move |backend| backend.approvals(&filter)).await
    }

    /// The approval whose id is `id`, or begins with its 8 characters or more.
    ///
    /// # Errors
    ///
    /// [`ApprovalError::Unknown`], [`ApprovalError::Ambiguous`], or if the database fails.
    pub async fn find_approval(&self, id: &str) -> Result<Approval, StoreError> {
        let filter = ApprovalFilter {
            id_prefix: Some(id.to_owned()),
            count: 2,
            ..ApprovalFilter::default()
        };
        let mut found = self.read(move |backend| backend.approvals(&filter)).await?;
        found.retain(|approval| approval.id == id || id.len() >= MIN_PREFIX_CHARS);
        let id = id.to_owned();
        match (found.pop(), found.is_empty()) {
            (Some(approval), true) => Ok(approval),
            (Some(_), false) => Err(ApprovalError::Ambiguous { id }.into()),
            (None, _) => Err(ApprovalError::Unknown { id }.into()),
        }
    }

    /// What the model wants the tool to be called with; `None` once the call's turn is over.
    ///
    /// # Errors
    ///
    /// If its session can't be read, or the database fails.
    pub async fn approval_input(&self, approval: &Approval) -> Result<Option<Value>, StoreError> {
        let (_, state) = self.read_session(&approval.session).await?;
        let calls = state.run.iter().flat_map(|run| &run.calls);
        let asked = calls.filter(|call| call.approval.as_ref().is_some_and(|asked| asked.id == approval.id));
        Ok(asked.map(|call| call.input.value().clone()).next())
    }

    /// Returns after the next decision through this store. One through another, in this process or elsewhere, it doesn't see.
    pub(crate) fn decided(&self) -> Notified<'_> {
        self.inner.decided.notified()
    }

    /// Decides about a call that waits for a person. The first decision counts, and the same one again changes nothing. The call is
    /// made once its session is [resumed](crate::agent::Session::resume). Returns what holds now.
    ///
    /// The id must be whole: [`Self::find_approval`] completes one. Of any tenant, as with all that is named by its id here: a program
    /// whose users name it compares [`Approval::tenant`](crate::session::Approval) first.
    ///
    /// # Errors
    ///
    /// [`ApprovalError`] says why it can't be decided about.
    pub async fn decide(&self, id: &str, decision: ApprovalDecision) -> Result<Approval, StoreError> {
        let change = Change::Decide {
            id: id.to_owned(),
            decision,
            at: Timestamp::now(),
        };
        match self.change(vec![change]).await?.pop() {
            Some(Applied::Decided(approval)) => {
                self.inner.decided.notify_waiters();
                Ok(*approval)
            }
            _ => Err(LedgerError::Interrupted.into()),
        }
    }
}
