//! Which connections are served at the same time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts connections, in all and by address.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max_per_address: usize,
}

impl Connections {
    pub(super) fn new(max: usize, max_per_address: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(max)),
            by_address: Arc::default(),
            max_per_address,
        }
    }

    /// Waits until one more connection may be served, of whatever address.
    pub(super) async fn room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// `None` if the address has as many as it may have.
    pub(super) fn admit(&self, address: IpAddr, room: OwnedSemaphorePermit) -> Option<ConnectionPermit> {
        let mut by_address = self.by_address();
        let count = by_address.entry(address).or_default();
        if *count >= self.max_per_address {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit {
            connections: self.clone(),
            address,
            _room: room,
        })
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    connections: Connections,
    address: IpAddr,
    _room: OwnedSemaphorePermit,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut by_address = self.connections.by_address();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn an_address_without_connections_is_forgotten() {
        let connections = Connections::new(3, 1);
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = connections.admit(address, connections.room().await.unwrap()).unwrap();
        assert!(connections.admit(address, connections.room().await.unwrap()).is_none());
        let other = connections.admit(IpAddr::from([127, 0, 0, 2]), connections.room().await.unwrap());
        assert!(other.is_some() && connections.by_address().len() == 2);
        drop((first, other));
        assert!(connections.by_address().is_empty());
        assert_eq!(connections.all.available_permits(), 3);
        assert!(connections.admit(address, connections.room().await.unwrap()).is_some());
    }
}
