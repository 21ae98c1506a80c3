//! The names that a project can have. A name becomes a folder, a WIT package, a package of its language and a plugin.

use super::AuthorError;

/// The longest name, in bytes: that of a plugin.
const MAX_BYTES: usize = 64;

/// Words that WIT, or the package manager of a language, reserves.
const RESERVED: [&str; 54] = [
    "alloc",
    "as",
    "async",
    "bool",
    "borrow",
    "break",
    "char",
    "component",
    "const",
    "constructor",
    "continue",
    "core",
    "crate",
    "else",
    "enum",
    "export",
    "f32",
    "f64",
    "flags",
    "fn",
    "for",
    "from",
    "func",
    "future",
    "if",
    "import",
    "include",
    "interface",
    "list",
    "map",
    "match",
    "mod",
    "option",
    "own",
    "package",
    "proc-macro",
    "record",
    "resource",
    "result",
    "self",
    "static",
    "std",
    "stream",
    "string",
    "struct",
    "test",
    "tuple",
    "type",
    "use",
    "variant",
    "while",
    "with",
    "world",
    "tool",
];

pub(super) fn check(name: &str) -> Result<(), AuthorError> {
    let refused = |reason| {
        Err(AuthorError::Name {
            name: crate::untrusted::display_untrusted(name, MAX_BYTES),
            reason,
        })
    };
    let is_word = |word: &str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    match name {
        "" => refused("it is empty"),
        name if name.len() > MAX_BYTES => refused("it has more than 64 characters"),
        name if !name.split('-').all(is_word) => {
            refused("a name is lower-case words joined by `-`, each of which begins with a letter")
        }
        name if RESERVED.contains(&name) => refused("the word is reserved by WIT or by a language"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kebab_case() {
        for name in ["letters", "unit-converter", "a1-b2", "x"] {
            assert!(check(name).is_ok(), "{name}");
        }
        let long = "x".repeat(65);
        for name in [
            "", "-", "a-", "-a", "a--b", "A", "a_b", "1a", "a-1b", "é", "a b", "../a", "a/b", "list", "test", "a\n",
            &long,
        ] {
            assert!(matches!(check(name), Err(AuthorError::Name { .. })), "{name:?}");
        }
        assert!(check(&"x".repeat(64)).is_ok());
    }
}
