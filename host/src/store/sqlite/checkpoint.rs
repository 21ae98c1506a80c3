//! Copies what is committed from the write-ahead log into the database, beside the commits.
//!
//! By itself SQLite does this within a commit, whenever the log has a thousand pages, and all who share that commit wait until
//! the pages are written and flushed. Here a thread does it over a connection of its own while commits go on.
//!
//! A log starts over only from a moment in which all of it is copied. Where one commit follows another without a pause, the
//! thread doesn't get there, and the log grows. Then a commit copies the rest, which is little. If the thread is at it just
//! then, the commit waits for its turn: on a busy machine a copy can take as long as many commits.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::sqlite::{Database, Failure, connect};

/// The thread is woken each time the log has grown by so many pages. It is the size at which SQLite would copy.
const STEP_PAGES: u32 = 1_000;
/// From here on commits copy. A log of this size has 16 MiB.
pub(super) const MAX_PAGES: u32 = 4 * STEP_PAGES;
/// How often the thread tries to get ahead of the commits before it waits for the next step.
const PASSES: usize = 4;

/// Decides after each commit of one connection who copies, and when.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// The size of the log after the last commit.
    pages: Arc<AtomicU32>,
    /// How many steps it had after the commit before.
    steps: u32,
    /// Held while a log is copied. SQLite lets only one connection copy, and refuses the second instead of having it wait.
    turn: Arc<Mutex<()>>,
    /// Started when it is first needed, which it isn't in most processes.
    copier: Option<Copier>,
}

impl Checkpoints {
    /// Takes the place of SQLite's own checkpoints for the commits of `connection`.
    pub(super) fn of(connection: &mut Connection) -> rusqlite::Result<Self> {
        let pages = Arc::<AtomicU32>::default();
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(u32::try_from(pages).unwrap_or_default(), Ordering::Relaxed);
            // An error would make a commit that is durable look like one that failed.
            Ok(())
        }))?;
        Ok(Self {
            pages,
            steps: 0,
            turn: Arc::default(),
            copier: None,
        })
    }

    /// Has the log of `database`, at `path`, copied if there is enough of it. Never fails: what isn't copied now is copied later.
    pub(super) fn after_commit(&mut self, database: &Database, path: &Path) {
        let pages = self.pages.load(Ordering::Relaxed);
        let steps = pages / STEP_PAGES;
        let has_grown = steps > std::mem::replace(&mut self.steps, steps);
        if pages >= MAX_PAGES {
            // If another process is at it, this does nothing, and the next commit tries again.
            copy_in_turn(&self.turn, database);
        } else if has_grown {
            self.wake(database, path);
        }
    }

    /// Copies all of the log and empties it, unless somebody reads or another process copies. Whether it is empty.
    pub(super) fn empty_log(&self, connection: &Connection) -> bool {
        let _mine = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let emptied = at_once(connection, || {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        });
        match emptied {
            Ok(is_busy) => !is_busy,
            Err(error) => {
                tracing::debug!(%error, "could not empty the write-ahead log after a deletion yet");
                false
            }
        }
    }

    fn wake(&mut self, database: &Database, path: &Path) {
        if self.copier.is_none() {
            match Copier::start(self, database, path) {
                Ok(copier) => self.copier = Some(copier),
                Err(error) => tracing::debug!(?error, "could not start to copy the write-ahead log beside the commits"),
            }
        }
        if let Some(copier) = &self.copier {
            copier.wake();
        }
    }
}

/// The thread. Dropping this ends it, after the copy that it is making.
#[derive(Debug)]
struct Copier {
    /// Dropped to end the thread.
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Copier {
    fn start(checkpoints: &Checkpoints, database: &Database, path: &Path) -> Result<Self, Failure> {
        let connection = database.another(connect(path, Duration::ZERO)?)?;
        let (pages, turn) = (Arc::clone(&checkpoints.pages), Arc::clone(&checkpoints.turn));
        // One that waits is enough for any number of commits.
        let (wake, woken) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || copy_when_woken(&connection, &woken, &pages, &turn))?;
        Ok(Self {
            wake: Some(wake),
            thread: Some(thread),
        })
    }

    fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full means that it is already about to.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        self.wake.take();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and then there is nothing to wait for.
            let _ = thread.join();
        }
    }
}

fn copy_when_woken(connection: &Connection, woken: &Receiver<()>, pages: &AtomicU32, turn: &Mutex<()>) {
    while woken.recv().is_ok() {
        for _ in 0..PASSES {
            let is_all = copy_in_turn(turn, connection);
            // The commits do it from there on, and one may be waiting for its turn.
            let is_left_to_commits = pages.load(Ordering::Relaxed) >= MAX_PAGES;
            if is_all || is_left_to_commits {
                break;
            }
        }
    }
}

/// Copies after this process's other connection, if that is copying.
fn copy_in_turn(turn: &Mutex<()>, connection: &Connection) -> bool {
    let _mine = turn.lock().unwrap_or_else(PoisonError::into_inner);
    copy(connection)
}

/// Copies what no reader still needs in the log, without waiting for anybody. Whether that was all.
fn copy(connection: &Connection) -> bool {
    let copied = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (is_busy, pages, copied): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(!is_busy && pages == copied)
    });
    copied.unwrap_or_else(|error| {
        tracing::debug!(%error, "could not copy the write-ahead log into the database yet");
        false
    })
}

/// Works without waiting for others' locks, because others wait for this connection.
fn at_once<T>(connection: &Connection, work: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let millis: u32 = connection.query_row("PRAGMA busy_timeout", [], |row| row.get(0))?;
    connection.busy_timeout(Duration::ZERO)?;
    let done = work();
    connection.busy_timeout(Duration::from_millis(millis.into()))?;
    done
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use tokio::time::Instant;

    use super::*;
    use crate::sqlite::{Mark, Schema};

    /// What a page takes in the log.
    const FRAME_BYTES: u64 = 4_096 + 24;

    struct File {
        database: Database,
        path: PathBuf,
        checkpoints: Checkpoints,
        _folder: tempfile::TempDir,
    }

    impl File {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let steps = &["CREATE TABLE pages (number INTEGER PRIMARY KEY, bytes BLOB NOT NULL)"];
            let mark = Mark::Header(7);
            let schema = Schema { mark, steps };
            let opened = schema.open(&folder.path().join("log"), Duration::ZERO);
            let (mut database, path) = opened.unwrap();
            database.pragma_update(None, "synchronous", "OFF").unwrap();
            let checkpoints = Checkpoints::of(&mut database).unwrap();
            Self {
                database,
                path,
                checkpoints,
                _folder: folder,
            }
        }

        /// A commit of about so many pages.
        fn commit(&mut self, pages: u32) {
            self.insert(pages);
            self.checkpoints.after_commit(&self.database, &self.path);
        }

        fn insert(&mut self, pages: u32) {
            self.database
                .execute(
                    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
                     INSERT INTO pages (bytes) SELECT randomblob(3900) FROM numbers",
                    [pages],
                )
                .unwrap();
        }

        /// Pages in the log, and how many of them are copied, asked over a connection of its own that copies nothing.
        fn log(&self) -> (i64, i64) {
            let other = connect(&self.path, Duration::ZERO).unwrap();
            // Without a snapshot, the connection would know nothing of the log.
            other.query_row("SELECT count(*) FROM pages", [], |_| Ok(())).unwrap();
            other
                .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))
                .unwrap()
        }

        fn log_bytes(&self) -> u64 {
            let log = format!("{}-wal", self.path.display());
            std::fs::metadata(log).unwrap().len()
        }
    }

    #[test]
    fn a_thread_copies_once_the_log_is_large_and_the_log_starts_over() {
        let mut file = File::new();
        file.commit(STEP_PAGES / 2);
        assert!(file.checkpoints.copier.is_none(), "there is nothing to do yet");
        assert_eq!(file.log().1, 0);

        file.commit(STEP_PAGES);
        assert!(file.checkpoints.copier.is_some());
        let begun = Instant::now();
        loop {
            let (pages, copied) = file.log();
            assert!(pages > i64::from(STEP_PAGES), "{pages}");
            if pages == copied {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{copied} of {pages} are copied"
            );
            std::thread::yield_now();
        }
        file.commit(1);
        assert!(file.log().0 < 10, "{:?}", file.log());
    }

    #[test]
    fn the_log_stays_small_although_a_reader_and_the_commits_never_pause() {
        let mut file = File::new();
        for _ in 0..30 {
            file.commit(STEP_PAGES);
        }
        // The commit with which the log reaches its limit copies all of it, however long the thread takes.
        let most = u64::from(MAX_PAGES + STEP_PAGES + STEP_PAGES / 10) * FRAME_BYTES;
        assert!(file.log_bytes() < most, "{} bytes", file.log_bytes());

        // While somebody reads the first page of the log, all of it must stay.
        let reader = connect(&file.path, Duration::ZERO).unwrap();
        reader.execute_batch("BEGIN").unwrap();
        reader.query_row("SELECT count(*) FROM pages", [], |_| Ok(())).unwrap();
        for _ in 0..10 {
            file.commit(STEP_PAGES);
        }
        reader.execute_batch("COMMIT").unwrap();
        file.commit(1);
        file.commit(1);
        assert!(file.log().0 < 10, "the next commits start it over: {:?}", file.log());
    }

    #[test]
    fn a_commit_at_the_limit_waits_for_the_copy_that_is_under_way() {
        let mut file = File::new();
        let turn = Arc::clone(&file.checkpoints.turn);
        let copying = turn.lock().unwrap();
        let (committed, is_committed) = sync_channel(0);
        std::thread::scope(|threads| {
            let commit = threads.spawn(|| {
                file.insert(MAX_PAGES);
                committed.send(()).unwrap();
                file.checkpoints.after_commit(&file.database, &file.path);
            });
            is_committed.recv().unwrap();
            // Copying takes less.
            std::thread::sleep(Duration::from_millis(300));
            assert!(!commit.is_finished());
            drop(copying);
        });
        let (pages, copied) = file.log();
        assert_eq!(pages, copied);
    }

    #[test]
    fn a_commit_copies_what_a_missing_thread_does_not() {
        let mut file = File::new();
        std::fs::rename(&file.path, file.path.with_extension("moved")).unwrap();
        file.commit(STEP_PAGES + 1);
        assert!(file.checkpoints.copier.is_none(), "there is no file at the path");
        std::fs::rename(file.path.with_extension("moved"), &file.path).unwrap();
        file.checkpoints.steps = 5;
        file.commit(MAX_PAGES);
        let (pages, copied) = file.log();
        assert_eq!(pages, copied);
        assert!(pages > i64::from(MAX_PAGES), "{pages}");
    }

    #[test]
    fn the_thread_ends_with_its_store() {
        let mut file = File::new();
        file.commit(STEP_PAGES + 1);
        let log = format!("{}-wal", file.path.display());
        drop(file.checkpoints);
        drop(file.database);
        // The last connection deletes the log.
        assert!(!Path::new(&log).exists());
    }
}
