//! The wire format of the Messages API, shared by the client and the simulator.
//!
//! Reading is lenient, because the API may grow: a field of an unexpected type counts as absent, and unknown data is kept or
//! skipped. What is read keeps its JSON as text, so that a client can send it back byte for byte. The simulator reads requests
//! and writes answers elsewhere, as raw JSON, because these types can't represent every invalid one.

mod block;
mod error;
mod error_dialects;
mod event;
mod message;
mod request;
mod usage;

pub(crate) mod headers;
pub(crate) mod limits;

pub(crate) use self::block::Block;
pub(crate) use self::error::{ErrorBody, ErrorType};
pub(crate) use self::error_dialects::{beginning, is_markup};
pub(crate) use self::event::{Delta, MESSAGE_START, StreamEvent};
pub(crate) use self::message::{Message, StopDetails};
pub use self::request::{CacheTtl, Effort, Thinking};
pub(crate) use self::request::{Request, RequestBlock, RequestMessage, ResultBlock, ToolEntry};
pub(crate) use self::usage::Usage;

/// The path of the endpoint, as segments.
pub(crate) const MESSAGES: [&str; 2] = ["v1", "messages"];

/// The path of the endpoint, as in a request line.
pub(crate) const MESSAGES_PATH: &str = "/v1/messages";

/// The roles of messages.
pub(crate) const USER: &str = "user";
pub(crate) const ASSISTANT: &str = "assistant";
pub(crate) const SYSTEM: &str = "system";

/// The usual stop reasons of an answer without and with tool calls.
pub(crate) const END_TURN: &str = "end_turn";
pub(crate) const TOOL_USE: &str = "tool_use";
