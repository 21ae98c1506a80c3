//! The permits for work with files.

use crate::resilience::Share;
use crate::sandbox::fairness::{BlockingWork, Places};

/// The permits of all guests of a host. Work with files competes for the processor with guests that compute, so there are
/// few permits, shared by time. They also bound the threads that a hung disk can hold.
pub(in crate::sandbox) fn work() -> FileWork {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let some = processors.saturating_mul(2).max(4);
    let places = Places {
        in_all: some * 2,
        for_a_tenant: some,
        for_a_plugin: some,
    };
    let few = Places {
        in_all: 4,
        for_a_tenant: 1,
        for_a_plugin: 2,
    };
    FileWork {
        usual: BlockingWork::new(places, Share::Time),
        syncs: BlockingWork::new(few, Share::Time),
    }
}

/// Permits for ordinary work, and separate ones for syncs.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct FileWork {
    pub(super) usual: BlockingWork,
    pub(super) syncs: BlockingWork,
}

impl FileWork {
    pub(in crate::sandbox) fn of_a_plugin(&self) -> Self {
        Self {
            usual: self.usual.of_a_plugin(),
            syncs: self.syncs.of_a_plugin(),
        }
    }
}
