//! Folders that an operator grants.

use std::io;
use std::path::PathBuf;

use wasmtime_wasi::filesystem::{Dir, FsPerms, OpenMode};

/// A folder that a plugin can access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderGrant {
    /// On the host.
    pub folder: PathBuf,
    /// The guest's path for it, absolute.
    pub at: String,
    /// Whether the guest can change its contents.
    pub write: bool,
}

impl FolderGrant {
    /// What the guest can do there, in words.
    pub const fn may(&self) -> &'static str {
        if self.write { "read and write" } else { "read" }
    }

    /// Why a guest can't use `at` as a path, if so.
    pub fn problem_of(at: &str) -> Option<&'static str> {
        let plain = |part: &str| !part.is_empty() && !matches!(part, "." | "..");
        match at.strip_prefix('/') {
            None => Some("must begin with `/`"),
            Some("") => None,
            Some(_) if at.contains('\0') => Some("holds a NUL"),
            Some(rest) if rest.split('/').all(plain) => None,
            Some(_) => Some("must have no empty part, `.` or `..`"),
        }
    }

    /// Opens the folder once, for all calls, so that it stays the same folder even if it is renamed or replaced.
    pub(in crate::sandbox) fn open(&self) -> io::Result<Folder> {
        let opened = std::fs::File::open(&self.folder)?;
        if !opened.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let (perms, mode) = match self.write {
            true => (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE),
            false => (FsPerms::ReadOnly, OpenMode::READ),
        };
        Ok(Folder {
            dir: Dir::new(opened, perms, mode, false),
            at: self.at.clone(),
        })
    }
}

/// A granted folder, open.
#[derive(Clone)]
pub(in crate::sandbox) struct Folder {
    pub(super) dir: Dir,
    pub(super) at: String,
}

impl std::fmt::Display for FolderGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.may(), self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_path_is_absolute_and_plain() {
        for at in ["/", "/data", "/data/in put"] {
            assert_eq!(FolderGrant::problem_of(at), None, "{at}");
        }
        for at in ["", "data", "./data", "//", "/data/", "/a//b", "/a/../b", "/./a", "/a\0"] {
            assert!(FolderGrant::problem_of(at).is_some(), "{at:?}");
        }
    }
}
