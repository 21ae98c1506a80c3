//! Bytes that a call may still move.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones share what is left.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self(Arc::new(Inner {
            limit,
            left: limit.into(),
        }))
    }

    /// Takes `bytes`. What does not fit uses up the rest: a guest can't go on with pieces that would.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let taken = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok_and(|left| left >= bytes)
    }

    pub(super) fn limit(&self) -> u64 {
        self.0.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_uses_up_the_budget() {
        let budget = Budget::new(10);
        assert!(budget.charge(4) && budget.charge(6) && budget.charge(0));
        let budget = Budget::new(10);
        assert!(!budget.charge(11));
        assert!(!budget.charge(1));
    }
}
