#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Mutex, mpsc};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn event(text: &str) -> Arc<Event> {
    Arc::new(Event {
        at: jiff::Timestamp::UNIX_EPOCH,
        session_id: "s".into(),
        tenant: "default".into(),
        turn: 1,
        kind: EventKind::TextDelta { text: text.to_owned() },
    })
}

/// An observer that records the texts it receives.
fn recorder() -> (Arc<Mutex<Vec<String>>>, impl Observer) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        move |event: &Event| {
            if let EventKind::TextDelta { text } = &event.kind {
                seen.lock().unwrap().push(text.clone());
            }
        }
    };
    (seen, observer)
}

#[tokio::test(start_paused = true)]
async fn every_observer_sees_every_event_in_order() {
    let bus = EventBus::new();
    let ((first, a), (second, b)) = (recorder(), recorder());
    bus.add_observer("fir\0st", a);
    bus.add_observer("second", b);
    for text in ["a", "b", "c"] {
        bus.publish(&event(text));
    }
    assert_eq!(bus.flush(LONG).await, 0);
    assert_eq!(*first.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(*second.lock().unwrap(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_panicking_observer_is_removed_and_the_others_continue() {
    let bus = EventBus::new();
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    bus.add_observer("broken", move |_: &Event| {
        *counter.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        panic!("broken on purpose");
    });
    let (seen, observer) = recorder();
    bus.add_observer("healthy", observer);
    bus.publish(&event("a"));
    bus.flush(LONG).await;
    bus.publish(&event("b"));
    bus.flush(LONG).await;
    assert_eq!(*calls.lock().unwrap_or_else(PoisonError::into_inner), 1);
    assert_eq!(*seen.lock().unwrap(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_observers_lost_events_are_counted() {
    let bus = EventBus::new();
    let (started, has_started) = mpsc::channel();
    let (go_on, gate) = mpsc::channel::<()>();
    let stuck = move |_: &Event| {
        started.send(()).ok();
        gate.recv().ok();
    };
    bus.add_with("slow", stuck, Queue::new(Bounds { items: 2, bytes: 1024 }));
    let (seen, observer) = recorder();
    bus.add_observer("quick", observer);

    bus.publish(&event("served"));
    has_started.recv().unwrap();
    for text in ["queued", "queued", "lost"] {
        bus.publish(&event(text));
    }
    assert_eq!(
        bus.flush(Duration::ZERO).await,
        1,
        "a zero wait doesn't wait for the stuck observer"
    );
    assert_eq!(bus.dropped(), [("slow".to_owned(), 1)]);
    drop(go_on);
    assert_eq!(bus.flush(LONG).await, 1);
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn the_weight_includes_large_contents() {
    assert!(event(&"x".repeat(10_000)).kind.weight() >= 10_000);
    let input = serde_json::json!({ "text": ["x".repeat(10_000)] });
    let started = EventKind::ToolCallStarted {
        call_id: String::new(),
        tool: String::new(),
        plugin: String::new(),
        input: input.into(),
    };
    assert!(started.weight() >= 10_000);
}

#[test]
fn the_observer_is_dropped_with_the_bus() {
    struct Noisy(mpsc::Sender<()>);
    impl Observer for Noisy {
        fn on_event(&mut self, _: &Event) {}
    }
    impl Drop for Noisy {
        fn drop(&mut self) {
            self.0.send(()).ok();
        }
    }
    let (dropped, was_dropped) = mpsc::channel();
    let bus = EventBus::new();
    bus.add_observer("noisy", Noisy(dropped));
    drop(bus.clone());
    assert!(was_dropped.try_recv().is_err());
    drop(bus);
    was_dropped.recv_timeout(LONG).unwrap();
}
