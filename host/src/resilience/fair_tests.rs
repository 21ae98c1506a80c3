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
