//! The events of one session for one reader, such as a response over HTTP that shows an answer as it comes.
//!
//! An [observer](super::Observer) has a thread and lives as long as the host. A reader comes and goes with a request, so it has a queue
//! and nothing else.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::events::Event;

/// What waits for one reader at most, in bytes. Beyond that it loses events.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Hands events to one reader.
#[derive(Debug)]
pub(super) struct Sender {
    events: mpsc::UnboundedSender<Arc<Event>>,
    queue: Arc<Queue>,
}

/// The figures of a queue.
#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

/// Receives the events of one [`Session`](crate::agent::Session), in order. Drop it to receive no more.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::UnboundedReceiver<Arc<Event>>,
    queue: Arc<Queue>,
    ended: CancellationToken,
}

pub(super) fn subscription() -> (Sender, Subscription) {
    let (sender, events) = mpsc::unbounded_channel();
    let queue = Arc::<Queue>::default();
    let sender = Sender {
        events: sender,
        queue: Arc::clone(&queue),
    };
    let subscription = Subscription {
        events,
        queue,
        ended: CancellationToken::new(),
    };
    (sender, subscription)
}

impl Subscription {
    /// The same run, which ends the subscription when it returns or is dropped. Subscribe again for the next one.
    pub fn during<R: Future>(&self, run: R) -> impl Future<Output = R::Output> + use<R> {
        let ends = self.ended.clone().drop_guard();
        async move {
            let _ends = ends;
            run.await
        }
    }

    /// The next event, once there is one. `None`: all are read, and the run that was given to [`Self::during`] has ended, or the session is
    /// gone. Nothing is lost if the future is dropped.
    ///
    /// A run ends with its report. Not every one emits events: one that is refused may emit none.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        let event = tokio::select! {
            biased;
            event = self.events.recv() => event,
            () = self.ended.cancelled() => self.events.try_recv().ok(),
        }?;
        self.queue.bytes.fetch_sub(event.kind.weight(), Ordering::Relaxed);
        Some(event)
    }

    /// How many events were lost so far because 4 MiB of them waited to be read. The report has what they would have shown.
    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Ordering::Relaxed)
    }
}

impl Sender {
    /// Never waits. Returns whether the reader is still there.
    pub(super) fn send(&self, event: &Arc<Event>) -> bool {
        if self.events.is_closed() {
            return false;
        }
        let weight = event.kind.weight();
        let Queue { bytes, lost } = &*self.queue;
        let waiting = bytes.load(Ordering::Relaxed);
        // An empty queue takes an event of any size.
        if waiting > 0 && waiting.saturating_add(weight) > MAX_WAITING_BYTES {
            lost.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        // Before the reader can subtract it.
        bytes.fetch_add(weight, Ordering::Relaxed);
        self.events.send(Arc::clone(event)).is_ok()
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

    fn emitter() -> Emitter {
        Emitter::new(&EventBus::new(), "s", "t", AlertSettings::default())
    }

    #[tokio::test]
    async fn each_reader_gets_every_event_of_its_emitter() {
        let (emitter, same_id) = (emitter(), emitter());
        let (mut first, mut second) = (emitter.subscribe(), emitter.subscribe());
        same_id.emit(EventKind::TurnStarted {});
        emitter.emit(text(1));
        for reader in [&mut first, &mut second] {
            let event = reader.next().await.unwrap();
            assert!(matches!(&event.kind, EventKind::TextDelta { .. }), "{event:?}");
        }
        drop(emitter);
        assert!(first.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_loses_events_and_goes_on_with_later_ones() {
        let emitter = emitter();
        let mut slow = emitter.subscribe();
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

    /// Whatever it emits, and however it ends.
    #[tokio::test]
    async fn it_ends_with_the_run_and_not_before_all_is_read() {
        let emitter = emitter();
        let mut events = emitter.subscribe();
        let run = events.during(async {
            emitter.emit(text(1));
            7
        });
        assert_eq!(run.await, 7);
        assert!(events.next().await.is_some());
        assert!(events.next().await.is_none());

        let mut events = emitter.subscribe();
        drop(events.during(std::future::pending::<()>()));
        assert!(events.next().await.is_none());
    }
}
