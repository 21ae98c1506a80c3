//! `wasi:keyvalue/store`, for one call.

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::store::{KeyValueStore, Namespace, Refusal};

wasmtime::component::bindgen!({
    path: "../wit/wasi-keyvalue",
    world: "imports",
    imports: { default: async | trappable },
    with: { "wasi:keyvalue/store.bucket": Bucket },
});

use wasi::keyvalue::store::{Error, Host, HostBucket, KeyResponse, add_to_linker as add};

/// An open store. A call has only one, so the handle carries no data.
pub struct Bucket;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal.to_string())
    }
}

/// The key-value data of one call.
#[derive(Debug)]
pub(in crate::sandbox) struct KeyValue {
    /// The store, if the plugin was granted one.
    granted: Option<(KeyValueStore, Namespace)>,
    /// Bytes of keys and values that the guest has written.
    written: u64,
}

/// What the functions below need of a call.
pub(in crate::sandbox) struct KeyValueCtx<'a> {
    pub(in crate::sandbox) keyvalue: &'a mut KeyValue,
    pub(in crate::sandbox) table: &'a mut ResourceTable,
}

/// The state of a call that can use key-value data.
pub(in crate::sandbox) trait KeyValueView: Send + 'static {
    /// Counts as one host call.
    fn keyvalue(&mut self) -> KeyValueCtx<'_>;
}

impl Host for KeyValueCtx<'_> {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        if self.keyvalue.granted.is_none() {
            return Ok(Err(Error::AccessDenied));
        }
        if !matches!(identifier.as_str(), "" | "default") {
            return Ok(Err(Error::NoSuchStore));
        }
        Ok(Ok(self.table.push(Bucket)?))
    }
}

/// A call can write its quota this many times. Overwriting takes no space, but it wears the disk and makes other tenants wait.
const QUOTA_WRITES: u64 = 4;

/// The minimum charge of a write, in bytes: the disk writes whole pages.
const PAGE_BYTES: u64 = 4096;
/// Small writes that every plugin can make, however small its quota.
const SMALL_WRITES: u64 = 256;

impl KeyValue {
    pub(in crate::sandbox) fn new(granted: Option<(KeyValueStore, Namespace)>) -> Self {
        Self { granted, written: 0 }
    }

    fn charge_write(&mut self, bytes: u64) -> Result<(), Refusal> {
        let Some((_, space)) = &self.granted else {
            return Ok(());
        };
        let limit = space.quota.saturating_mul(QUOTA_WRITES).max(SMALL_WRITES * PAGE_BYTES);
        let written = self.written.saturating_add(bytes.max(PAGE_BYTES));
        if written > limit {
            return Err(Refusal::Written(limit));
        }
        self.written = written;
        Ok(())
    }
}

/// Runs one operation on the store of the call.
macro_rules! on_store {
    ($ctx:ident, $bucket:ident, $store:ident, $space:ident => $work:expr) => {{
        $ctx.table.get(&$bucket)?;
        match &$ctx.keyvalue.granted {
            None => Ok(Err(Error::AccessDenied)),
            Some(($store, $space)) => Ok($work.await.map_err(Error::from)),
        }
    }};
}

impl HostBucket for KeyValueCtx<'_> {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        on_store!(self, bucket, store, space => store.get(space, key))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        if let Err(refusal) = self.keyvalue.charge_write((key.len() + value.len()) as u64) {
            return Ok(Err(refusal.into()));
        }
        on_store!(self, bucket, store, space => store.set(space, key, value))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), Error>> {
        if let Err(refusal) = self.keyvalue.charge_write(0) {
            return Ok(Err(refusal.into()));
        }
        on_store!(self, bucket, store, space => store.delete(space, key))
    }

    async fn exists(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, Error>> {
        on_store!(self, bucket, store, space => store.exists(space, key))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<Bucket>,
        cursor: Option<u64>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        let page = async |store: &KeyValueStore, space: &Namespace| {
            let (keys, cursor) = store.keys(space, cursor).await?;
            Ok::<_, Refusal>(KeyResponse { keys, cursor })
        };
        on_store!(self, bucket, store, space => page(store, space))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

/// Makes the generated code ask for a [`KeyValueCtx`].
struct Linked;

impl HasData for Linked {
    type Data<'a> = KeyValueCtx<'a>;
}

pub(in crate::sandbox) fn add_to_linker<T: KeyValueView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    add::<T, Linked>(linker, T::keyvalue)
}
