//! Which processes are alive, told by the operating system and not by process ids, which are used again.
//!
//! Each process that books in a database holds a lock on a file of its own beside it, `DATABASE-owner-UUID`, for as long
//! as it lives. The system frees the lock when the process ends, however it ends; so whoever can take it knows that its
//! owner is gone. A missing file means the same, for an owner has its file before it has its first reservation.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use uuid::Uuid;

const INFIX: &str = "-owner-";

/// The owners that this process is. All handles to one database share one.
static OWNERS: Mutex<Vec<Weak<Owner>>> = Mutex::new(Vec::new());

/// This process, in the eyes of those who share a database with it. Dropped, it counts as dead.
#[derive(Debug)]
pub(super) struct Owner {
    id: String,
    database: PathBuf,
    /// `None` in memory, where nobody else can see the reservations.
    lock: Option<File>,
}

impl Owner {
    /// This process as an owner in `database`, whose path is canonical. The caller holds the database's write lock, as
    /// everybody does who looks for dead owners: else one could be taken for dead between creating and locking its file.
    pub(super) fn of_this_process(database: &Path) -> io::Result<Arc<Self>> {
        let mut owners = OWNERS.lock().unwrap_or_else(PoisonError::into_inner);
        owners.retain(|owner| owner.strong_count() > 0);
        if let Some(owner) = owners
            .iter()
            .filter_map(Weak::upgrade)
            .find(|owner| owner.database == database)
        {
            return Ok(owner);
        }
        let id = Uuid::now_v7().to_string();
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(lock_path(database, &id))?;
        lock.lock()?;
        let owner = Arc::new(Self {
            id,
            database: database.to_owned(),
            lock: Some(lock),
        });
        owners.push(Arc::downgrade(&owner));
        Ok(owner)
    }

    /// The owner in a database that lives in memory.
    pub(super) fn in_memory() -> Arc<Self> {
        Arc::new(Self {
            id: Uuid::now_v7().to_string(),
            database: PathBuf::new(),
            lock: None,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// The owner of that id, if it is dead. Where the system gives no clear answer it counts as alive: its reservations
    /// then stay reserved, and money that is reserved can't be spent twice either.
    pub(super) fn find_dead(&self, id: &str) -> Option<DeadOwner> {
        self.lock.as_ref()?;
        if id == self.id {
            return None;
        }
        // Ids come from the database and the folder: one that is no UUID must not become part of a path.
        let Ok(id) = Uuid::parse_str(id) else {
            return Some(DeadOwner { lock: None });
        };
        let path = lock_path(&self.database, &id.to_string());
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
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

    /// The ids of everybody whose lock file lies beside the database.
    pub(super) fn others(&self) -> Vec<String> {
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
            // A file that stays behind is found to be a dead owner's at the next opening.
            let _ = fs::remove_file(lock_path(&self.database, &self.id));
        }
    }
}

/// Proof that an owner is dead: nobody can hold its lock while this is held.
#[derive(Debug)]
pub(super) struct DeadOwner {
    lock: Option<(File, PathBuf)>,
}

impl DeadOwner {
    /// Removes what it left. Only after its reservations were charged and that was committed.
    pub(super) fn bury(self) {
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

    /// Somebody else's lock file, held or not.
    fn stranger(database: &Path, alive: bool) -> (String, File) {
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
        assert!(first.others().is_empty());

        let id = first.id().to_owned();
        drop((first, second));
        assert!(!lock_path(&database, &id).exists());
        assert_ne!(Owner::of_this_process(&database).unwrap().id(), id);
    }

    #[test]
    fn who_holds_its_lock_is_alive_and_who_does_not_is_dead() {
        let (_folder, database) = database();
        let me = Owner::of_this_process(&database).unwrap();
        let (alive, lock) = stranger(&database, true);
        let (dead, _) = stranger(&database, false);
        assert_eq!(me.others().len(), 2);

        assert!(me.find_dead(&alive).is_none());
        assert!(me.find_dead(me.id()).is_none());
        me.find_dead(&dead).unwrap().bury();
        assert_eq!(me.others().iter().collect::<Vec<_>>(), [&alive]);

        // A process that another test is just starting may hold a copy of the handle, so closing ours would not do.
        lock.unlock().unwrap();
        assert!(me.find_dead(&alive).is_some());
    }

    #[test]
    fn who_has_no_file_is_dead_and_no_id_leaves_the_folder() {
        let (folder, database) = database();
        let me = Owner::of_this_process(&database).unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "").unwrap();

        me.find_dead(&Uuid::now_v7().to_string()).unwrap().bury();
        me.find_dead("x/../outside").unwrap().bury();
        assert!(outside.exists());
    }

    #[test]
    fn in_memory_nobody_dies() {
        let me = Owner::in_memory();
        assert!(me.find_dead(&Uuid::now_v7().to_string()).is_none());
    }
}
