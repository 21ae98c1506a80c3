//! Limits how many calls run concurrently, with a bounded wait for a permit.
//!
//! # Why bound the wait as well?
//!
//! A semaphore alone turns overload into latency: the queue grows, each caller waits longer than the one before, and by the
//! time a call runs its caller no longer needs the answer. With a bounded wait, an overloaded host fails fast, while the
//! caller can still do something else.

use std::sync::Arc;
use std::time::Duration;

use super::fair::{FairPermit, FairSemaphore, Priority, Share};

/// A named semaphore, shared fairly between tenants.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    name: Arc<str>,
    limit: usize,
    semaphore: FairSemaphore,
}

/// No permit became free within the wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {limit} permits of `{name}` are in use")]
pub struct Saturated {
    pub name: String,
    pub limit: usize,
}

impl ConcurrencyLimit {
    /// Admits at most `permits` calls at once. Errors carry the name, so that an operator knows which limit was hit.
    pub fn new(name: impl Into<String>, permits: usize) -> Self {
        Self {
            name: name.into().into(),
            limit: permits,
            semaphore: FairSemaphore::new(permits, Share::Permits),
        }
    }

    /// Caps one tenant's permits at `most`, even when no other tenant waits.
    #[must_use]
    pub fn with_max_per_tenant(mut self, most: usize) -> Self {
        self.semaphore = self.semaphore.with_max_per_tenant(most);
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of permits.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Acquires a permit for a tenant, waiting for at most `wait`. Cancel-safe: dropping the future leaves the queue.
    ///
    /// # Errors
    ///
    /// [`Saturated`] if no permit became free in time.
    pub async fn acquire(&self, tenant: &Arc<str>, wait: Duration) -> Result<FairPermit, Saturated> {
        // Try without waiting first: this arms no timer, and even a wait of zero gets a free permit.
        if let Some(permit) = self.semaphore.try_acquire(tenant) {
            return Ok(permit);
        }
        let waiting = self.semaphore.acquire(tenant, Priority::New);
        tokio::time::timeout(wait, waiting).await.map_err(|_| Saturated {
            name: self.name.to_string(),
            limit: self.limit,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let limit = ConcurrencyLimit::new("tool:weather", 1);
        let _taken = limit.acquire(&"t".into(), Duration::ZERO).await.unwrap();
        let begin = Instant::now();
        let refused = limit.acquire(&"t".into(), Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(
            refused,
            Saturated {
                name: "tool:weather".to_owned(),
                limit: 1
            }
        );
        assert_eq!(begin.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_freed_permit_goes_to_the_waiter() {
        let limit = ConcurrencyLimit::new("host", 1);
        let taken = limit.acquire(&"t".into(), Duration::ZERO).await.unwrap();
        let waiter = tokio::spawn({
            let limit = limit.clone();
            async move { limit.acquire(&"t".into(), Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        drop(taken);
        assert!(
            limit.acquire(&"t".into(), Duration::ZERO).await.is_err(),
            "the waiter was first"
        );
        assert!(waiter.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_waiter_takes_no_permit() {
        let limit = ConcurrencyLimit::new("host", 1);
        let taken = limit.acquire(&"t".into(), Duration::ZERO).await.unwrap();
        let waiter = tokio::spawn({
            let limit = limit.clone();
            async move { limit.acquire(&"t".into(), Duration::from_secs(5)).await }
        });
        tokio::task::yield_now().await;
        waiter.abort();
        assert!(waiter.await.is_err());
        drop(taken);
        assert!(limit.acquire(&"t".into(), Duration::ZERO).await.is_ok());
    }
}
