//! Opens this program's SQLite files: identifies them by a mark, migrates them step by step, restricts them to their owner,
//! and uses WAL mode so that readers never wait for writers.

mod database;

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior};
use url::Url;

pub(crate) use self::database::Database;
use self::database::{SUFFIXES, with_suffix};

/// One kind of database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema<'a> {
    pub(crate) mark: Mark,
    /// The migration steps from an empty database to the newest version. A database's version is the number of steps it has
    /// applied. Never change a released step: add another.
    pub(crate) steps: &'a [&'a str],
}

/// Where a database stores which application it belongs to, and its version.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mark {
    /// In its header: this `application_id`, and the version as `user_version`.
    Header(i64),
    /// In the only row of a table `schema_version`, which the first step creates.
    Table,
}

/// Why a file can't be used. Each variant needs a different remedy.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A folder, a pipe, a device.
    NotAFile,
    /// A database without our mark.
    Foreign,
    Newer {
        found: i64,
        supported: i64,
    },
    Corrupt(rusqlite::Error),
    /// Another program held its lock for longer than the busy timeout.
    Locked,
    Unwritable(Box<dyn Error + Send + Sync>),
    DiskFull(Box<dyn Error + Send + Sync>),
    Io(io::Error),
    Database(rusqlite::Error),
    /// This file of the open database was deleted, moved or replaced.
    Displaced(PathBuf),
}

/// Hints that apply to every kind of database.
pub(crate) mod hints {
    pub(crate) const FOREIGN: &str = "choose another `[storage] path`, or move the existing file away";
    pub(crate) const LOCKED: &str = "close the program that has it open, such as a database browser, and try again";
    pub(crate) const UNWRITABLE: &str =
        "make the file and its folder writable for this user, or choose another `[storage] path`";
    pub(crate) const DISK_FULL: &str = "free some space and try again";
    pub(crate) const DISPLACED: &str =
        "restart this process; to keep what the old file holds, stop every process that uses it and put it back first";
    pub(crate) const IO: &str =
        "check that the folder exists and the disk is sound, or choose another `[storage] path`";
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::Unwritable(Box::new(error)),
            io::ErrorKind::IsADirectory => Self::NotAFile,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull(Box::new(error)),
            _ => Self::Io(error),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::Unwritable(Box::new(error))
            }
            Some(ErrorCode::DiskFull) => Self::DiskFull(Box::new(error)),
            // Opening a database makes the log's index before anything is written, and SQLite has no other word for a disk without
            // room for it.
            _ if has_no_room_for_the_index(&error) => Self::DiskFull(Box::new(error)),
            _ if has_unexpected_value(&error) => Self::Corrupt(error),
            _ => Self::Database(error),
        }
    }
}

fn has_no_room_for_the_index(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}

/// Whether a stored value has a type or range that this program never writes.
const fn has_unexpected_value(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..)
    )
}

impl Schema<'_> {
    /// Opens the database at `path`, or creates it and its parent folders, accessible only to their owner. Migrates it, and
    /// returns it with its canonical path. `busy` bounds the wait for another program's lock.
    ///
    /// A foreign or newer file is left unchanged, including its permissions.
    pub(crate) fn open(&self, path: &Path, busy: Duration) -> Result<(Database, PathBuf), Failure> {
        let path = prepare_file(path)?;
        // Closing a connection checkpoints the WAL. If another program left one, leave the checkpoint to that program.
        let has_wal = with_suffix(&path, "-wal").exists();
        let mut connection = connect(&path, busy)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_wal)?;
        self.check(&mut connection)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        #[cfg(unix)]
        restrict_to_owner(&path)?;
        use_wal(&connection)?;
        self.migrate(&mut connection)?;
        Ok((Database::new(connection, &path)?, path))
    }

    /// Opens the database at `path` to read it, and returns it with its canonical path; `None` if there is none. Creates and
    /// changes no file, so it works in a folder that can't be written. Every attempt to write through it fails.
    ///
    /// A database of an older version is refused as one that can't be written, because it can't be migrated.
    pub(crate) fn open_read_only(&self, path: &Path, busy: Duration) -> Result<Option<(Database, PathBuf)>, Failure> {
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(Failure::NotAFile),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let path = path.canonicalize()?;
        let mut connection = connect_read_only(&path, busy)?;
        let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let applied = self.applied_steps(&snapshot)?;
        snapshot.commit()?;
        match applied {
            0 => Ok(None),
            newest if newest == self.steps.len() => Ok(Some((Database::read_only(connection, &path)?, path))),
            _ => Err(Failure::Unwritable(
                "an older version wrote it, and it must be migrated before it can be read".into(),
            )),
        }
    }

    /// Applies the missing steps, all or none.
    pub(crate) fn migrate(&self, connection: &mut Connection) -> Result<(), Failure> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let applied = self.applied_steps(&transaction)?;
        for step in self.steps.iter().skip(applied) {
            transaction.execute_batch(step)?;
        }
        if applied < self.steps.len() {
            self.mark.set_version(&transaction, self.newest())?;
        }
        Ok(transaction.commit()?)
    }

    /// Refuses a foreign or newer database. Reads one snapshot, because another process could be creating the schema at this
    /// moment.
    fn check(&self, connection: &mut Connection) -> Result<(), Failure> {
        let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        self.applied_steps(&snapshot).map(drop)
    }

    /// How many steps the database has applied; 0 for an empty one.
    fn applied_steps(&self, connection: &Connection) -> Result<usize, Failure> {
        if is_empty(connection)? {
            return Ok(0);
        }
        let found = self.mark.version(connection)?;
        match found.map(|found| (found, usize::try_from(found))) {
            Some((_, Ok(applied))) if (1..=self.steps.len()).contains(&applied) => Ok(applied),
            Some((found, Ok(applied))) if applied > self.steps.len() => Err(Failure::Newer {
                found,
                supported: self.newest(),
            }),
            _ => Err(Failure::Foreign),
        }
    }

    fn newest(&self) -> i64 {
        i64::try_from(self.steps.len()).unwrap_or(i64::MAX)
    }
}

impl Mark {
    /// `None` if the database lacks the mark.
    fn version(self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        match self {
            Self::Header(id) => {
                let number = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
                if number("application_id")? == id {
                    number("user_version").map(Some)
                } else {
                    Ok(None)
                }
            }
            Self::Table => {
                // Other programs have tables with this name, too.
                let has_column = connection.query_row(
                    "SELECT EXISTS (SELECT 1 FROM pragma_table_info('schema_version') WHERE name = 'version')",
                    [],
                    |row| row.get::<_, bool>(0),
                )?;
                if !has_column {
                    return Ok(None);
                }
                let version = connection
                    .query_row("SELECT version FROM schema_version", [], |row| row.get::<_, Value>(0))
                    .optional()?;
                Ok(match version {
                    Some(Value::Integer(version)) => Some(version),
                    _ => None,
                })
            }
        }
    }

    fn set_version(self, transaction: &Transaction<'_>, version: i64) -> rusqlite::Result<()> {
        match self {
            Self::Header(id) => {
                transaction.pragma_update(None, "application_id", id)?;
                transaction.pragma_update(None, "user_version", version)
            }
            Self::Table => {
                transaction.execute("DELETE FROM schema_version", [])?;
                transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
                Ok(())
            }
        }
    }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Opens a connection to an existing file.
pub(crate) fn connect(path: &Path, busy: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(busy)?;
    // A flush reaches the disk only with these on macOS. Elsewhere they change nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    Ok(connection)
}

/// Opens a connection that can't write to an existing file, and that leaves the WAL to those who can.
///
/// A reader takes part in the locking of WAL mode through the WAL's index, which SQLite opens even if it is read-only, but
/// [can't create](https://www.sqlite.org/wal.html#read_only_databases) in a folder that isn't writable. While nobody has the
/// database open there is neither an index nor a WAL, and everything is in the file itself. Only then it is read as
/// [`immutable`](https://www.sqlite.org/uri.html#uriimmutable), without locks. What is read could be wrong if a writer opens it
/// while this connection is open; the database stays as it is.
fn connect_read_only(path: &Path, busy: Duration) -> Result<Connection, Failure> {
    let is_at_rest = SUFFIXES
        .iter()
        .filter(|suffix| !suffix.is_empty())
        .all(|suffix| fs::metadata(with_suffix(path, suffix)).map_or(true, |found| found.len() == 0));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if is_at_rest {
        let mut uri = Url::from_file_path(path).map_err(|()| Failure::NotAFile)?;
        uri.set_query(Some("immutable=1"));
        Connection::open_with_flags(uri.as_str(), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    connection.busy_timeout(busy)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    refuse_writes(&connection)?;
    Ok(connection)
}

/// Makes every statement fail that would write.
pub(crate) fn refuse_writes(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)
}

/// Makes sure that `path` is a regular file. Doesn't open an existing one: opening a pipe waits for its other end, and closing
/// a database file drops the POSIX locks that SQLite holds on it for this process.
fn prepare_file(path: &Path) -> Result<PathBuf, Failure> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(Failure::NotAFile),
        Ok(_) => {}
        Err(_) => create_file(path)?,
    }
    Ok(path.canonicalize()?)
}

/// Creates the file and its parent folders, accessible only to their owner.
fn create_file(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Restricts the database at `path`, and the files that SQLite keeps beside it while it is open, to its owner.
#[cfg(unix)]
fn restrict_to_owner(path: &Path) -> io::Result<()> {
    for suffix in SUFFIXES {
        match restrict_file_to_owner(&with_suffix(path, suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
            done => done?,
        }
    }
    Ok(())
}

#[cfg(unix)]
fn restrict_file_to_owner(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(file)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(file, fs::Permissions::from_mode(mode & 0o600))?;
    }
    Ok(())
}

/// Switches to WAL mode, in which readers never wait for writers. The switch needs an exclusive lock and ignores the busy
/// timeout, so it retries while other processes open the same new database.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const STEPS: &[&str] = &[
        "CREATE TABLE schema_version (version INTEGER NOT NULL); CREATE TABLE things (name TEXT)",
        "ALTER TABLE things ADD COLUMN colour TEXT",
    ];
    const MARKS: [Mark; 2] = [Mark::Header(7), Mark::Table];

    fn schema<'a>(mark: Mark, steps: &'a [&'a str]) -> Schema<'a> {
        Schema { mark, steps }
    }

    #[test]
    fn a_database_of_an_older_version_is_migrated_with_its_data() {
        for mark in MARKS {
            let mut connection = Connection::open_in_memory().unwrap();
            schema(mark, &STEPS[..1]).migrate(&mut connection).unwrap();
            connection
                .execute("INSERT INTO things (name) VALUES ('a')", [])
                .unwrap();
            // The second migration has nothing left to do.
            for _ in 0..2 {
                schema(mark, STEPS).migrate(&mut connection).unwrap();
                assert_eq!(schema(mark, STEPS).applied_steps(&connection).unwrap(), STEPS.len());
                let row = connection.query_row("SELECT name, colour FROM things", [], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?))
                });
                assert_eq!(row.unwrap(), ("a".to_owned(), None), "{mark:?}");
            }
        }
    }

    #[test]
    fn a_failing_step_rolls_back_the_whole_migration() {
        for mark in MARKS {
            let mut connection = Connection::open_in_memory().unwrap();
            schema(mark, &STEPS[..1]).migrate(&mut connection).unwrap();
            let broken = [STEPS, &["CREATE NONSENSE"]].concat();
            assert!(schema(mark, &broken).migrate(&mut connection).is_err());
            assert_eq!(schema(mark, STEPS).applied_steps(&connection).unwrap(), 1, "{mark:?}");
            assert!(connection.prepare("SELECT colour FROM things").is_err());
        }
    }

    #[test]
    fn a_database_with_another_mark_is_foreign() {
        for (made, opened) in [
            (Mark::Header(7), Mark::Header(8)),
            (Mark::Header(7), Mark::Table),
            (Mark::Table, Mark::Header(7)),
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            schema(made, STEPS).migrate(&mut connection).unwrap();
            let refused = schema(opened, STEPS).migrate(&mut connection);
            assert!(matches!(refused, Err(Failure::Foreign)), "{made:?} {refused:?}");
        }
    }

    #[cfg(unix)]
    fn mode(file: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(file).unwrap().permissions().mode() & 0o777
    }

    #[cfg(unix)]
    fn let_others_read(file: &Path) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(0o644)).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn foreign_and_newer_files_are_left_unchanged() {
        for mark in MARKS {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            Connection::open(path("foreign"))
                .unwrap()
                .execute_batch("CREATE TABLE recipes (name TEXT)")
                .unwrap();
            fs::write(path("garbage"), "x".repeat(5_000)).unwrap();
            let more = [STEPS, &["CREATE TABLE more (name TEXT)"]].concat();
            drop(schema(mark, &more).open(&path("newer"), Duration::ZERO).unwrap());
            for name in ["foreign", "garbage", "newer"] {
                let_others_read(&path(name));
                let before = fs::read(path(name)).unwrap();
                let failure = schema(mark, STEPS).open(&path(name), Duration::ZERO).unwrap_err();
                let is_expected = match &failure {
                    Failure::Foreign => name == "foreign",
                    Failure::Corrupt(_) => name == "garbage",
                    Failure::Newer { found: 3, supported: 2 } => name == "newer",
                    _ => false,
                };
                assert!(is_expected, "{mark:?} {name}: {failure:?}");
                assert_eq!(mode(&path(name)), 0o644, "{mark:?} {name}");
                assert!(fs::read(path(name)).unwrap() == before, "{mark:?} {name}");
            }
            assert_eq!(
                fs::read_dir(folder.path()).unwrap().count(),
                3,
                "no file is left beside them"
            );
        }
    }

    #[test]
    fn a_crashed_programs_wal_is_not_checkpointed() {
        for mark in MARKS {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let foreign = Connection::open(path("alive")).unwrap();
            use_wal(&foreign).unwrap();
            foreign.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
            let files = [path("left"), path("left-wal")];
            for (from, to) in [path("alive"), path("alive-wal")].iter().zip(&files) {
                fs::copy(from, to).unwrap();
            }
            let before = files.each_ref().map(|file| fs::read(file).unwrap());
            let failure = schema(mark, STEPS).open(&files[0], Duration::ZERO).unwrap_err();
            assert!(matches!(failure, Failure::Foreign), "{mark:?}: {failure:?}");
            assert!(before == files.map(|file| fs::read(file).unwrap()), "{mark:?}");
        }
    }

    /// Migration tools use this table name.
    #[test]
    fn another_programs_schema_version_table_is_foreign_and_not_corrupt() {
        for table in [
            "CREATE TABLE schema_version (version TEXT); INSERT INTO schema_version VALUES ('1.2')",
            "CREATE TABLE schema_version (installed_rank INTEGER)",
            "CREATE TABLE schema_version (version INTEGER)",
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(table).unwrap();
            let refused = schema(Mark::Table, STEPS).migrate(&mut connection);
            assert!(matches!(refused, Err(Failure::Foreign)), "{table}: {refused:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn our_files_become_accessible_only_to_their_owner() {
        for mark in MARKS {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("ours");
            drop(schema(mark, STEPS).open(&path, Duration::ZERO).unwrap());
            let_others_read(&path);
            let (connection, _) = schema(mark, STEPS).open(&path, Duration::ZERO).unwrap();
            connection
                .execute("INSERT INTO things (name) VALUES ('a')", [])
                .unwrap();
            let mut files = 0;
            for entry in fs::read_dir(folder.path()).unwrap() {
                let file = entry.unwrap().path();
                assert_eq!(mode(&file), 0o600, "{}", file.display());
                files += 1;
            }
            assert_eq!(files, 3, "the database, its WAL and the WAL index");
        }
    }
}
