//! The names that a JavaScript module exports, as far as its text says. Its toolchain looks for them only when a tool is called, so a
//! misspelt one makes a component that crashes.

use std::collections::BTreeSet;

/// The names that functions and interfaces of a world have in JavaScript and that `source` exports nowhere. Empty if that can't be
/// known: a module can export everything of another one.
///
/// Nothing is run or parsed. Where the text is ambiguous, a name counts as exported.
pub(super) fn missing(source: &str, exports: &[String]) -> Vec<String> {
    let Some(found) = exported(source) else {
        return Vec::new();
    };
    let wanted = exports.iter().map(|export| name(export));
    wanted.filter(|name| !found.contains(name.as_str())).collect()
}

/// `forecast` for `local:weather/forecast@1.0.0`, `getForecast` for `get-forecast`.
fn name(export: &str) -> String {
    let unversioned = export.split('@').next().unwrap_or(export);
    let short = unversioned.rsplit('/').next().unwrap_or(unversioned);
    let mut name = String::new();
    for (number, word) in short.split('-').enumerate() {
        let word = word.to_ascii_lowercase();
        match word.chars().next() {
            Some(first) if number > 0 => {
                name.push(first.to_ascii_uppercase());
                name.push_str(&word[first.len_utf8()..]);
            }
            _ => name.push_str(&word),
        }
    }
    name
}

/// Every word that an `export` could name; `None` if the module exports what other modules do.
fn exported(source: &str) -> Option<BTreeSet<&str>> {
    let mut found = BTreeSet::new();
    let mut statements = source.split_inclusive("export");
    let mut before = statements.next().unwrap_or_default();
    for statement in statements {
        // `export` may be part of another word.
        let is_word = before
            .strip_suffix("export")
            .is_some_and(|before| !before.ends_with(is_part));
        before = statement;
        let after = statement.strip_suffix("export").unwrap_or(statement);
        if !is_word || after.starts_with(is_part) {
            continue;
        }
        let after = after.trim_start();
        let first = after.split(|character| !is_part(character)).next().unwrap_or_default();
        let names = match first {
            "" if after.starts_with('*') => return None,
            "" => after.split('}').next().unwrap_or_default(),
            // Any number of names with their values.
            "const" | "let" | "var" => after,
            _ => after.split(['(', '{', '=']).next().unwrap_or_default(),
        };
        found.extend(names.split(|character| !is_part(character)));
    }
    Some(found)
}

/// Whether a character is part of an identifier.
fn is_part(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &[&str]) {
        let exports = ["count-letter", "local:x/get-url@1.0.0"].map(str::to_owned);
        assert_eq!(missing(source, &exports), expected, "{source}");
    }

    #[test]
    fn an_export_is_found_however_it_is_written() {
        check("", &["countLetter", "getUrl"]);
        for source in [
            "export function countLetter(text) {}\nexport const getUrl = { get() {} };",
            "export async function countLetter() {}\nexport class getUrl {}",
            "export const a = 1,\n  getUrl = {};\nexport function* countLetter() {}",
            "function f() {}\nconst getUrl = {};\nexport { f as countLetter, getUrl };",
            "export { countLetter, getUrl } from './other.js';",
            "export let countLetter = (x) => x; export var getUrl;",
            "export * from './other.js';",
            "export const { countLetter, getUrl } = tools;",
        ] {
            check(source, &[]);
        }
    }

    #[test]
    fn a_misspelt_export_is_missing() {
        check(
            "export function countLeter() { return 1; }\nexport const getUrl = {};",
            &["countLetter"],
        );
        check(
            "function countLetter() {}\nexport function other() { countLetter(); }\nexport { getUrl };",
            &["countLetter"],
        );
        check(
            "const exported = countLetter;\nmodule.exports.getUrl = 1;",
            &["countLetter", "getUrl"],
        );
        check("export function getURL() {}\nexport default countLetter;", &["getUrl"]);
    }
}
