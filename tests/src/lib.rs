//! What the end-to-end tests share: a place to run the real binary in, guests made of WAT, and HTTP servers that misbehave.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // It exists for tests alone.

pub mod fuzz;
mod lab;
mod server;
mod wat_guest;

pub use lab::{KEY, Lab, Ran, faulty, finish, tool_call};
pub use server::{Behaviour, HttpServer};
pub use wat_guest::{WatGuest, WatTool, component};
