//! The ledger's rows in SQLite. Every function works inside a transaction that its caller holds.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::balances::{Balances, LARGEST, UNLIMITED};
use super::liveness::{DeadOwner, Owner};
use super::{Fault, Statements};
use crate::ledger::{
    self, Ahead, Attribution, BudgetAlert, BudgetExceeded, BudgetLimits, BudgetStatus, Charge, Closing, LedgerError,
    LedgerRow, LimitOverride, PendingClosing, ReservationId, ReserveRequest, Reversal, ReversalError, ReversalRequest,
    Scope, Totals, admit, thresholds, utc_day,
};
use crate::money::NanoUsd;
use crate::store::ABANDONED;

/// Closes a reservation that is open, or that was charged in full while its owner seemed dead. If somebody waits for them, returns
/// the thresholds that it is the first to reach.
pub(super) fn close(
    connection: &Connection,
    balances: &mut Balances,
    pending: &PendingClosing,
) -> Result<Vec<BudgetAlert>, Fault> {
    let PendingClosing {
        id, closing, limits, ..
    } = pending;
    let Some(entry) = Entry::find(connection, id)? else {
        return Err(not_open(id));
    };
    let charged = match entry.state.as_str() {
        "open" => false,
        // What was corrected is final.
        "charged" if entry.reversed == NanoUsd::ZERO => true,
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
    balances.replace(connection, &entry.attribution(), before, Totals::spent(spent))?;
    let settlement = match closing {
        Closing::Settle(settlement) => Some(settlement),
        _ => None,
    };
    connection.run(
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
    match pending.is_awaited() {
        true => new_alerts(connection, balances, &entry.attribution(), limits),
        false => Ok(Vec::new()),
    }
}

pub(super) fn set_limit(
    connection: &Connection,
    balances: &mut Balances,
    scope: Scope,
    tenant: &str,
    limit: Option<LimitOverride>,
) -> Result<(), Fault> {
    balances.forget_overrides();
    let tenant = scope.tenant_of_limit(tenant);
    match limit.map(|limit| limit.limit().unwrap_or(UNLIMITED)) {
        None => connection.run(
            "DELETE FROM limits WHERE scope = ?1 AND tenant = ?2",
            [scope.name(), tenant],
        )?,
        Some(amount) if amount > LARGEST || limit == Some(LimitOverride::Usd(UNLIMITED)) => {
            return Err(Fault::Refused(LedgerError::TooLarge { amount }.into()));
        }
        Some(amount) => connection.run(
            "INSERT OR REPLACE INTO limits (scope, tenant, amount) VALUES (?1, ?2, ?3)",
            params![scope.name(), tenant, amount],
        )?,
    };
    Ok(())
}

/// The tenants that have an override, or that have spent something in this month.
pub(super) fn tenants(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    let day = utc_day(now);
    let attribution = Attribution {
        tenant: "",
        session_id: "",
        day: &day,
    };
    let window = Scope::TenantMonth.window(&attribution);
    let mut tenants = connection.prepare_cached(
        "SELECT tenant FROM totals WHERE scope = ?1 AND period >= ?2
         UNION SELECT tenant FROM limits WHERE tenant <> '' ORDER BY tenant",
    )?;
    tenants
        .query_map([window.scope.name(), window.period], |row| row.get(0))?
        .collect()
}

pub(super) fn status(
    connection: &Connection,
    balances: &mut Balances,
    tenant: &str,
    session_id: Option<&str>,
    limits: &BudgetLimits,
    now: Timestamp,
) -> rusqlite::Result<Vec<BudgetStatus>> {
    let day = utc_day(now);
    let limits = limits.overridden(&balances.overrides(connection, tenant)?);
    let attribution = Attribution {
        tenant,
        session_id: session_id.unwrap_or_default(),
        day: &day,
    };
    Scope::ALL
        .into_iter()
        .filter(|scope| *scope != Scope::Session || session_id.is_some())
        .map(|scope| {
            let window = scope.window(&attribution);
            let totals = balances.counted(connection, scope, &attribution)?;
            Ok(BudgetStatus::new(&window, limits.limit(scope), totals))
        })
        .collect()
}

/// Checks every scope, then reserves in every scope, or refuses.
pub(super) fn reserve(
    connection: &Connection,
    balances: &mut Balances,
    owner: &Owner,
    id: &ReservationId,
    request: &ReserveRequest,
) -> Result<(), Fault> {
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
    let overrides = balances.overrides(connection, tenant)?;
    let limits = limits.overridden(&overrides);
    for scope in Scope::ALL {
        let window = scope.window(&attribution);
        let before = balances.counted(connection, scope, &attribution)?;
        if let Err(refusal) = admit(&window, limits.limit(scope), before, *amount) {
            let own = balances.own(connection, scope, &attribution)?;
            let sum = |totals: Totals| totals.spent.saturating_add(totals.reserved);
            let ahead = sum(before).saturating_sub(sum(own));
            let set = overrides.iter().find(|(of, _)| *of == scope).and_then(|(_, set)| *set);
            let is_override = set.is_some_and(|set| set.limit() == Some(refusal.limit));
            let refusal = BudgetExceeded {
                ahead,
                is_override,
                ..refusal
            };
            return Err(Fault::Refused(LedgerError::from(refusal).into()));
        }
        let needed = before.spent.saturating_add(before.reserved).saturating_add(*amount);
        if needed > LARGEST {
            return Err(Fault::Refused(LedgerError::TooLarge { amount: needed }.into()));
        }
    }
    balances.replace(connection, &attribution, Totals::default(), Totals::reserved(*amount))?;
    connection.run(
        "INSERT INTO reservations (id, owner, tenant, session_id, model, day, reserved_at, state, reserved)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open', ?8)",
        params![
            id.as_str(),
            owner.id(),
            tenant,
            session_id,
            model,
            day,
            now.to_string(),
            amount
        ],
    )?;
    Ok(())
}

/// Books a reversal beside its charge, in the windows of the charge.
pub(super) fn reverse(
    connection: &Connection,
    balances: &mut Balances,
    id: &ReservationId,
    request: &ReversalRequest,
) -> Result<Reversal, Fault> {
    let refused = |error: ReversalError| Fault::Refused(LedgerError::from(error).into());
    let before = Reversal {
        id: id.clone(),
        reverses: request.entry.clone(),
        reversed_usd: NanoUsd::ZERO,
        reason: request.reason.clone(),
        at: Timestamp::now().to_string(),
        is_new: true,
    };
    let booked = connection.find(
        "SELECT id, amount, at FROM reversals WHERE reservation = ?1 AND reason = ?2",
        [request.entry.as_str(), &request.reason],
        |row| {
            Ok(Reversal {
                id: ReservationId::new(row.get(0)?),
                reversed_usd: row.get(1)?,
                at: row.get(2)?,
                is_new: false,
                ..before.clone()
            })
        },
    )?;
    if let Some(booked) = booked {
        return match request.amount.is_none_or(|amount| amount == booked.reversed_usd) {
            true => Ok(booked),
            false => Err(refused(ReversalError::Booked {
                entry: request.entry.clone(),
                booked: booked.reversed_usd,
            })),
        };
    }
    let unknown = || ReversalError::Unknown {
        entry: request.entry.clone(),
    };
    let entry = Entry::find(connection, &request.entry)?.ok_or_else(|| refused(unknown()))?;
    let charge = Charge {
        spent: entry.spent,
        reversed: entry.reversed,
    };
    let amount = ledger::reverse(charge, request).map_err(refused)?;
    balances.replace(
        connection,
        &entry.attribution(),
        Totals::spent(amount),
        Totals::default(),
    )?;
    connection.run(
        "UPDATE reservations SET reversed = reversed + ?2 WHERE id = ?1",
        params![request.entry.as_str(), amount],
    )?;
    connection.run(
        "INSERT INTO reversals (id, reservation, at, amount, reason) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id.as_str(), request.entry.as_str(), before.at, amount, request.reason],
    )?;
    Ok(Reversal {
        reversed_usd: amount,
        ..before
    })
}

/// Charges the open reservations of dead owners in full. Remove their lock files only after this is committed.
pub(super) fn charge_dead_owners(
    connection: &Connection,
    balances: &mut Balances,
    owner: &Owner,
) -> rusqlite::Result<Vec<DeadOwner>> {
    if balances.is_alone() {
        return Ok(Vec::new());
    }
    // Two ranges, so that those of this process aren't read.
    let mut owners = connection.prepare_cached(
        "SELECT DISTINCT owner FROM reservations WHERE state = 'open' AND owner < ?1
         UNION ALL SELECT DISTINCT owner FROM reservations WHERE state = 'open' AND owner > ?1",
    )?;
    let owners = owners
        .query_map([owner.id()], |row| row.get::<_, String>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    if owners.is_empty() {
        balances.note_alone();
    }
    let mut dead = Vec::new();
    for id in owners {
        let Some(proof) = owner.find_dead(&id) else { continue };
        let entries = Entry::open_of_owner(connection, &id)?;
        for (_, entry) in &entries {
            let (before, after) = (Totals::reserved(entry.reserved), Totals::spent(entry.reserved));
            balances.replace(connection, &entry.attribution(), before, after)?;
        }
        connection.run(
            "UPDATE reservations SET state = 'charged', spent = reserved, estimated = 1, closed_at = ?2
             WHERE state = 'open' AND owner = ?1",
            params![id, Timestamp::now().to_string()],
        )?;
        say_charged(&id, &entries);
        dead.push(proof);
    }
    Ok(dead)
}

/// Says what a dead owner is charged: a person can look it up and correct it.
fn say_charged(owner: &str, entries: &[(ReservationId, Entry)]) {
    const NAMED: usize = 3;
    let named = |mut names: Vec<&str>| {
        names.dedup();
        let more = names.len().saturating_sub(NAMED);
        names.truncate(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        format!("{}{more}", names.join(", "))
    };
    let Some((_, first)) = entries.first() else { return };
    let session = &first.session_id;
    let id = match entries {
        [(id, _)] => id.as_str(),
        _ => "ID",
    };
    let ids = named(entries.iter().map(|(id, _)| id.as_str()).collect());
    let sum = entries
        .iter()
        .fold(NanoUsd::ZERO, |sum, (_, entry)| sum.saturating_add(entry.reserved));
    tracing::warn!(
        target: ABANDONED,
        amount_usd = %sum,
        reservations = entries.len(),
        ids,
        sessions = named(entries.iter().map(|(_, entry)| entry.session_id.as_str()).collect()),
        hint = format!(
            "`cofferdam session show {session}` shows what was asked; `cofferdam budget reverse {id} --reason TEXT` takes back what \
             the vendor's bill doesn't have"
        ),
        owner,
        "a process ended in the middle of requests to the model, which are charged in full: what the API billed for them isn't known"
    );
}

/// Records the thresholds that the windows have reached, and returns those that were not announced before.
fn new_alerts(
    connection: &Connection,
    balances: &mut Balances,
    attribution: &Attribution<'_>,
    limits: &BudgetLimits,
) -> Result<Vec<BudgetAlert>, Fault> {
    let limits = limits.overridden(&balances.overrides(connection, attribution.tenant)?);
    let mut alerts = Vec::new();
    for scope in Scope::ALL {
        let Some(limit) = limits.limit(scope) else { continue };
        let window = scope.window(attribution);
        // What a refusal would count.
        let Totals { spent, .. } = balances.counted(connection, scope, attribution)?;
        for percent in thresholds(spent, limit) {
            let first = connection.run(
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

/// What is booked for later days than this time.
pub(super) fn ahead(connection: &Connection, now: Timestamp) -> rusqlite::Result<Option<Ahead>> {
    let mut rows = connection.prepare_cached(
        "SELECT period, spent, reserved FROM totals
         WHERE scope = ?1 AND tenant = '' AND period > ?2 AND spent + reserved > 0 ORDER BY period",
    )?;
    let mut rows = rows.query(params![Scope::HostDay.name(), utc_day(now)])?;
    let mut ahead = None;
    while let Some(row) = rows.next()? {
        let before = ahead.map_or(NanoUsd::ZERO, |ahead: Ahead| ahead.amount_usd);
        let of_day = row.get::<_, NanoUsd>(1)?.saturating_add(row.get(2)?);
        ahead = Some(Ahead {
            day: row.get(0)?,
            amount_usd: before.saturating_add(of_day),
        });
    }
    Ok(ahead)
}

/// Books for this day what is booked for later ones, and says what that was.
pub(super) fn book_today(
    connection: &Connection,
    balances: &mut Balances,
    now: Timestamp,
) -> rusqlite::Result<Option<Ahead>> {
    balances.write(connection)?;
    let ahead = ahead(connection, now)?;
    let day = utc_day(now);
    for entry in Entry::after_day(connection, &day)? {
        let share = match entry.spent {
            Some(spent) => Totals::spent(spent.saturating_sub(entry.reversed)),
            None => Totals::reserved(entry.reserved),
        };
        balances.replace(connection, &entry.attribution(), share, Totals::default())?;
        let today = Attribution {
            day: &day,
            ..entry.attribution()
        };
        balances.replace(connection, &today, Totals::default(), share)?;
    }
    connection.run("UPDATE reservations SET day = ?1 WHERE day > ?1", [&day])?;
    forget_alerts_after(connection, &day)?;
    Ok(ahead)
}

/// The windows after a day are as if nothing had ever been booked in them: what they reach when they come is announced.
fn forget_alerts_after(connection: &Connection, day: &str) -> rusqlite::Result<()> {
    let today = Attribution {
        tenant: "",
        session_id: "",
        day,
    };
    for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Session) {
        let window = scope.window(&today);
        connection.run(
            "DELETE FROM alerts WHERE scope = ?1 AND period > ?2",
            [scope.name(), window.period],
        )?;
    }
    Ok(())
}

fn not_open(id: &ReservationId) -> Fault {
    Fault::Refused(LedgerError::NotOpen { id: id.to_string() }.into())
}

/// Reversals, as rows of the export.
const REVERSALS: &str = "SELECT reversals.id, tenant, session_id, model, day, at, at, 'reversal', 0, NULL, 0, NULL,
        reservation, amount, reason
     FROM reversals JOIN reservations ON reservations.id = reservation";

/// Up to `count` rows that follow `after`, in order of their ids.
pub(super) fn page(
    connection: &Connection,
    after: Option<&ReservationId>,
    count: u32,
) -> rusqlite::Result<Vec<LedgerRow>> {
    let query = format!(
        "SELECT id, tenant, session_id, model, day, reserved_at, closed_at, state, reserved, spent, estimated, usage,
            NULL, NULL, NULL
         FROM reservations WHERE id > ?1
         UNION ALL {REVERSALS} WHERE reversals.id > ?1
         ORDER BY 1 LIMIT ?2"
    );
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map(params![after.map_or("", ReservationId::as_str), count], exported)?;
    rows.collect()
}

/// The reversals of a charge, in order of their ids.
pub(super) fn reversals(connection: &Connection, of: &ReservationId) -> rusqlite::Result<Vec<LedgerRow>> {
    let query = format!("{REVERSALS} WHERE reservation = ?1 ORDER BY 1");
    let mut statement = connection.prepare_cached(&query)?;
    let rows = statement.query_map([of.as_str()], exported)?;
    rows.collect()
}

fn exported(row: &rusqlite::Row<'_>) -> rusqlite::Result<LedgerRow> {
    Ok(LedgerRow {
        id: ReservationId::new(row.get(0)?),
        tenant: row.get(1)?,
        session_id: row.get(2)?,
        model: row.get(3)?,
        day: row.get(4)?,
        reserved_at: row.get(5)?,
        closed_at: row.get(6)?,
        state: row.get(7)?,
        reserved_usd: row.get(8)?,
        spent_usd: row.get(9)?,
        estimated: row.get(10)?,
        usage: row
            .get::<_, Option<String>>(11)?
            .and_then(|usage| serde_json::from_str(&usage).ok()),
        reverses: row.get::<_, Option<String>>(12)?.map(ReservationId::new),
        reversed_usd: row.get(13)?,
        reason: row.get(14)?,
    })
}

/// The columns that closing a reservation needs.
struct Entry {
    tenant: String,
    session_id: String,
    day: String,
    state: String,
    reserved: NanoUsd,
    spent: Option<NanoUsd>,
    reversed: NanoUsd,
}

impl Entry {
    const COLUMNS: &'static str = "tenant, session_id, day, state, reserved, spent, reversed";

    fn find(connection: &Connection, id: &ReservationId) -> rusqlite::Result<Option<Self>> {
        let query = format!("SELECT {} FROM reservations WHERE id = ?1", Self::COLUMNS);
        connection.find(&query, [id.as_str()], Self::from_row)
    }

    fn after_day(connection: &Connection, day: &str) -> rusqlite::Result<Vec<Self>> {
        let query = format!("SELECT {} FROM reservations WHERE day > ?1", Self::COLUMNS);
        connection
            .prepare_cached(&query)?
            .query_map([day], Self::from_row)?
            .collect()
    }

    /// In the order of their sessions.
    fn open_of_owner(connection: &Connection, owner: &str) -> rusqlite::Result<Vec<(ReservationId, Self)>> {
        let query = format!(
            "SELECT {}, id FROM reservations WHERE state = 'open' AND owner = ?1 ORDER BY session_id, id",
            Self::COLUMNS
        );
        connection
            .prepare_cached(&query)?
            .query_map([owner], |row| {
                Ok((ReservationId::new(row.get("id")?), Self::from_row(row)?))
            })?
            .collect()
    }

    fn from_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            tenant: row.get(0)?,
            session_id: row.get(1)?,
            day: row.get(2)?,
            state: row.get(3)?,
            reserved: row.get(4)?,
            spent: row.get(5)?,
            reversed: row.get(6)?,
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
