//! The minimum and maximum of every value. The schema takes its ranges from here, and so does the check of settings made
//! in code, which no schema sees.

use std::fmt::Display;
use std::time::Duration;

use super::days::MAX_DAYS;
use super::problem::ValueProblem;
use super::size::{ByteSize, GIB, KIB, MIB};
use crate::sandbox::MAX_DURATION;

/// The allowed range of a value, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds<T> {
    pub(super) min: T,
    pub(super) max: T,
}

pub(super) const fn between<T: Copy>(min: T, max: T) -> Bounds<T> {
    Bounds { min, max }
}

const fn sizes(min: u64, max: u64) -> Bounds<ByteSize> {
    between(ByteSize(min), ByteSize(max))
}

impl<T: Copy + PartialOrd + Display> Bounds<T> {
    /// The problem with a value out of bounds. NaN is always out of bounds.
    pub(super) fn problem(self, value: T) -> Option<ValueProblem> {
        let Self { min, max } = self;
        let fits = (min..=max).contains(&value);
        (!fits).then(|| ValueProblem::new(format!("must be between {min} and {max}, found {value}")))
    }
}

/// The problem with a duration out of bounds. All durations share the same bounds.
pub(super) fn duration_problem(value: Duration) -> Option<ValueProblem> {
    const DAY: u64 = 24 * 3600;
    let fits = !value.is_zero() && value <= MAX_DURATION;
    let days = MAX_DURATION.as_secs() / DAY;
    (!fits).then(|| {
        ValueProblem::new(format!(
            "must be longer than zero and at most {days} days, found {value:?}"
        ))
    })
}

pub(super) const MAX_TOKENS: Bounds<u32> = between(1, 10_000_000);
/// The least is the API's.
pub(super) const THINKING_BUDGET: Bounds<u32> = between(1_024, MAX_TOKENS.max);
pub(super) const TEMPERATURE: Bounds<f64> = between(0.0, 2.0);
/// Of the Messages API.
pub(super) const MESSAGES_TEMPERATURE: Bounds<f64> = between(0.0, 1.0);

pub(super) const MAX_AGENT_NAME_CHARS: usize = 64;
/// Each has a breaker, and a client with its connections.
pub(super) const MAX_FALLBACK_MODELS: usize = 8;
pub(super) const MAX_ITERATIONS: Bounds<u32> = between(1, 10_000);
pub(super) const MAX_TOOL_CALLS: Bounds<u32> = between(1, 100_000);
pub(super) const PARALLEL_TOOL_CALLS: Bounds<u32> = between(1, 10_000);
pub(super) const MAX_RESULT_BYTES: Bounds<ByteSize> = sizes(1, GIB);

pub(super) const MAX_ATTEMPTS: Bounds<u32> = between(1, 100);
pub(super) const MULTIPLIER: Bounds<f64> = between(1.0, 100.0);

/// For both thresholds of a breaker, failures and successes.
pub(super) const THRESHOLD: Bounds<u32> = between(1, 1_000_000);

/// For the calls of a breaker's window, and its minimum.
pub(super) const WINDOW_CALLS: Bounds<u32> = between(1, 10_000);
/// A rate of 0 would open a breaker without a reason.
pub(super) const RATE: Bounds<f64> = between(0.001, 1.0);

pub(super) const STACK: Bounds<ByteSize> = sizes(64 * KIB, 16 * MIB);
pub(super) const HOST_CONCURRENCY: Bounds<u32> = between(1, 10_000);

pub(super) const HOST_MEMORY: Bounds<ByteSize> = sizes(MIB, 1024 * 1024 * GIB);

pub(super) const ERROR_RATE: Bounds<f64> = between(0.0, 1.0);

pub(super) const RETENTION_DAYS: Bounds<u32> = between(1, MAX_DAYS);
pub(super) const SESSION_BYTES: Bounds<ByteSize> = sizes(1, u64::MAX);
pub(super) const CACHE_BYTES: Bounds<ByteSize> = sizes(1, u64::MAX);
