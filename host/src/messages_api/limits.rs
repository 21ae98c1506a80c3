//! The API's limits on requests. Source: the vendor's API reference.

/// Bytes of a request's body: 32 MB, which this host takes as MiB.
pub(crate) const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of a tool's name in a request.
pub(crate) const MAX_TOOL_NAME_BYTES: usize = 128;
/// Bytes of the name of a top-level property of a tool's input schema.
const MAX_PROPERTY_NAME_BYTES: usize = 64;
/// Messages of one request.
pub(crate) const MAX_MESSAGES: usize = 100_000;
/// Bytes of the tools that a conversation defines in its messages and still has.
pub(crate) const MAX_INLINE_TOOL_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of an image in base64.
pub(crate) const MAX_IMAGE_BASE64_BYTES: usize = 10 * 1024 * 1024;
/// Blocks with `cache_control` in one request.
pub(crate) const MAX_CACHE_CONTROL_BLOCKS: usize = 4;
/// The smallest budget for thinking, in tokens.
pub(crate) const MIN_THINKING_BUDGET: u64 = 1024;
/// Keywords that the API refuses at the root of an input schema but accepts below it.
pub(crate) const REFUSED_ROOT_KEYWORDS: [&str; 3] = ["oneOf", "allOf", "anyOf"];

/// Whether the API accepts this tool name.
pub(crate) fn is_tool_name(name: &str) -> bool {
    (1..=MAX_TOOL_NAME_BYTES).contains(&name.len()) && is_identifier(name)
}

/// Whether a call's id or a tool's name has only characters that the API accepts.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether the API accepts this name of a top-level property of an input schema. It accepts any name below.
pub(crate) fn is_property_name(name: &str) -> bool {
    (1..=MAX_PROPERTY_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
