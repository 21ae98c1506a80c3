//! Bytes that a call may still move, and which limit it met.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use wasmtime_wasi_http::Error;

use super::refusals::note;
use crate::sandbox::limits::Limits;

/// What a server may send beyond the bodies, for each request: the handshake, its head, and how its body is cut.
const OVERHEAD_BYTES: u64 = 128 * 1024;
/// The share of bodies that goes into cutting them.
const FRAMING: u64 = 16;

/// Clones share what is left.
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

    /// Takes `bytes`. What does not fit uses up the rest: a guest can't go on with pieces that would.
    pub(super) fn charge(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        let take = |left: u64| Some(left.saturating_sub(bytes));
        let taken = self.0.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.is_ok_and(|left| left >= bytes)
    }

    pub(super) fn limit(&self) -> u64 {
        self.0.limit
    }
}

/// Bytes that may still be moved, over all requests of the call.
#[derive(Clone)]
pub(super) struct Budgets {
    /// Bodies of responses.
    pub(super) received: Budget,
    /// Bodies of requests.
    pub(super) sent: Budget,
    /// All that comes in over the connections, bodies among it.
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

/// What all connections of a call may take in.
fn wire(body_bytes: u64, requests: u32) -> Budget {
    let overhead = OVERHEAD_BYTES.saturating_mul(requests.into());
    Budget::new(body_bytes.saturating_add(body_bytes / FRAMING).saturating_add(overhead))
}

/// Which way the bytes went that were too many.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Direction {
    In = 1,
    Out = 2,
}

/// Whether one exchange met a limit. Clones tell each other.
#[derive(Clone, Default)]
pub(super) struct Exceeded(Arc<AtomicU8>);

impl Exceeded {
    pub(super) fn set(&self, direction: Direction) {
        self.0.store(direction as u8, Ordering::Relaxed);
    }

    /// The error that says so, to the guest and to the operator; any other stays what it is.
    pub(super) fn explain(&self, error: Error, budgets: &Budgets, refused: &Mutex<Vec<String>>) -> Error {
        const IN: u8 = Direction::In as u8;
        const OUT: u8 = Direction::Out as u8;
        let told = |name: &str, limit: u64| {
            note(refused, format!("more than {limit} bytes in one call (limit {name})"));
            Some(limit)
        };
        match self.0.load(Ordering::Relaxed) {
            IN => Error::HttpResponseBodySize(told("http_response_bytes", budgets.received.limit())),
            OUT => Error::HttpRequestBodySize(told("http_request_bytes", budgets.sent.limit())),
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_uses_up_the_budget() {
        let budget = Budget::new(10);
        assert!(budget.charge(4) && budget.charge(6) && budget.charge(0));
        let budget = Budget::new(10);
        assert!(!budget.charge(11));
        assert!(!budget.charge(1));
    }
}
