//! Rules of the repository that are easier to hold by a test than by memory.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of a file: no comments, no tests. Neither is understood, only recognised: a module of tests stands at the
/// end of its file or in a file of its own.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// A mention of a module of the crate, in a `use` or in the middle of an expression.
#[derive(Debug)]
struct Import {
    file: PathBuf,
    module: String,
    /// What is taken from the module: `A` and `B` of `crate::module::{A, B::C}`.
    names: Vec<String>,
}

/// What files below `module` mention of the crate, tests aside.
fn imports(module: &str) -> Vec<Import> {
    let files = rust_files(&root().join("host/src").join(module));
    let is_test = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().ends_with("tests");
    files
        .into_iter()
        .filter(|file| !is_test(file))
        .flat_map(|file| {
            mentions(&code(&file))
                .map(|(module, names)| Import {
                    file: file.clone(),
                    module,
                    names,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The modules behind every `crate::`, each with what is taken from it. A list or a star behind `crate::` is refused, as
/// it would need more of a parser than this.
fn mentions(code: &str) -> impl Iterator<Item = (String, Vec<String>)> {
    code.split("crate::").skip(1).map(|rest| {
        let (module, rest) = identifier(rest);
        assert!(
            !module.is_empty(),
            "name the module right behind `crate::`: crate::{}",
            rest.lines().next().unwrap()
        );
        let names = match rest.strip_prefix("::") {
            None => vec![],
            Some(rest) => match rest.strip_prefix('{') {
                None => vec![identifier(rest).0],
                Some(list) => {
                    let list = list.split('}').next().unwrap();
                    let names = list.split(',').map(|item| identifier(item.trim()).0);
                    names.filter(|name| !name.is_empty()).collect()
                }
            },
        };
        (module, names)
    })
}

/// The identifier that `text` begins with, and what follows.
fn identifier(text: &str) -> (String, &str) {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (text[..end].to_owned(), &text[end..])
}

/// What every module may use can use none of them.
#[test]
fn files_beside_the_modules_know_no_module() {
    let folder = root().join("host/src");
    for entry in std::fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".rs") || matches!(name.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let found: Vec<_> = mentions(&code(&file)).collect();
        assert!(found.is_empty(), "{name}: {found:?}");
    }
}

/// A way around `crate::` would be a way around the rules below.
#[test]
fn super_leads_out_of_no_module() {
    let folder = root().join("host/src");
    let is_test = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().ends_with("tests");
    for file in rust_files(&folder).into_iter().filter(|file| !is_test(file)) {
        let path = file.strip_prefix(&folder).unwrap();
        let is_module = path.file_stem().is_some_and(|name| name == "mod");
        let depth = path.components().count() - usize::from(is_module);
        let code = code(&file);
        let longest = code.split(|c: char| !c.is_ascii_alphanumeric() && c != ':' && c != '_');
        let longest = longest.map(|word| word.matches("super::").count()).max().unwrap_or(0);
        // A module inside the file, for tests, may go up once more.
        let inside = usize::from(code.contains("mod tests {"));
        assert!(
            longest < depth.max(2) + inside,
            "{}: {longest} times `super::`",
            path.display()
        );
    }
}

#[test]
fn a_mention_is_found_wherever_it_stands() {
    let found = |code: &str| mentions(code).collect::<Vec<_>>();
    let expected = |module: &str, names: &[&str]| {
        vec![(
            module.to_owned(),
            names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        )]
    };
    assert_eq!(found("use crate::agent::Host;"), expected("agent", &["Host"]));
    assert_eq!(
        found("    fn f() -> crate::agent::Host {"),
        expected("agent", &["Host"])
    );
    assert_eq!(
        found("use crate::model::{\n    Usage, stack::Deep,\n};"),
        expected("model", &["Usage", "stack"])
    );
    assert_eq!(found("use crate::model;"), expected("model", &[]));
    for hidden in ["use crate::{cli, agent::Host};", "use crate::*;"] {
        assert!(std::panic::catch_unwind(|| found(hidden)).is_err(), "{hidden}");
    }
}

#[test]
fn imports_run_one_way() {
    for (module, forbidden) in [
        (
            "sandbox",
            &[
                "agent",
                "cli",
                "config",
                "ledger",
                "model",
                "simulator",
                "telemetry",
                "tools",
            ][..],
        ),
        ("tools", &["agent", "cli", "config", "ledger", "model", "simulator"]),
        ("model", &["agent", "cli", "config", "sandbox", "simulator", "tools"]),
        ("agent", &["cli", "simulator"]),
        (
            "resilience",
            &[
                "agent",
                "cli",
                "config",
                "ledger",
                "model",
                "sandbox",
                "simulator",
                "telemetry",
                "tools",
            ],
        ),
        (
            "ledger",
            &[
                "agent",
                "cli",
                "config",
                "model",
                "sandbox",
                "simulator",
                "telemetry",
                "tools",
                "resilience",
            ],
        ),
        ("telemetry", &["cli", "config", "sandbox", "simulator"]),
        (
            "simulator",
            &[
                "agent",
                "cli",
                "config",
                "ledger",
                "model",
                "sandbox",
                "telemetry",
                "tools",
                "transcript",
                "resilience",
            ],
        ),
        ("config", &["cli", "simulator"]),
        (
            "transcript",
            &[
                "agent",
                "cli",
                "config",
                "ledger",
                "messages_api",
                "model",
                "resilience",
                "sandbox",
                "simulator",
                "telemetry",
                "tools",
            ],
        ),
        (
            "messages_api",
            &[
                "agent",
                "cli",
                "config",
                "ledger",
                "model",
                "resilience",
                "sandbox",
                "simulator",
                "telemetry",
                "tools",
                "transcript",
            ],
        ),
    ] {
        for Import { file, module, .. } in imports(module) {
            assert!(
                !forbidden.contains(&module.as_str()),
                "{} imports crate::{module}",
                file.display()
            );
        }
    }
}

#[test]
fn only_the_agent_brings_model_and_tools_together() {
    let knows_both = |module: &str| {
        let imports = imports(module);
        let knows = |other: &str| imports.iter().any(|import| import.module == other);
        knows("model") && knows("tools")
    };
    let modules = std::fs::read_dir(root().join("host/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut both: Vec<String> = modules
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .filter(|module| knows_both(module))
        .collect();
    both.sort();
    // The command line shows what a run did; the configuration holds the settings of both; events are made of words of
    // both, and which ones is checked below. What a fuzzer calls is in no build that users get.
    assert_eq!(both, ["agent", "cli", "config", "fuzz", "telemetry"]);
}

#[test]
fn telemetry_knows_only_the_words_of_events() {
    let allowed = ["Ending", "NanoUsd", "Usage", "BreakerState", "Transition", "Outcome"];
    for Import { file, module, names } in imports("telemetry") {
        if ["agent", "model", "tools", "ledger", "resilience"].contains(&module.as_str()) {
            let plain = !names.is_empty() && names.iter().all(|name| allowed.contains(&name.as_str()));
            assert!(plain, "{}: crate::{module} {names:?}", file.display());
        }
    }
}

#[test]
fn unsafe_code_has_one_home() {
    let words = |text: &str| {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| ["unsafe", "unsafe_code"].contains(word)).count()
    };
    assert_eq!(
        words("#![allow(unsafe_code)] pub unsafe fn f() { let x = unsafe{ g() }; }"),
        3
    );
    let mut files = rust_files(&root().join("host"));
    files.extend(rust_files(&root().join("tests/src")));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = lines.map(words).sum::<usize>() > 0;
        assert!(
            !found || file.ends_with("host/src/sandbox/precompiled.rs"),
            "{}",
            file.display()
        );
    }
}

#[test]
fn the_readme_names_every_folder_of_the_house() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for entry in std::fs::read_dir(root().join("host/src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !name.contains('.') {
            assert!(
                readme.contains(&format!("{name}/")),
                "README.md does not mention {name}/"
            );
        }
    }
}

#[test]
fn relative_links_of_the_documents_lead_somewhere() {
    let mut documents = vec![
        root().join("README.md"),
        root().join("CHANGELOG.md"),
        root().join("wit/README.md"),
    ];
    documents.extend(
        std::fs::read_dir(root().join("host/docs"))
            .unwrap()
            .map(|entry| entry.unwrap().path()),
    );
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = document.parent().unwrap().join(path);
            assert!(target.exists(), "{}: {link}", document.display());
        }
    }
}
