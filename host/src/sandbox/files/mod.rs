//! Folders of the host that a guest may see. `wasmtime-wasi` keeps it within them, whatever the path or a link in it says;
//! what is added here is that nothing but files and folders is opened, that no link is made, and that what one call does to
//! a disk is bounded.

mod budget;
mod grant;
mod open;
mod operations;
mod streams;

use std::io;
use std::sync::Arc;

use wasmtime_wasi::p2::{FsError, FsResult};

use self::budget::FileBudget;
pub(super) use self::grant::Folder;
pub use self::grant::FolderGrant;
pub(super) use self::operations::{MAX_OPEN, add_to_linker};
use super::blocking::{BlockingWork, Ordered, on_a_thread};

/// What is done with files at the same time: in all, and for one tenant. A disk that hangs holds no more threads.
const AT_ONCE: usize = 32;
const AT_ONCE_FOR_ONE: usize = 8;

/// Places for what guests do with files.
pub(super) fn work() -> BlockingWork {
    BlockingWork::new(AT_ONCE, AT_ONCE_FOR_ONE)
}

/// What one call may do with files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    budget: FileBudget,
    work: BlockingWork,
    tenant: Arc<str>,
}

impl Files {
    pub(super) fn new(bytes: u64, work: BlockingWork, tenant: Arc<str>) -> Self {
        Self {
            budget: FileBudget::new(bytes),
            work,
            tenant,
        }
    }

    /// Has something done on a thread for it.
    fn order<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Ordered<io::Result<T>> {
        self.work.order(&self.tenant, on_a_thread(work))
    }

    /// Waits for what `wasmtime-wasi` does, on a thread of its own choice.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = FsResult<T>> + Send + 'static) -> FsResult<T> {
        let done = self.work.run(&self.tenant, work).await;
        done.map_err(|error| FsError::trap(wasmtime::Error::from(error)))?
    }
}
