//! A semaphore that is fair between tenants.
//!
//! # Why not a plain semaphore?
//!
//! A plain semaphore serves waiters in order of arrival: a tenant that sends a thousand calls at once is served a thousand
//! times before the next tenant is served once. Here a freed permit goes to the waiting tenant that has received the least:
//! the one that holds the fewest permits or, for short timeslices, the one that has held permits for the shortest total time.
//! Within a tenant the queue is first in, first out, with one exception: waiters that come back for another timeslice let new
//! waiters go first.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// Tenants to remember before idle ones are removed, so that a tenant that comes and goes costs no allocation each time.
const MAX_IDLE_TENANTS: usize = 64;

/// Consecutive permits that go to new waiters while requeued ones of the same tenant wait.
const MAX_NEW_IN_A_ROW: u32 = 3;

/// A waiter's priority within its tenant's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Waits for its first permit.
    New,
    /// Has had a permit before. It lets new waiters go first, except for every fourth permit.
    Requeued,
}

/// The quantity that is shared fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The number of permits held.
    Permits,
    /// The total time for which permits are held.
    Time,
}

/// A semaphore that is fair between tenants. Clones share its permits.
#[derive(Clone, Debug)]
pub struct FairSemaphore {
    share: Share,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// Free permits. Above zero only while no eligible waiter exists.
    free: usize,
    /// The cap on one tenant's permits.
    max_per_tenant: usize,
    /// The cap on the time charged per permit.
    max_charge: Duration,
    tenants: BTreeMap<Arc<str>, TenantQueue>,
    /// Wakers of the waiters, by ticket.
    wakers: HashMap<u64, Waker>,
    /// Tickets that have been granted a permit but haven't been polled since.
    granted: HashSet<u64>,
    tickets: u64,
    /// Incremented by each grant, so that ties go to the tenant served longest ago.
    grants: u64,
    /// The highest `used` of any tenant served so far. An idle tenant that returns starts from here, without credit for its
    /// idle time.
    virtual_time: Duration,
}

/// One tenant's permits and waiters.
#[derive(Debug, Default)]
struct TenantQueue {
    held: usize,
    new: VecDeque<u64>,
    requeued: VecDeque<u64>,
    /// Permits granted to new waiters since the last one granted to a requeued waiter.
    new_in_a_row: u32,
    last_grant: u64,
    /// Time charged so far.
    used: Duration,
}

impl TenantQueue {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.requeued.is_empty()
    }

    fn tickets(&mut self, priority: Priority) -> &mut VecDeque<u64> {
        match priority {
            Priority::New => &mut self.new,
            Priority::Requeued => &mut self.requeued,
        }
    }

    fn next(&mut self) -> Option<u64> {
        let requeued_is_due = self.new.is_empty() || self.new_in_a_row >= MAX_NEW_IN_A_ROW;
        if requeued_is_due && let Some(ticket) = self.requeued.pop_front() {
            self.new_in_a_row = 0;
            return Some(ticket);
        }
        self.new_in_a_row = self.new_in_a_row.saturating_add(1);
        self.new.pop_front()
    }
}

/// A permit. Dropping it passes it to the next waiter, or frees it.
#[derive(Debug)]
#[must_use = "dropping a permit releases it immediately"]
pub struct FairPermit {
    semaphore: FairSemaphore,
    tenant: Arc<str>,
    /// When it was acquired; `None` unless time is shared.
    since: Option<Instant>,
    /// How long it was held, once the clock has stopped.
    held_for: Option<Duration>,
}

/// Waits for a permit. Cancel-safe: dropping it leaves the queue.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Acquire {
    semaphore: FairSemaphore,
    tenant: Arc<str>,
    priority: Priority,
    ticket: Option<u64>,
}

impl FairSemaphore {
    pub fn new(permits: usize, share: Share) -> Self {
        let inner = Inner {
            free: permits,
            max_per_tenant: permits,
            max_charge: Duration::MAX,
            tenants: BTreeMap::new(),
            wakers: HashMap::new(),
            granted: HashSet::new(),
            tickets: 0,
            grants: 0,
            virtual_time: Duration::ZERO,
        };
        Self {
            share,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Caps one tenant's permits at `most`, even when no other tenant waits.
    #[must_use]
    pub fn with_max_per_tenant(self, most: usize) -> Self {
        self.lock().max_per_tenant = most;
        self
    }

    /// Caps the time charged per permit at `most`. Where the holder doesn't control how long it holds a permit (a hung disk),
    /// this keeps one slow operation from starving its tenant afterwards.
    #[must_use]
    pub fn with_max_charge(self, most: Duration) -> Self {
        self.lock().max_charge = most;
        self
    }

    /// Takes a permit if one is free. This overtakes no waiter: no permit is free while an eligible waiter exists.
    pub fn try_acquire(&self, tenant: &Arc<str>) -> Option<FairPermit> {
        self.lock().take_free(tenant).then(|| self.permit(tenant))
    }

    /// Whether a permit is free, which means that nobody waits.
    pub fn is_free(&self) -> bool {
        self.lock().free > 0
    }

    fn permit(&self, tenant: &Arc<str>) -> FairPermit {
        FairPermit {
            semaphore: self.clone(),
            tenant: tenant.clone(),
            since: (self.share == Share::Time).then(Instant::now),
            held_for: None,
        }
    }

    pub fn acquire(&self, tenant: &Arc<str>, priority: Priority) -> Acquire {
        Acquire {
            semaphore: self.clone(),
            tenant: tenant.clone(),
            priority,
            ticket: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, tenant: &Arc<str>, held_for: Duration) {
        let waker = self.lock().release(tenant, held_for, self.share);
        // Wake outside the lock: the woken task can call back into this semaphore immediately.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    fn queue(&mut self, tenant: &Arc<str>) -> &mut TenantQueue {
        let virtual_time = self.virtual_time;
        let queue = self.tenants.entry(tenant.clone()).or_default();
        if queue.held == 0 && queue.is_empty() {
            queue.used = queue.used.max(virtual_time);
        }
        queue
    }

    fn take_free(&mut self, tenant: &Arc<str>) -> bool {
        if self.free == 0 {
            return false;
        }
        let (max, grant) = (self.max_per_tenant, self.grants + 1);
        let queue = self.queue(tenant);
        if queue.held >= max {
            return false;
        }
        queue.held += 1;
        queue.last_grant = grant;
        // Time used without competition is no debt: advancing the virtual time lets the others start level.
        let used = queue.used;
        self.free -= 1;
        self.grants = grant;
        self.virtual_time = self.virtual_time.max(used);
        true
    }

    /// Takes a permit back from `tenant` and grants it to the next waiter, if any. Returns the waker to call.
    fn release(&mut self, tenant: &Arc<str>, held_for: Duration, share: Share) -> Option<Waker> {
        let max_charge = self.max_charge;
        let queue = self.queue(tenant);
        queue.held = queue.held.saturating_sub(1);
        queue.used = queue.used.saturating_add(held_for.min(max_charge));
        let service_received = |queue: &TenantQueue| match share {
            Share::Permits => (queue.held, Duration::ZERO, queue.last_grant),
            Share::Time => (0, queue.used, queue.last_grant),
        };
        let max = self.max_per_tenant;
        let is_eligible = |queue: &TenantQueue| !queue.is_empty() && queue.held < max;
        let waiting = self.tenants.iter().filter(|(_, queue)| is_eligible(queue));
        let next = waiting.min_by_key(|(_, queue)| service_received(queue));
        let next = next.map(|(tenant, queue)| (tenant.clone(), queue.used));
        let waker = match next {
            None => {
                self.free += 1;
                None
            }
            Some((next, used)) => {
                self.virtual_time = self.virtual_time.max(used);
                self.grants += 1;
                let grant = self.grants;
                let queue = self.queue(&next);
                queue.held += 1;
                queue.last_grant = grant;
                queue.next().and_then(|ticket| {
                    self.granted.insert(ticket);
                    self.wakers.remove(&ticket)
                })
            }
        };
        self.remove_if_idle(tenant);
        waker
    }

    fn remove_if_idle(&mut self, tenant: &Arc<str>) {
        let is_idle = |queue: &TenantQueue| queue.held == 0 && queue.is_empty();
        if self.tenants.len() > MAX_IDLE_TENANTS && self.tenants.get(tenant).is_some_and(is_idle) {
            self.tenants.remove(tenant);
        }
    }
}

impl Future for Acquire {
    type Output = FairPermit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FairPermit> {
        let this = &mut *self;
        let mut inner = this.semaphore.lock();
        let is_granted = match this.ticket {
            None => inner.take_free(&this.tenant),
            Some(ticket) => inner.granted.remove(&ticket),
        };
        if is_granted {
            drop(inner);
            this.ticket = None;
            return Poll::Ready(this.semaphore.permit(&this.tenant));
        }
        let ticket = match this.ticket {
            Some(ticket) => ticket,
            None => {
                inner.tickets += 1;
                let ticket = inner.tickets;
                inner.queue(&this.tenant).tickets(this.priority).push_back(ticket);
                this.ticket = Some(ticket);
                ticket
            }
        };
        let replaced = inner.wakers.insert(ticket, cx.waker().clone());
        drop(inner);
        // Dropped outside the lock: a waker's task can own a permit, whose drop takes the lock.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut inner = self.semaphore.lock();
        let waker = inner.wakers.remove(&ticket);
        if inner.granted.remove(&ticket) {
            drop(inner);
            self.semaphore.release(&self.tenant, Duration::ZERO);
            return;
        }
        let priority = self.priority;
        inner
            .queue(&self.tenant)
            .tickets(priority)
            .retain(|waiting| *waiting != ticket);
        inner.remove_if_idle(&self.tenant);
        drop(inner);
        drop(waker);
    }
}

impl FairPermit {
    /// Keeps the permit but stops charging time for it.
    pub fn stop_clock(&mut self) {
        let since = self.since;
        self.held_for
            .get_or_insert_with(|| since.map_or(Duration::ZERO, |since| since.elapsed()));
    }
}

impl Drop for FairPermit {
    fn drop(&mut self) {
        self.stop_clock();
        let held_for = self.held_for.unwrap_or_default();
        self.semaphore.release(&self.tenant, held_for);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::Priority::{New, Requeued};
    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    fn is_idle(semaphore: &FairSemaphore, free: usize) -> bool {
        let inner = semaphore.lock();
        let no_tenant_is_active = inner.tenants.values().all(|queue| queue.held == 0 && queue.is_empty());
        inner.free == free && no_tenant_is_active && inner.wakers.is_empty() && inner.granted.is_empty()
    }

    #[test]
    fn a_flooding_tenant_gets_only_every_second_permit() {
        let semaphore = FairSemaphore::new(2, Share::Permits);
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let mut held = vec![
            semaphore.try_acquire(&loud).unwrap(),
            semaphore.try_acquire(&loud).unwrap(),
        ];
        let mut waiting: Vec<_> = (0..10).map(|_| semaphore.acquire(&loud, New)).collect();
        waiting.extend((0..10).map(|_| semaphore.acquire(&quiet, New)));
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        let mut served = Vec::new();
        for _ in 0..20 {
            drop(held.remove(0));
            let permit = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
            served.push(permit.tenant.to_string());
            held.push(permit);
        }
        // The first permit goes to the tenant that holds none. From then on each holds one, and they alternate.
        let quiet_of_first_ten = served.iter().take(10).filter(|name| *name == "quiet").count();
        assert!((5..=6).contains(&quiet_of_first_ten), "{served:?}");
        drop((held, waiting));
        assert!(is_idle(&semaphore, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_that_holds_permits_longer_gets_fewer() {
        let semaphore = FairSemaphore::new(1, Share::Time);
        let (long, short) = (tenant("long"), tenant("short"));
        let mut held = semaphore.try_acquire(&long).unwrap();
        let mut waiting: Vec<_> = (0..40)
            .flat_map(|_| [semaphore.acquire(&long, New), semaphore.acquire(&short, New)])
            .collect();
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        let mut times = [0, 0];
        for _ in 0..40 {
            let is_short = held.tenant == short;
            times[usize::from(is_short)] += 1;
            tokio::time::advance(Duration::from_millis(if is_short { 1 } else { 9 })).await;
            drop(held);
            held = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
        }
        assert!((3..=6).contains(&times[0]), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_tenant_accumulates_no_credit() {
        let semaphore = FairSemaphore::new(1, Share::Time);
        let (busy, late) = (tenant("busy"), tenant("late"));
        drop(semaphore.try_acquire(&late).unwrap());
        let mut held = semaphore.try_acquire(&busy).unwrap();
        for _ in 0..10 {
            let mut next = semaphore.acquire(&busy, New);
            assert!((&mut next).now_or_never().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
            held = next.now_or_never().unwrap();
        }
        let mut served = String::new();
        let mut waiting: Vec<_> = (0..6)
            .flat_map(|_| [semaphore.acquire(&busy, New), semaphore.acquire(&late, New)])
            .collect();
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        for _ in 0..8 {
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
            held = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
            served.push(if held.tenant == busy { 'b' } else { 'l' });
        }
        assert!(served.matches('b').count() >= 3, "{served}");
    }

    #[tokio::test(start_paused = true)]
    async fn time_used_without_competition_is_no_debt() {
        let semaphore = FairSemaphore::new(1, Share::Time);
        let (first, late) = (tenant("first"), tenant("late"));
        for _ in 0..100 {
            let held = semaphore.try_acquire(&first).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
        }
        let mut held = semaphore.try_acquire(&late).unwrap();
        let mut waiting: Vec<_> = (0..20).map(|_| semaphore.acquire(&late, New)).collect();
        let mut mine = semaphore.acquire(&first, New);
        for acquire in waiting.iter_mut().chain([&mut mine]) {
            assert!(acquire.now_or_never().is_none());
        }
        let mut before = 0;
        let permit = loop {
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
            if let Some(permit) = (&mut mine).now_or_never() {
                break permit;
            }
            held = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
            before += 1;
        };
        drop(permit);
        assert!(before <= 2, "the other tenant had {before} turns first");
    }

    #[test]
    fn a_tenants_queue_is_first_in_first_out() {
        let semaphore = FairSemaphore::new(1, Share::Permits);
        let one = tenant("one");
        let held = semaphore.try_acquire(&one).unwrap();
        let [mut first, mut second] = [semaphore.acquire(&one, New), semaphore.acquire(&one, New)];
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(held);
        assert!(
            semaphore.try_acquire(&one).is_none(),
            "the permit is granted to the first waiter"
        );
        assert!((&mut second).now_or_never().is_none());
        let held = (&mut first).now_or_never().unwrap();
        drop(held);
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn requeued_waiters_let_new_ones_go_first_but_are_not_starved() {
        let semaphore = FairSemaphore::new(1, Share::Permits);
        let one = tenant("one");
        let mut held = semaphore.try_acquire(&one).unwrap();
        let standings = [[Requeued; 8], [New; 8]].concat();
        let mut waiting: Vec<_> = standings
            .iter()
            .map(|priority| semaphore.acquire(&one, *priority))
            .collect();
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        let mut served = String::new();
        while !waiting.is_empty() {
            drop(held);
            let (at, permit) = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(at, acquire)| Some((at, acquire.now_or_never()?)))
                .unwrap();
            served.push(if waiting[at].priority == New { 'n' } else { 'r' });
            drop(waiting.remove(at));
            held = permit;
        }
        assert_eq!(served, "nnnrnnnrnnrrrrrr");
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_is_charged_its_full_time_up_to_the_cap() {
        for (most, expected) in [(Duration::MAX, 2..=3), (Duration::from_millis(100), 6..=9)] {
            let semaphore = FairSemaphore::new(1, Share::Time).with_max_charge(most);
            let (slow, quick) = (tenant("slow"), tenant("quick"));
            let mut held = semaphore.try_acquire(&quick).unwrap();
            let mut waiting: Vec<_> = (0..100)
                .flat_map(|_| [semaphore.acquire(&slow, New), semaphore.acquire(&quick, New)])
                .collect();
            for acquire in &mut waiting {
                assert!(acquire.now_or_never().is_none());
            }
            let mut turns_of_slow = 0;
            for _ in 0..82 {
                let is_slow = held.tenant == slow;
                turns_of_slow += u32::from(is_slow);
                tokio::time::advance(Duration::from_millis(if is_slow { 400 } else { 10 })).await;
                drop(held);
                held = waiting
                    .iter_mut()
                    .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                    .unwrap();
            }
            assert!(expected.contains(&turns_of_slow), "{turns_of_slow}");
        }
    }

    #[test]
    fn idle_tenants_are_removed() {
        let semaphore = FairSemaphore::new(1, Share::Permits);
        for number in 0..1_000 {
            drop(semaphore.try_acquire(&tenant(&number.to_string())));
        }
        assert!(semaphore.lock().tenants.len() <= MAX_IDLE_TENANTS);
    }

    #[test]
    fn a_cancelled_waiter_leaks_no_permit() {
        let semaphore = FairSemaphore::new(1, Share::Permits);
        let [one, two] = [tenant("one"), tenant("two")];
        let held = semaphore.try_acquire(&one).unwrap();
        let [mut leaves, mut leaves_with_a_permit, mut stays] = [
            semaphore.acquire(&one, New),
            semaphore.acquire(&two, New),
            semaphore.acquire(&two, New),
        ];
        for acquire in [&mut leaves, &mut leaves_with_a_permit, &mut stays] {
            assert!(acquire.now_or_never().is_none());
        }
        drop(leaves);
        drop(held);
        drop(leaves_with_a_permit);
        assert!((&mut stays).now_or_never().is_some());
        assert!(is_idle(&semaphore, 1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn permits_are_neither_lost_nor_duplicated_under_contention() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let semaphore = FairSemaphore::new(3, Share::Permits);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..400)
            .map(|number| {
                let (semaphore, running, most) = (semaphore.clone(), running.clone(), most.clone());
                tokio::spawn(async move {
                    let tenant = tenant(["a", "b", "c"][number % 3]);
                    let mut acquire = semaphore.acquire(&tenant, New);
                    if number % 5 == 0 {
                        // Gives up immediately, perhaps after it was granted a permit.
                        let _ = (&mut acquire).now_or_never();
                        tokio::task::yield_now().await;
                        return;
                    }
                    let permit = acquire.await;
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert!(is_idle(&semaphore, 3));
    }
}
