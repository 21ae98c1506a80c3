//! The state of one call: its budget for files, and the threads that do its work.

use std::io;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;

use super::budget::FileBudget;
use super::prepared::FileWork;
use crate::sandbox::fairness::{Submitted, on_blocking_thread};

/// The file access of one call.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Files {
    pub(super) budget: FileBudget,
    work: Arc<FileWork>,
    tenant: Arc<str>,
}

impl Files {
    pub(in crate::sandbox) fn new(bytes: u64, work: Arc<FileWork>, tenant: Arc<str>) -> Self {
        Self {
            budget: FileBudget::new(bytes),
            work,
            tenant,
        }
    }

    /// Runs `work` on a blocking thread.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Submitted<io::Result<T>> {
        self.work.usual.submit(&self.tenant, on_blocking_thread(work))
    }

    /// Awaits `work` of `wasmtime-wasi`, which chooses a thread itself.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = FsResult<T>> + Send + 'static,
    ) -> FsResult<T> {
        self.work.usual.run(&self.tenant, work).await
    }

    /// Releases a file or a folder; exactly one holder is the last, and that one closes it.
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
        // After the runtime has shut down, nothing waits, and there is no blocking thread to close it on.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.submit(move || {
                drop(it);
                Ok(())
            })
            .detach();
        }
    }

    /// Releases every descriptor of a table.
    pub(in crate::sandbox) fn close_all(&self, mut table: ResourceTable) {
        let descriptors = table
            .iter_mut()
            .filter_map(|entry| entry.downcast_ref::<Descriptor>().cloned());
        let descriptors: Vec<Descriptor> = descriptors.collect();
        // The clones keep every descriptor open, so dropping the table closes nothing.
        drop(table);
        for descriptor in descriptors {
            self.close(descriptor);
        }
    }

    /// The same, for syncs: they take long and have permits of their own.
    pub(super) fn for_syncs(&self) -> Self {
        Self {
            work: Arc::new(FileWork {
                usual: self.work.syncs.clone(),
                syncs: self.work.syncs.clone(),
            }),
            ..self.clone()
        }
    }
}
