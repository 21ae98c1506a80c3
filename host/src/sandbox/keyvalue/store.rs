//! The file behind `wasi:keyvalue`. One for the host; no query leaves the namespace of a tenant and a plugin.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::sandbox::blocking::{BlockingWork, on_a_thread};
use crate::sqlite::{self, OpenError};

/// Bytes of a key.
const MAX_KEY_BYTES: usize = 1024;
/// What an entry counts for besides its key and its value, so that empty ones are not free.
const ENTRY_BYTES: u64 = 64;
/// Keys of one answer; the rest is asked for with its cursor.
const PAGE: i64 = 256;
/// How long another process that writes is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Marks the file as ours: `CFKV`.
const APPLICATION_ID: i64 = 0x4346_4b56;
const VERSION: i64 = 2;
/// An entry's number is its place in its own namespace: it becomes a cursor that the plugin sees, and must not tell how much
/// others keep.
const SCHEMA: &str = "
    CREATE TABLE entries (
        tenant TEXT NOT NULL,
        plugin TEXT NOT NULL,
        key TEXT NOT NULL,
        number INTEGER NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (tenant, plugin, key),
        UNIQUE (tenant, plugin, number)
    );
    CREATE TABLE used (
        tenant TEXT NOT NULL,
        plugin TEXT NOT NULL,
        bytes INTEGER NOT NULL,
        PRIMARY KEY (tenant, plugin)
    ) WITHOUT ROWID;
";

/// What plugins keep, in one file. A reader waits for no writer.
#[derive(Clone, Debug)]
pub struct KeyValueStore {
    reader: Access,
    writer: Access,
}

/// A connection. One transaction at a time, fairly between tenants, and each waits for its turn on no thread.
#[derive(Clone)]
struct Access {
    connection: Arc<Mutex<Connection>>,
    behavior: TransactionBehavior,
    work: BlockingWork,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    fn new(connection: Connection, behavior: TransactionBehavior) -> Self {
        Self {
            connection: Arc::new(Mutex::new(connection)),
            behavior,
            work: BlockingWork::one_at_a_time(),
        }
    }

    /// One transaction, off the threads that run guests. A call that is over does not wait for it; it is done all the
    /// same, whole or not at all.
    async fn run<T: Send + 'static>(
        &self,
        space: &Namespace,
        work: impl FnOnce(&Transaction<'_>, &Namespace) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (connection, behavior) = (Arc::clone(&self.connection), self.behavior);
        let owned = space.clone();
        let done = on_a_thread(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(behavior)?;
            let result = work(&transaction, &owned)?;
            transaction.commit()?;
            Ok(result)
        });
        self.work.run(&space.tenant, done).await
    }
}

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyValueError {
    #[error("{0} is not a regular file, so plugins can't keep data in it")]
    NotAFile(PathBuf),
    #[error("{0} is a database, but not one of plugins' data")]
    Foreign(PathBuf),
    #[error("{path} was written by a newer version (schema {found})")]
    Newer { path: PathBuf, found: i64 },
    #[error("{path}, where plugins keep data, can't be opened: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}, where plugins keep data, failed: {source}")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("opening the file where plugins keep data was cut short")]
    Interrupted,
}

impl KeyValueError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Newer { .. } => "update cofferdam, or choose another `[storage] path`".to_owned(),
            _ => "make the file sound and writable, move it away, or choose another `[storage] path`".to_owned(),
        }
    }
}

/// Whose data it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Namespace {
    pub(in crate::sandbox) tenant: Arc<str>,
    pub(in crate::sandbox) plugin: Arc<str>,
    /// Bytes it may hold.
    pub(in crate::sandbox) quota: u64,
}

/// What a guest is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Key,
    Quota(u64),
    Written(u64),
    /// The operator's log has the reason.
    Failed,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key => write!(f, "a key has 1 to {MAX_KEY_BYTES} bytes"),
            Self::Quota(quota) => write!(f, "the store would hold more than {quota} bytes (limit keyvalue_bytes)"),
            Self::Written(limit) => write!(
                f,
                "more than {limit} bytes written in one call, each write and each deletion counted as 4 KiB at least"
            ),
            Self::Failed => f.write_str("the host's store failed"),
        }
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        tracing::warn!(%error, "the store of plugins' data failed");
        Self::Failed
    }
}

impl KeyValueStore {
    /// Opens the file, creating it and its folder for their owner alone. Blocks.
    ///
    /// # Errors
    ///
    /// See [`KeyValueError`]. A file that is not ours stays as it was.
    pub fn open(path: &Path) -> Result<Self, KeyValueError> {
        let database = |source| KeyValueError::Database {
            path: path.to_owned(),
            source,
        };
        let (mut connection, _) = sqlite::open(path, BUSY).map_err(|error| match error {
            OpenError::NotAFile => KeyValueError::NotAFile(path.to_owned()),
            OpenError::Io(source) => KeyValueError::Io {
                path: path.to_owned(),
                source,
            },
            OpenError::Sqlite(source) => database(source),
        })?;
        let begun = connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(database)?;
        match prepare(&transaction).map_err(database)? {
            Found::Ours => transaction.commit().map_err(database)?,
            Found::Foreign => return Err(KeyValueError::Foreign(path.to_owned())),
            Found::Newer(found) => {
                return Err(KeyValueError::Newer {
                    path: path.to_owned(),
                    found,
                });
            }
        }
        sqlite::use_wal(&connection).map_err(database)?;
        // What the last calls wrote may be lost when the power fails, never when a process does.
        connection
            .pragma_update(None, "synchronous", "NORMAL")
            .map_err(database)?;
        let reader = Connection::open(path).map_err(database)?;
        reader.busy_timeout(BUSY).map_err(database)?;
        reader.pragma_update(None, "query_only", true).map_err(database)?;
        Ok(Self {
            reader: Access::new(reader, TransactionBehavior::Deferred),
            writer: Access::new(connection, TransactionBehavior::Immediate),
        })
    }

    pub(super) async fn get(&self, space: &Namespace, key: String) -> Result<Option<Vec<u8>>, Refusal> {
        self.reader
            .run(space, move |transaction, space| {
                let value = transaction.query_row(
                    "SELECT value FROM entries WHERE tenant = ?1 AND plugin = ?2 AND key = ?3",
                    params![space.tenant, space.plugin, key],
                    |row| row.get(0),
                );
                Ok(value.optional()?)
            })
            .await
    }

    pub(super) async fn set(&self, space: &Namespace, key: String, value: Vec<u8>) -> Result<(), Refusal> {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(Refusal::Key);
        }
        self.writer
            .run(space, move |transaction, space| {
                let before = weight(transaction, space, &key)?;
                let after = key.len() as u64 + value.len() as u64 + ENTRY_BYTES;
                let used = used(transaction, space)?.saturating_sub(before).saturating_add(after);
                if used > space.quota && after > before {
                    return Err(Refusal::Quota(space.quota));
                }
                transaction.execute(
                    "INSERT INTO entries (tenant, plugin, key, number, value) VALUES (?1, ?2, ?3,
                     (SELECT coalesce(max(number), 0) + 1 FROM entries WHERE tenant = ?1 AND plugin = ?2), ?4)
                 ON CONFLICT (tenant, plugin, key) DO UPDATE SET value = excluded.value",
                    params![space.tenant, space.plugin, key, value],
                )?;
                set_used(transaction, space, used)
            })
            .await
    }

    pub(super) async fn delete(&self, space: &Namespace, key: String) -> Result<(), Refusal> {
        self.writer
            .run(space, move |transaction, space| {
                let before = weight(transaction, space, &key)?;
                if before == 0 {
                    return Ok(());
                }
                transaction.execute(
                    "DELETE FROM entries WHERE tenant = ?1 AND plugin = ?2 AND key = ?3",
                    params![space.tenant, space.plugin, key],
                )?;
                let used = used(transaction, space)?.saturating_sub(before);
                set_used(transaction, space, used)
            })
            .await
    }

    pub(super) async fn exists(&self, space: &Namespace, key: String) -> Result<bool, Refusal> {
        self.reader
            .run(space, move |transaction, space| {
                Ok(weight(transaction, space, &key)? > 0)
            })
            .await
    }

    /// A page of keys behind `cursor`, and the cursor of the next page.
    pub(super) async fn keys(
        &self,
        space: &Namespace,
        cursor: Option<u64>,
    ) -> Result<(Vec<String>, Option<u64>), Refusal> {
        let after = i64::try_from(cursor.unwrap_or(0)).unwrap_or(i64::MAX);
        self.reader.run(space, move |transaction, space| {
            let mut statement = transaction.prepare(
                "SELECT number, key FROM entries WHERE tenant = ?1 AND plugin = ?2 AND number > ?3 ORDER BY number LIMIT ?4",
            )?;
            let rows = statement.query_map(params![space.tenant, space.plugin, after, PAGE + 1], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
            let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
            let more = rows.len() as i64 > PAGE;
            rows.truncate(usize::try_from(PAGE).unwrap_or(0));
            let last = rows.last().and_then(|(number, _)| u64::try_from(*number).ok());
            Ok((rows.into_iter().map(|(_, key)| key).collect(), last.filter(|_| more)))
        })
        .await
    }
}

enum Found {
    Ours,
    Foreign,
    Newer(i64),
}

/// Looks whose file it is, and makes a new one ours.
fn prepare(transaction: &Transaction<'_>) -> rusqlite::Result<Found> {
    let number = |pragma: &str| transaction.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
    let is_new = transaction.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?;
    match (is_new, number("application_id")?, number("user_version")?) {
        (true, _, _) => {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            Ok(Found::Ours)
        }
        (false, APPLICATION_ID, VERSION) => Ok(Found::Ours),
        (false, APPLICATION_ID, found) if found > VERSION => Ok(Found::Newer(found)),
        (false, _, _) => Ok(Found::Foreign),
    }
}

/// What an entry counts for; 0 where there is none.
fn weight(transaction: &Transaction<'_>, space: &Namespace, key: &str) -> rusqlite::Result<u64> {
    let bytes: Option<i64> = transaction
        .query_row(
            "SELECT length(value) FROM entries WHERE tenant = ?1 AND plugin = ?2 AND key = ?3",
            params![space.tenant, space.plugin, key],
            |row| row.get(0),
        )
        .optional()?;
    Ok(bytes.map_or(0, |bytes| {
        u64::try_from(bytes).unwrap_or(0) + key.len() as u64 + ENTRY_BYTES
    }))
}

fn used(transaction: &Transaction<'_>, space: &Namespace) -> rusqlite::Result<u64> {
    let bytes: Option<i64> = transaction
        .query_row(
            "SELECT bytes FROM used WHERE tenant = ?1 AND plugin = ?2",
            params![space.tenant, space.plugin],
            |row| row.get(0),
        )
        .optional()?;
    Ok(u64::try_from(bytes.unwrap_or(0)).unwrap_or(0))
}

fn set_used(transaction: &Transaction<'_>, space: &Namespace, bytes: u64) -> Result<(), Refusal> {
    transaction.execute(
        "INSERT INTO used (tenant, plugin, bytes) VALUES (?1, ?2, ?3)
         ON CONFLICT (tenant, plugin) DO UPDATE SET bytes = excluded.bytes",
        params![space.tenant, space.plugin, i64::try_from(bytes).unwrap_or(i64::MAX)],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn space(tenant: &str, plugin: &str) -> Namespace {
        Namespace {
            tenant: tenant.into(),
            plugin: plugin.into(),
            quota: 1_000,
        }
    }

    fn store(folder: &tempfile::TempDir) -> KeyValueStore {
        KeyValueStore::open(&folder.path().join("below/keyvalue.db")).unwrap()
    }

    #[tokio::test]
    async fn data_is_kept_and_belongs_to_one_tenant_and_plugin() {
        let folder = tempfile::tempdir().unwrap();
        let mine = space("a", "p");
        store(&folder).set(&mine, "k".to_owned(), b"v".to_vec()).await.unwrap();
        let again = store(&folder);
        assert_eq!(again.get(&mine, "k".to_owned()).await, Ok(Some(b"v".to_vec())));
        for other in [space("b", "p"), space("a", "q"), space("a", ""), space("ap", "")] {
            assert_eq!(again.get(&other, "k".to_owned()).await, Ok(None));
            assert_eq!(again.keys(&other, None).await, Ok((Vec::new(), None)));
            again.delete(&other, "k".to_owned()).await.unwrap();
        }
        assert_eq!(again.exists(&mine, "k".to_owned()).await, Ok(true));
        again.delete(&mine, "k".to_owned()).await.unwrap();
        assert_eq!(again.exists(&mine, "k".to_owned()).await, Ok(false));
    }

    #[tokio::test]
    async fn the_quota_counts_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mine) = (store(&folder), space("a", "p"));
        let set = async |key: &str, bytes: usize| store.set(&mine, key.to_owned(), vec![0; bytes]).await;
        // 1,000 bytes: one entry of 1 + 935 + 64.
        assert_eq!(set("k", 936).await, Err(Refusal::Quota(1_000)));
        assert_eq!(set("k", 935).await, Ok(()));
        assert_eq!(set("l", 0).await, Err(Refusal::Quota(1_000)));
        assert_eq!(set("k", 100).await, Ok(()));
        assert_eq!(set("l", 700).await, Ok(()));
        assert_eq!(set("m", 100).await, Err(Refusal::Quota(1_000)));
        store.delete(&mine, "k".to_owned()).await.unwrap();
        assert_eq!(set("m", 100).await, Ok(()));
        // Another tenant has a quota of its own.
        let other = space("b", "p");
        assert_eq!(store.set(&other, "k".to_owned(), vec![0; 935]).await, Ok(()));
        assert_eq!(set("", 0).await, Err(Refusal::Key));
        assert_eq!(set(&"k".repeat(MAX_KEY_BYTES + 1), 0).await, Err(Refusal::Key));
    }

    #[tokio::test]
    async fn keys_come_in_pages() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let mine = Namespace {
            quota: 1 << 20,
            ..space("a", "p")
        };
        let names: Vec<String> = (0..600).map(|number| format!("k{number}")).collect();
        for name in &names {
            store.set(&mine, name.clone(), Vec::new()).await.unwrap();
        }
        // What others keep moves no cursor.
        let other = space("b", "p");
        store.set(&other, "k".to_owned(), Vec::new()).await.unwrap();
        let (_, cursor) = store.keys(&mine, None).await.unwrap();
        assert_eq!(cursor, Some(256));
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (keys, next) = store.keys(&mine, cursor).await.unwrap();
            seen.extend(keys);
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, names);
        assert_eq!(store.keys(&mine, Some(u64::MAX)).await, Ok((Vec::new(), None)));
    }

    #[test]
    fn other_files_are_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch("CREATE TABLE recipes (name TEXT)")
            .unwrap();
        assert!(matches!(KeyValueStore::open(&path), Err(KeyValueError::Foreign(_))));
        let recipes = Connection::open(&path).unwrap();
        assert!(recipes.prepare("SELECT name FROM recipes").is_ok() && recipes.prepare("SELECT * FROM used").is_err());
        assert!(matches!(
            KeyValueStore::open(folder.path()),
            Err(KeyValueError::NotAFile(_))
        ));
        let path = folder.path().join("garbage.db");
        std::fs::write(&path, "x".repeat(5_000)).unwrap();
        assert!(matches!(
            KeyValueStore::open(&path),
            Err(KeyValueError::Database { .. })
        ));
        let path = folder.path().join("newer.db");
        KeyValueStore::open(&path).unwrap();
        Connection::open(&path)
            .unwrap()
            .pragma_update(None, "user_version", 3)
            .unwrap();
        assert!(matches!(
            KeyValueStore::open(&path),
            Err(KeyValueError::Newer { found: 3, .. })
        ));
    }
}
