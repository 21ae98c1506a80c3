//! Delivers events to observers, each with its own queue and thread.
//!
//! # Why a thread per observer?
//!
//! An observer is third-party code: it can write to a hung socket, compute for a second or panic. On the run's task, that would
//! stall or fail the run; on a runtime task, a blocking observer would occupy an executor thread. With its own thread and
//! bounded queue, a slow observer loses events and a panicking one is removed, without affecting anything else. Observers are
//! few, and an idle thread costs almost nothing.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::queue::{Bounds, Queue, ServeNext};
use crate::events::{Event, EventKind};
use crate::panics;

/// The bounds of one observer's queue. Beyond them the observer loses events.
pub(super) const OBSERVER_BOUNDS: Bounds = Bounds {
    items: 1024 * 8,
    bytes: 64 * 1024 * 1024,
};

/// Receives every event of the host, in order within a session. Events gather for up to 2 ms, but the first text of an answer comes
/// at once. It runs on its own thread: it can block, and a panic removes only this observer.
pub trait Observer: Send + 'static {
    fn on_event(&mut self, event: &Event);
}

impl<F: FnMut(&Event) + Send + 'static> Observer for F {
    fn on_event(&mut self, event: &Event) {
        self(event);
    }
}

/// The host's observers. Cloning it shares them.
#[derive(Clone)]
pub struct EventBus {
    inner: Arc<Inner>,
}

struct Inner {
    log_contents: bool,
    observers: RwLock<Vec<Registered>>,
    on_breaker_change: OnceLock<BreakerWatch>,
}

/// Is called with each change of a breaker.
type BreakerWatch = Box<dyn Fn(&Event) + Send + Sync>;

struct Registered {
    name: String,
    queue: Arc<Queue<Arc<Event>>>,
}

impl EventBus {
    /// A bus without observers. Its log lines omit contents.
    pub fn new() -> Self {
        Self::with_contents(false)
    }

    /// A bus that logs the text of users, models and tools (`EventKind::CONTENT_FIELDS`) only if `log_contents` is true.
    /// Observers always receive all of it.
    pub fn with_contents(log_contents: bool) -> Self {
        Self {
            inner: Arc::new(Inner {
                log_contents,
                observers: RwLock::default(),
                on_breaker_change: OnceLock::new(),
            }),
        }
    }

    /// Adds an observer, which receives the events emitted from now on. Warnings and [`Self::dropped`] use its name.
    pub fn add_observer(&self, name: &str, observer: impl Observer) {
        self.add_with(name, observer, Queue::new(OBSERVER_BOUNDS));
    }

    pub(super) fn add_with(&self, name: &str, observer: impl Observer, queue: Queue<Arc<Event>>) {
        let queue = Arc::new(queue);
        let worker = {
            let (queue, name) = (Arc::clone(&queue), name.to_owned());
            move || serve(&name, &queue, observer)
        };
        match std::thread::Builder::new()
            // A NUL would end the system's name of the thread.
            .name(format!("observer-{}", name.replace('\0', "")))
            .spawn(worker)
        {
            Ok(_) => {
                let mut observers = self.inner.observers.write().unwrap_or_else(PoisonError::into_inner);
                observers.push(Registered {
                    name: name.to_owned(),
                    queue,
                });
            }
            Err(error) => {
                tracing::error!(observer = name, %error, "can't start a thread for the observer, so it gets no events")
            }
        }
    }

    /// Waits for at most `wait` until the observers have received all events emitted before. Returns how many events observers
    /// have lost so far. The wait is real time on a blocking thread, so tests with paused time can call it too.
    pub async fn flush(&self, wait: Duration) -> u64 {
        let inner = Arc::clone(&self.inner);
        let drained = tokio::task::spawn_blocking(move || inner.drain(wait));
        // An error means that the runtime is shutting down, so there is nothing left to wait for.
        drained.await.ok();
        self.inner.read(|observer| observer.queue.lost()).into_iter().sum()
    }

    /// The names of the observers that lost events, and how many each lost.
    pub fn dropped(&self) -> Vec<(String, u64)> {
        let mut all = self
            .inner
            .read(|observer| (observer.name.clone(), observer.queue.lost()));
        all.retain(|(_, lost)| *lost > 0);
        all
    }

    /// Calls `watch` with each change of a breaker, where it happens: it must not wait. There can be one.
    pub(crate) fn on_breaker_change(&self, watch: impl Fn(&Event) + Send + Sync + 'static) {
        let _ = self.inner.on_breaker_change.set(Box::new(watch));
    }

    pub(super) fn publish(&self, event: &Arc<Event>) {
        if let (EventKind::BreakerChanged { .. }, Some(watch)) = (&event.kind, self.inner.on_breaker_change.get()) {
            watch(event);
        }
        let observers = self.inner.observers.read().unwrap_or_else(PoisonError::into_inner);
        if observers.is_empty() {
            return;
        }
        let bytes = event.kind.weight();
        for observer in observers.iter() {
            observer.queue.push(bytes, Arc::clone(event));
        }
    }

    /// Has observers receive what was published at once. Otherwise they let events gather.
    pub(super) fn hurry(&self) {
        self.inner.read(|observer| observer.queue.hurry());
    }

    pub(super) fn log_contents(&self) -> bool {
        self.inner.log_contents
    }
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for EventBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBus")
            .field("log_contents", &self.inner.log_contents)
            .field("observers", &self.inner.read(|observer| observer.name.clone()))
            .finish()
    }
}

impl Inner {
    #[allow(
        clippy::disallowed_types,
        clippy::disallowed_methods,
        reason = "observers run in real time"
    )]
    fn drain(&self, wait: Duration) {
        let begin = std::time::Instant::now();
        for (name, queue) in self.read(|observer| (observer.name.clone(), Arc::clone(&observer.queue))) {
            if !queue.drain(wait.saturating_sub(begin.elapsed())) {
                let events = queue.waiting();
                tracing::warn!(
                    observer = name,
                    events,
                    "the observer hasn't received the latest events yet"
                );
            }
        }
    }

    fn read<T>(&self, of: impl Fn(&Registered) -> T) -> Vec<T> {
        self.observers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(of)
            .collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for queue in self.read(|observer| Arc::clone(&observer.queue)) {
            queue.close();
        }
    }
}

/// The observer's thread. Runs until the bus is dropped or the observer panics.
fn serve(name: &str, queue: &Queue<Arc<Event>>, mut observer: impl Observer) {
    let mut reported_loss = false;
    queue.consume(|event| {
        if queue.lost() > 0 && !reported_loss {
            reported_loss = true;
            tracing::warn!(observer = name, "the observer is too slow and loses events");
        }
        match panics::catch(|| observer.on_event(&event)) {
            Ok(()) => ServeNext::Yes,
            Err(panic) => {
                tracing::error!(observer = name, panic, "the observer panicked and was removed");
                ServeNext::No
            }
        }
    });
    if panics::catch(|| drop(observer)).is_err() {
        tracing::error!(observer = name, "the observer panicked while it was dropped");
    }
}

impl EventKind {
    /// Approximate memory use in bytes: the contents, plus a constant for the rest.
    pub(crate) fn weight(&self) -> usize {
        let contents = match self {
            Self::SessionStarted { prompt, .. } => prompt.len(),
            Self::ModelResponse { text, .. } | Self::TextDelta { text } => text.len(),
            Self::ToolCallStarted { input, .. } | Self::ApprovalRequested { input, .. } => json_weight(input),
            Self::ToolCallFinished(finished) => {
                let texts = [&finished.detail, &finished.replaced_output];
                let texts = texts.into_iter().flatten().map(String::len).sum::<usize>();
                texts + finished.output.len() + finished.log.len() + finished.tool.len() + finished.call_id.len()
            }
            Self::SessionFinished { answer, .. } => answer.len(),
            Self::TurnStarted {}
            | Self::HistoryTrimmed { .. }
            | Self::ApprovalDecided { .. }
            | Self::ModelWaiting { .. }
            | Self::ModelFallback { .. }
            | Self::ModelAttempt { .. }
            | Self::ModelRetry { .. }
            | Self::BreakerChanged { .. }
            | Self::BudgetReserved { .. }
            | Self::BudgetSettled { .. }
            | Self::BudgetReleased { .. }
            | Self::BudgetAlert { .. }
            | Self::Alert { .. } => 0,
        };
        contents.saturating_add(256)
    }
}

fn json_weight(value: &serde_json::Value) -> usize {
    let own = size_of::<serde_json::Value>();
    match value {
        serde_json::Value::String(text) => own + text.len(),
        serde_json::Value::Array(items) => own + items.iter().map(json_weight).sum::<usize>(),
        serde_json::Value::Object(fields) => {
            own + fields
                .iter()
                .map(|(name, field)| name.len() + json_weight(field))
                .sum::<usize>()
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => own,
    }
}

#[cfg(test)]
#[path = "bus_tests.rs"]
mod tests;
