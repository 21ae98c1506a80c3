//! Overrides from the environment: `COFFERDAM_SECTION__KEY`; deeper keys have more `__`.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::problem::{Origin, Problem};
use super::source::{Misplaced, Node, read_variable};
use crate::toml_text::MAX_DEPTH;

const PRODUCT: &str = "COFFERDAM";

/// The segments of the key that a variable's name spells. `None` if the name has no `__`: then it is not an override.
/// `Err` if it looks like an override and is malformed.
fn segments(name: &str) -> Option<Result<Vec<&str>, ()>> {
    let rest = name.strip_prefix(PRODUCT)?.strip_prefix('_')?;
    if !name[PRODUCT.len()..].contains("__") {
        return None;
    }
    let is_legal = |segment: &&str| {
        let legal = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        !segment.is_empty() && !segment.starts_with('_') && !segment.ends_with('_') && segment.bytes().all(legal)
    };
    // Real keys are far shallower, so this only bounds the work on hostile names.
    let segments: Vec<&str> = rest.split("__").take(MAX_DEPTH).collect();
    Some(if segments.len() == MAX_DEPTH {
        Err(())
    } else if segments.len() > 1 && segments.iter().all(is_legal) {
        Ok(segments)
    } else {
        Err(())
    })
}

/// Inserts every override into the tree. A malformed name is a problem.
pub(super) fn apply(root: &mut Node, variables: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    // Sorted by name, a table comes before its own keys, which can then refine it.
    for (name, text) in variables {
        let (key, message, hint) = match segments(name) {
            None => continue,
            Some(Err(())) => {
                let hint = format!("write {PRODUCT}_SECTION__KEY in capitals, for example {PRODUCT}_MODEL__MAX_TOKENS");
                (String::new(), "is not a configuration key".to_owned(), Some(hint))
            }
            Some(Ok(segments)) => match insert(root, &segments, read_variable(name, text)) {
                Ok(()) => continue,
                Err(Misplaced { key, message }) => (key, message, None),
            },
        };
        problems.push(Problem {
            origin: Origin::Env { name: name.clone() },
            key,
            message,
            hint,
        });
    }
}

/// Variables that set nothing, and would set a key with `__` between its section and its name. Each with that spelling.
pub fn misspelt(variables: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let suspects = variables.keys().filter_map(|name| {
        let rest = name.strip_prefix(PRODUCT)?.strip_prefix('_')?;
        (segments(name).is_none() && rest.contains('_')).then_some((name, rest))
    });
    let mut keys = None;
    let meant = suspects.filter_map(|(name, rest)| {
        let keys = keys.get_or_insert_with(section_keys);
        let meant = keys.iter().find(|key| key.replace("__", "_") == rest)?;
        Some((name.clone(), format!("{PRODUCT}_{meant}")))
    });
    meant.collect()
}

/// `SECTION__KEY` of every key that a section has.
fn section_keys() -> Vec<String> {
    let schema = super::schema();
    let properties = |schema: &Json| schema["properties"].as_object().cloned().unwrap_or_default();
    let mut keys = Vec::new();
    for (section, about) in properties(&schema) {
        let definition = about["$ref"]
            .as_str()
            .and_then(|path| schema.pointer(path.strip_prefix('#')?));
        let named = properties(definition.unwrap_or(&about)).into_iter();
        keys.extend(named.map(|(key, _)| format!("{section}__{key}").to_ascii_uppercase()));
    }
    keys
}

fn insert(root: &mut Node, segments: &[&str], leaf: Node) -> Result<(), Misplaced> {
    let Some((last, parents)) = segments.split_last() else {
        return Ok(());
    };
    let entries = root.table_at(parents, &leaf.origin, match_key)?;
    let key = match_key(entries, last)?;
    entries.insert(key, leaf);
    Ok(())
}

/// The existing key that matches the segment, else a new key. A variable can only spell a key in upper case and, in most
/// shells, without `-`.
fn match_key(entries: &BTreeMap<String, Node>, segment: &str) -> Result<String, Misplaced> {
    let lower = segment.to_ascii_lowercase();
    if entries.contains_key(&lower) {
        return Ok(lower);
    }
    let folded = |key: &str| key.to_ascii_lowercase().replace('-', "_");
    let mut candidates = entries.keys().filter(|key| folded(key) == folded(&lower));
    match (candidates.next(), candidates.next()) {
        (None, _) => Ok(lower),
        (Some(only), None) => Ok(only.clone()),
        (Some(first), Some(second)) => Err(Misplaced {
            key: String::new(),
            message: format!("could mean `{first}` or `{second}`"),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::super::source::{Source, Value};
    use super::*;

    #[test]
    fn a_key_with_one_underscore_is_noticed() {
        let names = [
            "COFFERDAM_MODEL_MAX_TOKENS",
            "COFFERDAM_BUDGET_SESSION_USD",
            "COFFERDAM_LIMITS_FUEL",
            "COFFERDAM_MODEL__MAX_TOKENS",
            "COFFERDAM_MODEL",
            "COFFERDAM_MODEL_KEY_OF_MINE",
            "MODEL_MAX_TOKENS",
        ];
        let variables = names.map(|name| (name.to_owned(), "1".to_owned())).into();
        let found = misspelt(&variables);
        let found: Vec<&str> = found.iter().map(|(_, meant)| meant.as_str()).collect();
        assert_eq!(
            found,
            [
                "COFFERDAM_BUDGET__SESSION_USD",
                "COFFERDAM_LIMITS__FUEL",
                "COFFERDAM_MODEL__MAX_TOKENS"
            ]
        );
    }

    fn applied(text: &str, variables: &[(&str, &str)]) -> (Node, Vec<String>) {
        let mut problems = Vec::new();
        let mut root = Source::file(Path::new("c.toml"), text.to_owned())
            .parse(&mut problems)
            .unwrap();
        let variables = variables
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        apply(&mut root, &variables, &mut problems);
        (
            root,
            problems
                .iter()
                .map(|problem| format!("{}: {}", problem.origin, problem.message))
                .collect(),
        )
    }

    #[test]
    fn names_without_two_underscores_are_ignored() {
        let (root, problems) = applied(
            "",
            &[("COFFERDAM_MODEL", "x"), ("PATH__X", "y"), ("COFFERDAMX__Y", "z")],
        );
        assert!(matches!(&root.value, Value::Table(entries) if entries.is_empty()));
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn overrides_set_existing_and_new_keys() {
        let (root, problems) = applied(
            "[plugins.My-Tool.limits]\nfuel = 1\n[model]\nmodel = \"a\"\n",
            &[
                ("COFFERDAM_MODEL__MODEL", "b"),
                ("COFFERDAM_PLUGINS__MY_TOOL__LIMITS__FUEL", "2"),
                ("COFFERDAM_BUDGET__SESSION_USD", "0.5"),
            ],
        );
        assert_eq!(problems, [""; 0]);
        assert!(matches!(&root.find(&["model", "model"]).unwrap().value, Value::String(text) if text == "b"));
        let fuel = root.find(&["plugins", "My-Tool", "limits", "fuel"]).unwrap();
        assert!(matches!(&fuel.value, Value::Number { text, .. } if text == "2"));
        assert_eq!(
            fuel.origin,
            Origin::Env {
                name: "COFFERDAM_PLUGINS__MY_TOOL__LIMITS__FUEL".to_owned()
            }
        );
        assert!(root.find(&["budget", "session_usd"]).is_some());
    }

    #[test]
    fn malformed_names_are_problems() {
        for name in [
            "COFFERDAM__MODEL",
            "COFFERDAM_MODEL__",
            "COFFERDAM___MODEL__MODEL",
            "COFFERDAM_MODEL____MODEL",
            "COFFERDAM_MODEL___MODEL",
            "COFFERDAM_model__model",
            "COFFERDAM_MODEL__MÖDEL",
        ] {
            assert_eq!(
                applied("", &[(name, "x")]).1,
                [format!("{name}: is not a configuration key")]
            );
        }
    }

    #[test]
    fn keys_below_a_scalar_and_ambiguous_keys_are_problems() {
        let (_, problems) = applied(
            "model = 1\n[plugins]\na-b = {}\nA_B = {}\n",
            &[("COFFERDAM_MODEL__X", "1"), ("COFFERDAM_PLUGINS__A_B__DIGEST", "1")],
        );
        assert_eq!(
            problems,
            [
                "COFFERDAM_MODEL__X: has no keys below it",
                "COFFERDAM_PLUGINS__A_B__DIGEST: could mean `A_B` or `a-b`"
            ]
        );
    }
}
