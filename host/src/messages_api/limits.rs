//! Limits that the API sets to requests. Source: the vendor's API reference.

/// Bytes of a request's body: 32 MB.
pub(crate) const MAX_REQUEST_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of the name of a tool that a request defines.
pub(crate) const MAX_TOOL_NAME_BYTES: usize = 128;
/// Bytes of the name of a property at the top of a tool's input schema.
const MAX_PROPERTY_NAME_BYTES: usize = 64;
/// Blocks of a request that may have `cache_control`.
pub(crate) const MAX_CACHE_MARKS: usize = 4;
/// The smallest budget for thinking, in tokens.
pub(crate) const MIN_THINKING_BUDGET: u64 = 1024;
/// Keywords that the root of an input schema may not use, although schemas below it may.
pub(crate) const REFUSED_ROOT_KEYWORDS: [&str; 3] = ["oneOf", "allOf", "anyOf"];

/// Whether a tool may have this name.
pub(crate) fn is_tool_name(name: &str) -> bool {
    (1..=MAX_TOOL_NAME_BYTES).contains(&name.len()) && is_identifier(name)
}

/// Whether the id of a call, or the name of a tool, holds only characters that the API accepts.
pub(crate) fn is_identifier(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether a property at the top of an input schema may have this name. Below the top any name will do.
pub(crate) fn is_property_name(name: &str) -> bool {
    (1..=MAX_PROPERTY_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}
