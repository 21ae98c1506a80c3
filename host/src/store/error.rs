//! Why the store refused a change.

use crate::ledger::LedgerError;
use crate::session::{ApprovalError, SessionError};

/// Why a change was not made. None of the caller's changes took effect.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The ledger refused, or the database failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The session can't be used.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The approval can't be decided about.
    #[error(transparent)]
    Approval(#[from] ApprovalError),
}

impl StoreError {
    /// A stable identifier, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ledger(error) => error.kind(),
            Self::Session(error) => error.kind(),
            Self::Approval(error) => error.kind(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Session(error) => Some(error.hint()),
            Self::Approval(error) => Some(error.hint()),
        }
    }

    /// For changes that only the ledger can refuse.
    pub(super) fn into_ledger(self) -> LedgerError {
        match self {
            Self::Ledger(error) => error,
            Self::Session(_) | Self::Approval(_) => LedgerError::Interrupted,
        }
    }
}
