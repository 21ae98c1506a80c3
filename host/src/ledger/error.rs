//! The ledger's errors and their hints.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use super::{BudgetExceeded, Restored, ReversalError};
use crate::money::NanoUsd;
use crate::sqlite::hints;

/// Why the system or the database failed. Shared, because one commit can fail for many callers.
type Source = Arc<dyn Error + Send + Sync>;

/// Why a ledger operation failed. No error undoes what is already booked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The attempt could cost more than a scope has left. Nothing was reserved.
    #[error(transparent)]
    Exceeded(#[from] BudgetExceeded),
    #[error("the ledger {path} is damaged")]
    Corrupt { path: PathBuf, source: Source },
    /// Another program held the database for longer than the busy timeout.
    #[error("the ledger {path} is locked by another program")]
    Locked { path: PathBuf },
    #[error("the ledger {path} has schema version {found}, but this program supports only up to {supported}")]
    NewerSchema { path: PathBuf, found: i64, supported: i64 },
    #[error("the ledger {path} can't be written")]
    Unwritable { path: PathBuf, source: Source },
    /// A folder, a pipe, a device.
    #[error("{path} is not a regular file, so the ledger can't be used")]
    NotAFile { path: PathBuf },
    /// A database of another application.
    #[error("{path} is a database, but isn't a ledger")]
    NotALedger { path: PathBuf },
    #[error("no space is left for the ledger {path}")]
    DiskFull { path: PathBuf, source: Source },
    #[error("the ledger {path} can't be opened")]
    Io { path: PathBuf, source: Source },
    #[error("the ledger {path} failed")]
    Database { path: PathBuf, source: Source },
    /// Another file, or none, is where the ledger was opened. What this process reserved and spent isn't in it.
    #[error("the ledger's file {path} was deleted, moved or replaced while it was in use")]
    Displaced { path: PathBuf },
    /// A copy of the database was put back. Nothing is reserved until a person has accepted it.
    #[error("the ledger {path} is a copy that was put back: {restored}")]
    Restored { path: PathBuf, restored: Restored },
    /// An amount or a total beyond 2^63 - 1 nano-dollars, about $9.2 billion.
    #[error("${amount} is more than the ledger can hold")]
    TooLarge { amount: NanoUsd },
    #[error(transparent)]
    Reversal(#[from] ReversalError),
    /// It was settled or released before, or corrected by a reversal, or never existed.
    #[error("the reservation {id} isn't open")]
    NotOpen { id: String },
    /// The runtime shut down, or the operation panicked. What was reserved stays reserved.
    #[error("the ledger operation was interrupted")]
    Interrupted,
}

impl LedgerError {
    /// A stable identifier, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exceeded(_) => "budget_exceeded",
            Self::Corrupt { .. } => "ledger_corrupt",
            Self::Locked { .. } => "ledger_locked",
            Self::NewerSchema { .. } => "ledger_newer",
            Self::Unwritable { .. } => "ledger_unwritable",
            Self::NotAFile { .. } => "ledger_not_a_file",
            Self::NotALedger { .. } => "ledger_foreign",
            Self::DiskFull { .. } => "ledger_disk_full",
            Self::Io { .. } | Self::Database { .. } => "ledger_failed",
            Self::Displaced { .. } => "ledger_displaced",
            Self::Restored { .. } => "ledger_restored",
            Self::TooLarge { .. } => "amount_too_large",
            Self::Reversal(_) => "reversal_refused",
            Self::NotOpen { .. } => "reservation_not_open",
            Self::Interrupted => "ledger_interrupted",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Exceeded(exceeded) => return Some(exceeded.hint()),
            Self::Corrupt { .. } => {
                "restore it from a backup, or move it away to start an empty one, which forgets today's spending; then `cofferdam \
                 budget confirm` accepts it"
            }
            Self::Locked { .. } => hints::LOCKED,
            Self::NewerSchema { .. } => {
                "a newer cofferdam wrote it: update this one, or choose another `[storage] path`"
            }
            Self::Unwritable { .. } => hints::UNWRITABLE,
            Self::NotAFile { .. } | Self::NotALedger { .. } => hints::FOREIGN,
            Self::DiskFull { .. } => hints::DISK_FULL,
            Self::Io { .. } => hints::IO,
            Self::Database { .. } => "check that the disk works; the log has the details",
            Self::Displaced { .. } => hints::DISPLACED,
            Self::Restored { .. } => {
                "put the newest one back; or lower a limit by what was spent since, with `cofferdam budget set`, and accept this one with \
                 `cofferdam budget confirm`"
            }
            Self::TooLarge { .. } => "check the amount or the price table",
            Self::Reversal(error) => return error.hint().map(str::to_owned),
            Self::NotOpen { .. } | Self::Interrupted => return None,
        };
        Some(hint.to_owned())
    }
}
