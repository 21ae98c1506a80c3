//! Formats numbers and untrusted text for people. Pure functions, shared by progress and summary.

use std::borrow::Cow;
use std::fmt::{Display, Write as _};

use unicode_width::UnicodeWidthChar;

use crate::untrusted::{self, is_hidden, is_terminal_control};

/// `1234567` -> `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `3` and `"call"` -> `3 calls`.
pub fn counted(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Milliseconds in a suitable unit: `0.42 ms`, `12 ms`, `1.8 s`, `2 min 05 s`.
pub fn millis(milliseconds: f64) -> String {
    if milliseconds < 10.0 {
        format!("{milliseconds:.2} ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0} ms")
    } else if milliseconds < 59_950.0 {
        format!("{:.1} s", milliseconds / 1000.0)
    } else {
        let seconds = (milliseconds / 1000.0).round() as u64;
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// A delay or a limit, rounded to 0.1 s: `1 s`, `0.5 s`, `60 s`. Shorter delays are in milliseconds.
pub fn seconds(milliseconds: u64) -> String {
    let tenths = (milliseconds + 50) / 100;
    if milliseconds > 0 && tenths == 0 {
        format!("{milliseconds} ms")
    } else if tenths.is_multiple_of(10) {
        format!("{} s", tenths / 10)
    } else {
        format!("{}.{} s", tenths / 10, tenths % 10)
    }
}

/// Bytes in binary units: `512 B`, `1.1 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A time in RFC 3339, to the minute: `2026-11-29 18:09`.
pub fn minute(at: impl Display) -> String {
    beginning(at, 16)
}

/// The same to the second: `2026-11-29 18:09:33`.
pub fn second(at: impl Display) -> String {
    beginning(at, 19)
}

fn beginning(at: impl Display, characters: usize) -> String {
    let at = at.to_string();
    at.get(..characters).unwrap_or(&at).replace('T', " ")
}

/// Escapes text of a model or a tool for a terminal: all control characters except newline and tab, and the marks that
/// change the reading direction. Both could make a terminal display something else than the text. A carriage return is
/// escaped even in `\r\n`, because alone it would overwrite the line.
pub fn escape(text: &str) -> Cow<'_, str> {
    untrusted::escape(text, is_unsafe)
}

/// Escapes a JSON document for a terminal without changing its meaning. Serializers leave C1 control characters, direction marks and
/// characters that take no space unescaped, and all of these can occur only in strings.
pub fn escape_json(document: &str) -> Cow<'_, str> {
    let is_unsafe = |c: char| is_hidden(c) && c != '\n' && c != '\t';
    if !document.contains(is_unsafe) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A label and a text in lines of at most this many columns, those after the first below the beginning of the text.
pub fn wrapped(label: &str, text: &str, width: Option<usize>) -> String {
    let indent = label.chars().count();
    let (mut out, mut column) = (label.to_owned(), indent);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && width.is_some_and(|width| column + 1 + length > width) {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        }
        if column > indent {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out.push('\n');
    out
}

/// Text of several lines below a label: the lines after the first are indented, so that they don't look like output of their own.
pub fn indented(text: &str) -> String {
    text.replace('\n', "\n    ")
}

fn is_unsafe(c: char) -> bool {
    is_terminal_control(c) && c != '\n' && c != '\t'
}

/// The end of untrusted text, as one line of at most this many columns.
pub fn end_of_line(text: &str, columns: usize) -> String {
    let flat = one_line(text, usize::MAX);
    let mut room = columns;
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let is_room = width <= room;
        room = room.saturating_sub(width);
        is_room
    };
    let end: Vec<char> = flat.chars().rev().take_while(fits).collect();
    end.into_iter().rev().collect()
}

/// Untrusted text as one line of at most `max` characters, for a table cell or a progress line.
pub fn one_line(text: &str, max: usize) -> String {
    let flat: String = text
        .trim()
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c })
        .collect();
    let flat = untrusted::escape(&flat, is_hidden);
    if flat.chars().count() <= max {
        return flat.into_owned();
    }
    let mut cut: String = flat.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (10_000_000_000, "10,000,000,000"),
        ] {
            assert_eq!(count(number), shown);
        }
        assert_eq!(counted(1, "call"), "1 call");
        assert_eq!(counted(1200, "call"), "1,200 calls");
    }

    #[test]
    fn a_text_is_wrapped_below_its_beginning() {
        assert_eq!(wrapped("/x  ", "one two three", Some(11)), "/x  one two\n    three\n");
        assert_eq!(wrapped("", "one two three", None), "one two three\n");
        // A word that is too long for a line is left whole.
        assert_eq!(wrapped("", "a unbreakable b", Some(4)), "a\nunbreakable\nb\n");
    }

    #[test]
    fn durations_use_a_suitable_unit() {
        for (milliseconds, shown) in [
            (0.42, "0.42 ms"),
            (12.3, "12 ms"),
            (999.4, "999 ms"),
            (999.9, "1.0 s"),
            (1830.0, "1.8 s"),
            (59_999.0, "1 min 00 s"),
            (125_000.0, "2 min 05 s"),
        ] {
            assert_eq!(millis(milliseconds), shown);
        }
        for (milliseconds, shown) in [(0, "0 s"), (3, "3 ms"), (500, "0.5 s"), (1000, "1 s"), (60_000, "60 s")] {
            assert_eq!(seconds(milliseconds), shown);
        }
    }

    #[test]
    fn sizes_use_binary_units() {
        for (size, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_114_112, "1.1 MiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (8 << 30, "8.0 GiB"),
        ] {
            assert_eq!(bytes(size), shown);
        }
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escape("a\tb\nc"), "a\tb\nc");
        assert_eq!(escape("\u{1b}[2Jgone"), "\\u{1b}[2Jgone");
        assert_eq!(escape("50%\r100%"), "50%\\r100%");
        assert_eq!(escape("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escape("ab\u{202e}cd"), "ab\\u{202e}cd");
    }

    #[test]
    fn an_escaped_json_document_parses_to_the_same_value() {
        let value = serde_json::json!({ "text": "\u{9b}31m\u{7f}\u{202e}\u{1b}" });
        let document = value.to_string();
        let escaped = escape_json(&document);
        assert!(!escaped.contains(is_unsafe), "{escaped}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).ok(), Some(value));
    }

    #[test]
    fn one_line_flattens_and_truncates() {
        assert_eq!(one_line(" a\nb\tc ", 10), "a b c");
        assert_eq!(one_line("abcdefgh", 5), "abcd…");
        assert_eq!(one_line("\u{1b}x", 20), "\\u{1b}x");
    }
}
