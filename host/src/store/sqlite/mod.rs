//! The store in SQLite.
//!
//! Every commit is one `BEGIN IMMEDIATE` transaction. So two processes never decide on the same balance, and a crash leaves
//! either a caller's whole change or none of it.

mod approvals;
mod balances;
mod books;
mod breakers;
mod checkpoint;
mod clock;
mod journal;
mod liveness;
mod schema;
mod spending;
mod usage;
mod witness;

#[cfg(test)]
mod books_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Params, Row, Transaction, TransactionBehavior};

use self::balances::Balances;
use self::checkpoint::Checkpoints;
use self::liveness::{DeadOwner, Owner};
use self::witness::{Comparison, UNFLUSHED_STEP, Witness};
use super::backend::{ApprovalFilter, SessionFilter, StoredFact, UsageFilter, Worked};
use super::breakers::{BreakerOrder, BreakerRecord};
use super::{Applied, BUSY_TIMEOUT, Backend, Change, Durability, StoreError, Work};
use crate::fault::{self, Point};
use crate::ledger::{
    BookReader, BudgetLimits, BudgetStatus, LedgerError, LedgerRow, LimitOverride, ReservationId, Restored, Scope,
    Spending, SpendingFilter, Unusual,
};
use crate::session::{Approval, SessionInfo, UsageRow};
use crate::sqlite::{Database, Failure, connect, refuse_writes};

/// One database, and this process's identity in it.
#[derive(Debug)]
pub(super) struct Sqlite {
    /// `None` where nothing is written to a disk. Declared before the database, whose connection must be the last to close.
    checkpoints: Option<Checkpoints>,
    // Declared before the owner, so that the database closes while this process still counts as alive.
    database: Database,
    owner: Arc<Owner>,
    path: PathBuf,
    /// `None` in memory.
    witness: Option<Witness>,
    durability: Durability,
    /// What the last commit left.
    balances: Balances,
    /// Commits that moved money since the last one that was flushed, where not all are.
    unflushed: u32,
    /// Whether the write-ahead log may hold what was deleted.
    holds_deleted: bool,
}

impl Sqlite {
    pub(super) fn open(path: &Path, durability: Durability, busy: Duration) -> Result<Self, LedgerError> {
        let (mut database, path) = schema::open(path, durability, busy)?;
        let at = |error: rusqlite::Error| schema::error_at(&path, error);
        let transaction = database
            .begin(TransactionBehavior::Immediate)
            .map_err(|failure| schema::error_at(&path, failure))?;
        let owner = Owner::of_this_process(&path).map_err(|error| schema::error_at(&path, error))?;
        let mut balances = Balances::default();
        let mut dead = books::charge_dead_owners(&transaction, &mut balances, &owner).map_err(at)?;
        balances.write(&transaction).map_err(at)?;
        // Dead owners without open reservations still leave a lock file.
        dead.extend(owner.other_ids().iter().filter_map(|id| owner.find_dead(id)));
        let generation = witness::generation(&transaction).map_err(at)?;
        let witness = Witness::of(&path, generation).map_err(|error| schema::error_at(&path, error))?;
        transaction.commit().map_err(at)?;
        dead.into_iter().for_each(DeadOwner::remove_lock_file);
        let checkpoints = Some(Checkpoints::of(&mut database).map_err(at)?);
        Ok(Self {
            checkpoints,
            database,
            owner,
            path,
            witness: Some(witness),
            durability,
            balances: Balances::default(),
            unflushed: 0,
            holds_deleted: false,
        })
    }

    pub(super) fn open_read_only(path: &Path, busy: Duration) -> Result<Self, LedgerError> {
        let (database, path) = schema::open_read_only(path, busy)?;
        Ok(Self {
            checkpoints: None,
            database,
            owner: Owner::reader(&path),
            witness: Some(Witness::beside(&path)),
            path,
            durability: Durability::default(),
            balances: Balances::default(),
            unflushed: 0,
            holds_deleted: false,
        })
    }

    pub(super) fn in_memory() -> Result<Self, LedgerError> {
        let path = PathBuf::from("(in memory)");
        let database = schema::in_memory().map_err(|failure| schema::error_at(&path, failure))?;
        Ok(Self {
            checkpoints: None,
            database,
            owner: Owner::without_lock(),
            path,
            witness: None,
            durability: Durability::default(),
            balances: Balances::default(),
            unflushed: 0,
            holds_deleted: false,
        })
    }

    /// Another connection that only reads, and leaves the write-ahead log to this one.
    fn reader(&self) -> Result<Self, Failure> {
        let connection = connect(&self.path, BUSY_TIMEOUT)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        refuse_writes(&connection)?;
        Ok(Self {
            checkpoints: None,
            database: self.database.another(connection)?,
            owner: Arc::clone(&self.owner),
            path: self.path.clone(),
            witness: Some(Witness::beside(&self.path)),
            durability: self.durability,
            balances: Balances::default(),
            unflushed: 0,
            holds_deleted: false,
        })
    }

    /// Applies the works in one transaction. An error fails all of them.
    fn commit_together(&mut self, works: &[Work<'_>]) -> Result<Vec<Result<Worked, StoreError>>, LedgerError> {
        let is_flushed = match self.durability {
            Durability::PowerLoss => true,
            Durability::ProcessCrash => self.is_due(works),
        };
        if !is_flushed || self.durability == Durability::PowerLoss {
            return self.commit_at_once(works, is_flushed);
        }
        let synchronous = |store: &Self, level: &str| {
            let set = store.database.pragma_update(None, "synchronous", level);
            set.map_err(|error| schema::error_at(&store.path, error))
        };
        synchronous(self, "FULL")?;
        let results = self.commit_at_once(works, true);
        synchronous(self, "NORMAL")?;
        results
    }

    /// Whether this commit is to be flushed although the others aren't: the first that moves money, some later ones, and one that a
    /// person asks for.
    fn is_due(&mut self, works: &[Work<'_>]) -> bool {
        if !works.iter().any(Work::is_missed) {
            return false;
        }
        let is_due = self.unflushed == 0 || works.iter().any(Work::confirms);
        self.unflushed = match is_due {
            true => UNFLUSHED_STEP - 1,
            false => self.unflushed - 1,
        };
        is_due
    }

    /// Nearly always all works succeed, and to keep them apart costs more than they do. So that is done once one has failed.
    fn commit_at_once(
        &mut self,
        works: &[Work<'_>],
        is_flushed: bool,
    ) -> Result<Vec<Result<Worked, StoreError>>, LedgerError> {
        match self.try_commit(works, is_flushed, false)? {
            Some(results) => Ok(results),
            None => Ok(self.try_commit(works, is_flushed, true)?.unwrap_or_default()),
        }
    }

    /// A commit that is flushed raises the generation if it moves money. `None`: a work has failed, and nothing is committed because the
    /// works aren't kept apart.
    fn try_commit(
        &mut self,
        works: &[Work<'_>],
        is_flushed: bool,
        is_apart: bool,
    ) -> Result<Option<Vec<Result<Worked, StoreError>>>, LedgerError> {
        let Self {
            checkpoints,
            database,
            owner,
            path,
            witness,
            holds_deleted,
            balances: kept,
            ..
        } = self;
        let at = |failure: Failure| schema::error_at(path, failure);
        let (mut transaction, in_place) = database
            .begin_wherever_it_is(TransactionBehavior::Immediate)
            .map_err(at)?;
        // Without its lock file, this process looks dead to the others, which would charge its reservations at once.
        let in_place = in_place.and_then(|()| owner.check_in_place()).map_err(at);
        // Put back once all of it is committed.
        let mut balances = std::mem::take(kept);
        balances.refresh(&transaction).map_err(|error| at(error.into()))?;
        let mut dead = Vec::new();
        if in_place.is_ok() && works.iter().any(Work::asks_for_money) {
            let charged = books::charge_dead_owners(&transaction, &mut balances, owner);
            dead = charged.map_err(|error| at(error.into()))?;
            balances.write(&transaction).map_err(|error| at(error.into()))?;
        }
        let is_missed = in_place.is_ok() && works.iter().any(Work::is_missed);
        let witness = witness.as_ref().filter(|_| is_missed);
        let compared = witness.map(|witness| witness.compare(&transaction)).transpose();
        let compared = compared.map_err(|fault| fault.at(path).into_ledger())?;
        let restored = compared.and_then(Comparison::restored);
        let mut results = Vec::with_capacity(works.len());
        for work in works {
            let result = match (work, &in_place, restored) {
                (Work::Write(_), Err(displaced), _) => Err(displaced.clone().into()),
                (_, Ok(()), Some(restored)) if work.needs_newest() => Err(LedgerError::Restored {
                    path: path.clone(),
                    restored,
                }
                .into()),
                _ => match is_apart {
                    true => apart(&mut transaction, |connection| {
                        let mut balances = Balances::default();
                        let worked = apply(connection, &mut balances, owner, restored, work)?;
                        balances.write(connection)?;
                        Ok(worked)
                    }),
                    false => apply(&transaction, &mut balances, owner, restored, work),
                }
                .map_err(|fault| fault.at(path)),
            };
            if !is_apart && result.is_err() {
                return Ok(None);
            }
            // Some failures, such as a full disk, make SQLite roll everything back. What followed would be committed by itself.
            if transaction.is_autocommit() {
                return Err(match result {
                    Err(StoreError::Ledger(error)) => error,
                    _ => LedgerError::Interrupted,
                });
            }
            results.push(result);
        }
        let done = works.iter().zip(&results).filter(|(_, result)| result.is_ok());
        let has_moved = done.clone().any(|(work, _)| work.is_missed());
        let is_accepted = restored.is_none() || done.map(|(work, _)| work).any(Work::confirms);
        let is_raised = is_flushed && has_moved && is_accepted;
        let raised = compared
            .filter(|_| is_raised)
            .map(|compared| compared.raise(&transaction));
        let raised = raised.transpose().map_err(|error| at(error.into()))?;
        match balances.write(&transaction) {
            // Kept apart, only those fail that it concerns.
            Err(_) if !is_apart => return Ok(None),
            written => written.map_err(|error| at(error.into()))?,
        }
        let mut to_witness = witness.zip(raised);
        // A copy is accepted only if its witness can say so. If the commit fails after this, it is refused as before.
        if restored.is_some()
            && let Some((witness, generation)) = to_witness.take()
        {
            witness
                .advance(generation)
                .map_err(|error| schema::error_at(witness.path(), error))?;
        }
        fault::passes(Point::CommitReady);
        transaction.commit().map_err(|error| at(error.into()))?;
        fault::passes(Point::CommitDone);
        if !is_apart {
            *kept = balances;
        }
        if let Some((witness, generation)) = to_witness
            && let Err(error) = witness.advance(generation)
        {
            let error = schema::error_at(witness.path(), error);
            tracing::warn!(%error, "could not write down how new the ledger is, so an older copy of it may not be noticed");
        }
        if raised.is_some() {
            fault::passes(Point::WitnessMoved);
        }
        dead.into_iter().for_each(DeadOwner::remove_lock_file);
        *holds_deleted |= results.iter().flatten().any(Worked::has_deleted);
        if *holds_deleted {
            // A reader can prevent it; then it is done after a later commit.
            // In memory there is no log.
            *holds_deleted = checkpoints
                .as_ref()
                .is_some_and(|checkpoints| !checkpoints.empty_log(database));
        }
        if let Some(checkpoints) = checkpoints {
            checkpoints.after_commit(database, path);
        }
        if let Err(error) = in_place {
            for (work, _) in works.iter().zip(&results).filter(|(_, result)| result.is_ok()) {
                if let Work::Close(closing) = work {
                    let reservation = &closing.id;
                    tracing::warn!(%reservation, %error, "a reservation was closed only in the ledger's old file");
                }
            }
        }
        Ok(Some(results))
    }

    fn read<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        read(&mut self.database, &self.path, work)
    }

    fn read_books<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        self.read(|connection| Ok(work(connection)?))
            .map_err(StoreError::into_ledger)
    }
}

/// Reads in one snapshot.
fn read<T>(
    database: &mut Database,
    path: &Path,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, StoreError> {
    let read = || {
        let transaction = database.begin(TransactionBehavior::Deferred)?;
        work(&transaction)
    };
    read().map_err(|fault: Fault| fault.at(path))
}

/// Runs `work` so that its failure undoes what it did and nothing else.
fn apart<T>(transaction: &mut Transaction<'_>, work: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
    // Dropped, it rolls back.
    let savepoint = transaction.savepoint()?;
    let result = work(&savepoint)?;
    savepoint.commit()?;
    Ok(result)
}

fn apply(
    connection: &Connection,
    balances: &mut Balances,
    owner: &Owner,
    restored: Option<Restored>,
    work: &Work<'_>,
) -> Result<Worked, Fault> {
    match work {
        Work::Close(closing) => Ok(Worked::Closed(books::close(connection, balances, closing)?)),
        Work::Write(changes) => {
            let applied = changes.iter();
            let applied = applied.map(|change| apply_change(connection, balances, owner, restored, change));
            Ok(Worked::Written(applied.collect::<Result<_, Fault>>()?))
        }
    }
}

fn apply_change(
    connection: &Connection,
    balances: &mut Balances,
    owner: &Owner,
    restored: Option<Restored>,
    change: &Change,
) -> Result<Applied, Fault> {
    match change {
        Change::Reserve(id, request) => books::reserve(connection, balances, owner, id, request)?,
        Change::SetLimit { scope, tenant, limit } => books::set_limit(connection, balances, *scope, tenant, *limit)?,
        Change::Reverse(id, request) => {
            let reversal = books::reverse(connection, balances, id, request)?;
            return Ok(Applied::Reversed(reversal));
        }
        Change::Confirm(now) => {
            let ahead = books::book_today(connection, balances, *now)?;
            return Ok(Applied::Confirmed(Unusual { restored, ahead }));
        }
        Change::OpenSession { id, tenant, title } => journal::open(connection, owner, id, tenant, title)?,
        Change::Lease { id } => return Ok(Applied::Leased(journal::lease(connection, owner, id)?)),
        Change::Release { id, lease } => journal::release(connection, id, *lease)?,
        Change::Append {
            id,
            lease,
            first,
            facts,
            outcome,
        } => journal::append(connection, id, *lease, *first, facts, *outcome)?,
        Change::DeleteSession { id } => {
            journal::delete(connection, owner, id)?;
            return Ok(Applied::Deleted(1));
        }
        Change::DeleteExpired {
            now,
            retention,
            max_bytes,
        } => {
            let passed = clock::passed(connection, *now)?;
            let before = passed.and_then(|passed| passed.checked_sub(*retention).ok());
            let expired = journal::expired(connection, owner, before, *max_bytes)?;
            for id in &expired {
                journal::delete(connection, owner, id)?;
            }
            return Ok(Applied::Deleted(expired.len()));
        }
        Change::CountCall(call) => usage::count(connection, call)?,
        Change::RequestApproval(approval) => approvals::request(connection, approval)?,
        Change::Decide { id, decision, at } => {
            let decided = approvals::decide(connection, id, decision, *at)?;
            return Ok(Applied::Decided(Box::new(decided)));
        }
        Change::AdvanceApproval { id, to } => approvals::advance(connection, id, *to)?,
        Change::RecordBreaker(record) => breakers::record(connection, record)?,
        Change::OrderBreaker { name, to, at } => breakers::order(connection, name, *to, *at)?,
    }
    Ok(Applied::Done)
}

impl Backend for Sqlite {
    fn commit(&mut self, works: &[Work<'_>]) -> Vec<Result<Worked, StoreError>> {
        self.commit_together(works)
            .unwrap_or_else(|error| works.iter().map(|_| Err(error.clone().into())).collect())
    }

    fn open_reader(&self) -> Option<Box<dyn Backend>> {
        // Who can't write has no commits to hold up.
        self.checkpoints.as_ref()?;
        match self.reader() {
            Ok(reader) => Some(Box::new(reader)),
            Err(error) => {
                tracing::debug!(
                    ?error,
                    "could not open the database a second time, so commits wait for this read"
                );
                None
            }
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used)]
    fn limit_pages(&mut self, more: u32) {
        let pages: u32 = self
            .database
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        self.database
            .pragma_update(None, "max_page_count", pages + more)
            .unwrap();
    }

    fn books(&mut self) -> &mut dyn BookReader {
        self
    }

    fn sessions(&mut self, filter: &SessionFilter) -> Result<Vec<SessionInfo>, StoreError> {
        let owner = Arc::clone(&self.owner);
        self.read(|connection| Ok(journal::sessions(connection, &owner, filter)?))
    }

    fn facts(&mut self, id: &str, after: u64, bytes: usize) -> Result<Vec<StoredFact>, StoreError> {
        self.read(|connection| Ok(journal::facts(connection, id, after, bytes)?))
    }

    fn usage(&mut self, filter: &UsageFilter) -> Result<Vec<UsageRow>, StoreError> {
        self.read(|connection| Ok(usage::find(connection, filter)?))
    }

    fn approvals(&mut self, filter: &ApprovalFilter) -> Result<Vec<Approval>, StoreError> {
        self.read(|connection| Ok(approvals::find(connection, filter)?))
    }

    fn breakers(&mut self) -> Result<Vec<BreakerRecord>, StoreError> {
        self.read(|connection| Ok(breakers::all(connection)?))
    }

    fn breaker_orders(&mut self, after: Option<u64>) -> Result<Vec<BreakerOrder>, StoreError> {
        self.read(|connection| Ok(breakers::orders(connection, after)?))
    }
}

impl BookReader for Sqlite {
    fn status(
        &mut self,
        tenant: &str,
        session_id: Option<&str>,
        limits: &BudgetLimits,
        now: Timestamp,
    ) -> Result<Vec<BudgetStatus>, LedgerError> {
        let Self {
            database,
            path,
            balances,
            ..
        } = self;
        let status = read(database, path, |connection| {
            balances.refresh(connection)?;
            Ok(books::status(connection, balances, tenant, session_id, limits, now)?)
        });
        status.map_err(StoreError::into_ledger)
    }

    fn limit_overrides(&mut self, tenant: &str) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError> {
        self.read_books(|connection| Ok(balances::read_overrides(connection, tenant)?.to_vec()))
    }

    fn tenants(&mut self, now: Timestamp) -> Result<Vec<String>, LedgerError> {
        self.read_books(|connection| books::tenants(connection, now))
    }

    fn unusual(&mut self, now: Timestamp) -> Result<Unusual, LedgerError> {
        let Self {
            database,
            witness,
            path,
            ..
        } = self;
        let unusual = read(database, path, |connection| {
            let compared = witness
                .as_ref()
                .map(|witness| witness.compare(connection))
                .transpose()?;
            Ok(Unusual {
                restored: compared.and_then(Comparison::restored),
                ahead: books::ahead(connection, now)?,
            })
        });
        unusual.map_err(StoreError::into_ledger)
    }

    fn spending(&mut self, filter: &SpendingFilter) -> Result<Vec<Spending>, LedgerError> {
        self.read_books(|connection| spending::spending(connection, filter))
    }

    fn export(&mut self, after: Option<&ReservationId>, count: u32) -> Result<Vec<LedgerRow>, LedgerError> {
        self.read_books(|connection| books::page(connection, after, count))
    }

    fn reversals(&mut self, of: &ReservationId) -> Result<Vec<LedgerRow>, LedgerError> {
        self.read_books(|connection| books::reversals(connection, of))
    }
}

/// The condition for rows whose id begins with a parameter, if it is given. A range of the key, so that no other rows are read.
fn by_id(prefix: Option<&str>, parameter: &str) -> String {
    match prefix {
        // The last of all characters.
        Some(_) => format!("id >= {parameter} AND id < {parameter} || char(1114111)"),
        None => format!("{parameter} IS NULL"),
    }
}

/// The error for a text in a row that nothing of this program has written.
fn unreadable(what: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, what.into())
}

/// Undoes one work: the database failed, or a rule refused.
#[derive(Debug)]
enum Fault {
    Database(Failure),
    Refused(StoreError),
}

impl Fault {
    fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Refused(error) => error,
            Self::Database(failure) => schema::error_at(path, failure).into(),
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        Self::Database(failure)
    }
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
