//! A user's folders, by the XDG base directory conventions.

use std::path::PathBuf;

use etcetera::{BaseStrategy, choose_base_strategy};

const PRODUCT: &str = "cofferdam";

/// Cofferdam's folders of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// `$XDG_CONFIG_HOME/cofferdam`: the configuration file, if there is one.
    pub config: PathBuf,
    /// `$XDG_DATA_HOME/cofferdam`: the ledger.
    pub data: PathBuf,
    /// `$XDG_CACHE_HOME/cofferdam`: compiled components.
    pub cache: PathBuf,
}

impl Folders {
    /// The folders of the user who runs this process; `None` if the user has no home folder.
    pub fn for_current_user() -> Option<Self> {
        let strategy = choose_base_strategy().ok()?;
        Some(Self {
            config: strategy.config_dir().join(PRODUCT),
            data: strategy.data_dir().join(PRODUCT),
            cache: strategy.cache_dir().join(PRODUCT),
        })
    }
}
