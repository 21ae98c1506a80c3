//! The database file: its permissions, and the errors for unusable files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection;
use tokio::time::Instant;

use super::*;
use crate::ledger::{BudgetSettings, Unusual};
use crate::money::NanoUsd;

pub(super) fn request() -> ReserveRequest {
    ReserveRequest {
        tenant: "default".to_owned(),
        session_id: "s".to_owned(),
        model: "m".to_owned(),
        amount: NanoUsd::from_nanos(1),
        limits: BudgetSettings::default().limits("default"),
        now: "2026-11-24T12:00:00Z".parse().unwrap(),
    }
}

fn open(path: &Path) -> Result<Ledger, LedgerError> {
    Store::open(path, Durability::PowerLoss).map(|store| store.ledger())
}

/// Waits until the database is closed: the thread that made the last commit does it, a moment after it has answered.
async fn closed(path: &Path) {
    let prefix = format!("{}-", path.file_name().unwrap().to_string_lossy());
    let is_beside = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name();
        // The witness stays.
        name.to_string_lossy().starts_with(&prefix) && !name.to_string_lossy().ends_with("-witness")
    };
    let mut begun = Instant::now();
    while fs::read_dir(path.parent().unwrap()).unwrap().any(is_beside) {
        tokio::task::yield_now().await;
        // Two connections that close at the same moment leave the log to each other. The next one takes it away.
        if begun.elapsed() > Duration::from_secs(1) {
            drop(open(path).unwrap());
            begun = Instant::now();
        }
    }
}

fn open_read_only(path: &Path) -> Result<Ledger, LedgerError> {
    Store::open_read_only(path).map(|store| store.ledger())
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_access_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("ledger.db");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let ledger = open(&path).unwrap();
    drop(ledger.reserve(request()).await.unwrap());
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let mut files = 0;
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap().path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
        files += 1;
    }
    assert!(files >= 3, "the database, its log and this process's lock");

    drop(ledger);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _ledger = open(&path).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let file = format!("{}{suffix}", path.display());
        assert_eq!(mode(Path::new(&file)), 0o600, "{file}");
    }
}

/// Asserts that opening fails with this kind, a hint, and a message that names the path.
#[track_caller]
fn assert_refused(path: &Path, kind: &str) {
    let error = Store::open_within(path, Durability::PowerLoss, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.kind(),
        kind,
        "{error}: {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    assert!(error.hint().is_some());
    assert!(
        error
            .to_string()
            .contains(&path.file_name().unwrap().to_string_lossy().into_owned()),
        "{error}"
    );
}

#[test]
fn each_kind_of_bad_file_has_its_own_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().canonicalize().unwrap().join(name);

    fs::write(path("garbage"), [0xA5; 8_192]).unwrap();
    assert_refused(&path("garbage"), "ledger_corrupt");
    assert_eq!(fs::read(path("garbage")).unwrap(), [0xA5; 8_192]);

    fs::create_dir(path("folder")).unwrap();
    assert_refused(&path("folder"), "ledger_not_a_file");
    #[cfg(unix)]
    assert_refused(Path::new("/dev/null"), "ledger_not_a_file");
    assert_refused(&path("garbage").join("ledger.db"), "ledger_failed");

    Connection::open(path("foreign"))
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    assert_refused(&path("foreign"), "ledger_foreign");

    drop(open(&path("newer")).unwrap());
    Connection::open(path("newer"))
        .unwrap()
        .execute("UPDATE schema_version SET version = 99", [])
        .unwrap();
    assert_refused(&path("newer"), "ledger_newer");

    drop(open(&path("locked")).unwrap());
    let other = Connection::open(path("locked")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_refused(&path("locked"), "ledger_locked");
    drop(other);
    open(&path("locked")).unwrap();
}

#[tokio::test]
async fn damage_inside_the_file_is_an_error_and_not_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("ledger.db");
    let ledger = open(&path).unwrap();
    ledger.reserve(request()).await.unwrap().release().await.unwrap();
    drop(ledger);
    closed(&path).await;
    // Overwrites all pages except the first, which holds the header and the schema.
    let mut bytes = fs::read(&path).unwrap();
    bytes[4_096..].fill(0xA5);
    fs::write(&path, bytes).unwrap();
    let error = match open(&path) {
        Err(error) => error,
        Ok(ledger) => ledger.reserve(request()).await.unwrap_err(),
    };
    assert!(matches!(error, LedgerError::Corrupt { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_reported_as_unwritable() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap().join("ledger.db");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser ignores permissions, and the tests can run as the superuser.
    if fs::write(folder.path().join("probe"), "").is_err() {
        assert_refused(&path, "ledger_unwritable");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[track_caller]
fn assert_unwritable<T>(result: Result<T, LedgerError>) {
    let Err(error) = result else {
        panic!("it wrote to a ledger that is only read")
    };
    assert_eq!(error.kind(), "ledger_unwritable", "{error}");
}

/// The name and the content of every file in the folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            )
        })
        .collect()
}

/// The same without the content of the log's index, where readers say how far they have read.
fn durable_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(folder);
    for (name, content) in &mut files {
        if name.ends_with("-shm") {
            content.clear();
        }
    }
    files
}

#[tokio::test]
async fn a_ledger_that_is_only_read_is_shown_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    // Characters that mean something in a URI.
    let path = folder.path().join("a ledger?mode=rwc#100%25.db");
    let ledger = open(&path).unwrap();
    let limit = LimitOverride::Usd(NanoUsd::from_nanos(5));
    ledger.set_limit(Scope::HostDay, "", Some(limit)).await.unwrap();
    let settled = ledger.reserve(request()).await.unwrap().begin();
    settled.settle(NanoUsd::from_nanos(2), &()).await.unwrap();
    let reservation = ledger.reserve(request()).await.unwrap();

    let show = async |when: &str| {
        let before = durable_files(folder.path());
        let ledger = open_read_only(&path).unwrap();
        let limits = BudgetSettings::default();
        let status = ledger.status("default", None, &limits, request().now).await.unwrap();
        let day = status.last().unwrap();
        let totals = (day.limit_usd, day.spent_usd, day.reserved_usd);
        assert_eq!(
            ledger.limit_overrides("default").await.unwrap()[3].1,
            Some(limit),
            "{when}"
        );
        let states = ledger.export(None).await.unwrap();
        assert_unwritable(ledger.set_limit(Scope::HostDay, "", None).await);
        assert_unwritable(ledger.reserve(request()).await);
        drop(ledger);
        let after = durable_files(folder.path());
        assert!(before == after, "{when}: {:?}", after.keys());
        let states: Vec<_> = states.into_iter().map(|row| row.state).collect();
        (totals, states)
    };
    let nanos = NanoUsd::from_nanos;
    let reserved = (Some(nanos(5)), nanos(2), nanos(1));
    assert_eq!(show("while another process has it open").await.0, reserved);

    // A process that dies leaves its reservation open, and its log.
    let dead = tempfile::tempdir().unwrap();
    for (name, content) in files(folder.path()) {
        fs::write(dead.path().join(name), content).unwrap();
    }
    let left = open_read_only(&dead.path().join(path.file_name().unwrap())).unwrap();
    assert_eq!(left.export(None).await.unwrap()[1].state, "open");

    reservation.release().await.unwrap();
    drop(ledger);
    closed(&path).await;
    let (totals, states) = show("while nobody has it open").await;
    assert_eq!(totals, (Some(nanos(5)), nanos(2), nanos(0)));
    assert_eq!(states, ["settled", "released"]);
}

#[tokio::test]
async fn a_missing_ledger_that_is_only_read_is_empty_and_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("ledger.db");
    let ledger = open_read_only(&path).unwrap();
    let limits = BudgetSettings::default();
    let status = ledger.status("default", None, &limits, request().now).await.unwrap();
    assert_eq!(
        (status[0].spent_usd, status[0].reserved_usd),
        (NanoUsd::ZERO, NanoUsd::ZERO)
    );
    assert!(ledger.export(None).await.unwrap().is_empty());
    assert_unwritable(ledger.reserve(request()).await);
    assert_unwritable(ledger.set_limit(Scope::HostDay, "", None).await);
    assert!(files(folder.path()).is_empty());
    // An empty file is what a process leaves that dies while it creates the ledger.
    fs::write(folder.path().join("empty"), "").unwrap();
    let ledger = open_read_only(&folder.path().join("empty")).unwrap();
    assert!(ledger.export(None).await.unwrap().is_empty());
}

#[test]
fn a_bad_file_that_is_only_read_is_refused_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("garbage"), [0xA5; 8_192]).unwrap();
    fs::create_dir(path("folder")).unwrap();
    let foreign = Connection::open(path("foreign")).unwrap();
    foreign.execute_batch("CREATE TABLE recipes (name TEXT)").unwrap();
    drop(foreign);
    for (name, version) in [("newer", 99), ("older", 1)] {
        drop(open(&path(name)).unwrap());
        let ledger = Connection::open(path(name)).unwrap();
        ledger
            .execute("UPDATE schema_version SET version = ?1", [version])
            .unwrap();
    }
    for (name, kind) in [
        ("garbage", "ledger_corrupt"),
        ("folder", "ledger_not_a_file"),
        ("foreign", "ledger_foreign"),
        ("newer", "ledger_newer"),
        ("older", "ledger_unwritable"),
        ("garbage/ledger.db", "ledger_failed"),
    ] {
        let error = open_read_only(&path(name)).unwrap_err();
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

#[track_caller]
fn assert_restored<T>(result: Result<T, LedgerError>, missing: Option<u64>) {
    let Err(error) = result else {
        panic!("a copy that was put back reserves")
    };
    assert_eq!(error.kind(), "ledger_restored", "{error}");
    assert!(error.hint().unwrap().contains("budget confirm"), "{error}");
    let LedgerError::Restored { restored, .. } = error else {
        unreachable!()
    };
    assert_eq!(restored.missing_commits, missing);
}

async fn spend(path: &Path, durability: Durability) {
    let ledger = Store::open(path, durability).unwrap().ledger();
    let attempt = ledger.reserve(request()).await.unwrap().begin();
    attempt.settle(NanoUsd::from_nanos(1), &()).await.unwrap();
    drop(ledger);
    closed(path).await;
}

#[tokio::test]
async fn a_copy_that_was_put_back_reserves_nothing_until_it_is_confirmed() {
    for durability in [Durability::PowerLoss, Durability::ProcessCrash] {
        let folder = tempfile::tempdir().unwrap();
        let [path, backup] = ["ledger.db", "backup.db"].map(|name| folder.path().join(name));
        spend(&path, durability).await;
        fs::copy(&path, &backup).unwrap();
        for _ in 0..3 {
            spend(&path, durability).await;
        }
        fs::copy(&backup, &path).unwrap();

        let store = Store::open(&path, durability).unwrap();
        let ledger = store.ledger();
        assert_restored(ledger.reserve(request()).await, Some(3));
        let unusual = ledger.unusual(request().now).await.unwrap();
        assert_eq!(unusual.restored.unwrap().missing_commits, Some(3));
        // What is known is shown, and a limit can be lowered before.
        assert_eq!(ledger.export(None).await.unwrap().len(), 1);
        let limit = LimitOverride::Usd(NanoUsd::from_nanos(2));
        ledger.set_limit(Scope::HostDay, "", Some(limit)).await.unwrap();
        assert_restored(ledger.reserve(request()).await, Some(3));
        assert_restored(open(&path).unwrap().reserve(request()).await, Some(3));

        let other = open(&path).unwrap();
        assert_eq!(other.confirm(request().now).await.unwrap(), unusual);
        ledger.reserve(request()).await.unwrap().release().await.unwrap();
        other.reserve(request()).await.unwrap().release().await.unwrap();
        assert_eq!(ledger.unusual(request().now).await.unwrap(), Unusual::default());
        drop((ledger, store, other));
        closed(&path).await;
        // The same copy once more.
        fs::copy(&backup, &path).unwrap();
        let again = open(&path).unwrap().reserve(request()).await;
        assert_eq!(again.unwrap_err().kind(), "ledger_restored");
    }
}

/// What its calls have done may be missing in the copy, and must not be done twice.
#[tokio::test]
async fn a_session_of_a_copy_that_was_put_back_goes_on_once_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, backup] = ["ledger.db", "backup.db"].map(|name| folder.path().join(name));
    let store = Store::open(&path, Durability::PowerLoss).unwrap();
    let opened = Change::OpenSession {
        id: "s".into(),
        tenant: "t".into(),
        title: String::new(),
    };
    let release = |lease| Change::Release { id: "s".into(), lease };
    store.change(vec![opened, release(1)]).await.unwrap();
    drop(store);
    closed(&path).await;
    fs::copy(&path, &backup).unwrap();
    let store = Store::open(&path, Durability::PowerLoss).unwrap();
    drop(store.take_session("s").await.unwrap());
    drop(store);
    closed(&path).await;
    fs::copy(&backup, &path).unwrap();

    let store = Store::open(&path, Durability::PowerLoss).unwrap();
    let taken = store.take_session("s").await.map_err(StoreError::into_ledger);
    assert_restored(taken, Some(1));
    assert!(!store.find_session("s", None).await.unwrap().in_use);
    store.ledger().confirm(request().now).await.unwrap();
    store.take_session("s").await.unwrap();
}

#[tokio::test]
async fn a_ledger_that_was_copied_without_its_witness_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, elsewhere] = ["ledger.db", "elsewhere.db"].map(|name| folder.path().join(name));
    spend(&path, Durability::PowerLoss).await;
    fs::copy(&path, &elsewhere).unwrap();
    let copy = open(&elsewhere).unwrap();
    assert_restored(copy.reserve(request()).await, None);
    copy.confirm(request().now).await.unwrap();
    copy.reserve(request()).await.unwrap().release().await.unwrap();
    drop(copy);
    spend(&elsewhere, Durability::PowerLoss).await;
}

/// What isn't written down isn't accepted.
#[cfg(unix)]
#[tokio::test]
async fn a_copy_whose_witness_cannot_be_created_is_not_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let [path, elsewhere] = ["ledger.db", "elsewhere.db"].map(|name| folder.path().join(name));
    spend(&path, Durability::PowerLoss).await;
    fs::copy(&path, &elsewhere).unwrap();
    let witness = folder.path().join("elsewhere.db-witness");
    std::os::unix::fs::symlink(folder.path().join("missing/witness"), &witness).unwrap();
    let copy = open(&elsewhere).unwrap();
    let refused = copy.confirm(request().now).await.unwrap_err();
    assert!(refused.to_string().contains("elsewhere.db-witness"), "{refused}");
    assert_restored(copy.reserve(request()).await, None);
    fs::remove_file(&witness).unwrap();
    copy.confirm(request().now).await.unwrap();
    copy.reserve(request()).await.unwrap().release().await.unwrap();
}

/// The same of one that can be read, but not written.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_copy_whose_witness_cannot_be_written_is_not_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    spend(&path, Durability::PowerLoss).await;
    let witness = folder.path().join("ledger.db-witness");
    fs::remove_file(&witness).unwrap();
    // A number that not even root can write.
    std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", &witness).unwrap();
    let copy = open(&path).unwrap();
    let missing = || async {
        match copy.reserve(request()).await {
            Err(LedgerError::Restored { restored, .. }) => restored.missing_commits,
            other => panic!("{other:?}"),
        }
    };
    let before = missing().await;
    assert!(before.is_some_and(|missing| missing > 60_000), "{before:?}");
    let refused = copy.confirm(request().now).await.unwrap_err();
    assert!(refused.to_string().contains("ledger.db-witness"), "{refused}");
    assert_eq!(missing().await, before, "it is refused as before");
}

/// What is no copy doesn't depend on its witness.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn later_days_are_booked_for_today_although_the_witness_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let ledger = open(&path).unwrap();
    let now = request().now;
    let later = ReserveRequest {
        now: now + jiff::SignedDuration::from_hours(48),
        ..request()
    };
    let attempt = ledger.reserve(later).await.unwrap().begin();
    attempt.settle(NanoUsd::from_nanos(1), &()).await.unwrap();
    // Newer than the witness, which is a number that not even root can write.
    let database = Connection::open(&path).unwrap();
    database
        .execute("UPDATE generation SET number = 1_000_000", [])
        .unwrap();
    let witness = folder.path().join("ledger.db-witness");
    fs::remove_file(&witness).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/random/entropy_avail", &witness).unwrap();
    assert!(ledger.confirm(now).await.unwrap().ahead.is_some());
    assert_eq!(ledger.unusual(now).await.unwrap(), Unusual::default());
}

/// What keeps the witness from being read is said of the witness, not of the database.
#[tokio::test]
async fn a_witness_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    spend(&path, Durability::PowerLoss).await;
    let witness = folder.path().join("ledger.db-witness");
    fs::write(&witness, "garbage").unwrap();
    let ledger = open(&path).unwrap();
    let refused = ledger.reserve(request()).await.map(drop);
    assert!(
        refused.as_ref().unwrap_err().to_string().contains("missing or damaged"),
        "{refused:?}"
    );
    assert_restored(refused, None);
    fs::remove_file(&witness).unwrap();
    fs::create_dir(&witness).unwrap();
    for refused in [
        ledger.reserve(request()).await.map(drop).unwrap_err(),
        ledger.unusual(request().now).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(refused.kind(), "ledger_not_a_file");
        assert!(refused.to_string().contains("ledger.db-witness"), "{refused}");
    }
}

/// A crash or a power failure leaves the witness behind the database: as it was, or without its last moments.
#[tokio::test]
async fn a_witness_behind_its_database_raises_no_alarm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let witness = folder.path().join("ledger.db-witness");
    drop(open(&path).unwrap());
    let new = fs::read(&witness).unwrap();
    spend(&path, Durability::PowerLoss).await;
    let older = fs::read(&witness).unwrap();
    assert_ne!(new, older);
    for _ in 0..3 {
        spend(&path, Durability::PowerLoss).await;
    }
    for before in [new, older] {
        fs::write(&witness, before).unwrap();
        assert_eq!(
            open(&path).unwrap().unusual(request().now).await.unwrap(),
            Unusual::default()
        );
        spend(&path, Durability::PowerLoss).await;
    }
}

/// Without flushes the witness moves in coarse steps, each of them flushed.
#[tokio::test]
async fn a_store_without_flushes_writes_its_witness_now_and_then() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let seen = || -> u64 {
        let text = fs::read_to_string(folder.path().join("ledger.db-witness"));
        text.unwrap_or_default().trim().parse().unwrap_or(0)
    };
    for (durability, steps) in [(Durability::ProcessCrash, 2), (Durability::PowerLoss, 100)] {
        let before = seen();
        let ledger = Store::open(&path, durability).unwrap().ledger();
        for _ in 0..100 {
            ledger.reserve(request()).await.unwrap().release().await.unwrap();
        }
        assert_eq!(seen() - before, steps, "{durability:?}");
    }
}

#[track_caller]
fn assert_displaced<T>(result: Result<T, LedgerError>) {
    let Err(error) = result else {
        panic!("it went on in a file that is gone")
    };
    assert_eq!(error.kind(), "ledger_displaced", "{error}");
    assert!(error.hint().unwrap().contains("restart"), "{error}");
}

/// What is at the path, after the folder with everything in it was deleted, moved or replaced.
#[cfg(unix)]
#[tokio::test]
async fn a_ledger_that_was_deleted_moved_or_replaced_is_noticed_before_reserving() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (data, aside) = (root.join("data"), root.join("aside"));
    let path = data.join("ledger.db");
    let ledger = open(&path).unwrap();
    let attempt = ledger.reserve(request()).await.unwrap().begin();

    fs::rename(&data, &aside).unwrap();
    assert_displaced(ledger.reserve(request()).await);
    assert_displaced(ledger.set_limit(Scope::HostDay, "", None).await);
    assert_displaced(ledger.export(None).await);
    assert_displaced(ledger.effective_limits("default", &BudgetSettings::default()).await);
    // Another process starts an empty one.
    let other = open(&path).unwrap();
    assert_displaced(ledger.reserve(request()).await);
    other.reserve(request()).await.unwrap().release().await.unwrap();
    // What is open is still booked where it is.
    attempt.settle(NanoUsd::from_nanos(1), &()).await.unwrap();
    drop(ledger);
    assert_eq!(other.export(None).await.unwrap().len(), 1);
    let old = open(&aside.join("ledger.db")).unwrap();
    assert_eq!(old.export(None).await.unwrap()[0].state, "settled");

    drop(old);
    fs::remove_dir_all(&data).unwrap();
    assert_displaced(other.reserve(request()).await);
    drop(other);
    let new = open(&path).unwrap();
    new.reserve(request()).await.unwrap().release().await.unwrap();
}

/// Others would take this process for dead, and charge what it has just reserved.
#[cfg(unix)]
#[tokio::test]
async fn a_process_without_its_lock_file_reserves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = open(&folder.path().join("ledger.db")).unwrap();
    let locks = fs::read_dir(folder.path()).unwrap().flatten();
    let lock = locks
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("-owner-"))
        .unwrap();
    fs::remove_file(&lock).unwrap();
    assert_displaced(ledger.reserve(request()).await);
    fs::write(&lock, "").unwrap();
    assert_displaced(ledger.reserve(request()).await);
}
