//! State that the calls of one plugin share.

use std::sync::Arc;

use wasmtime_wasi_config::WasiConfigVariables;

use crate::sandbox::fairness::{GuestMemory, Turns};
use crate::sandbox::files::{FileWork, Folder};
use crate::sandbox::grants::Grants;
use crate::sandbox::http::{HttpSetup, Masker};
use crate::sandbox::keyvalue::KeyValueStore;
use crate::sandbox::limits::Limits;

/// What a plugin's calls can do and use. Prepared once per plugin, shared by all calls.
#[derive(Clone)]
pub(in crate::sandbox) struct CallSetup {
    /// The plugin's name.
    pub(in crate::sandbox) name: Arc<str>,
    pub(in crate::sandbox) grants: Arc<Grants>,
    pub(in crate::sandbox) stack: u64,
    /// Bytes that the engine keeps for one instance, apart from its memories and tables.
    pub(in crate::sandbox) instance_bytes: usize,
    pub(in crate::sandbox) masker: Masker,
    pub(in crate::sandbox) config: Arc<WasiConfigVariables>,
    /// The store, and the plugin's name in it.
    pub(in crate::sandbox) keyvalue: Option<(KeyValueStore, Arc<str>)>,
    pub(in crate::sandbox) http: Arc<HttpSetup>,
    pub(in crate::sandbox) turns: Turns,
    pub(in crate::sandbox) memory: GuestMemory,
    pub(in crate::sandbox) files: Arc<FileWork>,
    pub(in crate::sandbox) folders: Arc<[Folder]>,
}

impl CallSetup {
    pub(in crate::sandbox) fn limits(&self) -> &Limits {
        &self.grants.limits
    }
}
