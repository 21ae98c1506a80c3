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
#[path = "fair_tests.rs"]
mod tests;
