//! `wasi:keyvalue/store`, for one call.

use wasmtime::component::{HasSelf, Linker, Resource};

use super::store::Refusal;
use crate::sandbox::call::CallState;

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

impl Host for CallState {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        self.host_calls += 1;
        if self.keyvalue.is_none() {
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

impl CallState {
    fn charge_write(&mut self, bytes: u64) -> Result<(), Refusal> {
        let Some((_, space)) = &self.keyvalue else {
            return Ok(());
        };
        let limit = space.quota.saturating_mul(QUOTA_WRITES).max(SMALL_WRITES * PAGE_BYTES);
        let written = self.keyvalue_written.saturating_add(bytes.max(PAGE_BYTES));
        if written > limit {
            self.host_calls += 1;
            return Err(Refusal::Written(limit));
        }
        self.keyvalue_written = written;
        Ok(())
    }
}

/// Runs one operation on the store of the call.
macro_rules! on_store {
    ($state:ident, $bucket:ident, $store:ident, $space:ident => $work:expr) => {{
        $state.host_calls += 1;
        $state.table.get(&$bucket)?;
        match &$state.keyvalue {
            None => Ok(Err(Error::AccessDenied)),
            Some(($store, $space)) => Ok($work.await.map_err(Error::from)),
        }
    }};
}

impl HostBucket for CallState {
    async fn get(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        on_store!(self, bucket, store, space => store.get(space, key))
    }

    async fn set(
        &mut self,
        bucket: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        if let Err(refusal) = self.charge_write((key.len() + value.len()) as u64) {
            return Ok(Err(refusal.into()));
        }
        on_store!(self, bucket, store, space => store.set(space, key, value))
    }

    async fn delete(&mut self, bucket: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), Error>> {
        if let Err(refusal) = self.charge_write(0) {
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
        let page = async |store: &super::KeyValueStore, space: &super::Namespace| {
            let (keys, cursor) = store.keys(space, cursor).await?;
            Ok::<_, Refusal>(KeyResponse { keys, cursor })
        };
        on_store!(self, bucket, store, space => page(store, space))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.host_calls += 1;
        self.table.delete(bucket)?;
        Ok(())
    }
}

pub(in crate::sandbox) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    add::<CallState, HasSelf<CallState>>(linker, |state| state)
}
