//! The totals of the budget's windows, between those who book and the rows.
//!
//! An attempt is booked in four windows, and all attempts of a day share most of them. So a commit reads a window once and writes it
//! once, however many book in it. What it has read is kept for the next one until somebody else has written to the database. So is whether
//! somebody else has reserved anything.

use std::collections::HashMap;
use std::sync::Arc;

use indexmap::{Equivalent, IndexMap};
use rusqlite::{Connection, params};

use super::Statements;
use crate::ledger::{Attribution, LimitOverride, Scope, Totals, Window};
use crate::money::NanoUsd;

/// The largest amount and the largest total.
pub(super) const LARGEST: NanoUsd = NanoUsd::from_nanos(i64::MAX as u64);

/// The amount that stands for no limit in the table of overrides. Versions that don't know it read a limit that nobody reaches.
pub(super) const UNLIMITED: NanoUsd = LARGEST;

/// How many windows are kept from one commit to the next. Each session has one.
const MAX_KEPT: usize = 4_096;

/// Overrides of limits, for each scope.
pub(super) type Overrides = Arc<[(Scope, Option<LimitOverride>)]>;

/// What is read and not yet written within a transaction. Every function gets the connection of that transaction.
#[derive(Debug, Default)]
pub(super) struct Balances {
    /// Changes whenever another connection has written.
    version: i64,
    /// Only windows of this day are here, because what is booked for a later day counts in them too.
    day: String,
    windows: IndexMap<Key, Balance>,
    /// The positions of the windows that differ from their rows.
    changed: Vec<usize>,
    /// By tenant.
    overrides: HashMap<String, Overrides>,
    /// Whether no other process has an open reservation.
    is_alone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    scope: Scope,
    tenant: String,
    period: String,
}

impl Key {
    fn of(window: &Window<'_>) -> Self {
        Self {
            scope: window.scope,
            tenant: window.tenant.to_owned(),
            period: window.period.to_owned(),
        }
    }
}

/// Both hash the same fields in the same order.
impl Equivalent<Key> for Window<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.scope, self.tenant, self.period) == (key.scope, &key.tenant, &key.period)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Balance {
    own: Totals,
    /// Those of later windows that count in this one.
    later: Totals,
    is_changed: bool,
}

impl Balances {
    /// At the beginning of a transaction: forgets what others may have changed since the last one.
    pub(super) fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version = connection.find("PRAGMA data_version", [], |row| row.get(0))?;
        let version = version.unwrap_or_default();
        if version != self.version || self.windows.len() > MAX_KEPT || self.overrides.len() > MAX_KEPT {
            *self = Self {
                version,
                ..Self::default()
            };
        }
        Ok(())
    }

    /// What is booked in a window itself.
    pub(super) fn own(
        &mut self,
        connection: &Connection,
        scope: Scope,
        attribution: &Attribution<'_>,
    ) -> rusqlite::Result<Totals> {
        let (_, balance) = self.balance(connection, scope, attribution)?;
        Ok(balance.own)
    }

    /// What counts in a window: its own totals, and those of [later ones](Window::counts).
    pub(super) fn counted(
        &mut self,
        connection: &Connection,
        scope: Scope,
        attribution: &Attribution<'_>,
    ) -> rusqlite::Result<Totals> {
        let (_, balance) = self.balance(connection, scope, attribution)?;
        Ok(balance.own.plus(balance.later))
    }

    /// Replaces what one reservation adds to each of its windows. A sum that doesn't fit stays at the largest, or at zero.
    pub(super) fn replace(
        &mut self,
        connection: &Connection,
        attribution: &Attribution<'_>,
        before: Totals,
        after: Totals,
    ) -> rusqlite::Result<()> {
        let replaced = |total: NanoUsd, before: NanoUsd, after: NanoUsd| {
            LARGEST.min(total.saturating_sub(before).saturating_add(after))
        };
        for scope in Scope::ALL {
            let (position, balance) = self.balance(connection, scope, attribution)?;
            balance.own = Totals {
                spent: replaced(balance.own.spent, before.spent, after.spent),
                reserved: replaced(balance.own.reserved, before.reserved, after.reserved),
            };
            if !std::mem::replace(&mut balance.is_changed, true) {
                self.changed.push(position);
            }
        }
        Ok(())
    }

    /// The overrides that apply to a tenant.
    pub(super) fn overrides(&mut self, connection: &Connection, tenant: &str) -> rusqlite::Result<Overrides> {
        if let Some(known) = self.overrides.get(tenant) {
            return Ok(Arc::clone(known));
        }
        let read = read_overrides(connection, tenant)?;
        self.overrides.insert(tenant.to_owned(), Arc::clone(&read));
        Ok(read)
    }

    /// Whether it is known that no other process has an open reservation.
    pub(super) const fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Remembers that none has, until somebody else has written.
    pub(super) const fn note_alone(&mut self) {
        self.is_alone = true;
    }

    /// An override was changed.
    pub(super) fn forget_overrides(&mut self) {
        self.overrides.clear();
    }

    /// Before the rows are read otherwise, and before the end of a transaction or a savepoint: writes what was changed.
    pub(super) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        // Not all that are kept: these are thousands.
        for position in &self.changed {
            let Some((key, balance)) = self.windows.get_index_mut(*position) else {
                continue;
            };
            let Totals { spent, reserved } = balance.own;
            connection.run(
                "INSERT OR REPLACE INTO totals (scope, tenant, period, spent, reserved) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![key.scope.name(), key.tenant, key.period, spent, reserved],
            )?;
            balance.is_changed = false;
        }
        self.changed.clear();
        Ok(())
    }

    fn balance(
        &mut self,
        connection: &Connection,
        scope: Scope,
        attribution: &Attribution<'_>,
    ) -> rusqlite::Result<(usize, &mut Balance)> {
        if self.day != attribution.day {
            self.write(connection)?;
            self.windows.clear();
            attribution.day.clone_into(&mut self.day);
        }
        let window = scope.window(attribution);
        let position = match self.windows.get_index_of(&window) {
            Some(known) => known,
            None => {
                let (position, _) = self.windows.insert_full(Key::of(&window), read(connection, &window)?);
                position
            }
        };
        Ok((position, &mut self.windows[position]))
    }
}

fn read(connection: &Connection, window: &Window<'_>) -> rusqlite::Result<Balance> {
    let mut balance = Balance::default();
    // Ids of sessions have no order in time.
    let query = match window.scope {
        Scope::Session => "SELECT spent, reserved, period FROM totals WHERE scope = ?1 AND tenant = ?2 AND period = ?3",
        Scope::TenantDay | Scope::TenantMonth | Scope::HostDay => {
            "SELECT spent, reserved, period FROM totals WHERE scope = ?1 AND tenant = ?2 AND period >= ?3"
        }
    };
    let mut rows = connection.prepare_cached(query)?;
    let mut rows = rows.query(params![window.scope.name(), window.tenant, window.period])?;
    while let Some(row) = rows.next()? {
        let totals = Totals {
            spent: row.get(0)?,
            reserved: row.get(1)?,
        };
        match row.get_ref(2)?.as_str()? {
            own if own == window.period => balance.own = totals,
            later if window.counts(later) => balance.later = balance.later.plus(totals),
            _ => {}
        }
    }
    Ok(balance)
}

/// The overrides that apply to a tenant, as they are in the database.
pub(super) fn read_overrides(connection: &Connection, tenant: &str) -> rusqlite::Result<Overrides> {
    let mut rows = connection.prepare_cached("SELECT scope, amount FROM limits WHERE tenant IN ('', ?1)")?;
    let rows = rows.query_map([tenant], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let set = rows.collect::<rusqlite::Result<Vec<(String, NanoUsd)>>>()?;
    let of = |scope: Scope| {
        let found = set.iter().find(|(name, _)| name == scope.name());
        found.map(|(_, amount)| match *amount {
            UNLIMITED => LimitOverride::Unlimited,
            amount => LimitOverride::Usd(amount),
        })
    };
    Ok(Scope::ALL.into_iter().map(|scope| (scope, of(scope))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Otherwise a window that was changed would be read once more, and what was booked in it forgotten.
    #[test]
    fn a_window_is_found_by_its_borrowed_names() {
        let attribution = Attribution {
            tenant: "default",
            session_id: "s",
            day: "2026-11-30",
        };
        let windows = Scope::ALL.map(|scope| scope.window(&attribution));
        let kept: IndexMap<Key, usize> = windows.iter().map(Key::of).zip(0..).collect();
        for (position, window) in windows.iter().enumerate() {
            assert_eq!(kept.get(window), Some(&position), "{window:?}");
        }
    }

    #[test]
    fn windows_are_forgotten_once_there_are_too_many() {
        let connection = Connection::open_in_memory().unwrap();
        let table = "CREATE TABLE totals (scope TEXT, tenant TEXT, period TEXT, spent INTEGER, reserved INTEGER)";
        connection.execute(table, []).unwrap();
        let mut balances = Balances::default();
        balances.refresh(&connection).unwrap();
        for session in 0..=MAX_KEPT {
            assert_eq!(balances.windows.len(), session);
            let session_id = session.to_string();
            let attribution = Attribution {
                tenant: "default",
                session_id: &session_id,
                day: "2026-11-30",
            };
            balances.counted(&connection, Scope::Session, &attribution).unwrap();
            if session < MAX_KEPT {
                balances.refresh(&connection).unwrap();
            }
        }
        balances.refresh(&connection).unwrap();
        assert!(balances.windows.is_empty());
    }
}
