//! What one call holds of the memory of all guests.

use super::guest_memory::{MemoryShare, NoMemory};

/// The memory of one call: what its guest takes, and what the host holds for it. Dropping it releases both.
#[derive(Debug)]
pub(in crate::sandbox) struct CallMemory {
    share: MemoryShare,
    /// Bytes that the host can still hold for the guest beyond those already charged.
    uncharged: usize,
}

impl CallMemory {
    /// `max_held` is the most bytes that the host holds for the guest at once.
    pub(in crate::sandbox) fn new(share: MemoryShare, max_held: usize) -> Self {
        Self {
            share,
            uncharged: max_held,
        }
    }

    /// Charges `bytes`, until the end of the call, or fails and charges nothing.
    pub(in crate::sandbox) fn take(&mut self, bytes: usize) -> Result<(), NoMemory> {
        self.share.take(bytes)
    }

    /// Charges `bytes` that the host holds for the guest, until the end of the call. The total is capped at what the host can
    /// hold at once, so a guest that drops one resource after the other doesn't pay for more.
    pub(in crate::sandbox) fn hold(&mut self, bytes: usize) -> Result<(), NoMemory> {
        let bytes = bytes.min(self.uncharged);
        self.uncharged -= bytes;
        self.share.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::GuestMemory;
    use super::*;

    #[test]
    fn the_host_charges_no_more_than_it_can_hold() {
        let memory = GuestMemory::new(Some(800));
        let mut call = CallMemory::new(memory.share("t".into()), 100);
        for _ in 0..10 {
            assert_eq!(call.hold(60), Ok(()));
        }
        assert_eq!(call.take(200), Ok(()));
        assert_eq!(call.take(1), Err(NoMemory::TooMuch { limit: 300 }));
    }
}
