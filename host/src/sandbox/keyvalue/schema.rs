//! Opens the database file and migrates its schema.

use std::path::Path;
use std::time::Duration;

use crate::sqlite::{Database, Failure, Mark, Schema, connect};

const SCHEMA: Schema<'static> = Schema {
    // `CFKV`.
    mark: Mark::Header(0x4346_4b56),
    steps: &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")],
};

/// Opens the file at `path`. Creates it and its parent folders if they are missing, accessible only to their owner. Returns a
/// connection for reading, and one for writing.
pub(super) fn open(path: &Path, busy: Duration) -> Result<(Database, Database), Failure> {
    let (writer, path) = SCHEMA.open(path, busy)?;
    // A power failure can lose the last writes, but a crash of the process can't.
    writer.pragma_update(None, "synchronous", "NORMAL")?;
    let reader = writer.another(connect(&path, busy)?)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok((reader, writer))
}
