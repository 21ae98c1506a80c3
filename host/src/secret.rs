//! Text that must not be printed.

use std::fmt;

use crate::untrusted::is_zero_width;

/// A secret. `Display`, `Debug` and `Serialize` write `[redacted]`. Only [`Secret::expose`] returns the text, so a search for
/// it finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// A secret as a person stores it, in a file or a variable: without white space, byte order marks and invisible
    /// characters at either end. Editors and shells leave those there, and nobody sees them.
    pub fn trimmed(text: &str) -> Self {
        Self::new(text.trim_matches(|character: char| character.is_whitespace() || is_zero_width(character)))
    }

    /// Whether every character is visible ASCII: no space, no control character, nothing beyond `~`. Only such a secret
    /// is the same text wherever it is sent in a header and echoed.
    pub fn is_visible_ascii(&self) -> bool {
        self.0.bytes().all(|byte| byte.is_ascii_graphic())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl serde::Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_at_the_ends_are_no_part_of_a_secret() {
        for (before, after) in [
            ("", ""),
            (" \t", "\r\n"),
            ("\u{feff}", "\n"),
            ("\u{200b}\u{feff} ", " \u{2060}\u{a0}"),
            ("\u{200e}\u{202a}", "\u{202c}\u{ad}\u{200d}"),
        ] {
            let secret = Secret::trimmed(&format!("{before}s3cr3t value{after}"));
            assert_eq!(secret.expose(), "s3cr3t value", "{before:?} {after:?}");
        }
        // In the middle they are part of the secret.
        assert_eq!(Secret::trimmed("a\u{feff}b").expose(), "a\u{feff}b");
        assert!(Secret::trimmed("\u{feff}\u{200b}\n").is_empty());
    }

    #[test]
    fn visible_ascii_is_what_a_header_carries_unchanged() {
        assert!(Secret::new("!s3cr3t~/+=\"\\").is_visible_ascii());
        for text in [
            "a b",
            "a\tb",
            "a\nb",
            "a\u{7f}b",
            "\u{feff}a",
            "s\u{e9}cret",
            "\u{ff53}",
        ] {
            assert!(!Secret::new(text).is_visible_ascii(), "{text:?}");
        }
    }
}
