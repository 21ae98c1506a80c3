//! Tools as a server of the Model Context Protocol (MCP), over standard input and output or over HTTP.
//!
//! A client reaches exactly the tools of the host. Every call takes the whole dispatch path: schema, policy, breaker, limits,
//! sandbox, event. There is no model, no API key, no ledger and no conversation, and nothing of the host's control plane is
//! among the tools.
//!
//! The protocol itself is the `rmcp` crate's: revision 2026-07-28 without sessions, and the older revisions that clients still
//! speak. Only this module knows the crate, because it changes often.
//!
//! One client may have [`MAX_CALLS_PER_CLIENT`] calls running or waiting; one more is answered `overloaded`. Calls start in the
//! order in which they arrive, and each is answered as soon as it ends. A call that its client cancels, or whose client is gone,
//! is cancelled.

mod access;
mod arrival;
mod connections;
mod convert;
mod fault;
mod http;
#[cfg(test)]
mod limits_tests;
mod progress;
mod server;
mod stdio;
mod write_timeout;

pub use self::access::{Access, AccessError};
pub use self::arrival::MAX_CALLS_PER_CLIENT;
pub use self::http::HttpServerError;
pub use self::server::McpServer;
