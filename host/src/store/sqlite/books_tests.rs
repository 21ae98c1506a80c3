//! Compares the store with a simple reference model, step by step, whatever the order of the steps and wherever the clock jumps.
//!
//! The model keeps what each attempt and each reversal said, and adds that up for every question. From it follow the invariants,
//! which are checked beside it, so that a mistake of the model can't hide one of the store:
//!
//! - admitted only while settled + reserved + asked ≤ limit, counted from the attempt's day on;
//! - settled + reserved ≤ limit + the sum of the overruns, in every window of every scope;
//! - what is settled is what was reported, and nothing is booked twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::ledger::{
    BudgetAlert, Closing, PendingClosing, ReserveRequest, ReversalRequest, Settlement, Window, utc_day,
};
use crate::money::NanoUsd;

const TENANTS: [&str; 2] = ["default", "other"];
const SESSIONS: [&str; 3] = ["a", "b", "c"];
/// Two days, the same over the end of a month, and a month ahead.
const DAYS: [&str; 4] = ["2026-11-29", "2026-11-30", "2026-12-01", "2026-12-30"];

#[derive(Clone, Debug)]
enum Step {
    /// At any day: the clock steps between any two of them.
    Reserve {
        tenant: usize,
        session: usize,
        day: usize,
        amount: u64,
    },
    /// Also for more than was reserved, and also of what is closed.
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
    Confirm {
        day: usize,
    },
    /// The process dies with everything that is open, and another one opens the store.
    Crash,
    /// From here on another process works on the same database. The first one may come back.
    Other,
}

fn step() -> impl Strategy<Value = Step> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        12 => (0..2_usize, 0..3_usize, 0..4_usize, 0..60_u64)
            .prop_map(|(tenant, session, day, amount)| Step::Reserve { tenant, session, day, amount }),
        8 => (pick(), 0..80_u64).prop_map(|(pick, amount)| Step::Settle { pick, amount }),
        4 => pick().prop_map(|pick| Step::Release { pick }),
        2 => pick().prop_map(|pick| Step::Charge { pick }),
        4 => (pick(), prop::option::of(0..60_u64), 0..3_usize)
            .prop_map(|(pick, amount, reason)| Step::Reverse { pick, amount, reason }),
        2 => (0..4_usize, 0..2_usize, prop::option::of(0..200_u64))
            .prop_map(|(scope, tenant, limit)| Step::SetLimit { scope, tenant, limit }),
        1 => (0..4_usize).prop_map(|day| Step::Confirm { day }),
        1 => Just(Step::Crash),
        4 => Just(Step::Other),
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

/// A window: its scope, tenant and period.
type Key = (Scope, &'static str, &'static str);

#[derive(Clone, Debug)]
struct Booked {
    id: ReservationId,
    tenant: usize,
    session: usize,
    day: usize,
    amount: u64,
    /// What it contributes to (spent, reserved), before reversals.
    share: (u64, u64),
    /// Whether it can still be closed.
    open: bool,
    /// What was reported for it.
    reported: Option<u64>,
    /// What was taken back, by reason.
    reversals: BTreeMap<usize, u64>,
}

impl Booked {
    fn reversed(&self) -> u64 {
        self.reversals.values().sum()
    }

    fn windows(&self) -> [Key; 4] {
        windows(self.tenant, self.session, self.day)
    }
}

#[derive(Debug, Default)]
struct Model {
    booked: Vec<Booked>,
    /// By scope and tenant; the tenant is empty where the limit is the same for all.
    limits: BTreeMap<(Scope, &'static str), u64>,
    /// (window, limit, percent).
    announced: BTreeSet<(Key, u64, u8)>,
    /// The highest limit under which something was admitted in a window, and what came on top: overruns, and what was booked for a day
    /// that the clock took for another.
    allowed: BTreeMap<Key, (u64, u64)>,
}

impl Model {
    /// (spent, reserved) of each window.
    fn totals(&self) -> BTreeMap<Key, (u64, u64)> {
        let mut totals = BTreeMap::<Key, (u64, u64)>::new();
        for booked in &self.booked {
            for key in booked.windows() {
                let (spent, reserved) = totals.entry(key).or_default();
                *spent += booked.share.0 - booked.reversed();
                *reserved += booked.share.1;
            }
        }
        totals
    }

    /// What counts in a window: what is booked in it, and for later days or months.
    fn counted(&self, (scope, tenant, period): Key) -> (u64, u64) {
        let window = Window { scope, tenant, period };
        let totals = self.totals().into_iter();
        let counted = totals.filter(|(key, _)| key.0 == scope && key.1 == tenant && window.counts(key.2));
        counted.fold((0, 0), |sum, (_, share)| (sum.0 + share.0, sum.1 + share.1))
    }

    fn limit(&self, (scope, tenant, _): Key) -> u64 {
        let configured = limits().limit(scope).unwrap().as_nanos();
        let key = (scope, scope.tenant_of_limit(tenant));
        self.limits.get(&key).copied().unwrap_or(configured)
    }

    fn allow_more(&mut self, key: Key, amount: u64) {
        self.allowed.entry(key).or_default().1 += amount;
    }

    /// Thresholds that a window reaches for the first time.
    fn announce(&mut self, windows: [Key; 4]) -> Vec<(Scope, u8)> {
        let mut alerts = Vec::new();
        for window in windows {
            let (spent, _) = self.counted(window);
            let limit = self.limit(window);
            for percent in [50_u8, 75, 90, 100] {
                let reached = spent > 0 && spent * 100 >= limit * u64::from(percent);
                if reached && self.announced.insert((window, limit, percent)) {
                    alerts.push((window.0, percent));
                }
            }
        }
        alerts
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

fn noon(day: usize) -> Timestamp {
    let noon: Timestamp = format!("{}T12:00:00Z", DAYS[day]).parse().unwrap();
    assert_eq!(utc_day(noon), DAYS[day]);
    noon
}

/// A store, in memory or on the disk, and what must be in it.
struct World {
    store: Sqlite,
    /// Where it is on the disk, and the store of another process there.
    place: Option<(TempDir, Durability)>,
    other: Option<Sqlite>,
    model: Model,
}

impl World {
    fn in_memory() -> Self {
        Self {
            store: Sqlite::in_memory().unwrap(),
            place: None,
            other: None,
            model: Model::default(),
        }
    }

    fn on_disk(durability: Durability) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            store: open(&folder, durability),
            other: Some(open(&folder, durability)),
            place: Some((folder, durability)),
            model: Model::default(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Reserve {
                tenant,
                session,
                day,
                amount,
            } => self.reserve(tenant, session, day, amount),
            Step::Settle { pick, amount } => {
                let settlement = Settlement {
                    amount: NanoUsd::from_nanos(amount),
                    estimated: false,
                    usage: None,
                };
                self.close(&pick, &Closing::Settle(settlement), Some(amount));
            }
            Step::Release { pick } => self.close(&pick, &Closing::Release, Some(0)),
            Step::Charge { pick } => self.close(&pick, &Closing::Charge, None),
            Step::Reverse { pick, amount, reason } => self.reverse(&pick, amount, reason),
            Step::SetLimit { scope, tenant, limit } => self.set_limit(Scope::ALL[scope], TENANTS[tenant], limit),
            Step::Confirm { day } => self.confirm(day),
            Step::Crash => self.crash(),
            Step::Other => {
                if let Some(other) = &mut self.other {
                    std::mem::swap(&mut self.store, other);
                }
            }
        }
    }

    fn reserve(&mut self, tenant: usize, session: usize, day: usize, amount: u64) {
        let windows = windows(tenant, session, day);
        let refused = windows.into_iter().find(|window| {
            let (spent, reserved) = self.model.counted(*window);
            amount > 0 && spent + reserved + amount > self.model.limit(*window)
        });
        let request = ReserveRequest {
            tenant: TENANTS[tenant].to_owned(),
            session_id: SESSIONS[session].to_owned(),
            model: "m".to_owned(),
            amount: NanoUsd::from_nanos(amount),
            limits: limits(),
            now: noon(day),
        };
        let id = ReservationId::generate();
        let result = write(&mut self.store, Change::Reserve(id.clone(), request));
        match (refused, result) {
            (None, Ok(_)) => {
                for window in windows {
                    let limit = self.model.limit(window);
                    let (highest, _) = self.model.allowed.entry(window).or_default();
                    *highest = limit.max(*highest);
                }
                self.model.booked.push(Booked {
                    id,
                    tenant,
                    session,
                    day,
                    amount,
                    share: (0, amount),
                    open: true,
                    reported: None,
                    reversals: BTreeMap::new(),
                });
            }
            (Some(window), Err(LedgerError::Exceeded(refusal))) => {
                let found = [refusal.spent, refusal.reserved, refusal.asked, refusal.limit].map(NanoUsd::as_nanos);
                let (spent, reserved) = self.model.counted(window);
                assert_eq!(
                    (refusal.scope, found),
                    (window.0, [spent, reserved, amount, self.model.limit(window)])
                );
            }
            (refused, result) => panic!("expected refusal by {refused:?}, got {result:?}"),
        }
    }

    /// Closes the picked reservation for `spent`, or in full if that is `None`.
    fn close(&mut self, pick: &prop::sample::Index, closing: &Closing, spent: Option<u64>) {
        if self.model.booked.is_empty() {
            return;
        }
        let picked = pick.index(self.model.booked.len());
        let booked = &mut self.model.booked[picked];
        let (sender, _done) = tokio::sync::oneshot::channel();
        let closing = PendingClosing {
            id: booked.id.clone(),
            closing: closing.clone(),
            limits: limits(),
            done: Some(sender),
        };
        let result = commit_one(&mut self.store, Work::Close(&closing));
        // What was corrected is final.
        if !booked.open || booked.reversed() > 0 {
            assert!(matches!(result, Err(LedgerError::NotOpen { .. })), "{result:?}");
            return;
        }
        booked.share = (spent.unwrap_or(booked.amount), 0);
        booked.reported = spent;
        // A late report can still settle a reservation that was charged in full.
        booked.open = spent.is_none();
        let (windows, overrun) = (booked.windows(), booked.share.0.saturating_sub(booked.amount));
        windows
            .iter()
            .for_each(|window| self.model.allow_more(*window, overrun));
        let expected = self.model.announce(windows);
        let Ok(Worked::Closed(alerts)) = result else {
            panic!("{result:?}")
        };
        let alerts = alerts
            .into_iter()
            .map(|BudgetAlert { scope, percent, .. }| (scope, percent));
        assert_eq!(alerts.collect::<Vec<_>>(), expected);
    }

    /// Takes back a part of the picked charge, or what is left of it.
    fn reverse(&mut self, pick: &prop::sample::Index, amount: Option<u64>, reason: usize) {
        if self.model.booked.is_empty() {
            return;
        }
        let picked = pick.index(self.model.booked.len());
        let booked = &mut self.model.booked[picked];
        let request = ReversalRequest {
            entry: booked.id.clone(),
            amount: amount.map(NanoUsd::from_nanos),
            reason: format!("reason {reason}"),
        };
        let result = write(&mut self.store, Change::Reverse(ReservationId::generate(), request));
        let left = booked.share.0 - booked.reversed();
        let before = booked.reversals.get(&reason).copied();
        let expected = match before {
            Some(before) => amount.is_none_or(|amount| amount == before).then_some(before),
            None => Some(amount.unwrap_or(left)).filter(|amount| (1..=left).contains(amount)),
        };
        match (expected, result) {
            (Some(amount), Ok(Applied::Reversed(reversal))) => {
                let found = (reversal.reversed_usd.as_nanos(), reversal.is_new);
                assert_eq!(found, (amount, before.is_none()));
                booked.reversals.insert(reason, amount);
            }
            (None, Err(LedgerError::Reversal(_))) => {}
            (expected, result) => panic!("expected {expected:?}, got {result:?}"),
        }
    }

    fn set_limit(&mut self, scope: Scope, tenant: &'static str, limit: Option<u64>) {
        let set = Change::SetLimit {
            scope,
            tenant: tenant.into(),
            limit: limit.map(|limit| LimitOverride::Usd(NanoUsd::from_nanos(limit))),
        };
        write(&mut self.store, set).unwrap();
        let key = (scope, scope.tenant_of_limit(tenant));
        match limit {
            Some(limit) => drop(self.model.limits.insert(key, limit)),
            None => drop(self.model.limits.remove(&key)),
        }
    }

    /// Books for a day what is booked for later ones.
    fn confirm(&mut self, day: usize) {
        let Applied::Confirmed(accepted) = write(&mut self.store, Change::Confirm(noon(day))).unwrap() else {
            panic!("nothing was confirmed")
        };
        assert_eq!(accepted.restored, None);
        let mut moved = Vec::new();
        for booked in self.model.booked.iter_mut().filter(|booked| booked.day > day) {
            let before = booked.windows();
            booked.day = day;
            let share = booked.share.0 - booked.reversed() + booked.share.1;
            let new = booked.windows().into_iter().filter(|window| !before.contains(window));
            moved.extend(new.map(|window| (window, share)));
        }
        let ahead: u64 = moved
            .iter()
            .filter(|(key, _)| key.0 == Scope::HostDay)
            .map(|(_, share)| share)
            .sum();
        assert_eq!(accepted.ahead.map_or(0, |ahead| ahead.amount_usd.as_nanos()), ahead);
        moved
            .into_iter()
            .for_each(|(window, share)| self.model.allow_more(window, share));
        // The later windows are as new.
        let today = windows(0, 0, day).map(|(scope, _, period)| (scope, period));
        let is_later = |(scope, _, period): &Key| {
            let is_after = |(of, today): &(Scope, &str)| of == scope && period > today;
            *scope != Scope::Session && today.iter().any(is_after)
        };
        self.model.announced.retain(|(window, ..)| !is_later(window));
    }

    fn crash(&mut self) {
        let Some((folder, durability)) = &self.place else {
            return;
        };
        let dead = uuid::Uuid::now_v7().to_string();
        let open_ones = "UPDATE reservations SET owner = ?1 WHERE state = 'open'";
        self.store.database.execute(open_ones, [dead]).unwrap();
        self.store = open(folder, *durability);
        for booked in self
            .model
            .booked
            .iter_mut()
            .filter(|booked| booked.share.1 > 0 || booked.open)
        {
            if booked.reported.is_none() && booked.share == (0, booked.amount) {
                booked.share = (booked.amount, 0);
            }
        }
    }

    /// The whole of the store is the whole of the model, and keeps the invariants.
    fn check(&mut self) {
        let totals = stored_totals(&self.store);
        let mut expected: BTreeMap<_, _> = self.model.totals();
        expected.retain(|_, share| *share != (0, 0));
        let named = expected.iter().map(|((scope, tenant, period), share)| {
            (
                (scope.name().to_owned(), (*tenant).to_owned(), (*period).to_owned()),
                *share,
            )
        });
        assert_eq!(totals, named.collect());

        for (window, (spent, reserved)) in &expected {
            let (limit, more) = self.model.allowed.get(window).copied().unwrap_or_default();
            assert!(
                spent + reserved <= limit + more,
                "{window:?}: {spent} + {reserved} of {limit} + {more}"
            );
        }

        let rows = self.store.export(None, u32::MAX).unwrap();
        let reversals = self
            .model
            .booked
            .iter()
            .map(|booked| booked.reversals.len())
            .sum::<usize>();
        assert_eq!(rows.len(), self.model.booked.len() + reversals);
        let reversed: NanoUsd = rows.iter().filter_map(|row| row.reversed_usd).sum();
        let expected = self.model.booked.iter().map(Booked::reversed).sum::<u64>();
        assert_eq!(reversed.as_nanos(), expected);
        let by_id: BTreeMap<_, _> = rows.iter().map(|row| (&row.id, row)).collect();
        for booked in &self.model.booked {
            let row = by_id[&booked.id];
            let spent = row.spent_usd.map(NanoUsd::as_nanos);
            assert_eq!(row.day, DAYS[booked.day]);
            match row.state.as_str() {
                "open" => assert_eq!((spent, booked.share), (None, (0, booked.amount))),
                "charged" => assert_eq!((spent, booked.reported), (Some(booked.amount), None)),
                _ => assert_eq!(spent, Some(booked.reported.unwrap())),
            }
        }
    }

    /// What a person is shown.
    fn check_status(&mut self, tenant: usize, session: usize, day: usize) {
        let status = self
            .store
            .status(TENANTS[tenant], Some(SESSIONS[session]), &limits(), noon(day));
        for (status, window) in status.unwrap().iter().zip(windows(tenant, session, day)) {
            let found = (status.spent_usd.as_nanos(), status.reserved_usd.as_nanos());
            assert_eq!((status.scope, found), (window.0, self.model.counted(window)));
            assert_eq!(status.limit_usd.unwrap().as_nanos(), self.model.limit(window));
        }
    }

    fn run(mut self, steps: Vec<Step>) {
        for (number, step) in steps.into_iter().enumerate() {
            self.take(step);
            self.check();
            self.check_status(number % 2, number % 3, number % 4);
        }
    }
}

fn open(folder: &TempDir, durability: Durability) -> Sqlite {
    Sqlite::open(&folder.path().join("ledger.db"), durability, Duration::from_secs(5)).unwrap()
}

fn commit_one(store: &mut Sqlite, work: Work<'_>) -> Result<Worked, LedgerError> {
    store.commit(&[work]).remove(0).map_err(StoreError::into_ledger)
}

fn write(store: &mut Sqlite, change: Change) -> Result<Applied, LedgerError> {
    match commit_one(store, Work::Write(&[change]))? {
        Worked::Written(mut applied) => Ok(applied.remove(0)),
        worked => panic!("{worked:?}"),
    }
}

/// (spent, reserved) of every window with something in it.
type StoredTotals = BTreeMap<(String, String, String), (u64, u64)>;

fn stored_totals(store: &Sqlite) -> StoredTotals {
    let mut rows = store
        .database
        .prepare_cached("SELECT scope, tenant, period, spent, reserved FROM totals WHERE spent + reserved > 0")
        .unwrap();
    let rows = rows.query_map([], |row| {
        let share = (
            row.get::<_, NanoUsd>(3)?.as_nanos(),
            row.get::<_, NanoUsd>(4)?.as_nanos(),
        );
        Ok(((row.get(0)?, row.get(1)?, row.get(2)?), share))
    });
    rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_in_memory_matches_the_reference_model(steps in prop::collection::vec(step(), 1..60)) {
        World::in_memory().run(steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_on_the_disk_matches_the_reference_model(steps in prop::collection::vec(step(), 1..60)) {
        World::on_disk(Durability::ProcessCrash).run(steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_that_flushes_matches_the_reference_model(steps in prop::collection::vec(step(), 1..40)) {
        World::on_disk(Durability::PowerLoss).run(steps);
    }
}

/// A change of the books. What it names may not exist.
#[derive(Clone, Debug)]
enum Booking {
    Reserve {
        number: u8,
        session: usize,
        day: usize,
        amount: u64,
    },
    Settle {
        number: u8,
        amount: u64,
    },
    Reverse {
        number: u8,
        amount: u64,
    },
    SetLimit {
        limit: Option<u64>,
    },
    Confirm {
        day: usize,
    },
}

fn booking() -> impl Strategy<Value = Booking> {
    prop_oneof![
        6 => (0..12_u8, 0..3_usize, 0..4_usize, 0..60_u64)
            .prop_map(|(number, session, day, amount)| Booking::Reserve { number, session, day, amount }),
        6 => (0..12_u8, 0..80_u64).prop_map(|(number, amount)| Booking::Settle { number, amount }),
        1 => (0..12_u8, 1..20_u64).prop_map(|(number, amount)| Booking::Reverse { number, amount }),
        1 => prop::option::of(0..200_u64).prop_map(|limit| Booking::SetLimit { limit }),
        1 => (0..4_usize).prop_map(|day| Booking::Confirm { day }),
    ]
}

impl Booking {
    fn id(number: u8) -> ReservationId {
        ReservationId::new(format!("01936000-0000-7000-8000-0000000000{number:02}"))
    }

    fn change(&self) -> Result<Change, Box<PendingClosing>> {
        Ok(match *self {
            Self::Reserve {
                number,
                session,
                day,
                amount,
            } => Change::Reserve(
                Self::id(number),
                ReserveRequest {
                    tenant: TENANTS[session % 2].to_owned(),
                    session_id: SESSIONS[session].to_owned(),
                    model: "m".to_owned(),
                    amount: NanoUsd::from_nanos(amount),
                    limits: limits(),
                    now: noon(day),
                },
            ),
            Self::Settle { number, amount } => {
                return Err(Box::new(PendingClosing {
                    id: Self::id(number),
                    closing: Closing::Settle(Settlement {
                        amount: NanoUsd::from_nanos(amount),
                        estimated: false,
                        usage: None,
                    }),
                    limits: limits(),
                    done: None,
                }));
            }
            Self::Reverse { number, amount } => Change::Reverse(
                ReservationId::generate(),
                ReversalRequest {
                    entry: Self::id(number),
                    amount: Some(NanoUsd::from_nanos(amount)),
                    reason: "a reason".to_owned(),
                },
            ),
            Self::SetLimit { limit } => Change::SetLimit {
                scope: Scope::HostDay,
                tenant: TENANTS[0].into(),
                limit: limit.map(|limit| LimitOverride::Usd(NanoUsd::from_nanos(limit))),
            },
            Self::Confirm { day } => Change::Confirm(noon(day)),
        })
    }
}

/// Whether each succeeded, and what stands in the books afterwards.
fn booked(bookings: &[Booking], together: usize) -> (Vec<Option<&'static str>>, StoredTotals) {
    let mut store = Sqlite::in_memory().unwrap();
    let changes: Vec<_> = bookings
        .iter()
        .map(|booking| booking.change().map(|change| [change]))
        .collect();
    let works: Vec<Work<'_>> = changes
        .iter()
        .map(|change| match change {
            Ok(change) => Work::Write(change),
            Err(closing) => Work::Close(closing),
        })
        .collect();
    let results = works.chunks(together).flat_map(|works| store.commit(works));
    let results = results.map(|result| result.err().map(|error| error.into_ledger().kind()));
    let results = results.collect();
    (results, stored_totals(&store))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_shares_a_commit_is_booked_as_one_after_the_other(bookings in prop::collection::vec(booking(), 1..40)) {
        let expected = booked(&bookings, 1);
        prop_assert_eq!(&booked(&bookings, 3), &expected);
        prop_assert_eq!(&booked(&bookings, 40), &expected);

        // One that fails makes all of them be kept apart, so those that succeed share commits of their own.
        let good = bookings.into_iter().zip(&expected.0).filter(|(_, failure)| failure.is_none());
        let good: Vec<Booking> = good.map(|(booking, _)| booking).collect();
        let failures = vec![None; good.len()];
        for together in [1, 3, 40] {
            prop_assert_eq!(&booked(&good, together), &(failures.clone(), expected.1.clone()));
        }
    }
}
