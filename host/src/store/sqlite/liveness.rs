//! Detects dead processes by file locks, because process ids are reused.
//!
//! Each process that writes to a database holds a lock on its own file beside it, `DATABASE-owner-UUID`, for as long as it
//! lives. The operating system releases the lock when the process ends, however it ends. So a process that can take the lock
//! knows that the owner is dead. A missing file means the same, because an owner creates its file before its first
//! reservation. The file holds the process's id, for people.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use uuid::Uuid;

use crate::file_identity::FileIdentity;
use crate::sqlite::Failure;

const INFIX: &str = "-owner-";

/// This process's owners, one per database. All handles to one database share it.
static OWNERS: Mutex<Vec<Weak<Owner>>> = Mutex::new(Vec::new());

/// This process's identity in a database that it shares with others. Once dropped, it counts as dead.
#[derive(Debug)]
pub(super) struct Owner {
    id: String,
    database: PathBuf,
    /// `None` where this process reserves nothing that others see: in memory, and in a database that it only reads.
    lock: Option<Lock>,
}

/// The lock file, which stays locked while it is open.
#[derive(Debug)]
struct Lock {
    _file: File,
    identity: FileIdentity,
}

impl Owner {
    /// Registers this process as an owner in `database`, whose path is canonical. The caller must hold the database's write
    /// lock. Everyone who looks for dead owners holds it too, so an owner can't look dead between creating and locking its
    /// file.
    pub(super) fn of_this_process(database: &Path) -> io::Result<Arc<Self>> {
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|owner| owner.strong_count() > 0);
        if let Some(owner) = owners
            .iter()
            .filter_map(Weak::upgrade)
            // An owner whose lock file was moved away with its database isn't one of the database that is here now.
            .find(|owner| owner.database == database && owner.check_in_place().is_ok())
        {
            return Ok(owner);
        }
        let id = Uuid::now_v7().to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(lock_path(database, &id))?;
        file.lock()?;
        // Only a message needs it.
        let _ = write!(file, "{}", std::process::id());
        let identity = FileIdentity::of(&file)?;
        let owner = Arc::new(Self {
            id,
            database: database.to_owned(),
            lock: Some(Lock { _file: file, identity }),
        });
        owners.push(Arc::downgrade(&owner));
        Ok(owner)
    }

    /// An owner that nobody looks for, and that looks for no dead ones.
    pub(super) fn without_lock() -> Arc<Self> {
        Self::reader(Path::new(""))
    }

    /// An owner that nobody looks for, of a database that it only reads. It can tell who is dead for a listing; to act on it takes the
    /// database's write lock.
    pub(super) fn reader(database: &Path) -> Arc<Self> {
        Arc::new(Self {
            id: Uuid::now_v7().to_string(),
            database: database.to_owned(),
            lock: None,
        })
    }

    /// The process of an owner that lives, as it said itself.
    pub(super) fn process_of(&self, id: &str) -> Option<u32> {
        if id == self.id {
            return Some(std::process::id());
        }
        let id = Uuid::parse_str(id).ok()?;
        let process = fs::read_to_string(lock_path(&self.database, &id.to_string())).ok()?;
        process.parse().ok()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// # Errors
    ///
    /// [`Failure::Displaced`] if the lock file isn't the one at its path any more, so that others take this process for dead.
    pub(super) fn check_in_place(&self) -> Result<(), Failure> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let path = lock_path(&self.database, &self.id);
        match lock.identity.is_at(&path) {
            true => Ok(()),
            false => Err(Failure::Displaced(path)),
        }
    }

    /// Returns the owner with this id if it is dead. If the operating system gives no clear answer, the owner counts as alive.
    /// That is safe: its reservations stay reserved, so that money can't be spent twice.
    pub(super) fn find_dead(&self, id: &str) -> Option<DeadOwner> {
        if id == self.id || self.database.as_os_str().is_empty() {
            return None;
        }
        // Ids come from the database and from file names. One that isn't a UUID must not become part of a path.
        let Ok(id) = Uuid::parse_str(id) else {
            return Some(DeadOwner { lock: None });
        };
        let path = lock_path(&self.database, &id.to_string());
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let lock = match opened.or_else(|error| match self.lock {
            Some(_) => Err(error),
            // Who only reads may not be able to write here either.
            None => File::open(&path),
        }) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(DeadOwner { lock: None }),
            Err(_) => return None,
        };
        match lock.try_lock() {
            Ok(()) => Some(DeadOwner {
                lock: Some((lock, path)),
            }),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => None,
        }
    }

    /// The ids of all other owners with a lock file beside the database.
    pub(super) fn other_ids(&self) -> Vec<String> {
        let Some(name) = self.database.file_name().and_then(|name| name.to_str()) else {
            return Vec::new();
        };
        let Some(folder) = self.database.parent() else {
            return Vec::new();
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return Vec::new();
        };
        let prefix = format!("{name}{INFIX}");
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_prefix(&prefix).map(str::to_owned))
            .filter(|id| *id != self.id)
            .collect()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // If this fails, the next open finds the file and treats its owner as dead.
            let _ = fs::remove_file(lock_path(&self.database, &self.id));
        }
    }
}

/// Proof that an owner is dead: while this exists, it holds the owner's lock.
#[derive(Debug)]
pub(super) struct DeadOwner {
    lock: Option<(File, PathBuf)>,
}

impl DeadOwner {
    /// Removes its lock file. Call this only after the charges for its reservations are committed.
    pub(super) fn remove_lock_file(self) {
        if let Some((_lock, path)) = self.lock {
            let _ = fs::remove_file(path);
        }
    }
}

fn lock_path(database: &Path, id: &str) -> PathBuf {
    let mut path = OsString::from(database);
    path.push(INFIX);
    path.push(id);
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn database() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("ledger.db");
        (folder, path)
    }

    /// Another process's lock file, locked if `alive`.
    fn other_process(database: &Path, alive: bool) -> (String, File) {
        let id = Uuid::now_v7().to_string();
        let file = File::create(lock_path(database, &id)).unwrap();
        if alive {
            file.lock().unwrap();
        }
        (id, file)
    }

    #[test]
    fn handles_of_one_process_share_an_owner() {
        let (_folder, database) = database();
        let first = Owner::of_this_process(&database).unwrap();
        let second = Owner::of_this_process(&database).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        assert!(first.other_ids().is_empty());

        let id = first.id().to_owned();
        drop((first, second));
        assert!(!lock_path(&database, &id).exists());
        assert_ne!(Owner::of_this_process(&database).unwrap().id(), id);
    }

    #[test]
    fn an_owner_is_alive_while_it_holds_its_lock() {
        let (_folder, database) = database();
        let me = Owner::of_this_process(&database).unwrap();
        let (alive, lock) = other_process(&database, true);
        let (dead, _) = other_process(&database, false);
        assert_eq!(me.other_ids().len(), 2);

        assert!(me.find_dead(&alive).is_none());
        assert!(me.find_dead(me.id()).is_none());
        me.find_dead(&dead).unwrap().remove_lock_file();
        assert_eq!(me.other_ids().iter().collect::<Vec<_>>(), [&alive]);

        // A process that another test is starting can hold a copy of the handle, so closing ours isn't enough.
        lock.unlock().unwrap();
        assert!(me.find_dead(&alive).is_some());
    }

    #[test]
    fn an_owner_without_a_file_is_dead_and_ids_cannot_escape_the_folder() {
        let (folder, database) = database();
        let me = Owner::of_this_process(&database).unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "").unwrap();

        me.find_dead(&Uuid::now_v7().to_string()).unwrap().remove_lock_file();
        me.find_dead("x/../outside").unwrap().remove_lock_file();
        assert!(outside.exists());
    }

    #[test]
    fn an_owner_without_a_lock_finds_no_dead_ones() {
        let me = Owner::without_lock();
        assert!(me.find_dead(&Uuid::now_v7().to_string()).is_none());
    }
}
