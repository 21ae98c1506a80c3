//! The permits for work with files.

use crate::resilience::Share;
use crate::sandbox::fairness::{BlockingWork, PermitCounts};

/// The permits of all guests of a host. Work with files competes for the processor with guests that compute, so there are
/// few permits, shared by time. They also bound the threads that a hung disk can hold.
pub(in crate::sandbox) fn work() -> FileWork {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let some = processors.saturating_mul(2).max(4);
    let usual = PermitCounts {
        total: some * 2,
        per_tenant: some,
        per_plugin: some,
    };
    let syncs = PermitCounts {
        total: 4,
        per_tenant: 1,
        per_plugin: 2,
    };
    FileWork {
        usual: BlockingWork::new(usual, Share::Time),
        syncs: BlockingWork::new(syncs, Share::Time),
    }
}

/// Permits for ordinary work, and separate ones for syncs.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct FileWork {
    pub(super) usual: BlockingWork,
    pub(super) syncs: BlockingWork,
}

impl FileWork {
    pub(in crate::sandbox) fn for_plugin(&self) -> Self {
        Self {
            usual: self.usual.for_plugin(),
            syncs: self.syncs.for_plugin(),
        }
    }
}
