//! Opens what a path names, if it is a file or a folder.

use std::io;

use cap_fs_ext::OpenOptionsFollowExt;
use cap_primitives::fs::{FollowSymlinks, OpenOptions, OpenOptionsExt};
use wasmtime_wasi::filesystem::{Descriptor, Dir, File, OpenMode};
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// How something is opened. `wasmtime-wasi` would wait for the other end of a FIFO, on a thread that can't be cancelled. Checking
/// the type before opening isn't enough, because a guest can rename a FIFO over a file in between.
pub(super) struct Opening {
    pub(super) mode: OpenMode,
    folder_only: bool,
    options: OpenOptions,
}

impl Opening {
    pub(super) fn new(path_flags: PathFlags, open_flags: OpenFlags, flags: DescriptorFlags) -> Result<Self, ErrorCode> {
        let changing = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::EXCLUSIVE;
        if open_flags.contains(OpenFlags::DIRECTORY) && open_flags.intersects(changing) {
            return Err(ErrorCode::Invalid);
        }
        let synchronous = DescriptorFlags::FILE_INTEGRITY_SYNC
            | DescriptorFlags::DATA_INTEGRITY_SYNC
            | DescriptorFlags::REQUESTED_WRITE_SYNC;
        if flags.intersects(synchronous) {
            return Err(ErrorCode::Unsupported);
        }
        let create = open_flags.contains(OpenFlags::CREATE);
        let truncate = open_flags.contains(OpenFlags::TRUNCATE);
        let write = flags.contains(DescriptorFlags::WRITE);
        // The system requires an access mode, so the default is to read.
        let read = flags.contains(DescriptorFlags::READ) || !write;
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, read);
        mode.set(OpenMode::WRITE, write || create || truncate);
        let follow = match path_flags.contains(PathFlags::SYMLINK_FOLLOW) {
            true => FollowSymlinks::Yes,
            false => FollowSymlinks::No,
        };
        let mut options = OpenOptions::new();
        options
            .read(read)
            .write(mode.contains(OpenMode::WRITE))
            .truncate(truncate)
            .create(create)
            .create_new(create && open_flags.contains(OpenFlags::EXCLUSIVE))
            .custom_flags(NONBLOCK)
            .follow(follow);
        Ok(Self {
            mode,
            folder_only: open_flags.contains(OpenFlags::DIRECTORY),
            options,
        })
    }

    /// Opens what the path names. Blocks.
    pub(super) fn open(&self, folder: Option<&Descriptor>, path: &str) -> io::Result<Result<Descriptor, ErrorCode>> {
        let Some(Descriptor::Dir(folder)) = folder else {
            return Ok(Err(ErrorCode::NotDirectory));
        };
        let opened = cap_primitives::fs::open(&folder.dir, path.as_ref(), &self.options)?;
        let kind = opened.metadata()?.file_type();
        Ok(match (kind.is_dir(), kind.is_file()) {
            (true, _) => Ok(Descriptor::Dir(Dir::new(opened, folder.perms, self.mode, false))),
            (_, true) if self.folder_only => Err(ErrorCode::NotDirectory),
            (_, true) => Ok(Descriptor::File(File::new(opened, folder.perms, self.mode, false))),
            _ => Err(ErrorCode::NotPermitted),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use wasmtime_wasi::filesystem::FsPerms;

    use super::*;

    #[test]
    fn opening_a_fifo_that_replaced_a_file_does_not_block() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let within = std::fs::File::open(folder.path()).unwrap();
        let within = Descriptor::Dir(Dir::new(within, FsPerms::ReadWrite, OpenMode::READ, false));
        let opened = |name: &str, flags| {
            let opening = Opening::new(PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), flags).unwrap();
            opening.open(Some(&within), name)
        };
        let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
        assert!(matches!(opened("file", read), Ok(Ok(Descriptor::File(_)))));
        assert!(matches!(opened(".", read), Ok(Ok(Descriptor::Dir(_)))));
        assert!(matches!(opened("fifo", read), Ok(Err(ErrorCode::NotPermitted))));
        assert!(matches!(opened("fifo", read | write), Ok(Err(ErrorCode::NotPermitted))));
        assert!(opened("fifo", write).is_err(), "the FIFO has no reader");
    }
}
