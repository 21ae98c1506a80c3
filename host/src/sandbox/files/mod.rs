//! Folders of the host that a guest may see. `wasmtime-wasi` keeps it within them, whatever the path or a link in it says;
//! what is added here is that nothing but files and folders is opened, that no link is made, and that what one call does to
//! a disk is bounded.

mod budget;
mod grant;
mod held;
mod linked;
mod open;
mod prepared;
mod state;
mod streams;

pub(super) use self::budget::{MAX_OPEN, MOST_HELD};
pub(super) use self::grant::Folder;
pub use self::grant::FolderGrant;
pub(super) use self::linked::add_to_linker;
pub(super) use self::prepared::{FileWork, work};
pub(super) use self::state::Files;
