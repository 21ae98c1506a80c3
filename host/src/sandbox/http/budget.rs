//! Bytes that a call can still send and receive, and the limit that it hit.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wasmtime_wasi_http::Error;

use super::refusals::note;
use crate::sandbox::limits::Limits;

/// Bytes that a server can send beyond bodies, for each request: the handshake, the head and the framing of the body.
const OVERHEAD_BYTES: u64 = 128 * 1024;
/// The framing of bodies can add one part in this many.
const FRAMING: u64 = 16;

/// Clones share the remaining bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: u64,
    left: AtomicU64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Self {
        Self(Arc::new(Inner {
            limit,
            left: limit.into(),
        }))
    }

    /// Takes `bytes`. A charge that doesn't fit uses up the rest, so that a guest can't go on with smaller ones.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let taken = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok_and(|left| left >= bytes)
    }

    pub(super) fn limit(&self) -> u64 {
        self.0.limit
    }

    /// What was taken so far.
    pub(super) fn used(&self) -> u64 {
        self.0.limit.saturating_sub(self.0.left.load(Ordering::Relaxed))
    }
}

/// Bytes that can still be moved, over all requests of the call.
#[derive(Clone)]
pub(super) struct Budgets {
    /// Bodies of responses.
    pub(super) received: Budget,
    /// Bodies of requests.
    pub(super) sent: Budget,
    /// Everything that comes in over the connections, bodies included.
    pub(super) wire: Budget,
}

impl Budgets {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            received: Budget::new(limits.http_response_bytes),
            sent: Budget::new(limits.http_request_bytes),
            wire: wire(limits.http_response_bytes, limits.http_requests),
        }
    }
}

/// The bytes that all connections of a call can receive.
fn wire(body_bytes: u64, requests: u32) -> Budget {
    let overhead = OVERHEAD_BYTES.saturating_mul(requests.into());
    Budget::new(body_bytes.saturating_add(body_bytes / FRAMING).saturating_add(overhead))
}

/// In which direction a limit was exceeded.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Direction {
    In = 1,
    Out = 2,
}

/// Whether an exchange exceeded a limit; shared by clones.
#[derive(Clone, Default)]
pub(super) struct Exceeded(Arc<AtomicU8>);

impl Exceeded {
    pub(super) fn set(&self, direction: Direction) {
        self.0.store(direction as u8, Ordering::Relaxed);
    }

    /// Replaces `error` by one that names the exceeded limit and notes it for the operator; without one, returns `error`.
    pub(super) fn explain(&self, error: Error, budgets: &Budgets, refused: &Mutex<Vec<String>>) -> Error {
        const IN: u8 = Direction::In as u8;
        const OUT: u8 = Direction::Out as u8;
        let exceeded = |name: &str, limit: u64| {
            note(refused, format!("more than {limit} bytes in one call (limit {name})"));
            Some(limit)
        };
        match self.0.load(Ordering::Relaxed) {
            IN => Error::HttpResponseBodySize(exceeded("http_response_bytes", budgets.received.limit())),
            OUT => Error::HttpRequestBodySize(exceeded("http_request_bytes", budgets.sent.limit())),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_charge_that_does_not_fit_uses_up_the_budget() {
        let budget = Budget::new(10);
        assert!(budget.charge(4) && budget.charge(6) && budget.charge(0));
        let budget = Budget::new(10);
        assert!(!budget.charge(11));
        assert!(!budget.charge(1));
    }
}
