//! The calls of one client: how many there are, and in which order they start. The protocol library runs each request on a
//! task of its own, and tasks start in any order, so both are settled when a call arrives.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The calls of one client that may run or wait at the same time.
pub const MAX_CALLS_PER_CLIENT: usize = 64;

/// How long cancelled calls may take to report their end.
pub(super) const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Counts the calls of one client. Clones share the count.
#[derive(Clone, Debug)]
pub(super) struct Calls(Arc<Semaphore>);

impl Default for Calls {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CALLS_PER_CLIENT)))
    }
}

impl Calls {
    /// A call that starts as soon as it can.
    pub(super) fn arrive(&self) -> Arrival {
        self.arrive_after(None)
    }

    fn arrive_after(&self, turn: Option<Turn>) -> Arrival {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok();
        Arrival(Arc::new(Mutex::new(permit.map(|permit| Admitted { permit, turn }))))
    }

    /// Whether there is no call and no request that may still become one.
    pub(super) fn is_idle(&self) -> bool {
        self.0.available_permits() == MAX_CALLS_PER_CLIENT && Arc::strong_count(&self.0) == 1
    }

    /// Waits until every call has ended, but no longer than `timeout`.
    pub(super) async fn idle(&self, timeout: Duration) {
        let all = u32::try_from(MAX_CALLS_PER_CLIENT).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(timeout, self.0.acquire_many(all)).await;
    }
}

/// Has the calls of one connection start in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct InOrder {
    calls: Calls,
    last: Option<oneshot::Receiver<()>>,
}

impl InOrder {
    pub(super) fn new(calls: Calls) -> Self {
        Self { calls, last: None }
    }

    pub(super) fn arrive(&mut self) -> Arrival {
        let (started, next) = oneshot::channel();
        let turn = Turn {
            previous: self.last.replace(next),
            _started: started,
        };
        self.calls.arrive_after(Some(turn))
    }
}

/// A call that has arrived. Travels with its request, which the library may clone.
#[derive(Clone, Debug)]
pub(super) struct Arrival(Arc<Mutex<Option<Admitted>>>);

impl Arrival {
    /// `None` if the client had too many calls when this one arrived.
    pub(super) fn admitted(&self) -> Option<Admitted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A call that counts until it ends.
#[derive(Debug)]
pub(super) struct Admitted {
    permit: OwnedSemaphorePermit,
    turn: Option<Turn>,
}

/// Dropping it lets the next call start.
#[derive(Debug)]
struct Turn {
    previous: Option<oneshot::Receiver<()>>,
    _started: oneshot::Sender<()>,
}

impl Admitted {
    /// Runs `call` when its turn comes: when the call before has started, or never will. The next turn comes when `call` first
    /// waits for something, or ends.
    pub(super) async fn run<T>(self, call: impl Future<Output = T>) -> T {
        let Self { permit: _permit, turn } = self;
        let Some(mut turn) = turn else { return call.await };
        if let Some(previous) = turn.previous.take() {
            // An error means that the call before was dropped, so there is nothing to wait for.
            let _ = previous.await;
        }
        let mut call: Pin<&mut _> = pin!(call);
        let first = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        drop(turn);
        match first {
            Poll::Ready(result) => result,
            Poll::Pending => call.await,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::mpsc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn calls_start_in_order_of_arrival_in_whatever_order_they_are_polled() {
        let mut client = InOrder::default();
        let arrivals: Vec<Arrival> = (0..5).map(|_| client.arrive()).collect();
        let (log, started) = mpsc::channel();
        let calls = arrivals.iter().enumerate().rev().map(|(number, arrival)| {
            let log = log.clone();
            arrival.admitted().unwrap().run(async move {
                log.send(number).unwrap();
                tokio::task::yield_now().await;
                number
            })
        });
        assert_eq!(join_all(calls).await, [4, 3, 2, 1, 0]);
        drop(log);
        assert_eq!(started.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_call_that_waits_or_never_starts_holds_up_no_other() {
        let mut client = InOrder::default();
        let (first, second, third) = (client.arrive(), client.arrive(), client.arrive());
        let mut waiting = pin!(first.admitted().unwrap().run(std::future::pending::<()>()));
        let polled = poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        drop(second);
        assert_eq!(third.admitted().unwrap().run(async { 3 }).await, 3);
    }

    #[tokio::test]
    async fn the_last_one_to_arrive_is_one_too_many() {
        let mut client = InOrder::default();
        let calls = client.calls.clone();
        let mut arrivals: Vec<Arrival> = (0..=MAX_CALLS_PER_CLIENT).map(|_| client.arrive()).collect();
        let admitted: Vec<bool> = arrivals
            .iter()
            .map(|arrival| arrival.0.lock().unwrap().is_some())
            .collect();
        assert!(admitted[..MAX_CALLS_PER_CLIENT].iter().all(|admitted| *admitted));
        assert!(!admitted[MAX_CALLS_PER_CLIENT] && !calls.is_idle());
        arrivals.pop();
        arrivals.pop();
        assert!(client.arrive().admitted().is_some());
        drop(arrivals);
        calls.idle(Duration::from_secs(60)).await;
        assert!(!calls.is_idle(), "the client can still call");
        drop(client);
        assert!(calls.is_idle());
    }
}
