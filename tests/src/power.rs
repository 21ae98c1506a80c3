//! A disk that forgets what wasn't flushed when the power fails, and a record of what was flushed and sent in which order.
//!
//! `tests/power/shim.rs` is loaded into the program under test. It copies a file whenever the program flushes it, so the copies are
//! what the disk has. [`Disk::lose_power`] puts them in the place of the files, once no process of the test is left.
//!
//! What is modelled: every file directly in the data folder, whichever process wrote it; names as of the last flush of the folder.
//! Bytes that weren't flushed are lost, or blocks of them have reached the disk in any order. A flush makes all of the file durable,
//! also what others wrote to it meanwhile. What isn't: the name of the data folder itself, flushes of a part of a file, a disk that says
//! a flush is done before it is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use tokio::process::Command;

use crate::Lab;

/// Of what wasn't flushed, blocks of this size are on the disk or aren't.
const BLOCK_BYTES: usize = 4096;

/// The disk below a lab's data folder.
#[derive(Debug)]
pub struct Disk {
    data: PathBuf,
    disk: PathBuf,
    trace: PathBuf,
}

impl Disk {
    /// `None` where nothing can be loaded into the program under test.
    pub fn below(lab: &Lab) -> Option<Self> {
        shim()?;
        let folder = lab.folder.path().canonicalize().unwrap();
        let disk = Self {
            data: folder.join("data/cofferdam"),
            disk: folder.join("disk"),
            trace: folder.join("trace"),
        };
        fs::create_dir_all(&disk.data).unwrap();
        fs::create_dir_all(disk.disk.join("files")).unwrap();
        Some(disk)
    }

    /// Has the command keep its files on this disk.
    pub fn serve<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", shim().unwrap())
            .env("COFFERDAM_TEST_DATA", &self.data)
            .env("COFFERDAM_TEST_DISK", &self.disk)
    }

    /// The same, and has it recorded what the command flushes and sends.
    pub fn serve_traced<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.serve(command).env("COFFERDAM_TEST_TRACE", &self.trace)
    }

    /// What was recorded, in order: `flushed NAME`, or `sends PORT`.
    pub fn trace(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.trace).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Leaves what the disk has of the data folder. Every process that uses it must be dead. `is_kept` says of each block that wasn't
    /// flushed whether the disk has it all the same.
    pub fn lose_power(&self, mut is_kept: impl FnMut() -> bool) {
        let names = or_nothing(fs::read_to_string(self.disk.join("names")));
        let names: BTreeSet<&str> = names.lines().collect();
        for entry in fs::read_dir(&self.data).unwrap() {
            let entry = entry.unwrap();
            if !names.contains(entry.file_name().to_str().unwrap()) && !is_kept() {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        for name in names {
            let flushed = or_nothing(fs::read(self.disk.join("files").join(name)));
            let path = self.data.join(name);
            let written = or_nothing(fs::read(&path));
            let left = mixed(&flushed, &written, &mut is_kept);
            // The same file, as it may be the one that somebody has the attributes of.
            fs::write(&path, left).unwrap();
        }
    }
}

fn or_nothing<T: Default>(read: io::Result<T>) -> T {
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => T::default(),
        read => read.unwrap(),
    }
}

/// What is left of a file that was flushed and then written to.
fn mixed(flushed: &[u8], written: &[u8], mut is_kept: impl FnMut() -> bool) -> Vec<u8> {
    let mut left = flushed.to_vec();
    for (start, block) in (0..).step_by(BLOCK_BYTES).zip(written.chunks(BLOCK_BYTES)) {
        let end = start + block.len();
        if flushed.get(start..end) == Some(block) || !is_kept() {
            continue;
        }
        // Blocks before it that never reached the disk are a hole.
        left.resize(left.len().max(end), 0);
        left[start..end].copy_from_slice(block);
    }
    left
}

/// The shared object that `tests/build.rs` made of `tests/power/shim.rs`.
fn shim() -> Option<&'static str> {
    option_env!("COFFERDAM_POWER_SHIM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_reach_the_disk_in_any_order() {
        let block = |byte: u8| vec![byte; BLOCK_BYTES];
        let flushed = [block(1), block(2)].concat();
        let written = [block(1), block(3), block(4), vec![5]].concat();
        let left = |kept: &[bool]| {
            let mut kept = kept.iter();
            mixed(&flushed, &written, || *kept.next().unwrap())
        };
        assert_eq!(left(&[false, false, false]), flushed);
        assert_eq!(left(&[true, true, true]), written);
        assert_eq!(
            left(&[false, false, true]),
            [block(1), block(2), block(0), vec![5]].concat()
        );
        assert_eq!(
            mixed(&flushed, &[], || true),
            flushed,
            "it was deleted, and its name wasn't flushed"
        );
    }
}
