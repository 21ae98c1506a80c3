//! Guests take turns at the processor, fairly between tenants. A guest gives up its turn whenever it waits or yields, which
//! it does within a fraction of a millisecond. There are as many turns as processors. The other guests wait in this queue, not
//! in the runtime's, which knows nothing of tenants.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use tokio::time::Instant;

use crate::resilience::{Acquire, FairPermit, FairSemaphore, Priority, Share};

/// The first turns of a call, which have priority: most calls are over by then. Calls that compute for longer let those pass.
const NEW_FOR: u32 = 4;

/// After so many calls have ended, one yields to the runtime, so that it can poll other tasks.
const CALLS_IN_A_ROW: u32 = 8;

/// The turns of a host's guests.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Turns {
    permits: FairSemaphore,
    /// Calls that have ended.
    ended: Arc<AtomicU32>,
}

impl Turns {
    /// As many turns as there are processors.
    pub(in crate::sandbox) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(processors)
    }

    fn of(turns: usize) -> Self {
        Self {
            permits: FairSemaphore::new(turns, Share::Time),
            ended: Arc::new(AtomicU32::new(0)),
        }
    }

    fn yields_after_call(&self) -> bool {
        self.ended
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(CALLS_IN_A_ROW)
    }

    /// Runs `guest` to its end, in turns. `clock` restarts with each turn.
    pub(in crate::sandbox) async fn run<T>(
        &self,
        tenant: &Arc<str>,
        clock: &TurnClock,
        guest: impl Future<Output = T>,
    ) -> T {
        let mut guest = pin!(guest);
        let mut queue = TurnQueue {
            turns: &self.permits,
            tenant,
            taken: 0,
            waiting: None,
        };
        let mut output = None;
        // The turn of a guest that yielded, kept until the runtime polls this again. The runtime runs a task that was just woken
        // before the tasks that are ready. If the turn were passed on at once, those would wait in its queue, not in this one.
        let mut yielded: Option<FairPermit> = None;
        let mut flag: Option<(Arc<WakeFlag>, Waker)> = None;
        std::future::poll_fn(move |cx| {
            drop(yielded.take());
            if let Some(output) = output.take() {
                return Poll::Ready(output);
            }
            let mut turn = ready!(queue.poll_turn(cx));
            let (woken, waker) = match &mut flag {
                Some(current) if current.0.task.will_wake(cx.waker()) => current,
                stale => {
                    let woken = Arc::new(WakeFlag {
                        task: cx.waker().clone(),
                        woken: AtomicBool::new(false),
                    });
                    let waker = woken.clone().into();
                    stale.insert((woken, waker))
                }
            };
            woken.woken.store(false, Ordering::Relaxed);
            clock.begin();
            let polled = guest.as_mut().poll(&mut Context::from_waker(waker));
            turn.stop_clock();
            match polled {
                // A task that makes one short call after the other never waits, so the runtime's other tasks would never get
                // as far as this queue.
                Poll::Ready(value) if self.yields_after_call() => {
                    output = Some(value);
                    cx.waker().wake_by_ref();
                    yielded = Some(turn);
                }
                Poll::Ready(value) => return Poll::Ready(value),
                Poll::Pending if woken.woken.load(Ordering::Relaxed) => yielded = Some(turn),
                Poll::Pending => {}
            }
            Poll::Pending
        })
        .await
    }
}

/// How long the current turn has lasted. Time that the guest spent waiting doesn't count.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct TurnClock(Arc<(Instant, AtomicU64)>);

impl TurnClock {
    pub(in crate::sandbox) fn new() -> Self {
        Self(Arc::new((Instant::now(), AtomicU64::new(0))))
    }

    fn begin(&self) {
        self.0.1.store(self.microseconds(), Ordering::Relaxed);
    }

    pub(in crate::sandbox) fn elapsed(&self) -> Duration {
        let began = self.0.1.load(Ordering::Relaxed);
        Duration::from_micros(self.microseconds().saturating_sub(began))
    }

    fn microseconds(&self) -> u64 {
        u64::try_from(self.0.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A waker that records whether it was used.
struct WakeFlag {
    task: Waker,
    woken: AtomicBool,
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

/// Yields to the tasks that are ready. `tokio::task::yield_now` would wake this task only when the thread next polls for
/// events, after a few dozen other tasks.
pub(in crate::sandbox) async fn yield_to_others() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// One call's place in the queue.
struct TurnQueue<'a> {
    turns: &'a FairSemaphore,
    tenant: &'a Arc<str>,
    taken: u32,
    waiting: Option<Acquire>,
}

impl TurnQueue<'_> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<FairPermit> {
        let priority = match self.taken < NEW_FOR {
            true => Priority::New,
            false => Priority::Requeued,
        };
        let waiting = self
            .waiting
            .get_or_insert_with(|| self.turns.acquire(self.tenant, priority));
        let turn = ready!(Pin::new(waiting).poll(cx));
        self.waiting = None;
        self.taken = self.taken.saturating_add(1);
        Poll::Ready(turn)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Computes in pieces and yields between them, as a guest does.
    async fn compute(pieces: u32) {
        for _ in 0..pieces {
            std::hint::black_box((0..20_000_u64).fold(1_u64, |sum, number| sum.wrapping_mul(number | 1)));
            yield_to_others().await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_flood_of_one_tenant_leaves_the_other_its_share() {
        let turns = Turns::of(2);
        let loud: Arc<str> = "loud".into();
        let flood: Vec<_> = (0..64)
            .map(|_| {
                let (turns, loud) = (turns.clone(), loud.clone());
                tokio::spawn(async move { turns.run(&loud, &TurnClock::new(), compute(u32::MAX)).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It waits for at most two calls of the flood each time. Among 64 equals, it would get one piece in 32 rounds.
        let quiet: Arc<str> = "quiet".into();
        let alone = Instant::now();
        compute(300).await;
        let alone = alone.elapsed();
        let beside = Instant::now();
        let done = tokio::time::timeout(
            Duration::from_secs(60),
            turns.run(&quiet, &TurnClock::new(), compute(300)),
        )
        .await;
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
    async fn a_guest_that_waits_holds_no_turn() {
        let turns = Turns::of(1);
        let one: Arc<str> = "one".into();
        let (send, receive) = tokio::sync::oneshot::channel::<u8>();
        let waits = tokio::spawn({
            let (turns, one) = (turns.clone(), one.clone());
            async move { turns.run(&one, &TurnClock::new(), receive).await.unwrap() }
        });
        tokio::task::yield_now().await;
        turns.run(&one, &TurnClock::new(), compute(3)).await;
        send.send(7).unwrap();
        assert_eq!(waits.await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_does_not_count_as_time_of_a_turn() {
        let turns = Turns::of(1);
        let clock = TurnClock::new();
        let guest = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            clock.elapsed()
        };
        assert!(turns.run(&"t".into(), &clock, guest).await < Duration::from_millis(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(1));
    }
}
