#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::time::Duration;

use super::super::{Mark, Schema};
use super::*;

const SCHEMA: Schema<'static> = Schema {
    mark: Mark::Header(7),
    steps: &["CREATE TABLE things (name TEXT)"],
};

fn open(path: &Path) -> Database {
    SCHEMA.open(path, Duration::ZERO).unwrap().0
}

fn add(database: &mut Database, name: &str) -> Result<(), Failure> {
    let transaction = database.begin(TransactionBehavior::Immediate)?;
    transaction.execute("INSERT INTO things (name) VALUES (?1)", [name])?;
    Ok(transaction.commit()?)
}

fn names(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare("SELECT name FROM things ORDER BY name").unwrap();
    let names = statement.query_map([], |row| row.get(0)).unwrap();
    names.collect::<Result<_, _>>().unwrap()
}

#[track_caller]
fn assert_displaced(database: &mut Database, file: &Path) {
    for behavior in [TransactionBehavior::Immediate, TransactionBehavior::Deferred] {
        match database.begin(behavior) {
            Err(Failure::Displaced(path)) => assert_eq!(path, file),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn each_file_that_is_deleted_moved_or_replaced_is_noticed() {
    for suffix in SUFFIXES {
        for replaced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().canonicalize().unwrap().join("things.db");
            let mut database = open(&path);
            add(&mut database, "a").unwrap();
            let file = with_suffix(&path, suffix);
            let aside = folder.path().join("aside");
            fs::rename(&file, &aside).unwrap();
            if replaced {
                fs::copy(&aside, &file).unwrap();
            }
            assert_displaced(&mut database, &file);
            // It goes on once the file is back.
            fs::rename(&aside, &file).unwrap();
            add(&mut database, "b").unwrap();

            fs::remove_file(&file).unwrap();
            assert_displaced(&mut database, &file);
        }
    }
}

#[test]
fn a_moved_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (here, there) = (root.join("here"), root.join("there"));
    let mut database = open(&here.join("things.db"));
    fs::rename(&here, &there).unwrap();
    assert_displaced(&mut database, &here.join("things.db"));
    let other = open(&here.join("things.db"));
    assert_displaced(&mut database, &here.join("things.db"));
    drop(other);
}

/// Without care, SQLite deletes them by their names.
#[test]
fn closing_a_database_leaves_files_alone_that_it_never_opened() {
    for suffix in ["-wal", "-shm"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap().join("things.db");
        let mut database = open(&path);
        add(&mut database, "a").unwrap();
        let file = with_suffix(&path, suffix);
        fs::remove_file(&file).unwrap();
        fs::write(&file, "another process's").unwrap();
        drop(database);
        assert_eq!(fs::read(&file).unwrap(), b"another process's", "{suffix}");
    }
}

#[test]
fn closing_a_displaced_database_leaves_the_new_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (here, there) = (root.join("here"), root.join("there"));
    let path = here.join("things.db");
    let mut old = open(&path);
    add(&mut old, "old").unwrap();
    fs::rename(&here, &there).unwrap();
    let mut new = open(&path);
    add(&mut new, "new").unwrap();
    drop(old);
    assert!(SUFFIXES.iter().all(|suffix| with_suffix(&path, suffix).exists()));
    add(&mut new, "newer").unwrap();
    assert_eq!(names(&path), ["new", "newer"]);
    assert_eq!(names(&there.join("things.db")), ["old"], "the moved database is whole");
}
