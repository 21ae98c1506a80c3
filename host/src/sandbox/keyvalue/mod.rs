//! Key-value data that plugins keep between calls, in a namespace per tenant and plugin, within a quota.

mod error;
mod linked;
mod schema;
mod store;

#[cfg(test)]
mod file_tests;

pub use error::KeyValueError;
pub(super) use linked::{KeyValue, KeyValueCtx, KeyValueView, add_to_linker};
pub use store::KeyValueStore;
pub(super) use store::Namespace;
