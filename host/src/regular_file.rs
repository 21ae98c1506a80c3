//! Opens files whose readers must not be kept waiting.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Where a process finds what is open in it already, such as what a shell makes of `<(COMMAND)`.
const DESCRIPTORS: [&str; 3] = ["/dev/fd", "/dev/stdin", "/proc/self/fd"];

/// Opens a file for reading. Refuses a named pipe, which keeps its reader waiting until another program
/// writes to it.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let is_open_already = DESCRIPTORS.iter().any(|folder| path.starts_with(folder));
    if !is_open_already && fs::metadata(path)?.file_type().is_fifo() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a named pipe, not a file",
        ));
    }
    File::open(path)
}
