//! Tests of the file: foreign files, migration from older versions, and the errors for files that can't be used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use rusqlite::Connection;

use super::store::Refusal;
use super::*;

fn space(tenant: &str, plugin: &str) -> Namespace {
    Namespace {
        tenant: tenant.into(),
        plugin: plugin.into(),
        quota: 1_000,
    }
}

/// A file of schema version 1, which numbered the entries of all namespaces together.
const FIRST_VERSION: &str = "
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY,
        tenant TEXT NOT NULL,
        plugin TEXT NOT NULL,
        key TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (tenant, plugin, key)
    );
    CREATE TABLE used (
        tenant TEXT NOT NULL,
        plugin TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (tenant, plugin)
    ) WITHOUT ROWID;
    PRAGMA application_id = 0x43464b56;
    PRAGMA user_version = 1;
    PRAGMA journal_mode = WAL;
    INSERT INTO entries (id, tenant, plugin, key, value) VALUES
        (1, 'a', 'p', 'z', x'01'),
        (2, 'b', 'p', 'z', x'02'),
        (3, 'a', 'p', 'y', x'03'),
        (5, 'a', 'q', 'z', x'0405'),
        (8, 'a', 'p', 'x', x'');
    INSERT INTO used (tenant, plugin, bytes) VALUES ('a', 'p', 197), ('b', 'p', 66), ('a', 'q', 67);
";

#[tokio::test]
async fn data_of_the_first_version_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyvalue.db");
    Connection::open(&path).unwrap().execute_batch(FIRST_VERSION).unwrap();
    // The second time, there is nothing to migrate.
    for _ in 0..2 {
        let store = KeyValueStore::open(&path).unwrap();
        for (mine, kept) in [
            (space("a", "p"), vec![("z", vec![1_u8]), ("y", vec![3]), ("x", vec![])]),
            (space("b", "p"), vec![("z", vec![2])]),
            (space("a", "q"), vec![("z", vec![4, 5])]),
        ] {
            let keys: Vec<String> = kept.iter().map(|(key, _)| (*key).to_owned()).collect();
            assert_eq!(store.keys(&mine, None).await, Ok((keys, None)));
            for (key, value) in kept {
                assert_eq!(store.get(&mine, key.to_owned()).await, Ok(Some(value)), "{mine:?}");
            }
        }
    }

    let store = KeyValueStore::open(&path).unwrap();
    let (mine, other) = (space("a", "p"), space("b", "p"));
    // Each namespace has its own numbers.
    assert_eq!(store.keys(&other, Some(1)).await, Ok((Vec::new(), None)));
    assert_eq!(
        store.keys(&mine, Some(1)).await,
        Ok((vec!["y".to_owned(), "x".to_owned()], None))
    );
    // Migrated entries count: 197 bytes, plus an entry of 1 + 738 + 64.
    let set = async |bytes: usize| store.set(&mine, "w".to_owned(), vec![0; bytes]).await;
    assert_eq!(set(739).await, Err(Refusal::Quota(1_000)));
    assert_eq!(set(738).await, Ok(()));
    let (keys, _) = store.keys(&mine, None).await.unwrap();
    assert_eq!(keys, ["z", "y", "x", "w"]);
}

#[test]
fn a_foreign_or_newer_file_is_refused_and_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    Connection::open(path("foreign"))
        .unwrap()
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .unwrap();
    fs::write(path("garbage"), "x".repeat(5_000)).unwrap();
    KeyValueStore::open(&path("newer")).unwrap();
    Connection::open(path("newer"))
        .unwrap()
        .pragma_update(None, "user_version", 3)
        .unwrap();
    for (name, says) in [
        ("foreign", "is a database, but not one of plugins' data"),
        ("garbage", "is damaged"),
        ("newer", "was written by a newer version (schema 3)"),
    ] {
        let before = fs::read(path(name)).unwrap();
        let error = KeyValueStore::open(&path(name)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(name), "{error}");
        assert!(fs::read(path(name)).unwrap() == before, "{name} was changed");
    }
    assert!(matches!(
        KeyValueStore::open(folder.path()),
        Err(KeyValueError::NotAFile(_))
    ));
}

#[tokio::test]
async fn a_file_that_another_program_holds_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keyvalue.db");
    let store = KeyValueStore::open(&path).unwrap();
    let mine = space("a", "p");
    store.set(&mine, "k".to_owned(), vec![1]).await.unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = KeyValueStore::open_within(&path, Duration::ZERO).unwrap_err();
    assert!(matches!(error, KeyValueError::Locked(_)), "{error}");
    drop(other);
    let store = KeyValueStore::open_within(&path, Duration::ZERO).unwrap();
    assert_eq!(store.get(&mine, "k".to_owned()).await, Ok(Some(vec![1])));
}

#[test]
fn sqlite_errors_get_the_right_hint() {
    use rusqlite::ffi;
    let path = Path::new("keyvalue.db");
    for (code, says, hint) in [
        (ffi::SQLITE_CORRUPT, "is damaged", "backup"),
        (ffi::SQLITE_NOTADB, "is damaged", "backup"),
        (ffi::SQLITE_BUSY, "is locked by another program", "close the program"),
        (ffi::SQLITE_READONLY, "can't be written", "writable"),
        (ffi::SQLITE_CANTOPEN, "can't be written", "writable"),
        (ffi::SQLITE_FULL, "no space is left", "free some space"),
        (ffi::SQLITE_IOERR_SHMSIZE, "no space is left", "free some space"),
        (ffi::SQLITE_IOERR, "failed", "disk is sound"),
    ] {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let error = KeyValueError::at(path, error);
        assert!(error.to_string().contains(says), "{error}");
        assert!(error.hint().contains(hint), "{error}: {}", error.hint());
        // Only a corrupt file should be moved away.
        let moves_away = error.hint().contains("move it away");
        assert_eq!(moves_away, matches!(error, KeyValueError::Corrupt { .. }), "{error}");
    }
}

#[test]
fn a_file_for_which_there_is_no_room_gets_the_hint_of_a_full_disk() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let error = KeyValueError::at(Path::new("keyvalue.db"), io::Error::from(kind));
        assert!(error.to_string().contains("no space is left"), "{error}");
        assert!(error.hint().contains("free some space"), "{}", error.hint());
    }
}

/// Otherwise plugins would go on in a file that nobody else can see, and lose everything at the next start.
#[cfg(unix)]
#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("keyvalue.db");
    let store = KeyValueStore::open(&path).unwrap();
    let mine = space("a", "p");
    store.set(&mine, "k".to_owned(), vec![1]).await.unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    for _ in ["deleted", "replaced"] {
        assert_eq!(store.get(&mine, "k".to_owned()).await, Err(Refusal::Failed));
        assert_eq!(store.set(&mine, "k".to_owned(), vec![2]).await, Err(Refusal::Failed));
        KeyValueStore::open(&path).unwrap();
    }
    let error = KeyValueError::at(&path, crate::sqlite::Failure::Displaced(path.clone()));
    assert!(error.hint().contains("restart"), "{error}: {}", error.hint());
}
