//! What can go wrong with the ledger, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use super::{BudgetExceeded, NanoUsd};

/// Why the ledger could not do what was asked. Whatever the error, what is booked stays booked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The attempt might cost more than a scope has left. Nothing was reserved.
    #[error(transparent)]
    Exceeded(#[from] BudgetExceeded),
    #[error("the ledger {path} is damaged")]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    /// Another program held the database for longer than the busy time-out.
    #[error("the ledger {path} is locked by another program")]
    Locked { path: PathBuf },
    #[error("the ledger {path} has schema version {found}, and this version knows none above {supported}")]
    NewerSchema { path: PathBuf, found: i64, supported: i64 },
    #[error("the ledger {path} can't be written")]
    Unwritable {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A folder, a pipe, a device.
    #[error("{path} is not a regular file, so it can't be the ledger")]
    NotAFile { path: PathBuf },
    /// A database of another application.
    #[error("{path} is a database, but not a ledger")]
    NotALedger { path: PathBuf },
    #[error("no space is left for the ledger {path}")]
    DiskFull { path: PathBuf, source: rusqlite::Error },
    #[error("the ledger {path} can't be opened")]
    Io { path: PathBuf, source: io::Error },
    #[error("the ledger {path} failed")]
    Database { path: PathBuf, source: rusqlite::Error },
    /// An amount or a total beyond 2^63 - 1 nano-dollars, about $9.2 billion.
    #[error("${amount} is more than the ledger can hold")]
    TooLarge { amount: NanoUsd },
    /// Settled or released before, or never made.
    #[error("the reservation {id} is not open")]
    NotOpen { id: String },
    /// The runtime shut down, or the work panicked. What was reserved stays reserved.
    #[error("the ledger's work was cut short")]
    Interrupted,
}

impl LedgerError {
    /// A stable word, for programs.
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
            Self::TooLarge { .. } => "amount_too_large",
            Self::NotOpen { .. } => "reservation_not_open",
            Self::Interrupted => "ledger_interrupted",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Exceeded(_) => {
                "see `cofferdam budget show`; raise the limit with `cofferdam budget set` or in `[budget]`"
            }
            Self::Corrupt { .. } => {
                "restore it from a backup, or move it away to begin an empty one; today's spending is then forgotten"
            }
            Self::Locked { .. } => "close the program that has it open, such as a database browser, and try again",
            Self::NewerSchema { .. } => {
                "a newer cofferdam wrote it: update this one, or choose another `[storage] path`"
            }
            Self::Unwritable { .. } => {
                "make the file and its folder writable for this user, or choose another `[storage] path`"
            }
            Self::NotAFile { .. } | Self::NotALedger { .. } => {
                "choose another `[storage] path`, or move what is there away"
            }
            Self::DiskFull { .. } => "free some space and try again",
            Self::Io { .. } => "check that the folder exists and the disk is sound, or choose another `[storage] path`",
            Self::Database { .. } => "check that the disk is sound; the log has the details",
            Self::TooLarge { .. } => "check the amount or the price table",
            Self::NotOpen { .. } | Self::Interrupted => return None,
        };
        Some(hint.to_owned())
    }

    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, source },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => Self::Unwritable {
                path,
                source: Box::new(source),
            },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path, source },
            _ if holds_nonsense(&source) => Self::Corrupt { path, source },
            _ => Self::Database { path, source },
        }
    }

    pub(super) fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Unwritable {
                path,
                source: Box::new(source),
            },
            io::ErrorKind::IsADirectory => Self::NotAFile { path },
            _ => Self::Io { path, source },
        }
    }
}

/// Whether a stored value was not of the kind that this program writes.
const fn holds_nonsense(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
    )
}

/// What ends the work inside a transaction: the database, or a decision. Either rolls it back.
#[derive(Debug)]
pub(super) enum Fault {
    Sqlite(rusqlite::Error),
    NotALedger,
    Newer { found: i64, supported: i64 },
    Refused(LedgerError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Fault {
    pub(super) fn at(self, path: &Path) -> LedgerError {
        match self {
            Self::Sqlite(error) => LedgerError::from_sqlite(path, error),
            Self::NotALedger => LedgerError::NotALedger { path: path.to_owned() },
            Self::Newer { found, supported } => LedgerError::NewerSchema {
                path: path.to_owned(),
                found,
                supported,
            },
            Self::Refused(error) => error,
        }
    }
}
