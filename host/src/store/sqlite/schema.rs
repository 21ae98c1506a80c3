//! Opens the database file and migrates its schema.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use super::super::Durability;
use crate::ledger::LedgerError;
use crate::money::NanoUsd;
use crate::sqlite::{Database, Failure, Mark, Schema, refuse_writes};

const SCHEMA: Schema<'static> = Schema {
    mark: Mark::Table,
    steps: &[
        include_str!("schema/0001.sql"),
        include_str!("schema/0002.sql"),
        include_str!("schema/0003.sql"),
        include_str!("schema/0004.sql"),
        include_str!("schema/0005.sql"),
        include_str!("schema/0006.sql"),
        include_str!("schema/0007.sql"),
        include_str!("schema/0008.sql"),
        include_str!("schema/0009.sql"),
        include_str!("schema/0010.sql"),
    ],
};

/// The most statements that a connection keeps compiled: more than there are. With fewer than a turn runs, each would be compiled again.
const STATEMENTS: usize = 128;

/// Amounts are stored as nano-dollars in SQLite's signed integers. Larger ones (above $9.2 billion) saturate.
impl ToSql for NanoUsd {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.as_nanos()).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for NanoUsd {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let stored = value.as_i64()?;
        u64::try_from(stored)
            .map(Self::from_nanos)
            .map_err(|_| FromSqlError::OutOfRange(stored))
    }
}

/// Opens the database at `path`, or creates it and its parent folders, accessible only to their owner. Returns it with its
/// canonical path. `busy` bounds the wait for another program's lock.
pub(super) fn open(path: &Path, durability: Durability, busy: Duration) -> Result<(Database, PathBuf), LedgerError> {
    let (database, path) = SCHEMA.open(path, busy).map_err(|failure| error_at(path, failure))?;
    database.set_prepared_statement_cache_capacity(STATEMENTS);
    let synchronous = match durability {
        Durability::PowerLoss => "FULL",
        // The log is flushed only before a checkpoint.
        Durability::ProcessCrash => "NORMAL",
    };
    database
        .pragma_update(None, "synchronous", synchronous)
        .map_err(|error| error_at(&path, error))?;
    // What was said in a deleted session must not stay in free pages.
    database
        .pragma_update(None, "secure_delete", true)
        .map_err(|error| error_at(&path, error))?;
    Ok((database, path))
}

/// Opens the database at `path` to read it, without creating or changing a file. Where there is none, an empty one stands in for
/// it.
pub(super) fn open_read_only(path: &Path, busy: Duration) -> Result<(Database, PathBuf), LedgerError> {
    let empty = || {
        let database = in_memory()?;
        refuse_writes(&database)?;
        Ok((database, path.to_owned()))
    };
    SCHEMA
        .open_read_only(path, busy)
        .and_then(|opened| opened.map_or_else(empty, Ok))
        .map_err(|failure| error_at(path, failure))
}

/// The error for a failure of the file at `path`.
pub(super) fn error_at(path: &Path, failure: impl Into<Failure>) -> LedgerError {
    let path = path.to_owned();
    match failure.into() {
        Failure::NotAFile => LedgerError::NotAFile { path },
        Failure::Foreign => LedgerError::NotALedger { path },
        Failure::Newer { found, supported } => LedgerError::NewerSchema { path, found, supported },
        Failure::Corrupt(source) => LedgerError::Corrupt {
            path,
            source: Arc::new(source),
        },
        Failure::Locked => LedgerError::Locked { path },
        Failure::Unwritable(source) => LedgerError::Unwritable {
            path,
            source: source.into(),
        },
        Failure::DiskFull(source) => LedgerError::DiskFull {
            path,
            source: source.into(),
        },
        Failure::Io(source) => LedgerError::Io {
            path,
            source: Arc::new(source),
        },
        Failure::Database(source) => LedgerError::Database {
            path,
            source: Arc::new(source),
        },
        Failure::Displaced(path) => LedgerError::Displaced { path },
    }
}

/// A private in-memory database, lost with its connection.
pub(super) fn in_memory() -> Result<Database, Failure> {
    let mut connection = Connection::open_in_memory()?;
    // In memory, each commit that splits a page looks at all pages. With larger ones there are fewer of both.
    connection.pragma_update(None, "page_size", 8_192)?;
    SCHEMA.migrate(&mut connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(Database::in_memory(connection))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const NEXT: &str = "ALTER TABLE limits ADD COLUMN set_by TEXT";

    fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), Failure> {
        let mark = SCHEMA.mark;
        Schema { mark, steps }.migrate(connection)
    }

    #[test]
    fn databases_of_every_older_version_are_migrated_with_their_data() {
        let newest = [SCHEMA.steps, &[NEXT]].concat();
        for older in 1..newest.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate(&mut connection, &newest[..older]).unwrap();
            connection
                .execute("INSERT INTO limits (scope, amount) VALUES ('session', 7)", [])
                .unwrap();

            migrate(&mut connection, &newest).unwrap();
            let row = connection.query_row(
                "SELECT amount, set_by, version FROM limits, schema_version",
                [],
                |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, i64>(2)?,
                    ))
                },
            );
            assert_eq!(row.unwrap(), (7, None, i64::try_from(newest.len()).unwrap()));
        }
    }

    /// What was spent before tenants had limits counts.
    #[test]
    fn the_totals_of_tenants_are_made_from_the_rows() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &SCHEMA.steps[..6]).unwrap();
        for (id, tenant, day, state, reserved, spent) in [
            ("1", "a", "2026-11-24", "settled", 60, Some(7)),
            ("2", "a", "2026-11-25", "charged", 5, Some(5)),
            ("3", "a", "2026-11-25", "open", 30, None),
            ("4", "a", "2026-12-01", "settled", 30, Some(i64::MAX)),
            ("5", "a", "2026-12-01", "settled", 30, Some(i64::MAX)),
            ("6", "b", "2026-11-24", "released", 60, Some(0)),
        ] {
            connection
                .execute(
                    "INSERT INTO reservations (id, owner, tenant, session_id, model, day, reserved_at, state, reserved, spent)
                     VALUES (?1, 'o', ?2, 's', 'm', ?3, '', ?4, ?5, ?6)",
                    rusqlite::params![id, tenant, day, state, reserved, spent],
                )
                .unwrap();
        }
        migrate(&mut connection, SCHEMA.steps).unwrap();
        let mut rows = connection
            .prepare("SELECT tenant, period, spent, reserved FROM totals WHERE scope = ?1 ORDER BY tenant, period")
            .unwrap();
        let mut of = |scope| {
            let rows = rows.query_map([scope], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
            rows.unwrap()
                .collect::<Result<Vec<(String, String, i64, i64)>, _>>()
                .unwrap()
        };
        let row = |tenant: &str, period: &str, spent, reserved| (tenant.to_owned(), period.to_owned(), spent, reserved);
        const CAPPED: i64 = 2_000_000_000_000_000;
        assert_eq!(
            of("tenant_day"),
            [
                row("a", "2026-11-24", 7, 0),
                row("a", "2026-11-25", 5, 30),
                row("a", "2026-12-01", CAPPED, 0),
                row("b", "2026-11-24", 0, 0),
            ]
        );
        assert_eq!(
            of("tenant_month"),
            [
                row("a", "2026-11", 12, 30),
                row("a", "2026-12", CAPPED, 0),
                row("b", "2026-11", 0, 0),
            ]
        );
    }

    #[test]
    fn a_newer_database_is_refused_and_left_unchanged() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &[SCHEMA.steps, &[NEXT]].concat()).unwrap();
        assert!(matches!(
            SCHEMA.migrate(&mut connection),
            Err(Failure::Newer { found, supported }) if found == supported + 1
        ));
        assert!(connection.prepare("SELECT set_by FROM limits").is_ok());
    }

    #[test]
    fn other_databases_are_refused_as_foreign() {
        for schema in [
            "CREATE TABLE recipes (name TEXT)",
            "CREATE TABLE schema_version (version TEXT)",
            "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (-1)",
        ] {
            let mut connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(schema).unwrap();
            let refused = SCHEMA.migrate(&mut connection);
            assert!(matches!(refused, Err(Failure::Foreign)), "{schema}: {refused:?}");
        }
    }

    #[test]
    fn sqlite_and_io_errors_map_to_error_kinds() {
        use rusqlite::ffi;
        let path = Path::new("ledger.db");
        for (code, kind) in [
            (ffi::SQLITE_CORRUPT, "ledger_corrupt"),
            (ffi::SQLITE_NOTADB, "ledger_corrupt"),
            (ffi::SQLITE_BUSY, "ledger_locked"),
            (ffi::SQLITE_BUSY_SNAPSHOT, "ledger_locked"),
            (ffi::SQLITE_LOCKED, "ledger_locked"),
            (ffi::SQLITE_READONLY_DIRECTORY, "ledger_unwritable"),
            (ffi::SQLITE_CANTOPEN, "ledger_unwritable"),
            (ffi::SQLITE_FULL, "ledger_disk_full"),
            (ffi::SQLITE_IOERR, "ledger_failed"),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            assert_eq!(error_at(path, error).kind(), kind, "{code}");
        }
        for (io, kind) in [
            (std::io::ErrorKind::PermissionDenied, "ledger_unwritable"),
            (std::io::ErrorKind::ReadOnlyFilesystem, "ledger_unwritable"),
            (std::io::ErrorKind::NotFound, "ledger_failed"),
        ] {
            let error = std::io::Error::from(io);
            assert_eq!(error_at(path, error).kind(), kind, "{io:?}");
        }
    }
}
