//! The database file: opening it, and bringing its schema up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::sqlite::{Failure, Mark, Schema, connect};

const SCHEMA: Schema<'static> = Schema {
    // `CFKV`.
    mark: Mark::Header(0x4346_4b56),
    steps: &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")],
};

/// Opens the file at `path`, creating it and the folders above it for their owner alone. Returns a connection that
/// reads, and one that writes.
pub(super) fn open(path: &Path, busy: Duration) -> Result<(Connection, Connection), Failure> {
    let (writer, path) = SCHEMA.open(path, busy)?;
    // What the last calls wrote may be lost when the power fails, never when a process does.
    writer.pragma_update(None, "synchronous", "NORMAL")?;
    let reader = connect(&path, busy)?;
    reader.pragma_update(None, "query_only", true)?;
    Ok((reader, writer))
}
