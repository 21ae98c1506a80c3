//! The WIT files that a tool is built against: the contract, and the WASI interfaces that the host offers, at its versions.

use std::path::{Path, PathBuf};

use super::AuthorError;
use super::write::{Existing, write_file};

/// A WIT package of one file.
#[derive(Clone, Copy, Debug)]
pub struct WitFile {
    /// The file's name in a `deps` folder.
    pub name: &'static str,
    pub package: &'static str,
    pub text: &'static str,
}

/// `package cofferdam:tool`, in its newest version.
pub const CONTRACT: WitFile = WitFile {
    name: "cofferdam-tool.wit",
    package: "cofferdam:tool@0.1.0",
    text: include_str!("../../../wit/0.1.0/tool.wit"),
};

macro_rules! file {
    ($name:literal, $package:literal, $path:literal) => {
        WitFile {
            name: $name,
            package: $package,
            text: include_str!(concat!("../../../wit/", $path)),
        }
    };
}

const FILES: [WitFile; 11] = [
    CONTRACT,
    file!("wasi-cli.wit", "wasi:cli@0.2.12", "wasi-0.2.12/cli.wit"),
    file!("wasi-clocks.wit", "wasi:clocks@0.2.12", "wasi-0.2.12/clocks.wit"),
    file!("wasi-config.wit", "wasi:config@0.2.0-rc.1", "wasi-config/store.wit"),
    file!(
        "wasi-filesystem.wit",
        "wasi:filesystem@0.2.12",
        "wasi-0.2.12/filesystem.wit"
    ),
    file!("wasi-http.wit", "wasi:http@0.2.12", "wasi-0.2.12/http.wit"),
    file!("wasi-io.wit", "wasi:io@0.2.12", "wasi-0.2.12/io.wit"),
    file!(
        "wasi-keyvalue.wit",
        "wasi:keyvalue@0.2.0-draft",
        "wasi-keyvalue/store.wit"
    ),
    file!(
        "wasi-logging.wit",
        "wasi:logging@0.1.0-draft",
        "wasi-logging/logging.wit"
    ),
    file!("wasi-random.wit", "wasi:random@0.2.12", "wasi-0.2.12/random.wit"),
    file!("wasi-sockets.wit", "wasi:sockets@0.2.12", "wasi-0.2.12/sockets.wit"),
];

/// All files, the contract first.
pub const fn wit_files() -> &'static [WitFile] {
    &FILES
}

/// Writes all files to `folder/deps`, where every bindings generator looks for the packages that a world in `folder` uses.
/// Returns their paths.
///
/// # Errors
///
/// If a file can't be written, or differs from ours and `force` is false; then none is written.
pub fn write_wit_files(folder: &Path, force: bool) -> Result<Vec<PathBuf>, AuthorError> {
    let deps = folder.join("deps");
    let existing = match force {
        true => Existing::Replace,
        false => Existing::KeepIfSame,
    };
    let paths = || FILES.iter().map(|file| (deps.join(file.name), file.text));
    for (path, text) in paths() {
        existing.check(&path, text.as_bytes())?;
    }
    paths()
        .map(|(path, text)| write_file(&path, text.as_bytes()).map(|()| path))
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_file_is_the_package_that_it_says() {
        for file in wit_files() {
            let package = format!("package {};", file.package);
            assert!(file.text.lines().any(|line| line.trim() == package), "{package}");
        }
    }

    #[test]
    fn a_world_can_import_every_interface() {
        let folder = tempfile::tempdir().unwrap();
        write_wit_files(folder.path(), false).unwrap();
        let imports = "wasi:http/outgoing-handler@0.2.12 wasi:config/store@0.2.0-rc.1 wasi:keyvalue/store@0.2.0-draft \
                       wasi:logging/logging@0.1.0-draft wasi:filesystem/preopens@0.2.12 wasi:clocks/wall-clock@0.2.12 \
                       wasi:random/random@0.2.12 wasi:cli/environment@0.2.12 wasi:sockets/tcp@0.2.12";
        let imports: String = imports.split(' ').map(|name| format!("import {name};")).collect();
        let world = format!("package local:x; world tool {{ include cofferdam:tool/plugin@0.1.0; {imports} }}");
        std::fs::write(folder.path().join("world.wit"), world).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        resolve.push_path(folder.path()).unwrap();
    }

    #[test]
    fn a_file_that_differs_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let changed = folder.path().join("deps/wasi-io.wit");
        std::fs::create_dir(folder.path().join("deps")).unwrap();
        std::fs::write(&changed, "mine").unwrap();
        let error = write_wit_files(folder.path(), false).unwrap_err();
        assert!(matches!(error, AuthorError::Differs(path) if path == changed));
        assert_eq!(std::fs::read_dir(folder.path().join("deps")).unwrap().count(), 1);
        assert_eq!(write_wit_files(folder.path(), true).unwrap().len(), FILES.len());
        assert_eq!(std::fs::read_to_string(&changed).unwrap(), FILES[6].text);
        // Files that are the same are no reason to stop.
        write_wit_files(folder.path(), false).unwrap();
    }
}
