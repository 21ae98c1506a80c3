//! Quotes untrusted text in the host's own messages.

/// The text on one line, with control characters escaped, truncated to `chars` characters.
pub(crate) fn display_untrusted(text: &str, chars: usize) -> String {
    text.escape_debug().take(chars).collect()
}

/// The first 20 untrusted names as a comma-separated list, followed by `…` if there are more.
pub(crate) fn display_untrusted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MAX_NAMES: usize = 20;
    let mut names = names.into_iter();
    let mut list: Vec<String> = names
        .by_ref()
        .take(MAX_NAMES)
        .map(|name| display_untrusted(name, NAME_CHARS))
        .collect();
    if names.next().is_some() {
        list.push("…".to_owned());
    }
    list.join(", ")
}

/// Untrusted names are truncated to this many characters.
pub(crate) const NAME_CHARS: usize = 80;
