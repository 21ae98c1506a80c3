//! Where a user's files are, by the XDG conventions.

use std::path::PathBuf;

use etcetera::{BaseStrategy, choose_base_strategy};

const PRODUCT: &str = "cofferdam";

/// Our folders among a user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// `$XDG_CONFIG_HOME/cofferdam`, where the configuration file may be.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/cofferdam`, where the ledger is.
    pub data: PathBuf,
    /// `$XDG_CACHE_HOME/cofferdam`, where compiled components are.
    pub cache: PathBuf,
}

impl Folders {
    /// Those of the user who runs this process; `None` where there is no home folder.
    pub fn of_user() -> Option<Self> {
        let strategy = choose_base_strategy().ok()?;
        Some(Self {
            config: strategy.config_dir().join(PRODUCT),
            data: strategy.data_dir().join(PRODUCT),
            cache: strategy.cache_dir().join(PRODUCT),
        })
    }
}
