//! Opens ledger and sessions for commands that make no host.

use crate::config::Config;
use crate::ledger::LedgerError;
use crate::store::Store;

/// Opens the store on a blocking thread, because it may wait for another process's lock. What is
/// only read needn't be writable. It is opened as always if it is, so that the reservations of dead processes are charged first.
pub async fn open(config: &Config, is_only_read: bool) -> Result<Store, LedgerError> {
    let (path, durability) = (config.ledger_path(), config.storage.durability);
    let open = move || match Store::open(&path, durability) {
        Err(LedgerError::Unwritable { .. }) if is_only_read => Store::open_read_only(&path),
        opened => opened,
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.unwrap_or(Err(LedgerError::Interrupted))
}
