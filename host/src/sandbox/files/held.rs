//! Files and folders that are open on behalf of a call.

use wasmtime_wasi::filesystem::Descriptor;

use super::state::Files;

/// One of them. However it is dropped, even together with work that never started, it is closed on a blocking thread: closing
/// can take long if there is much to flush or if the file was unlinked.
pub(super) struct Held {
    files: Files,
    descriptor: Option<Descriptor>,
}

impl Held {
    pub(super) fn new(files: &Files, descriptor: Descriptor) -> Self {
        Self {
            files: files.clone(),
            descriptor: Some(descriptor),
        }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn descriptor(&self) -> Option<&Descriptor> {
        self.descriptor.as_ref()
    }
}

impl Clone for Held {
    fn clone(&self) -> Self {
        Self {
            files: self.files.clone(),
            descriptor: self.descriptor.clone(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(descriptor) = self.descriptor.take() {
            self.files.close(descriptor);
        }
    }
}
