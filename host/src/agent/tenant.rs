//! On whose behalf a conversation is held.

use crate::untrusted::{NAME_CHARS, display_untrusted};

/// The tenant of a host that serves only one.
pub const DEFAULT_TENANT: &str = "default";

/// Characters of a tenant's name.
const MAX_CHARS: usize = 64;

/// A name that no tenant can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no tenant's name: it has 1 to {MAX_CHARS} of the characters a-z A-Z 0-9 _ . -")]
pub struct TenantNameError(String);

/// Names are keys of the books and of kept data, and stand in events and logs.
pub(super) fn check(name: &str) -> Result<(), TenantNameError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match (1..=MAX_CHARS).contains(&name.len()) && name.bytes().all(is_legal) {
        true => Ok(()),
        false => Err(TenantNameError(display_untrusted(name, NAME_CHARS))),
    }
}
