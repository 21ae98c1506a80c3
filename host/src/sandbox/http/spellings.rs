//! The spellings of a secret in an echo. Encoders of JSON, HTML and URLs change characters of visible ASCII as a matter of
//! routine, without anybody asking for it: a key in Base64 has slashes, and PHP writes `\/` for each.
//!
//! An encoder that mixes spellings within one echo, or changes more than these, is not covered.

/// The secret itself and its other spellings, each once.
pub(super) fn spellings(secret: &str) -> Vec<String> {
    let mut spellings = vec![secret.to_owned()];
    for encode in ENCODERS {
        let spelling: String = secret.chars().map(encode).collect();
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    }
    spellings
}

const ENCODERS: [fn(char) -> String; 11] = [
    json,
    json_with_slashes,
    |character| json_for_html(character, false),
    |character| json_for_html(character, true),
    |character| html(character, "&#39;"),
    |character| html(character, "&#039;"),
    |character| html(character, "&#x27;"),
    |character| html(character, "'"),
    |character| percent(character, "-_.~", true),
    |character| percent(character, "-_.~", false),
    // JavaScript's `encodeURIComponent`.
    |character| percent(character, "-_.~!'()*", true),
];

/// RFC 8259, section 7: what must be escaped.
fn json(character: char) -> String {
    match character {
        '"' | '\\' => format!("\\{character}"),
        other => other.to_string(),
    }
}

/// As PHP's `json_encode` does by default.
fn json_with_slashes(character: char) -> String {
    match character {
        '/' => "\\/".to_owned(),
        other => json(other),
    }
}

/// As Go's `encoding/json` does by default, and with capitals as other libraries do.
fn json_for_html(character: char, capitals: bool) -> String {
    match (character, capitals) {
        ('<' | '>' | '&', false) => format!("\\u{:04x}", u32::from(character)),
        ('<' | '>' | '&' | '\'', true) => format!("\\u{:04X}", u32::from(character)),
        (other, _) => json(other),
    }
}

fn html(character: char, apostrophe: &str) -> String {
    match character {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        '\'' => apostrophe.to_owned(),
        other => other.to_string(),
    }
}

/// RFC 3986, section 2.1: everything but letters, digits and `kept`.
fn percent(character: char, kept: &str, capitals: bool) -> String {
    match character {
        character if character.is_ascii_alphanumeric() || kept.contains(character) => character.to_string(),
        character if capitals => format!("%{:02X}", u32::from(character)),
        character => format!("%{:02x}", u32::from(character)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_secret_has_one_spelling() {
        assert_eq!(spellings("s3cr3t-value_1.0~"), ["s3cr3t-value_1.0~"]);
    }

    #[test]
    fn every_encoder_has_its_spelling() {
        let found = spellings(r#"a/b"c\d<e&f'g+"#);
        for expected in [
            r#"a/b\"c\\d<e&f'g+"#,
            r#"a\/b\"c\\d<e&f'g+"#,
            r#"a/b\"c\\d\u003ce\u0026f'g+"#,
            r#"a/b\"c\\d\u003Ce\u0026f\u0027g+"#,
            r"a/b&quot;c\d&lt;e&amp;f&#39;g+",
            r"a/b&quot;c\d&lt;e&amp;f'g+",
            "a%2Fb%22c%5Cd%3Ce%26f%27g%2B",
            "a%2fb%22c%5cd%3ce%26f%27g%2b",
            "a%2Fb%22c%5Cd%3Ce%26f'g%2B",
        ] {
            assert!(
                found.iter().any(|spelling| spelling == expected),
                "{expected}: {found:?}"
            );
        }
    }
}
