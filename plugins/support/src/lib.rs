//! What the guests share.
//!
//! The types are plain, so that a guest's logic can be tested natively with a server that is a closure; only the functions
//! that ask the host exist for WebAssembly alone.

pub mod http;

#[cfg(target_family = "wasm")]
pub mod config;
