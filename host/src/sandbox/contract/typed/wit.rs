//! Documentation in WIT: the comments above functions. `tool build` copies it into the component; of components that other tools
//! built, an operator can keep the WIT beside the component.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use serde::Deserialize as _;
use serde_json::{Map, Value};
use wit_parser::{Function, SourceMap, UnresolvedPackage, WorldItem, WorldKey};

use super::docs::{FunctionDocs, MAX_DOC_BYTES, MAX_FUNCTIONS};
use super::names;

/// A WIT file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitText {
    pub path: String,
    pub text: String,
    /// Other components may lie beside it as well. Then it describes functions, but doesn't say what a call may do: the host makes
    /// some calls again because of that.
    pub is_shared: bool,
}

/// The documentation of the functions in the files of one package. Packages that it uses don't have to be there.
///
/// # Errors
///
/// The first mistake in the files, in words.
pub(super) fn read(texts: &[WitText]) -> Result<HashMap<String, FunctionDocs>, String> {
    let mut sources = SourceMap::default();
    for WitText { path, text, .. } in texts {
        sources.push_str(path, text.as_str());
    }
    // The parser bounds how deep its input nests, but a mistake in it must not end the host.
    let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| sources.parse()));
    let group = match parsed {
        Ok(Ok(group)) => group,
        Ok(Err((sources, error))) => return Err(error.render(&sources)),
        Err(_) => return Err("the parser failed".to_owned()),
    };
    let mut found = HashMap::new();
    for package in group.nested.iter().chain([&group.main]) {
        of_package(package, &mut found);
    }
    if texts.iter().any(|text| text.is_shared) {
        found.values_mut().for_each(FunctionDocs::remove_annotations);
    }
    Ok(found)
}

/// Names as a component exports them: functions of a world alone, those of an interface with the interface.
fn of_package(package: &UnresolvedPackage, found: &mut HashMap<String, FunctionDocs>) {
    for (_, interface) in package.interfaces.iter() {
        // One without a name stands in a world.
        let Some(name) = &interface.name else { continue };
        let id = package.name.interface_id(name);
        for function in interface.functions.values() {
            add(found, Some(&id), function);
        }
    }
    for (_, world) in package.worlds.iter() {
        for (key, item) in &world.exports {
            match (key, item) {
                (_, WorldItem::Function(function)) => add(found, None, function),
                (WorldKey::Name(name), WorldItem::Interface { id, .. }) => {
                    for function in package.interfaces[*id].functions.values() {
                        add(found, Some(name), function);
                    }
                }
                _ => {}
            }
        }
    }
}

fn add(found: &mut HashMap<String, FunctionDocs>, interface: Option<&str>, function: &Function) {
    let Some(comment) = &function.docs.contents else { return };
    // A world can export one interface under thousands of names, each with all of its comments.
    if comment.len() > MAX_DOC_BYTES || found.len() >= MAX_FUNCTIONS {
        return;
    }
    if let Ok(docs) = FunctionDocs::deserialize(Value::Object(docs_of_comment(comment))) {
        // Of two worlds that export the same name, the first counts.
        found.entry(names::path(interface, &function.name)).or_insert(docs);
    }
}

/// The description and tags of a comment, as `cofferdam:docs` has them. Lines that begin with `@` aren't part of the description:
/// `@param NAME TEXT` describes a parameter, and `@read-only`, `@idempotent` and `@destructive` say what a call may do.
pub(crate) fn docs_of_comment(text: &str) -> Map<String, Value> {
    let mut description: Vec<&str> = Vec::new();
    let mut parameters = Map::new();
    let mut fields = Map::new();
    // The parameter whose text the next lines continue.
    let mut continued: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(tag) = trimmed.strip_prefix('@') {
            let (word, rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
            continued = None;
            match word {
                "read-only" => _ = fields.insert("read_only".to_owned(), true.into()),
                "idempotent" => _ = fields.insert("idempotent".to_owned(), true.into()),
                "destructive" => _ = fields.insert("destructive".to_owned(), true.into()),
                "param" => {
                    let rest = rest.trim();
                    let (name, text) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
                    parameters.insert(name.to_owned(), text.trim().into());
                    continued = Some(name.to_owned());
                }
                // Perhaps not a tag, so the model reads it.
                _ => description.push(trimmed),
            }
        } else if let (Some(name), false) = (&continued, trimmed.is_empty()) {
            if let Some(Value::String(text)) = parameters.get_mut(name) {
                text.push(' ');
                text.push_str(trimmed);
            }
        } else {
            continued = None;
            description.push(line.trim_end());
        }
    }
    let description = description.join("\n");
    let description = description.trim();
    if !description.is_empty() {
        fields.insert("description".to_owned(), description.into());
    }
    if !parameters.is_empty() {
        fields.insert("params".to_owned(), parameters.into());
    }
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wit(text: &str) -> WitText {
        WitText {
            path: "a.wit".to_owned(),
            text: text.to_owned(),
            is_shared: false,
        }
    }

    #[test]
    fn files_of_several_components_say_nothing_of_what_a_call_may_do() {
        let own = wit("package a:b; world w { /// Adds.\n/// @read-only\nexport add: func(); }");
        let shared = WitText {
            is_shared: true,
            ..own.clone()
        };
        let read_only = |text: WitText| {
            let found = read(&[text]).unwrap();
            assert_eq!(found["add"].description.as_deref(), Some("Adds."));
            found["add"].annotations().read_only
        };
        assert_eq!((read_only(own), read_only(shared)), (true, false));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let comment = |bytes: usize| format!("/// {}\n", "x".repeat(bytes));
        let interface = format!(
            "interface i {{ {}f: func(); {}g: func(); }}",
            comment(MAX_DOC_BYTES - 10),
            comment(MAX_DOC_BYTES + 10)
        );
        let exports: String = (0..5_000).map(|number| format!("export a{number}: i;")).collect();
        let found = read(&[wit(&format!("package a:b; {interface} world w {{ {exports} }}"))]).unwrap();
        assert_eq!(found.len(), MAX_FUNCTIONS);
        assert!(found.keys().all(|name| name.ends_with('f')), "only the short comment");
    }

    #[test]
    fn functions_are_named_as_a_component_exports_them() {
        let found = read(&[
            wit("package local:x@1.0.0;
                interface forecast {
                    use wasi:io/streams@0.2.12.{output-stream};
                    use types.{place};
                    /// The weather.
                    /// @read-only
                    get: func(place: place) -> string;
                    undocumented: func();
                }
                world tool {
                    import wasi:http/outgoing-handler@0.2.12;
                    export forecast;
                    export other:y/z@2.0.0;
                    /// Adds.
                    /// @param a The first.
                    export add: func(a: u32) -> u32;
                    export inner: interface {
                        /// Turns.
                        turn: func();
                    }
                }
                world second {
                    /// Something else.
                    export add: func();
                }"),
            wit("interface types { type place = string; }"),
        ])
        .unwrap();
        let mut names: Vec<&str> = found.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["add", "inner#turn", "local:x/forecast@1.0.0#get"]);
        let add = &found["add"];
        assert_eq!(
            (add.description.as_deref(), add.parameter("a", "a")),
            (Some("Adds."), Some("The first."))
        );
        assert!(found["local:x/forecast@1.0.0#get"].annotations().read_only);
    }

    #[test]
    fn text_that_is_not_wit_is_an_error_with_its_place() {
        let deep = format!(
            "package a:b; interface x {{ type y = {}u8{}; }}",
            "list<".repeat(50_000),
            ">".repeat(50_000)
        );
        for (text, reason) in [
            ("package a:b;\ninterface x { f: fun(); }", "a.wit:2"),
            ("world x {}", "package"),
            (&deep, "too deep"),
        ] {
            let error = read(&[wit(text)]).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
