//! Code shared by the guests.
//!
//! The types are plain data, so that a guest's logic can be tested natively with a closure as the server. Only the functions
//! that call the host are limited to WebAssembly.

pub mod http;

#[cfg(target_family = "wasm")]
pub mod config;
