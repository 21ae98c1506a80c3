//! The effective configuration, as TOML that can be loaded again and as JSON. Secrets are redacted.

use std::ops::Range;

use serde_json::Value as Json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Config;
use super::origins::Origins;
use super::raw::RawConfig;
use super::redact::{is_secret_name, looks_secret};
use crate::telemetry::redact::MASK;

pub(super) fn to_json(config: &Config) -> Json {
    let mut json = serde_json::to_value(RawConfig::from(config)).unwrap_or_default();
    redact(&mut json, "");
    json
}

fn redact(json: &mut Json, key: &str) {
    match json {
        Json::String(text) if is_secret(key, text) => MASK.clone_into(text),
        Json::Object(entries) => entries.iter_mut().for_each(|(key, value)| redact(value, key)),
        Json::Array(items) => {
            let mut before = String::new();
            for item in items {
                let text = item.as_str().unwrap_or_default().to_owned();
                redact(item, item_name(key, &before, &text));
                before = text;
            }
        }
        _ => {}
    }
}

/// The name that applies to an item of a list: the option before it, as in `["--token", "…"]`, else the list's key.
fn item_name<'a>(key: &'a str, before: &'a str, text: &str) -> &'a str {
    let is_option = |text: &str| text.starts_with('-') && !text.contains('=');
    match is_option(before) && !text.starts_with('-') {
        true => before,
        false => key,
    }
}

/// Keys that are named like secrets and hold none.
const NAMES: [&str; 2] = ["api_key_env", "max_tokens_field"];

/// Whether to redact a value. `api_key_env` and `Bearer ${secret:NAME}` contain only names, so they are kept.
fn is_secret(key: &str, text: &str) -> bool {
    // Prose for the model often mentions such words, so only its text is checked.
    let is_prose = matches!(key, "system" | "fallback" | "description" | "input_schema");
    let named = !is_prose && ((is_secret_name(key) && !NAMES.contains(&key)) || assigns_secret(text));
    !text.is_empty() && !is_secret_reference(text) && (named || looks_secret(text))
}

/// Matches `--token=…`, `PASSWORD=…`, `https://…?user=7&token=…` and `Authorization: …`.
fn assigns_secret(text: &str) -> bool {
    let is_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    text.match_indices(['=', ':']).any(|(at, _)| {
        let before = &text[..at];
        let name = before.trim_end_matches(is_name).len();
        text[at + 1..].chars().any(|character| !character.is_whitespace()) && is_secret_name(&before[name..])
    })
}

/// Whether the text consists only of references to secrets and plain words such as `Bearer`.
fn is_secret_reference(text: &str) -> bool {
    let mut pieces = text.split("${secret:");
    let is_word = |text: &str| {
        text.chars()
            .all(|character| character.is_ascii_alphabetic() || character == ' ')
    };
    let starts_well = pieces.next().is_some_and(is_word);
    let mut references = pieces.peekable();
    starts_well
        && references.peek().is_some()
        && references.all(|piece| piece.split_once('}').is_some_and(|(_, after)| is_word(after)))
}

pub(super) fn to_toml(config: &Config) -> String {
    // The raw types have only tables, strings and numbers in range, so this can't fail.
    let text = toml::to_string(&RawConfig::from(config)).unwrap_or_default();
    let mut annotations = Annotations {
        origins: &config.origins,
        edits: Vec::new(),
    };
    if let Ok(table) = DeTable::parse(&text) {
        annotations.table(table.get_ref(), &mut Vec::new());
    }
    annotations.apply(text)
}

/// The edits to the plain TOML: a comment after each value, and a mask instead of each secret.
struct Annotations<'a> {
    origins: &'a Origins,
    edits: Vec<(Range<usize>, String)>,
}

impl Annotations<'_> {
    fn table(&mut self, table: &DeTable<'_>, path: &mut Vec<String>) {
        for (key, value) in table {
            path.push(key.get_ref().to_string());
            self.value(value, path);
            path.pop();
        }
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>) {
        match value.get_ref() {
            DeValue::Table(table) => return self.table(table, path),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                for (index, item) in items.iter().enumerate() {
                    path.push(index.to_string());
                    self.value(item, path);
                    path.pop();
                }
                return;
            }
            DeValue::Array(items) => self.items(path.last().map_or("", String::as_str), items),
            DeValue::String(text) if is_secret(path.last().map_or("", String::as_str), text) => {
                self.edits.push((value.span(), format!("\"{MASK}\"")));
            }
            _ => {}
        }
        let end = value.span().end;
        let origin = self
            .origins
            .find(path)
            .map_or_else(|| "default".to_owned(), ToString::to_string);
        self.edits.push((end..end, format!("  # {}", origin.escape_debug())));
    }

    /// Masks the secrets of a list, and of the lists in it.
    fn items(&mut self, key: &str, items: &[Spanned<DeValue<'_>>]) {
        let mut before = "";
        for item in items {
            let text = item.get_ref().as_str().unwrap_or_default();
            if let DeValue::Array(items) = item.get_ref() {
                self.items(key, items);
            } else if is_secret(item_name(key, before, text), text) {
                self.edits.push((item.span(), format!("\"{MASK}\"")));
            }
            before = text;
        }
    }

    fn apply(mut self, mut text: String) -> String {
        self.edits.sort_by_key(|(range, _)| (range.start, range.end));
        for (range, replacement) in self.edits.into_iter().rev() {
            text.replace_range(range, &replacement);
        }
        text
    }
}
