//! Limits the disk load and the open files of one call.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// The most bytes that one read or write moves.
pub(super) const PIECE: usize = 64 * 1024;

/// Descriptors and streams that a call can hold open; the process as a whole has a limit on them.
pub(in crate::sandbox) const MAX_OPEN: usize = 128;
/// Folder listings at the same time; the host holds each one completely.
pub(super) const MAX_LISTINGS: usize = 4;
/// Entries of a folder that can be listed, and the bytes that the host holds for each: a name of 255 bytes and its metadata.
pub(super) const MAX_ENTRIES: usize = 10_000;
pub(super) const HELD_FOR_AN_ENTRY: usize = 384;
/// The most bytes that the host holds for the open files and listings of a call.
pub(in crate::sandbox) const MAX_HELD: usize = MAX_OPEN * PIECE + MAX_LISTINGS * MAX_ENTRIES * HELD_FOR_AN_ENTRY;

/// The charge for a new file or folder: one disk block.
pub(super) const ENTRY_BYTES: u64 = 4096;

/// Changes that move no bytes: renaming, setting times, removing, truncating, syncing.
const MAX_CHANGES: u64 = 16_384;

/// Bytes that a call can still write to files, and changes that it can still make. Counted separately, so that a call that has
/// used up its bytes can still clean up.
#[derive(Clone, Debug)]
pub(super) struct FileBudget(Arc<Left>);

#[derive(Debug)]
struct Left {
    bytes: AtomicU64,
    changes: AtomicU64,
}

impl FileBudget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Left {
            bytes: bytes.into(),
            changes: MAX_CHANGES.into(),
        }))
    }

    /// Takes `bytes`, or fails and takes nothing.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        take(&self.0.bytes, bytes)
    }

    /// Returns bytes that were charged but not used.
    pub(super) fn refund(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn charge_change(&self) -> Result<(), ErrorCode> {
        take(&self.0.changes, 1)
    }
}

fn take(left: &AtomicU64, count: u64) -> Result<(), ErrorCode> {
    match left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(count)) {
        Ok(_) => Ok(()),
        Err(_) => Err(ErrorCode::Quota),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_is_taken_whole_or_not_at_all() {
        let budget = FileBudget::new(10);
        assert_eq!(budget.charge(11), Err(ErrorCode::Quota));
        assert_eq!((budget.charge(4), budget.charge(6)), (Ok(()), Ok(())));
        assert_eq!(budget.charge(1), Err(ErrorCode::Quota));
        assert!((0..MAX_CHANGES).all(|_| budget.charge_change().is_ok()));
        assert_eq!(budget.charge_change(), Err(ErrorCode::Quota));
    }
}
