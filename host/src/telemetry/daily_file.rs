//! A log file per day, accessible only to its owner.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::{Timestamp, tz::Offset};

use crate::file_identity::FileIdentity;

/// Appends to `cofferdam.YYYY-MM-DD.jsonl`, by the UTC day of the write. Several processes can append to the same file: each
/// line is one write, and append mode keeps writes whole.
///
/// Old files are kept. Removing them is up to the operator. If today's file is deleted or moved, as programs that rotate logs do,
/// the next line starts a new one.
#[derive(Debug)]
pub(super) struct DailyFile<Clock> {
    directory: PathBuf,
    clock: Clock,
    day: Date,
    file: File,
}

impl<Clock: Fn() -> Timestamp> DailyFile<Clock> {
    /// Creates the folder if it is missing, and opens today's file.
    pub(super) fn open(directory: &Path, clock: Clock) -> io::Result<Self> {
        create_private_folder(directory)?;
        let day = utc_day(&clock);
        Ok(Self {
            directory: directory.to_owned(),
            day,
            file: open_day(directory, day)?,
            clock,
        })
    }
}

impl<Clock> DailyFile<Clock> {
    /// Whether the open file is still the one that an operator finds.
    fn is_in_place(&self) -> bool {
        FileIdentity::of(&self.file).is_ok_and(|open| open.is_at(&path_of(&self.directory, self.day)))
    }
}

impl<Clock: Fn() -> Timestamp> Write for DailyFile<Clock> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let today = utc_day(&self.clock);
        if today != self.day || !self.is_in_place() {
            // If the new file can't be opened, keep writing to the old one instead of losing lines.
            let opened = create_private_folder(&self.directory).and_then(|()| open_day(&self.directory, today));
            if let Ok(file) = opened {
                self.file = file;
                self.day = today;
            }
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn utc_day(clock: impl Fn() -> Timestamp) -> Date {
    Offset::UTC.to_datetime(clock()).date()
}

fn open_day(directory: &Path, day: Date) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path_of(directory, day))
}

fn path_of(directory: &Path, day: Date) -> PathBuf {
    directory.join(format!("cofferdam.{day}.jsonl"))
}

fn create_private_folder(directory: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::cell::Cell;

    use super::*;

    #[test]
    fn each_day_has_its_own_file() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("a/logs");
        let now: Cell<Timestamp> = Cell::new("2026-11-24T23:59:59Z".parse().unwrap());
        let mut file = DailyFile::open(&logs, || now.get()).unwrap();
        file.write_all(b"monday\n").unwrap();
        now.set("2026-11-25T00:00:00Z".parse().unwrap());
        file.write_all(b"tuesday\n").unwrap();
        drop(file);
        let mut again = DailyFile::open(&logs, || now.get()).unwrap();
        again.write_all(b"appended\n").unwrap();
        let read = |name| std::fs::read_to_string(logs.join(name)).unwrap();
        assert_eq!(read("cofferdam.2026-11-24.jsonl"), "monday\n");
        assert_eq!(read("cofferdam.2026-11-25.jsonl"), "tuesday\nappended\n");
    }

    #[cfg(unix)]
    #[test]
    fn a_new_file_replaces_one_that_was_deleted_or_moved() {
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        let path = logs.join("cofferdam.1970-01-01.jsonl");
        let mut file = DailyFile::open(&logs, || Timestamp::UNIX_EPOCH).unwrap();
        let mut write = |line: &str| file.write_all(line.as_bytes()).unwrap();
        write("first\n");
        std::fs::rename(&path, logs.join("rotated")).unwrap();
        write("second\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
        std::fs::rename(&logs, folder.path().join("moved")).unwrap();
        write("third\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third\n");
        std::fs::remove_file(&path).unwrap();
        write("fourth\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "fourth\n");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_access_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let logs = folder.path().join("logs");
        DailyFile::open(&logs, || Timestamp::UNIX_EPOCH).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&logs), 0o700);
        assert_eq!(mode(&logs.join("cofferdam.1970-01-01.jsonl")), 0o600);
    }
}
