//! Documentation that a component carries in custom sections: `package-docs`, as the component tools write it, and
//! `cofferdam:docs`. Functions without any get it from WIT beside the component. All are optional and untrusted. What can't be read
//! is left out with a [problem](Docs::problems), because a component without documentation still works.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use wasmparser::{Parser, Payload};

use super::names;
use super::wit::{self, WitText};
use crate::sandbox::contract::Annotations;
use crate::untrusted::{NAME_CHARS, display_untrusted};

const PACKAGE_DOCS: &str = "package-docs";
/// The name of the section whose format is this project's own.
pub const DOCS_SECTION: &str = "cofferdam:docs";
/// The version of that format.
pub const DOCS_VERSION: u64 = 1;

/// Bytes of all sections of a component together. What comes after is ignored.
pub(super) const MAX_SECTIONS_BYTES: usize = 256 * 1024;
/// What a section costs at least, however short it is.
const LEAST_SECTION_BYTES: usize = 64;
/// Characters of a reason that are logged. The place of a mistake in a file takes a few lines.
const MAX_REASON_CHARS: usize = 500;
/// Functions that documentation is kept for.
pub(super) const MAX_FUNCTIONS: usize = 1_000;
/// Bytes of the documentation of one function with its parameters.
pub(super) const MAX_DOC_BYTES: usize = 4 * 1024;

/// The documentation of a component's functions.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in crate::sandbox) struct Docs {
    /// By the name of a function, or `interface#function`.
    own: HashMap<String, FunctionDocs>,
    /// The same, from [`PACKAGE_DOCS`].
    package: HashMap<String, FunctionDocs>,
    /// The same, from WIT beside the component.
    beside: HashMap<String, FunctionDocs>,
    problems: Vec<String>,
}

/// The documentation of one function. Fields that this version doesn't know are ignored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FunctionDocs {
    pub(super) description: Option<String>,
    params: HashMap<String, String>,
    read_only: bool,
    idempotent: bool,
    destructive: bool,
}

impl FunctionDocs {
    /// The documentation of a parameter, by its name in WIT or in JSON.
    pub(super) fn parameter(&self, name: &str, key: &str) -> Option<&str> {
        let text = self.params.get(name).or_else(|| self.params.get(key))?;
        Some(text.trim()).filter(|text| !text.is_empty())
    }

    pub(super) fn annotations(&self) -> Annotations {
        Annotations {
            read_only: self.read_only,
            idempotent: self.idempotent,
            destructive: self.destructive,
        }
    }

    pub(super) fn remove_annotations(&mut self) {
        (self.read_only, self.idempotent, self.destructive) = (false, false, false);
    }

    fn size(&self) -> usize {
        let params = self.params.iter().map(|(name, text)| name.len() + text.len());
        self.description.as_ref().map_or(0, String::len) + params.sum::<usize>()
    }

    #[cfg(test)]
    pub(super) fn parameters<const N: usize>(params: [(&str, &str); N]) -> Self {
        Self {
            params: params.map(|(name, text)| (name.to_owned(), text.to_owned())).into(),
            ..Self::default()
        }
    }
}

impl Docs {
    /// Reads the sections of a component. A compiler can put [`DOCS_SECTION`] only into a core module, so those inside the component
    /// count as well, where the component itself has none.
    pub(in crate::sandbox) fn read(bytes: &[u8]) -> Self {
        let mut docs = Self::default();
        if let Err(Ignored { section, reason }) = docs.read_sections(bytes) {
            docs.problems.push(format!(
                "documentation in the component's section `{section}` is ignored: {reason}"
            ));
        }
        let long = |(_, docs): &(&String, &FunctionDocs)| docs.size() > MAX_DOC_BYTES;
        let long = docs.own.iter().chain(&docs.package).filter(long);
        // One may be enough to find the others.
        if let Some(name) = long.map(|(name, _)| name).min() {
            docs.problems.push(format!(
                "the documentation of the function `{}` has more than {MAX_DOC_BYTES} bytes, so it is ignored",
                display_untrusted(name, NAME_CHARS)
            ));
        }
        docs
    }

    /// Adds what WIT beside the component says, or why it can't be used.
    pub(in crate::sandbox) fn with_wit(mut self, texts: Result<Vec<WitText>, String>) -> Self {
        let read = texts.and_then(|texts| match texts.is_empty() {
            true => Ok(HashMap::new()),
            false => wit::read(&texts),
        });
        match read {
            Ok(found) => self.beside = found,
            Err(reason) => self.problems.push(format!(
                "the WIT beside the component is ignored, so functions may lack a description: {}",
                display_untrusted(&reason, MAX_REASON_CHARS)
            )),
        }
        self
    }

    /// What isn't used, and why: for the operator.
    pub(super) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// Returns the first problem, but reads on after it.
    fn read_sections(&mut self, bytes: &[u8]) -> Result<(), Ignored> {
        let mut depth = 0_u32;
        let mut left = MAX_SECTIONS_BYTES;
        let mut problem = Ok(());
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Err(_) => break,
                Ok(Payload::ModuleSection { .. } | Payload::ComponentSection { .. }) => depth += 1,
                Ok(Payload::End(_)) => depth = depth.saturating_sub(1),
                Ok(Payload::CustomSection(custom)) => {
                    let is_root = depth == 0;
                    let Some(section) = known(custom.name(), is_root) else {
                        continue;
                    };
                    let data = custom.data();
                    let read = match left.checked_sub(data.len().max(LEAST_SECTION_BYTES)) {
                        None => Err(format!("all of it has more than {MAX_SECTIONS_BYTES} bytes")),
                        Some(rest) => {
                            left = rest;
                            self.section(section, data, is_root)
                        }
                    };
                    problem = problem.and(read.map_err(|reason| Ignored { section, reason }));
                }
                Ok(_) => {}
            }
        }
        problem
    }

    fn section(&mut self, section: &str, data: &[u8], is_root: bool) -> Result<(), String> {
        let (kept, found) = match section {
            PACKAGE_DOCS => (&mut self.package, package_docs(data)?),
            _ => (&mut self.own, own_docs(data)?),
        };
        for (name, docs) in found {
            if kept.len() >= MAX_FUNCTIONS && !kept.contains_key(&name) {
                return Err(format!("it documents more than {MAX_FUNCTIONS} functions"));
            }
            match is_root {
                true => drop(kept.insert(name, docs)),
                false => drop(kept.entry(name).or_insert(docs)),
            }
        }
        Ok(())
    }

    /// The documentation of a function at the root, or of an exported interface.
    pub(super) fn function(&self, export: Option<&str>, function: &str) -> Option<&FunctionDocs> {
        let carried = |key: String| self.own.get(&key).or_else(|| self.package.get(&key));
        let beside = |key: String| self.beside.get(&key);
        let found = keys(export, function).find_map(carried);
        let found = found.or_else(|| keys(export, function).find_map(beside))?;
        (found.size() <= MAX_DOC_BYTES).then_some(found)
    }
}

/// The names that documentation can have for a function, the exact one first.
fn keys(export: Option<&str>, function: &str) -> impl Iterator<Item = String> {
    let unversioned = export.map(|export| export.split_once('@').map_or(export, |(name, _)| name));
    let short = export.map(names::interface);
    [export, unversioned, short]
        .into_iter()
        .map(move |export| names::path(export, function))
}

/// Why a section isn't read.
struct Ignored {
    section: &'static str,
    reason: String,
}

fn known(name: &str, is_root: bool) -> Option<&'static str> {
    match name {
        DOCS_SECTION => Some(DOCS_SECTION),
        PACKAGE_DOCS if is_root => Some(PACKAGE_DOCS),
        _ => None,
    }
}

/// `{ "version": 1, "functions": { "interface#function": { … } } }`
fn own_docs(data: &[u8]) -> Result<HashMap<String, FunctionDocs>, String> {
    let document: Value = serde_json::from_slice(data).map_err(|error| format!("it isn't JSON: {error}"))?;
    if document["version"].as_u64() != Some(DOCS_VERSION) {
        return Err(format!("its version isn't {DOCS_VERSION}"));
    }
    let functions = document["functions"].as_object().ok_or("it has no functions")?;
    let read = functions
        .iter()
        .filter_map(|(name, docs)| Some((name.clone(), FunctionDocs::deserialize(docs).ok()?)));
    Ok(read.collect())
}

/// A byte with the version, then `PackageMetadata` of the crate `wit-parser` as JSON. It names worlds and interfaces without
/// their package.
fn package_docs(data: &[u8]) -> Result<HashMap<String, FunctionDocs>, String> {
    let Some((0 | 1, json)) = data.split_first() else {
        return Err("its version isn't 0 or 1".to_owned());
    };
    let document: Value = serde_json::from_slice(json).map_err(|error| format!("it isn't JSON: {error}"))?;
    let mut found = HashMap::new();
    for (_, world) in parts(&document, "worlds") {
        // Exports stand in the second of each only where an import has the same name.
        for key in ["funcs", "func_exports"] {
            add(&mut found, None, &world[key]);
        }
        for key in ["interfaces", "interface_exports"] {
            for (interface, docs) in parts(world, key) {
                add(&mut found, Some(interface), &docs["funcs"]);
            }
        }
    }
    for (interface, docs) in parts(&document, "interfaces") {
        add(&mut found, Some(interface), &docs["funcs"]);
    }
    Ok(found)
}

fn parts<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value[key].as_object().into_iter().flatten()
}

/// Adds the documentation of functions: each a text, or an object with one.
fn add(found: &mut HashMap<String, FunctionDocs>, interface: Option<&str>, functions: &Value) {
    for (function, docs) in functions.as_object().into_iter().flatten() {
        if let Some(text) = docs.as_str().or_else(|| docs["docs"].as_str()) {
            let docs = FunctionDocs {
                description: Some(text.to_owned()),
                ..FunctionDocs::default()
            };
            found.insert(names::path(interface, function), docs);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;
    use wasm_encoder::{ComponentSection as _, CustomSection};

    use super::*;

    /// A component with nothing but custom sections.
    fn component(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        for (name, data) in sections {
            let section = CustomSection {
                name: (*name).into(),
                data: (*data).into(),
            };
            section.append_to_component(&mut bytes);
        }
        bytes
    }

    fn own(functions: Value) -> Vec<u8> {
        json!({ "version": 1, "functions": functions }).to_string().into_bytes()
    }

    #[test]
    fn functions_are_found_by_their_names() {
        let docs = own(json!({
            "add": { "description": "Adds.", "params": { "a-b": "First.", "c": " " }, "read_only": true, "later": 1 },
            "example:x/api@1.0.0#go": { "description": "Exact." },
            "example:x/api#go": { "description": "Without a version." },
            "api#stop": { "description": "Short." },
            "wrong": { "description": 1 },
        }));
        let package = json!({ "docs": "x", "worlds": { "root": {
            "funcs": { "add": "Not used.", "sub": { "docs": "Subtracts.", "stability": {} } },
            "interface_exports": { "api": { "funcs": { "turn": { "docs": "Turns." } } } },
        } }, "unknown": 1 });
        let package = [&[1], package.to_string().as_bytes()].concat();
        let docs = Docs::read(&component(&[
            ("other", b"x"),
            (DOCS_SECTION, &docs),
            (PACKAGE_DOCS, &package),
        ]));
        let api = Some("example:x/api@1.0.0");
        let description = |export, function| docs.function(export, function)?.description.clone();
        assert_eq!(description(None, "add").as_deref(), Some("Adds."));
        assert_eq!(description(api, "go").as_deref(), Some("Exact."));
        assert_eq!(
            description(Some("example:x/api@2.0.0"), "go").as_deref(),
            Some("Without a version.")
        );
        assert_eq!(description(api, "stop").as_deref(), Some("Short."));
        assert_eq!(description(None, "sub").as_deref(), Some("Subtracts."));
        assert_eq!(description(api, "turn").as_deref(), Some("Turns."));
        assert_eq!(docs.function(None, "wrong"), None);
        let add = docs.function(None, "add").unwrap();
        assert_eq!(
            (add.parameter("a-b", "a_b"), add.parameter("c", "c")),
            (Some("First."), None)
        );
        assert!(add.annotations().read_only && !add.annotations().destructive);
    }

    #[test]
    fn wit_beside_a_component_describes_what_it_does_not() {
        let text = "package example:x; world w {
            /// Not used.
            export add: func();
            /// Subtracts.
            export sub: func();
        }";
        let wit = |text: &str| {
            let (path, text) = ("x.wit".to_owned(), text.to_owned());
            Ok(vec![WitText {
                path,
                text,
                is_shared: false,
            }])
        };
        let section = own(json!({ "add": { "description": "Adds." } }));
        let component = component(&[(DOCS_SECTION, &section)]);
        let docs = Docs::read(&component).with_wit(wit(text));
        let description = |docs: &Docs, function| docs.function(None, function)?.description.clone();
        assert_eq!(description(&docs, "add").as_deref(), Some("Adds."));
        assert_eq!(description(&docs, "sub").as_deref(), Some("Subtracts."));
        assert!(docs.problems().is_empty());
        let docs = Docs::read(&component).with_wit(wit("broken"));
        assert!(docs.problems()[0].contains("x.wit:1"), "{:?}", docs.problems());
        assert_eq!(description(&docs, "add").as_deref(), Some("Adds."));
        assert_eq!(description(&docs, "sub"), None);
        let docs = Docs::read(&component).with_wit(Err("x.wit: unreadable".to_owned()));
        assert!(
            docs.problems()[0].ends_with("x.wit: unreadable"),
            "{:?}",
            docs.problems()
        );
    }

    #[test]
    fn what_cant_be_read_is_left_out() {
        let long = own(json!({ "add": { "description": "x".repeat(MAX_SECTIONS_BYTES) } }));
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        for data in [
            &b""[..],
            b"{",
            b"[]",
            b"{\"version\":2,\"functions\":{}}",
            b"{\"version\":1}",
            &long,
            &deep,
        ] {
            for name in [DOCS_SECTION, PACKAGE_DOCS] {
                let docs = Docs::read(&component(&[
                    (name, data),
                    (DOCS_SECTION, &own(json!({ "sub": { "description": "S" } }))),
                ]));
                assert!(docs.function(None, "sub").is_some() && docs.function(None, "add").is_none());
                assert!(docs.problems()[0].contains(name), "{:?}", docs.problems());
            }
        }
    }

    #[test]
    fn the_docs_of_one_function_are_bounded() {
        let long = own(
            json!({ "add": { "description": "x".repeat(MAX_DOC_BYTES + 1) }, "sub": { "description": "x".repeat(MAX_DOC_BYTES) } }),
        );
        let docs = Docs::read(&component(&[(DOCS_SECTION, &long)]));
        assert!(docs.function(None, "add").is_none() && docs.function(None, "sub").is_some());
        assert!(
            docs.problems()[0].contains("`add` has more than 4096 bytes"),
            "{:?}",
            docs.problems()
        );
        for bytes in [&b""[..], b"\0asm", b"\0asm\x0d\0\x01\0\0\xff"] {
            assert!(Docs::read(bytes).function(None, "add").is_none());
        }
    }

    #[test]
    fn all_sections_together_are_bounded() {
        let section = |name: &str| own(json!({ name: { "description": "x".repeat(40_000) } }));
        let sections: Vec<Vec<u8>> = (0..10).map(|number| section(&format!("f{number}"))).collect();
        let named: Vec<(&str, &[u8])> = sections.iter().map(|data| (DOCS_SECTION, &**data)).collect();
        let mut docs = Docs::default();
        let problem = docs.read_sections(&component(&named)).unwrap_err();
        assert!(problem.reason.contains("262144"), "{}", problem.reason);
        assert_eq!(docs.own.len(), 6, "6 of 40 kB are within 256 KiB");

        // Sections without content cost something, too.
        let empty = own(json!({}));
        let many = vec![(DOCS_SECTION, &*empty); MAX_SECTIONS_BYTES / LEAST_SECTION_BYTES];
        let last = own(json!({ "add": {} }));
        let with_last = |empty: usize| component(&[&many[..empty], &[(DOCS_SECTION, &*last)]].concat());
        let found = |bytes: &[u8]| Docs::read(bytes).function(None, "add").is_some();
        assert!(found(&with_last(many.len() - 1)) && !found(&with_last(many.len())));

        let functions: serde_json::Map<_, _> = (0..=MAX_FUNCTIONS)
            .map(|number| (format!("f{number}"), json!({})))
            .collect();
        let mut docs = Docs::default();
        let problem = docs
            .read_sections(&component(&[(DOCS_SECTION, &own(functions.into()))]))
            .unwrap_err();
        assert!(problem.reason.contains("1000 functions"), "{}", problem.reason);
        assert_eq!(docs.own.len(), MAX_FUNCTIONS);
    }
}
