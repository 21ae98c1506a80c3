//! The comments of a WIT world become the descriptions of its tools.
//!
//! No toolchain keeps them in the component, so `tool build` adds a custom section, `cofferdam:docs`, which holds JSON:
//!
//! ```json
//! { "version": 1, "functions": {
//!     "count-letter": { "description": "…", "params": { "text": "…" }, "read_only": true, "idempotent": true } } }
//! ```
//!
//! A function of an exported interface is called `interface#function`. Lines that begin with `@` aren't part of a description:
//! `@param NAME TEXT` describes a parameter, and `@read-only`, `@idempotent` and `@destructive` say what a call may do.

use serde_json::{Map, Value, json};
use wit_parser::{Function, Resolve, WorldId, WorldItem};

use crate::sandbox::{DOCS_VERSION, docs_of_comment};

/// The documentation of the functions that a world exports.
pub(super) fn of_world(resolve: &Resolve, world: WorldId) -> Value {
    let mut functions = Map::new();
    for (key, item) in &resolve.worlds[world].exports {
        let export = resolve.name_world_key(key);
        match item {
            WorldItem::Function(function) => add(&mut functions, export, function),
            WorldItem::Interface { id, .. } => {
                for function in resolve.interfaces[*id].functions.values() {
                    add(&mut functions, format!("{export}#{}", function.name), function);
                }
            }
            WorldItem::Type { .. } => {}
        }
    }
    json!({ "version": DOCS_VERSION, "functions": functions })
}

fn add(functions: &mut Map<String, Value>, name: String, function: &Function) {
    if let Some(text) = &function.docs.contents {
        functions.insert(name, Value::Object(docs_of_comment(text)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn docs(world: &str) -> Value {
        let mut resolve = Resolve::default();
        let package = resolve
            .push_str("x.wit", &format!("package local:x@1.0.0; {world}"))
            .unwrap();
        let world = resolve.packages[package].worlds["tool"];
        of_world(&resolve, world)
    }

    #[test]
    fn comments_become_descriptions_and_tags_become_fields() {
        let found = docs(
            "world tool {
                /// Removes a note.
                ///
                /// Ask `list-notes` for names. Mail is user@example.com.
                /// @param name The note's name,
                ///   as `list-notes` gives it.
                /// @destructive
                ///
                /// Can't be undone.
                /// @unknown stays
                export remove-note: func(name: string);
                export undocumented: func();
            }",
        );
        assert_eq!(
            found,
            json!({ "version": 1, "functions": { "remove-note": {
                "description": "Removes a note.\n\nAsk `list-notes` for names. Mail is user@example.com.\n\nCan't be undone.\n@unknown stays",
                "params": { "name": "The note's name, as `list-notes` gives it." },
                "destructive": true,
            } } })
        );
    }

    #[test]
    fn functions_of_interfaces_have_both_names() {
        let found = docs(
            "interface forecast {
                /// The weather.
                /// @read-only
                get: func() -> string;
            }
            world tool { export forecast; }",
        );
        let expected = json!({ "description": "The weather.", "read_only": true });
        assert_eq!(found["functions"]["local:x/forecast@1.0.0#get"], expected, "{found}");
    }
}
