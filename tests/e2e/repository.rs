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

/// Modules of the crate that files below `module` import, tests aside.
fn imports(module: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for file in rust_files(&root().join("host/src").join(module)) {
        if file
            .file_stem()
            .is_some_and(|name| name.to_string_lossy().ends_with("tests"))
        {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for part in line.split("crate::").skip(1) {
                let name: String = part
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                found.push((file.clone(), name));
            }
        }
    }
    found
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
                "tools",
                "resilience",
            ],
        ),
        ("config", &["cli", "simulator"]),
    ] {
        for (file, import) in imports(module) {
            assert!(
                !forbidden.contains(&import.as_str()),
                "{} imports crate::{import}",
                file.display()
            );
        }
    }
}

#[test]
fn telemetry_knows_only_the_words_of_events() {
    let allowed = ["Ending", "NanoUsd", "Usage", "BreakerState", "Outcome", "Health"];
    for (file, import) in imports("telemetry") {
        if !["agent", "model", "tools", "ledger", "resilience"].contains(&import.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text
            .lines()
            .filter(|line| line.starts_with(&format!("use crate::{import}::")))
        {
            let names = line
                .trim_start_matches(&format!("use crate::{import}::"))
                .trim_matches(['{', '}', ';']);
            for name in names.split(", ").map(|name| name.trim_matches(['{', '}', ';'])) {
                assert!(allowed.contains(&name), "{}: {line}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_code_has_one_home() {
    for file in rust_files(&root().join("host/src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let unsafe_code = text
            .lines()
            .any(|line| line.trim_start().starts_with("unsafe ") || line.contains("= unsafe {"));
        assert!(
            !unsafe_code || file.ends_with("sandbox/precompiled.rs"),
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
