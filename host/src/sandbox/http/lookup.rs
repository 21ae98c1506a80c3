//! Looking up names. The system's resolver answers when it likes, and a guest may have a name whose servers never answer.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use crate::sandbox::blocking::BlockingWork;

/// Names that are looked up at the same time: in all, and for one tenant.
const AT_ONCE: usize = 32;
const AT_ONCE_FOR_ONE: usize = 8;

/// The lookups of all guests of a host.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Lookups(BlockingWork);

impl Lookups {
    pub(in crate::sandbox) fn new() -> Self {
        Self(BlockingWork::new(AT_ONCE, AT_ONCE_FOR_ONE))
    }

    /// Asks the system's resolver on behalf of `tenant`.
    pub(super) async fn of(&self, tenant: &Arc<str>, name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
        let ask = move || Ok((name.as_str(), port).to_socket_addrs()?.collect());
        self.0.run(tenant, ask).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn names_have_addresses() {
        let found = Lookups::new()
            .of(&"t".into(), "localhost".to_owned(), 80)
            .await
            .unwrap();
        let is_local = |address: &SocketAddr| address.ip().is_loopback() && address.port() == 80;
        assert!(!found.is_empty() && found.iter().all(is_local), "{found:?}");
    }
}
