//! Tenant names.

use crate::untrusted::{NAME_CHARS, display_untrusted};

/// The tenant of hosts that serve only one.
pub const DEFAULT_TENANT: &str = "default";

/// Maximum characters of a tenant name.
const MAX_CHARS: usize = 64;

/// The tenant name is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` isn't a valid tenant name: use 1 to {MAX_CHARS} of the characters a-z A-Z 0-9 _ . -")]
pub struct TenantNameError(String);

/// Checks a tenant name. Names are keys in the ledger and the key-value store, and appear in events and logs.
pub(super) fn check(name: &str) -> Result<(), TenantNameError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match (1..=MAX_CHARS).contains(&name.len()) && name.bytes().all(is_legal) {
        true => Ok(()),
        false => Err(TenantNameError(display_untrusted(name, NAME_CHARS))),
    }
}
