//! The last line of defence for text that leaves the process: masks apparent credentials.
//!
//! The first line is `Secret`, which never prints its text. But a third-party error message can quote a header, and a tool's
//! output can contain anything.

use std::borrow::Cow;

/// The replacement for a credential.
pub const MASK: &str = "[redacted]";

/// Prefixes of the API keys of well-known services.
const KEY_PREFIXES: [&str; 12] = [
    "sk-",
    "sk_live_",
    "sk_test_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
];
/// The fewest characters after the prefix: with fewer it is a word, not a key (`sk-learn`).
const KEY_MINIMUM: usize = 12;
/// Names before a credential of unknown format, matched case-insensitively. A name must be followed by `:` or `=`, the scheme
/// only by a space.
const NAMES: [&str; 4] = ["x-api-key", "api-key", "api_key", "apikey"];
const SCHEME: &str = "bearer";
const NAMED_MINIMUM: usize = 8;

/// Masks text that looks like an API key or a bearer token. Replaces only characters that such a token can contain, so a line
/// of JSON stays valid.
pub fn scrub(text: &str) -> Cow<'_, str> {
    let mut scrubbed = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match credential_at(text, at) {
            Some((start, end)) => {
                scrubbed.push_str(&text[copied..start]);
                scrubbed.push_str(MASK);
                (copied, at) = (end, end);
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    scrubbed.push_str(&text[copied..]);
    Cow::Owned(scrubbed)
}

/// The range of a credential if it, or its name, starts at this byte.
fn credential_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let rest = &text.as_bytes()[at..];
    // The cheap check first: every key, name and scheme starts with a letter at the start of a word.
    if !rest[0].is_ascii_alphabetic() || !is_word_start(&text.as_bytes()[..at]) {
        return None;
    }
    let token_length = |bytes: &[u8]| bytes.iter().take_while(|byte| is_token(**byte)).count();
    if let Some(prefix) = KEY_PREFIXES.iter().find(|prefix| rest.starts_with(prefix.as_bytes())) {
        let length = token_length(rest);
        return (length >= prefix.len() + KEY_MINIMUM).then_some((at, at + length));
    }
    let starts_with = |name: &&&str| {
        rest.get(..name.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()))
    };
    let (name, separator): (_, &[u8]) = match NAMES.iter().find(starts_with) {
        Some(name) => (*name, b":="),
        None => (starts_with(&&SCHEME).then_some(SCHEME)?, b" "),
    };
    // JSON, TOML and `Debug` put quotes and spaces between name and value.
    let gap = rest[name.len()..]
        .iter()
        .take_while(|byte| b":= \"'\\".contains(byte))
        .count();
    let start = name.len() + gap;
    let length = token_length(&rest[start..]);
    let separated = rest[name.len()..start].iter().any(|byte| separator.contains(byte));
    (separated && length >= NAMED_MINIMUM).then_some((at + start, at + start + length))
}

/// Whether a word can start after this text: not inside another word, except after a JSON escape such as `\n` or `\u001b`.
fn is_word_start(before: &[u8]) -> bool {
    match before {
        [.., b'\\', b'u', _, _, _, _] | [.., b'\\', _] => true,
        [.., last] => !(last.is_ascii_alphanumeric() || matches!(last, b'-' | b'_')),
        [] => true,
    }
}

/// Characters in keys: both base64 alphabets, and separators.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn apparent_credentials_are_masked() {
        for (text, scrubbed) in [
            ("key sk-ant-api03-AbCdEfGh_1234567890 refused", "key [redacted] refused"),
            (r#"{"key":"sk-ant-api03-AbCdEfGh"}"#, r#"{"key":"[redacted]"}"#),
            (
                "Authorization: Bearer abcdef1234567890==, next",
                "Authorization: Bearer [redacted], next",
            ),
            ("authorization: bearer abcdef12", "authorization: bearer [redacted]"),
            ("X-Api-Key: 0123456789", "X-Api-Key: [redacted]"),
            ("?key=AIzaSyA1234567890abcdef&x=1", "?key=[redacted]&x=1"),
            (
                "ghp_0123456789abcdef and sk-0123456789abcdef",
                "[redacted] and [redacted]",
            ),
            (
                "näive Bearer äbc sk-0123456789abcdef ü",
                "näive Bearer äbc [redacted] ü",
            ),
        ] {
            assert_eq!(scrub(text), scrubbed);
        }
    }

    #[test]
    fn ordinary_text_is_unchanged() {
        for text in [
            "",
            "sk-learn and task-0123456789abcdef",
            "a bearer of news",
            "x-api-key authentication",
            "api_key_env = ANTHROPIC_API_KEY",
            "Bearer",
            "25 * 17 = 425",
            "ünïcode sk-",
        ] {
            assert!(matches!(scrub(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn keys_are_masked_in_any_text_and_json_stays_valid(text in any::<String>(), key in "sk-[a-zA-Z0-9]{20}") {
            let line = serde_json::to_string(&serde_json::json!({ "text": format!("{text} {key} {text}") })).unwrap();
            let scrubbed = scrub(&line);
            prop_assert!(!scrubbed.contains(&key));
            prop_assert!(serde_json::from_str::<serde_json::Value>(&scrubbed).is_ok());
        }
    }
}
