//! The store in SQLite.
//!
//! Every commit is one `BEGIN IMMEDIATE` transaction. So two processes never decide on the same balance, and a crash leaves
//! either a caller's whole change or none of it.

mod books;
mod liveness;
mod schema;

#[cfg(test)]
mod books_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use self::liveness::{DeadOwner, Owner};
use super::backend::Worked;
use super::{Applied, Backend, Change, Durability, StoreError, Work};
use crate::ledger::{
    BookReader, BudgetSettings, BudgetStatus, LedgerError, LedgerRow, LimitOverride, ReservationId, Scope,
};
use crate::sqlite::{Database, Failure};

/// One database, and this process's identity in it.
#[derive(Debug)]
pub(super) struct Sqlite {
    // Declared before the owner, so that the database closes while this process still counts as alive.
    database: Database,
    owner: Arc<Owner>,
    path: PathBuf,
}

impl Sqlite {
    pub(super) fn open(path: &Path, durability: Durability, busy: Duration) -> Result<Self, LedgerError> {
        let (mut database, path) = schema::open(path, durability, busy)?;
        let at = |error: rusqlite::Error| schema::error_at(&path, error);
        let transaction = database
            .begin(TransactionBehavior::Immediate)
            .map_err(|failure| schema::error_at(&path, failure))?;
        let owner = Owner::of_this_process(&path).map_err(|error| schema::error_at(&path, error))?;
        let mut dead = books::charge_dead_owners(&transaction, &owner).map_err(at)?;
        // Dead owners without open reservations still leave a lock file.
        dead.extend(owner.other_ids().iter().filter_map(|id| owner.find_dead(id)));
        transaction.commit().map_err(at)?;
        dead.into_iter().for_each(DeadOwner::remove_lock_file);
        Ok(Self { database, owner, path })
    }

    pub(super) fn open_read_only(path: &Path, busy: Duration) -> Result<Self, LedgerError> {
        let (database, path) = schema::open_read_only(path, busy)?;
        Ok(Self {
            database,
            owner: Owner::without_lock(),
            path,
        })
    }

    pub(super) fn in_memory() -> Result<Self, LedgerError> {
        let path = PathBuf::from("(in memory)");
        let database = schema::in_memory().map_err(|failure| schema::error_at(&path, failure))?;
        Ok(Self {
            database,
            owner: Owner::without_lock(),
            path,
        })
    }

    /// Applies the works in one transaction. An error fails all of them.
    fn commit_together(&mut self, works: &[Work<'_>]) -> Result<Vec<Result<Worked, StoreError>>, LedgerError> {
        let Self { database, owner, path } = self;
        let at = |failure: Failure| schema::error_at(path, failure);
        let (mut transaction, in_place) = database
            .begin_wherever_it_is(TransactionBehavior::Immediate)
            .map_err(at)?;
        // Without its lock file, this process looks dead to the others, which would charge its reservations at once.
        let in_place = in_place.and_then(|()| owner.check_in_place()).map_err(at);
        let mut dead = Vec::new();
        if in_place.is_ok() && works.iter().any(Work::asks_for_money) {
            dead = books::charge_dead_owners(&transaction, owner).map_err(|error| at(error.into()))?;
        }
        let mut results = Vec::with_capacity(works.len());
        for work in works {
            let result = match (work, &in_place) {
                (Work::Write(_), Err(displaced)) => Err(displaced.clone().into()),
                _ => {
                    apart(&mut transaction, |connection| apply(connection, owner, work)).map_err(|fault| match fault {
                        Fault::Refused(error) => error,
                        Fault::Database(failure) => at(failure).into(),
                    })
                }
            };
            results.push(result);
        }
        // Some failures, such as a full disk, make SQLite roll everything back.
        transaction.commit().map_err(|error| at(error.into()))?;
        dead.into_iter().for_each(DeadOwner::remove_lock_file);
        if let Err(error) = in_place {
            for (work, _) in works.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
                if let Work::Close(closing) = work {
                    let reservation = &closing.id;
                    tracing::warn!(%reservation, %error, "a reservation was closed only in the ledger's old file");
                }
            }
        }
        Ok(results)
    }

    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        let Self { database, path, .. } = self;
        let read = || {
            let transaction = database.begin(TransactionBehavior::Deferred)?;
            Ok(work(&transaction)?)
        };
        read().map_err(|failure: Failure| schema::error_at(path, failure))
    }
}

/// Runs `work` so that its failure undoes what it did and nothing else.
fn apart<T>(transaction: &mut Transaction<'_>, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    // Dropped, it rolls back.
    let savepoint = transaction.savepoint()?;
    let result = work(&savepoint)?;
    savepoint.commit()?;
    Ok(result)
}

fn apply(connection: &Connection, owner: &Owner, work: &Work<'_>) -> Result<Worked, Fault> {
    match work {
        Work::Close(closing) => Ok(Worked::Closed(books::close(connection, closing)?)),
        Work::Write(changes) => {
            let changes = changes.iter().map(|change| match change {
                Change::Reserve(request) => Ok(Applied::Reserved(books::reserve(connection, owner, request)?)),
                Change::SetLimit { scope, limit } => {
                    books::set_limit(connection, *scope, *limit)?;
                    Ok(Applied::Done)
                }
            });
            Ok(Worked::Written(changes.collect::<Result<_, Fault>>()?))
        }
    }
}

impl Backend for Sqlite {
    fn commit(&mut self, works: &[Work<'_>]) -> Vec<Result<Worked, StoreError>> {
        self.commit_together(works)
            .unwrap_or_else(|error| works.iter().map(|_| Err(error.clone().into())).collect())
    }

    fn books(&mut self) -> &mut dyn BookReader {
        self
    }
}

impl BookReader for Sqlite {
    fn status(
        &mut self,
        tenant: &str,
        session_id: Option<&str>,
        settings: &BudgetSettings,
        now: Timestamp,
    ) -> Result<Vec<BudgetStatus>, LedgerError> {
        self.read(|connection| books::status(connection, tenant, session_id, settings, now))
    }

    fn effective(&mut self, settings: &BudgetSettings) -> Result<BudgetSettings, LedgerError> {
        self.read(|connection| books::effective(connection, settings))
    }

    fn limit_overrides(&mut self) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError> {
        self.read(books::limit_overrides)
    }

    fn export(&mut self, after: Option<&ReservationId>, count: u32) -> Result<Vec<LedgerRow>, LedgerError> {
        self.read(|connection| books::page(connection, after, count))
    }
}

/// Undoes one work: the database failed, or a rule refused.
#[derive(Debug)]
enum Fault {
    Database(Failure),
    Refused(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

/// Statements that are compiled once per connection.
trait Statements {
    /// Runs a statement and returns the number of changed rows.
    fn run(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize>;

    /// The row that the query finds, if any.
    fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>>;
}

impl Statements for Connection {
    fn run(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.prepare_cached(sql)?.execute(params)
    }

    fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.prepare_cached(sql)?.query_row(params, read).optional()
    }
}
