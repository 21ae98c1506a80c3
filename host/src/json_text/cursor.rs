//! Reads a JSON text from front to back, once.

use std::borrow::Cow;

use super::{is_blank, string_length, unescape, value_length};

/// A position in a text that is known to be JSON, because [`Json::parse`](super::Json::parse) or a parser accepted it. On any
/// other text, a cursor neither panics nor runs forever, but what it finds means nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The first byte of the next value or bracket.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        let is_between = |character: char| is_blank(character) || matches!(character, ',' | ':');
        self.rest = self.rest.trim_start_matches(is_between);
        self.rest.bytes().next()
    }

    /// Steps over a bracket, if it is the next byte.
    pub(crate) fn take(&mut self, bracket: u8) -> bool {
        let is_next = self.peek() == Some(bracket) && bracket.is_ascii();
        if is_next {
            self.rest = &self.rest[1..];
        }
        is_next
    }

    /// Steps over the next value, whatever it is, and returns its text.
    pub(crate) fn value(&mut self) -> &'a str {
        self.peek();
        // A closing bracket isn't a value. Stepping over it keeps the promise that every loop ends.
        let length = match value_length(self.rest) {
            0 => self.rest.chars().next().map_or(0, char::len_utf8),
            length => length,
        };
        let (value, rest) = self.rest.split_at(length);
        self.rest = rest;
        value
    }

    /// Reads a string. `None` for any other value, which stays the next.
    pub(crate) fn string(&mut self) -> Option<Cow<'a, str>> {
        if self.peek() != Some(b'"') {
            return None;
        }
        let (quoted, rest) = self.rest.split_at(string_length(self.rest).min(self.rest.len()));
        self.rest = rest;
        let body = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
        Some(unescape(body))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_read_from_front_to_back() {
        let mut cursor = Cursor::new(r#" { "a\n" : [ 1.5 , {"b":"}"} ] , "c":null } "#);
        assert!(!cursor.take(b'[') && cursor.take(b'{'));
        assert_eq!(cursor.string().as_deref(), Some("a\n"));
        assert!(cursor.take(b'['));
        assert_eq!((cursor.string(), cursor.value()), (None, "1.5"));
        assert_eq!(cursor.value(), r#"{"b":"}"}"#);
        assert!(cursor.take(b']'));
        assert_eq!(cursor.string().as_deref(), Some("c"));
        assert_eq!(cursor.value(), "null");
        assert!(cursor.take(b'}'));
        assert_eq!(cursor.peek(), None);
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in any::<String>()) {
            let mut cursor = Cursor::new(&text);
            for _ in 0..=text.len() {
                let _ = (cursor.string(), cursor.take(b'{'), cursor.value());
            }
            prop_assert_eq!(cursor.peek(), None);
        }
    }
}
