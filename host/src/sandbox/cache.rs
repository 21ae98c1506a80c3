//! Compiled components on disk, by digest of the component and settings of the engine.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use super::component::Digest;
use super::engine::Engines;
use super::precompiled;

/// A folder of compiled components that only its owner can reach. Without a folder every start compiles again.
#[derive(Debug)]
pub(super) struct CompileCache {
    folder: Option<PathBuf>,
}

impl CompileCache {
    /// Opens the folder, creating it where it is missing. One that others could write to is not used, for what lies in
    /// it would run as our own code.
    pub(super) fn open(folder: Option<&Path>) -> Self {
        let Some(folder) = folder else {
            return Self { folder: None };
        };
        match prepare_folder(folder) {
            Ok(()) => Self {
                folder: Some(folder.to_owned()),
            },
            Err(error) => {
                tracing::warn!(
                    folder = %folder.display(), %error,
                    "compiled components are not kept, so every start compiles again; make the folder writable by you alone"
                );
                Self { folder: None }
            }
        }
    }

    /// The compiled form of `digest`, if it is there and loads. A damaged entry is removed, to be compiled again.
    pub(super) fn get(&self, engines: &Engines, digest: &Digest) -> Option<Component> {
        let path = self.entry(engines, digest)?;
        if !path.exists() {
            return None;
        }
        match engines.load(|engine| precompiled::load_file(engine, &path)) {
            Ok(component) => Some(component),
            Err(error) => {
                tracing::debug!(path = %path.display(), error = format!("{error:#}"), "cache entry does not load");
                // Should it not go away, the next start tries it again: slower, never wrong.
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// Keeps `compiled`. A full disk costs the next start its speed and this one nothing.
    pub(super) fn put(&self, engines: &Engines, digest: &Digest, compiled: &[u8]) {
        let Some(path) = self.entry(engines, digest) else {
            return;
        };
        if let Err(error) = write_whole(&path, compiled) {
            tracing::warn!(path = %path.display(), %error, "the compiled component is not kept");
        }
    }

    fn entry(&self, engines: &Engines, digest: &Digest) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        let mut settings = DefaultHasher::new();
        engines.reference().precompile_compatibility_hash().hash(&mut settings);
        Some(folder.join(format!("{}-{:016x}.cwasm", digest.hex(), settings.finish())))
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

/// A reader sees the whole entry or none.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
