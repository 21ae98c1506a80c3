//! The database file: opening it, and bringing its schema up to date.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::error::Fault;
use super::{LedgerError, NanoUsd};
use crate::sqlite::{self, OpenError};

/// The steps from an empty database to the newest schema; the version of a database is the number of those it has
/// taken. Never change one that was released: add the next.
const MIGRATIONS: &[&str] = &[include_str!("schema/0001.sql"), include_str!("schema/0002.sql")];

/// Amounts are nano-dollars in SQLite's signed integers. What is larger (beyond $9.2 billion) saturates.
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

/// Opens the database at `path`, creating it and the folders above it for their owner alone, and returns it with its
/// canonical path. `busy` bounds how long another program's lock is waited for.
pub(super) fn open(path: &Path, busy: Duration) -> Result<(Connection, PathBuf), LedgerError> {
    let (mut connection, path) = sqlite::open(path, busy).map_err(|error| match error {
        OpenError::NotAFile => LedgerError::NotAFile { path: path.to_owned() },
        OpenError::Io(error) => LedgerError::from_io(path, error),
        OpenError::Sqlite(error) => LedgerError::from_sqlite(path, error),
    })?;
    let at = |error| LedgerError::from_sqlite(&path, error);
    // Before anything is written: a database that isn't ours, or is too new, stays as it was.
    look(&mut connection).map_err(|fault| fault.at(&path))?;
    sqlite::use_wal(&connection).map_err(at)?;
    // A commit that a power cut could undo would be money spent and missing.
    connection.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    migrate(&mut connection, MIGRATIONS).map_err(|fault| fault.at(&path))?;
    Ok((connection, path))
}

/// A database of its own, gone with its connection.
pub(super) fn in_memory() -> Result<Connection, Fault> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, MIGRATIONS)?;
    Ok(connection)
}

/// Refuses what this program must not touch. One snapshot, for another process may be creating the schema right now.
fn look(connection: &mut Connection) -> Result<(), Fault> {
    let snapshot = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    version(&snapshot, MIGRATIONS).map(drop)
}

/// Takes the steps that the database lacks, all or none.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let taken = version(&transaction, migrations)?;
    for step in migrations.iter().skip(taken) {
        transaction.execute_batch(step)?;
    }
    if taken < migrations.len() {
        set_version(&transaction, migrations.len())?;
    }
    Ok(transaction.commit()?)
}

fn set_version(transaction: &Transaction<'_>, version: usize) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM schema_version", [])?;
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    transaction.execute("INSERT INTO schema_version (version) VALUES (?1)", [version])?;
    Ok(())
}

/// How many of the steps the database has taken; 0 for an empty one.
fn version(connection: &Connection, migrations: &[&str]) -> Result<usize, Fault> {
    let has = |condition: &str| {
        let query = format!("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE {condition})");
        connection.query_row(&query, [], |row| row.get::<_, bool>(0))
    };
    if !has("type = 'table' AND name = 'schema_version'")? {
        return if has("true")? { Err(Fault::NotALedger) } else { Ok(0) };
    }
    let found: Option<i64> = connection
        .query_row("SELECT version FROM schema_version", [], |row| row.get(0))
        .optional()?;
    match found.map(|found| (found, usize::try_from(found))) {
        Some((_, Ok(found))) if (1..=migrations.len()).contains(&found) => Ok(found),
        Some((found, Ok(taken))) if taken > migrations.len() => Err(Fault::Newer {
            found,
            supported: i64::try_from(migrations.len()).unwrap_or(i64::MAX),
        }),
        _ => Err(Fault::NotALedger),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const NEXT: &str = "ALTER TABLE limits ADD COLUMN set_by TEXT";

    #[test]
    fn a_database_of_every_older_version_is_brought_up_to_date_with_what_it_holds() {
        let newest = [MIGRATIONS, &[NEXT]].concat();
        for older in 1..newest.len() {
            let mut connection = Connection::open_in_memory().unwrap();
            migrate(&mut connection, &newest[..older]).unwrap();
            connection
                .execute("INSERT INTO limits (scope, amount) VALUES ('session', 7)", [])
                .unwrap();

            migrate(&mut connection, &newest).unwrap();
            assert_eq!(version(&connection, &newest).unwrap(), newest.len());
            let row = connection.query_row("SELECT amount, set_by FROM limits", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Option<String>>(1)?))
            });
            assert_eq!(row.unwrap(), (7, None));
        }
    }

    #[test]
    fn a_step_that_fails_takes_none() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, MIGRATIONS).unwrap();
        let broken = [MIGRATIONS, &[NEXT, "CREATE NONSENSE"]].concat();
        assert!(migrate(&mut connection, &broken).is_err());
        assert_eq!(version(&connection, MIGRATIONS).unwrap(), MIGRATIONS.len());
        assert!(connection.prepare("SELECT set_by FROM limits").is_err());
    }

    #[test]
    fn a_newer_database_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &[MIGRATIONS, &[NEXT]].concat()).unwrap();
        assert!(matches!(
            migrate(&mut connection, MIGRATIONS),
            Err(Fault::Newer { found, supported }) if found == supported + 1
        ));
        assert!(connection.prepare("SELECT set_by FROM limits").is_ok());
    }

    #[test]
    fn other_databases_are_no_ledgers() {
        for schema in [
            "CREATE TABLE recipes (name TEXT)",
            "CREATE TABLE schema_version (version TEXT)",
            "CREATE TABLE schema_version (version INTEGER); INSERT INTO schema_version VALUES (-1)",
        ] {
            let connection = Connection::open_in_memory().unwrap();
            connection.execute_batch(schema).unwrap();
            assert!(
                matches!(version(&connection, MIGRATIONS), Err(Fault::NotALedger)),
                "{schema}"
            );
        }
    }
}
