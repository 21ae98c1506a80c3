//! What a caught panic said.

use std::any::Any;

/// The message of a panic. Forget the panic afterwards: dropping it could panic again.
pub(crate) fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
