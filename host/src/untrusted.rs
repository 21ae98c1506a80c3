//! Untrusted text: what components, models and servers wrote. It reaches a person only escaped, on one line and truncated, so
//! that it can't forge a line, a colour or a name in the host's own messages.
//!
//! [`Untrusted`] has no `Display`, so a message that forgets to escape it doesn't compile.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

/// Untrusted names are truncated to this many characters.
pub(crate) const NAME_CHARS: usize = 80;
/// Untrusted sentences, such as a component's error message, are truncated to this many characters.
pub(crate) const SENTENCE_CHARS: usize = 500;

/// Untrusted text. Serialised unchanged, because a format such as JSON has its own escapes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted(String);

impl Untrusted {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text as it is, to compare, parse or forward it. Never put it into a message.
    pub fn raw(&self) -> &str {
        &self.0
    }

    /// [`Self::raw`], owned.
    pub fn into_raw(self) -> String {
        self.0
    }

    /// A name, escaped for a message.
    pub fn display(&self) -> impl fmt::Display + use<> {
        display_untrusted(&self.0, NAME_CHARS)
    }

    /// A sentence, escaped for a message. Longer than a name can be.
    pub fn display_sentence(&self) -> impl fmt::Display + use<> {
        display_untrusted(&self.0, SENTENCE_CHARS)
    }
}

impl From<String> for Untrusted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(&self.0, is_hidden))
    }
}

impl Serialize for Untrusted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The text on one line, with control and invisible characters escaped, truncated to `chars` characters. Escaped text comes
/// out as it went in, so escaping it again changes nothing.
pub(crate) fn display_untrusted(text: &str, chars: usize) -> String {
    // Escapes only make a text longer.
    let end = text.char_indices().nth(chars).map_or(text.len(), |(end, _)| end);
    let escaped = escape(&text[..end], is_hidden);
    escaped.chars().take(chars).collect()
}

/// The first 20 untrusted names as a comma-separated list, each of so many characters at most, followed by `…` if there are more.
pub(crate) fn display_untrusted_list<'a>(names: impl IntoIterator<Item = &'a Untrusted>, chars: usize) -> String {
    const MAX_NAMES: usize = 20;
    let mut names = names.into_iter();
    let mut list: Vec<String> = names
        .by_ref()
        .take(MAX_NAMES)
        .map(|name| display_untrusted(name.raw(), chars))
        .collect();
    if names.next().is_some() {
        list.push("…".to_owned());
    }
    list.join(", ")
}

/// Escapes the characters for which `is_escaped` holds. Every text that this program shows to a person is escaped here.
pub(crate) fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_escaped(character) {
            // Writing to a string can't fail.
            let _ = write!(escaped, "{}", character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a person doesn't see the character: a terminal control, or invisible.
pub(crate) const fn is_hidden(character: char) -> bool {
    is_terminal_control(character) || is_invisible(character)
}

/// Control characters, line and paragraph separators, and the bidirectional marks of "Trojan Source" (CVE-2021-42574).
pub(crate) const fn is_terminal_control(character: char) -> bool {
    matches!(character, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}') || is_bidirectional(character)
}

const fn is_bidirectional(character: char) -> bool {
    matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Characters that take no space, such as zero-width spaces, tags and variation selectors. A model reads them, so they can
/// hide instructions from the person who reads the same text. U+FE0E and U+FE0F, which only choose between the text and the
/// emoji form of the character before, are not among them.
const fn is_invisible(character: char) -> bool {
    is_bidirectional(character)
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{17b4}'
                | '\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200d}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0d}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// Whether the character takes no space: invisible, or a selector between the text and the emoji form of the character before.
/// Nobody notices one in a key or in an otherwise empty text.
pub(crate) const fn is_zero_width(character: char) -> bool {
    is_invisible(character) || matches!(character, '\u{fe0e}' | '\u{fe0f}')
}

/// The text for a model: line ends as LF, without invisible characters, because the operator who reviews the text doesn't
/// see them.
pub(crate) fn visible_text(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().filter(|character| !is_invisible(*character)).collect()
}

/// The JSON document without the invisible characters in its strings, whether written literally or as `\u` escapes.
/// Everything else stays byte for byte.
pub(crate) fn visible_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_invisible) && !json.contains("\\u") {
        return Cow::Borrowed(json);
    }
    let mut kept = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(character) = rest.chars().next() {
        let (length, decoded) = match rest.strip_prefix('\\') {
            None => (character.len_utf8(), Some(character)),
            Some(escape) => match unicode_escape(escape) {
                Some((length, decoded)) => (1 + length, decoded),
                None => (1 + escape.chars().next().map_or(0, char::len_utf8), None),
            },
        };
        if !decoded.is_some_and(is_invisible) {
            kept.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    Cow::Owned(kept)
}

/// The length of a `u` escape without its backslash, or of a surrogate pair, and its character.
fn unicode_escape(text: &str) -> Option<(usize, Option<char>)> {
    let unit = |text: &str| {
        let digits = text.strip_prefix('u')?.get(..4)?;
        u16::from_str_radix(digits, 16).ok()
    };
    let first = unit(text)?;
    let second = text.get(5..).and_then(|rest| unit(rest.strip_prefix('\\')?));
    let pair = second.and_then(|second| char::decode_utf16([first, second]).next()?.ok());
    match (char::from_u32(u32::from(first)), pair) {
        (None, Some(character)) => Some((11, Some(character))),
        (single, _) => Some((5, single)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hidden_characters_are_escaped_once() {
        let text = "a\nhint: b\u{200b}c\u{e0041}\u{202e}\u{1b}[31m⚠\u{fe0f}";
        let once = display_untrusted(text, 200);
        assert_eq!(once, r"a\nhint: b\u{200b}c\u{e0041}\u{202e}\u{1b}[31m⚠️");
        assert_eq!(display_untrusted(&once, 200), once);
        assert_eq!(Untrusted::new("x".repeat(100)).display().to_string().len(), NAME_CHARS);
        assert_eq!(format!("{:?}", Untrusted::from("a\nb")), r#""a\nb""#);
    }

    #[test]
    fn long_lists_end_in_dots() {
        let names = vec![Untrusted::from("a\nb"); 21];
        assert_eq!(display_untrusted_list(&names[..2], NAME_CHARS), r"a\nb, a\nb");
        assert!(display_untrusted_list(&names, NAME_CHARS).ends_with(", …"));
    }

    #[test]
    fn a_model_reads_what_a_person_sees() {
        assert_eq!(
            visible_text("one\r\ntwo\rthree\u{200b}\u{e0068}\u{e0069}\u{202e}\n\t"),
            "one\ntwo\nthree\n\t"
        );
    }

    #[test]
    fn json_loses_only_its_invisible_characters() {
        for (json, visible) in [
            (
                "{\"a\u{200b}\": \"\\u200B\\u0041\\n\\\\u200b\"}",
                "{\"a\": \"\\u0041\\n\\\\u200b\"}",
            ),
            (
                r#"["\udb40\udc41x","\ud83d\ude00","\ud83d"]"#,
                r#"["x","\ud83d\ude00","\ud83d"]"#,
            ),
            (r#"["\u20"#, r#"["\u20"#),
            (r#"["\"#, r#"["\"#),
            (r#"["\é\uéé"]"#, r#"["\é\uéé"]"#),
        ] {
            assert_eq!(visible_json(json), visible);
        }
    }

    proptest! {
        #[test]
        fn nothing_hidden_is_shown(text in any::<String>()) {
            let shown = display_untrusted(&text, 1_000);
            prop_assert!(!shown.contains(is_hidden));
            prop_assert_eq!(display_untrusted(&shown, 1_000), shown);
        }

        #[test]
        fn visible_json_means_the_visible_text(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap_or_default();
            let visible: String = text.chars().filter(|character| !is_invisible(*character)).collect();
            prop_assert_eq!(serde_json::from_str::<String>(&visible_json(&json)).ok(), Some(visible));
        }
    }
}
