//! The Messages API's wire format, told once: the client sends it and reads it, the simulator reads it and sends it.
//!
//! Reading is tolerant, for the wire may grow: what has another type than expected counts as absent, and what is not known is
//! kept or skipped. The simulator's checks of requests are no part of this: they judge raw JSON, which can hold what these
//! types cannot.

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

/// The path of the endpoint, as a request line has it.
pub(crate) const MESSAGES_PATH: &str = "/v1/messages";

/// The names of the speakers.
pub(crate) const USER: &str = "user";
pub(crate) const ASSISTANT: &str = "assistant";

/// The usual stop reasons of an answer without and with tool calls.
pub(crate) const END_TURN: &str = "end_turn";
pub(crate) const TOOL_USE: &str = "tool_use";
