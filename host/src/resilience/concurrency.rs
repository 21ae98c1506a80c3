//! A limit on how many calls run at once, with a bounded wait.
//!
//! # Why bound the wait as well?
//!
//! A semaphore alone turns overload into latency: the queue grows, every caller waits longer than the one before, and by
//! the time a call runs nobody needs its answer any more. With a bounded wait an overloaded host says so while the caller
//! can still do something else.

use std::sync::Arc;
use std::time::Duration;

use super::fair::{FairPlace, FairPlaces, Share, Standing};

/// A named number of places, shared fairly between tenants.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    name: Arc<str>,
    limit: usize,
    places: FairPlaces,
}

/// No place became free within the wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {limit} places of `{name}` are taken")]
pub struct Saturated {
    pub name: String,
    pub limit: usize,
}

impl ConcurrencyLimit {
    /// At most `permits` at once; the name tells an operator which limit was hit.
    pub fn new(name: impl Into<String>, permits: usize) -> Self {
        Self {
            name: name.into().into(),
            limit: permits,
            places: FairPlaces::new(permits, Share::Places),
        }
    }

    /// Lets no tenant hold more than `most`, whether or not others want any.
    #[must_use]
    pub fn with_most_for_one(mut self, most: usize) -> Self {
        self.places = self.places.with_most_for_one(most);
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a place for a tenant, waiting for one no longer than `wait`. Cancel-safe: dropping the future leaves the
    /// queue.
    ///
    /// # Errors
    ///
    /// [`Saturated`] when the wait is over.
    pub async fn acquire(&self, tenant: &Arc<str>, wait: Duration) -> Result<FairPlace, Saturated> {
        // The free place first: no timer is armed, and a wait of zero still gets it.
        if let Some(place) = self.places.try_acquire(tenant) {
            return Ok(place);
        }
        let waiting = self.places.acquire(tenant, Standing::Newcomer);
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
    async fn a_freed_place_goes_to_who_waits() {
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
    async fn a_waiter_who_left_takes_no_place() {
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
