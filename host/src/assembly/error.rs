//! Why nothing could be put together.

use crate::config::ConfigError;
use crate::ledger::LedgerError;
use crate::model::{ClientError, PriceError};
use crate::tools::{LoadError, PluginError};

/// Why a host cannot be built. No run exists then, and nothing was spent.
#[derive(Debug, thiserror::Error)]
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
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the WebAssembly engine does not work here: {0}")]
    Engine(String),
    #[error("this program's own path is not known, and components are compiled in a child of it: {0}")]
    Program(#[source] std::io::Error),
}

impl HostError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tools(error) => {
                let hints: Vec<String> = error.problems.iter().filter_map(PluginError::hint).collect();
                (!hints.is_empty()).then(|| hints.join("\n"))
            }
            Self::Ledger(error) => error.hint(),
            Self::Client(error) => error.hint().map(str::to_owned),
            Self::Prices(error) => Some(error.hint().to_owned()),
            Self::Program(_) => Some("name it with HostBuilder::compile_place".to_owned()),
            Self::Config(error) => error.hint(),
            Self::Tls(_) => Some("no setting changes that: this build of the program lacks what TLS needs".to_owned()),
            Self::Engine(_) => Some(
                "lower `[limits] stack`; if that is no help, this processor or system is none that wasmtime runs on"
                    .to_owned(),
            ),
        }
    }
}
