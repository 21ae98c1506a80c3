//! Why a host can't be built.

use crate::config::ConfigError;
use crate::ledger::LedgerError;
use crate::model::{CapabilityError, ClientError, PriceError, fallback_hint};
use crate::tools::LoadError;

/// Why a host can't be built. No run has started and nothing was spent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Tools(#[from] LoadError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Prices(#[from] PriceError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Capability(#[from] CapabilityError),
    #[error("the fallback model `{model}` can't be used: {source}")]
    Fallback { model: String, source: ClientError },
    /// Of [`Host::with_model`](super::Host::with_model).
    #[error("this host has a provider of its own, and it isn't of the model `{model}`")]
    NoProvider { model: String },
    #[error("can't set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    #[error("can't start the WebAssembly engine: {0}")]
    Engine(String),
    #[error("can't find this program's path, which is needed to start the child process that compiles components: {0}")]
    Program(#[source] std::io::Error),
}

impl HostError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            // Each problem has its hint below it.
            Self::Tools(_) => None,
            Self::Ledger(error) => error.hint(),
            Self::Client(error) => error.hint().map(str::to_owned),
            Self::Fallback { source, .. } => source.hint().map(fallback_hint),
            Self::Capability(CapabilityError::Client(error)) => error.hint().map(str::to_owned),
            Self::Capability(_) => Some("set what the model takes, leave it out, or choose another model".to_owned()),
            Self::Prices(error) => Some(error.hint().to_owned()),
            Self::Program(_) => Some("set it with HostBuilder::compile_place".to_owned()),
            Self::NoProvider { .. } => Some("build another host, with a provider of that model".to_owned()),
            Self::Config(error) => error.hint(),
            Self::Tls(_) => Some("no setting fixes this: this build of the program lacks what TLS needs".to_owned()),
            Self::Engine(_) => Some(
                "lower `[limits] stack`; if that doesn't help, wasmtime doesn't support this processor or system"
                    .to_owned(),
            ),
        }
    }
}
