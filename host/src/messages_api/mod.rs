//! The wire format of the Messages API, shared by the client and the simulator.
//!
//! Reading is lenient, because the API may grow: a field of an unexpected type counts as absent, and unknown data is kept or
//! skipped. The simulator validates requests elsewhere, as raw JSON, because these types can't represent every invalid
//! request.

mod block;
mod error;
mod event;
mod json;
mod message;
mod request;
mod usage;

pub(crate) mod headers;
pub(crate) mod limits;

pub(crate) use self::block::{Block, Fields};
pub(crate) use self::error::{ErrorBody, ErrorDetail, ErrorDetails, ErrorType};
pub(crate) use self::event::{Delta, MessageDelta, StreamEvent};
pub(crate) use self::message::Message;
pub(crate) use self::request::{Request, RequestBlock, RequestMessage, ResultBlock, ToolDefinition};
pub(crate) use self::usage::{CacheCreation, Usage};

/// The path of the endpoint, as segments.
pub(crate) const MESSAGES: [&str; 2] = ["v1", "messages"];

/// The path of the endpoint, as in a request line.
pub(crate) const MESSAGES_PATH: &str = "/v1/messages";

/// The roles of messages.
pub(crate) const USER: &str = "user";
pub(crate) const ASSISTANT: &str = "assistant";

/// The usual stop reasons of an answer without and with tool calls.
pub(crate) const END_TURN: &str = "end_turn";
pub(crate) const TOOL_USE: &str = "tool_use";
