//! Quotes values for messages, and redacts those that look secret.

use crate::telemetry::redact::{MASK, scrub};

/// The longest quote in a message, in characters.
const MAX_QUOTED_CHARS: usize = 60;

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

/// The minimum length of a word that is taken for a key. Shorter words are too common.
const MIN_KEY_CHARS: usize = 24;

/// A value in backquotes for a message: on one line, truncated, and redacted if it looks secret.
pub(super) fn quote(text: &str) -> String {
    if looks_secret(text) {
        return format!("`{MASK}`");
    }
    let mut shown: String = text
        .chars()
        .take(MAX_QUOTED_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_QUOTED_CHARS).is_some() {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// Whether a text seems to contain an API key, a bearer token or a URL with a password. The heuristic errs on the safe side:
/// a key in an unexpected place must not reach a terminal or a log.
pub(super) fn looks_secret(text: &str) -> bool {
    let has_user = text.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#'])
            .next()
            .is_some_and(|authority| authority.contains('@'))
    });
    has_user || scrub(text) != text || text.split(is_separator).any(looks_random)
}

/// Whether a key's name suggests that its value is secret.
pub(super) fn is_secret_name(key: &str) -> bool {
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

/// Long, with mixed upper case, lower case and digits, as generated keys are.
fn looks_random(word: &str) -> bool {
    word.len() >= MIN_KEY_CHARS
        && word.bytes().any(|byte| byte.is_ascii_uppercase())
        && word.bytes().any(|byte| byte.is_ascii_lowercase())
        && word.bytes().filter(u8::is_ascii_digit).count() >= 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_detected() {
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
    fn ordinary_values_are_not_secrets() {
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
    fn quotes_are_truncated_to_one_short_line() {
        assert_eq!(quote("a\nb\u{1b}"), "`a\\nb\\u{1b}`");
        assert!(quote(&"x".repeat(500)).chars().count() < 70);
    }
}
