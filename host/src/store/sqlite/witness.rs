//! Notices that an older copy of the database was put back.
//!
//! Each commit that moves money raises a number in the database, the generation. After the commit, the number is written into a file
//! beside the database, the witness, which only moves forward. A database whose generation is lower than its witness lacks commits: it
//! is a copy that was put back. One that was used before and has no witness was copied without it. Neither reserves anything until a
//! person [confirms](crate::ledger::Ledger::confirm) it.
//!
//! # Faults
//!
//! The witness is written without a flush, after a commit that is flushed. So a crash or a power failure can leave it behind the
//! database, never ahead: neither raises a false alarm. What it misses by that are copies from the very last moments, which lack no more
//! commits than the witness does. A store that doesn't flush its commits flushes every [`UNFLUSHED_STEP`]th that moves money, and
//! raises the generation only then. The witness is created with the database and flushed, before the first commit counts on it.
//!
//! # What isn't noticed
//!
//! - The witness put back together with the database. Back up the database alone.
//! - A copy after which nothing was reserved, no limit was set and nothing was reversed. It lacks no money that was spent: what was
//!   reserved in it is charged in full.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::Fault;
use super::schema::error_at;
use crate::ledger::Restored;

const SUFFIX: &str = "-witness";

/// Of so many commits that move money, a store that doesn't flush its commits flushes one.
pub(super) const UNFLUSHED_STEP: u32 = 64;

/// The witness of a database.
#[derive(Debug)]
pub(super) struct Witness {
    path: PathBuf,
}

impl Witness {
    /// The witness of the database at this path, whether there is one or not.
    pub(super) fn beside(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(SUFFIX);
        Self { path: path.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same as [`Self::beside`], and creates it if the database of this generation has never counted on it. The caller must hold the database's write
    /// lock.
    pub(super) fn of(database: &Path, generation: u64) -> io::Result<Self> {
        let witness = Self::beside(database);
        if generation == 0 && witness.seen()?.is_none() {
            witness.create(0)?;
        }
        Ok(witness)
    }

    /// Compares the database in a transaction with it.
    pub(super) fn compare(&self, transaction: &Connection) -> Result<Comparison, Fault> {
        // Read first: what others raise meanwhile must not look as if the database lacked it.
        let seen = self
            .seen()
            .map_err(|error| Fault::Refused(error_at(&self.path, error).into()))?;
        Ok(Comparison {
            generation: generation(transaction)?,
            seen,
        })
    }

    /// The highest generation that was written here; `None` if there is no witness, or it isn't a number.
    pub(super) fn seen(&self) -> io::Result<Option<u64>> {
        match File::open(&self.path) {
            Ok(mut file) => read(&mut file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a generation that is durable in the database. Never goes back.
    pub(super) fn advance(&self, generation: u64) -> io::Result<()> {
        let mut file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Ok(file) => file,
            // Of a copy that is confirmed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.create(generation),
            Err(error) => return Err(error),
        };
        // Two processes that have committed can come here in any order.
        file.lock()?;
        match read(&mut file)? {
            Some(seen) if seen >= generation => Ok(()),
            Some(_) => write(&mut file, generation),
            // Damaged, and maybe longer than a number.
            None => {
                file.set_len(0)?;
                write(&mut file, generation)
            }
        }
    }

    /// Flushed, also its name: without it, a database that was used counts as a copy.
    fn create(&self, generation: u64) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        write(&mut file, generation)?;
        file.sync_all()?;
        #[cfg(unix)]
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// The generation of a database.
pub(super) fn generation(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT number FROM generation")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|number| u64::try_from(number).unwrap_or_default())
}

/// A database beside its witness.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    generation: u64,
    seen: Option<u64>,
}

impl Comparison {
    /// What is wrong with the database.
    pub(super) fn restored(self) -> Option<Restored> {
        judge(self.seen, self.generation)
    }

    /// Raises the generation above both. Once that is committed and flushed, it is for [`Witness::advance`].
    pub(super) fn raise(self, transaction: &Connection) -> rusqlite::Result<u64> {
        let raised = self.generation.max(self.seen.unwrap_or(0)).saturating_add(1);
        transaction
            .prepare_cached("UPDATE generation SET number = ?1")?
            .execute([i64::try_from(raised).unwrap_or(i64::MAX)])?;
        Ok(raised)
    }
}

/// Pure: what is wrong with a database of this generation, given what its witness has seen.
fn judge(seen: Option<u64>, generation: u64) -> Option<Restored> {
    let missing_commits = match seen {
        Some(seen) => Some(seen.checked_sub(generation).filter(|missing| *missing > 0)?),
        // Nothing was ever reserved in it.
        None if generation == 0 => return None,
        None => None,
    };
    Some(Restored { missing_commits })
}

/// `None` if what is there isn't a number, as after the loss of a sector.
fn read(file: &mut File) -> io::Result<Option<u64>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    match file.take(64).read_to_string(&mut text) {
        Ok(_) => Ok(text.trim_end().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

/// Always of the same length, within one sector, so that it is written as a whole.
fn write(file: &mut File, generation: u64) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    file.write_all(format!("{generation:020}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_database_is_judged_by_what_its_witness_has_seen() {
        let missing = |missing_commits| Some(Restored { missing_commits });
        for (seen, generation, judged) in [
            (Some(0), 0, None),
            (Some(7), 7, None),
            // A crash came between the commit and the witness.
            (Some(6), 7, None),
            (Some(0), 7, None),
            (Some(8), 7, missing(Some(1))),
            (Some(u64::MAX), 0, missing(Some(u64::MAX))),
            (None, 7, missing(None)),
            (None, 0, None),
        ] {
            assert_eq!(judge(seen, generation), judged, "{seen:?} {generation}");
        }
    }

    #[test]
    fn a_witness_only_moves_forward() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("ledger.db");
        let witness = Witness::of(&database, 0).unwrap();
        assert_eq!(witness.seen().unwrap(), Some(0));
        for (generation, seen) in [(5, 5), (4, 5), (6, 6)] {
            witness.advance(generation).unwrap();
            assert_eq!(witness.seen().unwrap(), Some(seen));
        }
        // Opening leaves it, also for a database that is new.
        assert_eq!(Witness::of(&database, 0).unwrap().seen().unwrap(), Some(6));
        for damaged in ["torn\0", "", "one line of another file\nand another one\n"] {
            std::fs::write(&witness.path, damaged).unwrap();
            assert_eq!(witness.seen().unwrap(), None);
            witness.advance(7).unwrap();
            assert_eq!(witness.seen().unwrap(), Some(7));
        }
        std::fs::remove_file(&witness.path).unwrap();
        let used = Witness::of(&database, 3).unwrap();
        assert_eq!(used.seen().unwrap(), None);
        used.advance(4).unwrap();
        assert_eq!(used.seen().unwrap(), Some(4));
    }
}
