//! Rules of the repository that are easier to hold by a test than by memory.

use std::collections::BTreeSet;
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

/// The modules that a module, a folder or a file, mentions: in a `use` or in the middle of an expression; tests aside.
fn imports(module: &str) -> BTreeSet<String> {
    let files = files_of(&root().join("host/src").join(module));
    files
        .iter()
        .flat_map(|file| mentions(&code(file), "crate::").collect::<Vec<_>>())
        .filter(|mentioned| mentioned != module)
        .collect()
}

/// The files of a module, a folder or a file; tests aside.
fn files_of(module: &Path) -> Vec<PathBuf> {
    let files = match module.is_dir() {
        true => rust_files(module),
        false => vec![module.with_extension("rs")],
    };
    let is_test = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().ends_with("tests");
    files.into_iter().filter(|file| !is_test(file)).collect()
}

/// The module behind every `path`. A list or a star there is refused, as it would need more of a parser than this.
fn mentions(code: &str, path: &str) -> impl Iterator<Item = String> {
    code.split(path).skip(1).map(move |rest| {
        let module = identifier(rest);
        assert!(
            !module.is_empty(),
            "name the module right behind `{path}`: {path}{}",
            rest.lines().next().unwrap()
        );
        module
    })
}

/// The parts of the sandbox that one of them mentions, by `crate::sandbox::` or by as many `super::` as lead there.
fn sandbox_imports(part: &str) -> BTreeSet<String> {
    let folder = root().join("host/src/sandbox");
    let mentioned = files_of(&folder.join(part)).into_iter().flat_map(|file| {
        let path = file.strip_prefix(&folder).unwrap();
        let is_module = path.file_stem().is_some_and(|name| name == "mod");
        let up = "super::".repeat(path.components().count() - usize::from(is_module));
        let code = code(&file).replace(&up, "crate::sandbox::");
        mentions(&code, "crate::sandbox::").collect::<Vec<_>>()
    });
    mentioned.filter(|mentioned| mentioned != part).collect()
}

/// The identifier that `text` begins with.
fn identifier(text: &str) -> String {
    let is_part = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    text.chars().take_while(is_part).collect()
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
    let found = |code: &str| mentions(code, "crate::").collect::<Vec<_>>();
    assert_eq!(found("use crate::agent::Host;"), ["agent"]);
    assert_eq!(found("    fn f() -> crate::agent::Host {"), ["agent"]);
    assert_eq!(found("use crate::model::{\n    Usage, stack::Deep,\n};"), ["model"]);
    assert_eq!(found("use crate::model;\nuse crate::tools::Tool;"), ["model", "tools"]);
    for hidden in ["use crate::{cli, agent::Host};", "use crate::*;"] {
        assert!(std::panic::catch_unwind(|| found(hidden)).is_err(), "{hidden}");
    }
}

/// Every module of the product, from the bottom up, with the modules that it imports. None is above it in this list, so
/// there are no circles. A new module has to be placed here.
const IMPORTS: [(&str, &[&str]); 34] = [
    // Leaves.
    ("causes", &[]),
    ("money", &[]),
    ("untrusted", &[]),
    ("secret", &["untrusted"]),
    ("json_text", &["untrusted"]),
    ("transcript", &["json_text", "untrusted"]),
    ("messages_api", &["json_text"]),
    ("chat_api", &["json_text"]),
    ("sha256", &[]),
    ("near", &[]),
    ("panics", &[]),
    ("tls", &[]),
    ("toml_text", &[]),
    ("file_identity", &[]),
    ("regular_file", &[]),
    ("sqlite", &["file_identity"]),
    ("events", &["money"]),
    ("fault", &[]),
    // What a part of the product is made of.
    ("resilience", &["events"]),
    ("ledger", &["money", "sqlite"]),
    ("session", &["events", "transcript"]),
    (
        "store",
        &[
            "events",
            "fault",
            "file_identity",
            "ledger",
            "money",
            "resilience",
            "session",
            "sha256",
            "sqlite",
        ],
    ),
    (
        "telemetry",
        &["events", "file_identity", "money", "panics", "untrusted"],
    ),
    ("simulator", &["chat_api", "json_text", "messages_api", "toml_text"]),
    (
        "sandbox",
        &[
            "json_text",
            "regular_file",
            "resilience",
            "secret",
            "sha256",
            "sqlite",
            "untrusted",
        ],
    ),
    // Neither of these two knows the other.
    (
        "model",
        &[
            "causes",
            "chat_api",
            "events",
            "fault",
            "json_text",
            "ledger",
            "messages_api",
            "money",
            "near",
            "panics",
            "resilience",
            "secret",
            "session",
            "store",
            "telemetry",
            "tls",
            "toml_text",
            "transcript",
            "untrusted",
        ],
    ),
    (
        "tools",
        &[
            "events",
            "fault",
            "json_text",
            "resilience",
            "sandbox",
            "telemetry",
            "transcript",
            "untrusted",
        ],
    ),
    // Where they meet.
    (
        "agent",
        &[
            "events",
            "fault",
            "ledger",
            "model",
            "money",
            "panics",
            "resilience",
            "session",
            "sha256",
            "store",
            "telemetry",
            "tools",
            "transcript",
            "untrusted",
        ],
    ),
    (
        "config",
        &[
            "agent",
            "ledger",
            "model",
            "money",
            "near",
            "regular_file",
            "resilience",
            "sandbox",
            "secret",
            "store",
            "telemetry",
            "toml_text",
            "tools",
        ],
    ),
    (
        "assembly",
        &[
            "agent",
            "config",
            "events",
            "ledger",
            "model",
            "resilience",
            "sandbox",
            "store",
            "telemetry",
            "tls",
            "tools",
        ],
    ),
    (
        "author",
        &[
            "assembly",
            "config",
            "events",
            "resilience",
            "sandbox",
            "telemetry",
            "tools",
            "transcript",
            "untrusted",
        ],
    ),
    ("mcp", &["events", "secret", "telemetry", "tools"]),
    (
        "cli",
        &[
            "agent",
            "assembly",
            "author",
            "causes",
            "config",
            "events",
            "ledger",
            "mcp",
            "model",
            "money",
            "near",
            "regular_file",
            "resilience",
            "sandbox",
            "secret",
            "session",
            "simulator",
            "store",
            "telemetry",
            "tls",
            "tools",
            "transcript",
            "untrusted",
        ],
    ),
    // In no build that users get.
    ("fuzz", &["config", "json_text", "model", "sandbox", "tools"]),
];

/// The same for the parts of the sandbox, the largest module.
const SANDBOX_IMPORTS: [(&str, &[&str]); 15] = [
    // Leaves.
    ("limits", &[]),
    ("clocks", &[]),
    ("fairness", &[]),
    ("config", &[]),
    ("metering", &["limits"]),
    // What a guest can be given. None knows the call that it is given to.
    ("http", &["fairness", "limits"]),
    ("files", &["fairness"]),
    ("keyvalue", &["fairness"]),
    ("logging", &["http"]),
    ("grants", &["files", "http", "limits", "metering"]),
    // What a component is, and the code that is made of it.
    ("contract", &["fairness", "limits"]),
    (
        "compile",
        &["contract", "grants", "http", "keyvalue", "limits", "metering"],
    ),
    // Where they meet.
    (
        "call",
        &[
            "clocks", "compile", "config", "contract", "fairness", "files", "grants", "http", "keyvalue", "limits",
            "logging", "metering",
        ],
    ),
    // What as many calls as can run at once need of the system.
    ("system", &["call", "fairness", "files", "http", "limits"]),
    (
        "sandbox",
        &[
            "call", "compile", "config", "contract", "fairness", "files", "grants", "http", "keyvalue", "limits",
            "metering", "system",
        ],
    ),
];

/// What is in a folder: folders, and files without a folder.
fn modules(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| {
        entry
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_string_lossy()
            .into_owned()
    });
    let is_module = |name: &String| !["lib", "main", "mod"].contains(&name.as_str());
    names.filter(is_module).collect()
}

/// Compares what the modules of a folder import with a table, whose order has to be one way.
fn assert_imports(folder: &str, table: &[(&str, &[&str])], imports: impl Fn(&str) -> BTreeSet<String>) {
    let listed: BTreeSet<String> = table.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(
        modules(folder),
        listed,
        "left: {folder}, right: the table of its imports"
    );
    for (position, (module, allowed)) in table.iter().enumerate() {
        let listed = allowed.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            imports(module),
            listed,
            "left: what `{module}` imports, right: what the table allows"
        );
        for name in *allowed {
            let below = table[..position].iter().any(|(module, _)| module == name);
            assert!(below, "`{module}` imports `{name}`, which isn't below it");
        }
    }
}

#[test]
fn imports_are_those_that_are_listed_and_run_one_way() {
    assert_imports("host/src", &IMPORTS, imports);
    let of = |module: &str| IMPORTS.iter().find(|(name, _)| *name == module).unwrap().1;
    assert!(!of("model").contains(&"tools") && !of("tools").contains(&"model"));
}

#[test]
fn parts_of_the_sandbox_import_one_way() {
    assert_imports("host/src/sandbox", &SANDBOX_IMPORTS, sandbox_imports);
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
            !found || file.ends_with("host/src/sandbox/compile/precompiled.rs"),
            "{}",
            file.display()
        );
    }
}

/// What an instance takes in the engine is known by reading its source, of one version.
#[test]
fn the_engine_is_the_version_that_was_read() {
    let document = std::fs::read_to_string(root().join("host/docs/upgrade-wasmtime.md")).unwrap();
    let read: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("Version read: "))
        .collect();
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    for name in ["wasmtime", "wasmtime-environ", "wasmtime-internal-cranelift"] {
        let packages = lock["package"].as_array().unwrap().iter();
        let found: Vec<&str> = packages
            .filter(|package| package["name"].as_str() == Some(name))
            .map(|package| package["version"].as_str().unwrap())
            .collect();
        assert_eq!(found, read, "{name}: follow host/docs/upgrade-wasmtime.md");
    }
}

/// Words that meant something only in this repository, each with the word of the field that replaced it.
const PRIVATE_WORDS: [(&str, &str); 16] = [
    ("told", "reported, announced"),
    ("weighed", "estimated"),
    ("weighs", "is estimated at"),
    ("retell", "override"),
    ("retelling", "override"),
    ("retold", "overridden"),
    ("newcomer", "new"),
    ("whoever", "the subject that acts"),
    ("stranger", "untrusted"),
    ("fairplace", "permit"),
    ("fairplaces", "semaphore"),
    ("standing", "priority"),
    ("byhand", "override"),
    ("patience", "timeout"),
    ("anew", "again"),
    ("thereof", "of it"),
];

/// The lines of a text that hold a private word, whether alone or as a part of an identifier.
fn private_words(text: &str) -> Vec<String> {
    let found = text.lines().enumerate().filter_map(|(number, line)| {
        let words = line.split(|character: char| !character.is_ascii_alphanumeric());
        let word = words.map(str::to_ascii_lowercase);
        let (word, better) = word
            .filter_map(|word| PRIVATE_WORDS.iter().find(|(private, _)| *private == word))
            .next()?;
        Some(format!("{}: `{word}`, better: {better}", number + 1))
    });
    found.collect()
}

#[test]
fn comments_and_names_use_the_words_of_the_field() {
    assert_eq!(private_words("fn weighed() {} // told\nfn toldest() {}").len(), 1);
    let mut files = vec![root().join("host/build.rs")];
    for folder in [
        "host/src",
        "host/benches",
        "host/examples",
        "tests/e2e",
        "tests/src",
        "tests/hostile",
    ] {
        files.extend(rust_files(&root().join(folder)));
    }
    files.retain(|file| !file.ends_with("tests/e2e/repository.rs"));
    assert!(files.len() > 200, "{}", files.len());
    for file in files {
        let found = private_words(&std::fs::read_to_string(&file).unwrap());
        assert!(found.is_empty(), "{}: {found:#?}", file.display());
    }
}
