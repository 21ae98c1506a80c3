//! What the calls of a plugin share: their access to the network, and what they may do with it.

use std::sync::Arc;

use super::grant::HttpGrant;
use super::mask::Masker;
use super::upstream::Upstream;
use crate::sandbox::fairness::{BlockingWork, GuestMemory, Turns};
use crate::sandbox::limits::Limits;

/// Access to the network. TLS and turns belong to the host, the permits for lookups to the plugin.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Network {
    pub(in crate::sandbox) tls: Arc<rustls::ClientConfig>,
    pub(in crate::sandbox) lookups: BlockingWork,
    /// Work on behalf of a guest takes turns of its plugin and tenant, like the guest itself.
    pub(in crate::sandbox) turns: Turns,
    /// Answers all requests in place of the network.
    pub(in crate::sandbox) upstream: Option<Arc<dyn Upstream>>,
}

impl Network {
    pub(in crate::sandbox) fn for_plugin(&self) -> Self {
        Self {
            tls: self.tls.clone(),
            lookups: self.lookups.for_plugin(),
            turns: self.turns.for_plugin(),
            upstream: self.upstream.clone(),
        }
    }
}

/// What the HTTP of all calls of a plugin needs. Prepared once per plugin.
#[derive(Debug)]
pub(in crate::sandbox) struct HttpSetup {
    pub(in crate::sandbox) grants: Vec<HttpGrant>,
    pub(in crate::sandbox) limits: Limits,
    pub(in crate::sandbox) masker: Masker,
    pub(in crate::sandbox) network: Network,
    pub(in crate::sandbox) memory: GuestMemory,
}
