//! Many processes share one store. They are killed at random, or the power fails for all of them; or each ends at one step of a run,
//! until every step had its turn.
//!
//! The short forms are part of the tests. The long ones have 16 processes, 200 sessions and at least 100 kills or power failures:
//! `COFFERDAM_TEST_LONG=1 cargo test -p cofferdam-tests --test e2e crash`.

mod trial;

use std::collections::HashSet;
use std::sync::Mutex;

use cofferdam::fault::Point;

use self::trial::{Fault, Size, Trial};

const SHORT: Size = Size {
    processes: 4,
    sessions: 12,
    faults: 20,
    answer_millis: 80,
};
/// The power fails for all processes at once.
const SHORT_OF_POWER: Size = Size { faults: 12, ..SHORT };
const LONG: Size = Size {
    processes: 16,
    sessions: 200,
    faults: 100,
    ..SHORT
};
/// Ends with the first promise that isn't kept. Each process that starts flushes once, so there are few.
const UNTIL_BROKEN: Size = Size {
    processes: 2,
    sessions: 100,
    faults: 1_000,
    ..SHORT
};
/// As many orders as there can be points.
const POINTS: Size = Size {
    processes: 1,
    sessions: 200,
    faults: 0,
    answer_millis: 0,
};

/// A point that is passed now and then is waited for so often.
const VISITS: u32 = 5;

/// The long form, if it is asked for.
fn long_or(short: Size) -> Size {
    match std::env::var_os("COFFERDAM_TEST_LONG") {
        Some(_) => LONG,
        None => short,
    }
}

#[tokio::test]
async fn killed_processes_lose_nothing_and_do_nothing_twice() {
    let broken = Trial::new(long_or(SHORT), false, "power_loss").await.run().await;
    assert!(broken.is_empty(), "{broken:#?}");
}

#[tokio::test]
async fn failures_of_the_power_lose_nothing_either() {
    let trial = Trial::new(long_or(SHORT_OF_POWER), true, "power_loss").await;
    if trial.disk.is_some() {
        let broken = trial.run().await;
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

/// What the test before would notice: `process_crash` doesn't flush every commit.
#[tokio::test]
async fn a_power_failure_undoes_what_was_not_flushed() {
    let trial = Trial::new(UNTIL_BROKEN, true, "process_crash").await;
    if trial.disk.is_some() {
        let broken = trial.run().await;
        assert!(!broken.is_empty(), "no promise was broken");
    }
}

/// Whether one of so many tries succeeds.
async fn any(tries: u32, mut succeeds: impl AsyncFnMut() -> bool) -> bool {
    for _ in 0..tries {
        if succeeds().await {
            return true;
        }
    }
    false
}

/// An order without an approval, and one with it: each command ends at every point that it passes, and the power fails there where it
/// can.
#[tokio::test]
async fn every_step_of_a_run_can_be_the_last_of_its_process() {
    let trial = Trial::new(POINTS, true, "power_loss").await;
    let (mut reached, mut visits) = (HashSet::new(), Vec::new());
    for number in [0, 1] {
        let passed = trial.drive(number, None).await;
        for (command, points) in passed.iter().enumerate() {
            visits.extend((1..=points.len()).map(|point| (number, Fault { command, point })));
        }
        reached.extend(passed.into_iter().flatten());
    }
    let broken = trial.judge().await;
    assert!(broken.is_empty(), "{broken:#?}");
    let missing: Vec<String> = Point::ALL
        .iter()
        .map(|point| format!("{point:?}"))
        .filter(|point| !reached.contains(point))
        .collect();
    assert!(missing.is_empty(), "no command passes {missing:?}");

    // Each store has one process at a time, so that the power fails for it alone.
    let next = |visits: &Mutex<Vec<_>>| visits.lock().unwrap().pop();
    let visits = Mutex::new(visits);
    let stores = (0..4).map(|_| async {
        let trial = Trial::new(POINTS, true, "power_loss").await;
        let mut orders = 0..;
        while let Some((kind, fault)) = next(&visits) {
            let is_reached = async || {
                let passed = trial.drive(orders.next().unwrap() * 2 + kind, Some(fault)).await;
                passed[fault.command].len() == fault.point
            };
            assert!(any(VISITS, is_reached).await, "{fault:?} of {kind} was not reached");
        }
        trial.judge().await
    });
    let broken = futures_util::future::join_all(stores).await.concat();
    assert!(broken.is_empty(), "{broken:#?}");
}
