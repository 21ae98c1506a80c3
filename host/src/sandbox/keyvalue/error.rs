//! Why the key-value file can't be used, and what to do about it.

use std::path::{Path, PathBuf};

use crate::sqlite::{Failure, hints};

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyValueError {
    /// A folder, a pipe, a device.
    #[error("{0} is not a regular file, so plugins can't keep data in it")]
    NotAFile(PathBuf),
    /// A database of another application.
    #[error("{0} is a database, but not one of plugins' data")]
    Foreign(PathBuf),
    #[error("{path} was written by a newer version (schema {found})")]
    Newer { path: PathBuf, found: i64 },
    #[error("{path}, where plugins keep data, is damaged: {source}")]
    Corrupt { path: PathBuf, source: rusqlite::Error },
    /// Another program held the database for longer than 5 s.
    #[error("{0}, where plugins keep data, is locked by another program")]
    Locked(PathBuf),
    #[error("{path}, where plugins keep data, can't be written: {source}")]
    Unwritable {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("no space is left for {path}, where plugins keep data: {source}")]
    DiskFull {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{path}, where plugins keep data, can't be opened: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}, where plugins keep data, failed: {source}")]
    Database { path: PathBuf, source: rusqlite::Error },
    /// Another file, or none, is where it was opened.
    #[error("{0}, where plugins keep data, was deleted, moved or replaced while it was in use")]
    Displaced(PathBuf),
    #[error("opening the file where plugins keep data was cut short")]
    Interrupted,
}

impl KeyValueError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::NotAFile(_) | Self::Foreign(_) => hints::FOREIGN,
            Self::Newer { .. } => "update cofferdam, or choose another `[storage] path`",
            Self::Corrupt { .. } => {
                "restore it from a backup, or move it away to begin an empty one; `sqlite3 FILE .recover` may save \
                 what it holds"
            }
            Self::Locked(_) => hints::LOCKED,
            Self::Unwritable { .. } => hints::UNWRITABLE,
            Self::DiskFull { .. } => hints::DISK_FULL,
            Self::Io { .. } => hints::IO,
            Self::Database { .. } => "check that the disk is sound, and try again",
            Self::Displaced(_) => hints::DISPLACED,
            Self::Interrupted => "try again",
        };
        hint.to_owned()
    }

    /// Describes the failure of the file at `path`.
    pub(super) fn at(path: &Path, failure: impl Into<Failure>) -> Self {
        let path = path.to_owned();
        match failure.into() {
            Failure::NotAFile => Self::NotAFile(path),
            Failure::Foreign => Self::Foreign(path),
            Failure::Newer { found, .. } => Self::Newer { path, found },
            Failure::Corrupt(source) => Self::Corrupt { path, source },
            Failure::Locked => Self::Locked(path),
            Failure::Unwritable(source) => Self::Unwritable { path, source },
            Failure::DiskFull(source) => Self::DiskFull { path, source },
            Failure::Io(source) => Self::Io { path, source },
            Failure::Database(source) => Self::Database { path, source },
            Failure::Displaced(path) => Self::Displaced(path),
        }
    }
}
