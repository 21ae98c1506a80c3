//! What one call may do to a disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// What a new file or folder counts for, and a change that moves no bytes: a block of a disk.
pub(super) const ENTRY_BYTES: u64 = 4096;

/// Bytes that a call may still write to files.
#[derive(Clone, Debug)]
pub(super) struct FileBudget(Arc<AtomicU64>);

impl FileBudget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(bytes.into()))
    }

    /// Takes `bytes`, if so many are left.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), ErrorCode> {
        let take = |left: u64| left.checked_sub(bytes);
        match self.0.fetch_update(Relaxed, Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(ErrorCode::Quota),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_whole_or_not_at_all() {
        let budget = FileBudget::new(10);
        assert_eq!(budget.charge(11), Err(ErrorCode::Quota));
        assert_eq!((budget.charge(4), budget.charge(6)), (Ok(()), Ok(())));
        assert_eq!(budget.charge(1), Err(ErrorCode::Quota));
    }
}
