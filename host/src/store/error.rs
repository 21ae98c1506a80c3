//! Why the store refused a change.

use crate::ledger::LedgerError;

/// Why a change was not made. None of the caller's changes took effect.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The ledger refused, or the database failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl StoreError {
    /// For changes that only the ledger can refuse.
    pub(super) fn into_ledger(self) -> LedgerError {
        match self {
            Self::Ledger(error) => error,
        }
    }
}
