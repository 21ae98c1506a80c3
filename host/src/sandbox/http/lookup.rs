//! Looks up names. The system's resolver has no deadline, and a guest can choose a name whose servers never answer.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::resilience::Share;
use crate::sandbox::fairness::{BlockingWork, PermitCounts, on_blocking_thread};

/// Names that can be looked up at the same time.
const PERMITS: PermitCounts = PermitCounts {
    total: 32,
    per_tenant: 8,
    per_plugin: 8,
};

/// Addresses that are tried for one name: a name server can return thousands.
pub(super) const MAX_ADDRESSES: usize = 16;

/// The permits for the lookups of all guests of a host.
pub(in crate::sandbox) fn work() -> BlockingWork {
    BlockingWork::new(PERMITS, Share::Permits)
}

/// Asks the system's resolver on behalf of `tenant`.
pub(super) async fn look_up(
    work: &BlockingWork,
    tenant: &Arc<str>,
    name: String,
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    let resolve = move || Ok(alternate_families((name.as_str(), port).to_socket_addrs()?));
    work.run(tenant, on_blocking_thread(resolve)).await
}

/// Alternates between the address families, so that the other is tried soon if the network drops one (RFC 8305).
fn alternate_families(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (first, second): (Vec<_>, Vec<_>) = {
        let mut addresses = addresses.peekable();
        let is_v6 = addresses.peek().is_some_and(SocketAddr::is_ipv6);
        addresses.partition(|address| address.is_ipv6() == is_v6)
    };
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    while mixed.len() < MAX_ADDRESSES {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        mixed.extend(pair.into_iter().flatten());
    }
    mixed.truncate(MAX_ADDRESSES);
    mixed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn localhost_resolves_to_loopback() {
        let found = look_up(&work(), &"t".into(), "localhost".to_owned(), 80).await.unwrap();
        let is_local = |address: &SocketAddr| address.ip().is_loopback() && address.port() == 80;
        assert!(!found.is_empty() && found.iter().all(is_local), "{found:?}");
    }

    #[test]
    fn families_alternate_and_few_addresses_are_kept() {
        let v6 = (1..100).map(|n| SocketAddr::from(([0x2606, 0, 0, 0, 0, 0, 0, n], 80)));
        let v4 = (1..100).map(|n| SocketAddr::from(([93, 184, 215, n], 80)));
        let found = alternate_families(v6.clone().chain(v4));
        assert_eq!(found.len(), MAX_ADDRESSES);
        let families: Vec<bool> = found.iter().take(4).map(SocketAddr::is_ipv6).collect();
        assert_eq!(families, [true, false, true, false]);
        assert_eq!(alternate_families(v6.clone()).len(), MAX_ADDRESSES);
        assert_eq!(alternate_families(v6.take(3)).len(), 3);
    }
}
