//! Names of tenants and sessions.

use crate::untrusted::{NAME_CHARS, display_untrusted};

/// The tenant of hosts that serve only one, unless they name another.
pub const DEFAULT_TENANT: &str = "default";

/// Maximum characters of a tenant name.
const MAX_CHARS: usize = 64;

/// Room for a tenant's name, a colon, and as much again.
const MAX_ID_CHARS: usize = 2 * MAX_CHARS + 1;

/// The tenant name is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` isn't a valid tenant name: use 1 to {MAX_CHARS} of the characters a-z A-Z 0-9 _ . -")]
pub struct TenantNameError(String);

/// Checks a tenant name. Names are keys in the ledger and the key-value store, and appear in events and logs.
///
/// # Errors
///
/// The name is too long, or has a character that isn't allowed.
pub fn check_tenant(name: &str) -> Result<(), TenantNameError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    match (1..=MAX_CHARS).contains(&name.len()) && name.bytes().all(is_legal) {
        true => Ok(()),
        false => Err(TenantNameError(display_untrusted(name, NAME_CHARS))),
    }
}

/// The name of a session or of its tenant is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionNameError {
    #[error(transparent)]
    Tenant(#[from] TenantNameError),
    #[error("`{0}` isn't a valid id of a session: use 1 to {MAX_ID_CHARS} of the characters a-z A-Z 0-9 _ . : -")]
    Id(String),
}

/// Checks the id of a session. It is a key in the store, a word on command lines, and appears in events and logs. A colon, which no tenant's
/// name has, can stand between that and the rest.
pub(super) fn check_session_id(id: &str) -> Result<(), SessionNameError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(&byte);
    match (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(is_legal) && !id.starts_with('-') {
        true => Ok(()),
        false => Err(SessionNameError::Id(display_untrusted(id, NAME_CHARS))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_sessions_are_words() {
        let longest = format!("{0}:{0}", "x".repeat(64));
        for id in ["a", "nightly-report_2", "a.b", longest.as_str()] {
            assert_eq!(check_session_id(id), Ok(()));
        }
        for id in ["", "-x", "a b", "é", "../x", &"x".repeat(130)] {
            assert!(check_session_id(id).is_err(), "{id}");
        }
    }
}
