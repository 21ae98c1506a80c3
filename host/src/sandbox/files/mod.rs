//! Folders of the host that a guest may see. `wasmtime-wasi` keeps it within them, whatever the path or a link in it says;
//! what is added here is that nothing but files and folders is opened, that no link is made, and that what one call does to
//! a disk is bounded.

mod budget;
mod grant;
mod held;
mod open;
mod operations;
mod streams;

use std::io;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;

use self::budget::FileBudget;
pub(super) use self::grant::Folder;
pub use self::grant::FolderGrant;
use self::held::Held;
pub(super) use self::operations::{MAX_OPEN, MOST_HELD, add_to_linker};
use super::blocking::{BlockingWork, Ordered, Places, on_a_thread};
use crate::resilience::Share;

/// Places for all guests of a host. Work with files takes the processor from guests that compute as well, so there are few,
/// shared by time. A disk that hangs holds no more threads.
pub(super) fn work() -> FileWork {
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
pub(super) struct FileWork {
    usual: BlockingWork,
    syncs: BlockingWork,
}

impl FileWork {
    pub(super) fn of_a_plugin(&self) -> Self {
        Self {
            usual: self.usual.of_a_plugin(),
            syncs: self.syncs.of_a_plugin(),
        }
    }
}

/// What one call may do with files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    budget: FileBudget,
    work: FileWork,
    tenant: Arc<str>,
}

impl Files {
    pub(super) fn new(bytes: u64, work: FileWork, tenant: Arc<str>) -> Self {
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
        self.work.usual.order(&self.tenant, on_a_thread(work))
    }

    /// Waits for what `wasmtime-wasi` does, on a thread of its own choice.
    async fn run<T: Send + 'static>(&self, work: impl Future<Output = FsResult<T>> + Send + 'static) -> FsResult<T> {
        self.work.usual.run(&self.tenant, work).await
    }

    /// Lets go of a file or a folder; exactly one of those who do is the last, and has it closed.
    fn close(&self, descriptor: Descriptor) {
        let file = match descriptor {
            Descriptor::File(file) => file.file,
            Descriptor::Dir(folder) => folder.dir,
        };
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

    /// Lets go of all that a table holds.
    pub(super) fn close_all(&self, mut table: ResourceTable) {
        let descriptors = table
            .iter_mut()
            .filter_map(|entry| entry.downcast_ref::<Descriptor>().cloned());
        let descriptors: Vec<Descriptor> = descriptors.collect();
        // None of these is the last that is held: the clones are.
        drop(table);
        for descriptor in descriptors {
            self.close(descriptor);
        }
    }

    /// The same, for orders to write everything out: they take long, and have places of their own.
    fn for_syncs(&self) -> Self {
        Self {
            work: FileWork {
                usual: self.work.syncs.clone(),
                ..self.work.clone()
            },
            ..self.clone()
        }
    }
}
