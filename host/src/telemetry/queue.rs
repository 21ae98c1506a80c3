//! A bounded queue between runs, which must not wait, and a thread with a slow consumer.
//!
//! # Why not a channel?
//!
//! A channel bounds only the number of items, and one item can hold a megabyte of tool output: eight thousand of those need
//! gigabytes. This queue also bounds bytes, counts refused items, and can wait until its items have been consumed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue's bounds. Items beyond them are refused and counted as lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) items: usize,
    /// As estimated by the producer. An empty queue accepts a single item of any size.
    pub(super) bytes: usize,
}

/// How long the consumer lets items gather once it has served all there were. Items come in bursts, and to wake a thread for each
/// costs the producer more than the rest of it does.
const PAUSE: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub(super) struct Queue<T> {
    bounds: Bounds,
    pub(super) pause: Duration,
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(usize, T)>,
    bytes: usize,
    accepted: u64,
    served: u64,
    lost: u64,
    closed: bool,
    /// The consumer waits for the next item, which has to wake it.
    asleep: bool,
    /// How many wait until items are served, so that the consumer doesn't pause.
    draining: u32,
    /// Somebody waits for what is there.
    hurried: bool,
}

impl<T> State<T> {
    /// Whether a pause of the consumer has to end early.
    fn is_urgent(&self, bounds: &Bounds) -> bool {
        self.closed
            || self.hurried
            || self.draining > 0
            || self.items.len() >= bounds.items / 2
            || self.bytes >= bounds.bytes / 2
    }
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds) -> Self {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            accepted: 0,
            served: 0,
            lost: 0,
            closed: false,
            asleep: false,
            draining: 0,
            hurried: false,
        };
        Self {
            bounds,
            pause: PAUSE,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Adds an item, or counts it as lost if the queue is full. Never waits for the consumer. Does nothing once the queue is
    /// closed.
    pub(super) fn push(&self, bytes: usize, item: T) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let full = state.items.len() >= self.bounds.items
            || (!state.items.is_empty() && state.bytes.saturating_add(bytes) > self.bounds.bytes);
        if full {
            state.lost = state.lost.saturating_add(1);
            return;
        }
        state.bytes = state.bytes.saturating_add(bytes);
        state.accepted += 1;
        state.items.push_back((bytes, item));
        let wake = state.asleep || state.is_urgent(&self.bounds);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }

    /// Ends a pause of the consumer: somebody waits for what is there.
    pub(super) fn hurry(&self) {
        let mut state = self.lock();
        state.hurried = !state.items.is_empty();
        drop(state);
        self.changed.notify_all();
    }

    /// Serves items until the queue is closed and empty, or until `serve` returns [`ServeNext::No`], which loses the rest.
    pub(super) fn consume(&self, mut serve: impl FnMut(T) -> ServeNext) {
        self.consume_batches(1, |batch| batch.into_iter().fold(ServeNext::Yes, |_, item| serve(item)));
    }

    /// The same, with as many items at once as there are, up to `most`.
    pub(super) fn consume_batches(&self, most: usize, mut serve: impl FnMut(Vec<T>) -> ServeNext) {
        let mut state = self.lock();
        let mut paused = true;
        loop {
            let count = state.items.len().min(most);
            if count > 0 {
                let mut taken = 0;
                let batch = state.items.drain(..count).map(|(bytes, item)| {
                    taken += bytes;
                    item
                });
                let batch: Vec<T> = batch.collect();
                state.bytes = state.bytes.saturating_sub(taken);
                state.hurried = false;
                drop(state);
                let next = serve(batch);
                state = self.lock();
                state.served += count as u64;
                if next == ServeNext::No {
                    state.closed = true;
                    state.lost = state.lost.saturating_add(state.items.len() as u64);
                    state.items.clear();
                    state.served = state.accepted;
                }
                if state.draining > 0 {
                    self.changed.notify_all();
                }
                paused = false;
            } else if state.closed {
                return;
            } else if paused {
                state.asleep = true;
                let waits = |state: &mut State<T>| state.items.is_empty() && !state.closed;
                state = self
                    .changed
                    .wait_while(state, waits)
                    .unwrap_or_else(PoisonError::into_inner);
                state.asleep = false;
            } else {
                let waits = |state: &mut State<T>| !state.is_urgent(&self.bounds);
                let (locked, _) = self
                    .changed
                    .wait_timeout_while(state, self.pause, waits)
                    .unwrap_or_else(PoisonError::into_inner);
                state = locked;
                paused = true;
            }
        }
    }

    /// Waits until every item accepted before this call has been served or lost. Returns false on timeout.
    pub(super) fn drain(&self, wait: Duration) -> bool {
        let mut state = self.lock();
        let target = state.accepted;
        state.draining += 1;
        self.changed.notify_all();
        let pending = |state: &mut State<T>| state.served < target;
        let (mut state, timeout) = self
            .changed
            .wait_timeout_while(state, wait, pending)
            .unwrap_or_else(PoisonError::into_inner);
        state.draining -= 1;
        !timeout.timed_out()
    }

    /// Stops accepting items. Queued items are still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// The number of items accepted but neither served nor lost yet.
    pub(super) fn waiting(&self) -> u64 {
        let state = self.lock();
        state.accepted.saturating_sub(state.served)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether [`Queue::consume`] continues after an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServeNext {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// Looks many times.
    fn wait_until(is_so: impl Fn() -> bool) -> bool {
        (0..10_000_000).any(|_| {
            std::thread::yield_now();
            is_so()
        })
    }

    fn served(queue: &Queue<u32>) -> Vec<u32> {
        let mut served = Vec::new();
        queue.close();
        queue.consume(|item| {
            served.push(item);
            ServeNext::Yes
        });
        served
    }

    #[test]
    fn items_beyond_the_bound_are_refused_and_counted() {
        let queue = Queue::new(Bounds { items: 2, bytes: 100 });
        for item in 1..=4 {
            queue.push(10, item);
        }
        assert_eq!(queue.lost(), 2);
        assert_eq!(served(&queue), [1, 2]);
    }

    #[test]
    fn bytes_are_bounded_but_a_single_oversized_item_fits() {
        let queue = Queue::new(Bounds { items: 10, bytes: 100 });
        queue.push(1_000, 1);
        queue.push(1, 2);
        assert_eq!(queue.lost(), 1);
        assert_eq!(served(&queue), [1]);
    }

    #[test]
    fn a_consumer_that_stops_loses_the_rest() {
        let queue = Queue::new(Bounds { items: 10, bytes: 100 });
        for item in 1..=3 {
            queue.push(1, item);
        }
        queue.consume(|_| ServeNext::No);
        assert_eq!(queue.lost(), 2);
        queue.push(1, 4);
        assert_eq!(queue.lost(), 2, "pushes after the stop aren't counted");
        assert!(queue.drain(Duration::ZERO));
    }

    #[test]
    fn a_closed_queue_is_drained_once_its_last_item_is_served() {
        let queue = Queue::new(Bounds { items: 10, bytes: 100 });
        queue.push(1, 1);
        queue.close();
        queue.consume(|_| {
            assert!(!queue.drain(Duration::ZERO), "the consumer is still serving the item");
            ServeNext::Yes
        });
        assert!(queue.drain(Duration::ZERO));
    }

    #[test]
    fn draining_waits_for_the_consumer_up_to_the_timeout() {
        let queue = Queue::new(Bounds { items: 10, bytes: 100 });
        queue.push(1, 1);
        assert!(!queue.drain(Duration::ZERO));
        assert_eq!(queue.waiting(), 1);
        std::thread::scope(|scope| {
            scope.spawn(|| queue.consume(|_| ServeNext::Yes));
            assert!(queue.drain(Duration::from_secs(60)));
            queue.close();
        });
    }

    /// A consumer that has something to do is woken seldom, and misses nothing.
    #[test]
    fn items_gather_while_the_consumer_pauses() {
        const ITEMS: u32 = 2_000;
        let mut queue = Queue::new(Bounds {
            items: 100_000,
            bytes: 100_000,
        });
        queue.pause = Duration::from_secs(3_600);
        let mut batches = Vec::new();
        std::thread::scope(|scope| {
            let consumer = scope.spawn(|| {
                queue.consume_batches(usize::MAX, |batch: Vec<u32>| {
                    batches.push(batch);
                    ServeNext::Yes
                });
            });
            queue.push(1, 0);
            assert!(queue.drain(Duration::from_secs(60)));
            for item in 1..ITEMS {
                queue.push(1, item);
            }
            assert!(queue.drain(Duration::from_secs(60)));
            queue.close();
            consumer.join().unwrap();
        });
        assert_eq!(batches.concat(), (0..ITEMS).collect::<Vec<_>>());
        // It pauses for an hour as soon as it finds none.
        assert!(batches.len() < ITEMS as usize / 10, "{}", batches.len());
    }

    #[test]
    fn what_somebody_waits_for_ends_a_pause() {
        let mut queue = Queue::new(Bounds {
            items: 1_000,
            bytes: 1_000,
        });
        queue.pause = Duration::from_secs(3_600);
        std::thread::scope(|scope| {
            scope.spawn(|| queue.consume(|_| ServeNext::Yes));
            for item in 0..100 {
                queue.push(1, item);
                queue.hurry();
                assert!(wait_until(|| queue.waiting() == 0), "the consumer pauses all the same");
            }
            queue.close();
        });
    }

    /// Neither a queue that fills up, nor a drain, nor the end waits for the pause.
    #[test]
    fn what_is_urgent_ends_a_pause() {
        let mut queue = Queue::new(Bounds { items: 8, bytes: 100 });
        queue.pause = Duration::from_secs(3_600);
        std::thread::scope(|scope| {
            scope.spawn(|| queue.consume(|_| ServeNext::Yes));
            for item in 0..1_000 {
                queue.push(1, item);
                if queue.waiting() >= 4 {
                    assert!(wait_until(|| queue.waiting() < 4), "the consumer pauses all the same");
                }
            }
            queue.push(1, 1_000);
            assert!(queue.drain(Duration::from_secs(60)));
            queue.close();
        });
        assert_eq!(queue.lost(), 0);
    }
}
