//! Emits all events of a session.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::alerts::{AlertRules, AlertSettings};
use super::bus::EventBus;
use super::log_line;
use super::metrics::SessionMetrics;
use super::subscription::{Sender, Subscription, subscription};
use crate::events::{Event, EventKind};
use crate::money::NanoUsd;

/// Emits the events of one session. Cheap to clone, and shared by the session's tasks.
///
/// [`Emitter::emit`] updates the metrics, evaluates the alert rules and writes the log line, so that callers don't have to.
/// Observers get the event through their queues. Nothing here waits or fails.
#[derive(Clone, Debug)]
pub struct Emitter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: EventBus,
    session_id: Arc<str>,
    tenant: Arc<str>,
    turn: AtomicU32,
    record: Mutex<Record>,
}

#[derive(Debug)]
struct Record {
    metrics: SessionMetrics,
    alerts: AlertRules,
    /// Whether the last event was a piece of an answer's text.
    streams: bool,
    readers: Vec<Sender>,
}

impl Emitter {
    /// An emitter at turn 0, with all metrics zero and no alert rule fired.
    pub fn new(bus: &EventBus, session_id: &str, tenant: &str, alerts: AlertSettings) -> Self {
        Self {
            inner: Arc::new(Inner {
                bus: bus.clone(),
                session_id: session_id.into(),
                tenant: tenant.into(),
                turn: AtomicU32::new(0),
                record: Mutex::new(Record {
                    metrics: SessionMetrics::default(),
                    alerts: AlertRules::new(alerts),
                    streams: false,
                    readers: Vec::new(),
                }),
            }),
        }
    }

    /// Emits an event with the current time and turn.
    pub fn emit(&self, kind: EventKind) {
        self.emit_of(self.turn(), kind);
    }

    /// The same for an event of this turn, which may be over.
    pub(crate) fn emit_of(&self, turn: u32, kind: EventKind) {
        let (event, alert) = {
            // Stamp, count and queue under one lock, so that all consumers see the session in the same order. An alert
            // directly follows the event that triggered it, and isn't evaluated by the rules itself.
            let mut record = self.record();
            let event = self.stamp(turn, kind);
            record.metrics.apply(&event);
            let streams = matches!(event.kind, EventKind::TextDelta { .. });
            let is_first_text = streams && !record.streams;
            record.streams = streams;
            let Record { metrics, alerts, .. } = &mut *record;
            let alert = alerts.evaluate(&event, metrics).map(|alert| self.stamp(turn, alert));
            for event in std::iter::once(&event).chain(&alert) {
                record.readers.retain(|reader| reader.send(event));
                self.inner.bus.publish(event);
            }
            if is_first_text {
                // A person waits for it. What follows may come in small groups.
                self.inner.bus.hurry();
            }
            (event, alert)
        };
        // Outside the lock, because the embedder's subscriber can do anything, including emitting events.
        let contents = self.inner.bus.log_contents();
        log_line::write(&event, contents);
        alert.iter().for_each(|alert| log_line::write(alert, contents));
    }

    /// Receives the events that are emitted here from now on.
    pub fn subscribe(&self) -> Subscription {
        let (sender, subscription) = subscription();
        self.record().readers.push(sender);
        subscription
    }

    /// Sets the model call, counted from 1, that the following events belong to.
    pub fn set_turn(&self, turn: u32) {
        self.inner.turn.store(turn, Ordering::Relaxed);
    }

    /// The model call, counted from 1, that events belong to now.
    pub(crate) fn turn(&self) -> u32 {
        self.inner.turn.load(Ordering::Relaxed)
    }

    pub fn session_id(&self) -> &str {
        &self.inner.session_id
    }

    pub fn tenant(&self) -> &Arc<str> {
        &self.inner.tenant
    }

    /// The session's metrics so far.
    pub fn metrics(&self) -> SessionMetrics {
        self.record().metrics.clone()
    }

    /// What the session has cost so far. Copies nothing else.
    pub(crate) fn spent(&self) -> NanoUsd {
        self.record().metrics.estimated_cost_usd
    }

    fn stamp(&self, turn: u32, kind: EventKind) -> Arc<Event> {
        Arc::new(Event {
            at: jiff::Timestamp::now(),
            session_id: Arc::clone(&self.inner.session_id),
            tenant: Arc::clone(&self.inner.tenant),
            turn,
            kind,
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.inner.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use super::super::bus::OBSERVER_BOUNDS;
    use super::super::queue::Queue;
    use super::*;

    fn settled(nanos: u64) -> EventKind {
        EventKind::BudgetSettled {
            reservation: "r".to_owned(),
            amount_usd: NanoUsd::from_nanos(nanos),
            estimated: false,
            in_full: false,
            usage: None,
            cache_savings_usd: None,
        }
    }

    /// Whatever else happens gathers meanwhile.
    #[test]
    fn the_first_text_of_an_answer_is_seen_at_once() {
        let bus = EventBus::new();
        let mut queue = Queue::new(OBSERVER_BOUNDS);
        queue.pause = Duration::from_secs(3_600);
        let (sender, seen) = std::sync::mpsc::channel();
        bus.add_with(
            "test",
            move |event: &Event| sender.send(event.kind.name()).unwrap(),
            queue,
        );
        let emitter = Emitter::new(&bus, "s1", "default", AlertSettings::default());
        let sees = |names: &[&str]| {
            for name in names {
                assert_eq!(seen.recv_timeout(Duration::from_secs(60)).as_deref(), Ok(*name));
            }
        };
        let text = || EventKind::TextDelta { text: "a".to_owned() };
        emitter.emit(EventKind::TurnStarted {});
        sees(&["turn_started"]);
        emitter.emit(text());
        sees(&["text_delta"]);
        emitter.emit(text());
        emitter.emit(EventKind::TurnStarted {});
        emitter.emit(text());
        sees(&["text_delta", "turn_started", "text_delta"]);
    }

    #[tokio::test(start_paused = true)]
    async fn events_are_stamped_and_counted_and_alerts_follow_their_cause() {
        let bus = EventBus::new();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        bus.add_observer("test", move |event: &Event| {
            sink.lock().unwrap().push(format!(
                "{} {} {} {}",
                event.session_id,
                event.tenant,
                event.turn,
                event.kind.name()
            ));
        });
        let emitter = Emitter::new(&bus, "s1", "default", AlertSettings::default());
        emitter.emit(settled(1));
        emitter.set_turn(2);
        emitter.clone().emit(settled(1_000_000_000));
        emitter.emit(settled(1));
        bus.flush(Duration::from_secs(60)).await;
        assert_eq!(
            *seen.lock().unwrap(),
            [
                "s1 default 0 budget_settled",
                "s1 default 2 budget_settled",
                "s1 default 2 alert",
                "s1 default 2 budget_settled"
            ]
        );
        assert_eq!(emitter.metrics().estimated_cost_usd, NanoUsd::from_nanos(1_000_000_002));
    }
}
