//! How the text of a stranger stands in a message of ours.

/// On one line, with whatever steers a terminal written out, and no longer than `chars`.
pub(crate) fn display_untrusted(text: &str, chars: usize) -> String {
    text.escape_debug().take(chars).collect()
}

/// A stranger's names, as far as they help.
pub(crate) fn display_untrusted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 20;
    let mut names = names.into_iter();
    let mut list: Vec<String> = names
        .by_ref()
        .take(MOST)
        .map(|name| display_untrusted(name, NAME_CHARS))
        .collect();
    if names.next().is_some() {
        list.push("…".to_owned());
    }
    list.join(", ")
}

/// The most of a name that is worth reading.
pub(crate) const NAME_CHARS: usize = 80;
