//! The files of a project that a build reads, as far as names tell.

use std::path::{Path, PathBuf};

/// Folders that toolchains write to or install packages in. Hidden ones, such as `.git` and `.venv`, are skipped anyway.
const WRITTEN_FOLDERS: [&str; 6] = ["target", "build", "dist", "node_modules", "__pycache__", "venv"];

/// Files that mark a folder as a cache, or as a virtual environment, whatever its name is. Cargo writes the first one.
const MARKERS: [&str; 2] = ["CACHEDIR.TAG", "pyvenv.cfg"];

/// Files that people and builds change.
const SHARED: [&str; 3] = ["Cargo.lock", "go.mod", "go.sum"];

/// The files in `folder` whose change calls for another build, without those that builds write themselves. Folders that can't be
/// read are skipped, and so are links to folders.
pub fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        let entries = std::fs::read_dir(&at).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let Ok(kind) = entry.file_type() else { continue };
            let path = entry.path();
            if kind.is_dir() {
                if !is_written_folder(name, &path) {
                    folders.push(path);
                }
            } else if path.is_file() && !is_written_file(name, at == folder) {
                found.push(path);
            }
        }
    }
    found
}

/// Whether builds change this source themselves, beside people. A change while a build runs is the build's.
pub fn changes_in_builds(source: &Path) -> bool {
    source
        .file_name()
        .is_some_and(|name| SHARED.iter().any(|shared| name == *shared))
}

fn is_written_folder(name: &str, path: &Path) -> bool {
    name.starts_with('.') || WRITTEN_FOLDERS.contains(&name) || MARKERS.iter().any(|marker| path.join(marker).exists())
}

/// `in_root`: whether the file is directly in the project's folder, where components go.
fn is_written_file(name: &str, in_root: bool) -> bool {
    // Editors write hidden files, and files that end in `~` or stand between `#`. `4913` is what Vim tests a folder with.
    let is_of_an_editor = name.starts_with(['.', '#']) || name.ends_with('~') || name == "4913";
    let is_component = in_root && name.ends_with(".wasm");
    // The bindings of Go.
    let is_binding = name.starts_with("wit_") && name.ends_with(".go");
    is_of_an_editor || is_component || is_binding || name.ends_with(".pyc") || name.ends_with(".tsbuildinfo")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use super::*;

    /// The names of the sources of a folder with these files.
    fn sources_of(files: &[&str]) -> BTreeSet<String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let relative = |path: PathBuf| path.strip_prefix(folder.path()).unwrap().to_str().unwrap().to_owned();
        sources(folder.path()).into_iter().map(relative).collect()
    }

    #[test]
    fn what_builds_and_editors_write_is_no_source() {
        let written = [
            "letters.wasm",
            ".git/index",
            ".venv/lib/a.py",
            "target/release/letters.wasm",
            "elsewhere/CACHEDIR.TAG",
            "elsewhere/release/letters.wasm",
            "environment/pyvenv.cfg",
            "environment/lib/a.py",
            "build/bindings/tool.h",
            "dist/tool.js",
            "node_modules/a/index.js",
            "__pycache__/app.cpython-313.pyc",
            "wit_exports.go",
            "export_wit_world/wit_bindings.go",
            "tsconfig.tsbuildinfo",
            "src/.letters.c.swp",
            "src/letters.c~",
            "src/#letters.c#",
            "src/4913",
            ".tmp12345",
        ];
        assert_eq!(sources_of(&written), BTreeSet::new());
        let read = [
            "Cargo.toml",
            "cofferdam.toml",
            "src/lib.rs",
            "wit/world.wit",
            "wit/deps/wasi-io.wit",
            "data/table.wasm",
            "Cargo.lock",
            "letters/letters.go",
        ];
        assert_eq!(
            sources_of(&[&written[..], &read].concat()),
            read.map(str::to_owned).into()
        );
        assert!(changes_in_builds(Path::new("a/Cargo.lock")) && !changes_in_builds(Path::new("a/Cargo.toml")));
    }

    #[test]
    fn a_loop_of_links_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.py"), "").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        assert_eq!(sources(folder.path()), [folder.path().join("a.py")]);
    }
}
