//! WIT files beside a component: where an operator keeps what a component was built from, its functions have descriptions.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::sandbox::WitText;

/// The folder beside a component that toolchains read WIT from.
const FOLDER: &str = "wit";
const EXTENSION: &str = "wit";
/// Bytes of all files together.
const MAX_BYTES: u64 = 256 * 1024;
/// Files of the folder.
const MAX_FILES: usize = 64;

/// Reads the file with the component's stem, or else those of the folder `wit`, without the packages in its folders. Empty if there
/// are none.
///
/// # Errors
///
/// Why they can't be used, for the operator.
pub(super) fn wit_beside(component: &Path) -> Result<Vec<WitText>, String> {
    let file = component.with_extension(EXTENSION);
    let is_shared = !file.is_file();
    let paths = match is_shared {
        false => vec![file],
        true => in_folder(&component.with_file_name(FOLDER))?,
    };
    let mut left = MAX_BYTES;
    let texts = paths.into_iter().map(|path| {
        let text = read(&path, &mut left).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(WitText {
            path: path.display().to_string(),
            text,
            is_shared,
        })
    });
    texts.collect()
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(format!("{}: {error}", folder.display())),
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let is_wit = |path: &PathBuf| path.extension().is_some_and(|extension| extension == EXTENSION) && path.is_file();
    let mut paths: Vec<PathBuf> = paths.filter(is_wit).take(MAX_FILES + 1).collect();
    if paths.len() > MAX_FILES {
        return Err(format!("{}: more than {MAX_FILES} files", folder.display()));
    }
    paths.sort();
    Ok(paths)
}

/// Takes the file's bytes off `left`.
fn read(path: &Path, left: &mut u64) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(*left + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    *left = left
        .checked_sub(text.len() as u64)
        .ok_or_else(|| format!("all of the WIT has more than {MAX_BYTES} bytes"))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(component: &Path) -> Vec<String> {
        wit_beside(component).unwrap().into_iter().map(|wit| wit.text).collect()
    }

    #[test]
    fn the_file_of_the_same_stem_comes_before_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("letters.v1.wasm");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert!(texts(&component).is_empty());
        std::fs::create_dir_all(folder.path().join("wit/deps")).unwrap();
        assert!(texts(&component).is_empty());
        write("wit/b.wit", "b");
        write("wit/a.wit", "a");
        write("wit/notes.txt", "x");
        write("wit/deps/c.wit", "c");
        assert_eq!(texts(&component), ["a", "b"]);
        write("letters.v1.wit", "own");
        assert_eq!(texts(&component), ["own"]);
        assert_eq!(texts(Path::new("no/such/letters.wasm")), [""; 0]);
    }

    #[test]
    fn what_is_read_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("a.wasm");
        let wit = folder.path().join("wit");
        std::fs::create_dir(&wit).unwrap();
        let bytes = usize::try_from(MAX_BYTES).unwrap();
        std::fs::write(wit.join("a.wit"), "x".repeat(bytes - 1)).unwrap();
        std::fs::write(wit.join("b.wit"), "x").unwrap();
        assert_eq!(texts(&component).len(), 2);
        std::fs::write(wit.join("b.wit"), "xy").unwrap();
        let refused = wit_beside(&component).unwrap_err();
        assert!(
            refused.contains("b.wit") && refused.contains("262144 bytes"),
            "{refused}"
        );
        std::fs::write(wit.join("a.wit"), [0xff]).unwrap();
        assert!(wit_beside(&component).unwrap_err().contains("UTF-8"));
        for number in 0..MAX_FILES {
            std::fs::write(wit.join(format!("{number}.wit")), "").unwrap();
        }
        assert!(wit_beside(&component).unwrap_err().contains("more than 64 files"));
    }
}
