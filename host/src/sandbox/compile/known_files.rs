//! What was found out about files by reading all of their bytes: the digest of compiled code, and a component's
//! [`Facts`](super::facts::Facts). It is remembered for as long as nobody writes to the file, because reading and hashing a large
//! component and its compiled code takes longer than the rest of a start.
//!
//! A write changes the time of a file's last change (`ctime`), which no program can choose, unlike the time of its last
//! modification. So a file with the same inode, size and times holds the bytes that were read, with two precautions:
//!
//! - A record holds until the system starts again. After a crash, a file can have lost its content and kept its times.
//! - A file is remembered only once it has been left alone for [`SETTLED`], because two writes within one step of the clock leave
//!   the same time.
//!
//! What a disk returns wrong without a write is found after the next start of the system. The records lie in the folder of the
//! cache, so a process that can forge one can write compiled code as well. Copies of files have other inodes, so a folder that was copied
//! or restored has no records that hold.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cache::{keep_newest, name, write_whole};
use super::component::Digest;

const PREFIX: &str = ".known-";

/// Longer than the step of any file system's times, which is two seconds on some removable disks.
const SETTLED: Duration = Duration::from_secs(3);

/// The most records. Beyond them the oldest are removed.
const MAX_RECORDS: usize = 500;

/// The longest record. What a component says about its functions is limited to a quarter of it.
const MAX_BYTES: u64 = 1 << 20;

/// What the system says about a file. It changes with every write to the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    device: u64,
    inode: u64,
    pub(super) size: u64,
    /// In seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether the next write is sure to change the state.
    is_settled: bool,
}

impl FileState {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let now = SystemTime::now();
        let metadata = file.metadata()?;
        let changed = Duration::from_secs(metadata.ctime().try_into().unwrap_or_default());
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            is_settled: metadata.is_file() && SystemTime::UNIX_EPOCH + changed + SETTLED < now,
        })
    }

    /// As if the file had been left alone for long.
    #[cfg(test)]
    pub(super) fn settled(path: &Path) -> Self {
        let state = Self::of(&File::open(path).unwrap()).unwrap();
        Self {
            is_settled: true,
            ..state
        }
    }

    /// Writes to the file and restores the time of its last modification. Does so until the state is another: within a step of the
    /// clock it stays the same.
    #[cfg(test)]
    pub(super) fn write_secretly(path: &Path, bytes: &[u8]) {
        let before = Self::settled(path);
        let modified = std::fs::metadata(path).unwrap().modified().unwrap();
        while Self::settled(path) == before {
            std::fs::write(path, bytes).unwrap();
            File::open(path).unwrap().set_modified(modified).unwrap();
        }
        let after = Self::settled(path);
        assert_eq!(
            (after.inode, after.size, after.modified),
            (before.inode, before.size, before.modified)
        );
    }
}

impl std::fmt::Display for FileState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            device,
            inode,
            size,
            modified,
            changed,
            is_settled: _,
        } = self;
        write!(f, "{device} {inode} {size} {modified:?} {changed:?}")
    }
}

/// The records, in a folder that only its owner can reach.
#[derive(Clone, Debug)]
pub(super) struct KnownFiles {
    folder: PathBuf,
    /// Identifies the time since the system's start, and this program: another version can find out something else.
    since: Arc<str>,
}

impl KnownFiles {
    /// `None` where the system doesn't say since when it has been running.
    pub(super) fn open(folder: &Path) -> Option<Self> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let program = FileState::of(&File::open("/proc/self/exe").ok()?).ok()?;
        Some(Self::since(folder, &format!("{} {program}", boot.trim())))
    }

    fn since(folder: &Path, since: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            since: since.into(),
        }
    }

    /// The digest of what a file holds. Reads the file only if the digest isn't known.
    pub(super) fn digest(&self, file: &File) -> io::Result<Digest> {
        let state = FileState::of(file)?;
        if let Some(digest) = self.get(&state) {
            return Ok(digest);
        }
        let digest = Digest::of_file(file)?;
        if FileState::of(file)? == state {
            self.put(&state, &digest);
        }
        Ok(digest)
    }

    /// What is known of the file of this state.
    pub(super) fn get<T: DeserializeOwned>(&self, state: &FileState) -> Option<T> {
        let mut record = String::new();
        let file = File::open(self.path(state)).ok()?;
        file.take(MAX_BYTES).read_to_string(&mut record).ok()?;
        let (head, known) = record.split_once('\n')?;
        let is_current = head == self.head(state, known);
        serde_json::from_str(known).ok().filter(|_| is_current)
    }

    /// Remembers what was found out about a file that had this state before and after it was read. What can't be written is found
    /// out again.
    pub(super) fn put<T: Serialize>(&self, state: &FileState, known: &T) {
        let Some(known) = serde_json::to_string(known).ok().filter(|_| state.is_settled) else {
            return;
        };
        let record = format!("{}\n{known}", self.head(state, &known));
        if record.len() as u64 > MAX_BYTES {
            return;
        }
        let written = write_whole(&self.path(state), record.as_bytes())
            .and_then(|()| keep_newest(&self.folder, MAX_RECORDS, |path| name(path).starts_with(PREFIX)));
        if let Err(error) = written {
            tracing::debug!(folder = %self.folder.display(), %error, "what is known of a file is not remembered");
        }
    }

    /// One for each file, so that a new state replaces the old one.
    fn path(&self, FileState { device, inode, .. }: &FileState) -> PathBuf {
        self.folder.join(format!("{PREFIX}{device:x}-{inode:x}"))
    }

    /// The first line of a record. Its digest tells whether the rest is whole.
    fn head(&self, state: &FileState, known: &str) -> String {
        format!("{} {state} {}", self.since, Digest::of(known.as_bytes()).hex())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    struct Lab {
        folder: tempfile::TempDir,
    }

    impl Lab {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("file"), "content").unwrap();
            Self { folder }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("file")
        }

        fn file(&self) -> File {
            File::open(self.path()).unwrap()
        }

        fn state(&self) -> FileState {
            FileState::settled(&self.path())
        }

        fn known(&self, boot: &str) -> KnownFiles {
            KnownFiles::since(self.folder.path(), boot)
        }
    }

    #[test]
    fn a_file_is_read_again_after_every_write() {
        let lab = Lab::new();
        let known = lab.known("boot");
        // Tells the record apart from the file's own digest.
        known.put(&lab.state(), &Digest::of(b"recorded"));
        assert_eq!(known.digest(&lab.file()).unwrap(), Digest::of(b"recorded"));
        FileState::write_secretly(&lab.path(), b"content");
        assert_eq!(known.digest(&lab.file()).unwrap(), Digest::of(b"content"));
    }

    #[test]
    fn records_hold_for_one_file_and_until_the_system_starts_again() {
        let lab = Lab::new();
        let state = lab.state();
        let digest = Digest::of(b"recorded");
        lab.known("boot").put(&state, &digest);
        assert_eq!(lab.known("boot").get(&state), Some(digest));
        assert_eq!(lab.known("another boot").get::<Digest>(&state), None);
        let record = std::fs::read(lab.known("boot").path(&state)).unwrap();
        // A copy takes the place of the file.
        std::fs::copy(lab.path(), lab.folder.path().join("copy")).unwrap();
        std::fs::rename(lab.folder.path().join("copy"), lab.path()).unwrap();
        assert_eq!(lab.known("boot").digest(&lab.file()).unwrap(), Digest::of(b"content"));
        let (device, inode) = (state.device + 1, state.inode + 1);
        let (size, seconds) = (state.size + 1, (state.changed.0 + 1, state.changed.1));
        for other in [
            FileState {
                device,
                ..state.clone()
            },
            FileState { inode, ..state.clone() },
            FileState { size, ..state.clone() },
            FileState {
                changed: seconds,
                ..state.clone()
            },
            FileState {
                modified: seconds,
                ..state.clone()
            },
        ] {
            // Under the name that it would be looked up by.
            std::fs::write(lab.known("boot").path(&other), &record).unwrap();
            assert_eq!(lab.known("boot").get::<Digest>(&other), None, "{other:?}");
        }
    }

    #[test]
    fn a_file_that_was_just_written_is_not_remembered() {
        let lab = Lab::new();
        let known = lab.known("boot");
        let state = FileState::of(&lab.file()).unwrap();
        assert!(!state.is_settled);
        assert_eq!(known.digest(&lab.file()).unwrap(), Digest::of(b"content"));
        assert_eq!(known.get::<Digest>(&state), None);
    }

    #[test]
    fn a_damaged_record_is_not_used() {
        let lab = Lab::new();
        let known = lab.known("boot");
        let state = lab.state();
        known.put(&state, &1_234_567);
        let path = known.path(&state);
        let record = std::fs::read(&path).unwrap();
        for position in 0..record.len() {
            std::fs::write(&path, &record[..position]).unwrap();
            assert_eq!(known.get::<u64>(&state), None, "cut at {position}");
            let mut damaged = record.clone();
            damaged[position] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(known.get::<u64>(&state), None, "byte {position}");
        }
        std::fs::write(&path, record).unwrap();
        assert_eq!(known.get(&state), Some(1_234_567));
    }

    #[test]
    fn records_are_bounded_in_number_and_size() {
        let lab = Lab::new();
        let known = lab.known("boot");
        let state = lab.state();
        for inode in 0..MAX_RECORDS as u64 + 3 {
            known.put(&FileState { inode, ..state.clone() }, &inode);
        }
        let records = std::fs::read_dir(lab.folder.path()).unwrap().flatten();
        let records = records.filter(|file| name(&file.path()).starts_with(PREFIX));
        assert_eq!(records.count(), MAX_RECORDS);
        let inode = MAX_RECORDS as u64 + 2;
        assert_eq!(known.get(&FileState { inode, ..state.clone() }), Some(inode));
        known.put(&state, &"x".repeat(1 << 20));
        assert_eq!(known.get::<String>(&state), None);
    }
}
