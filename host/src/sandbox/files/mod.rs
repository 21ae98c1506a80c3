//! Folders of the host that a guest can access. `wasmtime-wasi` confines the guest to them, whatever a path or link contains.
//! This module adds that only files and folders can be opened, that no links can be created, and that the load of one call
//! on the disk is bounded.

mod budget;
mod grant;
mod held;
mod linked;
mod open;
mod prepared;
mod state;
mod streams;

pub(super) use self::budget::{MAX_HELD, MAX_OPEN};
pub(super) use self::grant::Folder;
pub use self::grant::FolderGrant;
pub(super) use self::linked::{FilesCtx, FilesView, add_to_linker};
pub(super) use self::prepared::{FileWork, work};
pub(super) use self::state::Files;
