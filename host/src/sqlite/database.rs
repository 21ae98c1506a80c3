//! An open database that notices when its files aren't the ones at their paths any more.
//!
//! SQLite works on files that were deleted or moved as if nothing had happened. Other processes then open new files at the same
//! paths, and neither side sees what the other writes.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::Failure;
use crate::file_identity::FileIdentity;

/// A database consists of the file itself, its write-ahead log, and the log's index with the locks. SQLite creates the last two
/// with the first transaction, and deletes them with the last connection. So while this connection is open they stay the same
/// files.
pub(super) const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// A connection, and the files that it has open.
pub(crate) struct Database {
    connection: Connection,
    files: Files,
}

/// Empty for a database in memory.
struct Files(Vec<(PathBuf, FileIdentity)>);

impl Files {
    /// # Errors
    ///
    /// [`Failure::Displaced`] names the first file that isn't in place.
    fn check_in_place(&self) -> Result<(), Failure> {
        let displaced = self.0.iter().find(|(path, identity)| !identity.is_at(path));
        displaced.map_or(Ok(()), |(path, _)| Err(Failure::Displaced(path.clone())))
    }
}

impl Database {
    /// The database at `path`, which `connection` has open. It must have begun a transaction before, so that all files exist.
    pub(super) fn new(connection: Connection, path: &Path) -> Result<Self, Failure> {
        Self::with_files(connection, path, &SUFFIXES)
    }

    /// The database at `path`, which `connection` only reads. SQLite may have no other file of it open.
    pub(super) fn read_only(connection: Connection, path: &Path) -> Result<Self, Failure> {
        Self::with_files(connection, path, &[""])
    }

    fn with_files(connection: Connection, path: &Path, suffixes: &[&str]) -> Result<Self, Failure> {
        let files = suffixes.iter().map(|suffix| {
            let file = with_suffix(path, suffix);
            FileIdentity::at(&file).map(|identity| (file, identity))
        });
        let files = files.collect::<Result<Vec<_>, _>>()?;
        // A file that was replaced since SQLite opened it would otherwise pass as the right one for ever.
        if has_moved(&connection)? {
            return Err(Failure::Displaced(path.to_owned()));
        }
        Ok(Self {
            connection,
            files: Files(files),
        })
    }

    /// A private database in memory, which nobody can displace.
    pub(crate) const fn in_memory(connection: Connection) -> Self {
        Self {
            connection,
            files: Files(Vec::new()),
        }
    }

    /// Another connection to the same database, which `connection` has just opened at the path.
    ///
    /// # Errors
    ///
    /// [`Failure::Displaced`] if another file is there by now.
    pub(crate) fn another(&self, connection: Connection) -> Result<Self, Failure> {
        let another = Self {
            connection,
            files: Files(self.files.0.clone()),
        };
        if let Some((path, _)) = self.files.0.first()
            && has_moved(&another.connection)?
        {
            return Err(Failure::Displaced(path.clone()));
        }
        another.files.check_in_place()?;
        Ok(another)
    }

    /// Begins a transaction. Checks the files once the transaction holds its lock.
    ///
    /// # Errors
    ///
    /// [`Failure::Displaced`] if the database isn't the one at its path any more.
    pub(crate) fn begin(&mut self, behavior: TransactionBehavior) -> Result<Transaction<'_>, Failure> {
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        self.files.check_in_place()?;
        Ok(transaction)
    }

    /// Begins a transaction in the files that are open, even if they are displaced, and says whether they are.
    pub(crate) fn begin_wherever_it_is(
        &mut self,
        behavior: TransactionBehavior,
    ) -> Result<(Transaction<'_>, Result<(), Failure>), Failure> {
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        Ok((transaction, self.files.check_in_place()))
    }
}

impl Drop for Database {
    /// The last connection deletes the write-ahead log and its index by their paths. SQLite makes sure that the database file is
    /// still in place, but not the log: another process's log at that path would be deleted, with everything that it has just
    /// committed.
    fn drop(&mut self) {
        if self.files.check_in_place().is_err() {
            // What is committed still reaches the old database file. If that fails, it stays in the old log.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)");
            let _ = self
                .connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut file = path.as_os_str().to_owned();
    file.push(suffix);
    file.into()
}

/// Whether another file, or none, is at the path that SQLite opened.
#[cfg(unix)]
fn has_moved(connection: &Connection) -> Result<bool, Failure> {
    let mut moved = 0;
    connection.file_control(rusqlite::DEFAULT_NAME, rusqlite::FileControl::HasMoved(&mut moved))?;
    Ok(moved != 0)
}

#[cfg(not(unix))]
fn has_moved(_: &Connection) -> Result<bool, Failure> {
    Ok(false)
}

#[cfg(all(test, unix))]
#[path = "database_tests.rs"]
mod tests;
