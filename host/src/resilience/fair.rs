//! Places that are shared fairly between tenants.
//!
//! # Why not a semaphore?
//!
//! A semaphore serves waiters in the order in which they came: a tenant that sends a thousand calls at once is served a
//! thousand times before the next tenant is served once. Here a place that becomes free goes to the waiting tenant that has
//! had the least: that holds the fewest places or, where they are held for moments, has held them for the shortest time.
//! Within a tenant the first to come is the first to be served, but for those who come again and again for a short turn:
//! they let newcomers pass.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How many idle tenants are remembered: those who come and go all the time cost no allocation each time.
const IDLE_LINES: usize = 64;

/// Places in a row that go to newcomers while others of the same tenant wait.
const NEWCOMERS_IN_A_ROW: u32 = 3;

/// Where in its tenant's line a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Newcomer,
    /// Has had its turns, and lets newcomers pass, but for every fourth place.
    Regular,
}

/// What is shared fairly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The places that are held.
    Places,
    /// The time for which places are held.
    Time,
}

/// A number of places. Clones share them.
#[derive(Clone, Debug)]
pub struct FairPlaces {
    share: Share,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// Above zero only where nobody waits who may have one.
    free: usize,
    /// Places that one tenant may hold.
    most_for_one: usize,
    /// Time that one place is charged for.
    most_charged: Duration,
    lines: BTreeMap<Arc<str>, Line>,
    /// Of those who wait, by ticket.
    wakers: HashMap<u64, Waker>,
    /// Tickets whose place is taken for them, until they come for it.
    granted: HashSet<u64>,
    tickets: u64,
    /// Counts what was granted, so that it can be told who was served longest ago.
    grants: u64,
    /// The time that tenants have used who are served now: who comes anew begins there, with no claim from before.
    used: Duration,
}

/// What a tenant holds and waits for.
#[derive(Debug, Default)]
struct Line {
    held: usize,
    newcomers: VecDeque<u64>,
    regulars: VecDeque<u64>,
    /// Places that went to newcomers since the last one that went to a regular.
    newcomers_served: u32,
    served: u64,
    used: Duration,
}

impl Line {
    fn is_empty(&self) -> bool {
        self.newcomers.is_empty() && self.regulars.is_empty()
    }

    fn queue(&mut self, standing: Standing) -> &mut VecDeque<u64> {
        match standing {
            Standing::Newcomer => &mut self.newcomers,
            Standing::Regular => &mut self.regulars,
        }
    }

    fn next(&mut self) -> Option<u64> {
        let regular_is_due = self.newcomers.is_empty() || self.newcomers_served >= NEWCOMERS_IN_A_ROW;
        if regular_is_due && let Some(ticket) = self.regulars.pop_front() {
            self.newcomers_served = 0;
            return Some(ticket);
        }
        self.newcomers_served = self.newcomers_served.saturating_add(1);
        self.newcomers.pop_front()
    }
}

/// A place. Dropping it gives it to the next, or frees it.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub struct FairPlace {
    places: FairPlaces,
    tenant: Arc<str>,
    /// Since when it is held, where time is shared.
    since: Option<Instant>,
    /// How long it was, once that is settled.
    held_for: Option<Duration>,
}

/// Waits for a place. Cancel-safe: dropping it leaves the line.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Acquire {
    places: FairPlaces,
    tenant: Arc<str>,
    standing: Standing,
    ticket: Option<u64>,
}

impl FairPlaces {
    pub fn new(places: usize, share: Share) -> Self {
        let inner = Inner {
            free: places,
            most_for_one: places,
            most_charged: Duration::MAX,
            lines: BTreeMap::new(),
            wakers: HashMap::new(),
            granted: HashSet::new(),
            tickets: 0,
            grants: 0,
            used: Duration::ZERO,
        };
        Self {
            share,
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Lets no tenant hold more than `most`, whether or not others want any.
    #[must_use]
    pub fn with_most_for_one(self, most: usize) -> Self {
        self.lock().most_for_one = most;
        self
    }

    /// Charges nobody for more than `most` of the time that one place was held: where others decide how long that is, who
    /// had bad luck is not to wait for as long afterwards.
    #[must_use]
    pub fn with_most_charged(self, most: Duration) -> Self {
        self.lock().most_charged = most;
        self
    }

    /// Takes a place at once. That overtakes nobody: while somebody waits who may have one, none is free.
    pub fn try_acquire(&self, tenant: &Arc<str>) -> Option<FairPlace> {
        self.lock().take_free(tenant).then(|| self.place(tenant))
    }

    fn place(&self, tenant: &Arc<str>) -> FairPlace {
        FairPlace {
            places: self.clone(),
            tenant: tenant.clone(),
            since: (self.share == Share::Time).then(Instant::now),
            held_for: None,
        }
    }

    pub fn acquire(&self, tenant: &Arc<str>, standing: Standing) -> Acquire {
        Acquire {
            places: self.clone(),
            tenant: tenant.clone(),
            standing,
            ticket: None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, tenant: &Arc<str>, held_for: Duration) {
        let waker = self.lock().give_back(tenant, held_for, self.share);
        // Outside the lock: what is woken may come here at once.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    fn line(&mut self, tenant: &Arc<str>) -> &mut Line {
        let used = self.used;
        let line = self.lines.entry(tenant.clone()).or_default();
        if line.held == 0 && line.is_empty() {
            line.used = line.used.max(used);
        }
        line
    }

    fn take_free(&mut self, tenant: &Arc<str>) -> bool {
        if self.free == 0 {
            return false;
        }
        let (most, now) = (self.most_for_one, self.grants + 1);
        let line = self.line(tenant);
        if line.held >= most {
            return false;
        }
        line.held += 1;
        line.served = now;
        // Who was served while nobody waited owes nobody for that.
        let used = line.used;
        self.free -= 1;
        self.grants = now;
        self.used = self.used.max(used);
        true
    }

    /// Takes a place from `tenant` and finds the next one for it. Returns who is to be woken.
    fn give_back(&mut self, tenant: &Arc<str>, held_for: Duration, share: Share) -> Option<Waker> {
        let most_charged = self.most_charged;
        let line = self.line(tenant);
        line.held = line.held.saturating_sub(1);
        line.used = line.used.saturating_add(held_for.min(most_charged));
        let has_had = |line: &Line| match share {
            Share::Places => (line.held, Duration::ZERO, line.served),
            Share::Time => (0, line.used, line.served),
        };
        let most = self.most_for_one;
        let may_have_one = |line: &Line| !line.is_empty() && line.held < most;
        let waiting = self.lines.iter().filter(|(_, line)| may_have_one(line));
        let next = waiting.min_by_key(|(_, line)| has_had(line));
        let next = next.map(|(tenant, line)| (tenant.clone(), line.used));
        let waker = match next {
            None => {
                self.free += 1;
                None
            }
            Some((next, used)) => {
                self.used = self.used.max(used);
                self.grants += 1;
                let now = self.grants;
                let line = self.line(&next);
                line.held += 1;
                line.served = now;
                line.next().and_then(|ticket| {
                    self.granted.insert(ticket);
                    self.wakers.remove(&ticket)
                })
            }
        };
        self.forget_if_idle(tenant);
        waker
    }

    fn forget_if_idle(&mut self, tenant: &Arc<str>) {
        let is_idle = |line: &Line| line.held == 0 && line.is_empty();
        if self.lines.len() > IDLE_LINES && self.lines.get(tenant).is_some_and(is_idle) {
            self.lines.remove(tenant);
        }
    }
}

impl Future for Acquire {
    type Output = FairPlace;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FairPlace> {
        let this = &mut *self;
        let mut inner = this.places.lock();
        let is_served = match this.ticket {
            None => inner.take_free(&this.tenant),
            Some(ticket) => inner.granted.remove(&ticket),
        };
        if is_served {
            drop(inner);
            this.ticket = None;
            return Poll::Ready(this.places.place(&this.tenant));
        }
        let ticket = match this.ticket {
            Some(ticket) => ticket,
            None => {
                inner.tickets += 1;
                let ticket = inner.tickets;
                inner.line(&this.tenant).queue(this.standing).push_back(ticket);
                this.ticket = Some(ticket);
                ticket
            }
        };
        let replaced = inner.wakers.insert(ticket, cx.waker().clone());
        drop(inner);
        // A waker may hold what holds a place.
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut inner = self.places.lock();
        let waker = inner.wakers.remove(&ticket);
        if inner.granted.remove(&ticket) {
            drop(inner);
            self.places.give_back(&self.tenant, Duration::ZERO);
            return;
        }
        let standing = self.standing;
        inner
            .line(&self.tenant)
            .queue(standing)
            .retain(|waiting| *waiting != ticket);
        inner.forget_if_idle(&self.tenant);
        drop(inner);
        drop(waker);
    }
}

impl FairPlace {
    /// Keeps the place, but counts no more time for it.
    pub fn stop_clock(&mut self) {
        let since = self.since;
        self.held_for
            .get_or_insert_with(|| since.map_or(Duration::ZERO, |since| since.elapsed()));
    }
}

impl Drop for FairPlace {
    fn drop(&mut self) {
        self.stop_clock();
        let held_for = self.held_for.unwrap_or_default();
        self.places.give_back(&self.tenant, held_for);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::Standing::{Newcomer, Regular};
    use super::*;

    fn tenant(name: &str) -> Arc<str> {
        name.into()
    }

    fn is_idle(places: &FairPlaces, free: usize) -> bool {
        let inner = places.lock();
        let rests = inner.lines.values().all(|line| line.held == 0 && line.is_empty());
        inner.free == free && rests && inner.wakers.is_empty() && inner.granted.is_empty()
    }

    #[test]
    fn a_flood_of_one_tenant_lets_the_other_in_every_second_time() {
        let places = FairPlaces::new(2, Share::Places);
        let (loud, quiet) = (tenant("loud"), tenant("quiet"));
        let mut held = vec![places.try_acquire(&loud).unwrap(), places.try_acquire(&loud).unwrap()];
        let mut waiting: Vec<_> = (0..10).map(|_| places.acquire(&loud, Newcomer)).collect();
        waiting.extend((0..10).map(|_| places.acquire(&quiet, Newcomer)));
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        let mut served = Vec::new();
        for _ in 0..20 {
            drop(held.remove(0));
            let place = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
            served.push(place.tenant.to_string());
            held.push(place);
        }
        // The first place goes to who holds none; from then on they hold one each, and it goes to and fro.
        let quiet_of_first_ten = served.iter().take(10).filter(|name| *name == "quiet").count();
        assert!((5..=6).contains(&quiet_of_first_ten), "{served:?}");
        drop((held, waiting));
        assert!(is_idle(&places, 2));
    }

    /// Who holds a place for longer each time is let in less often.
    #[tokio::test(start_paused = true)]
    async fn time_is_shared_by_the_time_that_is_held() {
        let places = FairPlaces::new(1, Share::Time);
        let (long, short) = (tenant("long"), tenant("short"));
        let mut held = places.try_acquire(&long).unwrap();
        let mut waiting: Vec<_> = (0..40)
            .flat_map(|_| [places.acquire(&long, Newcomer), places.acquire(&short, Newcomer)])
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

    /// A tenant that rested has saved up nothing.
    #[tokio::test(start_paused = true)]
    async fn time_is_no_capital() {
        let places = FairPlaces::new(1, Share::Time);
        let (busy, late) = (tenant("busy"), tenant("late"));
        drop(places.try_acquire(&late).unwrap());
        let mut held = places.try_acquire(&busy).unwrap();
        for _ in 0..10 {
            let mut next = places.acquire(&busy, Newcomer);
            assert!((&mut next).now_or_never().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
            held = next.now_or_never().unwrap();
        }
        let mut served = String::new();
        let mut waiting: Vec<_> = (0..6)
            .flat_map(|_| [places.acquire(&busy, Newcomer), places.acquire(&late, Newcomer)])
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

    /// Time that was used while nobody wanted it is no debt.
    #[tokio::test(start_paused = true)]
    async fn who_worked_alone_is_not_made_to_wait_for_it() {
        let places = FairPlaces::new(1, Share::Time);
        let (first, late) = (tenant("first"), tenant("late"));
        for _ in 0..100 {
            let held = places.try_acquire(&first).unwrap();
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
        }
        let mut held = places.try_acquire(&late).unwrap();
        let mut waiting: Vec<_> = (0..20).map(|_| places.acquire(&late, Newcomer)).collect();
        let mut mine = places.acquire(&first, Newcomer);
        for acquire in waiting.iter_mut().chain([&mut mine]) {
            assert!(acquire.now_or_never().is_none());
        }
        let mut before = 0;
        let place = loop {
            tokio::time::advance(Duration::from_secs(1)).await;
            drop(held);
            if let Some(place) = (&mut mine).now_or_never() {
                break place;
            }
            held = waiting
                .iter_mut()
                .find_map(|acquire| acquire.ticket.and_then(|_| acquire.now_or_never()))
                .unwrap();
            before += 1;
        };
        drop(place);
        assert!(before <= 2, "{before} turns of the other came first");
    }

    #[test]
    fn within_a_tenant_the_first_to_come_is_the_first_to_be_served() {
        let places = FairPlaces::new(1, Share::Places);
        let one = tenant("one");
        let held = places.try_acquire(&one).unwrap();
        let [mut first, mut second] = [places.acquire(&one, Newcomer), places.acquire(&one, Newcomer)];
        assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
        drop(held);
        assert!(places.try_acquire(&one).is_none(), "it is taken for the first");
        assert!((&mut second).now_or_never().is_none());
        let held = (&mut first).now_or_never().unwrap();
        drop(held);
        assert!((&mut second).now_or_never().is_some());
    }

    #[test]
    fn regulars_let_newcomers_pass_but_not_for_ever() {
        let places = FairPlaces::new(1, Share::Places);
        let one = tenant("one");
        let mut held = places.try_acquire(&one).unwrap();
        let standings = [[Regular; 8], [Newcomer; 8]].concat();
        let mut waiting: Vec<_> = standings
            .iter()
            .map(|standing| places.acquire(&one, *standing))
            .collect();
        for acquire in &mut waiting {
            assert!(acquire.now_or_never().is_none());
        }
        let mut served = String::new();
        while !waiting.is_empty() {
            drop(held);
            let (at, place) = waiting
                .iter_mut()
                .enumerate()
                .find_map(|(at, acquire)| Some((at, acquire.now_or_never()?)))
                .unwrap();
            served.push(if waiting[at].standing == Newcomer { 'n' } else { 'r' });
            drop(waiting.remove(at));
            held = place;
        }
        assert_eq!(served, "nnnrnnnrnnrrrrrr");
    }

    /// Whoever can't be interrupted pays for all of it, but where others decide how long it takes.
    #[tokio::test(start_paused = true)]
    async fn a_place_is_charged_for_all_its_time_or_for_the_most() {
        for (most, expected) in [(Duration::MAX, 2..=3), (Duration::from_millis(100), 6..=9)] {
            let places = FairPlaces::new(1, Share::Time).with_most_charged(most);
            let (slow, quick) = (tenant("slow"), tenant("quick"));
            let mut held = places.try_acquire(&quick).unwrap();
            let mut waiting: Vec<_> = (0..100)
                .flat_map(|_| [places.acquire(&slow, Newcomer), places.acquire(&quick, Newcomer)])
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
    fn tenants_that_are_gone_are_forgotten() {
        let places = FairPlaces::new(1, Share::Places);
        for number in 0..1_000 {
            drop(places.try_acquire(&tenant(&number.to_string())));
        }
        assert!(places.lock().lines.len() <= IDLE_LINES);
    }

    #[test]
    fn who_leaves_takes_no_place_along() {
        let places = FairPlaces::new(1, Share::Places);
        let [one, two] = [tenant("one"), tenant("two")];
        let held = places.try_acquire(&one).unwrap();
        let [mut leaves, mut leaves_with_a_place, mut stays] = [
            places.acquire(&one, Newcomer),
            places.acquire(&two, Newcomer),
            places.acquire(&two, Newcomer),
        ];
        for acquire in [&mut leaves, &mut leaves_with_a_place, &mut stays] {
            assert!(acquire.now_or_never().is_none());
        }
        drop(leaves);
        drop(held);
        drop(leaves_with_a_place);
        assert!((&mut stays).now_or_never().is_some());
        assert!(is_idle(&places, 1));
    }

    /// Nothing is lost or made up when many threads come and go.
    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn places_add_up_under_contention() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let places = FairPlaces::new(3, Share::Places);
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..400)
            .map(|number| {
                let (places, running, most) = (places.clone(), running.clone(), most.clone());
                tokio::spawn(async move {
                    let tenant = tenant(["a", "b", "c"][number % 3]);
                    let mut acquire = places.acquire(&tenant, Newcomer);
                    if number % 5 == 0 {
                        // Gives up at once, perhaps with a place in hand.
                        let _ = (&mut acquire).now_or_never();
                        tokio::task::yield_now().await;
                        return;
                    }
                    let place = acquire.await;
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    drop(place);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert!(is_idle(&places, 3));
    }
}
