//! The file behind `wasi:keyvalue`. The host has one, and every query is limited to the namespace of a tenant and a plugin.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use sha2::{Digest as _, Sha256};

use super::{KeyValueError, schema};
use crate::sandbox::fairness::{BlockingWork, on_blocking_thread};
use crate::sqlite::{Database, Failure};

/// Bytes of a key.
const MAX_KEY_BYTES: usize = 1024;
/// Bytes charged per entry besides its key and value, so that empty entries aren't free.
const ENTRY_BYTES: u64 = 64;
/// Keys per page of `list-keys`. The cursor requests the next page.
const PAGE: i64 = 256;
/// How long to wait for a lock of another process.
const BUSY: Duration = Duration::from_secs(5);

/// The data of all plugins, in one file. Readers don't wait for writers (WAL).
#[derive(Clone, Debug)]
pub struct KeyValueStore {
    reader: Access,
    writer: Access,
}

/// A connection. It runs one transaction at a time, fairly between tenants. A transaction that waits holds no thread.
#[derive(Clone)]
struct Access {
    database: Arc<Mutex<Database>>,
    path: Arc<Path>,
    behavior: TransactionBehavior,
    work: BlockingWork,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl Access {
    fn new(database: Database, path: &Path, behavior: TransactionBehavior) -> Self {
        Self {
            database: Arc::new(Mutex::new(database)),
            path: path.into(),
            behavior,
            work: BlockingWork::one_at_a_time(),
        }
    }

    /// Runs a transaction on a blocking thread. If the call ends meanwhile, the transaction still commits or rolls back as a
    /// whole.
    async fn run<T: Send + 'static>(
        &self,
        space: &Namespace,
        work: impl FnOnce(&Transaction<'_>, &Namespace) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (database, behavior, path) = (Arc::clone(&self.database), self.behavior, Arc::clone(&self.path));
        let owned = space.clone();
        let done = on_blocking_thread(move || {
            let mut database = database.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = database
                .begin(behavior)
                .map_err(|failure| Refusal::failed(&path, failure))?;
            let result = work(&transaction, &owned)?;
            transaction.commit()?;
            Ok(result)
        });
        self.work.run(&space.tenant, done).await
    }
}

/// The owner of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Namespace {
    pub(in crate::sandbox) tenant: Arc<str>,
    pub(in crate::sandbox) plugin: Arc<str>,
    /// The most bytes that it can hold.
    pub(in crate::sandbox) quota: u64,
}

/// Why an operation is refused. The guest receives the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Key,
    Quota(u64),
    Written(u64),
    /// The reason is in the operator's log.
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

impl Refusal {
    fn failed(path: &Path, failure: Failure) -> Self {
        let error = KeyValueError::at(path, failure);
        tracing::warn!(%error, hint = error.hint(), "the store of plugins' data failed");
        Self::Failed
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        tracing::warn!(%error, "the store of plugins' data failed");
        Self::Failed
    }
}

impl KeyValueStore {
    /// Opens the file. Creates it and its folder if they are missing, accessible only to their owner. Blocks.
    ///
    /// # Errors
    ///
    /// See [`KeyValueError`]. A foreign or newer file isn't changed. Waits up to 5 s for a lock of another program.
    pub fn open(path: &Path) -> Result<Self, KeyValueError> {
        Self::open_within(path, BUSY)
    }

    pub(super) fn open_within(path: &Path, busy: Duration) -> Result<Self, KeyValueError> {
        let (reader, writer) = schema::open(path, busy).map_err(|failure| KeyValueError::at(path, failure))?;
        Ok(Self {
            reader: Access::new(reader, path, TransactionBehavior::Deferred),
            writer: Access::new(writer, path, TransactionBehavior::Immediate),
        })
    }

    /// Identifies what the store holds: two equal digests mean that all entries of all plugins are the same.
    ///
    /// # Errors
    ///
    /// If the file can't be read; see [`KeyValueError`].
    pub async fn digest(&self) -> Result<[u8; 32], KeyValueError> {
        let nobody = Namespace {
            tenant: "".into(),
            plugin: "".into(),
            quota: 0,
        };
        let hashed = self.reader.run(&nobody, |transaction, _| {
            let mut hash = Sha256::new();
            let mut statement =
                transaction.prepare("SELECT tenant, plugin, key, value FROM entries ORDER BY tenant, plugin, key")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..4 {
                    let bytes = row.get_ref(column)?.as_bytes().map_err(rusqlite::Error::from)?;
                    hash.update((bytes.len() as u64).to_le_bytes());
                    hash.update(bytes);
                }
            }
            Ok(hash.finalize().into())
        });
        // The reason is in the log.
        hashed.await.map_err(|_| KeyValueError::Interrupted)
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
                let before = charged_bytes(transaction, space, &key)?;
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
                let before = charged_bytes(transaction, space, &key)?;
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
                Ok(charged_bytes(transaction, space, &key)? > 0)
            })
            .await
    }

    /// The page of keys after `cursor`, and the cursor of the next page.
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

/// The bytes that an entry is charged, or 0 if there is none.
fn charged_bytes(transaction: &Transaction<'_>, space: &Namespace, key: &str) -> rusqlite::Result<u64> {
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
    async fn data_persists_and_belongs_to_one_tenant_and_plugin() {
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
    async fn the_quota_counts_current_entries() {
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
        // Entries of other namespaces don't move the cursor.
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
}
