//! A folder that exists only for the check, in place of those that tools can be granted.

use std::collections::BTreeMap;
use std::fs::FileTimes;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::sandbox::{Digest, FolderGrant};
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// The one file that is there at first. Generated inputs have this text where they could name a file.
const SEED: (&str, &str) = ("example", "An example.\n");
/// When the folders and that file were changed last.
const MODIFIED: SystemTime = SystemTime::UNIX_EPOCH;
/// When they were read last, after [`MODIFIED`]: the beginning of 2038. Linux only notes that a file is read if that seems to be
/// news (`relatime`), and a time in the future isn't older than anything.
const ACCESSED_AFTER: Duration = Duration::from_secs(2_145_916_800);
/// Bytes of a file that are compared, with its length. A tool can make a file of any length without writing as many bytes.
const COMPARED_BYTES: u64 = 1 << 20;
/// The same, of all files together. Of the rest, only the lengths are compared.
const COMPARED_BYTES_OF_ALL: u64 = 64 << 20;
/// Changes that are named.
const MAX_NAMED: usize = 3;

/// The folders of a plugin, or one at `/` that the plugin can change, if it was granted none.
#[derive(Clone, Debug)]
pub(super) struct Folders {
    root: PathBuf,
    granted: Vec<FolderGrant>,
}

impl Folders {
    /// Makes folders below `root` like those that were granted.
    pub(super) fn create(root: PathBuf, like: &[FolderGrant]) -> io::Result<Self> {
        let default = FolderGrant {
            folder: PathBuf::new(),
            at: "/".to_owned(),
            write: true,
        };
        let like = match like {
            [] => std::slice::from_ref(&default),
            like => like,
        };
        let granted = like.iter().enumerate().map(|(number, grant)| FolderGrant {
            folder: root.join(number.to_string()),
            ..grant.clone()
        });
        let folders = Self {
            granted: granted.collect(),
            root,
        };
        folders.reset()?;
        Ok(folders)
    }

    pub(super) fn grants(&self) -> Vec<FolderGrant> {
        self.granted.clone()
    }

    /// Undoes what tools did. The folders themselves stay, because plugins keep them open.
    pub(super) fn reset(&self) -> io::Result<()> {
        for grant in &self.granted {
            std::fs::create_dir_all(&grant.folder)?;
            for entry in std::fs::read_dir(&grant.folder)? {
                let entry = entry?;
                match entry.file_type()?.is_dir() {
                    true => std::fs::remove_dir_all(entry.path())?,
                    false if is_seed(&entry.path())? => {}
                    false => std::fs::remove_file(entry.path())?,
                }
            }
            let seed = grant.folder.join(SEED.0);
            if !seed.exists() {
                std::fs::write(&seed, SEED.1)?;
            }
            set_times(&seed)?;
            set_times(&grant.folder)?;
        }
        Ok(())
    }

    /// Looks at everything in the folders. What can't be looked at is content too: a tool can make paths that are too long, and work
    /// that it began can go on.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut found = BTreeMap::new();
        let mut left = COMPARED_BYTES_OF_ALL;
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                found.insert(self.name(&folder), Content::Unreadable);
                continue;
            };
            for entry in entries.flatten() {
                let path = entry.path();
                let content = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => {
                        folders.push(path.clone());
                        Content::Folder
                    }
                    Ok(kind) if kind.is_file() => Content::of_file(&path, &mut left).unwrap_or(Content::Unreadable),
                    Ok(_) => Content::Link(std::fs::read_link(&path).ok()),
                    Err(_) => Content::Unreadable,
                };
                found.insert(self.name(&path), content);
            }
        }
        Snapshot(found)
    }

    /// The path as the tool knows it.
    fn name(&self, path: &Path) -> String {
        let within = |grant: &FolderGrant| Some((grant.at.clone(), path.strip_prefix(&grant.folder).ok()?.to_owned()));
        match self.granted.iter().find_map(within) {
            Some((at, path)) => format!("{}/{}", at.trim_end_matches('/'), path.to_string_lossy()),
            None => path.to_string_lossy().into_owned(),
        }
    }
}

/// Whether it is the file that is there at first. It stays if no call changed it, so that the next call finds the same file with the
/// same times.
fn is_seed(path: &Path) -> io::Result<bool> {
    let metadata = path.symlink_metadata()?;
    let is_it = metadata.is_file()
        && path.file_name().is_some_and(|name| name == SEED.0)
        && metadata.len() == SEED.1.len() as u64
        && metadata.modified()? == MODIFIED;
    Ok(is_it && std::fs::read(path)? == SEED.1.as_bytes())
}

/// Sets the times of a file or folder, if they aren't set already: setting them counts as a change itself.
fn set_times(path: &Path) -> io::Result<()> {
    let file = std::fs::File::open(path)?;
    let (metadata, accessed) = (file.metadata()?, MODIFIED + ACCESSED_AFTER);
    if metadata.modified()? == MODIFIED && metadata.accessed()? == accessed {
        return Ok(());
    }
    file.set_times(FileTimes::new().set_modified(MODIFIED).set_accessed(accessed))
}

/// What is in the folders.
#[derive(Debug, PartialEq)]
pub(super) struct Snapshot(BTreeMap<String, Content>);

impl Snapshot {
    /// Names what differs; `None` if nothing does.
    pub(super) fn changes_to(&self, after: &Self) -> Option<String> {
        let paths: std::collections::BTreeSet<&String> = self.0.keys().chain(after.0.keys()).collect();
        let mut changed = paths.into_iter().filter_map(|path| {
            let did = match (self.0.get(path), after.0.get(path)) {
                (None, Some(_)) => "created",
                (Some(_), None) => "removed",
                (before, after) if before != after => "changed",
                _ => return None,
            };
            Some(format!("{did} {}", display_untrusted(path, NAME_CHARS)))
        });
        let named: Vec<String> = changed.by_ref().take(MAX_NAMED).collect();
        let more = changed.next().map_or("", |_| " and more");
        (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
    }
}

#[derive(Debug, PartialEq)]
enum Content {
    Folder,
    File { bytes: u64, beginning: Digest },
    Link(Option<PathBuf>),
    Unreadable,
}

impl Content {
    /// Takes what it reads off `left`.
    fn of_file(path: &Path, left: &mut u64) -> io::Result<Self> {
        let file = std::fs::File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut beginning = Vec::new();
        file.take(COMPARED_BYTES.min(*left)).read_to_end(&mut beginning)?;
        *left -= beginning.len() as u64;
        Ok(Self::File {
            bytes,
            beginning: Digest::of(&beginning),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn changes_have_the_names_that_the_tool_knows() {
        let root = tempfile::tempdir().unwrap();
        let like = [("/in", false), ("/", true)].map(|(at, write)| FolderGrant {
            folder: "/the/operators/own".into(),
            at: at.to_owned(),
            write,
        });
        let folders = Folders::create(root.path().to_owned(), &like).unwrap();
        let [read, write] = &folders.grants()[..] else {
            unreachable!()
        };
        assert_eq!((read.at.as_str(), read.write, write.write), ("/in", false, true));
        let before = folders.snapshot();
        assert_eq!(before.changes_to(&before), None);
        std::fs::create_dir(write.folder.join("a")).unwrap();
        std::fs::write(write.folder.join("a/b"), "").unwrap();
        std::os::unix::fs::symlink("/etc", write.folder.join("link")).unwrap();
        std::fs::write(read.folder.join("example"), "other").unwrap();
        let after = folders.snapshot();
        assert_eq!(
            before.changes_to(&after).unwrap(),
            "created /a, created /a/b, changed /in/example and more"
        );
        std::fs::remove_file(write.folder.join("example")).unwrap();
        let removed = folders.snapshot();
        assert_eq!(after.changes_to(&removed).unwrap(), "removed /example");
        folders.reset().unwrap();
        assert_eq!(folders.snapshot(), before);
    }

    /// A tool may report what it finds out about files, and still do the same in two calls.
    #[test]
    fn what_no_call_changed_is_the_same_for_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::create(root.path().to_owned(), &[]).unwrap();
        let folder = folders.grants()[0].folder.clone();
        let identity = |name: &str| {
            let found = folder.join(name).metadata().unwrap();
            let changed = (found.ctime(), found.ctime_nsec());
            (
                found.ino(),
                changed,
                found.accessed().unwrap(),
                found.modified().unwrap(),
            )
        };
        let first = [identity("example"), identity("")];
        for (.., accessed, modified) in &first {
            assert_eq!((*accessed, *modified), (MODIFIED + ACCESSED_AFTER, MODIFIED));
        }
        std::fs::read(folder.join("example")).unwrap();
        folders.reset().unwrap();
        assert_eq!([identity("example"), identity("")], first);

        // Something else has the same text.
        std::fs::write(folder.join("example"), SEED.1).unwrap();
        std::fs::write(folder.join("more"), "x").unwrap();
        folders.reset().unwrap();
        assert_eq!((identity("example").3, identity("").3), (MODIFIED, MODIFIED));
        assert_eq!(std::fs::read(folder.join("example")).unwrap(), SEED.1.as_bytes());
    }

    #[test]
    fn a_file_of_any_length_is_compared() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::create(root.path().to_owned(), &[]).unwrap();
        let path = folders.grants()[0].folder.join("large");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(1 << 33).unwrap();
        let large = folders.snapshot();
        file.set_len((1 << 33) + 1).unwrap();
        assert_eq!(large.changes_to(&folders.snapshot()).unwrap(), "changed /large");
    }

    /// A tool can make folders in one another, each by a short path, until their own path is too long for the system.
    #[test]
    fn what_cant_be_read_is_part_of_a_snapshot() {
        let root = tempfile::tempdir().unwrap();
        let folders = Folders::create(root.path().to_owned(), &[]).unwrap();
        let before = folders.snapshot();
        let name = "x".repeat(255);
        let mut folder = std::fs::File::open(&folders.grants()[0].folder).unwrap();
        for _ in 0..20 {
            rustix::fs::mkdirat(&folder, &name, rustix::fs::Mode::RWXU).unwrap();
            let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
            folder = rustix::fs::openat(&folder, &name, flags, rustix::fs::Mode::empty())
                .unwrap()
                .into();
        }
        let after = folders.snapshot();
        assert!(after.0.values().any(|content| *content == Content::Unreadable));
        assert!(before.changes_to(&after).unwrap().starts_with("created /xxx"));
        folders.reset().unwrap();
        assert_eq!(folders.snapshot(), before);
    }

    #[test]
    fn the_bytes_that_are_compared_are_bounded() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        std::fs::write(&path, "abcd").unwrap();
        let mut left = 6;
        let whole = Content::of_file(&path, &mut left).unwrap();
        assert_eq!((left, &whole), (2, &Content::of_file(&path, &mut 4).unwrap()));
        assert_ne!(Content::of_file(&path, &mut left).unwrap(), whole);
        assert_eq!(left, 0);
    }
}
