//! Notes that stay between calls: typed tools, whose WIT is `wit/notes.wit`, over `wasi:keyvalue`.
//!
//! [`Book`] has the logic, over any [`Store`], so that it can be tested natively.

mod book;
#[cfg(target_family = "wasm")]
mod component;

pub use book::{Book, Draft, Note, Priority, Problem, Store};
