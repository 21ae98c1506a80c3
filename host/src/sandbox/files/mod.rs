//! Folders of the host that a guest may see. `wasmtime-wasi` keeps it within them, whatever the path or a link in it says;
//! what is added here is that nothing but files and folders is opened, that no link is made, and that what one call does to
//! a disk is bounded.

mod budget;
mod grant;
mod open;
mod operations;
mod streams;

use std::any::Any;
use std::io;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;

use self::budget::FileBudget;
pub(super) use self::grant::Folder;
pub use self::grant::FolderGrant;
pub(super) use self::operations::{MAX_OPEN, add_to_linker};
use super::blocking::{BlockingWork, Ordered, Places, on_a_thread};
use crate::resilience::Share;

/// Places for what guests do with files. It takes the processor from guests that compute as well, so there are few, shared
/// by time. A disk that hangs holds no more threads.
pub(super) fn work() -> BlockingWork {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let some = processors.saturating_mul(2).max(4);
    let places = Places {
        in_all: some * 2,
        for_a_tenant: some,
        for_a_plugin: some,
    };
    BlockingWork::new(places, Share::Time)
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
        self.work.run(&self.tenant, work).await
    }

    /// Lets go of a file or a folder. The last to do so closes it, which takes its time where there is much to write out, or
    /// where it has no name any more.
    fn close(&self, file: Arc<std::fs::File>) {
        if let Some(file) = Arc::into_inner(file) {
            self.drop_elsewhere(file);
        }
    }

    fn drop_elsewhere<T: Send + 'static>(&self, it: T) {
        // Where the runtime has ended there is nobody to wait for, and no thread to do it.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.order(move || {
                drop(it);
                Ok(())
            })
            .detach();
        }
    }

    /// Lets go of what a call has left. Nearly always that is nothing, and costs nothing.
    pub(super) fn close_all(&self, mut table: ResourceTable) {
        let is_last = |entry: &mut (dyn Any + Send)| match entry.downcast_ref::<Descriptor>() {
            Some(Descriptor::File(file)) => Arc::strong_count(&file.file) == 1,
            Some(Descriptor::Dir(folder)) => Arc::strong_count(&folder.dir) == 1,
            None => false,
        };
        if table.iter_mut().any(is_last) {
            self.drop_elsewhere(table);
        }
    }
}
