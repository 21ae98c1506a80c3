//! Texts that show nothing.

use crate::untrusted::is_zero_width;

/// Whether a text has no visible character. APIs refuse a text of white space, and one of other invisible characters would
/// be paid for without saying anything.
pub fn is_blank(text: &str) -> bool {
    text.chars()
        .all(|character| character.is_whitespace() || character.is_control() || is_zero_width(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_characters_make_a_text() {
        for blank in [
            "",
            " \r\n\t",
            "\u{a0}\u{3000}",
            "\0\u{1c}\u{1f}",
            "\u{feff}",
            "\u{200b}\u{200d} \u{e0041}",
        ] {
            assert!(is_blank(blank), "{blank:?}");
        }
        for text in [".", "\u{200b}a", "\0x", "é", "\u{fffd}", "👍\u{fe0f}"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
