//! Shared by the end-to-end tests: an isolated environment for the real binary, WAT guests and misbehaving HTTP servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Used by tests only.

mod documented;
pub mod fuzz;
mod lab;
mod mcp;
mod power;
mod server;
mod terminal;
mod typed_guest;
mod wat_guest;

pub use documented::check_documented;
pub use lab::{KEY, Lab, Ran, faulty, finish, tool_call};
pub use mcp::{ANSWER_TIMEOUT, McpClient, McpHttpServer, hello};
pub use power::Disk;
pub use server::{Behaviour, HttpServer};
pub use terminal::{Terminal, without_status};
pub use typed_guest::{typed_component, with_section};
pub use wat_guest::{WatGuest, WatTool, component};
