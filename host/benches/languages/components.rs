//! The components of `tests/languages`. That in Rust is built here; the others are what `tests/author/conformance.py` leaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::IS_BENCH;

/// A folder with components named as those of `tests/author/conformance.py`: `languages-LANGUAGE-….wasm`.
const FOLDER: &str = "COFFERDAM_BENCH_COMPONENTS";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The component in Rust. Others can be missing; this one can't.
pub fn rust() -> PathBuf {
    let source = repository().join("tests/languages/rust");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("languages");
    let project = folder.join("rust");
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "src/lib.rs",
        "wit/probe.wit",
        "wit/world.wit",
    ] {
        let copy = project.join(file);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::copy(source.join(file), copy).unwrap();
    }
    std::fs::write(project.join("cofferdam.toml"), "component = \"probe.wasm\"").unwrap();
    for arguments in [&["wit", "wit"][..], &["tool", "build"]] {
        let built = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(arguments)
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", folder.join("target"))
            .envs(["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"].map(|name| (name, "")))
            .output()
            .unwrap();
        assert!(
            built.status.success(),
            "`cofferdam {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&built.stderr)
        );
    }
    project.join("probe.wasm")
}

/// The component in another language, if it is there. A debug build takes too long to compile them.
pub fn other(language: &str) -> Option<PathBuf> {
    let folder = match std::env::var_os(FOLDER) {
        Some(folder) => PathBuf::from(folder),
        None => repository().join("target/tools/components"),
    };
    let prefix = format!("languages-{language}-");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found = files.map(|file| file.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(".wasm")
    });
    found.next().filter(|_| IS_BENCH)
}
