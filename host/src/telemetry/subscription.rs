//! The events of one session for one reader, such as a response over HTTP that shows an answer as it comes.
//!
//! An [observer](super::Observer) has a thread and lives as long as the host. A reader comes and goes with a request, so it has a queue
//! and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use tokio::sync::mpsc;

use crate::events::Event;

/// What waits for one reader at most, in bytes. Beyond that it loses events.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;

/// The readers of a bus, by session.
#[derive(Debug, Default)]
pub(super) struct Subscribers(RwLock<HashMap<Arc<str>, Vec<Sender>>>);

#[derive(Debug)]
struct Sender {
    events: mpsc::UnboundedSender<Arc<Event>>,
    queue: Arc<Queue>,
}

/// The figures of a queue.
#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// Receives the events of one session, in order. Dropping it ends that.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::UnboundedReceiver<Arc<Event>>,
    queue: Arc<Queue>,
    session: Arc<str>,
    subscribers: Weak<Subscribers>,
}

impl Subscription {
    /// The next event, once there is one. `None`: all are read, and the host is gone. Nothing is lost if the future is dropped.
    ///
    /// The last event of a run is [`SessionFinished`](crate::events::EventKind::SessionFinished). All of a run are there when it returns.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let event = self.events.recv().await?;
        self.queue.bytes.fetch_sub(event.kind.weight(), Ordering::Relaxed);
        Some(event)
    }

    /// How many events were lost because more than 16 MiB of them waited to be read.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(subscribers) = self.subscribers.upgrade() {
            subscribers.remove(&self.session, &self.queue);
        }
    }
}

impl Subscribers {
    pub(super) fn add(self: &Arc<Self>, session: &str) -> Subscription {
        let (sender, events) = mpsc::unbounded_channel();
        let (session, queue): (Arc<str>, _) = (session.into(), Arc::<Queue>::default());
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(Arc::clone(&session)).or_default().push(Sender {
            events: sender,
            queue: Arc::clone(&queue),
        });
        Subscription {
            events,
            queue,
            session,
            subscribers: Arc::downgrade(self),
        }
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.values().map(Vec::len).sum()
    }

    fn remove(&self, session: &Arc<str>, queue: &Arc<Queue>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(senders) = all.get_mut(session) {
            senders.retain(|sender| !Arc::ptr_eq(&sender.queue, queue));
            if senders.is_empty() {
                all.remove(session);
            }
        }
    }

    /// Hands an event to its session's readers. Never waits.
    pub(super) fn publish(&self, event: &Arc<Event>) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for sender in all.get(&event.session_id).into_iter().flatten() {
            sender.send(event);
        }
    }
}

impl Sender {
    fn send(&self, event: &Arc<Event>) {
        let weight = event.kind.weight();
        let Queue { bytes, lost } = &*self.queue;
        let waiting = bytes.load(Ordering::Relaxed);
        // One event of any size is taken. Several threads can pass here at once, each with one event more.
        if waiting > 0 && waiting.saturating_add(weight) > MAX_WAITING_BYTES {
            lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Before the reader can subtract it.
        bytes.fetch_add(weight, Ordering::Relaxed);
        // Fails only while the reader is being dropped.
        let _ = self.events.send(Arc::clone(event));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{AlertSettings, Emitter, EventBus};
    use super::*;
    use crate::events::EventKind;

    fn text(bytes: usize) -> EventKind {
        EventKind::TextDelta {
            text: "x".repeat(bytes),
        }
    }

    fn emitter(bus: &EventBus, session: &str) -> Emitter {
        Emitter::new(bus, session, "t", AlertSettings::default())
    }

    #[tokio::test]
    async fn each_reader_gets_the_events_of_its_session() {
        let bus = EventBus::new();
        let (mut first, mut second) = (bus.subscribe("a"), bus.subscribe("a"));
        let mut other = bus.subscribe("b");
        emitter(&bus, "a").emit(text(1));
        emitter(&bus, "b").emit(EventKind::TurnStarted {});
        for reader in [&mut first, &mut second] {
            let event = reader.next().await.unwrap();
            assert!(matches!(&event.kind, EventKind::TextDelta { .. }), "{event:?}");
            assert_eq!(&*event.session_id, "a");
        }
        assert_eq!(&*other.next().await.unwrap().session_id, "b");
        drop(bus);
        assert!(first.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_loses_events_and_goes_on_with_later_ones() {
        let bus = EventBus::new();
        let mut slow = bus.subscribe("a");
        let emitter = emitter(&bus, "a");
        // One of any size, and then none until it is read.
        emitter.emit(text(2 * MAX_WAITING_BYTES));
        emitter.emit(text(1));
        assert_eq!(slow.lost(), 1);
        slow.next().await.unwrap();
        (0..1_000).for_each(|_| emitter.emit(text(100_000)));
        let kept = MAX_WAITING_BYTES / 100_256;
        assert_eq!(slow.lost(), 1 + 1_000 - kept as u64);
        for _ in 0..kept {
            slow.next().await.unwrap();
        }
        emitter.emit(EventKind::TurnStarted {});
        assert!(matches!(slow.next().await.unwrap().kind, EventKind::TurnStarted {}));
    }

    #[tokio::test]
    async fn nothing_is_left_of_a_reader_that_is_gone() {
        let bus = EventBus::new();
        let kept = bus.subscribe("a");
        (0..100).for_each(|_| drop(bus.subscribe("a")));
        (0..100).for_each(|number| drop(bus.subscribe(&number.to_string())));
        assert_eq!(bus.subscribers().count(), 1);
        drop(kept);
        assert_eq!(bus.subscribers().count(), 0);
    }
}
