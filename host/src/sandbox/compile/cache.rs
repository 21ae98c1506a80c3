//! Compiled components on disk, by digest of the component and settings of the engine.
//!
//! The engine doesn't notice damaged code when it loads it, so each entry has the digest of its own bytes in its name:
//! `COMPONENT-SETTINGS-CONTENT.cwasm`. An entry is never changed, only replaced or removed. The same folder has programs that
//! were adapted to components (`PROGRAM-ADAPTER-CONTENT.adapted`), the components that can't be compiled ([`refusals`]), and
//! what is known of files that needn't be read again ([`KnownFiles`]).
//!
//! Reading and writing block, so call it on a thread that may.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::component::Component;

use super::component::{ComponentError, Digest};
use super::engine::Engines;
use super::facts::Facts;
use super::known_files::{FileState, KnownFiles};
use super::{precompiled, refusals};
use crate::sandbox::limits::Limits;

const SUFFIX: &str = ".cwasm";
const ADAPTED_SUFFIX: &str = ".adapted";
const TEMPORARY_PREFIX: &str = ".writing-";
const LOCK_PREFIX: &str = ".lock-";
/// A temporary file older than this was left behind by a process that died.
const ABANDONED: Duration = Duration::from_secs(3600);
/// The use of an entry is noted when the last note is older. A note counts as a write, after which the entry is
/// hashed again.
const NOTED_FOR: Duration = Duration::from_secs(3600);

/// A folder of compiled components that only its owner can reach. Without a folder every start compiles again.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct CompileCache {
    folder: Option<PathBuf>,
    known_files: Option<KnownFiles>,
    max_bytes: u64,
}

impl CompileCache {
    /// Opens the folder, creating it if it is missing. A folder that other users can write to is not used, because its
    /// content runs as our own code. Beyond `max_bytes` the least recently used entries are removed.
    pub(in crate::sandbox) fn open(folder: Option<&Path>, max_bytes: u64) -> Self {
        let folder = folder.filter(|folder| match prepare_folder(folder) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "compiled components are not kept, so every start compiles again; make the folder writable by you alone"
                );
                false
            }
        });
        Self {
            folder: folder.map(Path::to_owned),
            known_files: folder.and_then(KnownFiles::open),
            max_bytes,
        }
    }

    /// What is known of the component in a file that nobody has written to.
    pub(super) fn facts(&self, state: &FileState) -> Option<Facts> {
        self.known_files.as_ref()?.get(state)
    }

    /// Remembers what is known of the component in a file that had this state before and after it was read.
    pub(super) fn put_facts(&self, state: &FileState, facts: &Facts) {
        if let Some(known_files) = &self.known_files {
            known_files.put(state, facts);
        }
    }

    /// The compiled form of `digest`, if the cache has it intact. A damaged entry is removed, to be compiled again.
    pub(super) fn get(&self, engines: &Engines, digest: &Digest) -> Option<Component> {
        let folder = self.folder.as_deref()?;
        let stem = stem(engines, digest);
        let path = find(folder, &stem, SUFFIX)?;
        used(&path, self.load(engines, &path))
    }

    /// Loads an entry after checking its content against the digest in its name.
    fn load(&self, engines: &Engines, path: &Path) -> wasmtime::Result<Component> {
        let file = std::fs::File::open(path)?;
        // In pieces: loading maps the file, and Python's code has 37 MB.
        let found = match &self.known_files {
            Some(known_files) => known_files.digest(&file)?,
            None => Digest::of_file(&file)?,
        };
        check_intact(path, SUFFIX, &found)?;
        engines.load(|engine| precompiled::load_file(engine, path))
    }

    /// The component that the program of this digest was adapted to, if the cache has it intact.
    pub(super) fn adapted(&self, digest: &Digest) -> Option<Vec<u8>> {
        let path = find(self.folder.as_deref()?, &adapted_stem(digest), ADAPTED_SUFFIX)?;
        used(&path, read_intact(&path, ADAPTED_SUFFIX))
    }

    /// Stores what a program was adapted to.
    pub(super) fn put_adapted(&self, digest: &Digest, adapted: &[u8]) {
        let content = Digest::of(adapted).hex();
        self.put_entry(&format!("{}{content}{ADAPTED_SUFFIX}", adapted_stem(digest)), adapted);
    }

    /// Where processes lock the entry while they make it. `None` if nothing is kept.
    pub(super) fn lock_path(&self, engines: &Engines, digest: &Digest) -> Option<PathBuf> {
        let folder = self.folder.as_deref().filter(|_| self.max_bytes > 0)?;
        Some(folder.join(format!("{LOCK_PREFIX}{}", stem(engines, digest))))
    }

    /// Stores `compiled`. A full disk only makes the next start slower.
    pub(super) fn put(&self, engines: &Engines, digest: &Digest, compiled: &[u8]) {
        self.put_entry(&Self::entry_name(engines, digest, compiled), compiled);
    }

    fn put_entry(&self, name: &str, bytes: &[u8]) {
        let Some(folder) = self.folder.as_deref() else {
            return;
        };
        if bytes.len() as u64 > self.max_bytes {
            tracing::warn!(
                bytes = bytes.len(),
                "the compiled component is larger than [storage] cache_bytes and not kept, so every start compiles it again"
            );
            return;
        }
        let kept = write_whole(&folder.join(name), bytes).and_then(|()| make_room(folder, self.max_bytes, name));
        if let Err(error) = kept {
            tracing::warn!(folder = %folder.display(), %error, "the compiled component is not kept");
        }
    }

    pub(super) fn entry_name(engines: &Engines, digest: &Digest, compiled: &[u8]) -> String {
        format!("{}{}{SUFFIX}", stem(engines, digest), Digest::of(compiled).hex())
    }

    /// Why `digest` can't be compiled under `limits`, if an earlier attempt has shown it.
    pub(super) fn refusal(&self, engines: &Engines, digest: &Digest, limits: &Limits) -> Option<ComponentError> {
        refusals::get(self.folder.as_deref()?, &stem(engines, digest), limits)
    }

    /// Remembers why `digest` can't be compiled, where that would be so again. If it can't be written, the next start tries
    /// again.
    pub(super) fn refuse(&self, engines: &Engines, digest: &Digest, error: &ComponentError) {
        let Some(folder) = self.folder.as_deref().filter(|_| self.max_bytes > 0) else {
            return;
        };
        if let Err(error) = refusals::put(folder, &stem(engines, digest), error) {
            tracing::warn!(folder = %folder.display(), %error, "a component that can't be compiled is not remembered");
        }
    }
}

/// The part of an entry's name that identifies the component and the engine's settings.
fn stem(engines: &Engines, digest: &Digest) -> String {
    let mut settings = DefaultHasher::new();
    engines.reference().precompile_compatibility_hash().hash(&mut settings);
    format!("{}-{:016x}-", digest.hex(), settings.finish())
}

/// The same for an adapted program: its digest, and the adapter.
fn adapted_stem(digest: &Digest) -> String {
    let mut adapter = DefaultHasher::new();
    super::adapt::identity().hash(&mut adapter);
    format!("{}-{:016x}-", digest.hex(), adapter.finish())
}

/// What an entry holds, if it loads. Notes its use, or removes it.
fn used<T>(path: &Path, loaded: wasmtime::Result<T>) -> Option<T> {
    match loaded {
        Ok(loaded) => {
            // Eviction goes by the time of last use. If it can't be written, the entry can be evicted too early and is
            // made again.
            let _ = std::fs::File::open(path).and_then(|file| note_use(&file));
            Some(loaded)
        }
        Err(error) => {
            tracing::debug!(path = %path.display(), error = format!("{error:#}"), "cache entry does not load");
            // If it can't be removed, the next start tries it again: slower, never wrong.
            let _ = std::fs::remove_file(path);
            None
        }
    }
}

fn note_use(file: &std::fs::File) -> io::Result<()> {
    let noted = file.metadata()?.modified()?.elapsed();
    match noted.is_ok_and(|age| age < NOTED_FOR) {
        true => Ok(()),
        false => file.set_modified(SystemTime::now()),
    }
}

pub(super) fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn find(folder: &Path, stem: &str, suffix: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths = files.map(|file| file.path());
    paths.find(|path| name(path).starts_with(stem) && name(path).ends_with(suffix))
}

/// The content of an entry, which is that of the digest in its name.
fn read_intact(path: &Path, suffix: &str) -> wasmtime::Result<Vec<u8>> {
    let bytes = std::fs::read(path)?;
    check_intact(path, suffix, &Digest::of(&bytes))?;
    Ok(bytes)
}

/// Checks the digest of an entry's content against that in its name.
fn check_intact(path: &Path, suffix: &str, found: &Digest) -> wasmtime::Result<()> {
    match name(path).ends_with(&format!("-{}{suffix}", found.hex())) {
        true => Ok(()),
        false => Err(wasmtime::format_err!("its content is not what was written")),
    }
}

fn prepare_folder(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = std::fs::metadata(folder)?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("the folder belongs to another user"));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return Err(io::Error::other("others can write to the folder"));
    }
    Ok(())
}

/// Writes atomically: a reader sees the whole entry or none.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Removes the least recently used entries until the folder holds at most `max_bytes`, and abandoned temporary files.
/// `newest` stays. A process that runs a component keeps its own mapping of the file when the entry is removed.
fn make_room(folder: &Path, max_bytes: u64, newest: &str) -> io::Result<()> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder)?.flatten() {
        let path = file.path();
        // Another process can have removed it in the meantime.
        let Ok(metadata) = file.metadata() else { continue };
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let is_left_over = [TEMPORARY_PREFIX, LOCK_PREFIX]
            .iter()
            .any(|prefix| name(&path).starts_with(prefix));
        if [SUFFIX, ADAPTED_SUFFIX]
            .iter()
            .any(|suffix| name(&path).ends_with(suffix))
        {
            entries.push((name(&path) == newest, used, metadata.len(), path));
        } else if is_left_over && used.elapsed().is_ok_and(|age| age > ABANDONED) {
            let _ = std::fs::remove_file(&path);
        }
    }
    entries.sort();
    let mut held: u64 = entries.iter().map(|(_, _, bytes, _)| bytes).sum();
    for (_, _, bytes, path) in entries {
        if held <= max_bytes {
            break;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => held -= bytes,
        }
    }
    Ok(())
}

/// Removes the oldest files of one kind beyond `max`.
pub(super) fn keep_newest(folder: &Path, max: usize, is_one: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut entries = Vec::new();
    for file in std::fs::read_dir(folder)?.flatten() {
        let path = file.path();
        if is_one(&path) {
            // Another process can have removed it in the meantime.
            let Ok(metadata) = file.metadata() else { continue };
            entries.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    entries.sort();
    let surplus = entries.len().saturating_sub(max);
    for (_, path) in entries.into_iter().take(surplus) {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sandbox::compile::engine::EngineSize;
    use crate::sandbox::{EngineSettings, Limits, Metering};

    struct Lab {
        folder: tempfile::TempDir,
        engines: Engines,
    }

    impl Lab {
        fn new() -> Self {
            let settings = EngineSettings {
                host_concurrency: 1,
                ..EngineSettings::default()
            };
            Self {
                folder: tempfile::tempdir().unwrap(),
                engines: Engines::new(&EngineSize::of(&settings, [&Limits::default()]), Metering::Fuel).unwrap(),
            }
        }

        /// A component that is unique to `number`, and its compiled form.
        fn compiled(&self, number: u32) -> (Digest, Vec<u8>) {
            let text = format!("(component (core module (global i32 (i32.const {number}))))");
            let bytes = wat::parse_str(text).unwrap();
            let compiled = self.engines.reference().precompile_component(&bytes).unwrap();
            (Digest::of(&bytes), compiled)
        }

        fn cache(&self, max_bytes: u64) -> CompileCache {
            std::fs::set_permissions(self.folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
            CompileCache::open(Some(self.folder.path()), max_bytes)
        }

        fn files(&self) -> Vec<PathBuf> {
            let files = std::fs::read_dir(self.folder.path()).unwrap();
            files.map(|file| file.unwrap().path()).collect()
        }
    }

    #[test]
    fn damaged_entries_are_detected_and_removed() {
        let lab = Lab::new();
        let cache = lab.cache(u64::MAX);
        let (digest, compiled) = lab.compiled(1);
        for position in [0, compiled.len() / 2, compiled.len() - 1] {
            cache.put(&lab.engines, &digest, &compiled);
            assert!(cache.get(&lab.engines, &digest).is_some());
            let [path] = &lab.files()[..] else { panic!("one entry") };
            let mut damaged = compiled.clone();
            damaged[position] ^= 1;
            std::fs::write(path, damaged).unwrap();
            assert!(cache.get(&lab.engines, &digest).is_none(), "byte {position}");
            assert!(lab.files().is_empty());
        }
        assert!(cache.get(&lab.engines, &lab.compiled(2).0).is_none());
    }

    #[test]
    fn an_entry_that_is_known_is_hashed_again_after_a_write() {
        let lab = Lab::new();
        let cache = lab.cache(u64::MAX);
        let [(digest, compiled), (_, other)] = [1, 2].map(|number| lab.compiled(number));
        assert_eq!(compiled.len(), other.len());
        cache.put(&lab.engines, &digest, &compiled);
        let [path] = &lab.files()[..] else { panic!("one entry") };
        let state = FileState::settled(path);
        // Of other bytes: what is known of the file is what is believed.
        cache.known_files.as_ref().unwrap().put(&state, &Digest::of(&other));
        assert!(cache.get(&lab.engines, &digest).is_none());
        cache.put(&lab.engines, &digest, &compiled);
        let state = FileState::settled(path);
        cache.known_files.as_ref().unwrap().put(&state, &Digest::of(&compiled));
        assert!(cache.get(&lab.engines, &digest).is_some());
        assert_eq!(FileState::settled(path), state, "its use is not noted so soon");
        FileState::write_secretly(path, &other);
        assert!(cache.get(&lab.engines, &digest).is_none());
    }

    #[test]
    fn the_least_recently_used_entry_is_evicted() {
        let lab = Lab::new();
        let [(one, first), (two, second), (three, third)] = [1, 2, 3].map(|number| lab.compiled(number));
        let cache = lab.cache((first.len() + second.len()) as u64);
        let age = |by: Duration| {
            for path in lab.files() {
                let file = std::fs::File::open(path).unwrap();
                let before = file.metadata().unwrap().modified().unwrap();
                file.set_modified(before - by).unwrap();
            }
        };
        cache.put(&lab.engines, &one, &first);
        age(2 * NOTED_FOR);
        cache.put(&lab.engines, &two, &second);
        age(2 * NOTED_FOR);
        // The older one is used once more.
        assert!(cache.get(&lab.engines, &one).is_some());
        let abandoned = lab.folder.path().join(format!("{TEMPORARY_PREFIX}x"));
        std::fs::write(&abandoned, "half").unwrap();
        std::fs::File::open(&abandoned)
            .unwrap()
            .set_modified(SystemTime::now() - 2 * ABANDONED)
            .unwrap();
        cache.put(&lab.engines, &three, &third);
        let kept = [&one, &two, &three].map(|digest| cache.get(&lab.engines, digest).is_some());
        assert_eq!(kept, [true, false, true]);
        assert!(!abandoned.exists());
        // An entry that is larger than the cache evicts nothing.
        let small = lab.cache(first.len() as u64 / 2);
        small.put(&lab.engines, &two, &second);
        assert_eq!(lab.files().len(), 2);
    }
}
