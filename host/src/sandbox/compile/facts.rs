//! What the host needs to know of a component besides its compiled code.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::component::{ComponentError, Digest};
use super::instantiation::{self, Footprint};
use super::on_blocking_thread;
use crate::sandbox::contract::Docs;

/// Follows from the bytes of a component alone.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Facts {
    pub(super) digest: Digest,
    pub(super) footprint: Footprint,
    pub(super) docs: Docs,
}

impl Facts {
    /// Hashes the bytes on one thread and parses them on another.
    ///
    /// # Errors
    ///
    /// If they can't be parsed.
    pub(super) async fn read(bytes: Bytes) -> Result<Self, ComponentError> {
        let same_bytes = bytes.clone();
        let digest = on_blocking_thread(move || Ok(Digest::of(&same_bytes)));
        let parsed = on_blocking_thread(move || {
            let footprint = instantiation::footprint(&bytes);
            let footprint = footprint.map_err(|error| ComponentError::Invalid(error.to_string().into()))?;
            Ok((footprint, Docs::read(&bytes)))
        });
        let (digest, (footprint, docs)) = tokio::try_join!(digest, parsed)?;
        Ok(Self {
            digest,
            footprint,
            docs,
        })
    }
}
