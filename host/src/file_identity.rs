//! Tells whether a file that is open is still the one at its path.
//!
//! A program keeps a file open under whatever name, or none: it can be deleted, moved or replaced meanwhile. Other programs
//! then work on another file, and what this one writes is lost to them.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

/// Identifies a file whatever its name, by device and inode. While the file is open, no other file gets the same identity.
///
/// Other systems than Unix have no such numbers in the standard library. There, only a missing file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The file that is at `path` now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::new(&metadata))
    }

    pub(crate) fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::new(&metadata))
    }

    /// Whether this file is the one at `path`. False if that can't be found out.
    pub(crate) fn is_at(self, path: &Path) -> bool {
        Self::at(path).is_ok_and(|there| there == self)
    }

    #[cfg(unix)]
    fn new(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    #[cfg(not(unix))]
    const fn new(_: &Metadata) -> Self {
        Self { device: 0, inode: 0 }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_deleted_moved_or_replaced_file_is_not_at_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("file"), folder.path().join("elsewhere"));
        let file = File::create(&path).unwrap();
        let identity = FileIdentity::of(&file).unwrap();
        assert!(identity.is_at(&path));
        fs::rename(&path, &elsewhere).unwrap();
        assert!(!identity.is_at(&path) && identity.is_at(&elsewhere));
        fs::write(&path, "").unwrap();
        assert!(!identity.is_at(&path));
        fs::rename(&elsewhere, &path).unwrap();
        assert!(identity.is_at(&path), "it is back");
        fs::remove_file(&path).unwrap();
        assert!(!identity.is_at(&path));
    }
}
