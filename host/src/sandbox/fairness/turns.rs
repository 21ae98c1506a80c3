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

use super::plugin_time::{PluginTime, TenantTime};
use crate::resilience::{Acquire, FairPermit, FairSemaphore, Priority, Share};

/// The first turns of a call, which have priority: most calls are over by then. Calls that compute for longer let those pass.
const NEW_FOR: u32 = 4;

/// After so many calls have ended, one yields to the runtime, so that it can poll other tasks.
const CALLS_IN_A_ROW: u32 = 8;

/// The turns of a host's guests.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Turns {
    permits: FairSemaphore,
    processors: u32,
    /// What the calls of one plugin take.
    own: PluginTime,
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
            processors: u32::try_from(turns).unwrap_or(u32::MAX),
            own: PluginTime::default(),
            ended: Arc::new(AtomicU32::new(0)),
        }
    }

    /// The same turns, for the calls of another plugin.
    pub(in crate::sandbox) fn for_plugin(&self) -> Self {
        Self {
            own: PluginTime::default(),
            ..self.clone()
        }
    }

    /// Opens the account of a call that begins now.
    pub(in crate::sandbox) fn account(&self, tenant: &Arc<str>) -> TurnAccount {
        let plugin = self.own.of(tenant);
        TurnAccount {
            tenant: tenant.clone(),
            before: plugin.total(),
            plugin,
        }
    }

    /// How long a guest has waited for turns because of others: less what the other calls of its plugin took meanwhile, which would
    /// have kept it waiting on an idle host too.
    pub(in crate::sandbox) fn kept_waiting(&self, account: &TurnAccount, clock: &TurnClock) -> Duration {
        let plugin = account.plugin.total().saturating_sub(account.before);
        let siblings = plugin.saturating_sub(clock.ran());
        clock.waited().saturating_sub(siblings / self.processors.max(1))
    }

    fn yields_after_call(&self) -> bool {
        self.ended
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(CALLS_IN_A_ROW)
    }

    /// Runs `guest` to its end, in turns. `clock` restarts with each turn.
    pub(in crate::sandbox) async fn run<T>(
        &self,
        account: &TurnAccount,
        clock: &TurnClock,
        guest: impl Future<Output = T>,
    ) -> T {
        let mut guest = pin!(guest);
        let mut queue = TurnQueue {
            turns: &self.permits,
            tenant: &account.tenant,
            clock,
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
            account.plugin.add(clock.end());
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

/// The call on whose behalf turns are taken.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct TurnAccount {
    tenant: Arc<str>,
    plugin: TenantTime,
    /// What the plugin's calls had taken when this one began.
    before: Duration,
}

/// How long the current turn has lasted. Time that the guest spent waiting doesn't count. Also adds up all turns, and the waiting
/// for them.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct TurnClock(Arc<Clock>);

#[derive(Debug)]
struct Clock {
    origin: Instant,
    /// In nanoseconds, as the sums.
    began: AtomicU64,
    ran: AtomicU64,
    waited: AtomicU64,
}

impl TurnClock {
    pub(in crate::sandbox) fn new() -> Self {
        Self(Arc::new(Clock {
            origin: Instant::now(),
            began: AtomicU64::new(0),
            ran: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }))
    }

    fn begin(&self) {
        self.0.began.store(self.now(), Ordering::Relaxed);
    }

    /// Ends a turn and returns how long it lasted.
    fn end(&self) -> Duration {
        let ran = self.elapsed();
        self.0.ran.fetch_add(nanos(ran), Ordering::Relaxed);
        ran
    }

    fn add_wait(&self, wait: Duration) {
        self.0.waited.fetch_add(nanos(wait), Ordering::Relaxed);
    }

    pub(in crate::sandbox) fn elapsed(&self) -> Duration {
        let began = self.0.began.load(Ordering::Relaxed);
        Duration::from_nanos(self.now().saturating_sub(began))
    }

    fn ran(&self) -> Duration {
        Duration::from_nanos(self.0.ran.load(Ordering::Relaxed))
    }

    fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        nanos(self.0.origin.elapsed())
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
    clock: &'a TurnClock,
    taken: u32,
    /// The place in the queue, and since when it is held.
    waiting: Option<(Acquire, Instant)>,
}

impl TurnQueue<'_> {
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<FairPermit> {
        let priority = match self.taken < NEW_FOR {
            true => Priority::New,
            false => Priority::Requeued,
        };
        let (waiting, _) = self
            .waiting
            .get_or_insert_with(|| (self.turns.acquire(self.tenant, priority), Instant::now()));
        let turn = ready!(Pin::new(waiting).poll(cx));
        self.leave();
        self.taken = self.taken.saturating_add(1);
        Poll::Ready(turn)
    }

    fn leave(&mut self) {
        if let Some((_, since)) = self.waiting.take() {
            self.clock.add_wait(since.elapsed());
        }
    }
}

/// A call can end while it waits.
impl Drop for TurnQueue<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

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
                let account = turns.account(&loud);
                tokio::spawn(async move { turns.run(&account, &TurnClock::new(), compute(u32::MAX)).await })
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
            turns.run(&turns.account(&quiet), &TurnClock::new(), compute(300)),
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
            async move {
                turns
                    .run(&turns.account(&one), &TurnClock::new(), receive)
                    .await
                    .unwrap()
            }
        });
        tokio::task::yield_now().await;
        turns.run(&turns.account(&one), &TurnClock::new(), compute(3)).await;
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
        assert!(turns.run(&turns.account(&"t".into()), &clock, guest).await < Duration::from_millis(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(clock.elapsed(), Duration::from_secs(1));
    }
    /// Computes for `pieces` of 10 ms by the paused clock, and yields between them.
    async fn advance(pieces: u32) {
        for _ in 0..pieces {
            let _ = tokio::time::advance(Duration::from_millis(10)).now_or_never();
            yield_to_others().await;
        }
    }

    /// How long a guest of `plugin` waits for turns because of others while three calls of `other` compute beside it.
    async fn kept_waiting_beside(plugin: &Turns, other: &Turns) -> Duration {
        let tenant: Arc<str> = "t".into();
        let (account, clock) = (plugin.account(&tenant), TurnClock::new());
        let computing = async || {
            let account = other.account(&tenant);
            other.run(&account, &TurnClock::new(), advance(20)).await;
        };
        tokio::join!(
            computing(),
            computing(),
            computing(),
            plugin.run(&account, &clock, advance(5)),
        );
        assert!(clock.waited() >= Duration::from_millis(100), "{:?}", clock.waited());
        assert_eq!(clock.ran(), Duration::from_millis(50));
        plugin.kept_waiting(&account, &clock)
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_same_plugin_is_not_waiting_for_others() {
        let victim = Turns::of(1);
        let other = victim.for_plugin();
        let waited = kept_waiting_beside(&victim, &other).await;
        assert!(waited >= Duration::from_millis(100), "{waited:?}");
        // Calls of the same plugin keep each other waiting.
        assert_eq!(kept_waiting_beside(&victim, &victim).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_waits_by_itself_was_not_kept_waiting() {
        let turns = Turns::of(1);
        let (account, clock) = (turns.account(&"t".into()), TurnClock::new());
        let sleeps = async {
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                yield_to_others().await;
            }
        };
        turns.run(&account, &clock, sleeps).await;
        assert_eq!(turns.kept_waiting(&account, &clock), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_deadline_ends_counts() {
        let turns = Turns::of(1);
        let tenant: Arc<str> = "t".into();
        let other = turns.for_plugin();
        let held = other.permits.try_acquire(&tenant).unwrap();
        let (account, clock) = (turns.account(&tenant), TurnClock::new());
        let run = turns.run(&account, &clock, std::future::ready(()));
        assert!(tokio::time::timeout(Duration::from_secs(3), run).await.is_err());
        assert_eq!(turns.kept_waiting(&account, &clock), Duration::from_secs(3));
        drop(held);
    }
}
