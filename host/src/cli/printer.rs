//! A thread of its own for what goes to the terminal or to a pipe.
//!
//! The event bus drops events for an observer that is too slow, so a reader who pauses (`cofferdam … | less`) would lose
//! parts of the answer. The observer here only passes events on; a thread that may block writes them. There is room for
//! far more than on the bus, and an end to it all the same: beyond [`MAX_WAITING`] events are dropped and counted. To wait
//! would not save them, for then the bus would drop them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::events::Event;
use crate::telemetry::Observer;

/// Turns events into output.
pub trait Render: Send + 'static {
    fn event(&mut self, event: &Event);
}

/// Bytes of the events that wait to be written: about 200,000 pieces of an answer.
const MAX_WAITING: usize = 64 * 1024 * 1024;

enum Message {
    /// With its weight.
    Event(Box<Event>, usize),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The writing thread's handle. The thread ends with the last handle and observer.
#[derive(Debug)]
pub struct Printer {
    sender: mpsc::Sender<Message>,
    backlog: Arc<Backlog>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Backlog {
    /// Makes room for an event, or counts it as lost. A single one of any weight fits where nothing waits.
    fn admit(&self, bytes: usize) -> bool {
        let more = |waiting: usize| {
            let more = waiting.saturating_add(bytes);
            (waiting == 0 || more <= MAX_WAITING).then_some(more)
        };
        let admitted = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if !admitted {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    fn written(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Printer {
    /// Events go to each of `renders` in turn.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(mut renders: Vec<Box<dyn Render>>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let backlog = Arc::new(Backlog::default());
        let waiting = backlog.clone();
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            for message in receiver {
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

    /// How many events were dropped, because too many waited to be written.
    pub fn lost(&self) -> u64 {
        self.backlog.lost.load(Ordering::Relaxed)
    }

    /// Waits until everything that was observed is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.sender.send(Message::Flush(done)).is_ok() {
            // A thread that died has written all it ever will.
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
    async fn a_flush_waits_for_everything_said_before() {
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
        assert_eq!(printer.lost(), 0);
    }

    /// Writes nothing until it is let go, and then the first letter of each text.
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
    async fn a_reader_who_never_comes_back_costs_a_bounded_amount_of_memory() {
        let seen = Arc::new(Mutex::new(String::new()));
        let (let_go, held) = mpsc::channel();
        let printer = Printer::start(vec![Box::new(Stuck(held, seen.clone()))]).unwrap();
        let mut observer = printer.observer();
        let mut send = |letter: &str, percent: usize| {
            let text = letter.repeat(MAX_WAITING / 100 * percent);
            observer.on_event(&event(EventKind::TextDelta { text }));
        };
        // What is dropped leaves room for others.
        send("a", 60);
        send("b", 60);
        send("c", 30);
        send("d", 60);
        assert_eq!(printer.lost(), 2);
        drop(let_go);
        printer.flush().await;
        // What was written does as well, and a giant fits alone.
        send("e", 120);
        printer.flush().await;
        assert_eq!(*seen.lock().unwrap(), "ace");
        assert_eq!(printer.lost(), 2);
    }
}
