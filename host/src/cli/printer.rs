//! A dedicated thread that writes events to the terminal or to a pipe.
//!
//! The event bus drops events for an observer that is too slow, so a paused reader (`cofferdam … | less`) would lose parts
//! of the answer. This observer only forwards events to a thread that can block on the output. The queue between them is far
//! larger than the bus's, but bounded: beyond [`MAX_QUEUED_BYTES`], events are dropped and counted. Waiting instead wouldn't
//! save them, because then the bus would drop them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::events::Event;
use crate::telemetry::Observer;

/// Turns events into output.
pub trait Render: Send + 'static {
    fn event(&mut self, event: &Event);

    /// Called about once a second while no event comes.
    fn tick(&mut self) {}
}

/// The longest silence between two calls of [`Render`].
const TICK: Duration = Duration::from_secs(1);

/// The most bytes of queued events: about 200,000 pieces of an answer.
const MAX_QUEUED_BYTES: usize = 64 * 1024 * 1024;

enum Message {
    /// An event and its size in bytes.
    Event(Box<Event>, usize),
    /// Acknowledged when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The handle of the printer thread. The thread ends when the last handle and observer are dropped.
#[derive(Clone, Debug)]
pub struct Printer {
    sender: mpsc::Sender<Message>,
    backlog: Arc<Backlog>,
}

/// The accounting of the queue.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Backlog {
    /// Reserves space for an event, or counts it as dropped. An empty queue admits an event of any size.
    fn admit(&self, bytes: usize) -> bool {
        let more = |queued: usize| {
            let more = queued.saturating_add(bytes);
            (queued == 0 || more <= MAX_QUEUED_BYTES).then_some(more)
        };
        let admitted = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if !admitted {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn written(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Printer {
    /// Starts the thread, which passes each event to each of `renders` in turn.
    ///
    /// # Errors
    /// The system can't start another thread.
    pub fn start(mut renders: Vec<Box<dyn Render>>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let waiting = backlog.clone();
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            loop {
                let message = match receiver.recv_timeout(TICK) {
                    Ok(message) => message,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        renders.iter_mut().for_each(|render| render.tick());
                        continue;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => return,
                };
                match message {
                    Message::Event(event, bytes) => {
                        renders.iter_mut().for_each(|render| render.event(&event));
                        waiting.written(bytes);
                    }
                    Message::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self { sender, backlog })
    }

    /// The observer to add to the event bus.
    pub fn observer(&self) -> impl Observer {
        Forward {
            sender: self.sender.clone(),
            backlog: self.backlog.clone(),
        }
    }

    /// The number of events dropped because the queue was full.
    pub fn dropped(&self) -> u64 {
        self.backlog.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all events observed so far are written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).is_ok() {
            // An error means that the thread has ended, so nothing more will be written.
            let _ = written.await;
        }
    }
}

struct Forward {
    sender: mpsc::Sender<Message>,
    backlog: Arc<Backlog>,
}

impl Observer for Forward {
    fn on_event(&mut self, event: &Event) {
        let bytes = event.kind.weight();
        if self.backlog.admit(bytes) {
            let _ = self.sender.send(Message::Event(Box::new(event.clone()), bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cli::progress::tests::event;
    use crate::events::EventKind;

    struct Slow(Arc<Mutex<String>>);

    impl Render for Slow {
        fn event(&mut self, event: &Event) {
            thread::yield_now();
            if let EventKind::TextDelta { text } = &event.kind {
                self.0.lock().unwrap().push_str(text);
            }
        }
    }

    #[tokio::test]
    async fn flush_waits_for_all_earlier_events() {
        let seen = Arc::new(Mutex::new(String::new()));
        let printer = Printer::start(vec![Box::new(Slow(seen.clone()))]).unwrap();
        let mut observer = printer.observer();
        for digit in 0..1000 {
            observer.on_event(&event(EventKind::TextDelta {
                text: (digit % 10).to_string(),
            }));
        }
        printer.flush().await;
        assert_eq!(*seen.lock().unwrap(), "0123456789".repeat(100));
        assert_eq!(printer.dropped(), 0);
    }

    /// Blocks until it is released, then writes the first letter of each text.
    struct Stuck(mpsc::Receiver<()>, Arc<Mutex<String>>);

    impl Render for Stuck {
        fn event(&mut self, event: &Event) {
            let _ = self.0.recv();
            if let EventKind::TextDelta { text } = &event.kind {
                self.1.lock().unwrap().extend(text.chars().next());
            }
        }
    }

    #[tokio::test]
    async fn a_stuck_reader_uses_bounded_memory() {
        let seen = Arc::new(Mutex::new(String::new()));
        let (release, held) = mpsc::channel();
        let printer = Printer::start(vec![Box::new(Stuck(held, seen.clone()))]).unwrap();
        let mut observer = printer.observer();
        let mut send = |letter: &str, percent: usize| {
            let text = letter.repeat(MAX_QUEUED_BYTES / 100 * percent);
            observer.on_event(&event(EventKind::TextDelta { text }));
        };
        // A dropped event doesn't use up space.
        send("a", 60);
        send("b", 60);
        send("c", 30);
        send("d", 60);
        assert_eq!(printer.dropped(), 2);
        drop(release);
        printer.flush().await;
        // Written events free their space, and an empty queue admits an oversized event.
        send("e", 120);
        printer.flush().await;
        assert_eq!(*seen.lock().unwrap(), "ace");
        assert_eq!(printer.dropped(), 2);
    }
}
