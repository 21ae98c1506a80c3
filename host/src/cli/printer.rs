//! A thread of its own for what goes to the terminal or to a pipe.
//!
//! The event bus drops events for an observer that is too slow, so a reader who pauses (`cofferdam … | less`) would lose
//! parts of the answer. The observer here only passes events on; a thread that may block writes them. What waits is
//! bounded by the run's own limits on calls, tokens and bytes.

use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::telemetry::{Event, Observer};

/// Turns events into output.
pub trait Render: Send + 'static {
    fn event(&mut self, event: &Event);
}

enum Message {
    Event(Box<Event>),
    /// Answered when everything before it is written.
    Flush(oneshot::Sender<()>),
}

/// The writing thread's handle. The thread ends with the last handle and observer.
#[derive(Debug)]
pub struct Printer {
    sender: mpsc::Sender<Message>,
}

impl Printer {
    /// Events go to each of `renders` in turn.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(mut renders: Vec<Box<dyn Render>>) -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        thread::Builder::new().name("printer".to_owned()).spawn(move || {
            for message in receiver {
                match message {
                    Message::Event(event) => renders.iter_mut().for_each(|render| render.event(&event)),
                    Message::Flush(done) => drop(done.send(())),
                }
            }
        })?;
        Ok(Self { sender })
    }

    /// The observer to add to the event bus.
    pub fn observer(&self) -> impl Observer {
        Forward(self.sender.clone())
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

struct Forward(mpsc::Sender<Message>);

impl Observer for Forward {
    fn on_event(&mut self, event: &Event) {
        let _ = self.0.send(Message::Event(Box::new(event.clone())));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::cli::progress::tests::event;
    use crate::telemetry::EventKind;

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
    }
}
