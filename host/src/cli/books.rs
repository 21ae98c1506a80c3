//! Opens ledger and sessions for commands that make no host.

use super::{CliError, Context};
use crate::config::Config;
use crate::ledger::LedgerError;
use crate::store::Store;
use crate::telemetry::LoggingGuard;

/// Opens the store on a blocking thread, because it may wait for another process's lock. What is
/// only read needn't be writable, nor have room on its disk. It is opened as always if it is, so that the reservations of dead
/// processes are charged first.
pub async fn open(config: &Config, is_only_read: bool) -> Result<Store, LedgerError> {
    let (path, durability) = (config.ledger_path(), config.storage.durability);
    let open = move || match Store::open(&path, durability) {
        Err(LedgerError::Unwritable { .. } | LedgerError::DiskFull { .. }) if is_only_read => {
            Store::open_read_only(&path)
        }
        opened => opened,
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.unwrap_or(Err(LedgerError::Interrupted))
}

/// The same for commands that log nothing else: on stderr stands what the reservations of dead processes are charged.
pub async fn open_and_say(
    cx: &Context,
    config: &Config,
    is_only_read: bool,
) -> Result<(Store, LoggingGuard), CliError> {
    let mut config = config.clone();
    if is_only_read {
        // The folder of the log needn't be writable either.
        config.logging.directory = None;
    }
    let logging = cx.logging(&config, true)?;
    Ok((open(&config, is_only_read).await?, logging))
}
