//! Writes files whole or not at all.

use std::io::Write as _;
use std::path::Path;

use super::AuthorError;

/// What happens to a file that is already there.
#[derive(Clone, Copy, Debug)]
pub(super) enum Existing {
    /// It stays if it is the same; otherwise it is an error.
    KeepIfSame,
    Replace,
}

impl Existing {
    /// Whether `content` may be written to `path`.
    pub(super) fn check(self, path: &Path, content: &[u8]) -> Result<(), AuthorError> {
        match (self, std::fs::read(path)) {
            (Self::Replace, _) => Ok(()),
            (Self::KeepIfSame, Ok(found)) if found == content => Ok(()),
            (Self::KeepIfSame, Err(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            (Self::KeepIfSame, _) => Err(AuthorError::Differs(path.to_owned())),
        }
    }
}

/// Writes a file and the folders above it. Readers see the old file or the new one, never a part.
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), AuthorError> {
    let failed = |source| AuthorError::Write {
        path: path.to_owned(),
        source,
    };
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .permissions(permissions())
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Those of an ordinary new file, less the process's umask. A temporary file is its owner's alone.
#[cfg(unix)]
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
