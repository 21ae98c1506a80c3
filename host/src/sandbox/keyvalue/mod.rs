//! Data that plugins keep between calls: bytes by key, apart for every tenant and plugin, within a quota.

mod host;
mod store;

pub(super) use host::add_to_linker;
pub(super) use store::Namespace;
pub use store::{KeyValueError, KeyValueStore};
