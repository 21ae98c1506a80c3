//! What one call may do with files, and who does it.

use std::io;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;

use super::budget::FileBudget;
use super::prepared::FileWork;
use crate::sandbox::fairness::{Ordered, on_a_thread};

/// What one call may do with files.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Files {
    pub(super) budget: FileBudget,
    work: FileWork,
    tenant: Arc<str>,
}

impl Files {
    pub(in crate::sandbox) fn new(bytes: u64, work: FileWork, tenant: Arc<str>) -> Self {
        Self {
            budget: FileBudget::new(bytes),
            work,
            tenant,
        }
    }

    /// Has something done on a thread for it.
    pub(super) fn order<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Ordered<io::Result<T>> {
        self.work.usual.order(&self.tenant, on_a_thread(work))
    }

    /// Waits for what `wasmtime-wasi` does, on a thread of its own choice.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = FsResult<T>> + Send + 'static,
    ) -> FsResult<T> {
        self.work.usual.run(&self.tenant, work).await
    }

    /// Lets go of a file or a folder; exactly one of those who do is the last, and has it closed.
    pub(super) fn close(&self, descriptor: Descriptor) {
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
    pub(in crate::sandbox) fn close_all(&self, mut table: ResourceTable) {
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
    pub(super) fn for_syncs(&self) -> Self {
        Self {
            work: FileWork {
                usual: self.work.syncs.clone(),
                ..self.work.clone()
            },
            ..self.clone()
        }
    }
}
