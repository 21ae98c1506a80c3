//! A bounded queue between runs, which must not wait, and a thread that serves something slow.
//!
//! # Why another queue?
//!
//! A channel bounds the number of items, and one item here may be a megabyte of tool output: eight thousand of those are
//! not a bound. This queue bounds bytes as well, counts what it refused, and can tell when what was in it has been served.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a queue holds at most. What does not fit is refused and counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) items: usize,
    /// As the producer weighs them. A single item of any weight fits into an empty queue.
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    bounds: Bounds,
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
        };
        Self {
            bounds,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Adds an item, or counts it as lost. Never waits for the consumer; does nothing once the queue is closed.
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
        drop(state);
        self.changed.notify_all();
    }

    /// Serves items until the queue is closed and empty, or until `serve` says to stop; what is left then is lost.
    pub(super) fn consume(&self, mut serve: impl FnMut(T) -> ServeNext) {
        let mut state = self.lock();
        loop {
            match state.items.pop_front() {
                Some((bytes, item)) => {
                    state.bytes = state.bytes.saturating_sub(bytes);
                    drop(state);
                    let next = serve(item);
                    state = self.lock();
                    state.served += 1;
                    if next == ServeNext::No {
                        state.closed = true;
                        state.lost = state.lost.saturating_add(state.items.len() as u64);
                        state.items.clear();
                        state.served = state.accepted;
                    }
                    self.changed.notify_all();
                }
                None if state.closed => return,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits until everything accepted before this call has been served or given up. False: the time was up first.
    pub(super) fn drain(&self, wait: Duration) -> bool {
        let state = self.lock();
        let target = state.accepted;
        let pending = |state: &mut State<T>| state.served < target;
        let (_state, timeout) = self
            .changed
            .wait_timeout_while(state, wait, pending)
            .unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }

    /// Takes nothing more; what is in the queue is still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Accepted and neither served nor given up yet.
    pub(super) fn waiting(&self) -> u64 {
        let state = self.lock();
        state.accepted.saturating_sub(state.served)
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What [`Queue::consume`] does after an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServeNext {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

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
    fn what_does_not_fit_is_refused_and_counted() {
        let queue = Queue::new(Bounds { items: 2, bytes: 100 });
        for item in 1..=4 {
            queue.push(10, item);
        }
        assert_eq!(queue.lost(), 2);
        assert_eq!(served(&queue), [1, 2]);
    }

    #[test]
    fn bytes_are_bounded_and_a_giant_alone_still_fits() {
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
        assert_eq!(queue.lost(), 2, "after that there is nobody to lose for");
        assert!(queue.drain(Duration::ZERO));
    }

    #[test]
    fn a_closed_queue_is_drained_when_its_last_item_has_been_served() {
        let queue = Queue::new(Bounds { items: 10, bytes: 100 });
        queue.push(1, 1);
        queue.close();
        queue.consume(|_| {
            assert!(!queue.drain(Duration::ZERO), "the item is in the consumer's hands");
            ServeNext::Yes
        });
        assert!(queue.drain(Duration::ZERO));
    }

    #[test]
    fn draining_waits_for_the_consumer_and_no_longer_than_told() {
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
}
