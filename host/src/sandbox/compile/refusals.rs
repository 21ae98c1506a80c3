//! Components that couldn't be compiled, remembered on disk, so that a start doesn't try again what can only fail again.
//!
//! What follows from the bytes alone is remembered for good; the name of the entry has the digest of the bytes and the engine's
//! version and settings. A compilation that took too much memory is remembered for an hour, one that took too long for a minute,
//! each under the limit that it hit: with another limit it is tried again. Failures that say nothing about the bytes, such as a
//! compiler that somebody killed, aren't remembered.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cache::{keep_newest, name, write_whole};
use super::compiled_form::MAX_DESCRIPTION;
use super::compiler::MAX_COMPILED;
use super::component::ComponentError;
use crate::sandbox::limits::Limits;

const SUFFIX: &str = ".refused";

/// How long too little memory is remembered. The same bytes need about as much again.
const MEMORY_KEPT_FOR: Duration = Duration::from_secs(3600);

/// How long a time-out is remembered. It says as much about the machine, which may just have been busy, as about the component.
/// Long enough for the processes that waited for this compilation, and for a supervisor that restarts the host at once.
const TIMEOUT_KEPT_FOR: Duration = Duration::from_secs(60);

/// The most entries. Beyond them the oldest are removed.
const MAX_ENTRIES: usize = 1_000;

/// The longest entry.
const MAX_BYTES: u64 = 16 * 1024;

/// The file name of an entry after its stem, and the entry's text. `None` for what isn't remembered.
fn entry(error: &ComponentError) -> Option<(String, String)> {
    Some(match error {
        ComponentError::Invalid(text) => (invalid(), text.raw().to_owned()),
        ComponentError::DescriptionTooLarge(bytes) => (described(), bytes.to_string()),
        ComponentError::CompiledTooLarge(_) => (compiled(), String::new()),
        ComponentError::CompileTimeout(limit) => (timeout(*limit), String::new()),
        ComponentError::CompileMemory(limit) => (memory(*limit), String::new()),
        _ => return None,
    })
}

fn invalid() -> String {
    "invalid".to_owned()
}

fn described() -> String {
    format!("described-{MAX_DESCRIPTION}")
}

fn compiled() -> String {
    format!("compiled-{MAX_COMPILED}")
}

fn timeout(limit: Duration) -> String {
    format!("timeout-{}", limit.as_nanos())
}

fn memory(limit: u64) -> String {
    format!("memory-{limit}")
}

/// Why the component of this stem was refused under `limits`, if that is still so.
pub(super) fn get(folder: &Path, stem: &str, limits: &Limits) -> Option<ComponentError> {
    let text = |kind: String| read(&path(folder, stem, &kind)).map(|(text, _)| text);
    let is_recent = |kind: String, kept_for: Duration| {
        let (_, age) = read(&path(folder, stem, &kind))?;
        // Unknown if the clock was set back.
        age.filter(|age| *age < kept_for)
    };
    if let Some(text) = text(invalid()) {
        return Some(ComponentError::Invalid(text.into()));
    }
    if let Some(bytes) = text(described()).and_then(|bytes| bytes.parse().ok()) {
        return Some(ComponentError::DescriptionTooLarge(bytes));
    }
    if text(compiled()).is_some() {
        return Some(ComponentError::CompiledTooLarge(MAX_COMPILED));
    }
    let (time, bytes) = (limits.compile_timeout, limits.compile_memory);
    if is_recent(timeout(time), TIMEOUT_KEPT_FOR).is_some() {
        return Some(ComponentError::CompileTimeout(time));
    }
    is_recent(memory(bytes), MEMORY_KEPT_FOR).map(|_| ComponentError::CompileMemory(bytes))
}

/// Remembers why the component of this stem can't be compiled, where that would be so again.
pub(super) fn put(folder: &Path, stem: &str, error: &ComponentError) -> io::Result<()> {
    let Some((kind, text)) = entry(error) else {
        return Ok(());
    };
    let bytes = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let text = &text[..text.floor_char_boundary(bytes)];
    write_whole(&path(folder, stem, &kind), text.as_bytes())?;
    keep_newest(folder, MAX_ENTRIES, |path| name(path).ends_with(SUFFIX))
}

fn path(folder: &Path, stem: &str, kind: &str) -> PathBuf {
    folder.join(format!("{stem}{kind}{SUFFIX}"))
}

/// The text of an entry, and its age.
fn read(path: &Path) -> Option<(String, Option<Duration>)> {
    let file = std::fs::File::open(path).ok()?;
    let age = file.metadata().and_then(|metadata| metadata.modified()).ok();
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Some((text, age.and_then(|written| written.elapsed().ok())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::SystemTime;

    use super::*;

    fn age(folder: &Path, by: Duration) {
        for file in std::fs::read_dir(folder).unwrap() {
            let file = std::fs::File::open(file.unwrap().path()).unwrap();
            file.set_modified(SystemTime::now() - by).unwrap();
        }
    }

    #[test]
    fn what_follows_from_the_bytes_is_remembered_for_good() {
        for error in [
            ComponentError::Invalid("no such type".into()),
            ComponentError::DescriptionTooLarge(MAX_DESCRIPTION + 7),
            ComponentError::CompiledTooLarge(MAX_COMPILED),
        ] {
            let folder = tempfile::tempdir().unwrap();
            put(folder.path(), "one-", &error).unwrap();
            age(folder.path(), 1_000 * MEMORY_KEPT_FOR);
            let known = get(folder.path(), "one-", &Limits::default()).unwrap();
            assert_eq!(known.to_string(), error.to_string());
            assert!(get(folder.path(), "another-", &Limits::default()).is_none());
        }
    }

    #[test]
    fn a_limit_that_was_hit_is_remembered_for_a_while_and_for_that_limit() {
        let limits = Limits::default();
        let larger = Limits {
            compile_timeout: 2 * limits.compile_timeout,
            compile_memory: 2 * limits.compile_memory,
            ..Limits::default()
        };
        for (error, kept_for) in [
            (ComponentError::CompileTimeout(limits.compile_timeout), 60),
            (ComponentError::CompileMemory(limits.compile_memory), 3_600),
        ] {
            let kept_for = Duration::from_secs(kept_for);
            let folder = tempfile::tempdir().unwrap();
            let known = |limits| get(folder.path(), "one-", limits).map(|known| known.to_string());
            put(folder.path(), "one-", &error).unwrap();
            assert_eq!((known(&limits), known(&larger)), (Some(error.to_string()), None));
            age(folder.path(), kept_for - Duration::from_secs(10));
            assert!(known(&limits).is_some(), "{error}");
            age(folder.path(), kept_for);
            assert_eq!(known(&limits), None, "{error}");
            put(folder.path(), "one-", &error).unwrap();
            assert!(known(&limits).is_some(), "it is remembered again");
        }
    }

    #[test]
    fn what_says_nothing_about_the_bytes_is_not_remembered() {
        let folder = tempfile::tempdir().unwrap();
        for error in [
            ComponentError::CompilerFailed("signal: 9 (SIGKILL)".into()),
            ComponentError::Host("no threads".to_owned()),
            ComponentError::NoCompiler("/bin/true".into()),
        ] {
            put(folder.path(), "one-", &error).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn entries_are_bounded_in_number_and_size() {
        let folder = tempfile::tempdir().unwrap();
        let long = ComponentError::Invalid("é".repeat(1 << 20).into());
        for number in 0..MAX_ENTRIES + 3 {
            put(folder.path(), &format!("{number}-"), &long).unwrap();
        }
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(files.len(), MAX_ENTRIES);
        assert!(files.iter().all(|file| file.metadata().unwrap().len() <= MAX_BYTES));
        let newest = format!("{}-", MAX_ENTRIES + 2);
        assert!(get(folder.path(), &newest, &Limits::default()).is_some());
    }
}
