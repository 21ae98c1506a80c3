//! The ledger's SQLite store. Everything here blocks.
//!
//! Every change of an amount is one `BEGIN IMMEDIATE` transaction over all scopes. So two processes never decide on the same
//! balance, and a crash leaves either the whole change or none of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::budget::{Totals, admit, thresholds};
use super::closing::Closing;
use super::error::Fault;
use super::liveness::{DeadOwner, Owner};
use super::row::LedgerRow;
use super::scope::{Attribution, Window, utc_day};
use super::{
    BudgetAlert, BudgetSettings, BudgetStatus, LedgerError, LimitOverride, ReservationId, ReserveRequest, Scope,
};
use super::{row, schema};
use crate::money::NanoUsd;
use crate::sqlite::{Database, Failure};

/// The largest amount and the largest total.
const LARGEST: NanoUsd = NanoUsd::from_nanos(i64::MAX as u64);

/// The amount that stands for no limit in the table of overrides. Versions that don't know it read a limit that nobody reaches.
const UNLIMITED: NanoUsd = LARGEST;

/// One database, and this process's identity in it.
#[derive(Debug)]
pub(super) struct Store {
    // Declared before the owner, so that the database closes while this process still counts as alive.
    database: Database,
    owner: Arc<Owner>,
    path: PathBuf,
}

impl Store {
    pub(super) fn open(path: &Path, busy: Duration) -> Result<Self, LedgerError> {
        let (mut database, path) = schema::open(path, busy)?;
        let at = |error: rusqlite::Error| LedgerError::at(&path, error);
        let transaction = database
            .begin(TransactionBehavior::Immediate)
            .map_err(|failure| LedgerError::at(&path, failure))?;
        let owner = Owner::of_this_process(&path).map_err(|error| LedgerError::at(&path, error))?;
        let mut dead = charge_dead_owners(&transaction, &owner).map_err(at)?;
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
        let database = schema::in_memory().map_err(|failure| LedgerError::at(&path, failure))?;
        Ok(Self {
            database,
            owner: Owner::without_lock(),
            path,
        })
    }

    pub(super) fn reserve(&mut self, request: &ReserveRequest) -> Result<ReservationId, LedgerError> {
        let owner = Arc::clone(&self.owner);
        let (dead, decision) = self.write(|transaction| {
            // Without its lock file, this process looks dead to the others, which would charge the reservation at once.
            owner.check_in_place()?;
            let dead = charge_dead_owners(transaction, &owner)?;
            let decision = match admit_and_reserve(transaction, &owner, request) {
                Err(Fault::Refused(error)) => Err(error),
                other => Ok(other?),
            };
            Ok((dead, decision))
        })?;
        dead.into_iter().for_each(DeadOwner::remove_lock_file);
        decision
    }

    /// Closes a reservation that is open, or that was charged in full while its owner seemed dead. With `limits`, returns the
    /// thresholds that it is the first to reach.
    ///
    /// Books where the reservation is, even if that file is displaced: it may come back, and no other file has the reservation.
    pub(super) fn close(
        &mut self,
        id: &ReservationId,
        closing: &Closing,
        limits: Option<&BudgetSettings>,
    ) -> Result<Vec<BudgetAlert>, LedgerError> {
        let alerts = self.close_wherever_it_is(id, closing, limits)?;
        if let Err(failure) = self.database.check_in_place() {
            let error = LedgerError::at(&self.path, failure);
            tracing::warn!(reservation = %id, %error, "a reservation was closed only in the ledger's old file");
        }
        Ok(alerts)
    }

    fn close_wherever_it_is(
        &mut self,
        id: &ReservationId,
        closing: &Closing,
        limits: Option<&BudgetSettings>,
    ) -> Result<Vec<BudgetAlert>, LedgerError> {
        let work = |transaction: &Transaction<'_>| {
            let Some(entry) = Entry::find(transaction, id)? else {
                return Err(not_open(id));
            };
            let charged = match entry.state.as_str() {
                "open" => false,
                "charged" => true,
                _ => return Err(not_open(id)),
            };
            let (state, spent) = match closing {
                Closing::Settle(settlement) => ("settled", settlement.amount),
                Closing::Release => ("released", NanoUsd::ZERO),
                Closing::Charge => ("charged", entry.reserved),
            };
            let before = if charged {
                Totals::spent(entry.reserved)
            } else {
                Totals::reserved(entry.reserved)
            };
            update_totals(transaction, &entry.attribution(), before, Totals::spent(spent))?;
            let settlement = match closing {
                Closing::Settle(settlement) => Some(settlement),
                _ => None,
            };
            transaction.execute(
                "UPDATE reservations SET state = ?2, spent = ?3, estimated = ?4, usage = ?5, closed_at = ?6 WHERE id = ?1",
                params![
                    id.as_str(),
                    state,
                    spent,
                    settlement.map_or(matches!(closing, Closing::Charge), |settlement| settlement.estimated),
                    settlement.and_then(|settlement| settlement.usage.as_deref()),
                    Timestamp::now().to_string(),
                ],
            )?;
            limits.map_or(Ok(Vec::new()), |limits| {
                new_alerts(transaction, &entry.attribution(), limits)
            })
        };
        let transaction = self.database.begin_wherever_it_is(TransactionBehavior::Immediate);
        complete(transaction, work).map_err(|fault| fault.at(&self.path))
    }

    /// The configured limits, with overrides applied.
    pub(super) fn effective(&mut self, settings: &BudgetSettings) -> Result<BudgetSettings, LedgerError> {
        self.read(|transaction| Ok(effective(transaction, settings)?))
    }

    pub(super) fn limit_overrides(&mut self) -> Result<Vec<(Scope, Option<LimitOverride>)>, LedgerError> {
        self.read(|transaction| {
            let mut overrides = Vec::with_capacity(Scope::ALL.len());
            for scope in Scope::ALL {
                overrides.push((scope, limit_override(transaction, scope)?));
            }
            Ok(overrides)
        })
    }

    pub(super) fn set_limit(&mut self, scope: Scope, limit: Option<LimitOverride>) -> Result<(), LedgerError> {
        let amount = limit.map(|limit| limit.limit().unwrap_or(UNLIMITED));
        self.write(|transaction| {
            match amount {
                None => transaction.execute("DELETE FROM limits WHERE scope = ?1", [scope.name()])?,
                Some(amount) if amount > LARGEST || limit == Some(LimitOverride::Usd(UNLIMITED)) => {
                    return Err(Fault::Refused(LedgerError::TooLarge { amount }));
                }
                Some(amount) => transaction.execute(
                    "INSERT OR REPLACE INTO limits (scope, amount) VALUES (?1, ?2)",
                    params![scope.name(), amount],
                )?,
            };
            Ok(())
        })
    }

    pub(super) fn status(
        &mut self,
        tenant: &str,
        session_id: Option<&str>,
        settings: &BudgetSettings,
        now: Timestamp,
    ) -> Result<Vec<BudgetStatus>, LedgerError> {
        let day = utc_day(now);
        self.read(|transaction| {
            let limits = effective(transaction, settings)?;
            let attribution = Attribution {
                tenant,
                session_id: session_id.unwrap_or_default(),
                day: &day,
            };
            Scope::ALL
                .into_iter()
                .filter(|scope| *scope != Scope::Session || session_id.is_some())
                .map(|scope| {
                    Ok(BudgetStatus::new(
                        scope,
                        limits.limit(scope),
                        totals(transaction, &scope.window(&attribution))?,
                    ))
                })
                .collect()
        })
    }

    pub(super) fn export(&mut self, after: Option<&ReservationId>, count: u32) -> Result<Vec<LedgerRow>, LedgerError> {
        self.read(|transaction| Ok(row::page(transaction, after, count)?))
    }

    fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, LedgerError> {
        self.transact(TransactionBehavior::Immediate, work)
    }

    fn read<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>) -> Result<T, LedgerError> {
        self.transact(TransactionBehavior::Deferred, work)
    }

    fn transact<T>(
        &mut self,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, LedgerError> {
        complete(self.database.begin(behavior), work).map_err(|fault| fault.at(&self.path))
    }
}

/// Commits what `work` did, or rolls it back if it fails.
fn complete<T>(
    transaction: Result<Transaction<'_>, Failure>,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let transaction = transaction?;
    let result = work(&transaction)?;
    transaction.commit()?;
    Ok(result)
}

/// Checks every scope, then reserves in every scope, or refuses.
fn admit_and_reserve(
    transaction: &Transaction<'_>,
    owner: &Owner,
    request: &ReserveRequest,
) -> Result<ReservationId, Fault> {
    let ReserveRequest {
        tenant,
        session_id,
        model,
        amount,
        limits,
        now,
    } = request;
    let day = utc_day(*now);
    let attribution = Attribution {
        tenant,
        session_id,
        day: &day,
    };
    let limits = effective(transaction, limits)?;
    for scope in Scope::ALL {
        let before = totals(transaction, &scope.window(&attribution))?;
        admit(scope, limits.limit(scope), before, *amount).map_err(|refusal| Fault::Refused(refusal.into()))?;
        let needed = before.spent.saturating_add(before.reserved).saturating_add(*amount);
        if needed > LARGEST {
            return Err(Fault::Refused(LedgerError::TooLarge { amount: needed }));
        }
    }
    update_totals(transaction, &attribution, Totals::default(), Totals::reserved(*amount))?;
    let id = Uuid::now_v7().to_string();
    transaction.execute(
        "INSERT INTO reservations (id, owner, tenant, session_id, model, day, reserved_at, state, reserved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8)",
        params![id, owner.id(), tenant, session_id, model, day, now.to_string(), amount],
    )?;
    Ok(ReservationId::new(id))
}

/// Charges the open reservations of dead owners in full. Remove their lock files only after this is committed.
fn charge_dead_owners(transaction: &Transaction<'_>, owner: &Owner) -> rusqlite::Result<Vec<DeadOwner>> {
    let mut owners =
        transaction.prepare("SELECT DISTINCT owner FROM reservations WHERE state = 'open' AND owner <> ?1")?;
    let owners = owners
        .query_map([owner.id()], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut dead = Vec::new();
    for id in owners {
        let Some(proof) = owner.find_dead(&id) else { continue };
        for entry in Entry::open_of_owner(transaction, &id)? {
            let (before, after) = (Totals::reserved(entry.reserved), Totals::spent(entry.reserved));
            update_totals(transaction, &entry.attribution(), before, after)?;
        }
        let count = transaction.execute(
            "UPDATE reservations SET state = 'charged', spent = reserved, estimated = 1, closed_at = ?2
             WHERE state = 'open' AND owner = ?1",
            params![id, Timestamp::now().to_string()],
        )?;
        tracing::warn!(
            owner = id,
            reservations = count,
            "a process ended with open reservations, which are charged in full"
        );
        dead.push(proof);
    }
    Ok(dead)
}

/// Records the thresholds that the windows have reached, and returns those that were not announced before.
fn new_alerts(
    transaction: &Transaction<'_>,
    attribution: &Attribution<'_>,
    settings: &BudgetSettings,
) -> Result<Vec<BudgetAlert>, Fault> {
    let limits = effective(transaction, settings)?;
    let mut alerts = Vec::new();
    for scope in Scope::ALL {
        let Some(limit) = limits.limit(scope) else { continue };
        let window = scope.window(attribution);
        let Totals { spent, .. } = totals(transaction, &window)?;
        for percent in thresholds(spent, limit) {
            let first = transaction.execute(
                "INSERT OR IGNORE INTO alerts (scope, tenant, period, amount, percent) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![window.scope.name(), window.tenant, window.period, limit, percent],
            )?;
            if first == 1 {
                alerts.push(BudgetAlert {
                    scope,
                    percent,
                    spent_usd: spent,
                    limit_usd: limit,
                });
            }
        }
    }
    Ok(alerts)
}

fn effective(transaction: &Transaction<'_>, settings: &BudgetSettings) -> rusqlite::Result<BudgetSettings> {
    let mut limits = settings.clone();
    for scope in Scope::ALL {
        if let Some(set) = limit_override(transaction, scope)? {
            limits.set(scope, set.limit());
        }
    }
    Ok(limits)
}

fn limit_override(transaction: &Transaction<'_>, scope: Scope) -> rusqlite::Result<Option<LimitOverride>> {
    let amount: Option<NanoUsd> = transaction
        .query_row("SELECT amount FROM limits WHERE scope = ?1", [scope.name()], |row| {
            row.get(0)
        })
        .optional()?;
    Ok(amount.map(|amount| match amount {
        UNLIMITED => LimitOverride::Unlimited,
        amount => LimitOverride::Usd(amount),
    }))
}

fn totals(transaction: &Transaction<'_>, window: &Window<'_>) -> rusqlite::Result<Totals> {
    let found = transaction
        .query_row(
            "SELECT spent, reserved FROM totals WHERE scope = ?1 AND tenant = ?2 AND period = ?3",
            params![window.scope.name(), window.tenant, window.period],
            |row| {
                Ok(Totals {
                    spent: row.get(0)?,
                    reserved: row.get(1)?,
                })
            },
        )
        .optional()?;
    Ok(found.unwrap_or_default())
}

/// Replaces one reservation's contribution to the totals of each of its windows.
fn update_totals(
    transaction: &Transaction<'_>,
    attribution: &Attribution<'_>,
    before: Totals,
    after: Totals,
) -> rusqlite::Result<()> {
    for scope in Scope::ALL {
        let window = scope.window(attribution);
        let Totals { spent, reserved } = totals(transaction, &window)?;
        transaction.execute(
            "INSERT OR REPLACE INTO totals (scope, tenant, period, spent, reserved) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                window.scope.name(),
                window.tenant,
                window.period,
                spent.saturating_sub(before.spent).saturating_add(after.spent),
                reserved.saturating_sub(before.reserved).saturating_add(after.reserved),
            ],
        )?;
    }
    Ok(())
}

fn not_open(id: &ReservationId) -> Fault {
    Fault::Refused(LedgerError::NotOpen { id: id.to_string() })
}

/// The columns that closing a reservation needs.
struct Entry {
    tenant: String,
    session_id: String,
    day: String,
    state: String,
    reserved: NanoUsd,
}

impl Entry {
    const COLUMNS: &'static str = "tenant, session_id, day, state, reserved";

    fn find(transaction: &Transaction<'_>, id: &ReservationId) -> rusqlite::Result<Option<Self>> {
        let query = format!("SELECT {} FROM reservations WHERE id = ?1", Self::COLUMNS);
        transaction.query_row(&query, [id.as_str()], Self::from_row).optional()
    }

    fn open_of_owner(transaction: &Transaction<'_>, owner: &str) -> rusqlite::Result<Vec<Self>> {
        let query = format!(
            "SELECT {} FROM reservations WHERE state = 'open' AND owner = ?1",
            Self::COLUMNS
        );
        transaction
            .prepare(&query)?
            .query_map([owner], Self::from_row)?
            .collect()
    }

    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            tenant: row.get(0)?,
            session_id: row.get(1)?,
            day: row.get(2)?,
            state: row.get(3)?,
            reserved: row.get(4)?,
        })
    }

    fn attribution(&self) -> Attribution<'_> {
        Attribution {
            tenant: &self.tenant,
            session_id: &self.session_id,
            day: &self.day,
        }
    }
}
