//! How the text of a stranger stands in a message of ours.

/// On one line, with whatever steers a terminal written out, and no longer than `chars`.
pub(crate) fn shown(text: &str, chars: usize) -> String {
    text.escape_debug().take(chars).collect()
}

/// The most of a name that is worth reading.
pub(crate) const NAME_CHARS: usize = 80;
