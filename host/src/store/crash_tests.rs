//! Real processes share one ledger, and some are killed mid-operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::ledger::BudgetSettings;
use crate::money::NanoUsd;

const LEDGER: &str = "COFFERDAM_TEST_LEDGER";
const ROLE: &str = "COFFERDAM_TEST_ROLE";
const CLOCK: &str = "COFFERDAM_TEST_CLOCK";
const NOW: &str = "2026-11-24T12:00:00Z";
const LIMIT: NanoUsd = NanoUsd::from_nanos(800);

fn settings() -> BudgetSettings {
    BudgetSettings {
        session: None,
        daily: Some(LIMIT),
        ..BudgetSettings::default()
    }
}

fn open(path: &Path) -> Ledger {
    Store::open(path, Durability::PowerLoss).unwrap().ledger()
}

/// The body of the child processes. Run as an ordinary test, it does nothing.
///
/// It prints `reserved ID`, then `settled ID NANOS` or `released ID`, and `refused`, each after the fact. The role `hold`
/// stops with its third reservation open, prints `holding` and waits to be killed. The role `spend` settles what it reserves in full,
/// and starts at once. The other roles wait for a line on stdin before they start. The clock is what `COFFERDAM_TEST_CLOCK` says.
#[test]
fn child() {
    let (Some(path), Ok(role)) = (std::env::var_os(LEDGER), std::env::var(ROLE)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = open(Path::new(&path));
    let clock = std::env::var(CLOCK).unwrap_or_else(|_| NOW.to_owned());
    if !["hold", "spend"].contains(&role.as_str()) {
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    for round in 0..40_u64 {
        let request = ReserveRequest {
            tenant: "default".to_owned(),
            session_id: role.clone(),
            model: "m".to_owned(),
            amount: NanoUsd::from_nanos(if role == "spend" { 40 } else { 40 + round }),
            limits: settings().limits("default"),
            now: clock.parse().unwrap(),
        };
        let reservation = match runtime.block_on(ledger.reserve(request)) {
            Ok(reservation) => reservation,
            Err(LedgerError::Exceeded(_)) => {
                say("refused");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let id = reservation.id().clone();
        say(&format!("reserved {id}"));
        if role == "hold" && round == 2 {
            say("holding");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            unreachable!("its parent kills it first");
        }
        let amount = match role.as_str() {
            "spend" => reservation.amount(),
            _ => NanoUsd::from_nanos(round),
        };
        if round % 3 == 0 && role != "spend" {
            runtime.block_on(reservation.release()).unwrap();
            say(&format!("released {id}"));
        } else {
            let settled = runtime.block_on(reservation.begin().settle(amount, &())).unwrap();
            say(&format!("settled {id} {}", settled.amount.as_nanos()));
        }
    }
}

/// Prints on a separate line, even if the test harness has printed without a newline.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "\n> {line}\n").unwrap();
    stdout.flush().unwrap();
}

fn start(path: &Path, role: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    start_at(path, role, NOW)
}

fn start_at(path: &Path, role: &str, clock: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let (_, module) = module_path!().split_once("::").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::child"), "--nocapture"])
        .env(LEDGER, path)
        .env(ROLE, role)
        .env(CLOCK, clock)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout: ChildStdout = child.stdout.take().unwrap();
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    (
        child,
        lines.filter_map(|line| line.strip_prefix("> ").map(str::to_owned)),
    )
}

#[test]
fn killed_processes_leave_the_ledger_consistent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let mut reported = Vec::new();

    // All open the same new database at the same time.
    let (mut holder, held) = start(&path, "hold");
    let (mut victim, victims) = start(&path, "victim");
    let mut survivors = ["first", "second"].map(|role| start(&path, role));

    let mut holding = held.take_while(|line| line != "holding").collect::<Vec<_>>();
    let left_open = holding.last().unwrap().strip_prefix("reserved ").unwrap().to_owned();
    holder.kill().unwrap();
    holder.wait().unwrap();
    reported.append(&mut holding);
    for child in [&mut victim]
        .into_iter()
        .chain(survivors.iter_mut().map(|(child, _)| child))
    {
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    // It can be anywhere: waiting for the lock, inside a transaction, or between two.
    let mut victims = victims;
    reported.extend(victims.by_ref().take(12));
    victim.kill().unwrap();
    victim.wait().unwrap();
    reported.extend(victims);

    for (mut child, lines) in survivors {
        reported.extend(lines);
        assert!(child.wait().unwrap().success());
    }
    assert!(reported.contains(&"refused".to_owned()), "the limit was never reached");

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = open(&path);
    let rows = runtime.block_on(ledger.export(None)).unwrap();
    let day = runtime
        .block_on(ledger.status("default", None, &settings(), NOW.parse().unwrap()))
        .unwrap()
        .pop()
        .unwrap();

    let spent: NanoUsd = rows.iter().filter_map(|row| row.spent_usd).sum();
    assert_eq!((day.spent_usd, day.reserved_usd), (spent, NanoUsd::ZERO));
    assert!(spent <= LIMIT, "{spent}");
    let rows = rows
        .into_iter()
        .map(|row| (row.id.to_string(), row))
        .collect::<BTreeMap<_, _>>();
    let held = &rows[&left_open];
    assert_eq!(
        (held.state.as_str(), held.spent_usd),
        ("charged", Some(held.reserved_usd))
    );
    for line in reported {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["refused"] => {}
            ["reserved", id] => assert_ne!(rows[id].state, "open"),
            ["released", id] => assert_eq!(rows[id].state, "released"),
            ["settled", id, nanos] => {
                assert_eq!(rows[id].state, "settled");
                assert_eq!(rows[id].spent_usd.unwrap().as_nanos().to_string(), nanos);
            }
            _ => panic!("{line}"),
        }
    }
    // Only this process's lock file is left.
    let locks = std::fs::read_dir(folder.path()).unwrap().flatten();
    assert_eq!(
        locks
            .filter(|entry| entry.file_name().to_string_lossy().contains("-owner-"))
            .count(),
        1
    );
}

/// Each process has another clock. All of them together spend no more than the limit for any day, counted with all that is booked for
/// later ones.
#[test]
fn processes_with_wrong_clocks_open_no_second_day() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let spend = |clock: &str| -> u64 {
        let (mut child, lines) = start_at(&path, "spend", clock);
        let settled = lines.filter_map(|line| {
            line.rsplit(' ')
                .next()?
                .parse::<u64>()
                .ok()
                .filter(|_| line.starts_with("settled"))
        });
        let spent = settled.sum();
        assert!(child.wait().unwrap().success());
        spent
    };
    let whole_day = LIMIT.as_nanos();
    assert_eq!(spend("2026-11-25T00:10:00Z"), whole_day);
    // Back over midnight, and to a day that was never used.
    assert_eq!(spend("2026-11-24T23:50:00Z"), 0);
    assert_eq!(spend("2026-11-03T12:00:00Z"), 0);
    // A month ahead: nobody can tell that from a machine that was off. And back.
    assert_eq!(spend("2026-12-25T12:00:00Z"), whole_day);
    for clock in [
        "2026-11-25T00:20:00Z",
        "2026-11-26T12:00:00Z",
        "2026-12-24T12:00:00Z",
        "2026-12-25T13:00:00Z",
    ] {
        assert_eq!(spend(clock), 0, "{clock}");
    }
    assert_eq!(spend("2026-12-26T00:00:00Z"), whole_day);
}

#[test]
fn a_running_process_charges_a_dead_one_at_its_next_reservation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ledger = open(&path);
    let day = || {
        runtime
            .block_on(ledger.status("default", None, &settings(), NOW.parse().unwrap()))
            .unwrap()
            .pop()
            .unwrap()
    };
    let reserve = || {
        let request = ReserveRequest {
            tenant: "default".to_owned(),
            session_id: "parent".to_owned(),
            model: "m".to_owned(),
            amount: NanoUsd::ZERO,
            limits: settings().limits("default"),
            now: NOW.parse().unwrap(),
        };
        runtime
            .block_on(async { ledger.reserve(request).await.unwrap().release().await })
            .unwrap();
    };

    // While it is alone, as far as it knows.
    reserve();
    let (mut holder, held) = start(&path, "hold");
    assert!(held.take_while(|line| line != "holding").count() > 0);
    reserve();
    let before = day();
    assert!(
        before.reserved_usd > NanoUsd::ZERO,
        "a live process keeps its reservation"
    );

    holder.kill().unwrap();
    holder.wait().unwrap();
    reserve();
    let after = day();
    assert_eq!(after.reserved_usd, NanoUsd::ZERO);
    assert_eq!(after.spent_usd, before.spent_usd.saturating_add(before.reserved_usd));
}
