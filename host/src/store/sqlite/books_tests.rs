//! Compares the store with a simple reference model.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::ledger::{BudgetAlert, Closing, PendingClosing, ReserveRequest, ReversalRequest, Settlement};
use crate::money::NanoUsd;

const TENANTS: [&str; 2] = ["default", "other"];
const SESSIONS: [&str; 3] = ["a", "b", "c"];
const DAYS: [&str; 2] = ["2026-11-24", "2026-11-25"];

#[derive(Clone, Debug)]
enum Step {
    Reserve {
        tenant: usize,
        session: usize,
        day: usize,
        amount: u64,
    },
    Settle {
        pick: prop::sample::Index,
        amount: u64,
    },
    Release {
        pick: prop::sample::Index,
    },
    Charge {
        pick: prop::sample::Index,
    },
    /// With one of a few reasons, so that some are asked for twice.
    Reverse {
        pick: prop::sample::Index,
        amount: Option<u64>,
        reason: usize,
    },
    SetLimit {
        scope: usize,
        tenant: usize,
        limit: Option<u64>,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..2_usize, 0..3_usize, 0..2_usize, 0..60_u64)
            .prop_map(|(tenant, session, day, amount)| Step::Reserve { tenant, session, day, amount }),
        4 => (pick(), 0..80_u64).prop_map(|(pick, amount)| Step::Settle { pick, amount }),
        2 => pick().prop_map(|pick| Step::Release { pick }),
        1 => pick().prop_map(|pick| Step::Charge { pick }),
        2 => (pick(), prop::option::of(0..60_u64), 0..3_usize)
            .prop_map(|(pick, amount, reason)| Step::Reverse { pick, amount, reason }),
        1 => (0..4_usize, 0..2_usize, prop::option::of(0..200_u64))
            .prop_map(|(scope, tenant, limit)| Step::SetLimit { scope, tenant, limit }),
    ]
}

fn limits() -> BudgetLimits {
    let nanos = |nanos| Some(NanoUsd::from_nanos(nanos));
    BudgetLimits {
        session: nanos(100),
        session_cap: None,
        tenant_day: nanos(130),
        tenant_month: nanos(170),
        host_day: nanos(180),
    }
}

type Key = (Scope, &'static str, &'static str);

#[derive(Clone, Debug)]
struct Booked {
    id: ReservationId,
    windows: [Key; 4],
    amount: u64,
    /// Its contribution to (spent, reserved), before reversals.
    share: (u64, u64),
    /// Whether it can still be closed.
    open: bool,
    /// Whether its cost is known or charged.
    is_charged: bool,
    /// What was taken back, by reason.
    reversals: BTreeMap<usize, u64>,
}

impl Booked {
    fn reversed(&self) -> u64 {
        self.reversals.values().sum()
    }
}

#[derive(Debug)]
struct Model {
    booked: Vec<Booked>,
    /// By scope and tenant; the tenant is empty where the limit is the same for all.
    limits: BTreeMap<(Scope, &'static str), u64>,
    /// (window, limit, percent).
    announced: BTreeSet<(Key, u64, u8)>,
}

impl Model {
    fn totals(&self, window: (Scope, &str, &str)) -> (u64, u64) {
        let shares = self
            .booked
            .iter()
            .filter(|booked| booked.windows.contains(&window))
            .map(|booked| (booked.share.0 - booked.reversed(), booked.share.1));
        shares.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1))
    }

    fn limit(&self, (scope, tenant, _): Key) -> u64 {
        let configured = limits().limit(scope).unwrap().as_nanos();
        let key = (scope, scope.tenant_of_limit(tenant));
        self.limits.get(&key).copied().unwrap_or(configured)
    }
}

fn windows(tenant: usize, session: usize, day: usize) -> [Key; 4] {
    [
        (Scope::Session, TENANTS[tenant], SESSIONS[session]),
        (Scope::TenantDay, TENANTS[tenant], DAYS[day]),
        (Scope::TenantMonth, TENANTS[tenant], &DAYS[day][..7]),
        (Scope::HostDay, "", DAYS[day]),
    ]
}

fn noon(day: &str) -> Timestamp {
    format!("{day}T12:00:00Z").parse().unwrap()
}

/// Every combination of tenant, session and day, by index.
fn combinations() -> impl Iterator<Item = (usize, usize, usize)> {
    (0..12).map(|number| (number % 2, number / 2 % 3, number / 6))
}

fn request(tenant: usize, session: usize, day: usize, amount: u64) -> ReserveRequest {
    ReserveRequest {
        tenant: TENANTS[tenant].to_owned(),
        session_id: SESSIONS[session].to_owned(),
        model: "m".to_owned(),
        amount: NanoUsd::from_nanos(amount),
        limits: limits(),
        now: noon(DAYS[day]),
    }
}

fn write(store: &mut Sqlite, change: Change) -> Result<Applied, LedgerError> {
    let written = store.commit(&[Work::Write(&[change])]).remove(0);
    match written.map_err(StoreError::into_ledger)? {
        Worked::Written(mut applied) => Ok(applied.remove(0)),
        worked => panic!("{worked:?}"),
    }
}

fn reserve(store: &mut Sqlite, request: ReserveRequest) -> Result<ReservationId, LedgerError> {
    let id = ReservationId::generate();
    write(store, Change::Reserve(id.clone(), request)).map(|_| id)
}

/// Closes it for somebody who waits for the alerts.
fn close_one(store: &mut Sqlite, id: &ReservationId, closing: &Closing) -> Result<Vec<BudgetAlert>, LedgerError> {
    let (sender, _done) = tokio::sync::oneshot::channel();
    let closing = PendingClosing {
        id: id.clone(),
        closing: closing.clone(),
        limits: limits(),
        done: Some(sender),
    };
    match store
        .commit(&[Work::Close(&closing)])
        .remove(0)
        .map_err(StoreError::into_ledger)?
    {
        Worked::Closed(alerts) => Ok(alerts),
        worked => panic!("{worked:?}"),
    }
}

fn take(store: &mut Sqlite, model: &mut Model, step: Step) {
    match step {
        Step::Reserve {
            tenant,
            session,
            day,
            amount,
        } => {
            let windows = windows(tenant, session, day);
            let refused = windows.into_iter().find(|window| {
                let (spent, reserved) = model.totals(*window);
                amount > 0 && spent + reserved + amount > model.limit(*window)
            });
            let result = reserve(store, request(tenant, session, day, amount));
            match (refused, result) {
                (None, Ok(id)) => {
                    model.booked.push(Booked {
                        id,
                        windows,
                        amount,
                        share: (0, amount),
                        open: true,
                        is_charged: false,
                        reversals: BTreeMap::new(),
                    });
                }
                (Some((scope, ..)), Err(LedgerError::Exceeded(refusal))) => assert_eq!(refusal.scope, scope),
                (refused, result) => panic!("expected refusal by {refused:?}, got {result:?}"),
            }
        }
        Step::Settle { pick, amount } => {
            let settlement = Settlement {
                amount: NanoUsd::from_nanos(amount),
                estimated: false,
                usage: None,
            };
            close(store, model, &pick, &Closing::Settle(settlement), Some(amount));
        }
        Step::Release { pick } => close(store, model, &pick, &Closing::Release, Some(0)),
        Step::Charge { pick } => close(store, model, &pick, &Closing::Charge, None),
        Step::Reverse { pick, amount, reason } => reverse(store, model, &pick, amount, reason),
        Step::SetLimit { scope, tenant, limit } => {
            let (scope, tenant) = (Scope::ALL[scope], TENANTS[tenant]);
            let set = Change::SetLimit {
                scope,
                tenant: tenant.into(),
                limit: limit.map(|limit| LimitOverride::Usd(NanoUsd::from_nanos(limit))),
            };
            write(store, set).unwrap();
            let key = (scope, scope.tenant_of_limit(tenant));
            match limit {
                Some(limit) => drop(model.limits.insert(key, limit)),
                None => drop(model.limits.remove(&key)),
            }
        }
    }
}

/// Closes the picked reservation for `spent`, or in full if that is `None`.
fn close(store: &mut Sqlite, model: &mut Model, pick: &prop::sample::Index, closing: &Closing, spent: Option<u64>) {
    if model.booked.is_empty() {
        return;
    }
    let picked = pick.index(model.booked.len());
    let booked = &mut model.booked[picked];
    let result = close_one(store, &booked.id, closing);
    // What was corrected is final.
    if !booked.open || booked.reversed() > 0 {
        assert!(matches!(result, Err(LedgerError::NotOpen { .. })), "{result:?}");
        return;
    }
    booked.share = (spent.unwrap_or(booked.amount), 0);
    // A late report can still settle a reservation that was charged in full.
    booked.open = spent.is_none();
    booked.is_charged = true;

    let mut expected = Vec::new();
    for window in booked.windows {
        let (spent, _) = model.totals(window);
        for percent in [50_u8, 75, 90, 100] {
            let limit = model.limit(window);
            let reached = spent > 0 && spent * 100 >= limit * u64::from(percent);
            if reached && model.announced.insert((window, limit, percent)) {
                expected.push((window.0, percent));
            }
        }
    }
    let alerts = result
        .unwrap()
        .into_iter()
        .map(|alert| (alert.scope, alert.percent))
        .collect::<Vec<_>>();
    assert_eq!(alerts, expected);
}

/// Takes back a part of the picked charge, or what is left of it.
fn reverse(store: &mut Sqlite, model: &mut Model, pick: &prop::sample::Index, amount: Option<u64>, reason: usize) {
    if model.booked.is_empty() {
        return;
    }
    let picked = pick.index(model.booked.len());
    let booked = &mut model.booked[picked];
    let request = ReversalRequest {
        entry: booked.id.clone(),
        amount: amount.map(NanoUsd::from_nanos),
        reason: format!("reason {reason}"),
    };
    let result = write(store, Change::Reverse(ReservationId::generate(), request));
    let left = booked.share.0 - booked.reversed();
    let before = booked.reversals.get(&reason).copied();
    let expected = match before {
        Some(before) => amount.is_none_or(|amount| amount == before).then_some(before),
        None => Some(amount.unwrap_or(left)).filter(|amount| booked.is_charged && (1..=left).contains(amount)),
    };
    match (expected, result) {
        (Some(amount), Ok(Applied::Reversed(reversal))) => {
            assert_eq!(
                (reversal.reversed_usd.as_nanos(), reversal.is_new),
                (amount, before.is_none())
            );
            booked.reversals.insert(reason, amount);
        }
        (None, Err(LedgerError::Reversal(_))) => {}
        (expected, result) => panic!("expected {expected:?}, got {result:?}"),
    }
}

fn compare(store: &mut Sqlite, model: &Model) {
    for (tenant, session, day) in combinations() {
        let now = noon(DAYS[day]);
        let status = store
            .status(TENANTS[tenant], Some(SESSIONS[session]), &limits(), now)
            .unwrap();
        for (status, window) in status.iter().zip(windows(tenant, session, day)) {
            let found = (status.spent_usd.as_nanos(), status.reserved_usd.as_nanos());
            assert_eq!((status.scope, found), (window.0, model.totals(window)));
            assert_eq!(status.limit_usd.unwrap().as_nanos(), model.limit(window));
        }
    }
    // The totals equal the sum of the rows, and no row is missing.
    let rows = store.export(None, u32::MAX).unwrap();
    let reversals = model.booked.iter().map(|booked| booked.reversals.len()).sum::<usize>();
    assert_eq!(rows.len(), model.booked.len() + reversals);
    let reversed: NanoUsd = rows.iter().filter_map(|row| row.reversed_usd).sum();
    assert_eq!(
        reversed.as_nanos(),
        model.booked.iter().map(Booked::reversed).sum::<u64>()
    );
    let spent: NanoUsd = rows.iter().filter_map(|row| row.spent_usd).sum();
    assert_eq!(
        spent.as_nanos(),
        model.booked.iter().map(|booked| booked.share.0).sum::<u64>()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_matches_the_reference_model(steps in prop::collection::vec(step(), 1..60)) {
        let mut store = Sqlite::in_memory().unwrap();
        let mut model = Model { booked: Vec::new(), limits: BTreeMap::new(), announced: BTreeSet::new() };
        for step in steps {
            take(&mut store, &mut model, step);
            compare(&mut store, &model);
        }
    }

    /// Settlements within their reservations never take a window past its limit, in any order.
    #[test]
    fn no_limit_is_ever_exceeded(steps in prop::collection::vec(step(), 1..80)) {
        let mut store = Sqlite::in_memory().unwrap();
        let mut open = Vec::new();
        for step in steps {
            match step {
                Step::Reserve { tenant, session, day, amount } => {
                    let request = request(tenant, session, day, amount);
                    open.extend(reserve(&mut store, request).ok().map(|id| (id, amount)));
                }
                Step::Settle { pick, amount } if !open.is_empty() => {
                    let (id, reserved) = open.swap_remove(pick.index(open.len()));
                    let amount = NanoUsd::from_nanos(amount.min(reserved));
                    let settlement = Settlement { amount, estimated: false, usage: None };
                    close_one(&mut store, &id, &Closing::Settle(settlement)).unwrap();
                }
                Step::Charge { pick } if !open.is_empty() => {
                    let (id, _) = open.swap_remove(pick.index(open.len()));
                    close_one(&mut store, &id, &Closing::Charge).unwrap();
                }
                _ => {}
            }
            for (tenant, session, day) in combinations() {
                let now = noon(DAYS[day]);
                for status in store.status(TENANTS[tenant], Some(SESSIONS[session]), &limits(), now).unwrap() {
                    let used = status.spent_usd.saturating_add(status.reserved_usd);
                    prop_assert!(used <= status.limit_usd.unwrap(), "{status:?}");
                }
            }
        }
    }
}
