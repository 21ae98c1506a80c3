//! Opening SQLite files the way this program keeps them: for their owner alone, and so that readers never wait for writers.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

/// Why a file can't be opened as a database.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// A folder, a pipe, a device.
    NotAFile,
    Io(io::Error),
    Sqlite(rusqlite::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens the database at `path`, creating it and the folders above it for their owner alone, and returns it with its
/// canonical path. `busy` bounds how long another program's lock is waited for. Nothing is written to what is there.
pub(crate) fn open(path: &Path, busy: Duration) -> Result<(Connection, PathBuf), OpenError> {
    let path = prepare_file(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&path, flags)?;
    connection.busy_timeout(busy)?;
    Ok((connection, path))
}

/// Makes sure that `path` is a regular file that belongs to its owner alone.
fn prepare_file(path: &Path) -> Result<PathBuf, OpenError> {
    // Looked at before it is opened, for opening a pipe waits for its other end.
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OpenError::NotAFile),
        Ok(_) => {}
        Err(_) => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true);
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.create(folder)?;
            }
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    drop(file);
    Ok(path.canonicalize()?)
}

/// Readers then never wait for writers. The switch needs the database for itself and does not wait for it, so processes
/// that open a new database together have to take turns.
pub(crate) fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    const TRIES: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 1..TRIES {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => thread::sleep(PAUSE),
            done => return done,
        }
    }
    connection.pragma_update(None, "journal_mode", "WAL")
}
