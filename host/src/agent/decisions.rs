//! What people decide about the calls of a session, in this process or another.

use std::time::Duration;

use crate::session::{Approval, ApprovalDecision, ApprovalState};
use crate::store::{Store, StoreError};

/// How often a question that is open looks whether somebody has decided through another store.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Decisions about the calls of a session, from this process or another.
#[derive(Clone, Debug)]
pub(super) struct Decisions(Option<Store>);

impl Decisions {
    /// Of a session that this store keeps; `None`: of one that isn't kept.
    pub(super) const fn of(store: Option<Store>) -> Self {
        Self(store)
    }

    /// Whether the session is kept, so that somebody else can decide.
    pub(super) const fn are_kept(&self) -> bool {
        self.0.is_some()
    }

    /// What the store says of an approval; `None` if the session isn't kept.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Approval>, StoreError> {
        match &self.0 {
            Some(store) => store.find_approval(id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Books a decision, unless somebody else has made another before. Returns what holds; `None` if the session isn't kept.
    ///
    /// # Errors
    ///
    /// The store fails.
    pub(super) async fn decide(&self, id: &str, decision: ApprovalDecision) -> Result<Option<Approval>, StoreError> {
        let Some(store) = &self.0 else { return Ok(None) };
        match store.decide(id, decision).await {
            Ok(approval) => Ok(Some(approval)),
            // What holds was decided before.
            Err(StoreError::Approval(_)) => self.find(id).await,
            Err(error) => Err(error),
        }
    }

    /// Returns once somebody elsewhere has decided.
    pub(super) async fn made(&self, id: &str) {
        let Some(store) = &self.0 else {
            return std::future::pending().await;
        };
        loop {
            // From before it looks, which may be after the decision.
            let decided = store.decided();
            let found = self.find(id).await;
            if found.is_ok_and(|found| found.is_some_and(|approval| approval.state != ApprovalState::Pending)) {
                return;
            }
            tokio::select! {
                () = decided => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
