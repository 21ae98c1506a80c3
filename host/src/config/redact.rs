//! How a value is shown, if at all.

use crate::telemetry::redact::{MASK, scrub};

/// Longest text that a message quotes, in characters.
const QUOTED_CHARACTERS: usize = 60;

const SECRET_NAMES: [&str; 8] = [
    "apikey",
    "secret",
    "token",
    "password",
    "passwd",
    "credential",
    "authorization",
    "privatekey",
];

/// Shorter words are too common to be taken for a key.
const KEY_CHARACTERS: usize = 24;

/// A value in backquotes, for a message: one line, not too long, and never a secret.
pub(super) fn quote(text: &str) -> String {
    if looks_secret(text) {
        return format!("`{MASK}`");
    }
    let mut shown: String = text
        .chars()
        .take(QUOTED_CHARACTERS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(QUOTED_CHARACTERS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Whether a text holds something like an API key, a bearer token or a URL with a password. A guess, on the safe side:
/// a key in a place where nobody expects it must not reach a terminal or a log.
pub(super) fn looks_secret(text: &str) -> bool {
    let has_user = text.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#'])
            .next()
            .is_some_and(|authority| authority.contains('@'))
    });
    has_user || scrub(text) != text || text.split(is_separator).any(looks_random)
}

/// Whether a key's name says that its value is secret.
pub(super) fn names_secret(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    SECRET_NAMES.iter().any(|name| plain.contains(name))
}

fn is_separator(character: char) -> bool {
    !(character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '+' | '='))
}

/// Long, with upper case, lower case and digits mixed: what people do not write and generators do.
fn looks_random(word: &str) -> bool {
    word.len() >= KEY_CHARACTERS
        && word.bytes().any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase())
        && word.bytes().filter(u8::is_ascii_digit).count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_seen() {
        for text in [
            "sk-ant-api03-abcdefgh",
            "Bearer abcdefgh",
            "x=sk-ant-api03-abcdefgh",
            "https://user:pass@example.com/",
            "AbCdEfGh1234567890IjKlMnOp",
        ] {
            assert!(looks_secret(text), "{text}");
            assert_eq!(quote(text), "`[redacted]`");
        }
    }

    #[test]
    fn ordinary_values_are_not() {
        let digest = format!("sha256:{}", "0123456789abcdef".repeat(4));
        for text in [
            "claude-sonnet-5-5",
            "https://api.open-meteo.com/v1/@x",
            "/var/lib/cofferdam/plugins/weather.wasm",
            "0192f0c1-7e6b-7c3a-9d8e-0123456789ab",
            "Weather service temporarily unavailable. Please try again later.",
            &digest,
        ] {
            assert!(!looks_secret(text), "{text}");
        }
    }

    #[test]
    fn quotes_are_short_and_on_one_line() {
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert!(quote(&"x".repeat(500)).chars().count() < 70);
    }
}
