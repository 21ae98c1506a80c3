//! Keeps one failing dependency from taking the host down: retry with backoff, retry budgets, circuit breakers, rate limits and
//! concurrency limits.
//!
//! Mechanism only, independent of models, tools and events. Callers decide what counts as a failure, sleep the delays and
//! report transitions. All time is `tokio::time::Instant`, so tests run on paused time.

mod breaker;
mod concurrency;
mod fair;
mod rate_limit;
mod retry;
mod retry_budget;
mod window;

pub use breaker::{Breaker, BreakerSettings, BreakerStats, Override, Permit, Rejected, WindowStats};
pub use concurrency::{ConcurrencyLimit, Saturated};
pub use fair::{Acquire, FairPermit, FairSemaphore, Priority, Share};
pub use rate_limit::{
    AnnouncedLimit, AnswerHead, RateLimitKind, RateLimitTurn, RateLimits, RequestSize, TokensUsed, TooSoon, Wait,
};
pub use retry::RetrySettings;
pub use retry_budget::RetryBudget;
pub use window::WindowSettings;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks a mutex and ignores poisoning. The data is valid between any two statements, so a panic elsewhere must not disable
/// the breaker.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
