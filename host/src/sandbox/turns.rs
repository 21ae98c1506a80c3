//! Guests take turns at the processor, fairly between tenants. A guest gives its turn up whenever it waits or yields, a
//! fraction of a millisecond at most; so many have a turn as keep every processor busy, and the others stand in line here
//! instead of in the runtime's queue, which knows no tenants.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::resilience::{Acquire, FairPlace, FairPlaces, Standing};

/// Turns for which a call counts as new: most calls are over by then. Whoever computes for longer lets those pass.
const NEW_FOR: u32 = 4;

/// The turns of a host's guests.
#[derive(Clone, Debug)]
pub(super) struct Turns(FairPlaces);

impl Turns {
    /// One more than there are processors, so that the next guest is ready when a turn ends.
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(FairPlaces::new(processors.saturating_add(1)))
    }

    /// Runs `guest` to its end, in turns.
    pub(super) async fn run<T>(&self, tenant: &Arc<str>, guest: impl Future<Output = T>) -> T {
        let mut guest = pin!(guest);
        let mut line = Line {
            turns: &self.0,
            tenant,
            taken: 0,
            waiting: None,
        };
        std::future::poll_fn(move |cx| match line.poll_turn(cx) {
            Poll::Ready(_turn) => guest.as_mut().poll(cx),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

/// Where one call stands.
struct Line<'a> {
    turns: &'a FairPlaces,
    tenant: &'a Arc<str>,
    taken: u32,
    waiting: Option<Acquire>,
}

impl Line<'_> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<FairPlace> {
        let turn = match &mut self.waiting {
            None => match self.turns.try_acquire(self.tenant) {
                Some(turn) => turn,
                None => {
                    let standing = match self.taken < NEW_FOR {
                        true => Standing::Newcomer,
                        false => Standing::Regular,
                    };
                    let waiting = self.waiting.insert(self.turns.acquire(self.tenant, standing));
                    match Pin::new(waiting).poll(cx) {
                        Poll::Ready(turn) => turn,
                        Poll::Pending => return Poll::Pending,
                    }
                }
            },
            Some(waiting) => match Pin::new(waiting).poll(cx) {
                Poll::Ready(turn) => turn,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.waiting = None;
        self.taken = self.taken.saturating_add(1);
        Poll::Ready(turn)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;

    /// Computes for a while, in pieces, as a guest does.
    async fn compute(pieces: u32) {
        for _ in 0..pieces {
            std::hint::black_box((0..20_000_u64).fold(1_u64, |sum, number| sum.wrapping_mul(number | 1)));
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flood_of_one_tenant_leaves_the_other_its_share() {
        let turns = Turns(FairPlaces::new(3));
        let loud: Arc<str> = "loud".into();
        let flood: Vec<_> = (0..64)
            .map(|_| {
                let (turns, loud) = (turns.clone(), loud.clone());
                tokio::spawn(async move { turns.run(&loud, compute(u32::MAX)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It stands behind two of the flood at most, every time: of 64 equals it would get a piece in 32 rounds.
        let quiet: Arc<str> = "quiet".into();
        let alone = tokio::time::Instant::now();
        compute(300).await;
        let alone = alone.elapsed();
        let beside = tokio::time::Instant::now();
        let done = tokio::time::timeout(Duration::from_secs(60), turns.run(&quiet, compute(300))).await;
        assert!(done.is_ok());
        let beside = beside.elapsed();
        for task in flood {
            task.abort();
        }
        assert!(
            beside < alone * 12 + Duration::from_millis(100),
            "{beside:?} instead of {alone:?}"
        );
    }

    #[tokio::test]
    async fn who_waits_for_something_else_holds_no_turn() {
        let turns = Turns(FairPlaces::new(1));
        let one: Arc<str> = "one".into();
        let (send, receive) = tokio::sync::oneshot::channel::<u8>();
        let waits = tokio::spawn({
            let (turns, one) = (turns.clone(), one.clone());
            async move { turns.run(&one, receive).await.unwrap() }
        });
        tokio::task::yield_now().await;
        turns.run(&one, compute(3)).await;
        send.send(7).unwrap();
        assert_eq!(waits.await.unwrap(), 7);
    }
}
