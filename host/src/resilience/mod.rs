//! What keeps one failing dependency from becoming everybody's failure: retry with backoff, a budget for retries, circuit
//! breakers and concurrency limits.
//!
//! Mechanism only. Nothing here knows a model, a tool or an event: the callers decide what counts as a failure, wait the
//! delays themselves and tell the world about transitions. All time is `tokio::time::Instant`, so tests run on paused time.

mod breaker;
mod concurrency;
mod fair;
mod retry;
mod retry_budget;

pub use breaker::{Breaker, BreakerSettings, BreakerStats, ByHand, Permit, Rejected};
pub use concurrency::{ConcurrencyLimit, Saturated};
pub use fair::{Acquire, FairPlace, FairPlaces, Share, Standing};
pub use retry::RetrySettings;
pub use retry_budget::RetryBudget;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex whose data is valid between any two statements: a panic elsewhere must not take the breaker with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
