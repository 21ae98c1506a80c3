//! Who works with files for the guests, and how much at the same time.

use crate::resilience::Share;
use crate::sandbox::fairness::{BlockingWork, Places};

/// Places for all guests of a host. Work with files takes the processor from guests that compute as well, so there are few,
/// shared by time. A disk that hangs holds no more threads.
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

/// What is done with files, and the orders to write everything out.
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
