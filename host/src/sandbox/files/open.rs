//! Opening what a path names, and nothing but files and folders.

use std::io;

use cap_fs_ext::OpenOptionsFollowExt;
use cap_primitives::fs::{FollowSymlinks, OpenOptions, OpenOptionsExt};
use wasmtime_wasi::filesystem::OpenMode;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags, PathFlags};

const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// How something is opened. `wasmtime-wasi` would wait for the other end of a FIFO, on a thread that nobody can call back;
/// and that a name stood for a file a moment ago says nothing, for a guest may rename one over the other.
pub(super) struct Opening {
    pub(super) mode: OpenMode,
    options: OpenOptions,
}

pub(super) enum Opened {
    Folder(std::fs::File),
    File(std::fs::File),
    Other,
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
        // Whatever is opened is opened for something.
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
        Ok(Self { mode, options })
    }

    pub(super) fn open(&self, within: &std::fs::File, path: &str) -> io::Result<Opened> {
        let opened = cap_primitives::fs::open(within, path.as_ref(), &self.options)?;
        let kind = opened.metadata()?.file_type();
        Ok(match (kind.is_dir(), kind.is_file()) {
            (true, _) => Opened::Folder(opened),
            (_, true) => Opened::File(opened),
            _ => Opened::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn nobody_waits_for_a_fifo_that_takes_the_place_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let within = std::fs::File::open(folder.path()).unwrap();
        let opened = |name: &str, flags| {
            let opening = Opening::new(PathFlags::SYMLINK_FOLLOW, OpenFlags::empty(), flags).unwrap();
            opening.open(&within, name)
        };
        let (read, write) = (DescriptorFlags::READ, DescriptorFlags::WRITE);
        assert!(matches!(opened("file", read), Ok(Opened::File(_))));
        assert!(matches!(opened(".", read), Ok(Opened::Folder(_))));
        assert!(matches!(opened("fifo", read), Ok(Opened::Other)));
        assert!(matches!(opened("fifo", read | write), Ok(Opened::Other)));
        assert!(opened("fifo", write).is_err(), "nobody reads it");
    }
}
