//! The wire format of OpenAI's Chat Completions API and of the many servers that follow it, shared by the client and the
//! simulator.
//!
//! Reading is lenient, because no two of these servers agree on the details: a field of an unexpected type counts as absent,
//! and unknown data is kept or skipped.

mod answer;
mod request;
mod usage;

pub(crate) use self::answer::{Answer, Arguments, Call, Choice};
pub(crate) use self::request::{Part, Request, RequestCall, RequestMessage, ToolDefinition};
pub(crate) use self::usage::Usage;

/// The path of the endpoint below a base URL without a path, as segments.
pub(crate) const CHAT_COMPLETIONS: [&str; 3] = ["v1", "chat", "completions"];

/// The path of the endpoint below a base URL with a path, as segments.
pub(crate) const CHAT_COMPLETIONS_BELOW: [&str; 2] = ["chat", "completions"];

/// The path of the endpoint, as in a request line.
pub(crate) const CHAT_COMPLETIONS_PATH: &str = "/v1/chat/completions";

/// Bytes of a call's id. OpenAI refuses longer ones.
pub(crate) const MAX_ID_BYTES: usize = 40;

/// The response header with the id of the request.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// The data of the event at the end of a stream.
pub(crate) const DONE: &str = "[DONE]";

/// The roles of messages.
pub(crate) const SYSTEM: &str = "system";
pub(crate) const USER: &str = "user";
pub(crate) const ASSISTANT: &str = "assistant";
pub(crate) const TOOL: &str = "tool";

/// The usual reasons at the end of an answer without and with tool calls.
pub(crate) const STOP: &str = "stop";
pub(crate) const TOOL_CALLS: &str = "tool_calls";

/// The fields in which servers put what a model thinks, as a text: llama.cpp, DeepSeek and older vLLM; vLLM and OpenRouter;
/// servers in Ollama's words.
pub(crate) const REASONING_TEXTS: [&str; 3] = [REASONING_CONTENT, "reasoning", "thinking"];

/// The one of these that some vendors want back.
pub(crate) const REASONING_CONTENT: &str = "reasoning_content";

/// The fields with lists of what a model thinks, which can be signed or encrypted: OpenRouter; LiteLLM.
pub(crate) const REASONING_LISTS: [&str; 2] = ["reasoning_details", "thinking_blocks"];
