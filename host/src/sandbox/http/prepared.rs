//! What the calls of a plugin reach the network with.

use std::sync::Arc;

use crate::sandbox::fairness::{BlockingWork, Turns};

/// What the calls of all guests reach the network with.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Network {
    pub(in crate::sandbox) tls: Arc<rustls::ClientConfig>,
    pub(in crate::sandbox) lookups: BlockingWork,
    /// What is done for a guest takes its tenant's turns, like what it does itself.
    pub(in crate::sandbox) turns: Turns,
}

impl Network {
    pub(in crate::sandbox) fn of_a_plugin(&self) -> Self {
        Self {
            lookups: self.lookups.of_a_plugin(),
            ..self.clone()
        }
    }
}
