//! Contains the panics of code that others bring along.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::FutureExt;

/// Calls it. The error is the message of its panic.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(call)).map_err(message)
}

/// The same with what a call returns to be awaited, whether the call itself panics or its future.
pub(crate) async fn catch_async<F: Future>(call: impl FnOnce() -> F) -> Result<F::Output, String> {
    let called = async { call().await };
    AssertUnwindSafe(called).catch_unwind().await.map_err(message)
}

fn message(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
    // Dropping it could panic again, and nothing would catch that.
    std::mem::forget(panic);
    message.unwrap_or_else(|| "no message".to_owned())
}
